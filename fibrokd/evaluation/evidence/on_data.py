"""Answers about the images: where they come from, which were used, how they were prepared, who made them."""

from __future__ import annotations

from fibrokd.evaluation.evidence.artefacts import (
    INTEGRITY,
    INTEGRITY_PAGE,
    PHANTOM,
    PREPARE,
    Artefacts,
)
from fibrokd.evaluation.evidence.items import Answer, Words, filled, for_authors, not_applicable, partly, say

UNKNOWN = "unknown"


def simulated(run: Artefacts) -> Words:
    """Say that nobody was examined, and where that stands."""
    return say(
        "The images are simulated by the phantom (synthetic: {yes}); nobody was examined.",
        yes=run.value(INTEGRITY, "/synthetic"),
    )


def told(run: Artefacts, question: str, head: str) -> tuple[Words, ...]:
    """Return what the card of the collection answers, as one sentence; none where nobody told."""
    pointer = f"/card/{question}"
    known = run.has(INTEGRITY, pointer) and str(run.get(INTEGRITY, pointer)).strip(" .").lower() != UNKNOWN
    if not known:
        return ()
    answer = run.value(INTEGRITY, pointer)
    return (say("{head}, by the card of the collection: “{answer}”", head=head, answer=answer),)


def from_card(run: Artefacts, question: str, head: str, todo: str, *more: Words) -> Answer:
    """Answer from the card: complete for simulated images, a part for others, left to the authors without one.

    The card is what somebody wrote down; software cannot check it, so that of patients it never fills an item.
    """
    said = (*told(run, question, head), *more)
    if run.synthetic:
        return filled(*(said or (simulated(run),)), see=[f"{INTEGRITY_PAGE}#card"])
    if said:
        return partly(*said, todo=todo, see=[f"{INTEGRITY_PAGE}#card"])
    return for_authors(todo)


def of_patients(run: Artefacts, todo: str, *said: Words) -> Answer:
    """An item about persons: it does not apply to simulated images, and only the authors know it of others."""
    return not_applicable(simulated(run)) if run.synthetic else for_authors(todo, *said)


# ---------------------------------------------------------------------- where they come from
def data_sources(run: Artefacts) -> Answer:
    """Where the images come from."""
    more = (simulated(run), *((simulation(run),) if run.has(PHANTOM) else ())) if run.synthetic else ()
    return from_card(
        run,
        "provenance",
        "Origin",
        "Name the source, why it was chosen, and for whom it stands; link public data.",
        *more,
    )


def simulation(run: Artefacts) -> Words:
    """What was asked of the phantom."""
    places = {
        "patients asked for": "/config/patients",
        "clips per patient": "/config/clips",
        "frames per clip": "/config/frames",
        "difficulty": "/config/difficulty",
        "simulated scanners": "/config/scanners",
        "seed": "/config/seed",
    }
    return run.listed(PHANTOM, places)


def setting(run: Artefacts) -> Answer:
    """Where patients were examined."""
    sites = run.kinds("site")
    said = tuple(say("Site {site}: {n} images.", site=site, n=run.rows(site=site)) for site in sites[:MOST_LISTED])
    if run.synthetic or not said:
        return of_patients(run, "Say where patients were examined: kind of care, centres and their places.")
    return partly(*said, todo="Say what kind of care the sites give and where they are.")


MOST_LISTED = 20
"""Sites and scanners that are listed one by one; a column with more values is no list of devices."""


def dates(run: Artefacts) -> Answer:
    """When patients were examined; a run knows no dates."""
    return of_patients(run, "Give first and last date of inclusion, and of follow-up where there was one.")


def setting_and_dates(run: Artefacts) -> Answer:
    """Where and when patients were found."""
    answer = setting(run)
    todo = "Say where and when patients were found: setting, place, dates."
    return for_authors(todo, *answer.said) if not run.synthetic else answer


def identification(run: Artefacts) -> Answer:
    """How candidates were found."""
    return of_patients(run, "Say how eligible patients were found: symptoms, earlier tests, a registry.")


def series(run: Artefacts) -> Answer:
    """Whether patients came one after the other."""
    return of_patients(run, "Say whether patients were consecutive, drawn at random, or chosen for convenience.")


def treatments(run: Artefacts) -> Answer:
    """Treatments before the examination."""
    return of_patients(run, "Name treatments that patients had received, and how they were taken into account.")


# ---------------------------------------------------------------------- which were used
def eligibility(run: Artefacts) -> Answer:
    """Who was included, and which files could be used."""
    return from_card(
        run,
        "inclusion",
        "Included",
        "List the criteria for patients, in the order in which they were applied.",
        left_out(run),
        limits(run),
    )


def left_out(run: Artefacts) -> Words:
    """How many files were found and set aside."""
    return say(
        "Of {files} files, {out} could not be used (reasons: {why}); {images} images were.",
        files=run.value(INTEGRITY, "/files"),
        out=run.value(INTEGRITY, "/quarantined"),
        why=run.value(INTEGRITY, "/quarantine_reasons"),
        images=run.value(INTEGRITY, "/images"),
    )


def limits(run: Artefacts) -> Words:
    """What a file had to be."""
    places = {
        "sides of a frame in pixels, at least": "/config/limits/min_side_px",
        "at most": "/config/limits/max_side_px",
        "secondary captures accepted": "/config/limits/accept_secondary_capture",
        "coloured share of a frame at most": "/config/limits/max_colour_share",
    }
    return run.listed(PREPARE, places)


def subsets(run: Artefacts) -> Answer:
    """Which frames, and which part of the data a network learned from."""
    places = {
        "Places within a clip from which frames are taken, as shares of its length": "/config/frames/positions",
        "frames searched around each": "/config/frames/reach",
    }
    card, record = f"{run.network}/card.json", f"{run.network}/record.json"
    learned = run.listed(
        record,
        {
            "only these stages were learned": "/config/selection/stages",
            "share of the training groups learned from": "/config/selection/fraction",
            "training images per stage, at most": "/config/selection/shots",
        },
    )
    return filled(
        *_given(run.listed(PREPARE, places), learned),
        say("The network learned from {n} images.", n=run.value(card, "/training_images")),
    )


def missing(run: Artefacts) -> Answer:
    """What became of files without a stage and of stages without a file."""
    said = (
        say(
            "Nothing is imputed: a file without a stage is not used, and {rows} rows of the label table had no file.",
            rows=run.value(INTEGRITY, "/unmatched_rows"),
        ),
        left_out(run),
    )
    if run.synthetic:
        return filled(*said)
    return partly(*said, todo="Say what was missing before the images came here, and why.")


def _given(*sentences: Words) -> tuple[Words, ...]:
    return tuple(words for words in sentences if words)
