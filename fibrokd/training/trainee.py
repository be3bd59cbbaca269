"""What is trained: network, adapters, moving average and optimiser on one device, and one step of them.

Owns the reduction of weighted per-sample terms over the *global* batch, so that one process and many give the same
loss. Knows no epoch, no file and no particular method.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from fibrokd.errors import TrainingError
from fibrokd.training.dataset import Batch
from fibrokd.training.objective import Moment, Objective, Term
from fibrokd.training.parameters import Partition, parameter_groups
from fibrokd.training.runtime import Runtime, accelerator
from fibrokd.training.settings import TrainConfig
from fibrokd.training.signals import TeacherSignal


class Trainee:
    """A network with everything that one step needs.

    Args:
        name: Name for messages.
        network: What is trained, in place.
        objective: Loss; its own modules are trained as well.
        partition: Which parameters are trained.
        config: Optimiser.
        runtime: Precision and memory format.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        objective: Objective,
        partition: Partition,
        config: TrainConfig,
        runtime: Runtime,
    ) -> None:
        self.name, self.partition, self.config, self.runtime = name, partition, config, runtime
        self.accelerator = accelerator()
        self.world = int(self.accelerator.num_processes)
        device = self.accelerator.device
        self.network = network.to(device).to(memory_format=runtime.layout)
        self.objective = objective.to(device)
        partition.freeze(self.network)
        decay = config.average_decay
        self.average = ModelEmaV3(self.network, decay=decay, use_warmup=True) if decay else None
        groups = parameter_groups(self.network, objective, partition, config.learning_rate, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self.wrapped = self.accelerator.prepare_model(self.network) if self.world > 1 else self.network

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept: the moving average where there is one."""
        return self.network if self.average is None else self.average.module

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Modules whose tensors belong into a checkpoint."""
        average = {} if self.average is None else {"average": self.average.module}
        return {"network": self.network, "objective": self.objective, **average}

    def set_modes(self) -> None:
        """Put what is trained into training mode, and what is frozen into eval mode."""
        self.wrapped.train()
        self.objective.train()
        self.partition.set_modes(self.network)
        if self.config.freeze_batch_norm:
            freeze_batch_norm(self.network)

    def step(self, batch: Batch, signal: TeacherSignal | None, moment: Moment) -> dict[str, float]:
        """Take one optimiser step and return the loss and its parts before coefficients.

        Args:
            batch: What the network sees, on its device.
            signal: What the teacher says to it.
            moment: Where the training stands.

        Raises:
            TrainingError: The loss is not finite.
        """
        with self.runtime.computing(self.accelerator.device):
            outputs = self.objective.ask(self.wrapped, batch)
        loss, parts = self._reduce(self.objective(outputs, signal, batch, moment))
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss of {self.name} became {loss.item()} ({parts}).",
                "Lower the learning rate, or set runtime.precision to fp32.",
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self._share_gradients()
        if self.config.gradient_clip is not None:
            trained = [*self.network.parameters(), *self.objective.parameters()]
            nn.utils.clip_grad_norm_(trained, self.config.gradient_clip)
        self.optimizer.step()
        return {"loss": loss.item()} | parts

    def follow(self, steps: int) -> None:
        """Let the moving average follow after ``steps`` earlier steps, if there is one."""
        if self.average is not None:
            self.average.update(self.network, step=steps)
            copy_settings(self.network, self.average.module)

    def _share_gradients(self) -> None:
        """Average the gradients of the objective's own modules, which nothing wraps for several processes."""
        if self.world > 1:
            for parameter in self.objective.parameters():
                if parameter.grad is not None:
                    parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")

    def _reduce(self, terms: Mapping[str, Term]) -> tuple[Tensor, dict[str, float]]:
        """Weighted means over the global batch; gradients of processes are averaged, hence the factor ``world``."""
        sums = torch.stack([term.weights.sum() for term in terms.values()])
        if self.world > 1:
            sums = self.accelerator.reduce(sums, reduction="sum")
        reduced = [
            self.world * (term.weights * term.values).sum() / total.clamp_min(1e-12)
            for term, total in zip(terms.values(), sums, strict=True)
        ]
        loss = torch.stack([t.coefficient * r for t, r in zip(terms.values(), reduced, strict=True)]).sum()
        return loss, {name: value.item() for name, value in zip(terms, reduced, strict=True)}


def freeze_batch_norm(network: nn.Module) -> None:
    """Put every batch-norm layer into eval mode: its statistics neither change nor depend on the batch."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


@torch.no_grad()
def copy_settings(source: nn.Module, target: nn.Module) -> None:
    """Copy buffers that are no statistics, such as a temperature: the mean of an old and a new one is neither.

    Args:
        source: Where they are set.
        target: A network of the same structure.
    """
    for module, other in zip(source.modules(), target.modules(), strict=True):
        if not isinstance(module, nn.modules.batchnorm._NormBase):
            for new, old in zip(module.buffers(recurse=False), other.buffers(recurse=False), strict=True):
                old.copy_(new)
