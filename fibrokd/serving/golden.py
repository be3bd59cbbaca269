"""Renders a bundle's golden cases from the phantom, never from data of a collection, and fixes their answers.

The expected answer is the Predictor's own, from PNG bytes to probabilities, and must agree with the network it was
exported from. Used when a bundle is made; repeating the cases later is ``verify``.
Shape letters: N batch, K stages, H W picture, S side of the network input.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from fibrokd.errors import BundleError
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.patients import DIFFICULTIES, make_patient
from fibrokd.serving.bundle import Bundle, GoldenCase
from fibrokd.serving.predictor import Predictor, Staging
from fibrokd.stages import METAVIR

SIDE = 384
ATTEMPTS = 50
"""Phantoms rendered per stage before giving up on finding enough that pass the gates."""

Reference = Callable[[UInt8[np.ndarray, "N S S"]], Float[np.ndarray, "N K"]]
"""Probabilities of the network before export, for preprocessed frames."""


def golden_cases(bundle: Bundle, reference: Reference, per_stage: int, seed: int) -> tuple[GoldenCase, ...]:
    """Render phantoms of every stage that pass the gates, and one picture that must be refused.

    Args:
        bundle: The bundle, still without golden cases.
        reference: What the network answered before export.
        per_stage: Cases per stage.
        seed: Seed of the rendered patients.

    Raises:
        BundleError: The Predictor disagrees with the reference, or too few phantoms pass the gates.
    """
    predictor = Predictor(bundle)
    found = []
    for stage, name in enumerate(bundle.scale.names):
        cases = _staged(predictor, stage, seed)
        for number in range(per_stage):
            case = next(cases, None)
            if case is None:
                raise BundleError(
                    f"Expected {per_stage} rendered phantom(s) of {name} to pass the gates, found {number} "
                    f"in {ATTEMPTS} attempts.",
                    "Lower `min_confidence` of the preprocessing, or keep the whole frame (`crop: full`).",
                )
            png, staging = case
            _require_agreement(staging, reference, bundle.card.tolerance)
            words = f"Phantom rendered at stage {name}" + (f" ({number + 1})" if per_stage > 1 else "")
            found.append(GoldenCase(f"case_{name}_{number}.png", png, words, staging.outcome, staging.probabilities))
    png = _encode(_dark_screen())
    [refused] = predictor.predict_bytes(png, "golden")
    return (*found, GoldenCase("case_refused.png", png, "No scan: a dark screen", refused.outcome, {}))


def _staged(predictor: Predictor, stage: int, seed: int) -> Iterator[tuple[bytes, Staging]]:
    # A stage of METAVIR is rendered as itself; those of another scale are spread over METAVIR's.
    name = predictor.bundle.scale.names[stage]
    spread = round(stage * (len(METAVIR) - 1) / (len(predictor.bundle.scale) - 1))
    severity = METAVIR.names.index(name) if name in METAVIR.names else spread
    for number in range(ATTEMPTS):
        patient = make_patient(1000 * stage + number, seed, severity, DIFFICULTIES["easy"])
        png = _encode(Clip(patient).frame(size=max(SIDE, predictor.bundle.card.preprocess.size)))
        [staging] = predictor.predict_bytes(png, "golden")
        if staging.outcome == "stage":
            yield png, staging


def _require_agreement(staging: Staging, reference: Reference, tolerance: float) -> None:
    if staging.network_view is None:
        raise BundleError("Expected the Predictor to show what the network saw, found nothing.", "Report this.")
    expected = reference(staging.network_view[None])[0]
    difference = float(np.abs(np.array(list(staging.probabilities.values())) - expected).max())
    if not difference <= tolerance:  # also where the difference is no number
        raise BundleError(
            f"The Predictor deviates by {difference:.2e} from PyTorch in a golden case; at most {tolerance:.0e} is "
            "accepted.",
            "Nothing was released; report the versions of torch, onnx and onnxruntime.",
        )


def _dark_screen() -> UInt8[np.ndarray, "H W"]:
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[8:14, 8:60] = 180  # a line of text, as a scanner in standby shows
    return pixels


def _encode(pixels: UInt8[np.ndarray, "H W"]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
