"""Paired views: joint augmentation is keyed and keeps black black; pairs stay together through batches and books."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.artifacts import begin
from fibrokd.data.prepared import Prepared
from fibrokd.training.augment import AugmentSpec, View, ViewSpec, apply_view, draw_view
from fibrokd.training.book import Book, BookConfig, write_book
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.joint import JointSpec, JointView, draw_joint
from fibrokd.training.networks import build
from fibrokd.training.runtime import Runtime
from fibrokd.training.teachers import LiveTeacher
from tests.factories import write_prepared

PAIRED = ViewSpec(seed=3, joint=JointSpec())
ALWAYS = JointSpec(probability=1.0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return Prepared.open(write_prepared(tmp_path_factory.mktemp("pairs") / "prepared", patients=25))


@pytest.fixture(scope="module")
def speckle():
    image = np.random.default_rng(0).rayleigh(60, (64, 64)).clip(1, 255).astype(np.uint8)
    image[:, :6] = 0
    return image


def test_without_pairs_digests_and_records_are_those_of_before():
    assert ViewSpec().digest == "1fc49f4b74e0a1f4ab962f8ada5cfc65fe28d2d972e795be4fbf7f8d4bff5d3e"
    assert "joint" not in ViewSpec().as_json()
    assert PAIRED.digest != ViewSpec(seed=3).digest
    assert ViewSpec.model_validate_json(PAIRED.model_dump_json()) == PAIRED


@given(key=st.integers(0, 2000))
@settings(max_examples=80, deadline=None)
def test_joint_views_stay_inside_their_ranges(key):
    spec, view = JointSpec(), draw_joint(JointSpec(), np.random.default_rng(key))
    assert abs(view.angle) <= spec.rotate_degrees
    assert max(map(abs, view.shear)) <= spec.shear
    assert max(map(abs, view.shift)) <= spec.shift
    assert abs(view.brightness - 1) <= spec.brightness
    assert abs(view.contrast - 1) <= spec.contrast
    assert 1 <= view.sharpness <= 1 + spec.sharpness
    assert view.autocontrast in (None, spec.autocontrast_cut)


def test_every_operation_happens_with_its_probability():
    views = [draw_view(PAIRED, f"{k}", 0, 1).joint or JointView() for k in range(3000)]
    still = JointView()
    for name in ("angle", "brightness", "contrast", "sharpness", "autocontrast"):
        share = np.mean([getattr(view, name) != getattr(still, name) for view in views])
        assert abs(share - 0.3) < 0.03, name
    for name in ("shear", "shift"):
        for axis in (0, 1):
            assert abs(np.mean([getattr(view, name)[axis] != 0 for view in views]) - 0.3) < 0.03


def test_a_copy_has_the_view_of_its_original_and_a_key_of_its_own():
    spec = ViewSpec(seed=3, joint=ALWAYS)
    own, copy = draw_view(spec, "a", 1), draw_view(spec, "a", 1, 1)
    assert dataclasses.replace(copy, joint=None) == own == draw_view(ViewSpec(seed=3), "a", 1)
    assert copy == draw_view(spec, "a", 1, 1)
    others = {draw_view(spec, "b", 1, 1).joint, draw_view(spec, "a", 2, 1).joint}
    assert copy.joint not in others
    assert len(others) == 2


def test_black_stays_black_and_tissue_stays_tissue_under_every_tone(speckle):
    view = JointView(brightness=0.75, contrast=1.3, sharpness=1.5, autocontrast=0.01)
    changed = apply_view(speckle, View(joint=view))
    assert (changed[speckle == 0] == 0).all()
    assert (changed[speckle > 0] > 0).all()
    assert not np.array_equal(changed, speckle)


def test_each_tone_does_what_its_name_says(speckle):
    tissue = speckle > 0

    def toned(**changes):
        return JointView(**changes).tone(speckle)[tissue].astype(float)

    plain = speckle[tissue].astype(float)
    assert toned(brightness=0.8).mean() == pytest.approx(0.8 * plain.mean(), rel=0.02)
    assert toned(contrast=0.7).std() == pytest.approx(0.7 * plain.std(), rel=0.03)
    assert toned(contrast=0.7).mean() == pytest.approx(plain.mean(), rel=0.02)
    assert toned(sharpness=1.5).std() > plain.std()
    assert np.ptp(toned(autocontrast=0.01)) == 254
    flat = np.full((16, 16), 90, np.uint8)
    everything = JointView(contrast=1.3, sharpness=1.5, autocontrast=0.01)
    assert np.array_equal(everything.tone(flat), flat)
    assert not everything.tone(np.zeros((16, 16), np.uint8)).any()


def test_the_fan_gets_no_bright_rim_from_sharpening():
    fan = np.full((32, 32), 100, np.uint8)
    fan[:, :8] = 0
    assert set(np.unique(JointView(sharpness=2.0).tone(fan))) == {0, 100}


def test_geometry_is_one_matrix_about_the_centre():
    side = 33
    centre = np.array([16, 16, 1.0])
    turned = JointView(angle=10.0, shear=(0.1, 0.05))
    assert np.allclose(turned.matrix(side) @ centre, centre)
    moved = JointView(shift=(0.1, -0.2)).matrix(side) @ centre
    assert np.allclose(moved, [16 + 3.3, 16 - 6.6, 1])
    assert np.linalg.det(JointView(angle=10.0).matrix(side)[:2, :2]) == pytest.approx(1)
    dot = np.zeros((side, side), np.uint8)
    dot[16, 26] = 200
    sheared = apply_view(dot, View(joint=JointView(shear=(0.0, 0.2))))
    assert np.unravel_index(sheared.argmax(), sheared.shape) == (18, 26)


def test_every_batch_holds_whole_pairs_whatever_its_size(prepared):
    images = TrainingImages.of(prepared, PAIRED)
    assert len(images) == 2 * len(images.stages)
    for size in (2, 3, 7, 8):
        batches = list(images.batches(2, size))
        assert len(batches) == images.steps(size)
        assert max(len(batch) for batch in batches) <= size
        index = torch.cat([batch.index for batch in batches])
        assert sorted(index.tolist()) == list(range(len(images)))
        for batch in batches:
            assert (batch.index[0::2] % 2 == 0).all()
            assert torch.equal(batch.index[0::2] + 1, batch.index[1::2])
            assert torch.equal(batch.stages[0::2], batch.stages[1::2])
            assert torch.equal(batch.partner_index[0::2] + 1, batch.partner_index[1::2])
            assert torch.equal(batch.lam[0::2], batch.lam[1::2])


def test_originals_are_the_pixels_of_training_without_pairs(prepared):
    single, paired = TrainingImages.of(prepared, ViewSpec(seed=3)), TrainingImages.of(prepared, PAIRED)
    for alone, both in zip(single.batches(1, 4), paired.batches(1, 8), strict=True):
        assert torch.equal(alone.images, both.images[0::2])
        assert torch.equal(alone.lam, both.lam[0::2])
        assert torch.equal(2 * alone.index, both.index[0::2])


def test_copies_are_mixed_from_two_copies(prepared):
    images = TrainingImages.of(prepared, ViewSpec(seed=3, joint=ALWAYS))
    batch = next(images.batches(1, 8))
    for row in (1, 3):
        own, partner = int(batch.index[row]), int(batch.partner_index[row])
        first = apply_view(images.pixels[own // 2], images.view(own, 1)) / 255
        second = apply_view(images.pixels[partner // 2], images.view(partner, 1)) / 255
        lam = batch.lam[row].item()
        np.testing.assert_allclose(batch.images[row, 0], lam * first + (1 - lam) * second, atol=1e-6)
        assert own % 2 == partner % 2 == 1
        assert not torch.equal(batch.images[row], batch.images[row - 1])


def test_two_processes_together_see_the_global_batches_and_cut_no_pair(prepared):
    images = TrainingImages.of(prepared, PAIRED)
    for batch, first, second in zip(*(images.batches(0, 8, *part) for part in ((0, 1), (0, 2), (1, 2))), strict=True):
        assert torch.equal(batch.images, torch.cat([first.images, second.images]))
        assert len(first) % 2 == len(second) % 2 == 0


@pytest.mark.parametrize("mode", ["trajectory", "pool", "static"])
def test_a_book_stores_both_members_of_a_pair(prepared, tmp_path, mode):
    network = build("tiny", 5, False, None, 0)
    with torch.no_grad():
        network.body.get_classifier().weight.mul_(20)
    teacher = LiveTeacher(network, Runtime("fp32", "nchw"), torch.device("cpu"))
    views = ViewSpec(seed=3, joint=ALWAYS, augment=AugmentSpec(), mixup_alpha=0.4)
    images = TrainingImages.of(prepared, views)
    run = begin(tmp_path / "book", "write-book", {"mode": mode}, {})
    config = BookConfig(mode=mode, views=2, batch_size=6)
    run.finish(write_book(tmp_path / "book", teacher, "0" * 64, images, prepared, config))
    book = Book.open(tmp_path / "book", images, prepared, epochs=2)
    assert book.logits.shape[1] == len(images)
    read = book.training_images(images)
    source = {"trajectory": read.batches(1, 4), "pool": read.unmixed(1, 4), "static": read.centred(4)}[mode]
    for batch in source:
        assert (teacher.signal(batch).logits - book.signal(batch).logits).abs().max() < 5e-3
