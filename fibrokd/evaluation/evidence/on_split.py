"""Answers about splits: how images were assigned, what ties them, how many there are, and how the splits differ."""

from __future__ import annotations

from fibrokd.evaluation.evidence.artefacts import (
    ASSESS,
    HEADLINE_SPLIT,
    INTEGRITY,
    INTEGRITY_PAGE,
    METRICS,
    PREPARE,
    Artefacts,
    at,
)
from fibrokd.evaluation.evidence.items import Answer, Words, filled, for_authors, not_applicable, partly, say
from fibrokd.evaluation.evidence.on_data import MOST_LISTED, left_out, simulated
from fibrokd.evaluation.wording import LEAKY, grouping_words

FLOW = "data_card.html#flow"
SCANNERS = "data_card.html#scanners"


def assignment(run: Artefacts) -> Answer:
    """How images were assigned to splits."""
    return filled(assigned(run), *per_split(run), see=[f"{INTEGRITY_PAGE}#split"])


def assigned(run: Artefacts) -> Words:
    """Shares and seed of the split."""
    return say(
        "Whole groups of images are drawn so that every split has each stage in its share (asked "
        "for: {shares}; seed {seed}).",
        shares=run.value(PREPARE, "/config/splits/shares"),
        seed=run.value(PREPARE, "/config/splits/seed"),
    )


def per_split(run: Artefacts) -> tuple[Words, ...]:
    """Images of every split by stage."""
    return tuple(
        say(
            "{name}: {n} images ({stages}).",
            name=name.capitalize(),
            n=run.total(INTEGRITY, at("splits", name)),
            stages=run.value(INTEGRITY, at("splits", name)),
        )
        for name in run.splits
    )


def disjointness(run: Artefacts) -> Answer:
    """At which level splits are disjoint: complete only where patients were kept apart."""
    said = (
        say(
            "{words} Grouping: {grouping}.",
            words=grouping_words(run.stamp),
            grouping=run.value(INTEGRITY, "/grouping"),
        ),
        say(
            "Of the test images {twins} have an identical copy in training, and {relatives} belong "
            "together with a training "
            "image by some evidence; the patient is known for {known} of all images.",
            twins=run.percent(INTEGRITY, "/leak/twins"),
            relatives=run.percent(INTEGRITY, "/leak/relatives"),
            known=run.percent(INTEGRITY, "/known_patients"),
        ),
    )
    see = [f"{INTEGRITY_PAGE}#split"]
    if run.stamp.get("grouping") in LEAKY:
        return partly(
            *said, todo="This split does not keep patients apart: say so wherever its figures are quoted.", see=see
        )
    if run.get(INTEGRITY, "/known_patients") < 1:
        return partly(*said, todo="Say how it was made sure that no patient without a key is on both sides.", see=see)
    return filled(*said, see=see)


def sample_size(run: Artefacts) -> Answer:
    """How the size of the test set was arrived at: a run never calculates one."""
    return for_authors(
        "Say how the intended sample size was arrived at, and whether it suffices; this run calculated none.",
        test_size(run),
    )


def test_size(run: Artefacts) -> Words:
    """Images and clusters of the test split."""
    return say(
        "Test: {n} images in {k} clusters (clusters: {what}).",
        n=run.value(METRICS, run.tests("images")),
        k=run.value(METRICS, run.tests("clusters")),
        what=run.value(METRICS, "/bootstrap/clusters"),
    )


def flow(run: Artefacts) -> Answer:
    """Numbers included and left out."""
    said = (left_out(run), *per_split(run), say("Independent groups: {n}.", n=run.value(INTEGRITY, "/groups/count")))
    see = [FLOW, f"{INTEGRITY_PAGE}#found"]
    if run.synthetic:
        return filled(*said, see=see)
    return partly(*said, todo="Draw the flow of patients up to the point at which images were collected.", see=see)


def characteristics(run: Artefacts) -> Answer:
    """Who and what is in each split."""
    said = (*per_split(run), *by_device(run))
    if run.synthetic:
        none = simulated(run)
        return filled(none, say("There are no ages, sexes or findings to report."), *said, see=[SCANNERS])
    return partly(*said, todo="Give age, sex, causes of disease and clinical findings for each split.", see=[SCANNERS])


def by_device(run: Artefacts) -> tuple[Words, ...]:
    """Images of every split by scanner."""
    return tuple(
        say("{split}, scanner {name}: {n}.", split=split.capitalize(), name=name, n=run.rows(split=split, scanner=name))
        for name in run.kinds("scanner")[:MOST_LISTED]
        for split in run.splits
    )


def comparison(run: Artefacts) -> Answer:
    """How the data networks learned from differ from those they are tested on."""
    said = (
        say(
            "Training and test images are splits of one collection, prepared in the same way; shares "
            "of stages in a split differ by at "
            "most {off} from those of the collection.",
            off=run.percent(INTEGRITY, "/worst_deviation/splits"),
        ),
        *by_device(run),
    )
    if run.synthetic:
        return filled(*said, see=[SCANNERS])
    return partly(*said, todo="Compare age, sex and clinical findings between the splits.", see=[SCANNERS])


def analysed(run: Artefacts) -> Answer:
    """How many images and events are in each analysis."""
    said = [say("Trained on: {n} images.", n=run.value(f"{run.network}/card.json", "/training_images"))]
    for split in run.get(ASSESS, "/config/splits"):
        place = at("networks", run.network, split)
        if not run.has(METRICS, place):
            continue
        said.append(
            say(
                "Assessed on {split}: {n} images in {k} clusters.",
                split=split,
                n=run.value(METRICS, place + "/images"),
                k=run.value(METRICS, place + "/clusters"),
            )
        )
    for end in run.get(METRICS, run.tests("end_points")) if run.has(METRICS, run.tests("end_points")) else ():
        events = run.value(METRICS, run.tests("end_points", end, "positive", "images"))
        said.append(say("Test images with {end}: {n}.", end=end, n=events))
    return filled(*said, see=["assess/report.html#end_points"])


def representative(run: Artefacts) -> Answer:
    """Whether stages are spread as in the population meant: software knows the one, not the other."""
    spread = say("Test images by stage: {stages}.", stages=run.value(INTEGRITY, at("splits", HEADLINE_SPLIT)))
    if run.synthetic:
        return not_applicable(simulated(run), spread)
    return partly(spread, todo="Compare this spread of stages with that of the population the test is meant for.")


def external(run: Artefacts) -> Answer:
    """Whether other collections were tested."""
    return for_authors(
        "No image of another collection was tested in this run: test on one, or say why not.",
        say("Splits that were assessed: {splits}.", splits=run.value(ASSESS, "/config/splits")),
    )


def no_external(run: Artefacts) -> Answer:
    """How an external set differs: there is none."""
    return not_applicable(
        say(
            "No external set was tested; splits that were assessed: {splits}.",
            splits=run.value(ASSESS, "/config/splits"),
        )
    )
