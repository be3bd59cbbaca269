"""Images per second and core that the phantom renders at 256 px, with 1, 4 and 8 frames per clip.

Prints one JSON object as its last line; ``ratio`` is images per second and core at one frame per clip over the
promised 20. Time is process time of one single-threaded process, so that other load on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import time

from fibrokd.phantom.clip import Clip
from fibrokd.phantom.cohort import CohortConfig, cohort_patients

PROMISED = 20.0


def images_per_second(images: int, frames: int, size: int) -> float:
    """Render about ``images`` images, ``frames`` from each clip."""
    clips = max(1, images // frames)
    patients = cohort_patients(CohortConfig(patients=clips))
    started = time.process_time()
    for patient in patients:
        clip = Clip(patient)
        for frame in range(frames):
            clip.frame(frame, size)
    return clips * frames / (time.process_time() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=120, help="images per measurement")
    parser.add_argument("--size", type=int, default=256, help="side of the images, pixels")
    arguments = parser.parse_args()
    images_per_second(16, 2, arguments.size)  # geometry and noise tapes of every scanner are made once
    rates = {frames: round(images_per_second(arguments.images, frames, arguments.size), 1) for frames in (1, 4, 8)}
    result = {
        "ratio": round(rates[1] / PROMISED, 3),
        "images_per_second_per_core": {f"{frames}_frames_per_clip": rate for frames, rate in rates.items()},
        "size": arguments.size,
        "promised": PROMISED,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
