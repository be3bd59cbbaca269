"""Fan detection: overlap with the truth, and what of burned-in marks the mask lets through.

    python -m benchmarks.fan [--patients 200] [--seed 9040] [--sizes 192 256 384 512] [--workers 2]

Hard phantom patients of the seed, every one at every size: once as the scanner exports it (overlay on), once with text,
rulers, grey bars or logos pressed against the outline. What is kept of a picture is what ``preprocess`` keeps: the
inside of a fan it is confident of, moved inwards. A letter counts as kept where at least half of its pixels are.
Preprocessing times are medians of processor time in this one run.

The last line is JSON: ``median`` and ``share_90`` (of clean pictures of all sizes: overlap, share at or above .90),
``median_crowded``, ``accepted`` (of crowded ones), ``marked`` and ``lettered`` (shares of accepted crowded pictures
with any pixel of a mark kept, with any letter kept), and the same by size.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from benchmarks.fan_material import MarkedPicture, crowd
from fibrokd.data.fan.finder import find_fan
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.patients import DIFFICULTIES, make_patient

SIZES = (192, 256, 384, 512)
_LETTER_SHARE = 0.5

Row = dict[str, float]


def measured(picture: MarkedPicture) -> Row:
    """Look for the fan of one picture whose fan and marks are known."""
    began = time.process_time()
    fan = find_fan(picture.pixels)
    kept = fan.inner_mask(fan.off_px)
    seconds = time.process_time() - began
    numbers = np.bincount(picture.letters.ravel())[1:]
    left = np.bincount((picture.letters * kept).ravel(), minlength=len(numbers) + 1)[1:]
    return {
        "accepted": float(fan.confidence >= PreprocessSpec(size=64).min_confidence),
        "overlap": float((fan.mask & picture.fan).sum() / (fan.mask | picture.fan).sum()),
        "marked": float((kept & picture.marks).sum()),
        "letters": float((left >= _LETTER_SHARE * np.maximum(numbers, 1)).sum() if left.any() else 0),
        "tissue": float((kept & picture.fan).sum() / picture.fan.sum()),
        "seconds": seconds,
    }


def summary(clean: Sequence[Row], crowded: Sequence[Row]) -> dict[str, Any]:
    """Condense the rows of clean and of crowded pictures."""
    overlaps = np.array([row["overlap"] for row in clean])
    accepted = [row for row in crowded if row["accepted"]]
    return {
        "pictures": len(clean),
        "median": round(float(np.median(overlaps)), 4),
        "first_percentile": round(float(np.percentile(overlaps, 1)), 4),
        "least": round(float(overlaps.min()), 4),
        "share_90": round(float((overlaps >= 0.90).mean()), 4),
        "accepted_clean": _share(clean, "accepted"),
        "tissue_kept": round(float(np.median([row["tissue"] for row in clean])), 4),
        "median_crowded": round(float(np.median([row["overlap"] for row in crowded])), 4),
        "accepted": _share(crowded, "accepted"),
        "accepted_90": round(float(np.mean([row["overlap"] >= 0.90 for row in accepted])), 4),
        "marked": _share(accepted, "marked"),
        "most_pixels": int(max(row["marked"] for row in accepted)),
        "lettered": _share(accepted, "letters"),
        "most_letters": int(max(row["letters"] for row in accepted)),
        "ms_clean": round(1e3 * float(np.median([row["seconds"] for row in clean])), 2),
        "ms_crowded": round(1e3 * float(np.median([row["seconds"] for row in crowded])), 2),
    }


def _share(rows: Sequence[Row], key: str) -> float:
    return round(float(np.mean([row[key] > 0 for row in rows])), 4)


def _patient(job: tuple[int, int, tuple[int, ...]]) -> list[tuple[Row, Row]]:
    """Rows of one patient: per size, clean and crowded."""
    number, seed, sizes = job
    clip = Clip(make_patient(number, seed=seed, stage=number % 5, difficulty=DIFFICULTIES["hard"]))
    rows = []
    for size in sizes:
        frame = clip.frame_with_masks(size=size)
        nothing = np.zeros_like(frame.fan)
        clean = MarkedPicture(frame.image, frame.fan, nothing, nothing.astype(np.int32))
        rows.append((measured(clean), measured(crowd(frame.image, frame.fan, seed + 1000 * number + size))))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=200, help="hard phantom patients")
    parser.add_argument("--seed", type=int, default=9040, help="of the patients and of the marks")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="sides of the frames, pixels")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    options = parser.parse_args()
    jobs = [(number, options.seed, tuple(options.sizes)) for number in range(options.patients)]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_patient, jobs, chunksize=4))
    by_size = {}
    for place, size in enumerate(options.sizes):
        clean, crowded = zip(*(rows[place] for rows in found), strict=True)
        by_size[str(size)] = summary(clean, crowded)
        print(size, json.dumps(by_size[str(size)]), flush=True)
    clean, crowded = zip(*(pair for rows in found for pair in rows), strict=True)
    print(json.dumps({**summary(clean, crowded), "seed": options.seed, "sizes": by_size}))


if __name__ == "__main__":
    main()
