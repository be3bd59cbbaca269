"""Real runs that take seconds: the step ``distill`` on noise patches, whole, cut and resumed."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from fibrokd.config import load_config, parse_config
from fibrokd.data.prepared import Prepared
from fibrokd.data.preprocess import as_network_input
from fibrokd.files import read_json
from fibrokd.methods import open_network
from fibrokd.pipeline import distill
from fibrokd.training import loop, produce
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.method import Workshop
from fibrokd.training.networks import build
from fibrokd.training.produce import supervised_term
from fibrokd.training.runtime import Runtime
from fibrokd.training.teachers import LiveTeacher
from tests.factories import write_prepared

ROOT = Path(__file__).parents[2]


class KilledError(Exception):
    """Stands for a process that was killed."""


@contextlib.contextmanager
def killed_after(epochs):
    """Let training die after so many finished epochs, over all phases together."""
    whole = loop.Trainer.conclude_epoch
    done = 0

    def conclude(self, entry):
        nonlocal done
        whole(self, entry)
        done += 1
        if done == epochs:
            raise KilledError

    loop.Trainer.conclude_epoch = conclude
    try:
        yield
    except KilledError:
        return
    finally:
        loop.Trainer.conclude_epoch = whole
    raise AssertionError(f"expected the run to die after {epochs} epochs, it finished")


def write_tiny(folder):
    """Write a prepared folder of 20 training images."""
    return write_prepared(folder, patients=50, frames=1)


def configuration(prepared, method, **changes):
    """Return the configuration of a run of three epochs; `changes` are keys of the step."""
    train = {
        "epochs": 3,
        "batch_size": 10,
        "learning_rate": 3e-3,
        "early_stopping": None,
        "runtime": {"precision": "fp32", "memory_format": "nchw"},
        **changes.pop("train", {}),
    }
    common = {"prepared": str(prepared), "backbone": "tiny", "pretrained": False, "minimum_balanced_accuracy": 0.0}
    return parse_config({**common, "method": method, "train": train, **changes}, distill.DistillConfig)


def workshop(data, config, teachers=()):
    """Return what a plan may use, as the step would."""
    return Workshop(
        stages=len(data.scale),
        label_space=tuple(range(len(data.scale))),
        backbone=config.backbone,
        supervised=supervised_term(data, config.supervised),
        images=TrainingImages.of(data, config.views),
        train=config.train,
        new_network=lambda backbone, seed: build(backbone, len(data.scale), False, None, seed),
        teachers=tuple(teachers),
        device=torch.device("cpu"),
    )


def weights(network):
    """Return a copy of a network's weights and buffers by name."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def shipped(kind):
    """Return the configuration of configs/methods; its data are nowhere."""
    return load_config(ROOT / "configs" / "methods" / f"{kind}.yaml", distill.DistillConfig, ["prepared=nowhere"])


def online(seed, backbone="tiny"):
    """Return an untrained network that answers online."""
    return LiveTeacher(build(backbone, 5, False, None, seed), Runtime("fp32", "nchw"), torch.device("cpu"))


def images_of_test_split(prepared):
    """Return the images of the test split as networks see them."""
    data = Prepared.open(prepared)
    return torch.from_numpy(as_network_input(np.asarray(data.pixels[data.rows("test")])))


def answers(network, images):
    """Return a network's logits in evaluation mode; the network stays in the mode it is in."""
    with torch.no_grad():
        return copy.deepcopy(network).cpu().eval()(images).logits.float().numpy()


def check_export(config, folder):
    """Train; what was exported answers like the network that training left in memory, and is counted in the card."""
    images, trained, whole = images_of_test_split(config.prepared), [], produce.carry_out

    def watched(*arguments):
        outcome = whole(*arguments)
        trained.append(answers(outcome.network, images))
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(produce, "carry_out", watched)
        distill.run(config, folder)
    exported = open_network(folder)
    np.testing.assert_allclose(answers(exported, images), trained[0], rtol=0, atol=1e-5)
    assert read_json(folder / "card.json")["parameters"] == sum(p.numel() for p in exported.parameters())
    return folder


def check_exact_resume(config, folder, cuts):
    """Run whole, with :func:`check_export`, and cut after each of so many epochs; both must leave the same files.

    Returns the folder of the run that was not cut.
    """
    check_export(config, folder / "whole")
    for epochs in cuts:
        with killed_after(epochs):
            distill.run(config, folder / "cut")
    distill.run(config, folder / "cut")
    for name in ("metrics.jsonl", "weights.safetensors", "card.json"):
        assert (folder / "whole" / name).read_bytes() == (folder / "cut" / name).read_bytes(), name
    return folder / "whole"
