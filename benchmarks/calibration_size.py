"""How often a registered claim about calibration errors is called significant where there is nothing to find.

A calibration error is never below 0 and grows when patients are resampled, so the size of its test (wide bounds,
:func:`fibrokd.evaluation.claims.judged.contrast_figure`) is not what its name says. Cohorts are drawn over and over:
patients with an effect of their own, two pictures each, whose evidence three networks of each of two arms see with
noise of their own. An arm multiplies its logits by a factor: 1 is calibrated, more is too sure, less not enough. The
difference that is tested against is the true one: 0 where both arms have one factor, else that of a large population.

For every pair of factors one line of JSON: ``true_difference``; ``mean_difference``, what cohorts find on average;
``size``, the share of cohorts with p at or below each level (wanted: the level), with its standard error.

Run: ``python -m benchmarks.calibration_size [--cohorts 500] [--patients 350] [--resamples 1000] [--population 300000]``
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from scipy.special import softmax

from fibrokd.config import parse_config
from fibrokd.evaluation.calibration.binned import calibration_errors, confidence_sums
from fibrokd.evaluation.claims.contrasts import contrast_figure
from fibrokd.evaluation.claims.found import Figure
from fibrokd.evaluation.claims.register import ArmOf, Contrast
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.study.pooled import CALIBRATION, Pool, Trial, pools
from fibrokd.stages import METAVIR

ARMS = ArmOf("cohort", "one"), ArmOf("cohort", "other")
SEEDS = (0, 1, 2)
LEVELS = (0.05, 0.01, 0.0025)
FACTORS = ((1.0, 1.0), (1.5, 1.5), (0.6, 0.6), (1.5, 1.0), (0.6, 1.0), (1.5, 0.6))
CALIBRATED = 1.02
"""Factor of the evidence at which these networks are as sure as they are right."""


def answers(
    random: np.random.Generator, patients: int, factors: tuple[float, float]
) -> dict[ArmOf, tuple[Predictions, ...]]:
    """Return what the networks of both arms answer about new patients."""
    stages = len(METAVIR)
    truth = np.repeat(random.integers(stages, size=patients), 2)
    own = np.repeat(0.7 * random.normal(size=(patients, stages)), 2, axis=0)
    evidence = 1.5 * np.eye(stages)[truth] + own + 0.7 * random.normal(size=(2 * patients, stages))
    names = tuple(f"i{k}" for k in range(2 * patients))
    groups = tuple(f"p{k // 2}" for k in range(2 * patients))
    found = {}
    for arm, factor in zip(ARMS, factors, strict=True):
        seen = (CALIBRATED * factor * (evidence + 0.7 * random.normal(size=evidence.shape)) for _ in SEEDS)
        said = (softmax(logits, axis=1) for logits in seen)
        found[arm] = tuple(Predictions(arm.arm, "test", names, groups, truth, p, METAVIR) for p in said)
    return found


def cohort(
    random: np.random.Generator, patients: int, factors: tuple[float, float], resamples: int
) -> dict[ArmOf, Pool]:
    """Return both arms as a study finds them."""
    found = answers(random, patients, factors)
    config = BootstrapConfig(resamples=resamples)
    trials = {arm: [Trial(arm.arm, "drawn", 1.0, *one, {}) for one in enumerate(said)] for arm, said in found.items()}
    return {arm: next(iter(pools(drawn, config).values())) for arm, drawn in trials.items()}


def errors(random: np.random.Generator, patients: int, factors: tuple[float, float]) -> tuple[float, float]:
    """Return the calibration error of both arms, without intervals: of populations too large to resample."""
    sums = {arm: [confidence_sums(one) for one in said] for arm, said in answers(random, patients, factors).items()}
    every = np.ones((1, patients))
    one, other = (float(np.mean([calibration_errors(s, every)[0] for s in sums[arm]])) for arm in ARMS)
    return one, other


def contrast(drawn: dict[ArmOf, Pool], true_difference: float) -> Figure:
    """Return the difference of both arms, with its p-value against the true one."""
    names = [str(arm) for arm in ARMS]
    wanted = {"metric": CALIBRATION, "plus": names[:1], "minus": names[1:], "above": true_difference}
    return contrast_figure(parse_config(wanted, Contrast), drawn, {}, SEEDS, 0.95)


def size(random: np.random.Generator, factors: tuple[float, float], options: argparse.Namespace) -> dict[str, Any]:
    """Return how often both arms are called different from what they are."""
    one, other = errors(random, options.population, factors)
    true = 0.0 if factors[0] == factors[1] else one - other
    drawn = (cohort(random, options.patients, factors, options.resamples) for _ in range(options.cohorts))
    found = [contrast(pair, true) for pair in drawn]
    p = np.array([figure.p for figure in found], dtype=float)
    shares = {level: float((p <= level).mean()) for level in LEVELS}
    deviations = {level: (share * (1 - share) / len(p)) ** 0.5 for level, share in shares.items()}
    return {
        "factors": factors,
        "errors": [round(one, 4), round(other, 4)],
        "true_difference": round(true, 4),
        "mean_difference": round(float(np.mean([figure.value for figure in found])), 4),
        "size": {str(level): [round(shares[level], 4), round(deviations[level], 4)] for level in LEVELS},
    }


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=500)
    parser.add_argument("--patients", type=int, default=350)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--population", type=int, default=300_000, help="patients of whom the true difference is")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for k, factors in enumerate(FACTORS):
        print(json.dumps(size(np.random.default_rng([options.seed, k]), factors, options)), flush=True)


if __name__ == "__main__":
    main()
