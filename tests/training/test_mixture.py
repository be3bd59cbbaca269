"""The mixture of labels and teacher against plain loops, and the split of a budget over phases."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.errors import ConfigError, TrainingError
from fibrokd.training.mixture import Mixture, split_epochs
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, SupervisedConfig, SupervisedTerm
from fibrokd.training.signals import TeacherSignal
from tests.training.test_objective import K, make_batch, value

WEIGHTS = torch.tensor([0.6, 1.5, 1.6, 1.5, 0.7])


def _softmax(row):
    top = max(row)
    e = [math.exp(z - top) for z in row]
    return [v / sum(e) for v in e]


def _reference(student, teacher, batch, alpha, t):
    hard = weight = soft = 0.0
    for i, (s, q) in enumerate(zip(student.tolist(), teacher.tolist(), strict=True)):
        a, b, lam = int(batch.stages[i]), int(batch.partner_stages[i]), float(batch.lam[i])
        w = lam * float(WEIGHTS[a]) + (1 - lam) * float(WEIGHTS[b])
        p = _softmax(s)
        target = [0.9 * (lam * (k == a) + (1 - lam) * (k == b)) + 0.1 / K for k in range(K)]
        hard += w * -sum(x * math.log(y) for x, y in zip(target, p, strict=True))
        weight += w
        ps, pt = _softmax([z / t for z in s]), _softmax([z / t for z in q])
        soft += sum(x * math.log(x / y) for x, y in zip(pt, ps, strict=True))
    return (1 - alpha) * hard / weight + alpha * t * t * soft / len(student)


@pytest.mark.parametrize(("alpha", "t"), [(0.6, 3.0), (0.9, 4.0), (0.0, 2.0), (1.0, 1.0)])
def test_it_is_what_loops_say_under_mixing_and_class_weights(alpha, t):
    random = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(8, K, generator=random), 3 * torch.randn(8, K, generator=random)
    objective = Mixture(alpha, t, SupervisedTerm(SupervisedConfig(), WEIGHTS), "test")
    terms = objective(Outputs(student, student, {}), TeacherSignal(teacher), make_batch(), Moment(0, 1))
    total = sum(term.coefficient * float(value(term)) for term in terms.values())
    assert total == pytest.approx(_reference(student, teacher, make_batch(), alpha, t), rel=1e-5)


def test_without_a_teacher_it_names_the_method():
    objective = Mixture(0.5, 3.0, SupervisedTerm(SupervisedConfig(), WEIGHTS), "named")
    with pytest.raises(TrainingError, match="'named'"):
        objective(Outputs(torch.zeros(8, K), torch.zeros(8, K), {}), None, make_batch(), Moment(0, 1))


@given(st.integers(1, 500), st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_parts_of_a_budget_add_up_to_it_and_none_is_empty(epochs, raw):
    shares = [share / sum(raw) for share in raw]
    if epochs < len(shares):
        with pytest.raises(ConfigError, match="one for every phase"):
            split_epochs(epochs, shares)
        return
    parts = split_epochs(epochs, shares)
    assert sum(parts) == epochs
    assert min(parts) >= 1
    if min(share * epochs for share in shares) >= 2:
        assert all(abs(part - share * epochs) <= 1 for part, share in zip(parts, shares, strict=True))
