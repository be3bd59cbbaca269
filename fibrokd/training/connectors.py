"""Widths of student and teacher at feature taps, for the 1×1 connectors that some objectives train beside the student.

Widths are measured on two training images before the first step, so that connectors exist, with keyed initial
weights, when a checkpoint is loaded.

Shape letters: C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from fibrokd.training.dataset import Batch, TrainingImages
from fibrokd.training.networks import Outputs
from fibrokd.training.signals import GAPS, MAPS
from fibrokd.training.teachers import TeacherSource, evaluating

Widths = Mapping[str, int]
"""Feature tap → number of channels."""


def student_widths(network: nn.Module, taps: Sequence[str], images: TrainingImages) -> Widths:
    """Return the channels of a network at some taps; the network is left as it was.

    Args:
        network: The student.
        taps: Names of feature taps.
        images: Training images.
    """
    with torch.no_grad(), evaluating(network):
        device = next(network.parameters()).device
        outputs: Outputs = network(_two(images).images.to(device), tuple(taps))
    return {tap: outputs.maps[tap].shape[1] for tap in taps}


def teacher_widths(source: TeacherSource, needs: frozenset[str], images: TrainingImages) -> Widths:
    """Return the channels of a teacher's feature maps, or of the means over them.

    Args:
        source: A network that answers online, or a book.
        needs: What the method asks of it: ``maps:…`` or ``gaps:…``.
        images: Training images.

    Returns:
        Those that the source can give; whoever trains with it refuses the rest by name.
    """
    asked = frozenset(need for need in needs & source.caps if need.startswith((MAPS, GAPS)))
    signal = source.signal(_two(images), asked)
    return {tap: values.shape[1] for tap, values in {**signal.gaps, **signal.maps}.items()}


def connect(student: Widths, teacher: Widths, make: Callable[[int, int], nn.Module], seed: int) -> nn.ModuleDict:
    """Return one module per tap, from the student's width to the teacher's, with reproducible initial weights.

    Args:
        student: Its widths.
        teacher: Its widths; taps without one get no module.
        make: Makes a module of two widths.
        seed: Seed of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.ModuleDict({tap: make(student[tap], teacher[tap]) for tap in student if tap in teacher})


def _two(images: TrainingImages) -> Batch:
    return next(images.batches(0, 2 * images.views.variants))
