"""Methods that are vanilla distillation at heart, against one reference written out in numpy: loss and gradient.

What a method adds (pages that are weighed, pruning, attention, a tree) is switched off or left to its own tests; what
remains must be ``c_sup L_sup + c_kd mean_i KL(t_i ‖ p_i^T)`` with the coefficients written down here.
"""

import numpy as np
import pytest
import torch

from fibrokd.methods.book_kd import BookKdConfig, LearnFromBook
from fibrokd.methods.csc_ace import CscAce, CscAceConfig
from fibrokd.methods.defective_kd import DefectiveKdConfig
from fibrokd.methods.dil import DilConfig, learning
from fibrokd.methods.extractive import Extractive, ExtractiveConfig
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.kd_explainer import KdExplainerConfig, TreeKd
from fibrokd.methods.kddp import KddpConfig, SparseKd
from fibrokd.methods.none import NoneConfig, SupervisedOnly
from fibrokd.methods.ordinal_kd import OrdinalKd, OrdinalKdConfig
from fibrokd.methods.qdnn_gslr import GradualKd, QdnnGslrConfig
from fibrokd.methods.reversed_kd import ReversedKdConfig
from fibrokd.methods.tf_kd_self import TfKdSelfConfig
from fibrokd.methods.vam import AttendedKd, BlockAttention, VamConfig
from fibrokd.training.objective import Moment
from fibrokd.training.soft_labels import SoftLabels
from tests.methods.losses import SUPERVISED, WEIGHTS, loss_of, terms_of
from tests.training.test_objective import K, make_batch

THIRD_OF_SIX = Moment(2, 6)
PLAIN_PAGES = {"correction": False, "entropy_weights": False}

CASES = {
    # objective, c_sup, c_kd, T of both sides
    "none": (lambda s: SupervisedOnly(NoneConfig(), s), 1.0, 0.0, 1.0),
    "kd": (lambda s: VanillaKd(KdConfig(), s), 0.4, 5.4, 3.0),
    "kd, alpha on the labels": (lambda s: VanillaKd(KdConfig(alpha_on="ce"), s), 0.6, 3.6, 3.0),
    "kd, without T squared": (lambda s: VanillaKd(KdConfig(t_squared=False), s), 0.4, 0.6, 3.0),
    "book_kd": (lambda s: LearnFromBook(BookKdConfig(**PLAIN_PAGES), s), 0.4, 5.4, 3.0),
    "kd_explainer": (lambda s: TreeKd(KdExplainerConfig(), s), 0.1, 14.4, 4.0),
    "vam": (lambda s: AttendedKd(VamConfig(gamma=0.0), s, (BlockAttention((32, 64), 16, 1.0),)), 0.4, 5.4, 3.0),
    "reversed_kd": (lambda s: SoftLabels(ReversedKdConfig(), s), 0.4, 5.4, 3.0),
    "reversed_kd, released": (
        lambda s: SoftLabels(ReversedKdConfig(scale="released", kd_temperature=20.0), s),
        0.4,
        2.4,
        20.0,
    ),
    "defective_kd": (lambda s: SoftLabels(DefectiveKdConfig(), s), 0.4, 5.4, 3.0),
    "tf_kd_self": (lambda s: SoftLabels(TfKdSelfConfig(), s), 0.4, 5.4, 3.0),
    "tf_kd_self, released": (
        lambda s: SoftLabels(TfKdSelfConfig(scale="released", alpha=0.95, kd_temperature=6.0, multiplier=50.0), s),
        0.05,
        17.1,
        6.0,
    ),
    "csc_ace, response kd": (lambda s: CscAce(CscAceConfig(response="kd", beta=0.0), s), 0.4, 5.4, 3.0),
    "dil, student": (lambda s: learning(DilConfig(), 0.6, s), 0.4, 5.4, 3.0),
    "dil, assistant": (lambda s: learning(DilConfig(), 0.3, s), 0.7, 2.7, 3.0),
    "kddp": (lambda s: SparseKd(KddpConfig(l1=0.0), s), 0.4, 5.4, 3.0),
    "qdnn_gslr": (lambda s: GradualKd(QdnnGslrConfig(), s), 0.4, 5.4, 3.0),
    "extractive": (lambda s: Extractive(ExtractiveConfig.kd_equivalent(), s), 0.4, 5.4, 3.0),
    "ordinal_kd": (lambda s: OrdinalKd(OrdinalKdConfig(ordinal=0.0), s, torch.full((4,), 0.25)), 0.4, 5.4, 3.0),
}


def _softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _reference(student, teacher, batch, c_sup, c_kd, t):
    """Loss and gradient with respect to the student's logits, in double precision."""
    student, teacher = student.double().numpy(), teacher.double().numpy()
    own, partner, lam = np.eye(K)[batch.stages], np.eye(K)[batch.partner_stages], batch.lam.double().numpy()[:, None]
    q = 0.9 * (lam * own + (1 - lam) * partner) + 0.1 / K
    omega = (lam * own + (1 - lam) * partner) @ WEIGHTS.double().numpy()
    omega = omega / omega.sum()
    p, p_t, p_s = _softmax(student), _softmax(teacher / t), _softmax(student / t)
    loss = c_sup * (omega * -(q * np.log(p)).sum(1)).sum() + c_kd * (p_t * np.log(p_t / p_s)).sum() / len(student)
    gradient = c_sup * omega[:, None] * (p - q) + c_kd / t * (p_s - p_t) / len(student)
    return loss, gradient


@pytest.mark.parametrize("mixed", [False, True], ids=["single", "mixup"])
@pytest.mark.parametrize("case", CASES)
def test_its_loss_and_gradient_are_those_of_the_reference(case, mixed, student, teacher):
    make, c_sup, c_kd, t = CASES[case]
    batch, x = make_batch(mixed=mixed), student.clone().requires_grad_()
    loss = loss_of(terms_of(make(SUPERVISED), x, teacher, batch, THIRD_OF_SIX))
    loss.backward()
    wanted, gradient = _reference(student, teacher, batch, c_sup, c_kd, t)
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    assert np.abs(x.grad.double().numpy() - gradient).max() < 1e-6
