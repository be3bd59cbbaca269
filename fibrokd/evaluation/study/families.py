"""Which arms of a study are compared with which, and how the p-values of these comparisons are corrected.

Every hypothesis belongs to one family, and p-values are corrected within it (Holm). Arms that declare nothing are
compared with the reference arms: one family per reference, student, training fraction and metric. An arm that declares
what it is compared with, before anything is trained, has a family of its own. Computes no metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fibrokd.evaluation.comparisons.p_values import holm
from fibrokd.evaluation.study.pooled import COMPARED, TESTED, Pool, difference, is_better
from fibrokd.evaluation.study.trainings import Side, Spread, compare_arms, spread_of, variance_apart

Pools = Mapping[tuple[str, str, float], Pool]


@dataclass(frozen=True)
class Declaration:
    """What is known of an arm before anything is trained.

    Args:
        note: What is special about it.
        against: Arms that it is compared with, in a family of its own; ``None``: the references, as other arms are.
        endpoints: Metrics on which a declared comparison is tested, corrected together; empty: every one by itself.
        control: It is there for the arms that name it; compared with nothing unless it says so itself.
        unaided: It learns from labels alone, as method ``none`` does.
        teachers: Names of its teachers.
    """

    note: str = ""
    against: tuple[str, ...] | None = None
    endpoints: tuple[str, ...] = ()
    control: bool = False
    unaided: bool = False
    teachers: tuple[str, ...] = ()


def comparisons(pooled: Pools, arms: Mapping[str, Declaration], references: Sequence[str]) -> list[dict[str, Any]]:
    """Return the differences of all arms from what they are compared with, p-values corrected.

    Args:
        pooled: Finished networks by (arm, backbone, fraction).
        arms: Declarations, in the order of the tables.
        references: Arms that others are compared with unless they declare something else.

    Returns:
        One entry per pair, student, fraction and metric. ``p`` and ``p_holm`` are of these networks, and ``None`` where
        nothing is tested; ``p_arms`` and ``p_arms_holm`` are of their arms, over patients and trainings, with bounds
        ``arms_low`` and ``arms_high`` (:mod:`fibrokd.evaluation.study.trainings`), and ``None`` where an arm has one
        training. ``family`` says what they were corrected with, ``family_size`` how many hypotheses these are.
    """
    spreads = spreads_of(pooled)
    entries: list[dict[str, Any]] = []
    families: dict[tuple[str, str, float, str], list[dict[str, Any]]] = {}
    for (arm, backbone, fraction), pool in sorted(pooled.items(), key=lambda item: list(arms).index(item[0][0])):
        declared, place = arms[arm], (backbone, fraction)
        for reference in references_of(arm, place, pooled, arms, references):
            for metric in COMPARED:
                other, spread = pooled[reference, *place], spreads.get((*place, pool.stages, metric))
                found = difference(pool, other, metric)
                found |= _over_trainings(found, (pool, other), spread, metric)
                if declared.endpoints and metric not in declared.endpoints:
                    found["p"] = found["p_arms"] = None
                where = {"arm": arm, "reference": reference, "backbone": backbone, "fraction": fraction}
                uncorrected = {"p_holm": None, "p_arms_holm": None, "family": None, "family_size": 0}
                entry = {**where, "metric": metric, **found, **uncorrected}
                entries.append(entry)
                if found["p"] is not None:
                    owner = f"all against {reference}" if declared.against is None else f"declared by {arm}"
                    entry["family"] = owner
                    tested_as = "endpoints" if declared.endpoints else metric
                    families.setdefault((owner, backbone, fraction, tested_as), []).append(entry)
    for members in families.values():
        # Where one training is all there is of an arm, its hypothesis still counts: as one that nothing is known of.
        of_arms = holm([1.0 if e["p_arms"] is None else e["p_arms"] for e in members])
        for entry, adjusted, arms_adjusted in zip(members, holm([e["p"] for e in members]), of_arms, strict=True):
            entry["p_holm"], entry["family_size"] = adjusted, len(members)
            entry["p_arms_holm"] = None if entry["p_arms"] is None else arms_adjusted
    return entries


def spreads_of(pooled: Pools) -> dict[tuple[str, float, tuple[str, ...], str], Spread]:
    """Return how far trainings of one arm differ, by (backbone, fraction, stages, metric), where any arm has two."""
    found: dict[tuple[str, float, tuple[str, ...], str], list[tuple[float, int]]] = {}
    for (_, backbone, fraction), pool in pooled.items():
        if len(pool.seeds) > 1:
            for metric in COMPARED:
                deviation = float(pool.values(metric).std(ddof=1))
                found.setdefault((backbone, fraction, pool.stages, metric), []).append((deviation, len(pool.seeds)))
    spreads = {key: spread_of(deviations) for key, deviations in found.items()}
    return {key: spread for key, spread in spreads.items() if spread is not None}


def side_of(pool: Pool, metric: str, spread: Spread, weight: float = 1.0) -> Side:
    """Return an arm as one side of a difference."""
    deviation = float(pool.values(metric).std(ddof=1))
    return Side(deviation, len(pool.seeds), variance_apart(pool.resampled(metric)), spread, weight)


def _over_trainings(
    found: Mapping[str, Any], pair: tuple[Pool, Pool], spread: Spread | None, metric: str
) -> dict[str, float | None]:
    """The difference as one between arms; None where an arm has one training, or both tell other stages apart."""
    patients = found["patient_deviation"]
    alike = pair[0].stages == pair[1].stages and min(len(pool.seeds) for pool in pair) > 1
    if spread is None or patients is None or not alike or metric not in TESTED:
        return {"arms_low": None, "arms_high": None, "p_arms": None}
    sides = [side_of(pool, metric, spread) for pool in pair]
    test = compare_arms(found["value"], patients, sides, len(found["seeds"]), pair[0].config.level)
    return {"arms_low": test.low, "arms_high": test.high, "p_arms": test.p}


def references_of(
    arm: str,
    where: tuple[str, float],
    pooled: Pools,
    arms: Mapping[str, Declaration],
    references: Sequence[str],
) -> list[str]:
    """Return what an arm is compared with, as far as it is finished for this backbone and fraction.

    References that are the default must tell the same stages apart, and a pair of references is compared once.
    """
    declared = arms[arm]
    if declared.against is not None:
        return [name for name in declared.against if (name, *where) in pooled]
    if declared.control:
        return []
    earlier = references[: references.index(arm)] if arm in references else references
    stages = pooled[(arm, *where)].stages
    return [name for name in earlier if (name, *where) in pooled and pooled[(name, *where)].stages == stages]


def teachers_against_none(
    pooled: Pools,
    teachers: Mapping[tuple[str, float], Pool],
    arms: Mapping[str, Declaration],
    references: Sequence[str],
) -> list[dict[str, Any]]:
    """Return how far every teacher is from what its students reach without one.

    A teacher has one network, and is compared with the mean over the seeds of the arm from labels alone that its
    students are compared with. Nothing is tested; ``better`` is whether the interval lies on the good side of 0.

    Args:
        pooled: Finished networks by (arm, backbone, fraction).
        teachers: Pools of one network each, by (name, fraction).
        arms: Declarations.
        references: As for :func:`comparisons`.
    """
    wanted: dict[tuple[str, str, str, float], Pool] = {}
    for arm, backbone, fraction in pooled:
        for reference in references_of(arm, (backbone, fraction), pooled, arms, references):
            for name in arms[arm].teachers:
                if arms[reference].unaided and (name, fraction) in teachers:
                    wanted[name, reference, backbone, fraction] = pooled[reference, backbone, fraction]
    entries = []
    for (name, reference, backbone, fraction), other in wanted.items():
        for metric in TESTED:
            found = difference(teachers[name, fraction], other, metric, by_seed=False)
            low, high = found["low"], found["high"]
            clear = low is not None and high is not None and (low > 0 or high < 0)
            where = {"teacher": name, "reference": reference, "backbone": backbone, "fraction": fraction}
            figures = {"value": found["value"], "low": low, "high": high, "note": found["note"]}
            entries.append({**where, "metric": metric, **figures, "better": clear and is_better(found, metric)})
    return entries
