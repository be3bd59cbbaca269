"""Teacher-free self-distillation (Tf-KD_self): a network learns from an earlier training of its own architecture.

Phase ``alone`` is the very training of method ``none`` with the same seed; its best weights, frozen, then teach a
second network that starts from weights of its own (another seed, or the same pretrained body with another head).

The defaults are those of method ``kd``, so that the two can be compared; the paper's numbers are for 100 classes and
are converted by ``scale: released``, see :mod:`fibrokd.training.soft_labels`. The released trainer keeps the best
epoch on test images; here validation decides.

References:
    Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020, arXiv:1909.11723,
    and its released code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from fibrokd.training.label_term import LabelTerm
from fibrokd.training.method import MethodSpec, Phase, Workshop
from fibrokd.training.soft_labels import SoftLabelConfig, SoftLabels


class TfKdSelfConfig(SoftLabelConfig):
    """Knobs of teacher-free self-distillation."""

    kind: Literal["tf_kd_self"] = "tf_kd_self"
    """Name of the method."""


def _plan(config: TfKdSelfConfig, shop: Workshop) -> Iterator[Phase]:
    alone = shop.student()
    yield Phase("alone", alone, LabelTerm(shop.supervised), None, shop.train)
    alone.zero_grad()  # its training is over: the memory is not needed
    yield Phase("self", shop.student(seed=1), SoftLabels(config, shop.supervised), shop.frozen(alone), shop.train)


METHOD = MethodSpec(
    kind="tf_kd_self",
    title="Teacher-free self-distillation (Tf-KD_self)",
    idea="The student is trained alone first; a fresh network of the same architecture then learns from it.",
    formula="L = (1 − α) L_sup + α T² mean_i KL(p_alone^T ‖ p_s^T)",
    grades="A",
    reference="Yuan et al., CVPR 2020, arXiv:1909.11723, and its released code",
    config=TfKdSelfConfig,
    plan=_plan,
    seams="two phases, frozen earlier self",
    cost="Two trainings of the student, and one more forward pass per step of the second.",
)
