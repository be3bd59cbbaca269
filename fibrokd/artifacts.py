"""Run folders: the record.json through which steps meet on disk, resuming, and the lock of a folder at work.

A step writes one folder. ``record.json`` in it says what made the folder (step, resolved configuration, digests of
the inputs) and what came out (digests of the outputs). A reader that finds another digest raises; nothing guesses.
Digests cover content only, never wall times, hosts or paths.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import platform
import subprocess
import time
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fibrokd.errors import ArtifactError, BusyError
from fibrokd.files import TEMPORARY, digest_file, digest_json, read_json, write_json
from fibrokd.memory import peak_mb, peak_of_children_mb

RECORD = "record.json"
_VERSIONED = ("fibrokd", "numpy", "scipy", "pillow", "pydicom", "scikit-learn", "torch", "timm", "onnxruntime")


@dataclass(frozen=True)
class Record:
    """What made a run folder and what came out of it.

    Args:
        step: Name of the step.
        config: Resolved configuration as JSON data, without input paths.
        inputs: Digest of every input, by name.
        outputs: Digest of every output file, by path relative to the folder.
        finished: False while the step has not ended; such a folder may be resumed.
        facts: Everything that must not enter a digest: versions, seeds, wall time, memory, device, commit,
            processor.
    """

    step: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str] = field(default_factory=dict)
    finished: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Digest of what was asked for: step, configuration and inputs."""
        return digest_json({"step": self.step, "config": self.config, "inputs": dict(self.inputs)})

    @property
    def digest(self) -> str:
        """Digest of what was asked for and what came out."""
        return digest_json({"identity": self.identity, "outputs": dict(self.outputs)})


@dataclass(frozen=True)
class StepRun:
    """A step at work in its folder; made by :func:`begin`.

    Args:
        folder: The run folder.
        record: The record as it stands on disk.
        resumed: An earlier, unfinished attempt with the same identity was found.
        started: Monotonic start time, seconds.
        lock: Keeps other processes out of the folder while this object lives.
    """

    folder: Path
    record: Record
    resumed: bool
    started: float
    lock: _Lock | None = None

    @property
    def finished(self) -> bool:
        """True when there is nothing left to do."""
        return self.record.finished

    def finish(self, outputs: Iterable[str], **facts: Any) -> Record:
        """Digest the outputs and mark the folder finished.

        Args:
            outputs: Paths relative to the folder, files only.
            **facts: Anything else worth recording (device, seeds, counts); never part of a digest.
        """
        digests = {name: digest_file(self.folder / name) for name in sorted(outputs)}
        record = Record(
            step=self.record.step,
            config=self.record.config,
            inputs=self.record.inputs,
            outputs=digests,
            finished=True,
            facts={**_surroundings(), "wall_seconds": round(time.perf_counter() - self.started, 3)}
            | {"resumed": self.resumed, **facts},
        )
        _write_record(self.folder, record)
        return record


def begin(
    folder: Path,
    step: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    exclusive: bool = True,
    replaceable: Collection[str] = (),
) -> StepRun:
    """Open ``folder`` for a step: new, resumable, or already finished with the same identity.

    A folder in which the same step was stopped before it made anything is begun anew, whatever is asked for now: an
    error that names a remedy would otherwise forbid it.

    Args:
        folder: Run folder; created if missing.
        step: Name of the step.
        config: Resolved configuration as JSON data, without input paths.
        inputs: Digests of the inputs by name.
        exclusive: Keep other processes out; False for the helpers of a process that holds the folder already, which
            begin nothing anew.
        replaceable: Names right below the folder of what a stopped attempt may leave without having made anything;
            the step itself decides what of it still holds.

    Raises:
        ArtifactError: The folder holds something else, was made with another configuration or other inputs, or
            another process is at work in it.
    """
    _commit()
    wanted = Record(step=step, config=config, inputs=dict(inputs))
    folder.mkdir(parents=True, exist_ok=True)
    lock = _Lock(folder) if exclusive else None
    if exclusive:
        _sweep(folder)
    if (folder / RECORD).exists():
        found = read_record(folder)
        if found.identity == wanted.identity:
            if found.finished:
                check_outputs(folder, found)
            return StepRun(folder, found, resumed=not found.finished, started=time.perf_counter(), lock=lock)
        if not exclusive or found.step != step or found.finished or _made(folder, replaceable):
            raise ArtifactError(
                f"{folder} was made by another run ({_difference(found, wanted)}).",
                "Choose another OUT, or move this folder away; nothing is overwritten.",
            )
    elif any(folder.iterdir()):
        raise ArtifactError(
            f"Expected {folder} to be empty or a {step} run folder, found other files without a {RECORD}.",
            "Choose another OUT; nothing is overwritten.",
        )
    _write_record(folder, wanted)
    return StepRun(folder, wanted, resumed=False, started=time.perf_counter(), lock=lock)


