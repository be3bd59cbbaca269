"""What a method finds out about its networks on the validation images once training is over, for the card.

A companion that is a :class:`Reporter` is asked by whoever produces the network, after the last phase: nothing that
it says can change what was trained. Owns how such figures are computed; knows no particular method.

Shape letters: N images, K stages, P passes, S side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch import nn

from fibrokd.data.prepared import Prepared
from fibrokd.data.preprocess import as_network_input
from fibrokd.evaluation.calibration.binned import calibration_errors, confidence_sums
from fibrokd.evaluation.metrics import log_loss
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import totals_by_group
from fibrokd.training.dropout import noisy
from fibrokd.training.prediction import predict
from fibrokd.training.runtime import Runtime

_BATCH = 64


@dataclass(frozen=True, eq=False)
class Validation:
    """Single centre views of the validation images, and how networks answer them.

    Args:
        prepared: Data; other splits are not looked at.
        runtime: Precision and memory format.
        device: Where to compute.
    """

    prepared: Prepared
    runtime: Runtime
    device: torch.device

    @cached_property
    def pixels(self) -> UInt8[np.ndarray, "N S S"]:
        """Frames."""
        frames: np.ndarray = np.asarray(self.prepared.pixels[self.prepared.rows("val")])
        return frames

    @property
    def stages(self) -> Int[np.ndarray, " N"]:
        """Their stages."""
        stages: np.ndarray = self.prepared.stages[self.prepared.rows("val")]
        return stages

    def probabilities(self, network: nn.Module) -> Float[np.ndarray, "N K"]:
        """Return a network's answers: one deterministic pass."""
        return _softmax(predict(network, self.pixels, self.runtime, self.device))

    @torch.no_grad()
    def noisy_probabilities(self, network: nn.Module, passes: int, seed: int = 0) -> Float[np.ndarray, "P N K"]:
        """Return what a network answers in passes in which its dropout acts; batch norm stays in eval mode.

        Args:
            network: Network; left in the mode it is in.
            passes: Number of passes P.
            seed: Of the masks, which differ between passes and images; random states are left as they were.
        """
        found = []
        with noisy(network), torch.random.fork_rng(), self.runtime.computing(self.device):
            torch.manual_seed(seed)
            for _ in range(passes):
                parts = []
                for start in range(0, len(self.pixels), _BATCH):
                    images = torch.from_numpy(as_network_input(self.pixels[start : start + _BATCH])).to(self.device)
                    answer = network(images.contiguous(memory_format=self.runtime.layout)).logits
                    parts.append(answer.float().cpu().numpy())
                found.append(_softmax(np.concatenate(parts)))
        return np.stack(found)

    def scores(self, probabilities: Float[np.ndarray, "N K"]) -> dict[str, float]:
        """Return macro-F1 and balanced accuracy as the loop computes them, log loss (nats) and calibration error."""
        table = self.prepared.table.iloc[self.prepared.rows("val")]
        ids, groups = tuple(table["image_id"]), tuple(table["cluster"])
        told = Predictions("validated", "val", ids, groups, self.stages, probabilities, self.prepared.scale)
        labels, sums = np.unique(self.stages), confidence_sums(told)
        return {
            "macro_f1": float(f1_score(told.truth, told.predicted, average="macro", labels=labels, zero_division=0)),
            "balanced_accuracy": float(balanced_accuracy_score(told.truth, told.predicted)),
            "log_loss": float(log_loss(totals_by_group(told).pooled())[0]),
            "expected_calibration_error": float(calibration_errors(sums, np.ones((1, len(sums))))[0]),
        }


@runtime_checkable
class Reporter(Protocol):
    """A companion that has something to say once training is over."""

    def report(self, network: nn.Module, validation: Validation) -> Mapping[str, Any]:
        """Return JSON data for the card's ``method_facts``.

        Args:
            network: The trained network of the last phase, before it is exported.
            validation: Images to try networks on.
        """
        ...


def _softmax(logits: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """In float64, so that figures do not hang on the rounding of fp32."""
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return shares
