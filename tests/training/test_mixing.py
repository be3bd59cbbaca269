"""Mixed images: λ says how much of an image is left, whether it is blended or pasted over."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fibrokd.training.augment import AugmentSpec, ViewSpec
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.mixing import blended, boxes_of, kept_shares, mixing_coefficients, pasted

IDS = tuple(str(number) for number in range(500))
CUT = ViewSpec(augment=None, mixup_alpha=1.0, cutmix=True)
SIDE = 24


def test_mixing_coefficients_are_at_least_one_half_and_one_where_nothing_is_mixed():
    lam = mixing_coefficients(ViewSpec(mixup_alpha=0.4), IDS, 0)
    assert lam.min() >= 0.5
    assert lam.max() <= 1
    assert lam.std() > 0.05
    assert (mixing_coefficients(ViewSpec(mixup_alpha=0.0), IDS, 0) == 1).all()


@settings(max_examples=25)
@given(st.integers(1, 300), st.integers(0, 50))
def test_boxes_lie_in_the_picture_and_leave_at_least_half_of_it(side, epoch):
    drawn = mixing_coefficients(CUT, IDS[:40], epoch)
    boxes = boxes_of(CUT, IDS[:40], epoch, drawn, side)
    assert boxes.min() >= 0
    assert boxes.max() <= side
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
    kept = kept_shares(boxes, side)
    # A side is rounded to whole pixels: half a pixel at each end.
    assert (kept >= drawn - (2 * side * np.sqrt(1 - drawn) + 1) / side**2).all()
    assert (kept <= 1).all()


def test_boxes_are_drawn_by_key_and_as_large_as_they_were_drawn_where_nothing_is_cut_off():
    drawn = mixing_coefficients(CUT, IDS, 3)
    boxes = boxes_of(CUT, IDS, 3, drawn, 2000)
    assert np.array_equal(boxes[7:9], boxes_of(CUT, IDS[7:9], 3, drawn[7:9], 2000))
    assert not np.array_equal(boxes, boxes_of(CUT, IDS, 4, drawn, 2000))
    inside = (boxes.min(1) > 0) & (boxes.max(1) < 2000)
    assert inside.sum() > 50
    assert kept_shares(boxes, 2000)[inside] == pytest.approx(drawn[inside], abs=2e-3)


def test_what_is_pasted_is_the_partner_and_the_rest_is_the_image():
    random = np.random.default_rng(0)
    own, partner = (random.random((40, 1, SIDE, SIDE), dtype=np.float32) for _ in range(2))
    boxes = boxes_of(CUT, IDS[:40], 0, mixing_coefficients(CUT, IDS[:40], 0), SIDE)
    mixed = pasted(own, partner, boxes)
    ours, theirs = mixed == own, mixed == partner
    assert (ours ^ theirs).all()
    assert ours.mean((1, 2, 3)) == pytest.approx(kept_shares(boxes, SIDE), abs=1e-7)
    for where, (top, left, bottom, right) in zip(theirs, boxes, strict=True):
        assert where[:, top:bottom, left:right].all()
    lam = np.linspace(0.5, 1, 40)
    wanted = lam[:, None, None, None] * own + (1 - lam[:, None, None, None]) * partner
    np.testing.assert_allclose(blended(own, partner, lam), wanted, atol=1e-6)


def _images(views):
    pixels = np.random.default_rng(1).integers(1, 256, (30, SIDE, SIDE), dtype=np.uint8)
    return TrainingImages(pixels, np.arange(30) % 5, IDS[:30], views)


@pytest.mark.parametrize("size", [7, 30])
def test_batches_hold_pasted_images_whose_lambda_is_what_is_left(size):
    images = _images(CUT)
    found = {}
    for batch in images.batches(2, size):
        for row, picture in enumerate(batch.images.numpy()):
            own, partner = (images.pixels[int(place[row])] / 255 for place in (batch.index, batch.partner_index))
            ours = np.isclose(picture[0], own, atol=1e-6)
            assert (ours | np.isclose(picture[0], partner, atol=1e-6)).all()
            known = ours.mean() - np.isclose(own, partner, atol=1e-6).mean()
            assert known - 1e-6 <= float(batch.lam[row]) <= ours.mean() + 1e-6
            found[int(batch.index[row])] = (float(batch.lam[row]), picture.tobytes())
    assert len(found) == 30
    (whole,) = images.batches(2, 30)  # the same whatever the batch size
    assert all(
        found[int(index)] == (float(lam), picture.tobytes())
        for index, lam, picture in zip(whole.index, whole.lam, whole.images.numpy(), strict=True)
    )
    assert min(lam for lam, _ in found.values()) < 0.9


def test_both_members_of_a_pair_get_the_same_box():
    joint = dataclasses.replace(_images(CUT), views=ViewSpec(augment=None, mixup_alpha=1.0, cutmix=True, joint={}))
    (batch,) = joint.batches(0, 60)
    assert np.array_equal(batch.lam[0::2].numpy(), batch.lam[1::2].numpy())


def test_a_hole_is_black_square_and_anywhere():
    spec = ViewSpec(augment=AugmentSpec(**dict.fromkeys(_STILL, 0.0), cutout=0.25), mixup_alpha=0.0)
    images = _images(spec)
    (batch,) = images.batches(0, 30)
    holes = (batch.images.numpy()[:, 0] == 0).sum((1, 2))
    assert holes.max() == (SIDE // 4) ** 2  # one that lies inside
    assert 0 < holes.min() < holes.max()  # one that is cut off by the border
    kept = batch.images.numpy()[:, 0] > 0
    own = images.pixels[batch.index.numpy()] / 255
    np.testing.assert_allclose(batch.images.numpy()[:, 0][kept], own[kept], atol=1e-6)


_STILL = ("flip_probability", "shift", "rotate_degrees", "zoom", "gain_db", "log_gamma", "tgc_db")


def test_records_of_views_without_holes_and_boxes_are_what_they_always_were():
    assert "cutmix" not in ViewSpec().as_json()
    assert "cutout" not in ViewSpec().as_json()["augment"]
    assert CUT.as_json()["cutmix"] is True
    assert ViewSpec(augment=AugmentSpec(cutout=0.1)).as_json()["augment"]["cutout"] == 0.1


def test_boxes_without_a_size_are_refused():
    with pytest.raises(ValidationError, match="`cutmix` needs a `mixup_alpha`"):
        ViewSpec(mixup_alpha=0.0, cutmix=True)
