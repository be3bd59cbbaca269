"""Extraction: what is kept of a teacher's answer, its limits, and when it is vanilla distillation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fibrokd.errors import TrainingError
from fibrokd.methods.extractive import Extractive, ExtractiveConfig, extract
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.training.signals import TeacherSignal
from tests.methods.coefficients import Weighed
from tests.methods.losses import SUPERVISED, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, shipped
from tests.training.test_objective import K, value

# κ = β T_s, without T².
WEIGHED = Weighed(
    {"beta": 1.2, "gamma": 0.4, "teacher_temperature": 8.0, "student_temperature": 3.0},
    {"train": {"supervised": 0.4, "extracted": 1.2 * 3.0}},
)


def _terms(config, student, teacher, objective=Extractive):
    return terms_of(objective(config, SUPERVISED), student, teacher)


@pytest.mark.parametrize(("alpha", "kd_temperature"), [(0.6, 3.0), (0.9, 8.0)])
def test_without_extraction_and_with_equal_temperatures_it_is_vanilla_distillation(
    student, teacher, alpha, kd_temperature
):
    x, y = student.clone().requires_grad_(), student.clone().requires_grad_()
    ours = loss_of(_terms(ExtractiveConfig.kd_equivalent(alpha, kd_temperature), x, teacher))
    vanilla = loss_of(_terms(KdConfig(alpha=alpha, kd_temperature=kd_temperature), y, teacher, VanillaKd))
    ours.backward()
    vanilla.backward()
    assert torch.allclose(ours, vanilla)
    assert torch.allclose(x.grad, y.grad, atol=1e-7)


def test_it_is_what_loops_say(student, teacher):
    config = ExtractiveConfig(uniformity=0.1)
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        hot, tempered = [math.exp(z / 16) for z in t], [math.exp(z / 4) for z in s]
        excess = [max(e / sum(hot) - 1 / K, 0.0) for e in hot]
        target = [0.9 * d / sum(excess) + 0.1 / K for d in excess]
        total += sum(p * math.log(p / (e / sum(tempered))) for p, e in zip(target, tempered, strict=True))
    term = _terms(config, student, teacher)["extracted"]
    assert term.coefficient * float(value(term)) == pytest.approx(1.6 * 4 * total / len(student), rel=1e-4)


@given(st.lists(st.floats(-30, 30), min_size=K, max_size=K), st.floats(0.5, 64), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_the_target_is_a_distribution_over_the_stages_above_chance_and_keeps_the_first(row, kd_temperature, share):
    p = TeacherSignal(torch.tensor([row])).probabilities(kd_temperature)
    target, weight = extract(p, share)
    assert target.sum().item() == pytest.approx(1, abs=1e-5)
    assert (target >= 0).all()
    bare = extract(p)[0]
    if weight.item():
        assert (bare[p <= 1 / K] == 0).all()
        assert target[0, p[0].argmax()] == target.max()


def test_a_uniform_teacher_has_no_weight_and_leaves_a_finite_loss(student):
    x = student.clone().requires_grad_()
    terms = _terms(ExtractiveConfig(), x, torch.full((8, K), 2.7))
    assert terms["extracted"].weights.sum() == 0
    (terms["extracted"].coefficient * (terms["extracted"].weights * terms["extracted"].values).sum()).backward()
    assert (x.grad == 0).all()
    target, _ = extract(torch.full((1, K), 1 / K))
    assert torch.allclose(target, torch.full((1, K), 1 / K))


def test_full_uniformity_is_uniform(teacher):
    target, _ = extract(teacher.softmax(1), 1.0)
    assert torch.allclose(target, torch.full((8, K), 1 / K))


def test_a_shift_of_the_teachers_logits_changes_nothing(student, teacher):
    first, second = (loss_of(_terms(ExtractiveConfig(), student, t)) for t in (teacher, teacher + 7.0))
    assert torch.allclose(first, second, atol=1e-5)


def test_a_hot_teacher_tends_to_the_positive_part_of_its_centred_logits(teacher):
    centred = (teacher - teacher.mean(1, keepdim=True)).clamp_min(0)
    wanted = centred / centred.sum(1, keepdim=True)
    distances = [
        (extract(TeacherSignal(teacher).probabilities(t))[0] - wanted).abs().max().item() for t in (16.0, 64.0, 1000.0)
    ]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 5e-3


def test_pairs_that_a_book_holds_separately_are_extracted_after_mixing(student, teacher):
    lam = torch.linspace(0.5, 1, 8)
    signal = TeacherSignal(teacher, teacher.flip(0), lam)
    target, _ = extract(signal.probabilities(16.0))
    logits = (4 * target.clamp_min(1e-30).log()).requires_grad_()  # a student that answers exactly so
    assert value(_terms(ExtractiveConfig(), logits, signal)["extracted"]).item() == pytest.approx(0, abs=1e-5)


def test_extreme_logits_stay_finite_and_half_precision_is_left(student, teacher):
    x = (1e4 * student).requires_grad_()
    loss = loss_of(_terms(ExtractiveConfig(), x, -1e4 * student))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()
    assert _terms(ExtractiveConfig(), student.bfloat16(), teacher.bfloat16())["extracted"].values.dtype == torch.float32


@pytest.mark.parametrize(
    "wrong", [{"beta": -1.0}, {"uniformity": 1.5}, {"teacher_temperature": 0.0}, {"extract": False, "uniformity": 0.5}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        ExtractiveConfig(**wrong)


def test_without_a_teacher_it_says_what_is_missing(student):
    with pytest.raises(TrainingError, match="'extractive'"):
        _terms(ExtractiveConfig(), student, None)


def test_a_run_cut_anywhere_ends_with_the_same_student(prepared, taught, tmp_path):
    config = configuration(prepared, {"kind": "extractive"}, teacher=str(taught))
    check_exact_resume(config, tmp_path, cuts=(1,))


def test_the_configuration_in_the_repository_is_the_starting_point():
    config = shipped("extractive").method
    assert config == ExtractiveConfig()
    assert ExtractiveConfig.model_validate_json(config.model_dump_json()) == config
