"""Judges registered claims by the cells of studies. Formats nothing.

p-values are two-sided against the bound that a claim names, and multiplied by the number of claims that have contrasts
(Bonferroni), judged or not: so no verdict depends on which others are judged already. A claim is reproduced where it
holds over patients, in every seed by itself, and over trainings; where only the last is missing, it is reproduced by
these networks, and nothing is said of what training them anew would give.

A claim that names several contrasts needs all of them: the largest p decides. One of them contradicts it, where every
seed lies on the other side: then the smallest p of such contrasts decides, times the number of all. Findings are not
tested.

References:
    Berger, Technometrics 1982;24:295 (all of several hypotheses).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fibrokd.evaluation.claims.contrasts import Spreads, contrast_figure
from fibrokd.evaluation.claims.findings import finding_figure
from fibrokd.evaluation.claims.found import TEACHER, Figure, MissingError
from fibrokd.evaluation.claims.register import ArmOf, Claim, ClaimsConfig, Contrast, Finding
from fibrokd.evaluation.study.pooled import Pool

Pools = Mapping[ArmOf, Pool]
Outcome = Literal[
    "reproduced",
    "reproduced by these networks",
    "contradicted",
    "contradicted by these networks",
    "seen in every seed",
    "seen in no seed",
    "not shown",
    "not tested yet",
]


@dataclass(frozen=True)
class Judgement:
    """What became of a claim.

    Args:
        outcome: See :data:`Outcome`.
        contrasts: Of every contrast.
        findings: Of every finding.
        p: Corrected p-value over patients; None where nothing is tested.
        p_trainings: Corrected p-value over patients and trainings; None where nothing is tested, 1 where it cannot be
            had.
        missing: What is not there yet, in words.
    """

    outcome: Outcome
    contrasts: tuple[Figure, ...] = ()
    findings: tuple[Figure, ...] = ()
    p: float | None = None
    p_trainings: float | None = None
    missing: tuple[str, ...] = ()


def judge_claims(config: ClaimsConfig, pools: Pools, spreads: Spreads) -> dict[str, Judgement]:
    """Judge every claim of a register.

    Args:
        config: The register.
        pools: Finished networks of the arms that it names, as far as there are any.
        spreads: How far trainings differ, of every study.

    Raises:
        TableError: Arms of a contrast were assessed on different test images.
    """
    tested = sum(bool(claim.contrasts) for claim in config.claims.values())
    return {name: _judged(claim, config, pools, spreads, tested) for name, claim in config.claims.items()}


def _judged(claim: Claim, config: ClaimsConfig, pools: Pools, spreads: Spreads, tested: int) -> Judgement:
    missing: list[str] = []
    figures: list[Figure] = []
    for part in claim.parts:
        try:
            seeds = shared_seeds(part, pools, config.seeds)
            if isinstance(part, Contrast):
                figures.append(contrast_figure(part, pools, spreads, seeds, config.level))
            else:
                figures.append(finding_figure(part, pools, seeds))
        except MissingError as error:
            missing.append(str(error))
    if missing:
        return Judgement("not tested yet", missing=tuple(dict.fromkeys(missing)))
    contrasts, findings = tuple(figures[: len(claim.contrasts)]), tuple(figures[len(claim.contrasts) :])
    holding = all(figure.holds for figure in figures)
    if not contrasts:
        seen: Outcome = "seen in every seed" if holding else "not shown"
        return Judgement("seen in no seed" if all(f.fails for f in findings) else seen, (), findings)
    patients = min(1.0, tested * _decisive(contrasts, [figure.p for figure in contrasts]))
    trainings = min(1.0, tested * _decisive(contrasts, [figure.p_trainings for figure in contrasts]))
    return Judgement(
        _outcome(config, holding, contrasts, patients, trainings), contrasts, findings, patients, trainings
    )


def _decisive(contrasts: Sequence[Figure], p_values: Sequence[float | None]) -> float:
    """The p-value of all contrasts together; of those on the other side, where there are any."""
    known = [1.0 if p is None else p for p in p_values]
    failing = [p for figure, p in zip(contrasts, known, strict=True) if figure.fails]
    return len(known) * min(failing) if failing else max(known)


def _outcome(
    config: ClaimsConfig, holding: bool, contrasts: Sequence[Figure], patients: float, trainings: float
) -> Outcome:
    alpha, failing = 1 - config.level, any(figure.fails for figure in contrasts)
    if patients >= alpha or not (holding or failing):
        return "not shown"
    if trainings < alpha:
        return "reproduced" if holding else "contradicted"
    return "reproduced by these networks" if holding else "contradicted by these networks"


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
