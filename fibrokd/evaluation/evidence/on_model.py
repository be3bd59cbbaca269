"""Answers about the networks: what they are, how they were trained and chosen, and what they answer with."""

from __future__ import annotations

from fibrokd.evaluation.evidence.artefacts import (
    ASSESS,
    BUNDLE,
    HEADLINE_SPLIT,
    METRICS,
    RELEASE,
    Artefacts,
    at,
)
from fibrokd.evaluation.evidence.items import Answer, Words, filled, for_authors, not_applicable, partly, say
from fibrokd.evaluation.evidence.on_images import acquisition, predictors, preprocessing_words


def card_of(network: str) -> str:
    """Path of a network's card."""
    return f"{network}/card.json"


def record_of(network: str) -> str:
    """Path of a network's record."""
    return f"{network}/record.json"


def architecture(run: Artefacts) -> Answer:
    """What the network is: complete where its graph was released."""
    said = (
        *(described(run, name) for name in run.networks),
        say(
            "Input: one image of {size} by {side} grey levels; output: one log-probability for each of {stages}.",
            size=run.value(card_of(run.network), "/preprocess/size"),
            side=run.value(card_of(run.network), "/preprocess/size"),
            stages=run.value(card_of(run.network), "/stages"),
        ),
    )
    if not run.released:
        return partly(*said, todo="No bundle holds this network's graph: describe its layers, or release it.")
    digest = run.value(RELEASE, "/outputs/network.onnx")
    graph = say("Every layer is in network.onnx of the bundle (digest {digest}).", digest=digest)
    return filled(*said, graph, see=["bundle/network.onnx"])


def described(run: Artefacts, network: str) -> Words:
    """A network in a line."""
    return say(
        "{network}: {backbone}, {parameters} parameters.",
        network=network,
        backbone=run.value(card_of(network), "/backbone"),
        parameters=run.value(card_of(network), "/parameters"),
    )


def software(run: Artefacts) -> Answer:
    """Programs and their versions."""
    return filled(
        say("Software of the training: {versions}.", versions=run.value(record_of(run.network), "/facts/versions")),
        run.listed(record_of(run.network), {"Commit of fibrokd": "/facts/commit", "device": "/facts/device"}),
    )


def devices_and_software(run: Artefacts) -> Answer:
    """Devices that made the images, and the software that made the test."""
    made = acquisition(run)
    return Answer(made.status, (*made.said, *software(run).said), made.todo, made.see)


def pixel_handling(run: Artefacts) -> Answer:
    """How the predictor enters the model."""
    return filled(*predictors(run).said, *preprocessing_words(run))


def output(run: Artefacts) -> Answer:
    """What the model answers with, and thresholds."""
    stages = say(("Output: a probability for each of {stages}; the stage is the most probable one, of equals the "
        "least severe."),
                 stages=run.value(card_of(run.network), "/stages"))  # fmt: skip
    return filled(stages, *thresholds(run), see=["assess/report.html#end_points"])


def thresholds(run: Artefacts) -> tuple[Words, ...]:
    """Thresholds of end points, or why there are none."""
    place = run.tests("end_points")
    said = []
    for end in run.get(METRICS, place) if run.has(METRICS, place) else ():
        for rule in run.get(METRICS, place + at(end, "operating_points")):
            point = place + at(end, "operating_points", rule)
            said.append(
                say(
                    "{end}, rule {rule}: positive from a probability of {limit}, fixed on {split}.",
                    end=end,
                    rule=rule,
                    limit=run.value(METRICS, point + "/threshold"),
                    split=run.value(METRICS, point + "/fixed_on"),
                )
            )
        refused = place + at(end, "no_threshold")
        for rule in run.get(METRICS, refused) if run.has(METRICS, refused) else ():
            why = run.value(METRICS, refused + at(rule))
            said.append(say("{end}, rule {rule}: no threshold ({why}).", end=end, rule=rule, why=why))
    return tuple(said)


def specification(run: Artefacts) -> Answer:
    """The whole model, for others to use."""
    if not run.released:
        return for_authors("No bundle was released: publish the network, or say why not and how it can be had.")
    return partly(
        say(
            "The bundle holds the network as ONNX, its preprocessing, its stages and golden cases; "
            "its answers agree with those "
            "of training within {worst} on {n} images (accepted: {tolerance}).",
            worst=run.value(RELEASE, "/facts/parity/largest_difference"),
            n=run.value(RELEASE, "/facts/parity/images"),
            tolerance=run.value(BUNDLE, "/tolerance"),
        ),
        todo="Say where the bundle can be had, and under which terms.",
        see=["bundle/bundle.json"],
    )


def index_test(run: Artefacts) -> Answer:
    """The index test, so that it can be repeated."""
    made = architecture(run)
    return Answer(made.status, (*preprocessing_words(run), *made.said, *output(run).said), made.todo, made.see)


def calculated(run: Artefacts) -> Answer:
    """How predictions were calculated."""
    return filled(
        say(
            "{network} answers each image of {splits} once, on its centre view; the probabilities "
            "are in predictions.csv "
            "(digest {digest}), from which every figure follows.",
            network=run.network,
            splits=run.value(ASSESS, "/config/splits"),
            digest=run.value(ASSESS, "/outputs/predictions.csv"),
        ),
        see=["assess/predictions.csv"],
    )


def explainability(run: Artefacts) -> Answer:
    """Explanations of single answers: a run makes none."""
    names = run.keys(METRICS, "/networks")
    return not_applicable(
        say("No method that explains single answers was applied to {names} in this run.", names=names)
    )


def code(run: Artefacts) -> Answer:
    """Where the program is."""
    said = run.listed(ASSESS, {"fibrokd": "/facts/versions/fibrokd", "commit": "/facts/commit"})
    return partly(said, todo="Say where this version of the program, and scripts of your own, can be had.")


def availability(run: Artefacts) -> Answer:
    """Software, network and data together."""
    said = [*code(run).said, *specification(run).said]
    if run.has("prepared/integrity.json", "/card/licence"):
        said.append(
            say("Licence of the images: “{licence}”", licence=run.value("prepared/integrity.json", "/card/licence"))
        )
    return partly(*said, todo="Say where software, network and data can be had, and under which conditions.")


def audit(run: Artefacts) -> Answer:
    """Whether outputs are kept and can be checked."""
    return partly(
        say(
            "Every answer is kept in predictions.csv (digest {digest}); records hold configuration "
            "and digests of all inputs "
            "and outputs. Figures are of the split {split}.",
            digest=run.value(ASSESS, "/outputs/predictions.csv"),
            split=HEADLINE_SPLIT,
        ),
        todo="Say who keeps these files, for how long, and who may see them.",
        see=["assess/predictions.csv", "assess/record.json"],
    )
