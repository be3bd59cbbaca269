"""Cosine confidence distillation: its limits, an independent reference, pairs that hold, and real runs."""

import dataclasses
import math

import pytest
import torch
from pydantic import ValidationError

from fibrokd.errors import ConfigError, TrainingError
from fibrokd.methods.ccd import CcdConfig, CosineConfidence, cosine_confidence
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.pipeline import distill, write_book
from fibrokd.training.book import BookConfig
from fibrokd.training.networks import build
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm, soft_kl
from fibrokd.training.signals import TeacherSignal
from tests.methods.coefficients import Weighed
from tests.methods.losses import START, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, check_export, configuration, online, shipped
from tests.training.test_objective import K, make_batch, value

WEIGHED = Weighed(
    {"hard_share": 0.3, "kd_temperature": 2.0, "factor": 1.5},
    {"train": {"supervised": 1.5 * 0.3, "views": 1.5 * 0.7 * 2.0**2 / 2, "copies": 1.5 * 0.7 * 2.0**2 / 2}},
)

PLAIN = SupervisedTerm(SupervisedConfig(), torch.ones(K))
WEIGHTED = SupervisedTerm(SupervisedConfig(), torch.tensor([0.6, 1.5, 0.0, 1.5, 0.7]))
PAIRED = {"joint": {}}


def _pairs(size=8, mixed=True):
    """A batch in which rows of a pair share stage, partner and λ."""
    batch = make_batch(size // 2, mixed)
    twice = {name: getattr(batch, name).repeat_interleave(2) for name in ("stages", "partner_stages", "lam")}
    return dataclasses.replace(
        batch, images=torch.zeros(size, 1, 2, 2), index=torch.arange(size), partner_index=torch.arange(size), **twice
    )


def _terms(config, student, teacher, batch=None, supervised=PLAIN):
    return terms_of(CosineConfidence(config, supervised), student, teacher, _pairs() if batch is None else batch)


def _soft(terms):
    return loss_of({name: terms[name] for name in ("views", "copies")})


def test_a_copy_that_equals_its_original_counts_double(student, teacher):
    same, shown = teacher[0::2].repeat_interleave(2, 0), student[0::2].repeat_interleave(2, 0)
    assert torch.allclose(cosine_confidence(TeacherSignal(same)), torch.full((4,), 2.0))
    plain = soft_kl(shown, (same / 4).softmax(1), 4.0).mean()
    config = CcdConfig(hard_share=0.0, factor=1.0)
    assert _soft(_terms(config, shown, same)).item() == pytest.approx(1.5 * 16 * plain.item(), rel=1e-5)


def test_orthogonal_answers_are_plain_distillation_on_all_rows(student):
    teacher = torch.zeros(8, K)
    teacher[0::2, 1], teacher[1::2, 3] = 5.0, 2.0
    assert torch.allclose(cosine_confidence(TeacherSignal(teacher)), torch.ones(4))
    batch = _pairs()
    plain = terms_of(VanillaKd(KdConfig(alpha=0.5, kd_temperature=4.0), PLAIN), student, teacher, batch)
    assert torch.allclose(loss_of(_terms(CcdConfig(factor=1.0), student, teacher, batch)), loss_of(plain))


def test_an_opposite_copy_counts_nothing(student, teacher):
    teacher[1::2] = -2 * teacher[0::2]
    terms = _terms(CcdConfig(), student, teacher)
    assert value(terms["copies"]).abs() < 1e-5
    assert value(terms["views"]) > 0.01


def test_without_confidence_it_is_distillation_with_joint_augmentation(student, teacher):
    batch = _pairs()
    plain = terms_of(VanillaKd(KdConfig(alpha=0.5, kd_temperature=4.0), WEIGHTED), student, teacher, batch)
    mine = _terms(CcdConfig(confidence=False), student, teacher, batch, WEIGHTED)
    assert torch.allclose(loss_of(mine), 2 * loss_of(plain))


def test_it_is_the_formula_written_out_in_loops(student, teacher):
    temperature, loss = 4.0, 0.0
    for row in range(8):
        s, t = student[row].tolist(), teacher[row].tolist()
        p_s, p_t = ([math.exp(z / temperature) for z in logits] for logits in (s, t))
        p_s, p_t = [p / sum(p_s) for p in p_s], [p / sum(p_t) for p in p_t]
        divergence = sum(p * math.log(p / q) for p, q in zip(p_t, p_s, strict=True))
        if row % 2:
            first = teacher[row - 1].tolist()
            dot = sum(a * b for a, b in zip(first, t, strict=True))
            divergence *= 1 + dot / math.sqrt(sum(a * a for a in first) * sum(b * b for b in t))
        loss += divergence / 8
    wanted = 2.0 * 0.5 * 16 * loss
    assert _soft(_terms(CcdConfig(), student, teacher)).item() == pytest.approx(wanted, rel=1e-5)


def test_the_hard_share_multiplies_the_labels(student, teacher):
    assert _terms(CcdConfig(hard_share=0.3), student, teacher)["supervised"].coefficient == pytest.approx(0.6)
    permuted = dataclasses.replace(_pairs(), stages=_pairs().stages.flip(0))
    first, second = (loss_of(_terms(CcdConfig(hard_share=0.0), student, teacher, b)) for b in (_pairs(), permuted))
    assert torch.equal(first, second)


def test_centred_confidence_does_not_notice_a_constant_and_the_plain_one_does(teacher):
    shifted = teacher.clone()
    shifted[1::2] += 20.0
    plain, centred = (
        (cosine_confidence(TeacherSignal(shifted), c) - cosine_confidence(TeacherSignal(teacher), c)).abs().max()
        for c in (False, True)
    )
    assert centred < 1e-5
    assert plain > 0.1


def test_where_members_were_answered_apart_the_confidence_is_their_mean(teacher):
    lam = torch.tensor([1.0, 0.5, 0.7, 0.9]).repeat_interleave(2)
    partner = teacher.flip(0)
    mixed = cosine_confidence(TeacherSignal(teacher, partner, lam))
    own, other = (cosine_confidence(TeacherSignal(t)) for t in (teacher, partner))
    assert torch.allclose(mixed, lam[::2] * own + (1 - lam[::2]) * other)
    assert torch.allclose(mixed[0], own[0])


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e4, 1e30])
def test_it_is_finite_with_mixup_class_weights_and_extreme_logits(student, scale):
    x = (student * min(scale, 1e4)).requires_grad_()
    loss = loss_of(_terms(CcdConfig(), x, (scale * student.flip(0)).bfloat16(), supervised=WEIGHTED))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()


