"""Dropout without modules: fixed masks, live and from a book, and noise that a deployed network does not have."""

import copy
import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from fibrokd.errors import ConfigError
from fibrokd.training.dropout import (
    Thinning,
    ensure_dropout,
    noisy,
    only_classifier_is_noisy,
    passes,
    thinned_answers,
)
from fibrokd.training.networks import BACKBONES, build
from fibrokd.training.runtime import Runtime
from fibrokd.training.signals import LOGITS, POOLED, UNCERTAINTY
from fibrokd.training.teachers import LiveTeacher
from tests.training.test_objective import K, make_batch

NEEDS = frozenset({LOGITS, UNCERTAINTY})


@pytest.fixture
def images():
    return torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def _network(backbone="tiny", sharp=30.0):
    network = build(backbone, K, False, None, 0)
    with torch.no_grad():
        network.body.get_classifier().weight.mul_(sharp)
    return network.eval()


def _teacher(thinning, backbone="tiny"):
    return LiveTeacher(_network(backbone), Runtime("fp32", "nchw"), torch.device("cpu"), thinning)


def _batch(images):
    batch = make_batch(len(images))
    return type(batch)(images, *[getattr(batch, n) for n in ("stages", "partner_stages", "lam", "index")],
                       batch.partner_index, 0)  # fmt: skip


def test_the_answers_of_a_mask_do_not_depend_on_the_batch_or_on_when_it_is_asked(images):
    network, thinning = _network(), Thinning(masks=3)
    whole = thinned_answers(network, images, thinning)
    torch.manual_seed(99)
    one = thinned_answers(network, images[2:3], thinning)
    assert passes(network, thinning) == 3
    assert torch.allclose(whole[:, 2:3], one, atol=1e-6)
    assert (whole[0] - whole[1]).abs().max() > 1e-3
    other = thinned_answers(network, images, Thinning(masks=3, seed=1))
    assert (whole - other).abs().max() > 1e-3


def test_more_masks_continue_those_there_are(images):
    few = thinned_answers(_network(), images, Thinning(masks=2))
    more = thinned_answers(_network(), images, Thinning(masks=4))
    assert torch.allclose(few, more[:2], atol=1e-6)


def test_a_network_whose_only_noise_is_at_its_classifier_is_passed_through_once(images):
    network = _network("mobilenetv3_small")
    with torch.no_grad():
        answers = thinned_answers(network, images, Thinning(masks=5))
        pooled = network(images).pooled
        head = network.body.get_classifier()
    assert passes(network, Thinning(masks=5)) == 1
    assert not torch.allclose(answers[0], answers[1])
    # Every answer is that of some share of the pooled values, raised by 1 / 0.8.
    assert torch.allclose(answers.mean(0), head(pooled).softmax(1), atol=0.2)


def test_stochastic_depth_is_noise_and_a_network_with_noise_of_its_own_gets_no_other(images):
    network = _network("efficientnet_b0", sharp=1.0)
    with torch.no_grad():
        answers = thinned_answers(network, images[:1], Thinning(masks=2, dropout=0.5))
        network.dropout.p = 0.0  # what is left is stochastic depth
        paths = thinned_answers(network, images[:1], Thinning(masks=2, dropout=0.5))
    assert passes(network, Thinning(masks=2)) == 2
    assert not torch.equal(answers[0], answers[1])
    assert not torch.equal(paths[0], paths[1])


def test_nothing_of_it_stays_in_the_network(images):
    network = _network()
    before, names = {k: v.clone() for k, v in network.state_dict().items()}, list(network.state_dict())
    with torch.no_grad():
        plain = network(images).logits
        thinned_answers(network, images, Thinning(masks=2))
        assert torch.equal(network(images).logits, plain)
    assert list(network.state_dict()) == names
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_uncertainty_is_entropy_split_in_two(images):
    thinning = Thinning(masks=4)
    signal = _teacher(thinning).signal(_batch(images), NEEDS)
    answers = thinned_answers(_network(), images, thinning)
    for k in range(len(images)):
        single = [sum(-p * math.log(p) for p in answers[s, k].tolist()) for s in range(4)]
        mean = answers[:, k].double().mean(0).tolist()
        total = sum(-p * math.log(p) for p in mean)
        assert signal.uncertainty.aleatoric[k].item() == pytest.approx(sum(single) / 4, abs=1e-5)
        assert signal.uncertainty.epistemic[k].item() == pytest.approx(total - sum(single) / 4, abs=1e-5)
    assert torch.allclose(signal.logits.exp(), answers.mean(0), atol=1e-6)
    assert signal.uncertainty.epistemic.min() > 0


