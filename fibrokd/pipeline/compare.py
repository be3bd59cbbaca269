"""Command ``compare``: assessed runs side by side, on the images that all of them asked. Wiring only.

Needs no torch. Reads predictions, metrics and facts of images as they were written, checks that nothing was altered,
and never writes into a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from fibrokd.artifacts import Record, begin
from fibrokd.config import Config
from fibrokd.errors import InputError
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.side_by_side.document import FORMAT, compare_document, distinct_networks
from fibrokd.evaluation.side_by_side.page import write_page
from fibrokd.evaluation.side_by_side.repetitions import check_declared
from fibrokd.evaluation.side_by_side.runs import Run, read_runs
from fibrokd.evaluation.side_by_side.shared import shared_images
from fibrokd.evaluation.side_by_side.table import write_pairs
from fibrokd.files import digest_json, write_json
from fibrokd.progress import say

LEAST, MOST = 1000, 100_000
"""Resamples."""

PER_PAIR = 400
"""Resamples per pair of networks: the smallest corrected p-value is then 0.005."""

OUTPUTS = ("compare.csv", "compare.html", "compare.json")


class CompareConfig(Config):
    """What is compared."""

    split: str = "test"
    """Split whose answers are compared."""
    networks: tuple[str, ...] = ()
    """Networks that are compared; all of them where none is named."""
    resamples: Annotated[int, Field(ge=100, le=100_000)] | None = None
    """Resamples of patients. ``null``: 1,000, and more where p-values of so many pairs need it."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the resampling."""
    same_but_seed: bool = False
    """The runs differ in nothing but the seed, where no record of the trainings lies beside them that says so."""


def sampling(config: CompareConfig, networks: int, runs: Sequence[Run]) -> BootstrapConfig:
    """Return how intervals are made: as strictly as the strictest of the runs made its own.

    No p-value of R resamples lies below 2 ÷ (R + 1), and Holm's correction multiplies the smallest by the number of
    pairs: with 1,000 resamples nothing could be told apart among eight networks, whatever their difference.

    Args:
        config: What was asked for.
        networks: Networks that are compared.
        runs: What is compared.
    """
    made = [BootstrapConfig(**run.record.config.get("bootstrap", {})) for run in runs] or [BootstrapConfig()]
    wanted = min(max(LEAST, PER_PAIR * networks * (networks - 1) // 2), MOST)
    return BootstrapConfig(
        resamples=config.resamples or wanted,
        seed=config.seed,
        level=max(each.level for each in made),
        min_clusters=max(each.min_clusters for each in made),
    )


def run(folders: Sequence[Path], out: Path, config: CompareConfig) -> Record:
    """Compare runs into ``out``.

    Args:
        folders: Two or more that ``assess``, ``crossval`` or ``external`` finished, or the OUT of ``fibrokd run``.
        out: Folder to write, new.
        config: What is compared.

    Raises:
        ArtifactError: A run is unfinished or altered, or ``out`` holds something else.
        InputError: The runs do not compare, or are to be compared on images that networks learned from.
        TableError: They say different things about an image.
    """
    if config.split == "train":
        raise InputError(
            "Expected images that networks have not learned from, found those of the train split.",
            "Compare on test, or on val and calibration with the caution that the page states.",
        )
    runs = read_runs(folders, config.split, config.networks)
    shared = shared_images(runs)
    if config.same_but_seed:
        check_declared(runs)
    inputs = {run.name: run.record.digest for run in runs}
    # What lies beside a run tells how its networks were trained: with and without it the page is another.
    inputs |= {
        run.network_name(name): digest_json([training.recipe, training.seeds])
        for run in runs
        for name, training in run.trainings.items()
    }
    intervals = sampling(config, len(distinct_networks(runs)), runs)
    settings = (
        config.as_json() | {"resamples": intervals.resamples} | {"format": FORMAT, "runs": [run.name for run in runs]}
    )
    step = begin(out, "compare", settings, inputs)
    if step.finished:
        say(f"compare: {out} is finished")
        return step.record
    document = compare_document(runs, shared, intervals, config.same_but_seed)
    write_json(out / "compare.json", document)
    write_pairs(out / "compare.csv", document)
    write_page(out / "compare.html", document, shared)
    say(f"compare: {len(document['networks'])} networks on {shared.images} images: {out / 'compare.html'}")
    return step.finish(OUTPUTS)
