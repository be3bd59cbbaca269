"""Step ``inflate``: one recipe trained under every kind of split. What leakage adds is then measured, not guessed.

At ``random`` nothing is kept together, at ``stem`` equal file names, at ``content`` identical pictures, at ``all``
whatever any evidence ties, at ``subject`` the images of a patient. What a level reaches beyond ``all`` it owes to
relatives of its training images. Levels that give the very same split are trained once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from fibrokd.artifacts import Record, begin, read_record
from fibrokd.data.prepared import SPLITS, Prepared
from fibrokd.data.selection import Selection, select
from fibrokd.errors import ConfigError
from fibrokd.evaluation.inflation import HONEST, inflation_document, inflation_markdown
from fibrokd.evaluation.intervals import Bootstrap, bootstrap
from fibrokd.evaluation.predictions import read_predictions
from fibrokd.files import read_json, write_json, write_text
from fibrokd.integrity.levels import LEVELS
from fibrokd.integrity.splitting import assign_parts
from fibrokd.pipeline.recipe import assess_networks, prepare_data, train
from fibrokd.pipeline.resplit import check_splits, write_resplit
from fibrokd.pipeline.run import RunConfig
from fibrokd.progress import say

LevelName = Literal["random", "stem", "content", "all", "subject"]


class InflateConfig(RunConfig):
    """A configuration of ``fibrokd run``, and under which splits it is trained. Nothing is released."""

    levels: tuple[LevelName, ...] | None = None
    """Kinds of split, of those that the data allow; by default all of them."""


def run(config: InflateConfig, out: Path) -> Record:
    """Train and assess the recipe under every split into ``out``, then compare them; goes on where it was stopped.

    Raises:
        FibroKDError: A split cannot be made, or a step under it cannot go on; finished levels are kept.
    """
    prepare_data(config, out)
    prepared = Prepared.open(out / "prepared")
    splits = {level: _split(config, prepared, prepared.levels[level]) for level in _levels(config, prepared)}
    sources = {level: next(name for name in splits if splits[name] == own) for level, own in splits.items()}
    trained = dict.fromkeys(sources.values())
    for level in trained:
        check_splits(prepared, splits[level])
    for number, level in enumerate(trained, start=1):
        say(f"── level {number} of {len(trained)}: {level}")
        folder = out / f"level_{level}"
        why = {"level": level, **config.splits.as_json()}
        write_resplit(prepared, splits[level], folder / "prepared", why, level, prepared.levels[level])
        networks = train(config, folder / "prepared", folder)
        assess_networks(config, folder / "prepared", networks, folder / "assess")
    return _compared(config, prepared, sources, out)


def _levels(config: InflateConfig, prepared: Prepared) -> list[str]:
    known = list(prepared.levels)
    missing = [level for level in config.levels or () if level not in known]
    if missing:
        raise ConfigError(
            f"Expected levels that the data allow ({', '.join(known)}), found {', '.join(missing)}.",
            "Leave them out; `subject` needs patients.",
        )
    return [level for level in known if config.levels is None or level in config.levels]


def _split(config: InflateConfig, prepared: Prepared, groups: tuple[str, ...]) -> list[str]:
    """Split the images that have a split, groups of the level kept together."""
    rows = np.flatnonzero((prepared.table["split"] != "").to_numpy())
    codes = pd.factorize(np.array(groups, dtype=object)[rows])[0].astype(np.int64)
    wanted = {name: float(getattr(config.splits.shares, name)) for name in SPLITS}
    wanted = {name: share for name, share in wanted.items() if share > 0}
    parts = assign_parts(codes, prepared.stages[rows], wanted, prepared.scale.names, config.splits.seed, "splits")
    splits = np.full(len(prepared), "", dtype=object)
    splits[rows] = [parts.names[part] for part in parts.part]
    return [str(split) for split in splits]


def _compared(config: InflateConfig, prepared: Prepared, sources: Mapping[str, str], out: Path) -> Record:
    folder = out / "inflation"
    inputs = {"prepared": prepared.record.digest}
    inputs |= {level: read_record(out / f"level_{source}" / "assess").digest for level, source in sources.items()}
    step = begin(folder, "inflate", {"bootstrap": config.assess.bootstrap.as_json()}, inputs)
    if step.finished:
        return step.record
    scale = select(prepared, Selection(stages=config.assess.stages)).scale
    samples: dict[str, dict[str, Bootstrap]] = {}
    for level in dict.fromkeys(sources.values()):
        # Other patients are tested at every level: their resamples have nothing to do with each other.
        seed = config.assess.bootstrap.seed + list(LEVELS).index(level)
        sampling = config.assess.bootstrap.model_copy(update={"seed": seed})
        answers = read_predictions(out / f"level_{level}" / "assess" / "predictions.csv", scale)
        samples[level] = {part.network: bootstrap(part, sampling) for part in answers if part.split == "test"}
    controls: dict[str, Any] = read_json(prepared.folder / "integrity.json").get("controls") or {}
    document = inflation_document(samples, sources, controls.get("thumbnail_1nn") or {})
    write_json(folder / "inflation.json", document)
    write_text(folder / "inflation.md", inflation_markdown(document, prepared.stamp))
    say(f"  table in {folder / 'inflation.md'}" + ("" if HONEST in sources else f"; without {HONEST} no gap"))
    return step.finish(["inflation.json", "inflation.md"])
