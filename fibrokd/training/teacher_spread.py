"""How much a teacher's mean answer varies between draws of training views ("T. stddev"): which views suit a teacher.

A draw is a few batches of views; its answer vector is their mean probability. The spread is the standard deviation of
that vector over draws, per stage, averaged over stages. The paper finds that the lower it is, the better students do
that learn from such views, for any student; here it is a claim to be tested, not a fact. It needs the teacher alone.
A policy that destroys what the stage rests on has a low spread, too, because every answer is then the same: hence the
agreement with the labels beside it.

Policies are compared on the same images in the same order (views share their seed). The released code gives mixing
policies twice as many batches, which by itself divides the spread by √2 or more; here every policy gets as many
unless ``mixed_batches`` asks for that. A MixUp partner is the next image in the order, so that mixing brings no more
than one further image into a draw.

References:
    Wang, Lohit, Jones, Fu, "What Makes a 'Good' Data Augmentation in Knowledge Distillation", NeurIPS 2022,
    arXiv:2012.02909, and its released code.

Shape letters: R draws, K stages, B batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from pydantic import Field

from fibrokd.config import Config
from fibrokd.errors import ConfigError
from fibrokd.training.augment import AugmentSpec, ViewSpec, keyed_generator
from fibrokd.training.dataset import Batch, TrainingImages
from fibrokd.training.joint import JointSpec
from fibrokd.training.targets import agreement
from fibrokd.training.teachers import LiveTeacher

RESAMPLES = 1000
LEVEL = 0.95

_STILL = AugmentSpec(
    flip_probability=0.0, shift=0.0, rotate_degrees=0.0, zoom=0.0, gain_db=0.0, log_gamma=0.0, tgc_db=0.0
)


class SpreadConfig(Config):
    """How many answers the spread is computed from."""

    draws: Annotated[int, Field(ge=3)] = 30
    """Draws R."""

    batches: Annotated[int, Field(ge=1)] = 5
    """Batches per draw."""

    mixed_batches: Annotated[int, Field(ge=1)] | None = None
    """Batches per draw of policies with MixUp; 10 in the released code; ``null``: as many as the others."""

    batch_size: Annotated[int, Field(ge=2)] = 64
    """Images per batch, about: batches of an epoch are of nearly equal size."""


def menu() -> dict[str, ViewSpec]:
    """Return the policies that are compared by default: what this project offers, alone and together."""
    return {
        "identity": ViewSpec(augment=None, mixup_alpha=0.0),
        "flip": ViewSpec(augment=_only(flip_probability=0.5), mixup_alpha=0.0),
        "shift_zoom": ViewSpec(augment=_only(shift=0.05, zoom=0.05), mixup_alpha=0.0),
        "crop_flip": ViewSpec(augment=_only(flip_probability=0.5, shift=0.125), mixup_alpha=0.0),
        "rotate": ViewSpec(augment=_only(rotate_degrees=4.0), mixup_alpha=0.0),
        "tone": ViewSpec(augment=_only(gain_db=3.5, log_gamma=0.22, tgc_db=2.8), mixup_alpha=0.0),
        "cutout": ViewSpec(augment=_only(cutout=0.25), mixup_alpha=0.0),
        "default": ViewSpec(mixup_alpha=0.0),
        "mixup": ViewSpec(augment=None),
        "cutmix": ViewSpec(augment=None, mixup_alpha=1.0, cutmix=True),
        "default_mixup": ViewSpec(),
        "joint": ViewSpec(augment=None, mixup_alpha=0.0, joint=JointSpec()),
        "joint_mixup": ViewSpec(augment=None, joint=JointSpec()),
    }


def measure(teacher: LiveTeacher, images: TrainingImages, config: SpreadConfig) -> dict[str, Any]:
    """Measure one policy.

    Args:
        teacher: The frozen teacher.
        images: Training images with the views of the policy; of paired views only the augmented copies count.
        config: How many draws of how many answers.

    Returns:
        ``stddev`` with its ``interval`` (percentile bootstrap over draws), ``agreement`` with the labels (the λ-share
        where mixed), ``images_per_draw`` and the mean answer of every draw in ``draws``.

    Raises:
        ConfigError: There are too few images for draws that differ.
    """
    wanted = config.batches if config.mixed_batches is None or images.views.mixup_alpha == 0 else config.mixed_batches
    rows = config.batch_size * images.views.variants
    if wanted >= images.steps(rows):
        raise ConfigError(
            f"Expected more than {wanted} batches of {config.batch_size} training images, found "
            f"{images.steps(rows)}: every draw would hold all images.",
            "Lower `spread.batches` or `spread.batch_size`.",
        )
    means, right, counts = [], 0.0, []
    for draw in range(config.draws):
        parts = []
        for batch in islice(images.batches(draw, rows), wanted):
            seen = _copies(batch) if images.views.joint is not None else batch
            answers = teacher.signal(seen).probabilities().cpu()
            right += float(agreement(answers, seen).sum())
            parts.append(answers.numpy().astype(np.float64))
        answers_of_draw = np.concatenate(parts)
        means.append(answers_of_draw.mean(0))
        counts.append(len(answers_of_draw))
    draws = np.stack(means)
    low, high = interval(draws, images.views.seed)
    return {
        "stddev": spread(draws),
        "interval": [low, high],
        "agreement": right / sum(counts),
        "images_per_draw": sum(counts) / len(counts),
        "draws": draws.round(8).tolist(),
    }


def spread(draws: Float[np.ndarray, "R K"]) -> float:
    """Return the standard deviation over draws per stage, averaged over stages."""
    return float(draws.std(axis=0, ddof=1).mean())


def interval(draws: Float[np.ndarray, "R K"], seed: int) -> tuple[float, float]:
    """Return a percentile-bootstrap interval of the spread over draws; keyed, so the same every time.

    Args:
        draws: Mean answers.
        seed: Seed of the resampling.
    """
    random = keyed_generator("spread", seed)
    resampled = draws[random.integers(0, len(draws), (RESAMPLES, len(draws)))]
    values = resampled.std(axis=1, ddof=1).mean(axis=1)
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def ranking(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of policies from the lowest spread to the highest."""
    return sorted(results, key=lambda name: (results[name]["stddev"], name))


def _only(**ranges: float) -> AugmentSpec:
    return _STILL.model_copy(update=ranges)


def _copies(batch: Batch) -> Batch:
    """The augmented rows of paired views."""
    return replace(
        batch,
        images=batch.images[1::2],
        stages=batch.stages[1::2],
        partner_stages=batch.partner_stages[1::2],
        lam=batch.lam[1::2],
        index=batch.index[1::2],
        partner_index=batch.partner_index[1::2],
    )
