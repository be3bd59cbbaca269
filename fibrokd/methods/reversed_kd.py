"""Reversed distillation (Re-KD): the small network teaches the big one.

An exploratory experiment of the teacher-free paper: if a weaker teacher helps too, part of what distillation does is
to regularise labels. The teacher is a finished small network, given as ``teacher`` or, written down, as ``book``; the
student is the big backbone. That the student is the bigger one is checked, by what a book notes of its teacher too.

The defaults are those of method ``kd``; the paper's numbers (α = 0.6, T = 20, averaged over 100 classes) are converted
by ``scale: released``, see :mod:`fibrokd.training.soft_labels`.

References:
    Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020, arXiv:1909.11723,
    and its released code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from torch import nn

from fibrokd.errors import ConfigError
from fibrokd.training.book import Book
from fibrokd.training.method import LOGITS_ONLY, MethodSpec, Phase, Workshop
from fibrokd.training.networks import parameter_count
from fibrokd.training.soft_labels import SoftLabelConfig, SoftLabels
from fibrokd.training.teachers import LiveTeacher, TeacherSource


class ReversedKdConfig(SoftLabelConfig):
    """Knobs of reversed distillation."""

    kind: Literal["reversed_kd"] = "reversed_kd"
    """Name of the method."""


def check_reversed(teacher: TeacherSource, student: nn.Module) -> None:
    """Refuse a teacher that is not smaller than its student, where the teacher's network is known.

    Raises:
        ConfigError: The teacher has as many parameters as the student, or more.
    """
    theirs, ours = _size(teacher), parameter_count(student)
    if theirs is not None and theirs >= ours:
        raise ConfigError(
            f"Expected a teacher that is smaller than its student, found {theirs} parameters teaching {ours}.",
            "Give the folder of a small student as `teacher`, or its book as `book`, and set `backbone` to the big "
            "one; or use method 'kd'.",
        )


def _size(teacher: TeacherSource) -> int | None:
    if isinstance(teacher, LiveTeacher):
        return parameter_count(teacher.network)
    return teacher.teacher_parameters if isinstance(teacher, Book) else None


def _plan(config: ReversedKdConfig, shop: Workshop) -> Iterator[Phase]:
    student = shop.student()
    check_reversed(shop.teacher, student)
    yield Phase("train", student, SoftLabels(config, shop.supervised), shop.teacher, shop.train)


METHOD = MethodSpec(
    kind="reversed_kd",
    title="Reversed distillation (Re-KD)",
    idea="A finished small network teaches the big one.",
    formula="L = (1 − α) L_sup + α T² mean_i KL(p_t^T ‖ p_s^T), with a teacher smaller than the student",
    grades="A",
    reference="Yuan et al., CVPR 2020, arXiv:1909.11723, and its released code",
    config=ReversedKdConfig,
    plan=_plan,
    needs=LOGITS_ONLY,
    teachers=(1, 1),
    cacheable=True,
    seams="frozen small teacher or its book",
    cost="One answer of a small network per view; the student is the big network.",
)