def read_record(folder: Path) -> Record:
    """Read ``record.json`` of a run folder, finished or not.

    Raises:
        ArtifactError: There is none, or it is not a record.
    """
    data = read_json(folder / RECORD)
    try:
        return Record(**{name: data[name] for name in Record.__dataclass_fields__})
    except (TypeError, KeyError) as error:
        raise ArtifactError(f"{folder / RECORD} is not a record of fibrokd.", "Run the step again.") from error


def require(folder: Path, step: str) -> Record:
    """Return the record of a finished ``step`` whose outputs are unaltered.

    Raises:
        ArtifactError: The folder is missing, unfinished, of another step, or a file changed since.
    """
    if not (folder / RECORD).exists():
        raise ArtifactError(
            f"Expected a finished '{step}' run folder at {folder}, found no {RECORD}.", f"Run `fibrokd {step}` first."
        )
    record = read_record(folder)
    if record.step != step or not record.finished:
        state = "finished" if record.finished else "unfinished"
        raise ArtifactError(
            f"Expected a finished '{step}' run at {folder}, found a {state} '{record.step}' run.",
            f"Run `fibrokd {step}` to its end first, or give the right folder.",
        )
    check_outputs(folder, record)
    return record


def check_outputs(folder: Path, record: Record) -> None:
    """Compare every output file with its recorded digest.

    Raises:
        ArtifactError: A file is missing or altered.
    """
    for name, digest in record.outputs.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is recorded but missing.", "Run the step again in a new folder.")
        if digest_file(path) != digest:
            raise ArtifactError(
                f"{path} was altered after the step finished (its digest differs from {RECORD}).",
                "Restore the file, or run the step again in a new folder.",
            )


class _Lock:
    """An advisory lock on a folder; released when the object or its process goes, however it goes."""

    def __init__(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BusyError(
                f"Expected nobody else at work in {folder}, found another process that holds it.",
                "Wait until it has finished, or choose another OUT.",
            ) from error


def _sweep(folder: Path) -> None:
    """Remove half-written files of an attempt that was killed."""
    for leftover in folder.rglob(f"{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)


def _made(folder: Path, replaceable: Collection[str]) -> bool:
    """Whether the folder holds a file that is neither its record nor may be replaced."""
    kept = {RECORD, *replaceable}
    others = [item for item in folder.iterdir() if item.name not in kept]
    return any(not item.is_dir() or item.is_symlink() or any(_files(item)) for item in others)


def _files(folder: Path) -> Iterator[Path]:
    return (item for item in folder.rglob("*") if not item.is_dir() or item.is_symlink())


def _write_record(folder: Path, record: Record) -> None:
    write_json(folder / RECORD, asdict(record))


def _difference(found: Record, wanted: Record) -> str:
    if found.step != wanted.step:
        return f"step '{found.step}' instead of '{wanted.step}'"
    changed = [
        f"input {k}" for k in sorted({*found.inputs, *wanted.inputs}) if found.inputs.get(k) != wanted.inputs.get(k)
    ]
    old, new = dict(leaves(found.config)), dict(leaves(wanted.config))
    changed += [f"{k}: {old.get(k)!r} → {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    return "changed: " + ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested mappings with its path, such as ``train.epochs``; ``prefix`` comes before each."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def _surroundings() -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for name in _VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    peak = max(peak_mb(), peak_of_children_mb())
    return {"versions": versions, "peak_memory_mb": round(peak), "commit": _commit(), "processor": _processor()}


def _processor() -> str | None:
    """What the processor calls itself; None where nothing does."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


@cache
def _commit() -> str | None:
    """Commit of the code that runs, with ``-dirty`` where it was altered; None outside a checkout.

    Asked once, when a process begins its first step: the checkout may have moved on when it ends.
    """
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
        return done.stdout.strip() or None
    return None
