"""Images of another collection that networks have seen before are found, whatever they are called."""

from dataclasses import replace

import numpy as np
import pytest

from fibrokd.data.prepared import Prepared
from fibrokd.integrity.near_duplicates import NearConfig
from fibrokd.integrity.shared_images import shared_images
from tests.factories import write_prepared

NOT_NEAR = NearConfig(enabled=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("shared")
    own, other = (Prepared.open(write_prepared(root / f"p{seed}", patients=25, seed=seed)) for seed in (0, 1))
    names = [f"x{k:015d}" for k in range(len(other))]
    return own, replace(other, table=other.table.assign(image_id=names, cluster=[f"c{k // 2}" for k in range(50)]))


def changed(prepared, **columns):
    table = prepared.table.copy()
    for column, values in columns.items():
        for row, value in values.items():
            table.loc[row, column] = value
    return replace(prepared, table=table)


def found(own, other, **options):
    learned = np.flatnonzero(own.table["split"].isin(["train", "val", "calibration"]).to_numpy())
    return {item.image_id: (item.reason, item.seen) for item in shared_images(own, learned, other, **options)}


def test_pictures_of_its_own_are_not_shared(folders):
    own, other = folders
    assert found(own, other, near=NOT_NEAR) == {}


def test_the_same_picture_is_found_under_any_name_and_takes_its_relatives_along(folders):
    own, other = folders
    seen = own.table.iloc[0]
    copied = changed(other, pixel_digest={7: seen["pixel_digest"]})
    names = list(other.table["image_id"])
    assert found(own, copied, near=NOT_NEAR) == {
        names[6]: ("relative", ""),
        names[7]: ("content", seen["image_id"]),
    }


def test_what_was_only_tested_is_no_training(folders):
    own, other = folders
    tested = own.table[own.table["split"] == "test"].iloc[0]
    assert found(own, changed(other, pixel_digest={7: tested["pixel_digest"]}), near=NOT_NEAR) == {}


def test_patients_are_compared_where_their_keys_mean_something(folders):
    own, other = folders
    real = [replace(each, stamp=each.stamp | {"synthetic": False}) for each in folders]
    patients = set(own.table.loc[own.table["split"] != "test", "patient"])
    wanted = set(other.table.loc[other.table["patient"].isin(patients), "image_id"])
    shared = found(*real, near=NOT_NEAR)
    assert set(shared) == wanted
    assert {reason for reason, _ in shared.values()} == {"patient"}
    assert found(real[0], other, near=NOT_NEAR) == {}  # phantoms count from 0 in every cohort


def smooth(seed, size=96):
    """A picture with structure, as fingerprints need it."""
    random = np.random.default_rng(seed)
    fine = random.normal(size=(size, size))
    spectrum = np.fft.fft2(fine) * np.exp(-((np.fft.fftfreq(size)[:, None] ** 2 + np.fft.fftfreq(size) ** 2) / 0.004))
    picture = np.real(np.fft.ifft2(spectrum))
    return ((picture - picture.min()) / np.ptp(picture) * 220 + 20).astype(np.uint8)


def test_nearly_the_same_picture_is_found_altered_and_mirrored(folders):
    own, other = (replace(each, preprocess=each.preprocess.model_copy(update={"size": 96})) for each in folders)
    own.__dict__["pixels"] = np.stack([smooth(k) for k in range(50)])
    theirs = np.stack([smooth(100 + k) for k in range(50)])
    noise = np.random.default_rng(5).normal(0, 4, (96, 96))
    theirs[8] = np.clip(smooth(0) * 0.8 + noise, 0, 255).astype(np.uint8)
    theirs[20] = smooth(2)[:, ::-1]
    other.__dict__["pixels"] = theirs
    names, seen = list(other.table["image_id"]), list(own.table["image_id"])
    shared = found(own, other)
    assert shared[names[8]] == ("near", seen[0])
    assert shared[names[20]] == ("near", seen[2])
    assert {image_id for image_id, (reason, _) in shared.items() if reason == "near"} == {names[8], names[20]}
