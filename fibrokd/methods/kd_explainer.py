"""KDExplainer: a student that is a tree of experts, whose paths tell which stages are told apart by which features.

Tree, gates and the two stages of training follow the released code; that it stands on a backbone's trunk and has five
leaves is our reading of it for fibrosis stages. Every stage is a leaf with one logit; every child of a level reads a
mixture of the experts above it; as the gates' temperature falls the mixture becomes a choice, and the chosen tree is
trained on alone. It is a probe and not a champion; what it reached here stands in docs/methods.md.

Deviations from the released code: the tree begins at a tap of the student (s16 by default) with levels (2, 4) instead
of at the pixels with (2, 4, 8); its temperature 10 / epoch over 300 epochs is stretched over whatever the soft phase
has; optimiser and learning-rate schedule are this project's, with the released ratio of gates to weights (0.2); the
learning rate of warm-up and hard phase is ours. Mode "nce" (two logits per leaf) is not offered.

The card holds what the tree found: path of every stage, share of levels that two stages pass together, and the
entropy of gates per level *before* they are sharpened, as a share of the largest possible: sharpened gates have none
left, whoever taught.

References:
    Xue et al., "KDExplainer: A Task-oriented Attention Model for Explaining Knowledge Distillation", IJCAI 2021,
    arXiv:2105.04181, and its released code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from fibrokd.training.companion import Companion, EpochEnd
from fibrokd.training.dataset import Batch
from fibrokd.training.method import LOGITS_ONLY, MethodSpec, Phase, Workshop
from fibrokd.training.mixture import Distillation, MixtureConfig, split_epochs
from fibrokd.training.networks import Outputs, StagingNetwork, parameter_count
from fibrokd.training.objective import SupervisedTerm
from fibrokd.training.parameters import Partition
from fibrokd.training.tree import TreeStudent

ALL_BUT_GATES = r"^(?!gates\.)"
GATES = r"^gates\."


class KdExplainerConfig(MixtureConfig):
    """Knobs of the tree and its training."""

    kind: Literal["kd_explainer"] = "kd_explainer"
    """Name of the method."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    """α, the share of the distillation term; 0: the tree learns from labels alone, the control for gate entropy."""

    kd_temperature: Annotated[float, Field(gt=0)] = 4.0
    """T, at which teacher and student are compared."""

    tap: Literal["s4", "s8", "s16"] = "s16"
    """Feature tap of the student at which the tree begins."""

    levels: tuple[int, ...] = (2, 4)
    """Experts of every level, from the trunk to the leaves."""

    leaf_width: Annotated[int, Field(ge=1)] = 128
    """Width of the leaves' hidden layers."""

    leaf_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Dropout in the leaves."""

    first_gate_temperature: Annotated[float, Field(gt=0)] = 10.0
    """t of the gates when they begin to learn."""

    last_gate_temperature: Annotated[float, Field(gt=0)] = 1 / 30
    """t of the gates in the last epoch of the soft phase; 1/30 is 10 / 300."""

    gate_rate: Annotated[float, Field(gt=0)] = 0.2
    """Factor of the learning rate of gates."""

    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of all epochs in which gates are frozen."""

    hard: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Share of all epochs in which the chosen tree is trained on alone."""

    warm_up_rate: Annotated[float, Field(gt=0)] = 0.5
    """Factor of the learning rate in the warm-up."""

    hard_rate: Annotated[float, Field(gt=0)] = 0.3
    """Factor of the learning rate in the hard phase."""

    @field_validator("levels")
    @classmethod
    def _choices(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if not levels or min(levels) < 2:
            raise ValueError("expected at least one level, each of at least two experts")
        return levels

    @model_validator(mode="after")
    def _something_is_soft(self) -> KdExplainerConfig:
        if self.warm_up + self.hard >= 1:
            raise ValueError("expected `warm_up` and `hard` to leave a share for the soft phase")
        return self

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of warm-up, soft and hard phase."""
        return self.warm_up, 1 - self.warm_up - self.hard, self.hard

    def gate_temperature(self, progress: float) -> float:
        """Return t: ``t_0 / (1 + (t_0 / t_1 − 1) progress)``, which is 10 / epoch stretched over the soft phase.

        Args:
            progress: 0 in the first epoch, 1 in the last.
        """
        ratio = self.first_gate_temperature / self.last_gate_temperature
        return self.first_gate_temperature / (1 + (ratio - 1) * progress)


class Annealing(Companion):
    """Counts epochs, so that the gates' temperature is set *before* an epoch: what is validated is what is kept.

    Args:
        config: Temperatures.
        tree: Whose gates.
        epochs: Epochs of the phase.
    """

    def __init__(self, config: KdExplainerConfig, tree: TreeStudent, epochs: int) -> None:
        self.config, self.tree, self.epochs = config, tree, epochs
        self.done = 0

    def state(self) -> dict[str, Any]:
        """Return the number of finished epochs."""
        return {"done": self.done}

    def restore(self, state: Mapping[str, Any], network: nn.Module) -> None:
        """Go on counting."""
        del network
        self.done = state["done"]

    def after_epoch(self, end: EpochEnd) -> dict[str, float]:
        """Count, and report the temperature of the epoch."""
        self.done = end.epoch
        return {"gate_temperature": float(self.tree.temperature)}

    def set(self) -> None:
        """Give the gates the temperature of the epoch that runs."""
        progress = self.done / (self.epochs - 1) if self.epochs > 1 else 1.0
        self.tree.temperature.fill_(self.config.gate_temperature(progress))


