"""Step ``run``: one configuration through all steps in order; finished steps with equal digests are not redone."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pydantic import model_validator

from fibrokd.config import Config
from fibrokd.data.prepared import Prepared
from fibrokd.evaluation.summary import summary_table
from fibrokd.files import read_json
from fibrokd.pipeline import predict, release
from fibrokd.pipeline.disturbed import can_be_rendered_again
from fibrokd.pipeline.recipe import RecipeConfig, StudentName, assess_networks, banner, prepare_data, train
from fibrokd.progress import say


class ReleasePlan(Config):
    """Which network becomes a bundle."""

    student: StudentName = "student_kd"
    """Key of ``students``."""
    name: str = "fibrokd"
    """Name of the bundle."""
    tolerance: float = 1e-4
    """Largest accepted difference of any probability between PyTorch and the exported network."""


class RunConfig(RecipeConfig):
    """Everything from images to a bundle; the keys of ``fibrokd prepare`` stand at the top level."""

    release: ReleasePlan = ReleasePlan()
    """What is released."""

    @model_validator(mode="after")
    def _release_exists(self) -> RunConfig:
        if self.release.student not in self.students:
            raise ValueError(f"release.student names {self.release.student!r}, students are {list(self.students)}")
        return self


def run(config: RunConfig, out: Path) -> int:
    """Run all steps into ``out`` and print the closing table.

    Returns:
        Exit code 0.

    Raises:
        FibroKDError: A step cannot go on; everything finished so far is kept.
    """
    started = time.perf_counter()
    prepared = out / "prepared"
    root = prepare_data(config, out)
    networks = train(config, prepared, out)
    again = out / "phantom" if config.phantom is not None and can_be_rendered_again(config.phantom) else None
    assess_networks(config, prepared, networks, out / "assess", again)
    banner("release")
    release.run(
        release.ReleaseConfig(
            student=networks[config.release.student],
            prepared=prepared,
            assess=out / "assess",
            name=config.release.name,
            tolerance=config.release.tolerance,
        ),
        out / "bundle",
    )
    _conclude(out, root, time.perf_counter() - started)
    return 0


def _program() -> str:
    """The command as it was called, so that the printed line can be pasted."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "fibrokd" else "fibrokd"


def _conclude(out: Path, root: Path, seconds: float) -> None:
    """Print what the run found, where it lies, and how to look at it."""
    from rich.console import Console

    bundle, report = out / "bundle", out / "assess" / "report.html"
    data = Prepared.open(out / "prepared")
    shown = data.table.iloc[data.rows("test")[0]]
    example = root / str(shown["path"])
    timings = read_json(out / "assess" / "timings.json")["networks"]
    latencies = {name: entry["latency_ms"] for name, entry in timings.items()}
    # A log file has no width of its own; the table needs about 110 columns.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    banner("predict")
    predict.run(bundle, [example], as_json=False, titles={example: f"test image {shown['image_id']}"})
    console.print(summary_table(read_json(out / "assess" / "metrics.json"), latencies))
    print(f"report  {report}")
    print(f"bundle  {bundle}")
    print(f"app     {_program()} app {bundle}")
    say(f"done in {seconds:.0f} s; running this again redoes nothing that is finished")
