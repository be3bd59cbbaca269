"""Grafting: where networks are cut, what a grafted network answers, and that no adapter is ever deployed."""

import copy

import pytest
import torch
from torch import nn

from fibrokd.errors import ConfigError
from fibrokd.training import grafting
from fibrokd.training.grafting import BLOCKS, Grafted, check_foldable, cut
from fibrokd.training.networks import BACKBONES, StagingNetwork, build
from fibrokd.training.parameters import Partition

IMAGES = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))


def _live(network):
    """Give a network batch statistics as after training, so that nothing cancels by chance."""
    random = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=random)
            module.running_var.uniform_(0.5, 1.5, generator=random)
            module.weight.data.uniform_(0.5, 1.5, generator=random)  # residual branches begin with 0
    with torch.no_grad():
        network.body.get_classifier().weight.mul_(20)
    return network.eval()


@pytest.fixture
def host():
    return _live(build("tiny", 5, False, None, 1))


@pytest.fixture
def grafted(host):
    return Grafted(host, _live(build("mobilenetv3_small", 5, False, None, 2)), 0).eval()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_is_cut_where_the_resolution_changes(backbone):
    network = build(backbone, 5, False, None, 0).eval()
    found, x = cut(network), torch.rand(1, 3, 64, 64)
    whole = network.body.forward_features(x)
    for block, reduction in zip(range(1, BLOCKS + 1), (4, 8, 16, 32), strict=True):
        x = found.run(network, block, x)
        assert x.shape[2] == 64 // reduction
        assert x.shape[1] == found.channels[block - 1]
    assert torch.allclose(x, whole)
    names = {name for name, _ in network.body.named_parameters()}
    parts = [{n for n in names if n.startswith(tuple(f"{p}." for p in found.names(j)))} for j in range(1, BLOCKS + 1)]
    assert set().union(*parts) == names
    assert sum(len(part) for part in parts) == len(names)


def test_with_nothing_grafted_it_is_the_host(grafted, host):
    with torch.no_grad():
        assert torch.equal(grafted(IMAGES).logits, host(IMAGES).logits)


@pytest.mark.parametrize(("first", "last"), [(1, 1), (2, 2), (4, 4), (1, 3), (1, 4)])
def test_the_hosts_own_blocks_behind_identity_adapters_change_nothing(host, first, last):
    grafted = Grafted(host, copy.deepcopy(host), 0).eval()
    for adapter in grafted.adapters.values():
        nn.init.dirac_(adapter.weight)
    grafted.graft(first, last)
    with torch.no_grad():
        assert torch.allclose(grafted(IMAGES).logits, host(IMAGES).logits, atol=1e-6)


@pytest.mark.parametrize(("first", "last"), [(1, 1), (3, 3), (4, 4), (1, 2), (1, 4)])
def test_a_step_changes_the_declared_parts_and_nothing_else(grafted, host, first, last):
    grafted.graft(first, last)
    partition = Partition(grafted.trained())
    partition.freeze(grafted)
    grafted.train()
    partition.set_modes(grafted)
    before, untouched = copy.deepcopy(grafted.state_dict()), copy.deepcopy(host.state_dict())
    trained = [p for p in grafted.parameters() if p.requires_grad]
    grafted(torch.rand(4, 1, 64, 64)).logits.square().sum().backward()
    with torch.no_grad():
        for parameter in trained:
            assert parameter.grad is not None
            parameter -= 1e-3 * parameter.grad.sign() + 1e-6
    after = grafted.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    parts = tuple(f"student.body.{n}." for j in range(first, last + 1) for n in grafted.own_cut.names(j))
    inside = {f"adapters.t2s_{j}.weight" for j in range(max(2, first), last + 1)}
    inside |= {f"adapters.s2t_{j}.weight" for j in range(first, min(3, last) + 1)}
    inside |= {f"exits.s2t_{last}.bias"} if last < BLOCKS else set()
    inside |= {name for name in after if name.startswith(parts)}
    assert changed == inside
    assert all(torch.equal(value, untouched[name]) for name, value in host.state_dict().items())


def test_the_host_is_neither_stored_nor_copied_nor_trained(grafted, host):
    assert all(name.startswith(("student.", "adapters.", "exits.")) for name in grafted.state_dict())
    assert copy.deepcopy(grafted).host is host
    grafted.train()
    assert not host.training


@pytest.mark.parametrize("backbone", BACKBONES)
def test_adapters_fold_into_the_stock_architecture(host, backbone):
    student = _live(build(backbone, 5, False, None, 2))
    grafted = Grafted(host, student, 3).double().eval()
    check_foldable(grafted)
    grafted.graft(1, BLOCKS)
    before = copy.deepcopy(grafted.state_dict())
    folded = grafted.folded()
    assert type(folded) is StagingNetwork
    assert {n: p.shape for n, p in folded.named_parameters()} == {n: p.shape for n, p in student.named_parameters()}
    with torch.no_grad():
        wanted, found = grafted(IMAGES.double()).logits, folded(IMAGES.double()).logits
    assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(student(IMAGES.double()).logits, wanted, atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in grafted.state_dict().items())


def test_a_student_that_cannot_absorb_adapters_is_refused(host):
    student = build("tiny", 5, False, None, 0)
    student.body.layer3[0].downsample = None  # an identity skip reads the block's input
    grafted = Grafted(host, build("tiny", 5, False, None, 0), 0)
    grafted.student = student
    with pytest.raises(ConfigError, match="identity skip"):
        grafted.folded()


def test_a_fold_that_leaves_a_branch_out_is_noticed_before_anything_is_trained(host, monkeypatch):
    student = build("resnet18", 5, False, None, 0)  # its branches end in batch norms of zeros
    grafted, readers = Grafted(host, student, 0), grafting._readers
    check_foldable(grafted)
    monkeypatch.setattr(grafting, "_readers", lambda *arguments: readers(*arguments)[1:])  # the shortcut alone
    with pytest.raises(ConfigError, match="adapters could not be removed"):
        check_foldable(grafted)


def test_a_network_whose_parts_do_not_follow_one_another_is_refused():
    network = build("tiny", 5, False, None, 0)
    forward = network.body.forward_features
    network.body.forward_features = lambda x: forward(x) + 1
    with pytest.raises(ConfigError, match="one after the other"):
        cut(network)


def test_adapters_are_the_same_for_the_same_seed_and_leave_the_global_seed_alone(host):
    student = build("tiny", 5, False, None, 0)
    torch.manual_seed(7)
    first = Grafted(host, student, 0).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(1), drawn)
    again, other = Grafted(host, student, 0).state_dict(), Grafted(host, student, 1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["adapters.s2t_1.weight"], other["adapters.s2t_1.weight"])
