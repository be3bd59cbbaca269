"""Cohorts on disk."""

import csv
import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from fibrokd.errors import ArtifactError
from fibrokd.phantom.cohort import CohortConfig
from fibrokd.phantom.hazards import HazardConfig
from fibrokd.phantom.plan import render_cohort
from fibrokd.phantom.writing import DIGESTS, TRUTH, encode_image, verify_cohort, write_cohort


def rows_of(root):
    with (root / TRUTH).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("clean")
    config = CohortConfig(patients=5, frames=2, size=64, workers=1)
    assert write_cohort(config, root).files == 10
    return config, root


def test_files_on_disk_hold_the_rendered_images_whatever_came_before(clean):
    config, root = clean
    images = {row["path"]: image for image, row in render_cohort(config)}
    assert set(images) == {row["path"] for row in rows_of(root)}
    for path, image in reversed(images.items()):
        assert np.array_equal(pixels_of(root / path), image)


def test_digests_cover_every_image(clean):
    _, root = clean
    lines = (root / DIGESTS).read_text().splitlines()
    assert len(lines) == 10
    for line in lines:
        digest, path = line.split("  ")
        assert hashlib.sha256((root / path).read_bytes()).hexdigest() == digest


def test_two_processes_write_the_same_bytes_as_one(clean, tmp_path):
    config, root = clean
    written = write_cohort(config.model_copy(update={"workers": 2}), tmp_path)
    assert written.workers == 2
    for name in (TRUTH, DIGESTS):
        assert (tmp_path / name).read_bytes() == (root / name).read_bytes()


def test_defects_on_disk_are_what_the_truth_says(tmp_path):
    hazards = HazardConfig(
        exact_copies=(1.0,) * 5, resaved=0.5, tampered=0.5, wrong_extension=0.3, names="random", broken=4
    )
    write_cohort(CohortConfig(patients=8, frames=1, size=64, workers=1, hazards=hazards), tmp_path)
    rows = {row["path"]: row for row in rows_of(tmp_path)}
    assert {row["kind"] for row in rows.values()} == {"original", "exact", "resave", "tampered", "broken"}
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.glob("F*/*")} == set(rows)
    for path, row in rows.items():
        content = (tmp_path / path).read_bytes()
        if row["kind"] == "exact":
            assert content == (tmp_path / row["duplicate_of"]).read_bytes()
        elif row["kind"] == "resave":
            assert content != (tmp_path / row["duplicate_of"]).read_bytes()
            difference = pixels_of(tmp_path / path).astype(int) - pixels_of(tmp_path / row["duplicate_of"])
            assert 0 < np.abs(difference).mean() < 12
        elif row["kind"] == "broken":
            with pytest.raises((OSError, SyntaxError)), Image.open(io.BytesIO(content)) as image:
                image.load()
    assert any(not path.endswith(".png") and row["kind"] == "original" for path, row in rows.items())


@pytest.mark.parametrize("kind", ["missing", "altered"])
def test_a_damaged_cohort_is_noticed(tmp_path, kind):
    write_cohort(CohortConfig(patients=1, frames=1, size=64, workers=1), tmp_path)
    verify_cohort(tmp_path)
    image = next(tmp_path.glob("F*/*.png"))
    if kind == "missing":
        image.unlink()
    else:
        image.write_bytes(image.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match=kind):
        verify_cohort(tmp_path)


def test_jpeg_quality_decides_size_and_png_loses_nothing():
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    assert len(encode_image(image, "jpeg", 60)) < len(encode_image(image, "jpeg", 95))
    assert np.array_equal(pixels_of(io.BytesIO(encode_image(image, "png", 0))), image)
