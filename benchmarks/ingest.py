"""Throughput of reading a collection, beside the bare minimum: Pillow decode and SHA-256 of the same files.

    python benchmarks/ingest.py FOLDER [--files 600]

Both run in one process on the same files, in turns. The last line is JSON; ``ratio`` is fibrokd's images per second
and core (decode, digests, fan, crop, resize, thumbnail, shard on disk) divided by those of the bare minimum.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
import time
from pathlib import Path

from PIL import Image

from fibrokd.data.ingest import IngestJob
from fibrokd.data.limits import ReadLimits
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.data.shards import FILES_PER_SHARD, write_shard
from fibrokd.data.sources import DataConfig, find_files


def bare_minimum(paths: list[Path]) -> None:
    """Decode every file to grey levels with Pillow, and digest its bytes."""
    for path in paths:
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        with Image.open(io.BytesIO(data)) as image:
            image.convert("L").load()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="collection in stage folders")
    parser.add_argument("--files", type=int, default=640, help="files to read, spread over the collection")
    options = parser.parse_args()
    found = find_files(DataConfig(root=options.folder)).files
    files = found[:: max(1, len(found) // options.files)][: options.files]
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        seconds = {"fan": 0.0, "full": 0.0, "bare": 0.0}
        for start in range(0, len(files), FILES_PER_SHARD):
            piece = files[start : start + FILES_PER_SHARD]
            began = time.process_time()
            bare_minimum([options.folder / file.path for file in piece])
            seconds["bare"] += time.process_time() - began
            for crop in ("fan", "full"):
                spec = PreprocessSpec.model_validate({"crop": crop})
                jobs = [IngestJob(options.folder, file, spec, ReadLimits()) for file in piece]
                began = time.process_time()
                write_shard(jobs, Path(folder) / f"{crop}.npz")
                seconds[crop] += time.process_time() - began
        results = {name: len(files) / spent for name, spent in seconds.items()}
    print(
        json.dumps(
            {
                "ratio": round(results["fan"] / results["bare"], 3),
                "ratio_without_fan": round(results["full"] / results["bare"], 3),
                "images_per_second_and_core": {name: round(rate, 1) for name, rate in results.items()},
                "files": len(files),
            }
        )
    )


if __name__ == "__main__":
    main()
