"""Judges registered claims by the cells of studies. Formats nothing.

A contrast is a sum of figures of several arms on the same test images. Seeds that all of its arms have are pooled;
patients are resampled, the same ones for every network. Its p-value is two-sided against the bound that the claim
names, and multiplied by the number of claims that have contrasts (Bonferroni), judged or not: so no verdict depends on
which others are judged already. Resampled patients know nothing of how far two trainings of one method differ, so a
claim is only reproduced where every seed by itself lies on the claimed side, too.

A claim that names several contrasts needs all of them: the largest p decides. One of them contradicts it, where every
seed lies on the other side: then the smallest p of such contrasts decides, times the number of all. Findings are not
tested.

References:
    Berger, Technometrics 1982;24:295 (all of several hypotheses).

Shape letters: R resamples, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.calibration.differences import distances_of_differences
from fibrokd.evaluation.claims.register import ArmOf, Claim, ClaimsConfig, Contrast, Finding
from fibrokd.evaluation.intervals import MAX_UNDEFINED, MIN_CLUSTERS, require_same_images
from fibrokd.evaluation.study.pooled import CALIBRATION, Pool

TEACHER = "teacher:"
Pools = Mapping[ArmOf, Pool]
Outcome = Literal["reproduced", "contradicted", "seen in every seed", "seen in no seed", "not shown", "not tested yet"]


@dataclass(frozen=True)
class Figure:
    """What was found of one contrast or finding.

    Args:
        value: Mean over seeds.
        by_seed: Of every seed.
        holds: Whether value and every seed lie beyond the bound on the claimed side.
        fails: Whether they do on the other side.
        low: Lower bound; None for a finding.
        high: Upper bound; None for a finding.
        p: Two-sided p-value against the claimed bound; None for a finding.
    """

    value: float
    by_seed: tuple[float, ...]
    holds: bool
    fails: bool
    low: float | None = None
    high: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Judgement:
    """What became of a claim.

    Args:
        outcome: See :data:`Outcome`.
        contrasts: Of every contrast.
        findings: Of every finding.
        p: Corrected p-value; None where nothing is tested.
        missing: What is not there yet, in words.
    """

    outcome: Outcome
    contrasts: tuple[Figure, ...] = ()
    findings: tuple[Figure, ...] = ()
    p: float | None = None
    missing: tuple[str, ...] = ()


class MissingError(Exception):
    """Something that a contrast or finding needs is not there; a verdict says so, and no command fails."""


def judge_claims(config: ClaimsConfig, pools: Pools) -> dict[str, Judgement]:
    """Judge every claim of a register.

    Args:
        config: The register.
        pools: Finished networks of the arms that it names, as far as there are any.

    Raises:
        TableError: Arms of a contrast were assessed on different test images.
    """
    tested = sum(bool(claim.contrasts) for claim in config.claims.values())
    return {name: _judged(claim, config, pools, tested) for name, claim in config.claims.items()}


def _judged(claim: Claim, config: ClaimsConfig, pools: Pools, tested: int) -> Judgement:
    missing: list[str] = []
    figures: list[Figure] = []
    for part in claim.parts:
        try:
            seeds = shared_seeds(part, pools, config.seeds)
            judge = contrast_figure if isinstance(part, Contrast) else finding_figure
            figures.append(judge(part, pools, seeds, config.level))  # type: ignore[arg-type]  # judge fits part
        except MissingError as error:
            missing.append(str(error))
    if missing:
        return Judgement("not tested yet", missing=tuple(dict.fromkeys(missing)))
    contrasts, findings = tuple(figures[: len(claim.contrasts)]), tuple(figures[len(claim.contrasts) :])
    holding = all(figure.holds for figure in figures)
    if not contrasts:
        seen: Outcome = "seen in every seed" if holding else "not shown"
        return Judgement("seen in no seed" if all(f.fails for f in findings) else seen, (), findings)
    failing = [figure.p for figure in contrasts if figure.fails and figure.p is not None]
    decisive = len(contrasts) * min(failing) if failing else max(figure.p or 0.0 for figure in contrasts)
    p = min(1.0, tested * decisive)
    outcome: Outcome = "not shown"
    if p < 1 - config.level and (holding or failing):
        outcome = "reproduced" if holding else "contradicted"
    return Judgement(outcome, contrasts, findings, p)


def shared_seeds(part: Contrast | Finding, pools: Pools, least: int) -> tuple[int, ...]:
    """Return the seeds that all arms of a part have; teachers stand for every seed.

    Raises:
        MissingError: There are fewer than wanted.
    """
    absent = [str(arm) for arm in part.arms if arm not in pools]
    students = [set(pools[arm].seeds) for arm in part.arms if arm in pools and not arm.arm.startswith(TEACHER)]
    common = set.intersection(*students) if students else set(range(least))
    if absent or len(common) < least:
        told = [f"{arm} ({len(pools[arm].seeds) if arm in pools else 0} networks)" for arm in dict.fromkeys(part.arms)]
        raise MissingError(f"{least} seeds that {', '.join(told)} have in common")
    return tuple(sorted(common))


def contrast_figure(contrast: Contrast, pools: Pools, seeds: Sequence[int], level: float) -> Figure:
    """Return a contrast with its interval and p-value: by percentiles, of calibration errors symmetric about the value.

    Args:
        contrast: Which arms, which metric, which bound.
        pools: Networks of every arm that it names.
        seeds: Which of their seeds.
        level: Nominal coverage.

    Raises:
        TableError: Arms were assessed on different test images.
        MissingError: The figure cannot be estimated.
    """
    fewest = min((pools[arm].stages for arm in contrast.arms), key=len)
    cut = {arm: pools[arm].on_stages(fewest) for arm in contrast.arms}
    first = cut[contrast.arms[0]].trials[0].answers
    for pool in cut.values():
        for trial in pool.trials:
            require_same_images(first, trial.answers)
    by_seed = {arm: _rows(pool.values(contrast.metric), pool, seeds) for arm, pool in cut.items()}
    drawn = {arm: _rows(pool.resampled(contrast.metric), pool, seeds).mean(axis=0) for arm, pool in cut.items()}
    values = _combined(contrast, by_seed)
    value = float(values.mean())
    resampled = _combined(contrast, drawn)
    known = resampled[np.isfinite(resampled)]
    clusters = cut[contrast.arms[0]].clusters
    if not np.isfinite(value) or clusters < MIN_CLUSTERS or len(known) < (1 - MAX_UNDEFINED) * len(resampled):
        raise MissingError(f"patients enough to estimate {contrast.metric.replace('_', ' ')}")
    if contrast.metric == CALIBRATION:
        added = {arm: np.array([max(0.0, np.nanmean(drawn[arm]) - by_seed[arm].mean())]) for arm in by_seed}
        distance = distances_of_differences(known, float(max(_both_sides(contrast, added))[0]))
        interval = _symmetric_interval(contrast, value, distance, level)
    else:
        interval = _interval(contrast, known, level)
    return Figure(value, *_sides(contrast, values), *interval)


def _interval(contrast: Contrast, known: Float[np.ndarray, " R"], level: float) -> tuple[float, float, float]:
    """Bounds, and the two-sided p-value against the claimed bound; never 0, for R resamples cannot tell that."""
    low, high = (float(bound) for bound in np.quantile(known, [(1 - level) / 2, (1 + level) / 2]))
    beyond = min(np.count_nonzero(known <= contrast.limit), np.count_nonzero(known >= contrast.limit))
    return low, high, min(1.0, 2 * (beyond + 1) / (len(known) + 1))


def _symmetric_interval(
    contrast: Contrast, value: float, distance: Float[np.ndarray, " R"], level: float
) -> tuple[float, float, float]:
    """The same from how far the value may lie from the truth."""
    reach = float(np.quantile(distance, level))
    beyond = np.count_nonzero(distance >= abs(value - contrast.limit))
    return value - reach, value + reach, (beyond + 1) / (len(distance) + 1)


def _rows(values: np.ndarray, pool: Pool, seeds: Sequence[int]) -> np.ndarray:
    """The seeds' rows; of a teacher, its one row for each."""
    if pool.trials[0].arm.startswith(TEACHER):
        return np.repeat(values[:1], len(seeds), axis=0)
    return values[[pool.seeds.index(seed) for seed in seeds]]


