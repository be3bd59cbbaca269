"""A book answers what the live teacher would have answered, and refuses everything it does not belong to."""

import dataclasses

import numpy as np
import pytest
import torch

from fibrokd.artifacts import begin
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ArtifactError, BookError
from fibrokd.training.augment import AugmentSpec, ViewSpec
from fibrokd.training.book import Book, BookConfig, write_book
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.networks import build
from fibrokd.training.objective import soft_kl
from fibrokd.training.runtime import Runtime
from fibrokd.training.teachers import LiveTeacher
from tests.factories import write_prepared

VIEWS = ViewSpec(seed=5, mixup_alpha=0.4)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return Prepared.open(write_prepared(tmp_path_factory.mktemp("book") / "prepared", patients=50))


@pytest.fixture(scope="module")
def teacher():
    network = build("tiny", 5, False, None, 0)
    with torch.no_grad():
        network.body.get_classifier().weight.mul_(20)  # answers as far apart as a trained teacher's
    return LiveTeacher(network, Runtime("fp32", "nchw"), CPU)


def _write(folder, prepared, teacher, **config):
    run = begin(folder, "write-book", {"test": config}, {})
    run.finish(
        write_book(folder, teacher, "0" * 64, TrainingImages.of(prepared, VIEWS), prepared, BookConfig(**config))
    )
    return folder


@pytest.fixture(scope="module")
def trajectory(prepared, teacher, tmp_path_factory):
    return _write(tmp_path_factory.mktemp("trajectory") / "book", prepared, teacher, mode="trajectory", views=3)


def test_a_trajectory_book_gives_the_live_teachers_loss_to_fp16_tolerance(prepared, teacher, tmp_path):
    long = _write(tmp_path / "book", prepared, teacher, mode="trajectory", views=10)
    book = Book.open(long, TrainingImages.of(prepared, VIEWS), prepared, epochs=10)
    images = book.training_images(TrainingImages.of(prepared, VIEWS))
    student = build("tiny", 5, False, None, 9).eval()
    steps = 0
    for epoch in range(10):
        for batch in images.batches(epoch, 4):  # other batch size and order of work than the writer's
            live, stored = teacher.signal(batch).probabilities(3.0), book.signal(batch).probabilities(3.0)
            assert (live - stored).abs().max() < 1e-3
            assert soft_kl(teacher.signal(batch).logits, stored, 3.0).max() < 1e-6
            other = book.signal(dataclasses.replace(batch, epoch=(epoch + 1) % 10))
            assert soft_kl(teacher.signal(batch).logits, other.probabilities(3.0), 3.0).max() > 1e-5
            logits = student(batch.images).logits
            difference = (soft_kl(logits, live, 3.0) - soft_kl(logits, stored, 3.0)).abs().max()
            assert difference < 1e-3
            steps += 1
    assert steps == 10 * images.steps(4) >= 50


def test_the_teacher_answers_each_view_once_and_reading_needs_no_forward_pass(prepared, tmp_path):
    teacher = LiveTeacher(build("tiny", 5, False, None, 0), Runtime("fp32", "nchw"), CPU)
    folder = _write(tmp_path / "book", prepared, teacher, mode="pool", views=4)
    images = TrainingImages.of(prepared, VIEWS)
    assert teacher.forwards == 4 * len(images)
    book = Book.open(folder, TrainingImages.of(prepared, VIEWS), prepared, epochs=100)
    for batch in book.training_images(images).batches(0, 8):
        book.signal(batch)
    assert teacher.forwards == 4 * len(images)


def test_a_pool_book_mixes_the_stored_probabilities_of_the_pair(prepared, teacher, tmp_path):
    folder = _write(tmp_path / "book", prepared, teacher, mode="pool", views=2)
    book = Book.open(folder, TrainingImages.of(prepared, VIEWS), prepared, epochs=100)
    batch = next(book.training_images(TrainingImages.of(prepared, VIEWS)).batches(3, 6))
    signal = book.signal(batch)
    assert torch.equal(signal.logits, torch.from_numpy(book.logits[1, batch.index.numpy()].astype(np.float32)))
    assert torch.equal(
        signal.partner_logits, torch.from_numpy(book.logits[1, batch.partner_index.numpy()].astype(np.float32))
    )
    assert torch.allclose(signal.probabilities(3.0).sum(1), torch.ones(6))


