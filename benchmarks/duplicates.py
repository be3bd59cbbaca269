"""Search for near-duplicates: time, memory, recall per kind of copy and false links at growing numbers of images.

    python -m benchmarks.duplicates FOLDER [--sizes 10000 100000 1000000] [--peer PYTHON]

FOLDER keeps rendered material between runs. Fingerprints are of phantom patients and of altered copies made from their
pixels; beyond the rendered ones, patients are moved fingerprints, see ``duplicates_material``. Every size runs in a
process of its own; its peak memory includes the fingerprints. Single-threaded where OMP_NUM_THREADS=1.

Beside it, on 10,000 pictures from their PNG files on: fibrokd (decode, fan, fingerprint, search) and imagededup's
perceptual hash with its defaults, run by PYTHON; without it the comparison is left out and said to be.

The last line is JSON: ``ratio`` (the peer's seconds divided by ours), ``exponent`` (slope of log processor time over
log number, default settings), ``exponent_candidates`` (the same with the candidate search at every size), ``recall``
(lowest of all kinds and sizes), ``false_links`` (between patients, all sizes together), the details of every size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.duplicates_material import ALTERATIONS, Material, make_material, moved_alike, plant
from fibrokd.data.fan.finder import find_fan
from fibrokd.data.fingerprint import fingerprint
from fibrokd.integrity.near_duplicates import NearConfig, near_links
from fibrokd.memory import peak_mb

KINDS = tuple(ALTERATIONS)
PEER_PICTURES = 10_000
_PATIENTS, _EVERY = 4_000, 4  # of which the material is rendered; with 7 copies of every fourth: 11,000 pictures


def search(material: Material, count: int, config: NearConfig) -> dict[str, Any]:
    """Search ``count`` fingerprints once.

    Returns:
        Seconds on the clock and of the processor, peak memory of this process, recall per kind, false links.
    """
    planted = plant(material, count)
    began, busy = time.perf_counter(), time.process_time()
    links = near_links(planted.fingerprints, config)
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    ends = np.array([(link.a, link.b) for link in links], dtype=np.int64).reshape(-1, 2)
    return {
        "images": len(planted.kind),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_mb": round(peak_mb()),
        **judged(ends, planted.patient, planted.kind),
    }


def judged(ends: np.ndarray, patient: np.ndarray, kind: np.ndarray) -> dict[str, Any]:
    """Count what was found.

    A copy is found when a chain of links leads from it to its original and stays within the patient.

    Args:
        ends: Rows of both ends of every link, ``int64`` [K, 2].
        patient: Whose each picture is, ``int64`` [N].
        kind: -1 for originals, else the number of the alteration, ``int64`` [N].
    """
    same = patient[ends[:, 0]] == patient[ends[:, 1]]
    root = np.arange(len(patient))
    changed = True
    while changed:
        low = np.minimum(root[ends[same, 0]], root[ends[same, 1]])
        before = root.copy()
        np.minimum.at(root, ends[same, 0], low)
        np.minimum.at(root, ends[same, 1], low)
        changed = bool((before != root).any())
    original = np.zeros(int(patient.max()) + 1, dtype=np.int64)
    original[patient[kind < 0]] = root[kind < 0]
    found = root == original[patient]
    return {
        "recall": {name: round(float(found[kind == k].mean()), 4) for k, name in enumerate(KINDS)},
        "links": len(ends),
        "false_links": int((~same).sum()),
    }


def beside_peer(folder: Path, peer: Path) -> dict[str, Any]:
    """Search the same pictures, from their files on, with fibrokd and with the peer."""
    files = sorted((folder / "pictures").glob("*.png"))
    named = [file.stem.split("_", 1) for file in files]
    with_copies = {number for number, kind in named if kind != "original"}
    plain = [file for file, (number, _) in zip(files, named, strict=True) if number not in with_copies]
    families = [file for file, (number, _) in zip(files, named, strict=True) if number in with_copies]
    chosen = sorted([*families, *plain][:PEER_PICTURES])
    subset = folder / "peer_pictures"
    subset.mkdir(exist_ok=True)
    for stale in subset.iterdir():
        stale.unlink()
    for file in chosen:
        (subset / file.name).hardlink_to(file)
    patient = np.array([int(file.stem.split("_", 1)[0]) for file in chosen])
    kind = np.array([_kind(file) for file in chosen])
    began = time.perf_counter()
    pictures = (np.asarray(Image.open(file).convert("L")) for file in chosen)
    prints = np.stack([fingerprint(pixels, find_fan(pixels)) for pixels in pictures])
    made = time.perf_counter()
    links = near_links(prints)
    done = time.perf_counter()
    ends = np.array([(link.a, link.b) for link in links], dtype=np.int64).reshape(-1, 2)
    ours = {"hashing_s": round(made - began, 2), "searching_s": round(done - made, 2), **judged(ends, patient, kind)}
    answer = subprocess.run(
        [str(peer), str(Path(__file__).with_name("phash_peer.py")), str(subset), str(folder / "peer_pairs.json")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if answer.returncode:
        return {"images": len(chosen), "fibrokd": ours, "peer": f"failed: {answer.stderr.strip().splitlines()[-1:]}"}
    row = {file.name: number for number, file in enumerate(chosen)}
    pairs = json.loads((folder / "peer_pairs.json").read_text())
    ends = np.array([(row[a], row[b]) for a, b in pairs], dtype=np.int64).reshape(-1, 2)
    theirs = {**json.loads(answer.stdout.strip().splitlines()[-1]), **judged(ends, patient, kind)}
    return {"images": len(chosen), "fibrokd": ours, "peer": theirs, "ratio": round(_total(theirs) / _total(ours), 3)}


def slope(results: Sequence[dict[str, Any]]) -> float | None:
    """Return the least-squares slope of log processor time over log number of images."""
    if len(results) < 2:
        return None
    size, seconds = (np.log([result[key] for result in results]) for key in ("images", "cpu_seconds"))
    return round(float(np.polyfit(size, seconds, 1)[0]), 3)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where rendered material is kept")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="numbers of images")
    parser.add_argument("--patients", type=int, default=_PATIENTS, help="patients to render")
    parser.add_argument("--workers", type=int, default=1, help="processes that render")
    parser.add_argument("--peer", type=Path, help="python in which imagededup is installed")
    options = parser.parse_args()
    material = make_material(options.patients, _EVERY, "hard", options.folder, options.workers, pictures=True)
    print(f"largest correlation of a fingerprint with itself moved: {moved_alike(material.originals):.2f}", flush=True)
    default, candidates = [], []
    for count in sorted(options.sizes):
        config = NearConfig()
        default.append(_alone(material, count, config))
        print(json.dumps(default[-1]), flush=True)
        always = count > config.exact_up_to
        candidates.append(default[-1] if always else _alone(material, count, NearConfig(exact_up_to=0)))
        if not always:
            print("candidates:", json.dumps(candidates[-1]), flush=True)
    beside = beside_peer(options.folder, options.peer) if options.peer else "absent: give --peer PYTHON"
    print(json.dumps(beside), flush=True)
    every = [*default, *candidates]
    print(
        json.dumps(
            {
                "ratio": beside.get("ratio") if isinstance(beside, dict) else None,
                "exponent": slope(default),
                "exponent_candidates": slope(candidates),
                "recall": min(min(result["recall"].values()) for result in every),
                "false_links": sum(result["false_links"] for result in default),
                "sizes": default,
                "candidates": candidates,
                "beside_peer": beside,
            }
        )
    )


def _alone(material: Material, count: int, config: NearConfig) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(search, material, count, config).result()


def _kind(file: Path) -> int:
    name = file.stem.split("_", 1)[1]
    return KINDS.index(name) if name in KINDS else -1


def _total(timed: dict[str, Any]) -> float:
    return float(timed["hashing_s"] + timed["searching_s"])


if __name__ == "__main__":
    main()
