"""Budget, optimiser and learning-rate schedule of a training run."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from fibrokd.config import Config
from fibrokd.training.runtime import RuntimeConfig


class PlateauConfig(Config):
    """Lower the learning rate when validation macro-F1 stops rising (ReduceLROnPlateau)."""

    kind: Literal["plateau"] = "plateau"
    """Name of the schedule."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Factor of the learning rate at each plateau."""
    patience: Annotated[int, Field(ge=0)] = 4
    """Epochs without improvement before the rate falls."""


class OneCycleConfig(Config):
    """Warm up and anneal over the whole budget; for short budgets. Smith & Topin 2017, arXiv:1708.07120."""

    kind: Literal["one_cycle"] = "one_cycle"
    """Name of the schedule."""
    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the steps that warm up."""


class TrainConfig(Config):
    """Budget and optimiser of one training run."""

    epochs: Annotated[int, Field(ge=1, le=65535)] = 60
    """Largest number of epochs."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Images per step, over all processes together."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Decoupled weight decay; biases and normalisation are exempt."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 5.0
    """Largest gradient norm; ``null`` switches clipping off."""
    schedule: Annotated[PlateauConfig | OneCycleConfig, Field(discriminator="kind")] = PlateauConfig()
    """Learning-rate schedule."""
    early_stopping: Annotated[int, Field(ge=1)] | None = 12
    """Stop after so many epochs without a better validation macro-F1; ``null`` switches it off, and so does
    ``keep: last``."""
    min_epochs: Annotated[int, Field(ge=0)] = 0
    """Early stopping does not act before."""
    keep: Literal["best", "last"] = "best"
    """Weights to keep: those of the epoch with the best validation macro-F1, or the last ones. ``last`` suits a
    one-cycle budget, whose end is its best part, where few validation images make the best epoch a matter of luck."""
    average_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, which is then validated and kept; ``null``: off."""
    freeze_batch_norm: bool = False
    """Keep batch-norm statistics as they are (and make results independent of the batch composition)."""
    runtime: RuntimeConfig = RuntimeConfig()
    """Precision and memory format."""
    validate_every: Annotated[int, Field(ge=1, exclude_if=lambda every: every == 1)] = 1
    """Look at the validation images after every so many epochs, and after the last. More than 1 is for budgets of
    hundreds of tiny epochs, and takes ``keep: last``, ``one_cycle`` and no early stopping, which decide nothing by
    validation; phases that end, or promote, by such a figure are always validated. Absent from records where it is
    1."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of initial weights, dropout and stochastic depth; views have their own."""

    @model_validator(mode="after")
    def _nothing_waits_for_a_validation(self) -> TrainConfig:
        waits = self.keep == "best" or self.schedule.kind == "plateau" or self.early_stopping is not None
        if self.validate_every > 1 and waits:
            raise ValueError("`validate_every` above 1 needs `keep: last`, `early_stopping: null` and one_cycle")
        return self


def build_schedule(config: TrainConfig, optimizer: torch.optim.Optimizer, steps: int) -> OneCycleLR | ReduceLROnPlateau:
    """Make the scheduler: one cycle is stepped every step, the plateau every epoch."""
    if isinstance(config.schedule, OneCycleConfig):
        total = steps * config.epochs
        peaks = [group["lr"] for group in optimizer.param_groups]
        share = config.schedule.warm_up
        if abs(share * total - 1) < 1e-9:  # torch divides by the steps of the warm-up less one
            share *= 1 - 1e-6
        return OneCycleLR(optimizer, peaks, total, pct_start=share, cycle_momentum=False)
    c = config.schedule
    return ReduceLROnPlateau(optimizer, mode="max", factor=c.factor, patience=c.patience)
