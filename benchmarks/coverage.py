"""How often intervals of ``assess`` hold the truth: cohorts are drawn again and again from a population that is known.

    python -m benchmarks.coverage [--cohorts 1000] [--patients 20 50 100 200 400]

Patients have a stage each, five pictures, and an effect of their own that the network errs with. ``clusters`` resamples
patients, as the reports do; ``images`` resamples single pictures, as if they were independent. Nominal is 95 %; the
standard error of a share is beside it. The truth is that of a population of 400,000 patients.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import softmax

from fibrokd.evaluation.intervals import BootstrapConfig, bootstrap, metric_interval
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import totals_by_group
from fibrokd.stages import METAVIR

FRAMES = 5
POPULATION = 400_000


def cohort(random: np.random.Generator, patients: int, frames: int = FRAMES) -> Predictions:
    """Return answers about new patients; what a patient's pictures share is as large as what they do not."""
    K = len(METAVIR)
    truth = np.repeat(random.integers(K, size=patients), frames)
    near = -np.abs(np.subtract.outer(truth, np.arange(K)))
    own = np.repeat(random.normal(size=(patients, K)), frames, axis=0)
    logits = 1.2 * near + own + random.normal(size=(patients * frames, K))
    names = tuple(f"i{k}" for k in range(patients * frames))
    groups = tuple(f"p{k}" for k in np.repeat(np.arange(patients), frames).tolist())
    return Predictions("drawn", "test", names, groups, truth, softmax(logits, axis=1), METAVIR)


def truths(random: np.random.Generator, population: int) -> dict[str, float]:
    """Return the metrics of the whole population."""
    totals = totals_by_group(cohort(random, population, 1)).pooled()
    return {name: float(METRICS[name].function(totals)[0]) for name in HEADLINE}


def coverage(
    random: np.random.Generator, patients: int, cohorts: int, known: dict[str, float], resamples: int
) -> dict[str, dict[str, float]]:
    """Return the share of cohorts whose interval holds the truth, patients resampled and pictures resampled."""
    held = {way: dict.fromkeys(HEADLINE, 0) for way in ("clusters", "images")}
    config = BootstrapConfig(resamples=resamples)
    for number in range(cohorts):
        part = cohort(random, patients)
        sampling = config.model_copy(update={"seed": number})
        for way, answers in (("clusters", part), ("images", replace(part, groups=part.image_ids))):
            sample = bootstrap(answers, sampling)
            for name in HEADLINE:
                found = metric_interval(METRICS[name], sample)
                if found.low is not None and found.high is not None:
                    held[way][name] += found.low <= known[name] <= found.high
    return {way: {name: count / cohorts for name, count in counts.items()} for way, counts in held.items()}


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--patients", type=int, nargs="+", default=[20, 50, 100, 200, 400])
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    known = truths(random, POPULATION)
    found: dict[str, Any] = {
        str(patients): coverage(random, patients, options.cohorts, known, options.resamples)
        for patients in options.patients
    }
    error = round((0.95 * 0.05 / options.cohorts) ** 0.5, 4)
    told = {"cohorts": options.cohorts, "standard_error_at_95": error, "truth": known, "coverage": found}
    print(json.dumps(told | {"frames": FRAMES, "resamples": options.resamples, "seed": options.seed}, indent=2))


if __name__ == "__main__":
    main()
