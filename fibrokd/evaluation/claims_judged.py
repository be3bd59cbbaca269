"""Judges registered claims by the cells of studies. Formats nothing.

A contrast is a function of figures of several arms on the same test images. Seeds are pooled; patients are resampled,
the same ones for every network. Its p-value is two-sided against the bound that the claim names. A claim that names
several contrasts needs all of them, so the largest p decides; it is contradicted by one of them, so the smallest does,
times their number. Both are corrected for the number of claims in the register (Holm), those that cannot be judged yet
included, lest the correction weaken as results come in.

References:
    Holm, Scand J Stat 1979;6:65. Berger, Technometrics 1982;24:295 (all of several hypotheses).

Shape letters: A arms, R resamples, S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from fibrokd.errors import ArtifactError
from fibrokd.evaluation.claims import ArmOf, Claim, ClaimsConfig, Contrast, Finding
from fibrokd.evaluation.intervals import require_same_images
from fibrokd.evaluation.study import CALIBRATION, Pool
from fibrokd.evaluation.study_families import holm

TEACHER = "teacher:"
Pools = Mapping[ArmOf, Pool]
Outcome = Literal["reproduced", "contradicted", "not shown", "not tested yet"]


@dataclass(frozen=True)
class Figure:
    """What was found of one contrast or finding.

    Args:
        value: Mean over seeds.
        by_seed: Of every seed.
        holds: Whether the value lies on the claimed side; of a finding, whether that of every seed does.
        fails: Whether it lies on the other side; of a finding, whether that of every seed does.
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


def judge_claims(config: ClaimsConfig, pools: Pools) -> dict[str, Judgement]:
    """Judge every claim of a register.

    Args:
        config: The register.
        pools: Finished networks of the arms that it names, as far as there are any.
    """
    found = {name: _found(claim, config, pools) for name, claim in config.claims.items()}
    tested = [name for name, claim in config.claims.items() if claim.contrasts]
    raw = [_p_value(found[name]) for name in tested]
    adjusted = dict(zip(tested, holm([1.0 if p is None else p for p in raw]), strict=True))
    return {name: _judged(one, adjusted.get(name), 1 - config.level) for name, one in found.items()}


def _found(claim: Claim, config: ClaimsConfig, pools: Pools) -> Judgement:
    missing = tuple(_missing(arm, pools, config.seeds) for arm in claim.arms)
    if any(missing):
        return Judgement("not tested yet", missing=tuple(filter(None, missing)))
    return Judgement(
        "not shown",
        tuple(contrast_figure(contrast, pools, config.level) for contrast in claim.contrasts),
        tuple(finding_figure(finding, pools) for finding in claim.findings),
    )


def _missing(arm: ArmOf, pools: Pools, seeds: int) -> str:
    there = len(pools[arm].seeds) if arm in pools else 0
    wanted = 1 if arm.arm.startswith(TEACHER) else seeds
    return "" if there >= wanted else f"{arm} ({there} of {wanted})"


def _p_value(found: Judgement) -> float | None:
    """Of the claim, where every part holds; of its contradiction, where a contrast fails."""
    if not found.contrasts:
        return None
    wrong = [figure.p or 1.0 for figure in found.contrasts if figure.fails]
    if wrong:
        return min(1.0, len(found.contrasts) * min(wrong))
    return max(figure.p or 1.0 for figure in found.contrasts)


def _judged(found: Judgement, p: float | None, alpha: float) -> Judgement:
    if found.missing:
        return found
    sure = p is None or p < alpha
    failing = any(f.fails for f in found.findings) or (sure and any(f.fails for f in found.contrasts))
    holding = all(f.holds for f in (*found.contrasts, *found.findings))
    outcome: Outcome = "contradicted" if failing else "reproduced" if sure and holding else "not shown"
    return Judgement(outcome, found.contrasts, found.findings, p)


