"""The peer of ``benchmarks/duplicates.py``: imagededup's perceptual hash on a folder of pictures. Imports no fibrokd.

    PYTHON benchmarks/phash_peer.py FOLDER PAIRS.json

PYTHON is any interpreter in which imagededup can be imported; it is no dependency of fibrokd. Default settings:
64 bits, Hamming distance up to 10, its default search; one process. Writes the pairs found; the last line is JSON
with the seconds spent on hashing and on searching.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any


def main() -> None:
    """Hash, search and write."""
    PHash = import_module("imagededup.methods").PHash  # installed for this script only

    folder, pairs_file = Path(sys.argv[1]), Path(sys.argv[2])
    method: Any = PHash(verbose=False)
    began = time.perf_counter()
    encodings = method.encode_images(image_dir=folder, num_enc_workers=0)
    hashed = time.perf_counter()
    found = method.find_duplicates(encoding_map=encodings, max_distance_threshold=10, num_dist_workers=0)
    done = time.perf_counter()
    pairs = sorted({tuple(sorted((name, other))) for name, others in found.items() for other in others})
    pairs_file.write_text(json.dumps(pairs))
    print(json.dumps({"hashing_s": round(hashed - began, 2), "searching_s": round(done - hashed, 2)}))


if __name__ == "__main__":
    main()
