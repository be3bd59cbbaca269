"""Pictures and fingerprints for ``benchmarks/duplicates.py``: patients, altered copies, and many more like them.

Patients are phantom patients on all scanners; every n-th of them also exists in seven altered copies, made from its
pixels and fingerprinted on their own. To get more patients than were rendered, fingerprints are moved: circularly by
multiples of four cells along both axes, and turned upside down, 288 ways in all. Speckle, anatomy and contrast of a
moved fingerprint are real, and :func:`moved_alike` tells how far it resembles the one it came from.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int8, UInt8
from PIL import Image
from scipy import ndimage

from fibrokd.data.fan.finder import find_fan
from fibrokd.data.fingerprint import SIDE, fingerprint, mirrored
from fibrokd.phantom.cohort import CohortConfig, assign_stages, render_case
from fibrokd.phantom.patients import DifficultyName

SIZE = 256
_STEP = 4  # cells
_PLACES = SIDE // _STEP
MOVES = 2 * _PLACES * _PLACES
"""Ways of moving a fingerprint, the first of which leaves it where it is."""

Picture = UInt8[np.ndarray, "H W"]


def _reencoded(pixels: Picture, random: np.random.Generator) -> Picture:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=int(random.integers(50, 96)))
    return np.asarray(Image.open(stream))


def _brightened(pixels: Picture, random: np.random.Generator) -> Picture:
    change = int(random.choice([-1, 1])) * int(random.integers(8, 23))
    return np.clip(pixels.astype(np.int16) + change, 0, 255).astype(np.uint8)


def _gamma(pixels: Picture, random: np.random.Generator) -> Picture:
    levels = 255 * (np.arange(256) / 255) ** float(random.uniform(0.75, 1.3))
    return np.asarray(np.rint(levels).astype(np.uint8)[pixels])


def _cropped(pixels: Picture, random: np.random.Generator) -> Picture:
    """Cut 0.5 … 4 % off every side and enlarge the rest to the old size."""
    height, width = pixels.shape
    top, right, bottom, left = random.uniform(0.005, 0.04, 4) * np.array([height, width, height, width])
    box = (float(left), float(top), float(width - right), float(height - bottom))
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, box=box))


def _blurred(pixels: Picture, random: np.random.Generator) -> Picture:
    blurred = ndimage.gaussian_filter(pixels.astype(np.float32), float(random.uniform(0.4, 1.0)))
    return np.clip(blurred + random.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


def _resized(pixels: Picture, random: np.random.Generator) -> Picture:
    side = int(random.integers(160, 513))
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


ALTERATIONS: Mapping[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "re-encoded": _reencoded,
    "brightened": _brightened,
    "gamma": _gamma,
    "cropped": _cropped,
    "flipped": lambda pixels, _: np.ascontiguousarray(pixels[:, ::-1]),
    "blurred": _blurred,
    "resized": _resized,
}
"""What becomes of copies, by name."""


@dataclass(frozen=True)
class Material:
    """Rendered patients and altered copies of some of them.

    Args:
        originals: One fingerprint per patient.
        copies: One per kind of alteration and patient that has copies, in the order of :data:`ALTERATIONS`.
        copied: Patients that have copies.
    """

    originals: Int8[np.ndarray, "N L"]
    copies: Int8[np.ndarray, "C K L"]
    copied: Int[np.ndarray, " C"]


@dataclass(frozen=True)
class Planted:
    """Fingerprints of many patients with planted copies.

    Args:
        fingerprints: In random order.
        patient: Whose each is.
        kind: -1 for originals, else the number of the alteration.
    """

    fingerprints: Int8[np.ndarray, "M L"]
    patient: Int[np.ndarray, " M"]
    kind: Int[np.ndarray, " M"]


def make_material(
    patients: int, every: int, difficulty: DifficultyName, folder: Path, workers: int, pictures: bool = False
) -> Material:
    """Render patients and fingerprint them; what was made before is read from the folder.

    Args:
        patients: Number of patients.
        every: Each so manieth has altered copies.
        difficulty: Preset of the phantom.
        folder: Where fingerprints, and pictures if wanted, are kept.
        workers: Processes.
        pictures: Also write every picture as PNG into ``folder/pictures``, named ``<patient>_<kind>.png``.
    """
    code = _code_digest()
    kept = folder / f"{patients}_{every}_{difficulty}_{code}_{int(pictures)}.npz"
    copied = np.arange(0, patients, every)
    if not kept.is_file():
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        stages = assign_stages(CohortConfig(patients=patients))
        jobs = [
            (number, stage, difficulty, number % every == 0, folder / "pictures" if pictures else None)
            for number, stage in enumerate(stages)
        ]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            made = list(pool.map(_fingerprints, jobs, chunksize=16))
        np.savez(kept, originals=[one[0] for one in made], copies=[one[1:] for one in made if len(one) > 1])
    held = np.load(kept)
    return Material(held["originals"], held["copies"], copied)


def plant(material: Material, count: int, copied_share: float = 0.1) -> Planted:
    """Make ``count`` fingerprints of as many patients as that takes; copies move with their originals.

    Args:
        material: What to make them from.
        count: Fingerprints in all.
        copied_share: Share of them that are altered copies, at most what the material allows.

    Raises:
        ValueError: There are not enough patients to move.
    """
    kinds = len(ALTERATIONS)
    most = len(material.copied) * MOVES
    families = min(most, round(count * copied_share / kinds))
    patients = count - families * kinds
    if patients > len(material.originals) * MOVES:
        raise ValueError(f"{patients} patients need {-(-patients // MOVES)} rendered ones")
    # Patient number p is rendered patient p % rendered, moved p // rendered; those with copies are spread over all.
    rendered = len(material.originals)
    with_copies = [
        (move * rendered + patient, place)
        for move in range(-(-patients // rendered))
        for place, patient in enumerate(material.copied.tolist())
        if move * rendered + patient < patients
    ]
    chosen = [with_copies[i] for i in np.unique(np.linspace(0, len(with_copies) - 1, families).astype(int))]
    total = patients + len(chosen) * kinds
    fingerprints = np.empty((total, material.originals.shape[1]), dtype=np.int8)
    patient, kind = np.empty(total, dtype=np.int64), np.empty(total, dtype=np.int64)
    place = np.random.default_rng(0).permutation(total)
    for move, rows in _moves(patients, rendered):
        at = place[rows]
        fingerprints[at] = moved(material.originals[rows % rendered], move)
        patient[at], kind[at] = rows, -1
    for number, (owner, which) in enumerate(chosen):
        at = place[patients + number * kinds : patients + (number + 1) * kinds]
        fingerprints[at] = _moved_copies(material.copies[which], owner // rendered)
        patient[at], kind[at] = owner, np.arange(kinds)
    return Planted(fingerprints, patient, kind)


def moved(fingerprints: Int8[np.ndarray, "N L"], move: int) -> Int8[np.ndarray, "N L"]:
    """Move fingerprints in one of :data:`MOVES` ways."""
    grids = fingerprints.reshape(-1, SIDE, SIDE)
    turned, place = divmod(move, _PLACES * _PLACES)
    if turned:
        grids = grids[:, ::-1]
    down, across = divmod(place, _PLACES)
    return np.roll(grids, (down * _STEP, across * _STEP), (1, 2)).reshape(fingerprints.shape)


def _moved_copies(copies: Int8[np.ndarray, "K L"], move: int) -> Int8[np.ndarray, "K L"]:
    """Move copies as their original was moved: what is mirrored moves the other way."""
    flipped = [kind == "flipped" for kind in ALTERATIONS]
    found = moved(copies, move)
    found[flipped] = mirrored(moved(mirrored(copies[flipped]), move))
    return found


def moved_alike(fingerprints: Int8[np.ndarray, "N L"]) -> float:
    """Return the largest correlation of any of some fingerprints with itself moved, mirrored or not."""
    values = fingerprints[:50].astype(np.float64)
    power = np.einsum("nl,nl->n", values, values)
    turned = values.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(values.shape)
    other = [moved(fingerprints[:50], move).astype(np.float64) for move in range(1, MOVES)]
    return max(float((np.einsum("nl,nl->n", one, two) / power).max()) for two in other for one in (values, turned))


def _code_digest() -> str:
    """Digest of the code that decides what a fingerprint is, so that fingerprints of other code are made anew."""
    folder = Path(fingerprint.__code__.co_filename).parent
    files = [folder / name for name in ("border.py", "fingerprint.py", "sector.py")] + sorted(folder.glob("fan*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _moves(patients: int, rendered: int) -> Iterator[tuple[int, Int[np.ndarray, " R"]]]:
    for move in range(-(-patients // rendered)):
        yield move, np.arange(move * rendered, min((move + 1) * rendered, patients))


def _fingerprints(job: tuple[int, int, DifficultyName, bool, Path | None]) -> Int8[np.ndarray, "K L"]:
    """Fingerprint of one patient, and of all altered copies where there are any."""
    number, stage, difficulty, copied, folder = job
    original = render_case(number, 0, stage, SIZE, difficulty)
    random = np.random.default_rng([7, number])
    shown = {"original": original}
    if copied:
        shown |= {kind: alter(original, random) for kind, alter in ALTERATIONS.items()}
    for kind, pixels in shown.items():
        if folder is not None:
            Image.fromarray(pixels).save(folder / f"{number:06d}_{kind}.png")
    return np.stack([fingerprint(pixels, find_fan(pixels)) for pixels in shown.values()])