def contrast_figure(contrast: Contrast, pools: Pools, level: float) -> Figure:
    """Return a contrast with its percentile interval and p-value.

    Args:
        contrast: Which arms, which metric, which bound.
        pools: Networks of every arm that it names.
        level: Nominal coverage.

    Raises:
        TableError: Arms were assessed on different test images.
    """
    arms = (*contrast.plus, *contrast.minus)
    fewest = min((pools[arm].stages for arm in arms), key=len)
    cut = {arm: pools[arm].on_stages(fewest) for arm in arms}
    for pool in cut.values():
        require_same_images(cut[arms[0]].trials[0].answers, pool.trials[0].answers)
    seeds = _shared_seeds(cut)
    by_seed = {arm: _rows(pool.values(contrast.metric), pool, seeds) for arm, pool in cut.items()}
    drawn = {arm: _rows(pool.resampled(contrast.metric), pool, seeds).mean(axis=0) for arm, pool in cut.items()}
    value = float(_combined(contrast, {arm: values.mean(keepdims=True) for arm, values in by_seed.items()})[0])
    low, high, p = _interval(contrast, value, _combined(contrast, drawn), level)
    holds = contrast.holds(value)
    return Figure(value, tuple(_combined(contrast, by_seed).tolist()), holds, not holds, low, high, p)


def _interval(
    contrast: Contrast, value: float, drawn: Float[np.ndarray, " R"], level: float
) -> tuple[float, float, float]:
    """Bounds, and the two-sided p-value against the claimed bound; never 0, for R resamples cannot tell that."""
    drawn = drawn[np.isfinite(drawn)]
    if contrast.metric == CALIBRATION:
        # Resampling adds to a calibration error: bounds are symmetric about the value, as in the study's tables.
        distance = np.abs(drawn - value)
        reach = float(np.quantile(distance, level))
        beyond = np.count_nonzero(distance >= abs(value - contrast.limit))
        return value - reach, value + reach, (beyond + 1) / (len(drawn) + 1)
    low, high = (float(bound) for bound in np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]))
    beyond = min(np.count_nonzero(drawn <= contrast.limit), np.count_nonzero(drawn >= contrast.limit))
    return low, high, min(1.0, 2 * (beyond + 1) / (len(drawn) + 1))


def _shared_seeds(pools: Pools) -> tuple[int, ...]:
    """Seeds that every arm has; teachers stand for every seed."""
    of = [set(pool.seeds) for arm, pool in pools.items() if not arm.arm.startswith(TEACHER)]
    return tuple(sorted(set.intersection(*of))) if of else ()


def _rows(values: np.ndarray, pool: Pool, seeds: Sequence[int]) -> np.ndarray:
    """The seeds' rows; of a teacher, its one row as often."""
    if set(seeds) <= set(pool.seeds) and seeds:
        return values[[pool.seeds.index(seed) for seed in seeds]]
    return np.repeat(values[:1], max(1, len(seeds)), axis=0)


def _combined(contrast: Contrast, figures: Mapping[ArmOf, np.ndarray]) -> np.ndarray:
    """The contrast, element by element of equal arrays."""

    def side(arms: Sequence[ArmOf]) -> np.ndarray:
        stacked = np.stack([figures[arm] for arm in arms])
        match contrast.combine:
            case "mean":
                return np.asarray(stacked.mean(axis=0))
            case "sum":
                return np.asarray(stacked.sum(axis=0))
            case "range":
                return np.asarray(np.ptp(stacked, axis=0))

    return side(contrast.plus) - side(contrast.minus) if contrast.minus else side(contrast.plus)


def finding_figure(finding: Finding, pools: Pools) -> Figure:
    """Return a reported figure, seed by seed.

    Args:
        finding: Which figure of which arm, less which.
        pools: Networks of the arms that it names.

    Raises:
        ArtifactError: A cell does not report it.
    """
    values = _facts(pools[finding.of], finding.fact)
    if finding.less is not None or finding.less_fact is not None:
        other = _facts(pools[finding.less or finding.of], finding.less_fact or finding.fact)
        values = {seed: value - other[seed] for seed, value in values.items() if seed in other}
    held = [finding.holds(value) for value in values.values()]
    return Figure(float(np.mean(list(values.values()))), tuple(values.values()), all(held), not any(held))


def _facts(pool: Pool, path: str) -> dict[int, float]:
    return {trial.seed: _number(trial.facts, path, f"{trial.arm}, seed {trial.seed}") for trial in pool.trials}


def _number(facts: Mapping[str, Any], path: str, whose: str) -> float:
    found: Any = facts
    try:
        for step in path.split("."):
            found = found[int(step)] if isinstance(found, list) else found[step]
        return float(np.mean(found))
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"Expected a figure {path} in the result of {whose}, found none.",
            "Train the cell again with this version, or correct `fact`.",
        ) from error
