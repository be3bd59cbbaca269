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
import pandas as pd
from pydantic import model_validator

from fibrokd.artifacts import Record, begin, read_record
from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection, select
from fibrokd.errors import SplitError
from fibrokd.evaluation.image_facts import ImageFacts, write_image_facts
from fibrokd.evaluation.predictions import Predictions, read_predictions, write_predictions
from fibrokd.evaluation.rounds import agreement_of_rounds, pooled, rounds_document
from fibrokd.files import read_json, write_json
from fibrokd.pipeline.assess_numbers import Assessed, write_numbers
from fibrokd.pipeline.image_facts import image_facts
from fibrokd.pipeline.recipe import assess_networks, prepare_data, train
from fibrokd.pipeline.resplit import check_splits, of_any_split, write_resplit
from fibrokd.pipeline.run import RunConfig
from fibrokd.progress import say

LEAST_FOLDS = 3
"""Fewer leave nothing to train on: one fold is the test set, one chooses epochs."""

VALIDATION_FOLD, CALIBRATION_FOLD = "0", "1"
"""Folds of the other scanners or sites, where one is left out: the one chooses epochs, the other calibrates stage sets,
so that their coverage on what was left out can be told."""


class CrossvalConfig(RunConfig):
    """A configuration of ``fibrokd run``, and what its rounds are. Nothing is released."""

    @model_validator(mode="after")
    def _test_images_are_assessed(self) -> CrossvalConfig:
        if "test" not in self.assess.splits:
            raise ValueError("rounds are assessed on their test images; leave `test` among assess.splits")
        return self

    by: Literal["fold", "scanner", "site"] = "fold"
    """``fold``: every fold of ``splits.folds`` is the test set once, and the next one chooses epochs; ``scanner``,
    ``site``: every one is left out once; other images of its patients, and images of which it is not known, are then
    in no split. Of the others, fold 0 chooses epochs and fold 1 calibrates stage sets, where there is a third to learn
    from."""


def run(config: CrossvalConfig, out: Path) -> Record:
    """Train and assess every round into ``out``, then all of them together; goes on where it was stopped.

    Raises:
        FibroKDError: A round cannot be made, or a step of it cannot go on; finished rounds are kept.
    """
    prepare_data(config, out)
    prepared = Prepared.open(out / "prepared")
    rounds = dict(_rounds(prepared, config.by))
    for splits in rounds.values():
        check_splits(prepared, splits)  # all of them, before any is trained on
    finished: dict[str, Path] = {}
    for number, (name, splits) in enumerate(rounds.items(), start=1):
        say(f"── round {number} of {len(rounds)}: {config.by} {name} is the test set")
        folder = out / f"round_{number:02d}"
        write_resplit(prepared, splits, folder / "prepared", {"by": config.by, "test": name})
        networks = train(config, folder / "prepared", folder)
        assess_networks(config, folder / "prepared", networks, folder / "assess")
        finished[name] = folder
    left_out = {name: splits.count("") for name, splits in rounds.items()}
    return _together(config, prepared, finished, left_out, out / "assess")


def _rounds(prepared: Prepared, by: str) -> Iterator[tuple[str, list[str]]]:
    """Name of every round, and the split of every image in it."""
    table = prepared.table
    folds, clusters = table["fold"].to_numpy(), table["cluster"].to_numpy()
    used = (table["split"] != "").to_numpy()
    if by == "fold":
        names = sorted(set(folds[used]), key=int)
        if len(names) < LEAST_FOLDS:
            more = f"Set splits.folds to {LEAST_FOLDS} or more."
            raise SplitError(f"Expected at least {LEAST_FOLDS} folds, found {len(names)}.", more)
        _refuse_cut(folds[used], clusters[used])
        for place, name in enumerate(names):
            own, following = folds == name, folds == names[(place + 1) % len(names)]
            yield name, _named(used, own, {"val": following})
        return
    values = table[by].to_numpy()
    names = sorted({value for value in values[used] if value})
    if len(names) < 2:
        raise SplitError(
            f"Expected images of several {by}s, found {len(names)} known.", f"Name the {by} in the label table."
        )
    # Whole clusters choose epochs or calibrate, those whose first image is in the fold.
    first = dict(zip(clusters[::-1], folds[::-1], strict=True))
    kept = np.array([first[cluster] for cluster in clusters])
    aside = {"val": kept == VALIDATION_FOLD}
    if len(set(folds[used])) >= LEAST_FOLDS:
        aside["calibration"] = kept == CALIBRATION_FOLD
    for name in names:
        own = values == name
        # Relatives of what is tested may be nowhere else, whatever they were taken with. Images of which it is not
        # known may be of the one that is left out.
        related = np.isin(clusters, np.unique(clusters[own & used])) & ~own
        yield name, _named(used & ~related & (values != ""), own, aside)


