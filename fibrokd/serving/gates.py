"""Gates that refuse an image before the network is asked; each is one small function in :data:`GATES`.

A gate looks at one decoded frame and what preprocessing made of it, and answers with the reason for a refusal in
words a sonographer can act on (what is wrong, then what to do next), or with None.

Owns the reasons. Decides no stage and runs no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fibrokd.data.images import UltrasoundImage
from fibrokd.data.preprocess import Preprocessed, PreprocessSpec
from fibrokd.data.quality import BLACK_LEVEL
from fibrokd.errors import UnreadableImageError

MIN_RESOLUTION = 0.5
"""Image sides below this share of the network's input are refused: enlarging invents the texture that stages."""

MIN_LIT_SHARE = 0.05
"""Share of lit pixels within the network's view below which the view is nearly empty. Phantom scans lie above 0.5."""

MIN_CONTRAST = 4.0
"""Standard deviation in grey levels within the lit pixels below which there is no speckle, only a flat card.
Phantom scans lie above 20."""


@dataclass(frozen=True)
class Candidate:
    """One decoded frame about to be staged.

    Args:
        image: The frame as decoded.
        view: What preprocessing made of it.
        spec: The bundle's preprocessing.
    """

    image: UltrasoundImage
    view: Preprocessed
    spec: PreprocessSpec


@dataclass(frozen=True)
class Gate:
    """One reason to refuse.

    Args:
        outcome: Outcome of a refused image: ``re-acquire`` (take it again) or ``refer`` (ask another method).
        check: Returns the reason, or None where the image may pass.
    """

    outcome: str
    check: Callable[[Candidate], str | None]


def too_small(candidate: Candidate) -> str | None:
    """Refuse thumbnails: their texture is gone."""
    height, width = candidate.image.pixels.shape
    needed = math.ceil(MIN_RESOLUTION * candidate.spec.size)
    if min(height, width) >= needed:
        return None
    return (
        f"The image is too small ({width} × {height} pixels; at least {needed} on each side are needed). "
        "Export the scan in its full resolution."
    )


def nearly_empty(candidate: Candidate) -> str | None:
    """Refuse frames that are almost black or carry no echo texture."""
    lit = candidate.view.pixels[candidate.view.pixels > BLACK_LEVEL]
    if lit.size < MIN_LIT_SHARE * candidate.view.pixels.size:
        return "The image is almost black. Check gain, depth and probe contact, and acquire the view again."
    if float(np.std(lit)) < MIN_CONTRAST:
        return "The image shows no echo texture. Make sure that it is a B-mode scan, and acquire the view again."
    return None


def no_fan(candidate: Candidate) -> str | None:
    """Refuse frames without a usable insonation fan, where the bundle's preprocessing crops to the fan.

    A box that the file itself declares to be B-mode tissue (DICOM regions) counts as well: training cut it out too.
    """
    if candidate.spec.crop != "fan" or candidate.view.cropped:
        return None
    return (
        f"No usable ultrasound fan was found (confidence {candidate.view.fan_confidence:.2f}, "
        f"needed {candidate.spec.min_confidence:.2f}). "
        "Use the original B-mode frame with the whole fan visible: no photograph of a screen, no crop, no collage."
    )


GATES: dict[str, Gate] = {
    "too_small": Gate("re-acquire", too_small),
    "nearly_empty": Gate("re-acquire", nearly_empty),
    "no_fan": Gate("re-acquire", no_fan),
}
"""All gates by name, in the order in which their reasons are shown."""


def refusals(candidate: Candidate) -> tuple[str, tuple[str, ...]] | None:
    """Ask every gate.

    Returns:
        The outcome and all reasons, or None where the image may be staged. ``re-acquire`` wins over ``refer``: what
        can be taken again is taken again first.
    """
    found = [(gate.outcome, reason) for gate in GATES.values() if (reason := gate.check(candidate)) is not None]
    if not found:
        return None
    outcomes = {outcome for outcome, _ in found}
    return ("re-acquire" if "re-acquire" in outcomes else "refer", tuple(reason for _, reason in found))


UNREADABLE: dict[str, str] = {
    "empty": "The file is empty. Export the scan again.",
    "not_an_image": "This file is not an image. Choose a B-mode scan saved as PNG, JPEG, TIFF, BMP or DICOM.",
    "unsupported_format": "This kind of image file is not supported. Export the scan as PNG, JPEG or DICOM.",
    "truncated": "The image file ends too early. Copy or export it again.",
    "corrupt": "The image file is damaged. Copy or export it again.",
    "too_large": "The image is larger than any ultrasound scan should be. Export a single frame.",
    "too_small": "The image is too small to hold liver texture. Export the scan in its full resolution.",
    "no_pixels": "This DICOM file holds no picture (it may be a report). Choose an image of the study.",
    "blank": "The whole picture has one single grey level. Acquire the view again.",
    "not_ultrasound": "This DICOM file is not an ultrasound picture. Choose a B-mode scan of the liver.",
    "secondary_capture": "This DICOM file is a screenshot. Choose the original ultrasound picture of the study.",
    "colour_flow": "This is a colour Doppler picture. Freeze and export the B-mode view without colour.",
    "unsupported_transfer_syntax": "This DICOM compression cannot be decoded here. Export it uncompressed or as JPEG.",
    "too_slow": "Reading this file takes too long. Export a single frame.",
    "too_much_memory": "Reading this file takes too much memory. Export a single frame.",
    "crashed": "This file cannot be decoded here. Export the scan as PNG, or as uncompressed DICOM.",
    "unreadable": "The file cannot be read. Check that it exists and may be opened, or export the scan again.",
}
"""What to tell the user for every reason of :data:`fibrokd.data.reading.REASONS`; names no path, quotes no file."""


def unreadable(error: UnreadableImageError) -> str:
    """Return the reason for a file that cannot be decoded, in words that may be shown on a web page."""
    return UNREADABLE.get(error.reason, UNREADABLE["unreadable"])