@pytest.mark.parametrize("thinning", [Thinning(masks=1), Thinning(masks=6, dropout=0.0)])
def test_one_mask_or_no_noise_leaves_no_epistemic_uncertainty(images, thinning):
    signal = _teacher(thinning).signal(_batch(images), NEEDS)
    assert torch.allclose(signal.uncertainty.epistemic, torch.zeros(4), atol=1e-6)
    assert signal.uncertainty.aleatoric.min() > 0


def test_what_else_is_asked_for_is_that_of_the_whole_network(images):
    teacher = _teacher(Thinning(masks=3))
    signal = teacher.signal(_batch(images), NEEDS | {POOLED, "gaps:s8"})
    assert teacher.forwards == 4 * len(images)
    with torch.no_grad():
        outputs = teacher.network(images, ("s8",))
    assert torch.equal(signal.pooled, outputs.pooled)
    assert torch.allclose(signal.gaps["s8"], outputs.maps["s8"].mean((2, 3)))


def test_batch_norm_is_untouched_by_masks_and_by_noise(images):
    network = _network("efficientnet_b0").train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    LiveTeacher(network, Runtime("fp32", "nchw"), torch.device("cpu"), Thinning(masks=2)).signal(_batch(images), NEEDS)
    with noisy(network), torch.no_grad():
        assert not torch.equal(network(images).logits, network(images).logits)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("taps", [(), ("s16",)])
def test_where_only_the_classifier_is_said_to_be_noisy_what_comes_before_it_is_the_same_twice(images, backbone, taps):
    network = build(backbone, K, False, None, 0).train()
    ensure_dropout(network, 0.5, taps)
    with torch.no_grad():
        pooled = [network(images[:2]).pooled for _ in range(2)]
    assert only_classifier_is_noisy(network) is torch.equal(*pooled)
    assert only_classifier_is_noisy(nn.Sequential(network)) is False


def test_dropout_acts_while_training_only_and_changes_no_name(images):
    plain, network = _network(), _network()
    ensure_dropout(network, 0.4, ("s16", "s32"))
    assert list(network.state_dict()) == list(plain.state_dict())
    copied = copy.deepcopy(network)
    with torch.no_grad():
        assert torch.equal(network(images).logits, plain(images).logits)
        assert torch.equal(network(images, ("s16",)).maps["s16"], plain(images, ("s16",)).maps["s16"])
        with noisy(copied):
            dropped = copied(images, ("s32",)).maps["s32"]
    whole = plain(images, ("s32",)).maps["s32"]
    empty = (dropped == 0).all(dim=(2, 3)) & (whole != 0).any(3).any(2)
    assert 0.1 < empty.float().mean() < 0.9  # whole channels, not single values


def test_a_rate_of_its_own_is_kept_and_a_rate_of_zero_changes_nothing(images):
    network = _network("mobilenetv3_small")
    ensure_dropout(network, 0.5)
    assert network.dropout.p == pytest.approx(0.2)
    quiet = _network()
    ensure_dropout(quiet, 0.0, ("s16",))
    with noisy(quiet), torch.no_grad():
        assert torch.equal(quiet(images).logits, quiet(images).logits)


def test_modes_come_back_as_they_were():
    network = _network().train()
    network.body.layer1.eval()
    modes = [module.training for module in network.modules()]
    with noisy(network):
        assert not network.body.layer2.training
        assert network.dropout.training
    assert [module.training for module in network.modules()] == modes


def test_dropout_is_not_put_into_a_network_whose_taps_are_unknown(images):
    class Other(nn.Module):
        pass

    with pytest.raises(ConfigError, match="plain backbone"):
        thinned_answers(Other(), images, Thinning())


@pytest.mark.parametrize("wrong", [{"masks": 0}, {"dropout": 1.0}, {"taps": ("s3",)}, {"taps": ("s8", "s8")}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        Thinning(**wrong)
