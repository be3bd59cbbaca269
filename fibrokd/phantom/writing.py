"""A cohort on disk: image or DICOM files, truth.csv and images.sha256, in any number of processes.

Files are written atomically, so whatever exists is whole: a run that was killed keeps its files and goes on. Workers
share nothing; the phantom uses neither BLAS nor threaded FFTs, so one process is one core.

Shape letters: S side of the image.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fibrokd.errors import ArtifactError
from fibrokd.files import digest_bytes, digest_file, digest_json, write_bytes, write_text
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.cohort import CohortConfig
from fibrokd.phantom.hazards import broken_bytes, tamper
from fibrokd.phantom.plan import ClipPlan, PlannedFile, plan_broken, plan_cohort, truth_row
from fibrokd.phantom.randomness import Stream, keyed
from fibrokd.progress import track
from fibrokd.stages import METAVIR

STEP = "phantom"
"""Name of the step in the record of a cohort."""

TRUTH, DIGESTS = "truth.csv", "images.sha256"


@dataclass(frozen=True)
class Job:
    """One clip to write, as sent to a worker.

    Args:
        root: Folder of the cohort.
        config: Configuration of the cohort.
        plan: The clip and its files.
    """

    root: Path
    config: CohortConfig
    plan: ClipPlan


@dataclass(frozen=True)
class Written:
    """What a cohort on disk holds.

    Args:
        files: Number of image or DICOM files.
        kept: How many of them an earlier, interrupted run had written.
        workers: Processes used.
    """

    files: int
    kept: int
    workers: int


def write_cohort(config: CohortConfig, root: Path) -> Written:
    """Write every file of a cohort, then ``truth.csv`` and ``images.sha256``.

    Args:
        config: What to generate.
        root: Folder; whole files of an interrupted run of the same configuration are kept.
    """
    _remove_leftovers(root)
    plans = plan_cohort(config)
    jobs = [Job(root, config, plan) for plan in plans]
    workers = min(config.workers or len(os.sched_getaffinity(0)), len(jobs))
    count = sum(len(plan.files) for plan in plans)
    digests: dict[str, str] = {}
    kept = 0
    written = (file for clip in _run(jobs, workers) for file in clip)
    for path, digest, was_there in track(written, "phantom", total=count, unit="images"):
        digests[path] = digest
        kept += was_there
    broken = plan_broken(config)
    for number, file in enumerate(broken):
        content = broken_bytes(number, _noise_png(config, number))
        write_bytes(root / file.path, content)
        digests[file.path] = digest_bytes(content)
    rows = [truth_row(plan, file) for plan in plans for file in plan.files]
    rows += [_broken_row(file, list(rows[0])) for file in broken]
    rows.sort(key=lambda row: row["path"])
    write_text(root / TRUTH, _csv(rows))
    write_text(root / DIGESTS, "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items())))
    return Written(len(digests), kept, workers)


def verify_cohort(root: Path) -> None:
    """Compare every image of a finished cohort with ``images.sha256``.

    Raises:
        ArtifactError: An image is missing or altered.
    """
    for line in (root / DIGESTS).read_text(encoding="utf-8").splitlines():
        digest, path = line.split("  ", 1)
        file = root / path
        if not file.is_file() or digest_file(file) != digest:
            state = "altered" if file.is_file() else "missing"
            raise ArtifactError(
                f"Expected {file} as {DIGESTS} records it, found it {state}.", "Make the cohort again in a new folder."
            )


def write_clip(job: Job) -> list[tuple[str, str, bool]]:
    """Write the missing files of one clip.

    Returns:
        (path, sha256, was there before) of every file of the clip, in the order of the plan.
    """
    missing = [file for file in job.plan.files if not (job.root / file.path).exists()]
    new = dict(_contents(job, missing)) if missing else {}
    result = []
    for file in job.plan.files:
        path = job.root / file.path
        if file.path in new:
            write_bytes(path, new[file.path])
            result.append((file.path, digest_bytes(new[file.path]), False))
        else:
            result.append((file.path, digest_file(path), True))
    return result


def encode_image(image: UInt8[np.ndarray, "S S"], encoding: str, quality: int) -> bytes:
    """Return an image as PNG (``encoding`` "png") or JPEG bytes of a given quality."""
    stream = io.BytesIO()
    if encoding == "png":
        # Level 1 is three times faster than the default and 10 % larger on speckle.
        Image.fromarray(image).save(stream, "PNG", compress_level=1)
    else:
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _run(jobs: Sequence[Job], workers: int) -> Iterator[list[tuple[str, str, bool]]]:
    if workers == 1:
        yield from map(write_clip, jobs)
        return
    # Spawned and not forked: a forked child inherits locks of whatever threads the caller runs.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(write_clip, jobs, chunksize=max(1, min(8, len(jobs) // (4 * workers))))


def _contents(job: Job, files: Iterable[PlannedFile]) -> Iterator[tuple[str, bytes]]:
    """Render one clip and yield (path, content) of the files asked for."""
    config, plan = job.config, job.plan
    clip = Clip(plan.patient, plan.clip)
    images: dict[int, UInt8[np.ndarray, "S S"]] = {}
    for file in files:
        needed = range(config.frames) if file.encoding == "dicom_cine" else (file.frame,)
        for frame in needed:
            if frame not in images:
                images[frame] = clip.frame(frame, config.size, config.overlay)
        yield file.path, _content(job, file, [images[frame] for frame in needed])


def _content(job: Job, file: PlannedFile, images: Sequence[UInt8[np.ndarray, "S S"]]) -> bytes:
    config, patient = job.config, job.plan.patient
    if file.encoding in ("dicom", "dicom_cine"):
        # Imported here: pydicom costs 0.3 s in every worker, and most cohorts are plain images.
        from fibrokd.phantom import dicom_writer

        source = dicom_writer.Source(digest_json(config.identity()), patient, file.clip, file.frame, config.overlay)
        if file.encoding == "dicom":
            return dicom_writer.single_frame(images[0], source)
        return dicom_writer.cine(images, source, config.jpeg_quality)
    image = images[0]
    if file.tampering:
        image = tamper(image, file.tampering, keyed(config.seed, patient.number, Stream.TAMPER, file.clip, file.frame))
    return encode_image(image, file.encoding, file.quality)


def _remove_leftovers(root: Path) -> None:
    """Remove temporary files that a killed run was writing; see ``files.atomic_path`` for their names."""
    for path in root.glob("*/.*"):
        if path.is_file():
            path.unlink()


def _noise_png(config: CohortConfig, number: int) -> bytes:
    random = keyed(config.seed, number, Stream.BROKEN)
    return encode_image(random.integers(0, 256, (64, 64), dtype=np.uint8), "png", 0)


def _broken_row(file: PlannedFile, columns: Sequence[str]) -> dict[str, str]:
    known = {"path": file.path, "stage": METAVIR.names[file.stage], "kind": file.kind, "tampering": file.encoding}
    return {column: known.get(column, "") for column in columns}


def _csv(rows: Sequence[dict[str, str]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