def _combined(contrast: Contrast, figures: Mapping[ArmOf, np.ndarray]) -> np.ndarray:
    """The contrast, element by element of equal arrays."""
    plus, minus = _both_sides(contrast, figures)
    difference: np.ndarray = plus - minus
    return difference


def _both_sides(contrast: Contrast, figures: Mapping[ArmOf, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What is made of the arms that count, and of those that are subtracted (zeros, where there are none)."""

    def side(arms: Sequence[ArmOf]) -> np.ndarray:
        if not arms:
            return np.zeros_like(next(iter(figures.values())))
        total = np.stack([figures[arm] for arm in arms]).sum(axis=0)
        return np.asarray(total / len(arms) if contrast.combine == "mean" else total)

    return side(contrast.plus), side(contrast.minus)


def _sides(part: Contrast | Finding, values: np.ndarray) -> tuple[tuple[float, ...], bool, bool]:
    """Every seed's value, and whether all of them are beyond the bound on one side or the other."""
    told = tuple(float(value) for value in values)
    return told, all(map(part.holds, told)), all(map(part.fails, told))


def finding_figure(finding: Finding, pools: Pools, seeds: Sequence[int], level: float = 0.0) -> Figure:
    """Return a reported figure, seed by seed.

    Args:
        finding: Which figure of which arm, less which.
        pools: Networks of the arms that it names.
        seeds: Which of their seeds.
        level: Of no account.

    Raises:
        MissingError: A cell does not report it.
    """
    del level
    values = _facts(pools[finding.of], finding.fact, seeds)
    if finding.less is not None or finding.less_fact is not None:
        values = values - _facts(pools[finding.less or finding.of], finding.less_fact or finding.fact, seeds)
    return Figure(float(values.mean()), *_sides(finding, values))


def _facts(pool: Pool, path: str, seeds: Sequence[int]) -> Float[np.ndarray, " S"]:
    trials = {trial.seed: trial for trial in pool.trials}
    if pool.trials[0].arm.startswith(TEACHER):
        trials = dict.fromkeys(seeds, pool.trials[0])
    return np.array([reported(trials[seed].facts, path, f"{trials[seed].arm}, seed {seed}") for seed in seeds])


def reported(facts: Mapping[str, Any], path: str, whose: str) -> float:
    """Return a figure that a cell reports of itself; of a list, its mean.

    Args:
        facts: The cell's result.
        path: Keys and places in lists, joined by dots.
        whose: Whose result it is, for the message.

    Raises:
        MissingError: There is no number at that place.
    """
    found: Any = facts
    try:
        for step in path.split("."):
            found = found[int(step)] if isinstance(found, list) else found[step]
        value = sum(found) / len(found) if isinstance(found, list) else float(found)
        if not math.isfinite(value):
            raise ValueError(value)
    except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError) as error:
        raise MissingError(f"{path} in the result of {whose} (train it anew: an earlier version wrote it)") from error
    return float(value)
