"""What a teacher says about a batch, and what of it can be asked for. Data only: no network, no file.

Shape letters: B batch, K stages, D width of the pooled vector, C channels of a tap, H W its map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LOGITS, POOLED, UNCERTAINTY, GAPS, MAPS = "logits", "pooled", "uncertainty", "gaps:", "maps:"
"""Names of what can be asked for; the last two are followed by a tap: ``gaps:s8`` (means over a feature map),
``maps:s16`` (the map itself)."""


@dataclass(frozen=True)
class Uncertainty:
    """How a teacher's answers spread over dropout masks, in nats.

    Args:
        aleatoric: Mean entropy of the single answers, [B].
        epistemic: Entropy of the mean answer less that, [B]; the mutual information of answer and mask.

    References:
        Depeweg et al., ICML 2018, arXiv:1710.07283 (decomposition).
    """

    aleatoric: Float[Tensor, " B"]
    epistemic: Float[Tensor, " B"]


@dataclass(frozen=True)
class TeacherSignal:
    """What one teacher says about a batch; detached, raw logits.

    Where the teacher saw the mixed pixels (live, trajectory book) there is only ``logits``. Where it saw the two
    images of a pair separately (pool and static books) ``partner_logits`` and ``lam`` are set, and probabilities are
    mixed after tempering.

    Args:
        logits: Teacher logits of the mixed view, or of the image itself, [B, K].
        partner_logits: Teacher logits of the MixUp partner, [B, K].
        lam: MixUp coefficients, [B].
        pooled: The vector that enters its last linear layer, [B, D]; if asked for.
        gaps: Tap → means over its feature map, [B, C]; those asked for.
        maps: Tap → feature map, [B, C, H, W]; those asked for.
        uncertainty: Spread over dropout masks; if asked for.
    """

    logits: Float[Tensor, "B K"]
    partner_logits: Float[Tensor, "B K"] | None = None
    lam: Float[Tensor, " B"] | None = None
    pooled: Float[Tensor, "B D"] | None = None
    gaps: Mapping[str, Tensor] = field(default_factory=dict)
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    uncertainty: Uncertainty | None = None

    def probabilities(self, kd_temperature: float = 1.0) -> Float[Tensor, "B K"]:
        """Return softmax(logits / T), mixed over the pair where the teacher saw its members separately."""
        own = F.softmax(at_least_single(self.logits) / kd_temperature, dim=1)
        if self.partner_logits is None or self.lam is None:
            return own
        partner = F.softmax(at_least_single(self.partner_logits) / kd_temperature, dim=1)
        lam = self.lam[:, None]
        return lam * own + (1 - lam) * partner


@dataclass(frozen=True)
class EnsembleSignal(TeacherSignal):
    """What several teachers say: a weighted mean of probabilities, tempered one by one.

    ``logits`` are log-probabilities of the mean at T = 1, for whoever needs one vector.

    Args:
        members: One signal per teacher.
        weights: Their weights, not negative, summing to 1.
    """

    members: tuple[TeacherSignal, ...] = ()
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, members: Sequence[TeacherSignal], weights: Sequence[float] | None = None) -> EnsembleSignal:
        """Combine signals; equal weights by default."""
        shares = tuple(weights) if weights is not None else (1 / len(members),) * len(members)
        mean = _mean(members, shares, 1.0)
        return cls(mean.clamp_min(torch.finfo(mean.dtype).tiny).log(), members=tuple(members), weights=shares)

    def probabilities(self, kd_temperature: float = 1.0) -> Float[Tensor, "B K"]:
        """Return Σ_m ν_m softmax(z_m / T)."""
        return _mean(self.members, self.weights, kd_temperature)


def at_least_single(logits: Tensor) -> Tensor:
    """Return logits in single precision, or in double where they are: nothing is divided by T in half precision."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _mean(members: Sequence[TeacherSignal], weights: Sequence[float], kd_temperature: float) -> Float[Tensor, "B K"]:
    parts = [w * member.probabilities(kd_temperature) for w, member in zip(weights, members, strict=True)]
    return torch.stack(parts).sum(0)
