"""Uncertainty-based distillation: our reading of Hemmatian, Shahzadi and Mozaffari.

The abstract states the rule: the teacher's *epistemic* uncertainty about an image sets how strongly the image is
supervised by it, its *aleatoric* uncertainty sets the image's temperature; teacher and student are Bayesian. The
formulas are ours. Both uncertainties come from S dropout masks of the teacher (entropy of the mean answer, split into
mean entropy and mutual information) and are divided by log K.

What the paper leaves open, and what is offered: the direction of the temperature (``direction``: an ambiguous image
makes it lower, ``sharpen``, as in dynamic temperature distillation; or higher, ``soften``; or neither), the shape of
the weight (``eta``), the number of masks, and where dropout goes (``thinning``, ``dropout``).

Two things of ours. The masks are fixed and drawn by key, so a book can hold what a live teacher would say. And
teachers of this project are trained *without* the dropout that ``thinning`` puts into them: a ResNet has none, so
its masks are a perturbation it has never met, and its epistemic uncertainty is sensitivity to lost channels rather
than a posterior's spread. EfficientNet and MobileNetV3 keep the dropout and stochastic depth they were trained with.

The deployed student answers in one deterministic pass, its dropout off; tables and latencies are of that. Its use as
a Bayesian network, the mean over dropout passes, costs as many times the latency. The card compares both on the
validation images, and says what its epistemic uncertainty tells about its errors. How uncertain the teacher is about
the training views is in metrics.jsonl (``epistemic`` and ``aleatoric``, shares of log K; they have no weight).

References:
    Hemmatian, Shahzadi, Mozaffari, "Uncertainty-based knowledge distillation for Bayesian deep neural network
    compression", International Journal of Approximate Reasoning, 2024, DOI 10.1016/j.ijar.2024.109301 (abstract);
    Depeweg et al., ICML 2018, arXiv:1710.07283; Gal & Ghahramani, ICML 2016, arXiv:1506.02142.

Shape letters: B batch, N images, P passes, K stages.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field, field_validator, model_validator
from scipy.special import entr
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from fibrokd.errors import ConfigError, TrainingError
from fibrokd.training.companion import Companion
from fibrokd.training.dataset import Batch
from fibrokd.training.dropout import Thinning, ensure_dropout, known_taps
from fibrokd.training.findings import Validation
from fibrokd.training.method import MethodConfig, MethodSpec, Phase, Workshop
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term, expect_signal, soft_kl
from fibrokd.training.signals import LOGITS, UNCERTAINTY, TeacherSignal, Uncertainty
from fibrokd.training.teachers import TeacherSource, Thinnable

PASSES = 10
"""Dropout passes of the student where it is tried as a Bayesian network."""


class UncertaintyKdConfig(MethodConfig):
    """Knobs of uncertainty-based distillation."""

    kind: Literal["uncertainty_kd"] = "uncertainty_kd"
    """Name of the method."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.6
    """α, the share of the distillation term where the teacher is certain."""

    eta: Annotated[float, Field(ge=0)] = 1.0
    """η, how fast the share falls with epistemic uncertainty; 0 keeps it at α."""

    kd_temperature: Annotated[float, Field(gt=0)] = 3.0
    """T_0, the temperature of an unambiguous image."""

    lowest_temperature: Annotated[float, Field(gt=0)] = 1.0
    """T_min, the temperature of a wholly ambiguous image under ``sharpen``; at most T_0."""

    direction: Literal["sharpen", "soften", "none"] = "sharpen"
    """What ambiguity does to the temperature: lowers it towards T_min, raises it to T_0 (1 + ρ), or nothing."""

    rho: Annotated[float, Field(ge=0)] = 1.0
    """ρ of ``soften``."""

    thinning: Thinning = Thinning()
    """The teacher's dropout masks; a book must have been written with the same. ``thinning.dropout`` is the rate put
    into a teacher that has no dropout of its own."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Rate of dropout before the student's classifier where its backbone has none, and after ``taps``: without it the
    student is no Bayesian network. The deployed network answers without."""

    taps: tuple[str, ...] = ("s16", "s32")
    """Feature taps after which the student's channels are dropped."""

    _taps = field_validator("taps")(known_taps)

    @model_validator(mode="after")
    def _ordered(self) -> UncertaintyKdConfig:
        if self.direction == "sharpen" and self.lowest_temperature > self.kd_temperature:
            raise ValueError("expected `lowest_temperature` of at most `kd_temperature`")
        return self


