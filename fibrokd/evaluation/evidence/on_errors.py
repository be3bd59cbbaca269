"""Answers about what figures do not settle: errors, differences between clusters, unsure answers, limitations."""

from __future__ import annotations

from fibrokd.evaluation.evidence.artefacts import INTEGRITY, INTEGRITY_PAGE, METRICS, REPORT, Artefacts, at
from fibrokd.evaluation.evidence.items import Answer, Words, filled, partly, say
from fibrokd.evaluation.evidence.on_data import of_patients
from fibrokd.evaluation.wording import not_to_conclude


def confusion(run: Artefacts) -> Answer:
    """The table of true and stated stages."""
    return filled(*confused(run), see=["model_card.html#stages", f"{REPORT}#confusion", "assess/confusion.csv"])


def confused(run: Artefacts) -> tuple[Words, ...]:
    """A line for each true stage."""
    return tuple(
        say(
            "True {stage}, stated as {scale}: {counts}.",
            stage=stage,
            counts=run.value(METRICS, run.tests("confusion", row)),
            scale=run.value(METRICS, "/scale"),
        )
        for row, stage in enumerate(run.get(METRICS, "/scale"))
    )


def failures(run: Artefacts) -> Answer:
    """Analysis of errors: the table is there, the medical judgement is not."""
    return _errors(
        run, "Look at the worst errors with somebody who reads ultrasound, and say what they have in common."
    )


def errors_and_fairness(run: Artefacts) -> Answer:
    """Analysis of errors, and of groups of persons, of which a run knows none."""
    fair = "." if run.synthetic else ", and whether groups of persons fare differently."
    return _errors(run, f"Say what the worst errors have in common{fair}")


def _errors(run: Artefacts, todo: str) -> Answer:
    return partly(*confused(run), todo=todo, see=[f"{REPORT}#confusion", f"{REPORT}#errors"])


def heterogeneity(run: Artefacts) -> Answer:
    """Differences between clusters, sites and scanners."""
    said = [say("Bounds resample whole clusters: {clusters}.", clusters=run.value(METRICS, "/bootstrap/clusters"))]
    if run.has(INTEGRITY, "/scanner/cramers_v"):
        said.append(
            say(
                "Stage and scanner over {n} scanners: Cramér's V {v}.",
                n=run.value(INTEGRITY, "/scanner/scanners"),
                v=run.interval(INTEGRITY, "/scanner/cramers_v"),
            )
        )
    parted = [fact for fact in ("site", "scanner") if run.has(METRICS, run.tests("subgroups", fact, "groups"))]
    if not parted:
        return partly(*said, todo="Figures were not computed for each site or scanner: do so, or say why not.")
    said += [
        say(
            "Images of each {fact} ({groups}) are held against all others, on the same resamples of clusters.",
            fact=fact,
            groups=run.keys(METRICS, run.tests("subgroups", fact, "groups")),
        )
        for fact in parted
    ]
    return filled(*said, see=[f"{REPORT}#subgroups"])


def indeterminate(run: Artefacts) -> Answer:
    """Answers that name no single stage."""
    place = run.tests("stage_sets")
    if run.has(METRICS, place + "/sizes"):
        said = say(
            "Every image gets a stage. Beside it, clusters get sets of neighbouring stages of level "
            "{level}, larger where the "
            "answer is unsure; coverage {coverage}, clusters whose set holds one stage, two, and so on: {sizes}.",
            level=run.percent(METRICS, place + "/level"),
            coverage=run.interval(METRICS, run.tests("coverage")),
            sizes=run.value(METRICS, place + "/sizes"),
        )
    else:
        why = run.value(METRICS, place + "/refused")
        said = say("Every image gets a stage; there are no sets of stages: {why}.", why=why)
    if run.synthetic:
        return filled(said, see=[f"{REPORT}#stage_sets"])
    return partly(
        said, todo="Say how patients without a clear reference standard were handled.", see=[f"{REPORT}#stage_sets"]
    )


def limitations(run: Artefacts) -> Answer:
    """What speaks against the figures, as far as software sees it."""
    return partly(
        say("Verdict of the integrity check on the data: {verdict}.", verdict=run.value(INTEGRITY, "/verdict")),
        *reasons(run),
        *((text,) for text in not_to_conclude(run.stamp)),
        todo=(
            "Discuss what software does not see: who was examined, how stages were found, what chance in training adds."
        ),
        see=[f"{INTEGRITY_PAGE}#reasons"],
    )


def reasons(run: Artefacts) -> tuple[Words, ...]:
    """The reasons of the verdict."""
    places = range(len(run.get(INTEGRITY, "/reasons")))
    return tuple((run.value(INTEGRITY, at("reasons", place, "text")),) for place in places)


def adverse_events(run: Artefacts) -> Answer:
    """Harm done by the tests."""
    return of_patients(run, "Report harm from the examination or the reference standard, or that there was none.")
