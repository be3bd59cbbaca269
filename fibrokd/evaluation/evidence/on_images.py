"""Answers about single images: how they were made, prepared and stripped of identifiers, and which are refused."""

from __future__ import annotations

from fibrokd.evaluation.evidence.artefacts import BUNDLE, INTEGRITY, INTEGRITY_PAGE, PREPARE, Artefacts
from fibrokd.evaluation.evidence.items import Answer, Words, filled, for_authors, not_applicable, partly, say
from fibrokd.evaluation.evidence.on_data import MOST_LISTED, from_card, of_patients, simulated


def acquisition(run: Artefacts) -> Answer:
    """Devices and the form of their images."""
    scanners = run.kinds("scanner")
    counted = [
        say("Scanner {name}: {n} images.", name=name, n=run.rows(scanner=name)) for name in scanners[:MOST_LISTED]
    ]
    formats = [say("Format {name}: {n} images.", name=name, n=run.rows(format=name)) for name in run.kinds("format")]
    return from_card(
        run,
        "devices",
        "Devices",
        "Name makers, models, probes, presets and the protocol of the examination.",
        *counted,
        *formats,
    )


def preprocessing_words(run: Artefacts) -> tuple[Words, ...]:
    """What is done to every image; the same function prepares training, test and bedside images."""
    crop = {
        "fan": "Of every frame the insonation fan is found, everything outside it is set to zero, and the frame is "
        "cropped to it; below a confidence of {confidence} the whole frame is kept, as in {uncropped} images.",
        "full": "Frames keep their extent; {uncropped} images were kept whole (confidence asked of a fan, which was "
        "not looked for: {confidence}).",
    }[str(run.get(INTEGRITY, "/crop"))]
    return (
        say(
            crop,
            confidence=run.value(PREPARE, "/config/preprocess/min_confidence"),
            uncropped=run.value(INTEGRITY, "/uncropped"),
        ),
        say(
            "Grey levels are not altered; the picture is resized once, aspect kept, and padded to a "
            "square of {size} pixels "
            "a side. Scaling of grey levels is part of the network itself.",
            size=run.value(PREPARE, "/config/preprocess/size"),
        ),
    )


def preprocessing(run: Artefacts) -> Answer:
    """From the file to the input of the network."""
    return filled(*preprocessing_words(run))


def preparation(run: Artefacts) -> Answer:
    """Preprocessing and checks of quality, the same for all groups of persons."""
    checks = say(
        "Checked before use: {files} files decoded within limits, {wrong} with a name that claims another format, "
        "{distinct} distinct images among {images}.",
        files=run.value(INTEGRITY, "/files"),
        wrong=run.value(INTEGRITY, "/wrong_extension"),
        distinct=run.value(INTEGRITY, "/distinct_images"),
        images=run.value(INTEGRITY, "/images"),
    )
    see = [f"{INTEGRITY_PAGE}#found"]
    if run.synthetic:
        return filled(*preprocessing_words(run), checks, see=see)
    todo = "Say whether data were prepared alike in all groups of persons before they came here."
    return partly(*preprocessing_words(run), checks, todo=todo, see=see)


def acquisition_and_preprocessing(run: Artefacts) -> Answer:
    """Protocol of acquisition and preprocessing together."""
    made = acquisition(run)
    return Answer(made.status, (*made.said, *preprocessing_words(run)), made.todo, made.see)


def identifiers(run: Artefacts) -> Answer:
    """What happened to identifiers."""
    if run.synthetic:
        return not_applicable(simulated(run))
    said = (
        say(
            "Keys of patients and studies are replaced by keyed digests and stand in files that no later step reads; "
            "what lies outside the fan is blackened. The patient is known for {known} of the images.",
            known=run.percent(INTEGRITY, "/known_patients"),
        ),
        say("{n} images were kept whole and may carry burned-in text.", n=run.value(INTEGRITY, "/uncropped")),
    )
    return partly(*said, todo="Say how data were de-identified before they came here, and under which law.")


def predictors(run: Artefacts) -> Answer:
    """What a prediction rests on."""
    size = run.value(PREPARE, "/config/preprocess/size")
    use = say(
        "The image is the only predictor, {size} by {side} grey levels; nothing was pre-selected.", size=size, side=size
    )
    return filled(use)


def predictor_definition(run: Artefacts) -> Answer:
    """How the image is defined and measured."""
    return acquisition_and_preprocessing(run)


def predictor_assessors(run: Artefacts) -> Answer:
    """Who judged predictors: no reader, but somebody held the probe."""
    return of_patients(run, "No reader judges an image here; say who acquired the images, and with what experience.")


def poor_input(run: Artefacts) -> Answer:
    """What happens to an image that cannot be staged."""
    if not run.has(BUNDLE):
        return for_authors("No bundle was released in this run; say how unusable images are recognised and handled.")
    return partly(
        say(
            "Before the network of the bundle is asked, images are refused that are too small, "
            "almost black or without echo "
            "texture, and where the crop is fan (here: {crop}) those without a usable one "
            "(confidence below {confidence}); "
            "the reason is named. One golden case of the bundle must be refused.",
            crop=run.value(BUNDLE, "/preprocess/crop"),
            confidence=run.value(BUNDLE, "/preprocess/min_confidence"),
        ),
        todo="Say what is done with a patient whose images are refused.",
    )
