"""Learning without a teacher: the shared supervised term and nothing else."""

import pytest
import torch

from fibrokd.methods.none import METHOD, NoneConfig, SupervisedOnly
from tests.methods.coefficients import ALONE, Weighed
from tests.methods.losses import SUPERVISED, loss_of, terms_of
from tests.training.test_objective import make_batch, value

WEIGHED = Weighed({}, {"train": ALONE})


@pytest.mark.parametrize("mixed", [False, True])
def test_its_loss_is_the_supervised_term_whatever_a_teacher_would_say(student, teacher, mixed):
    batch = make_batch(mixed=mixed)
    found = [terms_of(SupervisedOnly(NoneConfig(), SUPERVISED), student, said, batch) for said in (None, teacher)]
    assert all(terms.keys() == {"supervised"} for terms in found)
    assert torch.equal(loss_of(found[0]), loss_of(found[1]))
    assert torch.equal(loss_of(found[0]), value(SUPERVISED(student, batch)))


def test_it_asks_for_no_teacher():
    assert not METHOD.needs_teacher
    assert not METHOD.needs
