"""Soft labels of a frozen network: both scales of the coefficients, against loops and against vanilla distillation."""

import math

import pytest
import torch
from pydantic import ValidationError

from fibrokd.errors import TrainingError
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, SupervisedConfig, SupervisedTerm
from fibrokd.training.signals import TeacherSignal
from fibrokd.training.soft_labels import SoftLabelConfig, SoftLabels
from tests.training.test_objective import K, make_batch, value

START = Moment(0, 1)
WEIGHTS = torch.tensor([0.6, 1.5, 1.6, 1.5, 0.7])
SUPERVISED = SupervisedTerm(SupervisedConfig(), WEIGHTS)


def _config(**changes):
    return SoftLabelConfig(kind="any", **changes)


def _terms(config, student, teacher, objective=SoftLabels):
    return objective(config, SUPERVISED)(Outputs(student, student, {}), TeacherSignal(teacher), make_batch(), START)


def _total(terms):
    return sum(term.coefficient * value(term) for term in terms.values())


@pytest.fixture
def student():
    return torch.randn(8, K, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def teacher():
    return 3 * torch.randn(8, K, generator=torch.Generator().manual_seed(4))


def test_with_the_defaults_it_is_vanilla_distillation(student, teacher):
    ours, vanilla = _terms(_config(), student, teacher), _terms(KdConfig(), student, teacher, VanillaKd)
    assert torch.allclose(_total(ours), _total(vanilla))


@pytest.mark.parametrize(
    ("alpha", "kd_temperature", "multiplier", "weight"),
    [(0.95, 20.0, 1.0, 3.8), (0.95, 6.0, 50.0, 17.1), (0.9, 20.0, 100.0, 360.0), (0.4, 20.0, 50.0, 80.0)],
)
def test_the_released_coefficients_are_converted_from_a_mean_over_100_classes(
    alpha, kd_temperature, multiplier, weight
):
    config = _config(scale="released", alpha=alpha, kd_temperature=kd_temperature, multiplier=multiplier)
    assert config.soft_weight == pytest.approx(weight)


def test_the_released_scale_is_the_released_loss_where_there_are_100_classes():
    draw = torch.Generator().manual_seed(5)
    student, teacher = (torch.randn(6, 100, generator=draw, dtype=torch.float64) for _ in range(2))
    config = _config(scale="released", alpha=0.95, kd_temperature=6.0, multiplier=50.0)
    labels = SupervisedTerm(SupervisedConfig(), torch.ones(100))
    terms = SoftLabels(config, labels)(Outputs(student, student, {}), TeacherSignal(teacher), make_batch(6), START)
    elements = []
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        s_sum, t_sum = (sum(math.exp(z / 6) for z in row) for row in (s, t))
        for a, b in zip(s, t, strict=True):
            p_t = math.exp(b / 6) / t_sum
            elements.append(p_t * (math.log(p_t) - (a / 6 - math.log(s_sum))))
    wanted = 0.95 * 36 * 50 * sum(elements) / len(elements)
    assert terms["kd"].coefficient * float(value(terms["kd"])) == pytest.approx(wanted, rel=1e-4)


def test_identical_networks_have_no_distillation_gradient(teacher):
    x = teacher.clone().requires_grad_()
    term = _terms(_config(), x, teacher)["kd"]
    (term.coefficient * value(term)).backward()
    assert x.grad.abs().max() < 1e-6


def test_extreme_logits_and_unseen_stages_stay_finite(student):
    x = (1e4 * student).requires_grad_()
    loss = _total(_terms(_config(scale="released", kd_temperature=20.0), x, -1e4 * student))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()


def test_half_precision_logits_are_computed_in_single_precision(student, teacher):
    values = _terms(_config(), student.bfloat16(), teacher)["kd"].values
    assert values.dtype == torch.float32
    assert torch.allclose(values, _terms(_config(), student.bfloat16().float(), teacher)["kd"].values)


def test_a_multiplier_without_the_released_scale_is_refused():
    with pytest.raises(ValidationError, match="scale: released"):
        _config(multiplier=50.0)


@pytest.mark.parametrize("wrong", [{"alpha": 1.5}, {"kd_temperature": 0.0}, {"scale": "mean"}, {"unknown": 1}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        _config(**wrong)


def test_without_a_teacher_it_names_the_method(student):
    with pytest.raises(TrainingError, match="'any'"):
        SoftLabels(_config(), SUPERVISED)(Outputs(student, student, {}), None, make_batch(), START)