class UncertaintyKd(Objective):
    """L = Σ_i ω_i (1 − λ_i) ℓ_sup,i / Σ_i ω_i + mean_i λ_i T_i² KL(σ(z̄_t / T_i) ‖ σ(z_s / T_i)).

    Args:
        config: α, η, temperatures.
        supervised: The shared supervised term.
    """

    needs = frozenset({LOGITS, UNCERTAINTY})

    def __init__(self, config: UncertaintyKdConfig, supervised: SupervisedTerm) -> None:
        super().__init__()
        self.config = config
        self.supervised = supervised

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return both terms, and the teacher's mean uncertainties with coefficient 0; the moment plays no part.

        Raises:
            TrainingError: There is no teacher signal, or none with uncertainty.
        """
        del moment
        teacher = expect_signal(signal, self.config.kind)
        if teacher.uncertainty is None:
            raise TrainingError(
                "Expected a teacher's uncertainty for method 'uncertainty_kd', found none.",
                "Give a teacher that answers online, or a book that stores 'uncertainty'.",
            )
        count = outputs.logits.shape[1]
        shares = self.shares(teacher.uncertainty, count)
        temperatures = self.temperatures(teacher.uncertainty, count)
        target = (teacher.logits.float() / temperatures[:, None]).softmax(1)
        values = soft_kl(outputs.logits.float() / temperatures[:, None], target, 1.0)
        labels = self.supervised(outputs.logits, batch)
        return {
            "supervised": Term((1 - shares) * labels.values, labels.weights),
            "kd": Term.mean(shares * temperatures.square() * values),
            "epistemic": Term.mean(teacher.uncertainty.epistemic.float() / math.log(count), coefficient=0.0),
            "aleatoric": Term.mean(teacher.uncertainty.aleatoric.float() / math.log(count), coefficient=0.0),
        }

    def shares(self, uncertainty: Uncertainty, count: int) -> Float[Tensor, " B"]:
        """Return λ_i = α (1 − U_e / log K)^η.

        Args:
            uncertainty: The teacher's, in nats.
            count: Number of stages K.
        """
        certain = (1 - uncertainty.epistemic.float() / math.log(count)).clamp(0, 1)
        return self.config.alpha * certain.pow(self.config.eta)

    def temperatures(self, uncertainty: Uncertainty, count: int) -> Float[Tensor, " B"]:
        """Return T_i, between T_min and T_0 or between T_0 and T_0 (1 + ρ), linear in U_a / log K.

        Args:
            uncertainty: The teacher's, in nats.
            count: Number of stages K.
        """
        c = self.config
        ambiguous = (uncertainty.aleatoric.float() / math.log(count)).clamp(0, 1)
        if c.direction == "sharpen":
            return c.lowest_temperature + (c.kd_temperature - c.lowest_temperature) * (1 - ambiguous)
        return c.kd_temperature * (1 + (c.rho if c.direction == "soften" else 0.0) * ambiguous)


class BothUses(Companion):
    """Tries the trained student as it is deployed, and as the Bayesian network that it was trained to be."""

    def report(self, network: nn.Module, validation: Validation) -> Mapping[str, Any]:
        """Return how one deterministic pass and the mean over dropout passes do on the validation images."""
        told = validation.noisy_probabilities(network, PASSES)
        mean, (epistemic, aleatoric) = told.mean(axis=0), uncertainties(told)
        wrong = mean.argmax(axis=1) != validation.stages
        return {
            "deployed": "deterministic",
            "validation": {
                "deterministic": {"passes": 1, **validation.scores(validation.probabilities(network))},
                "monte_carlo": {
                    "passes": PASSES,
                    **validation.scores(mean),
                    "epistemic": float(epistemic.mean()),
                    "aleatoric": float(aleatoric.mean()),
                    "epistemic_auroc_for_errors": auroc(wrong, epistemic),
                },
            },
        }


def uncertainties(told: Float[np.ndarray, "P N K"]) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Return the epistemic and the aleatoric part of the uncertainty of every image's mean answer, shares of log K.

    Args:
        told: Probabilities of P passes.
    """
    aleatoric = entr(told).sum(axis=2).mean(axis=0)
    epistemic = (entr(told.mean(axis=0)).sum(axis=1) - aleatoric).clip(min=0)
    scale = math.log(told.shape[2])
    return epistemic / scale, aleatoric / scale


def auroc(wrong: Bool[np.ndarray, " N"], score: Float[np.ndarray, " N"]) -> float | None:
    """Return how well a score tells wrong answers from right ones; None where there are none of one kind."""
    return float(roc_auc_score(wrong, score)) if 0 < wrong.sum() < len(wrong) else None


def _plan(config: UncertaintyKdConfig, shop: Workshop) -> Iterator[Phase]:
    student = shop.student()
    ensure_dropout(student, config.dropout, config.taps)
    objective, teacher = UncertaintyKd(config, shop.supervised), _thinned(shop.teacher, config.thinning)
    yield Phase("train", student, objective, teacher, shop.train, companion=BothUses())


def _thinned(teacher: TeacherSource, thinning: Thinning) -> TeacherSource:
    if not isinstance(teacher, Thinnable):
        raise ConfigError(
            f"Expected a teacher whose dropout masks can be chosen, found {type(teacher).__name__}.",
            "Give one network as `teacher`, or a book that stores 'uncertainty'.",
        )
    return teacher.with_thinning(thinning)


METHOD = MethodSpec(
    kind="uncertainty_kd",
    title="Uncertainty-based distillation (dropout masks)",
    idea="The teacher counts less where it does not know, and its temperature follows how ambiguous the image is.",
    formula="L = mean_i (1 − λ_i) ℓ_sup,i + λ_i T_i² KL(p_t^{T_i} ‖ p_s^{T_i}); λ_i = α (1 − U_e / log K)^η; "
    "T_i = T_min + (T_0 − T_min)(1 − U_a / log K)",
    grades="B D",
    reference="Hemmatian et al., Int. J. Approximate Reasoning 2024, DOI 10.1016/j.ijar.2024.109301 (abstract)",
    config=UncertaintyKdConfig,
    plan=_plan,
    needs=UncertaintyKd.needs,
    teachers=(1, 1),
    cacheable=True,
    seams="frozen teacher under fixed dropout masks, or a book of their statistics; dropout put in by hooks",
    cost="S teacher passes per view (20), or one where only its classifier has dropout; once, with a book.",
    told={
        "validation.deterministic.log_loss": "log loss, one pass",
        "validation.monte_carlo.log_loss": "10 passes under dropout (10 times the time)",
        "validation.deterministic.expected_calibration_error": "calibration error, one pass",
        "validation.monte_carlo.expected_calibration_error": "10 passes under dropout",
        "validation.monte_carlo.epistemic_auroc_for_errors": "AUROC of U_e for errors",
    },
)
