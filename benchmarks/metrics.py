"""Time and memory of the numbers of ``assess`` on a million answers, beside a loop over scikit-learn.

    python -m benchmarks.metrics

100,000 made-up patients of ten pictures each: one network, a test split of that size and validation and calibration
splits of 2,000 patients. ``seconds`` is the wall time of metrics.json whole: every metric, stage, end point,
calibration, stage sets, patients and subgroups, with 1,000 resamples of patients. The loop resamples patients and asks
scikit-learn for the four headline metrics and three areas; its time is that of a few resamples, times 1,000 over their
number.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, f1_score, roc_auc_score

from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.image_facts import ImageFacts
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.predictions import Predictions
from fibrokd.memory import peak_mb
from fibrokd.stages import METAVIR

SCANNERS = np.array(["sonova", "echolab", "mirasono", "handix"])


def answers(split: str, patients: int, frames: int, seed: int) -> Predictions:
    """Return answers whose errors are shared by the pictures of a patient."""
    random = np.random.default_rng(seed)
    K, N = len(METAVIR), patients * frames
    truth = np.repeat(random.integers(K, size=patients), frames)
    own = np.repeat(random.normal(0, 1, (patients, K)), frames, axis=0) + random.normal(0, 0.7, (N, K))
    logits = own - 1.2 * np.abs(np.subtract.outer(truth, np.arange(K)))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    names = tuple(f"{split}{number:08d}" for number in range(N))
    groups = tuple(f"{split}{patient:07d}" for patient in np.repeat(np.arange(patients), frames).tolist())
    return Predictions("student", split, names, groups, truth, p / p.sum(axis=1, keepdims=True), METAVIR)


def facts(parts: list[Predictions], seed: int) -> ImageFacts:
    """Return what is known of the pictures: patient, scanner, and a number about each."""
    random = np.random.default_rng(seed)
    groups = np.concatenate([np.array(part.groups) for part in parts])
    patient = pd.factorize(groups)[0]
    steatosis = np.round(random.uniform(0, 0.6, patient.max() + 1), 3)[patient]
    table = {
        "image_id": [name for part in parts for name in part.image_ids],
        "split": [part.split for part in parts for _ in part.image_ids],
        "patient": (patient + 1).astype(str),
        "study": "1",
        "scanner": SCANNERS[random.integers(len(SCANNERS), size=patient.max() + 1)[patient]],
        "steatosis": steatosis.astype(str),
    }
    return ImageFacts(pd.DataFrame(table), {"steatosis": (0.05, 0.33)})


def loop(part: Predictions, resamples: int, seed: int) -> float:
    """Return the wall seconds of a resample of patients, scikit-learn asked for every figure."""
    random = np.random.default_rng(seed)
    rows_of = list(pd.Series(range(len(part))).groupby(np.array(part.groups)).indices.values())
    scores: list[Callable[[np.ndarray, np.ndarray], float]] = [
        accuracy_score,
        balanced_accuracy_score,
        lambda truth, said: f1_score(truth, said, average="macro"),
        lambda truth, said: cohen_kappa_score(truth, said, weights="quadratic"),
    ]
    started = time.perf_counter()
    for _ in range(resamples):
        rows = np.concatenate([rows_of[k] for k in random.integers(len(rows_of), size=len(rows_of))])
        truth, said, p = part.truth[rows], part.predicted[rows], part.probabilities[rows]
        for score in scores:
            score(truth, said)
        for cutoff in part.scale.cutoffs:
            roc_auc_score(truth >= cutoff, p[:, cutoff:].sum(axis=1))
    return (time.perf_counter() - started) / resamples


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--loop", type=int, default=3, help="resamples of the loop over scikit-learn")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    few = min(2000, options.patients)
    parts = [
        answers(split, size, options.frames, options.seed + number)
        for number, (split, size) in enumerate((("val", few), ("calibration", few), ("test", options.patients)))
    ]
    known = facts(parts, options.seed)
    before, started, used = peak_mb(), time.perf_counter(), time.process_time()
    config = BootstrapConfig(resamples=options.resamples)
    document = metrics_document(parts, {"student": {"parameters": 1}}, config=config, facts=known)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    peak = peak_mb()
    each = loop(parts[-1], options.loop, options.seed) if options.loop else None
    found = document["networks"]["student"]["test"]
    print(
        json.dumps(
            {
                "seconds": round(seconds, 1),
                "processor_seconds": round(processor, 1),
                "peak_gb": round(peak * 2**20 / 1e9, 2),
                "peak_before_gb": round(before * 2**20 / 1e9, 2),
                "images": found["images"],
                "clusters": found["clusters"],
                "resamples": options.resamples,
                "loop_seconds": None if each is None else round(each * options.resamples, 1),
                "loop_over_ours": None if each is None else round(each * options.resamples / seconds, 1),
                "loop_resamples_measured": options.loop,
                "seed": options.seed,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
