"""Answers to disturbed pictures: of what can be done to a stored picture, and of phantoms rendered anew.

A phantom's patient can be examined again by another scanner or with other settings, everything else equal to the last
random number: what changes in the answer is then due to that alone. Shape letters: N images, S side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from fibrokd.artifacts import require
from fibrokd.config import parse_config
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.prepared import Prepared, read_table
from fibrokd.data.preprocess import preprocess
from fibrokd.errors import InputError
from fibrokd.evaluation.robustness.disturbances import DISTURBANCES, SAME, SCANNER
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.cohort import CohortConfig, cohort_patients
from fibrokd.phantom.hazards import HazardConfig
from fibrokd.phantom.patients import Patient, scanner_of
from fibrokd.phantom.scanners import SCANNERS, Scanner
from fibrokd.progress import track

LEAST_LIKENESS = 0.95
"""Correlation of a stored picture with its render; below it they are of different patients, or code."""


@dataclass(frozen=True, eq=False)
class DisturbedPictures:
    """Some test images, disturbed in one way.

    Args:
        key: Name of the disturbance, see :mod:`fibrokd.evaluation.robustness.disturbances`.
        rows: Rows of the prepared images.
        pixels: What the network sees instead.
    """

    key: str
    rows: Int[np.ndarray, " N"]
    pixels: UInt8[np.ndarray, "N S S"]


def chosen_rows(prepared: Prepared, split: str, most: int) -> Int[np.ndarray, " N"]:
    """Return one image of each of at most ``most`` clusters, drawn without regard to how many images they have."""
    rows = prepared.rows(split)
    ids, clusters = (prepared.table[column].to_numpy()[rows] for column in ("image_id", "cluster"))
    names = np.unique(clusters)
    drawn = np.random.default_rng(0).permutation(len(names))[:most]
    own = [np.flatnonzero(clusters == names[place]) for place in drawn]
    return np.sort([rows[images[np.argmin(ids[images])]] for images in own]).astype(np.int64)


def recorded(prepared: Prepared, rows: Int[np.ndarray, " N"]) -> Iterator[DisturbedPictures]:
    """Yield every disturbance of stored pictures."""
    pictures = [np.asarray(prepared.pixels[row]) for row in rows]
    for item in DISTURBANCES:
        pixels = np.stack([item.apply(picture) for picture in pictures])
        yield DisturbedPictures(item.key, rows, pixels)


def rendered(prepared: Prepared, rows: Int[np.ndarray, " N"], phantom: Path) -> Iterator[DisturbedPictures]:
    """Yield every re-rendering of phantoms.

    Args:
        prepared: Images that were rendered and prepared.
        rows: Which of them.
        phantom: Folder of the rendered cohort.

    Raises:
        InputError: The images are not those of the cohort, or are no renders of it any more.
    """
    config = _cohort(phantom)
    views = _views(prepared, rows, phantom, config)
    render = partial(_render, config=config, prepared=prepared)
    same = np.stack([render(view, view.scanner, view.patient) for view in views])
    if _likeness(same[0], prepared.pixels[rows[0]]) < LEAST_LIKENESS:
        raise _other_cohort(phantom, "another picture")
    yield DisturbedPictures(SAME, rows, same)
    for name in track(config.scanners, "render elsewhere", len(config.scanners), "scanners"):
        taken = [number for number, view in enumerate(views) if view.scanner.name != name]
        if taken:
            pixels = [render(views[k], SCANNERS[name], views[k].patient) for k in taken]
            yield DisturbedPictures(f"{SCANNER}{name}", rows[taken], np.stack(pixels))
    for key, change in track(SETTINGS.items(), "render differently", len(SETTINGS), "settings"):
        pixels = [render(view, *change(view.scanner, view.patient)) for view in views]
        yield DisturbedPictures(key, rows, np.stack(pixels))


Change = Callable[[Scanner, Patient], tuple[Scanner, Patient]]


def _tilted(decibel: float) -> Change:
    def change(scanner: Scanner, patient: Patient) -> tuple[Scanner, Patient]:
        tilt = np.linspace(-decibel, decibel, len(patient.sliders_db)).tolist()
        moved = tuple(own + more for own, more in zip(patient.sliders_db, tilt, strict=True))
        return scanner, replace(patient, sliders_db=moved)

    return change


SETTINGS: Mapping[str, Change] = {
    "rendered_gain": lambda scanner, patient: (scanner, replace(patient, gain_db=patient.gain_db + 6)),
    "rendered_tgc": _tilted(5.0),
    "rendered_depth": lambda scanner, patient: (replace(scanner, depth_mm=1.15 * scanner.depth_mm), patient),
    "rendered_haze": lambda scanner, patient: (replace(scanner, clutter_db=scanner.clutter_db + 8), patient),
    "rendered_noise": lambda scanner, patient: (replace(scanner, noise_db=scanner.noise_db + 6), patient),
}
"""Settings of the examination that are changed, by key."""


@dataclass(frozen=True)
class _Taken:
    """Which frame of whom an image is."""

    patient: Patient
    scanner: Scanner
    clip: int
    frame: int


def can_be_rendered_again(config: CohortConfig) -> bool:
    """Return whether every picture of a cohort is a plain render of one frame."""
    return config.format == "image" and config.hazards == HazardConfig()


def _cohort(phantom: Path) -> CohortConfig:
    data = {name: value for name, value in require(phantom, "phantom").config.items() if name != "generation"}
    config = parse_config(data, CohortConfig, source=str(phantom))
    if not can_be_rendered_again(config):
        raise _other_cohort(phantom, "DICOM files, or planted defects")
    return config


def _views(prepared: Prepared, rows: Int[np.ndarray, " N"], phantom: Path, config: CohortConfig) -> list[_Taken]:
    truth = read_table(phantom / "truth.csv").set_index("path")
    patients = {f"P{patient.number:04d}": patient for patient in cohort_patients(config)}
    found = []
    for path in prepared.table["path"].to_numpy()[rows]:
        if path not in truth.index:
            raise _other_cohort(phantom, "a file that it does not have")
        row = truth.loc[path]
        patient = patients[str(row["patient"])]
        found.append(_Taken(patient, scanner_of(patient), int(str(row["clip"])), int(str(row["frame"]))))
    return found


def _render(
    view: _Taken, scanner: Scanner, patient: Patient, config: CohortConfig, prepared: Prepared
) -> UInt8[np.ndarray, "S S"]:
    pixels = Clip(patient, view.clip, scanner).frame(view.frame, config.size, config.overlay)
    return preprocess(UltrasoundImage(pixels, format="PNG"), prepared.preprocess).pixels


def _likeness(one: UInt8[np.ndarray, "S S"], other: UInt8[np.ndarray, "S S"]) -> float:
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])


def _other_cohort(phantom: Path, found: str) -> InputError:
    return InputError(
        f"Expected the test images to be pictures of {phantom}, rendered without defects, found {found}.",
        "Give the folder that they were prepared from, or leave `phantom` of the assess step out.",
    )
