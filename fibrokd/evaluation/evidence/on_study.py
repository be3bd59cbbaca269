"""Answers about the study around a run: what only its authors know, with what a run can add."""

from __future__ import annotations

from collections.abc import Callable

from fibrokd.evaluation.evidence.artefacts import ASSESS, BUNDLE, INTEGRITY, METRICS, PREPARE, Artefacts
from fibrokd.evaluation.evidence.items import Answer, Words, filled, for_authors, not_applicable, partly, say
from fibrokd.evaluation.evidence.on_data import from_card, of_patients, simulated
from fibrokd.evaluation.evidence.on_model import described


def left(todo: str) -> Callable[[Artefacts], Answer]:
    """Return an answer that is the same for every run: the authors write it."""
    return lambda _: for_authors(todo)


def about_patients(todo: str) -> Callable[[Artefacts], Answer]:
    """Return an answer that does not apply to simulated images, and is the authors' for others."""
    return lambda run: of_patients(run, todo)


def title(run: Artefacts) -> Answer:
    """Title: the authors', though the run knows the technique."""
    return for_authors(
        "Name in the title the technique, what is predicted, and a measure where that is asked for.",
        say("Title of the run: “{title}”.", title=run.value(ASSESS, "/config/title")),
        described(run, run.network),
    )


def intended_use(run: Artefacts) -> Answer:
    """What it is for: research only, whatever else is hoped."""
    todo = (
        "Describe the clinical background and the place that such a tool would have in it; claim no more "
        "than research use."
    )
    use = use_words(run)
    return partly(*use, todo=todo) if use else for_authors(todo)


def use_words(run: Artefacts) -> tuple[Words, ...]:
    """Intended use by the bundle's card; nothing without a bundle."""
    if not run.has(BUNDLE, "/card/intended_use"):
        return ()
    return (say("Intended use, by the bundle's card: “{use}”", use=run.value(BUNDLE, "/card/intended_use")),)


def design(run: Artefacts) -> Answer:
    """Prospective or retrospective."""
    return of_patients(run, "Say whether data were collected before or after the test was planned.")


def goal(run: Artefacts) -> Answer:
    """What was done: networks were made and tested; why is the authors'."""
    return partly(
        say(
            "The run makes networks ({names}) and tests them on held-out images of the same collection ({splits}).",
            names=run.keys(METRICS, "/networks"),
            splits=run.value(ASSESS, "/config/splits"),
        ),
        todo="Say what the study is to show, and to whom.",
    )


def implications(run: Artefacts) -> Answer:
    """What follows for practice: nothing follows from a run alone."""
    return for_authors("Say what would have to be shown before this could change practice.", *use_words(run))


def protocol(run: Artefacts) -> Answer:
    """The protocol: the run's resolved configuration is its technical part."""
    return partly(
        say(
            "Every step records its resolved configuration and the digests of what it read "
            "(record.json); the split was drawn with "
            "seed {seed}.",
            seed=run.value(PREPARE, "/config/splits/seed"),
        ),
        todo="Say where the protocol of the study can be read, or that there was none.",
        see=["prepared/record.json", "assess/record.json"],
    )


def ethics(run: Artefacts) -> Answer:
    """Approval and consent."""
    return from_card(
        run, "ethics", "Ethics", "Name the committee, its decision and number, and how patients consented."
    )


def data_sharing(run: Artefacts) -> Answer:
    """Where the data are."""
    return _shared(run, "Say where the data can be had, and who may use them.")


def _shared(run: Artefacts, todo: str) -> Answer:
    if not run.has(INTEGRITY, "/card/licence"):
        return for_authors(todo)
    said = [say("Licence, by the card of the collection: “{licence}”", licence=run.value(INTEGRITY, "/card/licence"))]
    if run.synthetic:
        said.append(simulated(run))
        again = "The phantom renders the same images again from its configuration: digest of the manifest {digest}."
        return filled(*said, say(again, digest=run.value(PREPARE, "/outputs/manifest.csv")))
    return partly(*said, todo=todo)


def fairness(run: Artefacts) -> Answer:
    """Whether groups of persons are treated alike: a run knows of no such groups."""
    if run.synthetic:
        return not_applicable(simulated(run))
    return for_authors(
        "Nothing was done about fairness in this run, and it knows no groups of persons: say what you examined."
    )


def objectives(run: Artefacts) -> Answer:
    """Aims and hypotheses."""
    return for_authors("State the aims, and whether a model is made, tested, or both.", *goal(run).said)
