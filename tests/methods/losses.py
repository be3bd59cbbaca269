"""A loss on eight random answers, as the tests of all methods put it together: batch, signal, terms, sum."""

from __future__ import annotations

import torch

from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, SupervisedConfig, SupervisedTerm
from fibrokd.training.signals import TeacherSignal
from tests.training.test_objective import make_batch, value

START = Moment(0, 1)
WEIGHTS = torch.tensor([0.6, 1.5, 1.6, 1.5, 0.7])
SUPERVISED = SupervisedTerm(SupervisedConfig(), WEIGHTS)


def terms_of(objective, logits, teacher, batch=None, moment=START, pooled=None):
    """Return the terms of an objective; `teacher` is a signal, bare logits, or None. Pooled are the logits."""
    signal = TeacherSignal(teacher) if isinstance(teacher, torch.Tensor) else teacher
    outputs = Outputs(logits, logits if pooled is None else pooled, {})
    return objective(outputs, signal, make_batch() if batch is None else batch, moment)


def loss_of(terms):
    """Return the loss that terms add up to."""
    return sum(term.coefficient * value(term) for term in terms.values())
