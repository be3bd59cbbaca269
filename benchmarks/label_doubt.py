"""Whether labels that the error atlas doubts are wrong ones: known wrong labels, and planted ones.

    python -m benchmarks.label_doubt ASSESS PREPARED PHANTOM [--share 0.08] [--repeats 50] [--seed 0]

ASSESS is a finished folder of networks on the phantom, PREPARED the prepared cohort, PHANTOM the rendered one. ``own``:
patients whose written stage differs from their true one, as biopsies and readers err, by one stage mostly. ``planted``:
a share of the test clusters is filed under another stage drawn by chance, at least one or two stages off; training
labels stay as they are. Of each: area under the curve of the doubt over clusters, and the share of wrong labels among
the 20 most doubted, beside the same of the network's own error alone (``severity``).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sklearn.metrics import roc_auc_score

from fibrokd.data.prepared import Prepared, read_table
from fibrokd.evaluation.atlas.doubt import doubts, ranked
from fibrokd.evaluation.predictions import Predictions, read_predictions
from fibrokd.evaluation.severity import severity

TOP = 20


def found(answers: Predictions, doubt: Float[np.ndarray, " N"], wrong: Bool[np.ndarray, " N"]) -> tuple[float, float]:
    """Return the area under the curve, and the share of wrong labels among the most doubted clusters."""
    order = ranked(answers, doubt)
    truly = [bool(wrong[item.row]) for item in order]
    return float(roc_auc_score(truly, [item.doubt for item in order])), float(np.mean(truly[:TOP]))


def both(answers: Predictions, stages: Int[np.ndarray, "N k"], wrong: Bool[np.ndarray, " N"]) -> dict[str, np.ndarray]:
    """Return both figures by what the clusters are ranked by."""
    ways = {"doubt": doubts(answers, stages), "severity": severity(answers)}
    return {name: np.array(found(answers, values, wrong)) for name, values in ways.items()}


def planted(
    answers: Predictions, share: float, least: int, random: np.random.Generator
) -> tuple[Predictions, Bool[np.ndarray, " N"]]:
    """Return the answers under labels of which a share of the clusters is at least ``least`` stages off."""
    groups, truth = np.array(answers.groups), answers.truth.copy()
    names = np.unique(groups)
    for name in random.choice(names, round(share * len(names)), replace=False):
        own = groups == name
        others = [stage for stage in range(len(answers.scale)) if abs(stage - truth[own][0]) >= least]
        truth[own] = random.choice(others)
    return replace(answers, truth=truth), truth != answers.truth


def measure(assess: Path, prepared: Prepared, phantom: Path, share: float, repeats: int, seed: int) -> dict[str, Any]:
    """Return every figure of every network."""
    truth = pd.read_csv(phantom / "truth.csv", dtype=str).set_index("path")
    named = pd.read_csv(prepared.folder / "identities.csv", dtype=str).set_index("image_id")["path"]
    index = {name: stage for stage, name in enumerate(prepared.scale.names)}
    table = read_table(assess / "neighbours.csv")
    result: dict[str, Any] = {"share": share, "repeats": repeats, "seed": seed}
    for part in read_predictions(assess / "predictions.csv", prepared.scale):
        if part.split != "test":
            continue
        own = table[table["network"] == part.network]
        stages = own["stage"].map(index).to_numpy().reshape(len(part), -1)
        rows = truth.loc[named.loc[list(part.image_ids)]]
        wrong = (rows["stage"] != rows["stage_true"]).to_numpy()
        random = np.random.default_rng(seed)
        drawn = {
            least: [
                both(answers, stages, flipped) for answers, flipped in _planted(part, share, least, random, repeats)
            ]
            for least in (1, 2)
        }
        result[part.network] = {
            "own": {"share": float(wrong.mean()), **_rounded(both(part, stages, wrong))},
            **{
                f"planted_{least}": _rounded({way: np.mean([draw[way] for draw in draws], axis=0) for way in draws[0]})
                for least, draws in drawn.items()
            },
        }
    return result


def _planted(
    part: Predictions, share: float, least: int, random: np.random.Generator, repeats: int
) -> list[tuple[Predictions, Bool[np.ndarray, " N"]]]:
    return [planted(part, share, least, random) for _ in range(repeats)]


def _rounded(figures: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {
        way: {"auc": round(float(auc), 3), f"of_top_{TOP}": round(float(top), 3)} for way, (auc, top) in figures.items()
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("assess", "prepared", "phantom"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--share", type=float, default=0.08)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    prepared = Prepared.open(given.prepared)
    figures = measure(given.assess, prepared, given.phantom, given.share, given.repeats, given.seed)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
