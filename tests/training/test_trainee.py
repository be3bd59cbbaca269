"""What is trained: the moving average follows what is learned and takes what is set."""

import pytest
import torch
from torch import nn

from fibrokd.methods.none import NoneConfig, SupervisedOnly
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm
from fibrokd.training.parameters import Partition
from fibrokd.training.runtime import Runtime
from fibrokd.training.settings import TrainConfig
from fibrokd.training.trainee import Trainee

DECAY = 0.9


class Tempered(nn.Module):
    """Something learned, something counted and something set."""

    def __init__(self):
        super().__init__()
        self.learned = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("temperature", torch.tensor(10.0))


def make_trainee(average_decay):
    loss = SupervisedOnly(NoneConfig(), SupervisedTerm(SupervisedConfig(), torch.ones(5)))
    config = TrainConfig(average_decay=average_decay)
    return Trainee("test", Tempered(), loss, Partition(), config, Runtime("fp32", "nchw"))


@torch.no_grad()
def test_the_average_follows_weights_and_statistics_and_takes_settings_as_they_are():
    trainee = make_trainee(DECAY)
    network, average = trainee.network, trainee.kept
    assert average is not network
    before = average.learned.weight.clone()
    network.learned.weight.add_(1)
    network.norm.running_mean.fill_(1)
    network.temperature.fill_(0.1)
    trainee.follow(10_000)  # the warm-up of the decay is over
    torch.testing.assert_close(average.learned.weight, before + (1 - DECAY))
    torch.testing.assert_close(average.norm.running_mean, torch.full((2,), 1 - DECAY))
    assert average.temperature.item() == pytest.approx(0.1)


def test_without_an_average_the_network_itself_is_kept():
    trainee = make_trainee(None)
    trainee.follow(1)
    assert trainee.kept is trainee.network
    assert set(trainee.networks) == {"network", "objective"}
