"""A book that stores more than logits says what the live teacher says, and keeps the old format without stores."""

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fibrokd.artifacts import begin
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ArtifactError, BookError
from fibrokd.pipeline.write_book import WriteBookConfig
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import Book, BookConfig, write_book
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.dropout import Thinning
from fibrokd.training.networks import build
from fibrokd.training.runtime import Runtime
from fibrokd.training.signals import LOGITS, UNCERTAINTY
from fibrokd.training.teachers import LiveTeacher
from tests.factories import write_prepared

VIEWS = ViewSpec(seed=5, mixup_alpha=0.4)
STORES = ("gaps:s8", "uncertainty", "pooled")
THIN = Thinning(masks=3, dropout=0.3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return Prepared.open(write_prepared(tmp_path_factory.mktemp("stores") / "prepared", patients=50, frames=1))


@pytest.fixture(scope="module")
def teacher():
    network = build("tiny", 5, False, None, 0)
    with torch.no_grad():
        network.body.get_classifier().weight.mul_(20)
    return LiveTeacher(network, Runtime("fp32", "nchw"), torch.device("cpu"))


def _write(folder, prepared, teacher, views=VIEWS, **config):
    run = begin(folder, "write-book", {"test": 1}, {})
    images = TrainingImages.of(prepared, views)
    run.finish(write_book(folder, teacher, "0" * 64, images, prepared, BookConfig(views=2, **config)))
    return folder


@pytest.fixture(scope="module")
def full(prepared, teacher, tmp_path_factory):
    return _write(tmp_path_factory.mktemp("full") / "book", prepared, teacher, stores=STORES, thinning=THIN)


def test_it_says_what_the_live_teacher_says_in_every_batch(prepared, teacher, full):
    book = Book.open(full, TrainingImages.of(prepared, VIEWS), prepared, epochs=2)
    live = teacher.with_thinning(THIN)
    needs = frozenset({LOGITS, *STORES})
    assert book.caps == needs
    for batch in book.training_images(TrainingImages.of(prepared, VIEWS)).batches(1, 7):
        told, stored = live.signal(batch, needs), book.signal(batch, needs)
        for name in ("aleatoric", "epistemic"):
            assert torch.allclose(getattr(told.uncertainty, name), getattr(stored.uncertainty, name), atol=1e-3)
        assert torch.allclose(told.probabilities(3.0), stored.probabilities(3.0), atol=1e-3)
        assert torch.allclose(told.gaps["s8"], stored.gaps["s8"], atol=1e-2, rtol=1e-3)
        assert torch.allclose(told.pooled, stored.pooled, atol=1e-2, rtol=1e-3)
        plain = book.signal(batch)
        assert torch.allclose(plain.logits, teacher.signal(batch).logits, atol=1e-2)
        assert plain.uncertainty is None
        assert not plain.gaps


def test_uncertainty_is_seven_numbers_per_view(full):
    assert np.load(full / "uncertainty.npy").shape[2] == 7


def test_the_ledger_counts_every_mask_and_every_stored_byte(prepared, full):
    ledger = json.loads((full / "ledger.json").read_text())
    cost = json.loads((full / "cost.json").read_text())
    assert ledger["teacher_forwards"] == cost["teacher_forwards"] == 2 * len(prepared.rows("train")) * (1 + 3)
    files = ("logits.npy", "gaps_s8.npy", "uncertainty.npy", "pooled.npy")
    assert ledger["bytes_on_disk"] == sum(np.load(full / name).nbytes for name in files)


def test_a_killed_writer_goes_on_and_ends_with_the_same_bytes(prepared, teacher, full, tmp_path):
    run = begin(tmp_path / "book", "write-book", {"test": 1}, {})
    images = TrainingImages.of(prepared, VIEWS)
    config = BookConfig(views=2, stores=STORES, thinning=THIN)
    write_book(tmp_path / "book", teacher, "0" * 64, images, prepared, config)
    parts = tmp_path / "book" / "parts"
    (parts / "00001.npy").unlink()  # died before the last file of the view
    (parts / "00001.pooled.npy").write_bytes(b"half")
    run.finish(write_book(tmp_path / "book", teacher, "0" * 64, images, prepared, config))
    for name in ("logits.npy", "gaps_s8.npy", "uncertainty.npy", "pooled.npy", "book.json"):
        assert (tmp_path / "book" / name).read_bytes() == (full / name).read_bytes(), name


def test_a_flipped_byte_of_a_store_is_found(prepared, teacher, tmp_path):
    folder = _write(tmp_path / "book", prepared, teacher, stores=("pooled",))
    data = bytearray((folder / "pooled.npy").read_bytes())
    data[-1] ^= 1
    (folder / "pooled.npy").write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="altered"):
        Book.open(folder, TrainingImages.of(prepared, VIEWS), prepared, epochs=2)


@pytest.mark.parametrize("mode", ["pool", "static"])
def test_what_mixup_cannot_mix_is_refused_outside_a_trajectory(prepared, teacher, tmp_path, mode):
    with pytest.raises(BookError, match="trajectory"):
        _write(tmp_path / "book", prepared, teacher, mode=mode, stores=("gaps:s8",))


def test_without_mixup_a_pool_stores_it(prepared, teacher, tmp_path):
    views = ViewSpec(seed=5, mixup_alpha=0)
    folder = _write(tmp_path / "book", prepared, teacher, views=views, mode="pool", stores=("gaps:s8",))
    book = Book.open(folder, TrainingImages.of(prepared, views), prepared, epochs=9)
    batch = next(book.training_images(TrainingImages.of(prepared, views)).batches(5, 6))
    told, stored = (source.signal(batch, frozenset({LOGITS, "gaps:s8"})) for source in (teacher, book))
    assert torch.allclose(told.gaps["s8"], stored.gaps["s8"], atol=1e-2, rtol=1e-3)


def test_masks_other_than_the_books_are_refused(prepared, full):
    book = Book.open(full, TrainingImages.of(prepared, VIEWS), prepared, epochs=2)
    assert book.with_thinning(THIN) is book
    with pytest.raises(BookError, match="uncertainty"):
        book.with_thinning(Thinning(masks=4, dropout=0.3))


def test_a_book_of_logits_is_recorded_as_it_always_was(prepared, teacher, tmp_path):
    assert set(BookConfig().as_json()) == {"mode", "views", "batch_size"}
    step = WriteBookConfig(prepared=tmp_path, teacher=tmp_path)
    settings = step.model_dump(mode="json", exclude={"prepared": True, "teacher": True, "book": {"batch_size"}})
    assert set(settings["book"]) == {"mode", "views"}
    folder = _write(tmp_path / "book", prepared, teacher)
    assert list(json.loads((folder / "book.json").read_text())) == [
        "format", "mode", "views", "teacher", "stages", "images", "prepared", "training_ids", "view_spec", "pixels",
    ]  # fmt: skip
    assert set(json.loads((folder / "record.json").read_text())["outputs"]) == {
        "book.json", "ledger.json", "logits.npy",
    }  # fmt: skip


def test_stores_and_masks_are_part_of_the_record_where_they_matter():
    assert "thinning" not in BookConfig(stores=("gaps:s4",)).as_json()
    config = BookConfig(stores=(UNCERTAINTY,), thinning=THIN)
    assert BookConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("stores", [("maps:s4",), ("gaps:s3",), ("pooled", "pooled")])
def test_what_cannot_be_stored_is_refused(stores):
    with pytest.raises(ValidationError):
        BookConfig(stores=stores)
