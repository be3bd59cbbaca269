"""The model card of a run's network, in the parts that Mitchell et al. propose.

Mitchell et al., FAT* 2019, DOI 10.1145/3287560.3287596. Every figure is a source; nothing that differs between equal
runs is copied.
"""

from __future__ import annotations

from fibrokd.evaluation.evidence import (
    model_figures,
    on_data,
    on_errors,
    on_model,
    on_split,
    on_study,
    on_training,
)
from fibrokd.evaluation.evidence.artefacts import ASSESS, BUNDLE, INTEGRITY, LEDGER, RELEASE, REPORT, Artefacts, at
from fibrokd.evaluation.evidence.cards import Card, Section, Table, facts
from fibrokd.evaluation.evidence.items import say
from fibrokd.evaluation.wording import not_to_conclude

REFERENCE = "Parts after Mitchell et al., Model Cards for Model Reporting, FAT* 2019, DOI 10.1145/3287560.3287596"
NO_BUNDLE = "The run released no bundle: there is no exported network, no proof of parity and no name of a release."
HARM = (
    "A stage that is too low may delay care, and one that is too high may cause it needlessly; no answer of this "
    "network may reach a patient's record."
)
NO_BOOK = "The run wrote no book of teacher answers."


def model_card(run: Artefacts) -> Card:
    """Return the model card; equal artefacts give an equal card."""
    parts = [
        details(run),
        use(run),
        factors(run),
        training_data(run),
        evaluation_data(run),
        model_figures.figures(run),
        model_figures.stages(run),
        model_figures.end_points(run),
        model_figures.calibration(run),
        stage_sets(run),
        costs(run),
        limitations(run),
        digests(run),
    ]
    return Card(
        "model_card", f"Model card: {run.network}", REFERENCE, tuple(part for part in parts if part is not None)
    )


def details(run: Artefacts) -> Section:
    """What the network is."""
    card = on_model.card_of(run.network)
    wanted = [
        ("Name of the release", BUNDLE, "/name"),
        ("Role", card, "/role"),
        ("Architecture", card, "/backbone"),
        ("Parameters", card, "/parameters"),
        ("Size of the weights, bytes", card, "/weight_bytes"),
        ("Method", card, "/method"),
        ("Stages told apart", card, "/stages"),
        ("Side of the input, pixels", card, "/preprocess/size"),
        ("Crop", card, "/preprocess/crop"),
        ("Began from ImageNet weights", card, "/pretrained"),
        ("Version of fibrokd", on_model.record_of(run.network), "/facts/versions/fibrokd"),
        ("Commit", on_model.record_of(run.network), "/facts/commit"),
    ]
    rows = [(name, run.value(file, pointer)) for name, file, pointer in wanted if run.has(file, pointer)]
    said = () if run.released else ((NO_BUNDLE,),)
    return Section(
        "details",
        "The network",
        said,
        (facts("What it is", rows),),
        see=("bundle/bundle.json",) if run.released else (),
    )


def use(run: Artefacts) -> Section:
    """Intended use and what lies outside."""
    said = on_study.use_words(run) or (("Research on ultrasound images. It is not a medical device.",),)
    points = tuple((text,) for text in not_to_conclude(run.stamp))
    return Section("use", "Intended use: research only", (*said, ("What must not be concluded:",)), points=points)


def factors(run: Artefacts) -> Section:
    """What figures may depend on."""
    return Section(
        "factors",
        "What the figures may depend on",
        (
            *on_errors.heterogeneity(run).said,
            ("No figures were computed for single scanners or sites; groups of persons are not known to the run.",),
        ),
        see=("data_card.html#scanners",),
    )


def training_data(run: Artefacts) -> Section:
    """What it learned from."""
    return Section(
        "training_data",
        "Training data",
        (*on_data.subsets(run).said, *on_training.trained(run)),
        see=("data_card.html",),
    )


def evaluation_data(run: Artefacts) -> Section:
    """What it was tested on."""
    return Section("evaluation_data", "Evaluation data", (on_split.test_size(run), *on_split.disjointness(run).said))


def stage_sets(run: Artefacts) -> Section:
    """Sets of neighbouring stages."""
    return Section("stage_sets", "Stage sets", on_errors.indeterminate(run).said, see=(f"{REPORT}#stage_sets",))


def costs(run: Artefacts) -> Section:
    """What it cost, as far as equal runs cost the same."""
    rows = tuple(
        (
            (network,),
            (run.value(on_model.card_of(network), "/parameters"),),
            (run.value(on_model.card_of(network), "/epochs"),),
            (run.value(on_model.card_of(network), "/training_images"),),
        )
        for network in run.networks
    )
    table = Table("Size and training", ("Network", "Parameters", "Epochs", "Training images"), rows)
    places = {
        "Forward passes of the teacher for the book": "/teacher_forwards",
        "multiply-adds of one": "/teacher_macs_per_image",
        "of all": "/teacher_macs",
        "size of the book, bytes": "/bytes_on_disk",
    }
    said = (run.listed(LEDGER, places) if run.has(LEDGER) else (NO_BOOK,), (TIMES,))
    return Section("costs", "Costs", said, (table,), see=("assess/timings.json", f"{run.network}/cost.json"))


TIMES = (
    "Times and memory differ between equal runs and are not copied here; they stand beside the networks "
    "and the figures."
)


def limitations(run: Artefacts) -> Section:
    """Limitations, and the ethics of use."""
    said = (
        say(
            "Verdict of the integrity check on the data: {verdict}.",
            verdict=run.value(INTEGRITY, "/verdict"),
        ),
        *on_study.ethics(run).said,
        (HARM,),
        ("Whether groups of persons fare differently was not examined.",),
    )
    return Section("limitations", "Limitations and ethical considerations", said, points=on_errors.reasons(run))


def digests(run: Artefacts) -> Section:
    """Digests by which everything can be checked."""
    rows = [(f"Input of assess: {name}", run.value(ASSESS, at("inputs", name))) for name in run.get(ASSESS, "/inputs")]
    rows += [(f"assess/{name}", run.value(ASSESS, at("outputs", name))) for name in run.get(ASSESS, "/outputs")]
    record = on_model.record_of(run.network)
    rows += [(f"{run.network}/{name}", run.value(record, at("outputs", name))) for name in run.get(record, "/outputs")]
    if run.released:
        rows += [("Bundle", run.value(RELEASE, "/facts/bundle"))]
        rows += [("bundle/network.onnx", run.value(RELEASE, "/outputs/network.onnx"))]
    return Section("digests", "Digests (sha256)", tables=(facts("What everything rests on", rows),))
