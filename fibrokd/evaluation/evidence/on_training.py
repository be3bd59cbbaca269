"""Answers about training: how networks began, learned, were chosen and recalibrated."""

from __future__ import annotations

from fibrokd.evaluation.evidence.artefacts import LEDGER, METRICS, Artefacts
from fibrokd.evaluation.evidence.items import Answer, Words, filled, partly, say
from fibrokd.evaluation.evidence.on_model import card_of, described, record_of
from fibrokd.evaluation.evidence.on_split import per_split

TRAINING = {
    "Epochs at most": "/config/train/epochs",
    "batch size": "/config/train/batch_size",
    "peak learning rate of AdamW": "/config/train/learning_rate",
    "weight decay": "/config/train/weight_decay",
    "largest gradient norm": "/config/train/gradient_clip",
    "schedule": "/config/train/schedule",
    "early stopping after epochs without gain": "/config/train/early_stopping",
    "decay of averaged weights": "/config/train/average_decay",
    "label smoothing": "/config/supervised/label_smoothing",
    "class weights": "/config/supervised/class_weights",
    "augmentation": "/config/views/augment",
    "MixUp α": "/config/views/mixup_alpha",
    "boxes pasted instead of blended (CutMix)": "/config/views/cutmix",
    "training labels made wrong on purpose": "/config/label_noise",
    "share of images about which the teacher was made wrong on purpose": "/config/teacher_noise/share",
    "seed of the views": "/config/views/seed",
    "seed": "/config/train/seed",
}
"""What is said of a training → its place in the record of the network."""


def initialisation(run: Artefacts) -> Answer:
    """How weights began."""
    return filled(
        *(
            say(
                "{network} began from ImageNet weights: {pretrained}; seed of the other weights: {seed}.",
                network=network,
                pretrained=run.value(card_of(network), "/pretrained"),
                seed=run.value(card_of(network), "/seed"),
            )
            for network in run.networks
        )
    )


def training(run: Artefacts) -> Answer:
    """How networks were trained."""
    return filled(*trained(run), see=["assess/report.html#learning"])


def trained(run: Artefacts) -> tuple[Words, ...]:
    """Method and settings of the network, and what its teacher cost."""
    record = record_of(run.network)
    method = run.listed(record, {"Method": "/config/method"}) or say("Trained from labels alone.")
    found = [method, run.listed(record, TRAINING)]
    if run.has(LEDGER):
        found.append(
            say(
                "A book holds the teacher's answers to the training views: {n} forward passes of the teacher.",
                n=run.value(LEDGER, "/teacher_forwards"),
            )
        )
    return tuple(words for words in found if words)


def selection(run: Artefacts) -> Answer:
    """How the final network was chosen."""
    record, card = record_of(run.network), card_of(run.network)
    kept = say(
        "Weights kept: those of the {keep} epoch ({best} of {epochs}); “best” is the highest mean "
        "F-score over stages on the "
        "validation images.",
        keep=run.value(record, "/config/train/keep"),
        best=run.value(card, "/best_epoch"),
        epochs=run.value(card, "/epochs"),
    )
    how = "the one that was released" if run.released else "the last one that was assessed; none was released"
    chosen = say("Of the networks {names} this document is about {network}, {how}.",
                 names=run.keys(METRICS, "/networks"), network=run.network, how=how)  # fmt: skip
    return filled(kept, chosen)


def ensembling(run: Artefacts) -> Answer:
    """Whether answers were combined."""
    return filled(
        say("No answers of several networks are averaged: each of {names} is assessed alone, on one view per image.",
            names=run.keys(METRICS, "/networks"))
    )  # fmt: skip


def building(run: Artefacts) -> Answer:
    """Kind of model and every step of its making."""
    return filled(described(run, run.network), *trained(run), *selection(run).said)


def imbalance(run: Artefacts) -> Answer:
    """What was done about stages of different size."""
    weights = run.listed(
        record_of(run.network),
        {"Class weights": "/config/supervised/class_weights", "applied by": "/config/supervised/weight_mode"},
    )
    return filled(*(words for words in (weights, *per_split(run), *updating(run).said) if words))


def development(run: Artefacts) -> Answer:
    """How the index test was developed."""
    return partly(*per_split(run), *trained(run), todo="No external set is in this run: test on one, or say why not.")


def updating(run: Artefacts) -> Answer:
    """Recalibration of the network."""
    place = run.tests("calibration")
    if run.has(METRICS, place + "/temperature"):
        temperature = place + "/temperature"
        said = say(
            "Beside the network as it is, its log-probabilities divided by {t} are assessed, a "
            "temperature fitted on {split}; "
            "log loss then: {loss}.",
            t=run.value(METRICS, temperature + "/value"),
            split=run.value(METRICS, temperature + "/fixed_on"),
            loss=run.interval(METRICS, temperature + "/log_loss"),
        )
    else:
        said = say("The network was not recalibrated: {why}.", why=run.value(METRICS, place + "/no_temperature"))
    return filled(said, see=["assess/report.html#calibration"])