def test_a_static_book_holds_the_answer_to_the_centre_view(prepared, teacher, tmp_path):
    folder = _write(tmp_path / "book", prepared, teacher, mode="static", views=7)
    book = Book.open(folder, TrainingImages.of(prepared, VIEWS), prepared, epochs=100)
    images = TrainingImages.of(prepared, VIEWS)
    centre = next(images.centred(len(images)))
    assert book.logits.shape == (1, len(images), 5)
    np.testing.assert_allclose(book.logits[0], teacher.signal(centre).logits.numpy(), atol=5e-3)


def test_a_killed_writer_goes_on_and_ends_with_the_same_bytes(prepared, teacher, trajectory, tmp_path):
    folder = tmp_path / "book"
    run = begin(folder, "write-book", {"test": 1}, {})
    (folder / "parts").mkdir()
    np.save(folder / "parts" / "00001.npy", np.load(trajectory / "logits.npy")[1])
    config = BookConfig(mode="trajectory", views=3)
    before = teacher.forwards
    run.finish(write_book(folder, teacher, "0" * 64, TrainingImages.of(prepared, VIEWS), prepared, config))
    assert teacher.forwards - before == 2 * len(TrainingImages.of(prepared, VIEWS))
    assert (folder / "logits.npy").read_bytes() == (trajectory / "logits.npy").read_bytes()


@pytest.mark.parametrize(
    "views",
    [
        ViewSpec(seed=6, mixup_alpha=0.4),
        ViewSpec(seed=5, mixup_alpha=0.2),
        ViewSpec(seed=5, mixup_alpha=0.4, augment=AugmentSpec(gain_db=1.0)),
    ],
)
def test_a_student_with_other_views_is_refused(prepared, trajectory, views):
    with pytest.raises(BookError, match="other views"):
        Book.open(trajectory, TrainingImages.of(prepared, views), prepared, epochs=3)


def test_a_student_on_other_data_is_refused(trajectory, tmp_path):
    other = Prepared.open(write_prepared(tmp_path / "p", patients=50, seed=1))
    with pytest.raises(BookError, match="another prepared folder"):
        Book.open(trajectory, TrainingImages.of(other, VIEWS), other, epochs=3)


def test_a_student_that_trains_longer_than_the_book_is_refused_unless_it_may_wrap(prepared, trajectory):
    with pytest.raises(BookError, match="holds 3 epochs"):
        Book.open(trajectory, TrainingImages.of(prepared, VIEWS), prepared, epochs=4)
    book = Book.open(trajectory, TrainingImages.of(prepared, VIEWS), prepared, epochs=4, wrap=True)
    images = book.training_images(TrainingImages.of(prepared, VIEWS))
    first, again = next(images.batches(0, 4)), next(images.batches(3, 4))
    assert torch.equal(first.images, again.images)
    assert torch.equal(book.signal(first).logits, book.signal(again).logits)


def test_a_flipped_byte_is_found(prepared, teacher, tmp_path):
    folder = _write(tmp_path / "book", prepared, teacher, mode="static")
    data = bytearray((folder / "logits.npy").read_bytes())
    data[-1] ^= 1
    (folder / "logits.npy").write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="altered"):
        Book.open(folder, TrainingImages.of(prepared, VIEWS), prepared, epochs=3)


def test_a_diverged_teacher_is_refused(prepared, tmp_path):
    network = build("tiny", 5, False, None, 0)
    torch.nn.init.constant_(network.body.get_classifier().bias, 1e6)
    broken = LiveTeacher(network, Runtime("fp32", "nchw"), CPU)
    with pytest.raises(BookError, match="fp16"), np.errstate(over="ignore"):
        _write(tmp_path / "book", prepared, broken, mode="static")
