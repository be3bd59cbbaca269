"""Views are pure functions of their key, and none of them harms what carries the stage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.training.augment import (
    CENTRE_VIEW,
    AugmentSpec,
    View,
    ViewSpec,
    apply_view,
    draw_view,
    epoch_order,
)


@pytest.fixture(scope="module")
def speckle():
    random = np.random.default_rng(0)
    image = random.rayleigh(60, (64, 64)).clip(1, 255).astype(np.uint8)
    image[:, :6] = 0
    return image


def test_the_same_key_gives_the_same_view_and_another_key_another_one():
    spec = ViewSpec(seed=3)
    assert draw_view(spec, "a", 1) == draw_view(spec, "a", 1)
    others = {draw_view(spec, "b", 1), draw_view(spec, "a", 2), draw_view(ViewSpec(seed=4), "a", 1)}
    assert draw_view(spec, "a", 1) not in others
    assert len(others) == 3


@given(seed=st.integers(0, 50), image=st.text(min_size=1, max_size=8), epoch=st.integers(0, 500))
@settings(max_examples=80, deadline=None)
def test_drawn_views_stay_inside_their_ranges(seed, image, epoch):
    ranges = AugmentSpec()
    view = draw_view(ViewSpec(seed=seed), image, epoch)
    assert abs(view.angle) <= ranges.rotate_degrees
    assert abs(np.log(view.scale)) <= np.log1p(ranges.zoom) + 1e-12
    assert max(map(abs, view.shift)) <= ranges.shift
    assert abs(view.gain_db) <= ranges.gain_db
    assert abs(view.tgc_db) <= ranges.tgc_db
    assert abs(np.log(view.gamma)) <= ranges.log_gamma + 1e-12


def test_half_of_the_views_are_mirrored():
    flips = [draw_view(ViewSpec(), f"{i}", 0).flip for i in range(2000)]
    assert abs(np.mean(flips) - 0.5) < 0.04


def test_the_centre_view_changes_nothing_and_no_augmentation_means_centre_views(speckle):
    assert np.array_equal(apply_view(speckle, CENTRE_VIEW), speckle)
    assert draw_view(ViewSpec(augment=None), "a", 0) == CENTRE_VIEW


def test_a_flip_is_its_own_inverse(speckle):
    once = apply_view(speckle, View(flip=True))
    assert np.array_equal(apply_view(once, View(flip=True)), speckle)
    assert not np.array_equal(once, speckle)


def test_black_outside_the_fan_stays_black_under_every_photometric_change(speckle):
    changed = apply_view(speckle, View(gain_db=3.5, gamma=0.8, tgc_db=2.8))
    assert (changed[speckle == 0] == 0).all()
    assert changed[speckle > 0].mean() > speckle[speckle > 0].mean()


def test_tgc_darkens_the_top_and_brightens_the_bottom():
    flat = np.full((64, 64), 100, np.uint8)
    tilted = apply_view(flat, View(tgc_db=2.8)).astype(int)
    assert tilted[0].mean() == 88
    assert tilted[-1].mean() == 112
    assert (np.diff(tilted[:, 0]) >= 0).all()


def test_the_input_is_never_changed(speckle):
    before = speckle.copy()
    for epoch in range(5):
        apply_view(speckle, draw_view(ViewSpec(), "x", epoch))
    assert np.array_equal(before, speckle)


@given(count=st.integers(1, 200), epoch=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_an_epoch_reads_every_image_once(count, epoch):
    assert sorted(epoch_order(ViewSpec(), epoch, count)) == list(range(count))
