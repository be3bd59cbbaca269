"""Ordinal distillation: it is ``kd`` where λ = 0, distance costs, and its bounds hold."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import entropy, wasserstein_distance

from fibrokd.errors import TrainingError
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.ordinal_kd import OrdinalKd, OrdinalKdConfig, balanced_cuts, cut_distance, cut_kl
from fibrokd.training.networks import build
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm, soft_kl
from fibrokd.training.signals import TeacherSignal
from tests.methods.coefficients import SHARED, SOFT, VANILLA, Weighed
from tests.methods.losses import START, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, online, shipped
from tests.training.test_objective import K, make_batch, value

WEIGHED = Weighed(
    {**SHARED, "ordinal": 1.5, "transport": 0.25},
    {"train": {**VANILLA, "cuts": SOFT * 1.5 * 0.75, "transport": 2 * SOFT * 1.5 * 0.25}},
)

UNIFORM = torch.full((K - 1,), 1 / (K - 1))
SUPERVISED = SupervisedTerm(SupervisedConfig(), torch.tensor([0.6, 1.5, 0.0, 1.5, 0.7]))
ROW = st.lists(st.floats(0.01, 1.0), min_size=K, max_size=K)


def _terms(config, student, teacher, batch=None, weights=UNIFORM):
    return terms_of(OrdinalKd(config, SUPERVISED, weights), student, teacher, batch)


def _distribution(row):
    return torch.tensor(row, dtype=torch.float64).float() / sum(row)


def _ordinal(student, target):
    """The ordinal part between two distributions, at T = 1."""
    logits = student.clamp_min(1e-30).log()[None]
    cuts = (cut_kl(logits, target[None], 1.0) * UNIFORM).sum().item()
    return cuts, (2 * cut_distance(logits, target[None], 1.0) * UNIFORM).sum().item()


def test_without_the_ordinal_part_it_is_vanilla_distillation_exactly(student, teacher):
    batch = make_batch()
    plain = terms_of(VanillaKd(KdConfig(), SUPERVISED), student, teacher, batch)
    mine = _terms(OrdinalKdConfig(ordinal=0.0), student, teacher, batch)
    assert mine.keys() == plain.keys()
    assert torch.equal(loss_of(mine), loss_of(plain))


def test_perfect_agreement_costs_nothing_and_pulls_nowhere(teacher):
    x = (teacher + 2.5).requires_grad_()
    loss = loss_of(_terms(OrdinalKdConfig(alpha=1.0), x, teacher))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=2e-5)
    assert x.grad.abs().max() < 2e-5


@given(row=ROW, data=st.data())
@settings(max_examples=150, deadline=None)
def test_probability_that_moves_further_costs_more(row, data):
    target = _distribution(row)
    origin = data.draw(st.integers(0, K - 1))
    step = data.draw(st.sampled_from([-1, 1]))
    near = origin + step
    far = near + step * data.draw(st.integers(1, K - 2))
    assume(0 <= near < K)
    assume(0 <= far < K)
    mass = data.draw(st.floats(0.2, 0.9)) * target[origin]
    assume(mass > 0.01)
    costs = []
    for place in (near, far):
        moved = target.clone()
        moved[origin] -= mass
        moved[place] += mass
        costs.append(_ordinal(moved, target))
    assert costs[0][0] < costs[1][0]
    assert costs[0][1] < costs[1][1]


def test_the_earth_movers_part_is_the_square_of_the_mass_times_the_distance():
    target = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.2])
    for place in range(1, K):
        moved = target.clone()
        moved[0], moved[place] = 0.1, 0.3
        assert _ordinal(moved, target)[1] == pytest.approx(2 * 0.01 * place / (K - 1), rel=1e-4)
        distance = wasserstein_distance(range(K), range(K), moved.numpy(), target.numpy())
        assert distance == pytest.approx(0.1 * place, rel=1e-4)


@given(first=ROW, second=ROW)
@settings(max_examples=150, deadline=None)
def test_the_ordinal_part_is_bounded_by_the_divergence_it_stands_beside(first, second):
    target, answer = _distribution(first), _distribution(second)
    divergence = soft_kl(answer.log()[None], target[None], 1.0).item()
    cuts, moved = _ordinal(answer, target)
    assert -1e-6 <= moved <= cuts + 1e-6
    assert cuts <= divergence + 1e-6


def test_with_two_stages_a_cut_is_the_whole_divergence():
    target, logits = torch.tensor([[0.3, 0.7]]), torch.tensor([[1.0, -0.5]])
    assert cut_kl(logits, target, 3.0)[0, 0].item() == pytest.approx(soft_kl(logits, target, 3.0).item(), rel=1e-5)


@given(first=ROW, second=ROW)
@settings(max_examples=50, deadline=None)
def test_conditional_cuts_weighted_by_the_teacher_would_be_the_plain_divergence(first, second):
    target, answer = _distribution(first).double().numpy(), _distribution(second).double().numpy()
    total = 0.0
    for cut in range(K - 1):
        reach = target[cut:].sum()
        t, s = target[cut] / reach, answer[cut] / answer[cut:].sum()
        total += reach * entropy([t, 1 - t], [s, 1 - s])
    assert total == pytest.approx(entropy(target, answer), rel=1e-6, abs=1e-9)


def test_it_is_the_formula_written_out_in_loops(student, teacher):
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4])
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = ([math.exp(z / 3) / sum(math.exp(y / 3) for y in row) for z in row] for row in (t, s))
        part = float(entropy(p, q))
        for cut, weight in enumerate(weights.tolist()):
            above, student_above = sum(p[cut + 1 :]), sum(q[cut + 1 :])
            binary = float(entropy([above, 1 - above], [student_above, 1 - student_above]))
            part += 2.0 * weight * (0.7 * binary + 0.3 * 2 * (above - student_above) ** 2)
        total += 0.6 * 9 * part / len(student)
    terms = _terms(OrdinalKdConfig(transport=0.3), student, teacher, weights=weights)
    soft = sum(terms[name].coefficient * value(terms[name]) for name in ("kd", "cuts", "transport"))
    assert soft.item() == pytest.approx(total, rel=1e-5)


def test_reversing_the_scale_of_both_changes_nothing_and_shuffling_it_does(student, teacher):
    terms, reversed_terms = (
        _terms(OrdinalKdConfig(alpha=1.0), s, t) for s, t in ((student, teacher), (student.flip(1), teacher.flip(1)))
    )
    assert torch.allclose(loss_of(terms), loss_of(reversed_terms), atol=1e-5)
    order = [2, 0, 4, 1, 3]
    shuffled = _terms(OrdinalKdConfig(alpha=1.0), student[:, order], teacher[:, order])
    assert not torch.allclose(loss_of(terms), loss_of(shuffled), rtol=1e-2)


def test_balanced_cuts_weigh_inversely_to_the_variance_and_leave_out_empty_sides():
    weights = balanced_cuts(np.array([0] * 8 + [1] * 1 + [2] * 1), 4)
    assert weights.sum().item() == pytest.approx(1)
    assert weights[2] == 0
    assert (weights[1] / weights[0]).item() == pytest.approx(0.16 / 0.09, rel=1e-5)
    assert not balanced_cuts(np.zeros(5, dtype=int), 4).any()


def test_pairs_that_a_book_holds_separately_are_mixed_before_cutting(student, teacher):
    lam = torch.linspace(0.5, 1, 8)
    signal = TeacherSignal(teacher, teacher.flip(0), lam)
    answer = (3 * signal.probabilities(3.0).log()).requires_grad_()
    terms = _terms(OrdinalKdConfig(), answer, signal)
    assert value(terms["cuts"]).item() == pytest.approx(0, abs=1e-5)
    assert value(terms["transport"]).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, 1e30])
def test_it_is_finite_with_mixup_class_weights_and_extreme_logits(student, scale):
    x = (student * min(scale, 1e4)).requires_grad_()
    loss = loss_of(_terms(OrdinalKdConfig(), x, (-scale * student).bfloat16()))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()
    assert _terms(OrdinalKdConfig(), x.bfloat16(), student)["cuts"].values.dtype == torch.float32


def test_the_gradient_reaches_the_student_and_never_the_teacher():
    network = build("tiny", K, False, None, 1)
    source = online(2)
    before = {name: tensor.clone() for name, tensor in source.network.state_dict().items()}
    batch = dataclasses.replace(make_batch(), images=torch.rand(8, 1, 32, 32))
    objective = OrdinalKd(OrdinalKdConfig(), SUPERVISED, UNIFORM)
    loss_of(objective(objective.ask(network, batch), source.signal(batch), batch, START)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in source.network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in source.network.state_dict().items())


@pytest.mark.parametrize("wrong", [{"alpha": 2.0}, {"ordinal": -1.0}, {"transport": 1.1}, {"cut_weights": "steep"}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        OrdinalKdConfig(**wrong)


def test_without_a_teacher_it_says_what_is_missing(student):
    with pytest.raises(TrainingError, match="'ordinal_kd'"):
        _terms(OrdinalKdConfig(), student, None)


def test_the_configuration_in_the_repository_is_the_starting_point():
    config = shipped("ordinal_kd").method
    assert config == OrdinalKdConfig()
    assert OrdinalKdConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("cut_weights", ["uniform", "balanced"])
def test_a_run_cut_anywhere_ends_with_the_same_student(prepared, taught, tmp_path, cut_weights):
    method = {"kind": "ordinal_kd", "cut_weights": cut_weights}
    config = configuration(prepared, method, teacher=str(taught))
    check_exact_resume(config, tmp_path, cuts=(1,))
