"""docs/claims.md: what became of every registered claim. Formats, and computes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fibrokd.evaluation.claims.found import Figure
from fibrokd.evaluation.claims.judged import Judgement
from fibrokd.evaluation.claims.register import ArmOf, Claim, ClaimsConfig, Contrast, Finding
from fibrokd.evaluation.markdown import table
from fibrokd.evaluation.study.document import p_value

_HEAD = """\
# Claims of the literature, and whether we could reproduce them

<!-- written by `fibrokd claims`; do not edit -->

{registered}

Each claim stands in the register with the figures that would show it, and with the bound they must pass.

* *Reproduced*: every contrast lies on the claimed side with a corrected p below {alpha:g}, over patients and over
  trainings; so do every seed by itself and every reported figure.
* *Contradicted*: a contrast lies on the other side with both corrected p below {alpha:g}, and so does every seed.
* *Reproduced by these networks*, *contradicted by these networks*: the same over patients alone. It holds for the
  networks that we trained; trainings of one arm differ too much for it to be said of the method.
* *Not shown*: neither; that is no evidence of absence. A small p may stand beside it where seeds disagree.
* *Seen in every seed*, *seen in no seed*: claims about figures that a method reports of itself. Nothing is tested:
  where there is no effect, three seeds agree one time in four.
* *Not tested yet*: cells of {seeds} seeds that all arms have in common are not there (teachers have one network).

Contrasts are on test images of phantom patients; brackets are {level:g} % intervals over patients, seeds pooled. They
and the p-values over patients hold for these trained networks; how far seeds differ stands beside them. p-values over
trainings add how far trainings of one arm differ in that study (decision 0011). All are two-sided against the bound;
those of a claim are multiplied by the {tested} claims that have contrasts. All of it holds under one teacher. Where
one of two networks is nearly
calibrated, the noise of the bins hides a part of the difference of their calibration errors: such differences are too
near to 0, and their intervals wider by that noise. All of it is about small trainings on phantoms: it tells nothing of
other budgets, other pictures, or the papers' own data.

A method marked *our reading* rests on a paper that says too little, or that we know at second hand (docs/methods.md
says in what): its outcomes are those of our reconstruction.
"""


def claims_markdown(
    config: ClaimsConfig, judged: Mapping[str, Judgement], our_readings: Collection[str] = frozenset()
) -> str:
    """Return the page; equal inputs give equal text.

    Args:
        config: The register.
        judged: What became of every claim.
        our_readings: Kinds of methods that are reconstructions, in whole or in part.
    """
    head = _HEAD.format(
        registered=config.registered.strip(),
        alpha=round(1 - config.level, 10),
        level=100 * config.level,
        seeds=config.seeds,
        tested=sum(bool(claim.contrasts) for claim in config.claims.values()),
    )
    outcomes = [(c.says, _kinds(c, our_readings), c.regime, judged[name].outcome) for name, c in config.claims.items()]
    parts = [head, *table(["claim", "of", "regime", "outcome"], outcomes), ""]
    for name, claim in config.claims.items():
        parts += _section(name, claim, judged[name], our_readings)
    if config.not_attempted:
        parts += ["## What was not tried", ""]
        parts += [f"* {_kind(kind, our_readings)}: {what.strip()}" for kind, what in config.not_attempted.items()] + [
            ""
        ]
    return "\n".join(parts)


def _kinds(claim: Claim, our_readings: Collection[str]) -> str:
    return ", ".join(_kind(kind, our_readings) for kind in claim.methods)


def _kind(kind: str, our_readings: Collection[str]) -> str:
    return f"`{kind}` (our reading)" if kind in our_readings else f"`{kind}`"


def _section(name: str, claim: Claim, found: Judgement, our_readings: Collection[str]) -> list[str]:
    corrected = ""
    if found.p is not None and found.p_trainings is not None:
        corrected = f" (corrected p {p_value(found.p)} over patients, {p_value(found.p_trainings)} over trainings)"
    of = _kinds(claim, our_readings)
    lines = [f"## {name}", "", f"{claim.says} Of {of}: **{found.outcome}**{corrected}.", ""]
    lines += [f"{claim.elsewhere.strip()}", ""] if claim.elsewhere else []
    figures: Sequence[Figure | None] = (*found.contrasts, *found.findings) or [None] * len(claim.parts)
    lines += [f"* {_words(part)}{_told(figure)}" for part, figure in zip(claim.parts, figures, strict=True)]
    lines += [f"* Missing: {missing}." for missing in found.missing]
    return [*lines, ""]


def _words(wanted: Contrast | Finding) -> str:
    side = f"above {wanted.above:g}" if wanted.above is not None else f"below {wanted.below:g}"
    if isinstance(wanted, Contrast):
        what = wanted.metric.replace("_", " ")
        less = f" − {_side(wanted, wanted.minus)}" if wanted.minus else ""
        return f"{what}: {_side(wanted, wanted.plus)}{less} {side}"
    fact = wanted.fact.removeprefix("method_facts.")
    other = (wanted.less_fact or wanted.fact).removeprefix("method_facts.")
    less = f" − `{wanted.less or wanted.of}` {other}" if wanted.less or wanted.less_fact else ""
    return f"`{wanted.of}` {fact}{less} {side}"


def _side(contrast: Contrast, arms: Sequence[ArmOf]) -> str:
    told = [f"`{arm}`" for arm in arms]
    return told[0] if len(told) == 1 else f"{contrast.combine} of ({', '.join(told)})"


def _told(figure: Figure | None) -> str:
    if figure is None:
        return ""
    bounds = [bound for bound in (figure.low, figure.high) if bound is not None]
    largest = max(map(abs, (figure.value, *bounds, *figure.by_seed)))
    decimals = 3 if largest >= 0.01 else 4  # the same for all figures of a line
    value, *seeds = (f"{number:+.{decimals}f}" for number in (figure.value, *figure.by_seed))
    between = f" [{', '.join(f'{bound:+.{decimals}f}' for bound in bounds)}]" if bounds else ""
    tested = "" if figure.p is None else f", p {p_value(figure.p)}"
    tested += "" if figure.p_trainings is None else f" and {p_value(figure.p_trainings)} over trainings"
    return f": {value}{between}{tested} (seeds {' / '.join(seeds)})"
