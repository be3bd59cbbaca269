"""Answers about the reference standard: how the true stage was found, and by whom."""

from __future__ import annotations

from fibrokd.evaluation.evidence.artefacts import DATASET, INTEGRITY, METRICS, PHANTOM, Artefacts
from fibrokd.evaluation.evidence.items import Answer, Words, filled, for_authors, not_applicable, partly, say
from fibrokd.evaluation.evidence.on_data import from_card, simulated, told


def definition(run: Artefacts) -> Answer:
    """What the true stage is, and how it was found."""
    return from_card(
        run,
        "reference_standard",
        "Reference standard",
        "Describe how and when each stage was found, so that it can be repeated: biopsy, its "
        "reading, or the cut-offs of another test.",
        scale(run),
    )


def scale(run: Artefacts) -> Words:
    """The stages."""
    return say("Stages: {names}, least severe first.", names=run.value(DATASET, "/stages/names"))


def rationale(run: Artefacts) -> Answer:
    """Why this reference standard."""
    if run.synthetic:
        return not_applicable(drawn(run))
    return for_authors("Say why this reference standard was chosen over others.")


def drawn(run: Artefacts) -> Words:
    """Say that the truth of a simulation is not observed."""
    return say(
        "The stage is a parameter of the simulation (synthetic: {yes}), drawn before the picture is "
        "made; nobody reads it off anything.",
        yes=run.value(INTEGRITY, "/synthetic"),
    )


def annotators(run: Artefacts) -> Answer:
    """Who set the stages."""
    return _by_persons(run, "Name who set the stages: profession, experience, training for this task.")


def test_annotation(run: Artefacts) -> Answer:
    """How the test set was annotated."""
    return _by_persons(run, "Describe how stages of the test images were set, and with which tools.")


def variability(run: Artefacts) -> Answer:
    """How far readers agree."""
    return _by_persons(run, "Report agreement within and between readers, and how disagreement was settled.")


def blinded_outcome(run: Artefacts) -> Answer:
    """Whether the reference standard was read without knowledge of the index test."""
    return _by_persons(run, "Say what those who set the stage knew of images, of other tests and of the patient.")


def _by_persons(run: Artefacts, todo: str) -> Answer:
    if run.synthetic:
        return not_applicable(drawn(run))
    return for_authors(todo, *told(run, "reference_standard", "Reference standard"))


def blinded_index_test(run: Artefacts) -> Answer:
    """What the index test knew."""
    crop = run.value(INTEGRITY, "/crop")
    return filled(
        say(
            "A network is given the pixels of one image and nothing else (crop: {crop}): no clinical "
            "data, no other test.",
            crop=crop,
        )
    )


def cut_offs(run: Artefacts) -> Answer:
    """Cut-offs of the reference standard."""
    if not run.has(METRICS, run.tests("end_points")):
        return not_applicable(say("This scale has no cut-offs: {names}.", names=run.value(DATASET, "/stages/names")))
    said = (
        scale(run),
        say(
            "End points are the stages at or above a cut-off, {ends} (places {places} of the scale, "
            "counted from zero).",
            ends=run.keys(METRICS, run.tests("end_points")),
            places=run.value(DATASET, "/stages/cutoffs"),
        ),
    )
    if run.synthetic:
        return filled(*said)
    return partly(*said, todo="Say why these cut-offs matter to patients, and whether they were fixed beforehand.")


def rationale_and_annotators(run: Artefacts) -> Answer:
    """Who annotated, and how."""
    return _by_persons(run, "Name who annotated the data, their experience, and whether in the clinic or afterwards.")


def time_interval(run: Artefacts) -> Answer:
    """Time between image and reference standard."""
    if run.synthetic:
        return not_applicable(drawn(run))
    return for_authors("Give the time between image and reference standard, and treatments in between.")


def severity(run: Artefacts) -> Answer:
    """How severe the disease is in those who have it."""
    return filled(
        say("Images per stage: {stages}.", stages=run.value(INTEGRITY, "/stages")),
        say("Independent groups with the stage: {groups}.", groups=run.value(INTEGRITY, "/groups/per_stage")),
    )


def alternatives(run: Artefacts) -> Answer:
    """What those have who do not have the disease."""
    if run.synthetic:
        said = [simulated(run)]
        said += (
            [run.listed(PHANTOM, {"Difficulty of the simulation": "/config/difficulty"})] if run.has(PHANTOM) else []
        )
        return not_applicable(*said)
    return for_authors("Describe other diseases of patients without the end point.")
