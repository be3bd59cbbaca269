"""A study's document: study.json from the trials, and what a reader must be warned of. Computes no metric itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.study.costs import Shape, costs, quietest
from fibrokd.evaluation.study.families import Declaration, comparisons, spreads_of, teachers_against_none
from fibrokd.evaluation.study.pooled import Pool, Trial, pools, summary

FORMAT = 5
TEACHER = "teacher:"
"""How the rows of teachers begin."""


def study_document(
    trials: Sequence[Trial],
    arms: Mapping[str, Declaration],
    references: Sequence[str],
    config: BootstrapConfig,
    teachers: Sequence[Trial] = (),
) -> dict[str, Any]:
    """Return the content of study.json.

    Args:
        trials: Finished cells.
        arms: Name → what was declared, in the order of the tables.
        references: Arms that every other one is compared with, as far as they are there.
        config: How intervals are made.
        teachers: The teachers' own answers, under their names.
    """
    pooled = pools(trials, config)
    taught = {(arm, fraction): pool for (arm, _, fraction), pool in pools(teachers, config).items()}
    order, least_ms = list(arms), quietest([*trials, *teachers])
    rows = [
        {
            **_row(pooled[key], least_ms, [taught.get((name, key[2])) for name in arms[key[0]].teachers]),
            "note": arms[key[0]].note,
            "control": arms[key[0]].control,
            "teachers": list(arms[key[0]].teachers),
        }
        for key in sorted(pooled, key=lambda key: (key[1], -key[2], order.index(key[0])))
    ]
    rows += [
        {**_row(pool, least_ms), "arm": TEACHER + pool.trials[0].arm, "note": "", "control": False, "teachers": []}
        for pool in taught.values()
    ]
    compared = comparisons(pooled, arms, references)
    standing = teachers_against_none(pooled, taught, arms, references)
    return {
        "format": FORMAT,
        "bootstrap": {"resamples": config.resamples, "level": config.level, "seed": config.seed},
        "warnings": [*_too_few_resamples(compared, config), *_weak_teachers(standing)],
        "rows": rows,
        "trainings": [
            {"backbone": backbone, "fraction": fraction, "stages": list(stages), "metric": metric, **asdict(spread)}
            for (backbone, fraction, stages, metric), spread in spreads_of(pooled).items()
        ],
        "comparisons": compared,
        "teachers": standing,
    }


def _row(pool: Pool, least_ms: Mapping[Shape, float], teachers: Sequence[Pool | None] = ()) -> dict[str, Any]:
    first = pool.trials[0]
    return {
        "arm": first.arm,
        "method": first.facts.get("method", {}).get("kind"),
        "backbone": first.backbone,
        "fraction": first.fraction,
        "seeds": list(pool.seeds),
        "stages": list(pool.stages),
        "images": len(first.answers),
        "images_by_stage": np.bincount(first.answers.truth, minlength=len(pool.stages)).tolist(),
        "clusters": pool.clusters,
        "metrics": summary(pool),
        "cost": costs(pool, least_ms, teachers),
    }


def _too_few_resamples(compared: Sequence[Mapping[str, Any]], config: BootstrapConfig) -> list[str]:
    largest = max((entry["family_size"] for entry in compared), default=0)
    least = 2 * largest / (config.resamples + 1)
    if least <= (1 - config.level) / 5:
        return []
    return [
        (
            f"{config.resamples} resamples are too few for {largest} comparisons: no corrected p-value of that family "
            f"can begin below {least:.3f}. Raise `bootstrap.resamples`."
        )
    ]


def _weak_teachers(standing: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        (
            f"Teacher `{entry['teacher']}` is not better than `{entry['reference']}` ({entry['backbone']}, "
            f"{100 * entry['fraction']:g} % of the training patients; balanced accuracy {signed(entry)}): that its "
            "students gain nothing by it cannot be interpreted."
        )
        for entry in standing
        if entry["metric"] == "balanced_accuracy" and not entry["better"]
    ]


def signed(entry: Mapping[str, Any]) -> str:
    """Return a difference with its interval, or why there is none."""
    if entry["value"] is None:
        return str(entry["note"])
    bounds = "" if entry["low"] is None else f" [{entry['low']:+.3f}, {entry['high']:+.3f}]"
    return f"{entry['value']:+.3f}{bounds}"


def p_value(value: float) -> str:
    """Return a p-value as it is printed."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
