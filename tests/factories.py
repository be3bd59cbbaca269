"""Small artefacts for tests: a ``prepared/`` folder made of noise patches, without rendering or decoding anything."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from fibrokd.artifacts import begin
from fibrokd.data.prepared import IDENTITY_COLUMNS, MANIFEST_COLUMNS
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.files import write_json
from fibrokd.stages import METAVIR

SPLIT_OF_PATIENT = ("train", "train", "val", "calibration", "test")


def write_prepared(folder: Path, patients: int = 50, frames: int = 2, size: int = 32, seed: int = 0) -> Path:
    """Write a finished prepared/ folder whose stages are learnable: brightness and grain rise with the stage."""
    run = begin(folder, "prepare", {"factory": [patients, frames, size, seed]}, {})
    random = np.random.default_rng(seed)
    rows, pixels = [], []
    for patient in range(patients):
        stage = (patient // len(SPLIT_OF_PATIENT)) % len(METAVIR)
        for frame in range(frames):
            image = random.normal(60 + 30 * stage, 8 + 6 * stage, (size, size)).clip(0, 255).astype(np.uint8)
            image[:, :2] = 0
            path = f"{METAVIR.names[stage]}/P{patient:03d}_{frame}.png"
            digest = hashlib.sha256(image.tobytes()).hexdigest()
            rows.append(
                {
                    "image_id": hashlib.sha256(f"{path}#0".encode()).hexdigest()[:16],
                    "path": path,
                    "frame": 0,
                    "stage": METAVIR.names[stage],
                    "site": "",
                    "scanner": ("sonova", "echolab")[patient % 2],
                    "file_digest": digest,
                    "pixel_digest": digest,
                    "format": "PNG",
                    "extension_ok": 1,
                    "height": size,
                    "width": size,
                    "fan_confidence": 1.0,
                    "cropped": 1,
                    "patient": f"P{patient:03d}",
                    "study": "",
                }
            )
            pixels.append(image)
    table = pd.DataFrame(rows, columns=[*MANIFEST_COLUMNS, *IDENTITY_COLUMNS])
    table[list(MANIFEST_COLUMNS)].to_csv(folder / "manifest.csv", index=False)
    table[["image_id", *IDENTITY_COLUMNS]].to_csv(folder / "identities.csv", index=False)
    np.save(folder / "pixels.npy", np.stack(pixels))
    group = table["patient"]
    pd.DataFrame({"image_id": table["image_id"], "group": group, "cluster": group, "evidence": "patient"}).to_csv(
        folder / "groups.csv", index=False
    )
    number = group.str[1:].astype(int)
    pd.DataFrame(
        {
            "image_id": table["image_id"],
            "split": [SPLIT_OF_PATIENT[n % len(SPLIT_OF_PATIENT)] for n in number],
            "fold": number % len(SPLIT_OF_PATIENT),
        }
    ).to_csv(folder / "splits.csv", index=False)
    pd.DataFrame(columns=["path", "frame", "reason", "detail"]).to_csv(folder / "quarantine.csv", index=False)
    write_json(
        folder / "dataset.json",
        {
            "stages": {"names": METAVIR.names, "cutoffs": METAVIR.cutoffs},
            "preprocess": PreprocessSpec(size=size, crop="full").as_json(),
            "stamp": {
                "verdict": "fit", "grouping": "all", "reasons": [], "accepted_unfit": False, "synthetic": True,
            },
        },
    )  # fmt: skip
    write_json(folder / "integrity.json", {"verdict": "fit", "known_patients": 1.0})
    run.finish(["manifest.csv", "pixels.npy", "groups.csv", "splits.csv", "dataset.json", "integrity.json"])
    return folder
