"""BookKD: what a page is, when it is repaired, when it counts, and what reading it costs."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from fibrokd.artifacts import read_record
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError
from fibrokd.methods.book_kd import METHOD, BookKdConfig, LearnFromBook, combine, corrected, page_weights
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.pipeline import distill, teach, write_book
from fibrokd.training.book import Book, BookConfig
from fibrokd.training.carry_out import carry_out
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.networks import build
from fibrokd.training.objective import Moment
from fibrokd.training.runtime import Runtime
from fibrokd.training.signals import EnsembleSignal, TeacherSignal
from fibrokd.training.teachers import LiveTeacher
from tests.methods.coefficients import SHARED, VANILLA, Weighed
from tests.methods.losses import SUPERVISED, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, online, shipped, workshop
from tests.training.test_objective import K, make_batch, value

WEIGHED = Weighed(SHARED, {"train": VANILLA})

FIRST, LAST = Moment(0, 4), Moment(3, 4)
PLAIN = {"correction": False, "entropy_weights": False}


def _terms(config, logits, signal, batch, moment=LAST):
    return terms_of(LearnFromBook(config, SUPERVISED), logits, signal, batch, moment)


def _loss(*args):
    return loss_of(_terms(*args))


@pytest.fixture(scope="module")
def books(prepared, tmp_path_factory):
    """Books of two teachers, for students of three epochs."""
    folder, made = tmp_path_factory.mktemp("books"), []
    for seed in range(2):
        train = configuration(prepared, {"kind": "none"}, train={"epochs": 1, "seed": seed}).train
        common = {"prepared": prepared, "backbone": "tiny", "pretrained": False}
        teach.run(teach.TeachConfig(**common, train=train), folder / f"teacher_{seed}")
        config = write_book.WriteBookConfig(
            prepared=prepared,
            teacher=folder / f"teacher_{seed}",
            book=BookConfig(views=3),
            minimum_balanced_accuracy=0.0,
        )
        write_book.run(config, folder / f"book_{seed}")
        made.append(folder / f"book_{seed}")
    return tuple(made)


def test_one_teacher_without_correction_and_weights_is_vanilla_distillation(student, teacher):
    batch, x, y = make_batch(), student.clone().requires_grad_(), student.clone().requires_grad_()
    ours = _loss(BookKdConfig(**PLAIN), x, TeacherSignal(teacher), batch)
    vanilla = terms_of(VanillaKd(KdConfig(), SUPERVISED), y, teacher, batch, LAST)
    theirs = sum(term.coefficient * value(term) for term in vanilla.values())
    ours.backward()
    theirs.backward()
    assert torch.equal(ours, theirs)
    assert torch.equal(x.grad, y.grad)


def test_the_loss_is_what_loops_over_images_and_teachers_give(student, teacher):
    batch, other = make_batch(), 2 * torch.randn(8, K, generator=torch.Generator().manual_seed(9))
    config = BookKdConfig(alpha=0.7, kd_temperature=2.0, entropy_temperature=None)
    signal = EnsembleSignal.of([TeacherSignal(teacher), TeacherSignal(other)], (0.75, 0.25))
    moment = Moment(1, 4)
    total = 0.0
    for i in range(8):
        page = np.zeros(K)
        for share, logits in ((0.75, teacher), (0.25, other)):
            e = np.exp(logits[i].double().numpy() / 2)
            page += share * e / e.sum()
        v = 1 - (1 - 1 / 3) * entropy(page) / math.log(K)
        lam, own, partner = batch.lam[i].item(), int(batch.stages[i]), int(batch.partner_stages[i])
        top = int(page.argmax())
        if lam * (top == own) + (1 - lam) * (top == partner) < 0.5:
            page[[top, own]] = page[[own, top]]
        e = np.exp(student[i].double().numpy() / 2)
        total += v * entropy(page, e / e.sum())
    terms = _terms(config, student, signal, batch, moment)
    assert terms["kd"].coefficient == pytest.approx(0.7 * 4)
    assert terms["supervised"].coefficient == pytest.approx(0.3)
    assert value(terms["kd"]).item() == pytest.approx(total / 8, rel=1e-5)


def test_a_wrong_page_gets_the_true_stage_on_top_and_keeps_its_entropy():
    batch = make_batch(64, mixed=False)
    page = torch.randn(64, K, generator=torch.Generator().manual_seed(5)).softmax(1)
    repaired = corrected(page, batch)
    wrong = page.argmax(1) != batch.stages
    assert 10 < wrong.sum() < 64
    assert torch.equal(repaired.argmax(1), batch.stages)
    assert torch.equal(repaired[~wrong], page[~wrong])
    assert torch.equal(repaired.sort(1).values, page.sort(1).values)
    assert torch.allclose(torch.special.entr(repaired).sum(1), torch.special.entr(page).sum(1))
    assert torch.equal(corrected(repaired, batch), repaired)


def test_under_mixup_the_dominant_stage_is_the_true_one_and_an_even_pair_is_never_wrong_with_either():
    stages, partners = torch.tensor([0, 0, 0]), torch.tensor([1, 1, 1])
    batch = dataclasses.replace(
        make_batch(3), stages=stages, partner_stages=partners, lam=torch.tensor([0.6, 0.5, 0.9])
    )
    page = torch.tensor([[0.2, 0.6, 0.1, 0.05, 0.05]] * 3)
    repaired = corrected(page, batch)
    assert repaired[0].tolist() == pytest.approx([0.6, 0.2, 0.1, 0.05, 0.05])
    assert torch.equal(repaired[1], page[1])
    assert torch.equal(repaired[2], repaired[0])


def test_unsure_pages_come_late():
    pages = torch.stack([torch.full((K,), 1 / K), torch.eye(K)[2], torch.tensor([0.5, 0.5, 0, 0, 0])])
    assert torch.allclose(page_weights(pages, 0.0), torch.tensor([0.0, 1.0, 1 - math.log(2) / math.log(K)]), atol=1e-6)
    assert torch.equal(page_weights(pages, 1.0), torch.ones(3))


def test_the_sum_is_divided_by_the_images_not_by_the_weights(student):
    unsure = torch.full((8, K), 1e-3)  # nearly uniform
    early = value(_terms(BookKdConfig(correction=False), student, TeacherSignal(unsure), make_batch(), FIRST)["kd"])
    late = value(_terms(BookKdConfig(correction=False), student, TeacherSignal(unsure), make_batch(), LAST)["kd"])
    assert early < 1e-5
    assert late > 0.01


def test_entropy_may_be_taken_at_another_temperature(student, teacher):
    batch, signal = make_batch(), TeacherSignal(teacher)
    plain = _terms(BookKdConfig(**PLAIN), student, signal, batch, FIRST)["kd"]
    for given, temperature in (({}, 1.0), ({"entropy_temperature": 7.0}, 7.0), ({"entropy_temperature": None}, 3.0)):
        weighed = _terms(BookKdConfig(correction=False, **given), student, signal, batch, FIRST)["kd"]
        assert torch.allclose(weighed.values, page_weights(signal.probabilities(temperature), 0.0) * plain.values)


def test_extreme_logits_and_empty_answers_stay_finite_and_only_the_student_gets_a_gradient(student):
    for scale in (0.0, 1e4):
        x, t = (scale * student).requires_grad_(), (scale * student.flip(0)).requires_grad_()
        signal = TeacherSignal(t.detach(), t.detach().flip(0), make_batch().lam)
        loss = _loss(BookKdConfig(), x, signal, make_batch(), FIRST)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(x.grad).all()
        assert t.grad is None


def test_a_book_gives_the_live_teachers_loss_to_fp16_and_only_its_training_images_are_in_it(books, prepared):
    data = Prepared.open(prepared)
    images = TrainingImages.of(data, configuration(prepared, {"kind": "book_kd"}).views)
    book = Book.open(books[0], images, data, epochs=3)
    live = LiveTeacher.open(books[0].parent / "teacher_0", data, torch.device("cpu"))
    student = build("tiny", 5, False, None, 9).eval()
    assert book.logits.shape[1] == len(data.rows("train"))
    for batch in book.training_images(images).batches(1, 7):
        logits = student(batch.images).logits.detach().requires_grad_()
        stored, online = (_loss(BookKdConfig(), logits, source.signal(batch), batch) for source in (book, live))
        assert stored.item() == pytest.approx(online.item(), abs=1e-3)
        pages = (_loss(BookKdConfig(alpha=1.0), logits, source.signal(batch), batch) for source in (book, live))
        found, wanted = (torch.autograd.grad(loss, logits)[0] for loss in pages)
        assert (found - wanted).abs().max() < 5e-3 * wanted.abs().max()


def test_a_page_is_found_by_its_key_in_whatever_order_it_is_read(books, prepared):
    data = Prepared.open(prepared)
    images = TrainingImages.of(data, configuration(prepared, {"kind": "book_kd"}).views)
    book = Book.open(books[0], images, data, epochs=3)
    pages = {}
    for size, order in ((7, 1), (3, -1)):
        for batch in list(book.training_images(images).batches(2, size))[::order]:
            turned = torch.arange(len(batch)).flip(0)
            shuffled = dataclasses.replace(batch, index=batch.index[turned], partner_index=batch.partner_index[turned])
            straight, told = book.signal(batch).logits, book.signal(shuffled).logits
            assert torch.equal(told, straight[turned])
            for row, page in zip(batch.index.tolist(), straight, strict=True):
                assert torch.equal(pages.setdefault(row, page), page)
    assert len(pages) == len(images)
    assert len({tuple(page.tolist()) for page in pages.values()}) == len(images)


def test_a_student_of_two_books_resumes_exactly_and_no_teacher_answers(books, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(LiveTeacher, "signal", None)
    config = configuration(prepared, {"kind": "book_kd", "teacher_weights": [3, 1]}, book=[str(b) for b in books])
    folder = check_exact_resume(config, tmp_path, cuts=(1,))
    cost = json.loads((folder / "cost.json").read_text())
    assert (cost["teacher_forwards"], cost["teacher_weights_mb"]) == (0, 0)
    assert cost["peak_memory_mb"] > 0
    made = json.loads((books[0] / "cost.json").read_text())
    assert made["teacher_forwards"] == json.loads((books[0] / "ledger.json").read_text())["teacher_forwards"] == 60
    assert made["teacher_weights_mb"] > 1
    assert "cost.json" not in json.loads((books[0] / "record.json").read_text())["outputs"]


@pytest.mark.parametrize("source", ["book", "teacher"])
def test_who_says_by_which_teacher_it_is_taught_learns_from_no_other(books, prepared, tmp_path, source):
    of_both = [read_record(books[0].parent / f"teacher_{seed}").digest for seed in range(2)]
    given = str(books[1] if source == "book" else books[1].parent / "teacher_1")
    settings = {source: given, "train": {"epochs": 1, "early_stopping": None}}
    for told in ([of_both[0]], [], of_both):
        with pytest.raises(ConfigError, match=r"`taught_by`.*found those of " + of_both[1]):
            distill.run(configuration(prepared, {"kind": "kd"}, taught_by=told, **settings), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    named = distill.run(configuration(prepared, {"kind": "kd"}, taught_by=[of_both[1]], **settings), tmp_path / "run")
    unnamed = distill.run(configuration(prepared, {"kind": "kd"}, **settings), tmp_path / "unnamed")
    assert named.digest == unnamed.digest


def test_a_live_teacher_teaches_too_and_stays_as_it_was(prepared, tmp_path):
    data, config = Prepared.open(prepared), configuration(prepared, {"kind": "book_kd"}, train={"epochs": 1})
    network = build("tiny", 5, False, None, 5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    shop = workshop(data, config, [LiveTeacher(network, Runtime("fp32", "nchw"), torch.device("cpu"))])
    carry_out(tmp_path, data, shop.images, METHOD.plan(config.method, shop))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert shop.teachers[0].forwards == len(shop.images)


def test_teachers_and_weights_must_be_as_many_and_books_must_repeat_alike():
    live = [online(k) for k in (0, 1)]
    with pytest.raises(ConfigError, match="one weight"):
        combine(BookKdConfig(teacher_weights=(1.0,)), tuple(live))
    assert combine(BookKdConfig(teacher_weights=(1.0, 3.0)), tuple(live)).weights == (0.25, 0.75)
    assert combine(BookKdConfig(), (live[0],)) is live[0]
    pages = np.zeros((3, 2, K), np.float16)
    unlike = (Book(pages, "pool", ""), Book(pages[:1], "static", ""))
    with pytest.raises(ConfigError, match="pool of 3 views, static of 1 views"):
        combine(BookKdConfig(), unlike)


def test_where_pages_are_weighed_all_epochs_are_trained(prepared):
    def least(**method):
        config = configuration(prepared, {"kind": "book_kd", **method}, train={"epochs": 9, "early_stopping": 2})
        return next(METHOD.plan(config.method, workshop(Prepared.open(prepared), config, [online(0)]))).train.min_epochs

    assert least() == 9
    assert least(entropy_weights=False) == 0


def test_smoothing_is_part_of_the_method(prepared):
    config = configuration(prepared, {"kind": "book_kd"}, supervised={"label_smoothing": 0.0})
    with pytest.raises(ConfigError, match="label_smoothing"):
        METHOD.check(config.method, config)
    METHOD.check(shipped("book_kd").method, shipped("book_kd"))


@pytest.mark.parametrize(
    "nonsense",
    [{"teacher_weights": [0, 0]}, {"teacher_weights": [-1, 2]}, {"alpha": 1.1}, {"kd_temperature": 0}, {"swap": True}],
)
def test_nonsense_is_refused(nonsense, prepared):
    with pytest.raises(ConfigError):
        configuration(prepared, {"kind": "book_kd", **nonsense})