class TreeKd(Distillation):
    """L = (1 − α) L_sup + α T² KL.

    Args:
        config: Coefficients.
        supervised: The shared supervised term.
        annealing: Sets the gates' temperature; ``None`` where it does not change.
    """

    def __init__(
        self, config: KdExplainerConfig, supervised: SupervisedTerm, annealing: Annealing | None = None
    ) -> None:
        super().__init__(config, supervised)
        self.annealing = annealing

    def ask(self, network: nn.Module, batch: Batch) -> Outputs:
        """Let the student answer at the temperature of the epoch."""
        if self.annealing is not None:
            self.annealing.set()
        return super().ask(network, batch)


def make_tree(config: KdExplainerConfig, trunk: StagingNetwork, seed: int) -> TreeStudent:
    """Return a soft tree on a trunk.

    Args:
        config: Levels, leaves and temperature.
        trunk: A plain network, which is cut.
        seed: Seed of experts, leaves and gates.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tree = TreeStudent(trunk, config.tap, config.levels, config.leaf_width, config.leaf_dropout)
    tree.temperature.fill_(config.first_gate_temperature)
    return tree


def _plan(config: KdExplainerConfig, shop: Workshop) -> Iterator[Phase]:
    tree = make_tree(config, shop.student(), shop.train.seed)
    tree.gate_entropy_at_start = tuple(gate_entropy(tree))
    warm_up, soft, hard = split_epochs(shop.train.epochs, config.shares)
    loss, rate = TreeKd(config, shop.supervised), shop.train.learning_rate
    # Last weights, not best: gates that were still soft would be cut into a tree that nobody has trained.
    gentle = shop.budget(epochs=warm_up, learning_rate=config.warm_up_rate * rate, keep="last", early_stopping=None)
    yield Phase("warm_up", tree, loss, shop.teacher, gentle, Partition(ALL_BUT_GATES))
    annealing = Annealing(config, tree, soft)
    yield Phase(
        "soft",
        tree,
        TreeKd(config, shop.supervised, annealing),
        shop.teacher,
        shop.budget(epochs=soft, keep="last", early_stopping=None),
        Partition(rates={GATES: config.gate_rate}),
        annealing,
    )
    tree.harden()
    last = shop.budget(epochs=hard, learning_rate=config.hard_rate * rate)
    yield Phase("hard", tree, loss, shop.teacher, last, Partition(ALL_BUT_GATES))


def _export(network: nn.Module, config: KdExplainerConfig) -> nn.Module:
    del config
    return cast(TreeStudent, network).deployed()


def _rebuild(network: StagingNetwork, config: KdExplainerConfig, shapes: Mapping[str, torch.Size]) -> nn.Module:
    return make_tree(config, network, seed=0).shaped_like(shapes)


def sharing(tree: TreeStudent) -> list[list[float]]:
    """Return the share of levels at which two stages pass through the same expert, K × K."""
    paths = [tree.path(stage) for stage in range(tree.stages)]
    return [
        [sum(a == b for a, b in zip(one, other, strict=True)) / len(tree.levels) for other in paths] for one in paths
    ]


def gate_entropy(tree: TreeStudent) -> list[float]:
    """Return the mean entropy of a link's gates before they are sharpened, as a share of the largest possible."""
    with torch.no_grad():
        return [
            float(torch.special.entr(tree.scores(link)).sum(1).mean() / math.log(parents))
            for link, (_, parents) in enumerate(tree.links)
        ]


def _facts(network: nn.Module, config: KdExplainerConfig) -> dict[str, Any]:
    tree = cast(TreeStudent, network)
    with torch.device("meta"):
        whole = make_tree(config, StagingNetwork(tree.trunk.backbone_name, tree.stages), seed=0)
    matrix = sharing(tree)
    adjacent = [matrix[k][k + 1] for k in range(tree.stages - 1)]
    distant = [matrix[k][j] for k in range(tree.stages) for j in range(k + 2, tree.stages)]
    return {
        "paths": [list(tree.path(stage)) for stage in range(tree.stages)],
        "sharing": matrix,
        "sharing_of_adjacent_stages": sum(adjacent) / len(adjacent),
        "sharing_of_distant_stages": sum(distant) / len(distant) if distant else None,
        "gate_entropy": gate_entropy(tree),
        "gate_entropy_at_start": list(tree.gate_entropy_at_start),
        "experts_left": len(tree.experts),
        "training_parameters": parameter_count(whole),
    }


def _check(config: KdExplainerConfig, student: Any) -> None:
    split_epochs(student.train.epochs, config.shares)


METHOD = MethodSpec(
    kind="kd_explainer",
    title="KDExplainer: a tree of experts for fibrosis stages",
    idea="A mixture of experts with one leaf per stage becomes a tree; its branches tell which stages share features.",
    formula="L = (1 − α) L_sup + α T² mean_i KL(p_t^T ‖ p_s^T); x_c = Σ_p d_cp f_p, d_c = softmax(2 A_c / t)",
    grades="A D",
    reference="Xue et al., IJCAI 2021, arXiv:2105.04181, and its released code",
    config=KdExplainerConfig,
    plan=_plan,
    needs=LOGITS_ONLY,
    teachers=(1, 1),
    cacheable=True,
    seams="student of its own shape; three phases; partition of parameters; companion; frozen teacher or book",
    cost="Experts at the tap instead of the backbone's last blocks; all of them while the gates are soft.",
    export=_export,
    facts=_facts,
    rebuild=_rebuild,
    check=_check,
    told={
        "gate_entropy.0": "entropy of the gates, level 1",
        "gate_entropy.1": "level 2",
        "experts_left": "experts left",
        "sharing_of_adjacent_stages": "experts shared by adjacent stages",
        "sharing_of_distant_stages": "by distant ones",
    },
)
