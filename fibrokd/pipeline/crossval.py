"""Step ``crossval``: one recipe trained anew for every part of the collection, which then is its test set.

Parts are the folds of ``prepare``, or the scanners or sites: then every one is left out once. Answers of all rounds
together are assessed as those of one network, for each image was asked once by a network that had not seen its patient.
What rests on thresholds or temperatures stands in the reports of the rounds: each has validation images of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from fibrokd.artifacts import Record, begin, read_record
from fibrokd.data.prepared import Prepared
from fibrokd.errors import SplitError
from fibrokd.evaluation.image_facts import write_image_facts
from fibrokd.evaluation.predictions import Predictions, read_predictions, write_predictions
from fibrokd.evaluation.rounds import pooled, rounds_document
from fibrokd.files import read_json, write_json
from fibrokd.pipeline.assess import image_facts
from fibrokd.pipeline.assess_numbers import Assessed, write_numbers
from fibrokd.pipeline.recipe import assess_networks, prepare_data, train
from fibrokd.pipeline.resplit import of_any_split, write_resplit
from fibrokd.pipeline.run import RunConfig
from fibrokd.progress import say

LEAST_FOLDS = 3
"""Fewer leave nothing to train on: one fold is the test set, one chooses epochs."""

VALIDATION_FOLD = "0"
"""Fold that chooses epochs where scanners or sites are left out."""


class CrossvalConfig(RunConfig):
    """A configuration of ``fibrokd run``, and what its rounds are. Nothing is released."""

    by: Literal["fold", "scanner", "site"] = "fold"
    """``fold``: every fold of ``splits.folds`` is the test set once, and the next one chooses epochs; ``scanner``,
    ``site``: every one is left out once, and patients who have images of it are in no other split."""


def run(config: CrossvalConfig, out: Path) -> Record:
    """Train and assess every round into ``out``, then all of them together; goes on where it was stopped.

    Raises:
        FibroKDError: A round cannot be made, or a step of it cannot go on; finished rounds are kept.
    """
    prepare_data(config, out)
    prepared = Prepared.open(out / "prepared")
    rounds = dict(_rounds(prepared, config.by))
    finished: dict[str, Path] = {}
    for number, (name, splits) in enumerate(rounds.items(), start=1):
        say(f"── round {number} of {len(rounds)}: {config.by} {name} is the test set")
        folder = out / f"round_{number:02d}"
        write_resplit(prepared, splits, folder / "prepared", {"by": config.by, "test": name})
        networks = train(config, folder / "prepared", folder)
        assess_networks(config, folder / "prepared", networks, folder / "assess")
        finished[name] = folder
    return _together(config, prepared, finished, out / "assess")


def _rounds(prepared: Prepared, by: str) -> Iterator[tuple[str, list[str]]]:
    """Name of every round, and the split of every image in it."""
    table = prepared.table
    folds, used = table["fold"].to_numpy(), (table["split"] != "").to_numpy()
    if by == "fold":
        names = sorted(set(folds[used]), key=int)
        if len(names) < LEAST_FOLDS:
            raise SplitError(
                f"Expected at least {LEAST_FOLDS} folds, found {len(names)}.",
                f"Set splits.folds to {LEAST_FOLDS} or more.",
            )
        for place, name in enumerate(names):
            own, following = folds == name, folds == names[(place + 1) % len(names)]
            yield name, _named(used, own, following)
        return
    values, clusters = table[by].to_numpy(), table["cluster"].to_numpy()
    names = sorted({value for value in values[used] if value})
    if len(names) < 2:
        raise SplitError(
            f"Expected images of several {by}s, found {len(names)} known.", f"Name the {by} in the label table."
        )
    for name in names:
        own = values == name
        # Relatives of what is tested may be nowhere else, whatever they were taken with.
        related = np.isin(clusters, np.unique(clusters[own & used])) & ~own
        yield name, _named(used & ~related, own, folds == VALIDATION_FOLD)


def _named(used: np.ndarray, test: np.ndarray, validation: np.ndarray) -> list[str]:
    named = np.where(test, "test", np.where(validation, "val", "train"))
    return [str(name) for name in np.where(used, named, "")]


def _together(config: CrossvalConfig, prepared: Prepared, rounds: Mapping[str, Path], out: Path) -> Record:
    """Assess the answers of all rounds as those of one network per name."""
    inputs = {"prepared": prepared.record.digest}
    inputs |= {f"round_{name}": read_record(folder / "assess").digest for name, folder in rounds.items()}
    settings = {"by": config.by, **config.assess.model_dump(mode="json", exclude={"latency_repeats"})}
    step = begin(out, "crossval", settings, inputs)
    if step.finished:
        return step.record
    answers = [
        part
        for folder in rounds.values()
        for part in read_predictions(folder / "assess" / "predictions.csv", prepared.scale)
    ]
    # Validation answers are left out: thresholds fixed on them would be fixed on the very patients that are tested.
    write_predictions(out / "predictions.csv", list(_pooled(answers)))
    write_image_facts(out / "images.csv", image_facts(prepared))
    documents = {name: read_json(folder / "assess" / "metrics.json") for name, folder in rounds.items()}
    spread = rounds_document(documents)
    first = next(iter(rounds.values()))
    told = {"by": config.by, "networks": spread}
    write_json(out / "rounds.json", told)
    assessed = Assessed(
        plan=config.assess,
        prepared=prepared,
        cards={name: read_json(first / name / "card.json") for name in spread},
        provenance=inputs,
        integrity=of_any_split(read_json(prepared.folder / "integrity.json")),
        rounds=told,
    )
    outputs = write_numbers(assessed, out)
    record = step.finish([*outputs, "rounds.json"])
    say(f"  {len(rounds)} rounds together: {out / 'report.html'}")
    return record


def _pooled(answers: list[Predictions]) -> Iterator[Predictions]:
    for network in dict.fromkeys(part.network for part in answers):
        yield pooled([part for part in answers if (part.network, part.split) == (network, "test")])