def _refuse_cut(folds: np.ndarray, clusters: np.ndarray) -> None:
    """Refuse folds that tear apart what belongs together: under ``grouping: stem`` or ``content`` they do."""
    pairs = pd.DataFrame({"fold": folds, "cluster": clusters}).drop_duplicates()
    torn = int((pairs.groupby("cluster").size() > 1).sum())
    if torn:
        raise SplitError(
            f"Expected folds that keep together what any evidence ties, found {torn} of {pairs['cluster'].nunique()} "
            "clusters in several folds.",
            "Prepare with grouping: all. What leakage adds is measured by `fibrokd inflate`.",
        )


def _named(used: np.ndarray, test: np.ndarray, aside: Mapping[str, np.ndarray]) -> list[str]:
    named = np.full(len(used), "train", dtype=object)
    for split, rows in {**aside, "test": test, "": ~used}.items():
        named[rows] = split
    return [str(name) for name in named]


def _together(
    config: CrossvalConfig, prepared: Prepared, rounds: Mapping[str, Path], left_out: Mapping[str, int], out: Path
) -> Record:
    """Assess the answers of all rounds as those of one network per name."""
    inputs = {"prepared": prepared.record.digest}
    inputs |= {f"round_{name}": read_record(folder / "assess").digest for name, folder in rounds.items()}
    settings = {"by": config.by, **config.assess.model_dump(mode="json", exclude={"latency_repeats"})}
    step = begin(out, "crossval", settings, inputs)
    if step.finished:
        return step.record
    part = select(prepared, Selection(stages=config.assess.stages))
    by_round = {
        name: read_predictions(folder / "assess" / "predictions.csv", part.scale) for name, folder in rounds.items()
    }
    answers = [found for parts in by_round.values() for found in parts]
    # Validation answers are left out: thresholds fixed on them would be fixed on the very patients that are tested.
    together = list(_pooled(answers))
    write_predictions(out / "predictions.csv", together)
    write_image_facts(out / "images.csv", _facts(part, together[0]))
    documents = {name: read_json(folder / "assess" / "metrics.json") for name, folder in rounds.items()}
    spread = rounds_document(documents)
    first = next(iter(rounds.values()))
    told = {"by": config.by, "left_out": dict(left_out), "networks": spread}
    told["agreement"] = agreement_of_rounds(by_round, config.assess.bootstrap)
    write_json(out / "rounds.json", told)
    assessed = Assessed(
        plan=config.assess,
        prepared=part,
        cards={name: read_json(first / name / "card.json") for name in spread},
        provenance=inputs,
        integrity=of_any_split(read_json(prepared.folder / "integrity.json")),
        rounds=told,
    )
    outputs = write_numbers(assessed, out)
    record = step.finish([*outputs, "rounds.json"])
    say(f"  {len(rounds)} rounds together: {out / 'report.html'}")
    return record


def _facts(prepared: Prepared, tested: Predictions) -> ImageFacts:
    """Facts of all images; whatever was tested in some round is a test image here."""
    table = image_facts(prepared).table
    known = table["image_id"].isin(set(tested.image_ids))
    return ImageFacts(table.assign(split=known.map({True: "test", False: ""})))


def _pooled(answers: list[Predictions]) -> Iterator[Predictions]:
    for network in dict.fromkeys(part.network for part in answers):
        yield pooled([part for part in answers if (part.network, part.split) == (network, "test")])