def test_the_gradient_reaches_the_student_and_never_the_teacher():
    network = build("tiny", K, False, None, 1)
    source = online(2)
    before = {name: tensor.clone() for name, tensor in source.network.state_dict().items()}
    batch = dataclasses.replace(_pairs(), images=torch.rand(8, 1, 32, 32))
    objective = CosineConfidence(CcdConfig(), PLAIN)
    loss_of(objective(objective.ask(network, batch), source.signal(batch), batch, START)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in source.network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in source.network.state_dict().items())


@pytest.mark.parametrize("index", [[0, 2, 4, 6, 1, 3, 5, 7], [1, 2, 3, 4, 5, 6, 7, 8], [0, 1, 2]])
def test_rows_that_are_no_pairs_are_refused(student, teacher, index):
    batch = dataclasses.replace(make_batch(len(index)), index=torch.tensor(index))
    with pytest.raises(TrainingError, match="in pairs"):
        _terms(CcdConfig(), student[: len(index)], teacher[: len(index)], batch)


@pytest.mark.parametrize("wrong", [{"hard_share": 1.5}, {"kd_temperature": 0.0}, {"factor": 0.0}, {"cosine": "sine"}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        CcdConfig(**wrong)


def test_the_configuration_in_the_repository_is_the_starting_point():
    config = shipped("ccd").method
    assert config == CcdConfig()
    assert CcdConfig.model_validate_json(config.model_dump_json()) == config


def test_a_run_cut_anywhere_ends_with_the_same_student_and_a_book_gives_its_losses(prepared, taught, tmp_path):
    with pytest.raises(ConfigError, match="joint"):
        distill.run(configuration(prepared, {"kind": "ccd"}, teacher=str(taught)), tmp_path / "refused")
    config = configuration(prepared, {"kind": "ccd"}, teacher=str(taught), views=PAIRED)
    check_exact_resume(config, tmp_path, cuts=(1,))
    book = write_book.WriteBookConfig(
        prepared=prepared,
        teacher=taught,
        book=BookConfig(views=3),
        views=config.views,
        minimum_balanced_accuracy=0.0,
    )
    write_book.run(book, tmp_path / "book")
    check_export(configuration(prepared, {"kind": "ccd"}, book=str(tmp_path / "book"), views=PAIRED), tmp_path / "read")
