"""Cohorts for the tests of findings, verdict and page: 150 patients without files or pixels."""

import numpy as np

from fibrokd.integrity.controls import ControlsConfig
from fibrokd.integrity.findings import Collection, PictureEvidence, survey
from fibrokd.integrity.groups import group_images
from fibrokd.integrity.identity import StemRules
from fibrokd.integrity.splitting import SplitConfig, split_images
from fibrokd.stages import METAVIR
from tests.integrity.builders import manifest

PATIENTS, FRAMES = 150, 2
CONTROLS = ControlsConfig(seeds=(0,), folds=3, replicates=100)
OFF = ControlsConfig(enabled=False)


def cohort(change=None):
    """Build a clean cohort: 150 patients of two frames, balanced stages, names that say nothing of the stage."""
    order = np.random.default_rng(5).permutation(PATIENTS)
    rows = []
    for patient in range(PATIENTS):
        for frame in range(FRAMES):
            stage = METAVIR.names[patient % 5]
            row = {"stage": stage, "patient": f"P{patient}", "path": f"{stage}/q{order[patient]:03d}x{frame}.png"}
            rows.append(row | (change(patient, frame, row) if change else {}))
    return manifest(rows)


def findings_of(
    table, grouping="all", thumbnails=None, controls=CONTROLS, refused=None, files=None, near=None, margins=None
):
    if thumbnails is None:
        thumbnails = np.random.default_rng(0).integers(0, 256, (len(table), 48, 48), dtype=np.uint8)
    pictures = PictureEvidence(
        near=near or (),
        threshold=None if near is None else 0.65,
        margins=None if margins is None else lambda rows: margins[rows],
    )
    groups = group_images(table, grouping, extra=pictures.near)
    splits = split_images(table, groups, METAVIR, SplitConfig())
    collection = Collection(table, METAVIR, files or len(table), refused or {}, 0, grouping, StemRules(), True)
    return survey(collection, lambda rows: thumbnails[rows], groups, splits, controls, pictures)
