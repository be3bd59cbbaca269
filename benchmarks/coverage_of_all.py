"""How often every interval that ``assess`` prints holds the truth, in cohorts drawn from a population that is known.

    python -m benchmarks.coverage_of_all [--cohorts 500] [--patients 200] [--lowest 25]

Two networks answer the pictures of every cohort. Thresholds, a temperature and the threshold of stage sets are fixed
once, on patients of their own, as a released network has them; the truth is what the very same functions answer on
20,000 patients. Nominal is 95 %. A figure without an interval in a cohort does not count there; in how many it has one
is told. Patients and pictures are those of ``benchmarks.coverage``.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy.special import softmax

from benchmarks.coverage import FRAMES
from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.predictions import Predictions
from fibrokd.stages import METAVIR

POPULATION = 20_000
SKILLS = {"first": 1.2, "second": 1.5}
COSTS = {name: {"parameters": 1} for name in SKILLS}
FIXED = {"val": 200, "calibration": 200}
"""Patients on whom thresholds are fixed."""


def answers(random: np.random.Generator, patients: int, split: str) -> list[Predictions]:
    """Return what both networks answer about new patients: half of what they err with is the picture's, for both."""
    K, images = len(METAVIR), patients * FRAMES
    truth = np.repeat(random.integers(K, size=patients), FRAMES)
    near = -np.abs(np.subtract.outer(truth, np.arange(K)))
    shared = np.repeat(random.normal(size=(patients, K)), FRAMES, axis=0) + random.normal(size=(images, K))
    names = tuple(f"{split}{k}" for k in range(images))
    groups = tuple(f"{split}p{k}" for k in np.repeat(np.arange(patients), FRAMES).tolist())
    return [
        Predictions(name, split, names, groups, truth, softmax(skill * near + own, axis=1), METAVIR)
        for name, skill in SKILLS.items()
        for own in [np.sqrt(0.5) * (shared + random.normal(size=(images, K)) * np.sqrt(2))]
    ]


def told(fixed: list[Predictions], tested: list[Predictions], config: BootstrapConfig) -> dict[str, Mapping[str, Any]]:
    """Return every figure with its bounds, by where it stands in metrics.json."""
    document = metrics_document([*fixed, *tested], COSTS, config=config)
    figures = dict(_leaves(document["networks"]["first"]["test"], ""))
    for entry in document["comparisons"]:
        if entry["split"] == "test":
            name = "/".join(entry[key] for key in ("metric", "end_point", "rule") if key in entry)
            figures[f"difference/{name}"] = entry["difference"]
    return figures


def _leaves(part: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(part, dict) and {"value", "low", "high"} <= part.keys():
        yield path, part
    elif isinstance(part, dict | list):
        for name, inner in part.items() if isinstance(part, dict) else _named(part):
            yield from _leaves(inner, f"{path}/{name}" if path else str(name))


def _named(entries: list[Any]) -> Iterator[tuple[str, Any]]:
    """Entries of a list by what they are about; bins of a diagram move with the cohort and have no truth."""
    for entry in entries:
        about = [key for key in ("prevalence", "probability") if isinstance(entry, dict) and key in entry]
        if about:
            yield f"at {entry[about[0]]}", entry


def held(seed: int, patients: int, cohorts: int, resamples: int) -> dict[str, dict[str, float]]:
    """Return, of every figure, the share of cohorts whose interval holds the truth, and in how many it was told."""
    random = np.random.default_rng(seed)
    fixed = [part for split, number in FIXED.items() for part in answers(random, number, split)]
    quick = BootstrapConfig(resamples=100)
    truth = {name: entry["value"] for name, entry in told(fixed, answers(random, POPULATION, "test"), quick).items()}
    kept: dict[str, list[bool]] = defaultdict(list)
    for number in range(cohorts):
        config = BootstrapConfig(resamples=resamples, seed=number)
        for name, entry in told(fixed, answers(random, patients, "test"), config).items():
            if entry["low"] is not None and truth.get(name) is not None:
                kept[name].append(entry["low"] <= truth[name] <= entry["high"])
    return {
        name: {"held": float(np.mean(found)), "told": len(found) / cohorts, "truth": truth[name]}
        for name, found in kept.items()
    }


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=500)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lowest", type=int, default=25, help="how many of the least covered figures to name")
    options = parser.parse_args()
    found = held(options.seed, options.patients, options.cohorts, options.resamples)
    shares = np.array([entry["held"] for entry in found.values()])
    lowest = sorted(found.items(), key=lambda item: item[1]["held"])[: options.lowest]
    summary = {
        "figures": len(shares),
        "median": float(np.median(shares)),
        "below_93": int((shares < 0.93).sum()),
        "above_97": int((shares > 0.97).sum()),
        "standard_error_at_95": round((0.95 * 0.05 / options.cohorts) ** 0.5, 4),
    }
    print(json.dumps({**vars(options), **summary, "lowest": dict(lowest), "all": found}, indent=2))


if __name__ == "__main__":
    main()
