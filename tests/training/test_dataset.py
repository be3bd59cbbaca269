"""Batches: every view once per epoch, the same pixels for every batch size and process count."""

import dataclasses

import numpy as np
import pytest
import torch

from fibrokd.data.prepared import Prepared
from fibrokd.training import dataset
from fibrokd.training.augment import ViewSpec
from fibrokd.training.dataset import TrainingImages, prefetch
from tests.factories import write_prepared


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return TrainingImages.of(Prepared.open(write_prepared(folder / "prepared", patients=25)), ViewSpec(seed=1))


def _by_index(batches):
    return {
        int(i): (batch.images[k], int(batch.partner_index[k]), float(batch.lam[k]))
        for batch in batches
        for k, i in enumerate(batch.index)
    }


def test_the_same_mixed_pixels_whatever_the_batch_size(images):
    small, large = _by_index(images.batches(2, 3)), _by_index(images.batches(2, 16))
    assert small.keys() == large.keys() == set(range(len(images)))
    for index, (pixels, partner, lam) in small.items():
        assert torch.equal(pixels, large[index][0])
        assert (partner, lam) == large[index][1:]


def test_two_processes_together_see_exactly_the_global_batches(images):
    whole = list(images.batches(0, 8))
    halves = [list(images.batches(0, 8, rank, 2)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(batch.images, torch.cat([first.images, second.images]))
        assert torch.equal(batch.index, torch.cat([first.index, second.index]))


def test_partners_are_a_permutation_of_the_training_images(images):
    partners = [partner for _, partner, _ in _by_index(images.batches(4, 8)).values()]
    assert sorted(partners) == list(range(len(images)))


def test_every_view_is_computed_once_per_epoch(images, monkeypatch):
    calls = []
    real = dataset.apply_view
    monkeypatch.setattr(dataset, "apply_view", lambda pixels, view: calls.append(view) or real(pixels, view))
    list(images.batches(0, 4))
    # The first image of the order comes again as the partner of the last one.
    assert len(calls) == len(images) + 1


def test_mixed_pixels_are_the_weighted_sum_of_two_views(images):
    batch = next(images.batches(1, 8))
    pixels = {k: dataset.apply_view(images.pixels[k], images.view(k, 1)) / 255 for k in range(len(images))}
    for k in range(len(batch)):
        lam = batch.lam[k].item()
        wanted = lam * pixels[int(batch.index[k])] + (1 - lam) * pixels[int(batch.partner_index[k])]
        np.testing.assert_allclose(batch.images[k, 0].numpy(), wanted, atol=1e-6)


def test_only_the_training_split_is_ever_seen(images, tmp_path):
    prepared = Prepared.open(write_prepared(tmp_path / "p", patients=25))
    train = set(prepared.table["image_id"][prepared.table["split"] == "train"])
    assert set(TrainingImages.of(prepared, ViewSpec()).image_ids) == train
    assert set(images.image_ids) == train


def test_a_view_period_repeats_views_and_a_cycle_repeats_everything(images):
    pool = dataclasses.replace(images, view_period=2)
    assert pool.view(0, 0) == pool.view(0, 2) != pool.view(0, 1)
    first, later = next(pool.batches(0, 4)), next(pool.batches(2, 4))
    assert not torch.equal(first.index, later.index)
    cycle = dataclasses.replace(images, cycle=2)
    assert torch.equal(next(cycle.batches(0, 4)).images, next(cycle.batches(2, 4)).images)


def test_no_image_is_dropped_and_batches_are_of_nearly_equal_size(images):
    sizes = [len(batch) for batch in images.batches(0, 7)]
    assert sum(sizes) == len(images)
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == images.steps(7)


def test_prefetching_keeps_the_order_and_passes_errors_on():
    def failing():
        yield 1
        raise RuntimeError("decoder died")

    assert list(prefetch(iter(range(20)))) == list(range(20))
    items = prefetch(failing())
    assert next(items) == 1
    with pytest.raises(RuntimeError, match="decoder died"):
        next(items)
