"""Evidence of cells: what it is for linear heads, that it is what the network says, and that no backbone's is blank."""

import numpy as np
import pytest
import torch

from fibrokd.training.evidence import cell_evidence, embed, look
from fibrokd.training.networks import BACKBONES, StagingNetwork, build
from fibrokd.training.prediction import predict
from fibrokd.training.restriction import answering
from fibrokd.training.runtime import Runtime
from fibrokd.training.tree import TreeStudent

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8)


def decided(backbone):
    """Return a network whose head is not near zero."""
    network = build(backbone, 5, pretrained=False, weights=None, seed=0).eval()
    torch.nn.init.normal_(network.body.get_classifier().weight, generator=torch.Generator().manual_seed(1))
    return network


def tree():
    torch.manual_seed(0)
    found = TreeStudent(StagingNetwork("tiny", 5), "s8", (3, 2), leaf_width=8, leaf_dropout=0.0)
    found.harden()
    return found.deployed().eval()


def test_of_a_linear_head_it_is_the_class_activation_map_less_its_mean():
    network = decided("tiny")
    with torch.inference_mode():
        features = network.features(torch.from_numpy(PIXELS[:, None] / np.float32(255)))
        found = cell_evidence(network, features)
        weight = network.body.get_classifier().weight
        maps = torch.einsum("kc,nchw->nkhw", weight, features)
    expected = (maps - maps.mean((2, 3), keepdim=True)) / (maps[0, 0].numel() - 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert float(found.sum((2, 3)).abs().max()) < 1e-4 * float(found.abs().sum((2, 3)).min())


@pytest.mark.parametrize("network", [decided("mobilenetv3_small"), tree()], ids=["mobilenetv3_small", "tree"])
def test_a_cell_is_left_out_by_giving_it_the_mean_of_all_others(network):
    with torch.inference_mode():
        features = network.features(torch.from_numpy(PIXELS[:1, None] / np.float32(255)))
        found = cell_evidence(network, features)
        changed = features.clone()
        others = [
            features[0, :, row, column]
            for row in range(features.shape[2])
            for column in range(features.shape[3])
            if (row, column) != (1, 2)
        ]
        changed[0, :, 1, 2] = torch.stack(others).mean(0)
        fall = network.from_features(features).logits - network.from_features(changed).logits
    torch.testing.assert_close(found[0, :, 1, 2], fall[0], rtol=1e-3, atol=1e-4 * float(found.abs().max()))


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name != "resnet50"])
def test_no_backbone_gives_a_blank_map(backbone):
    evidence = look(decided(backbone), PIXELS[:1]).evidence[0]
    assert evidence.shape == (5, 3, 3)
    assert (evidence.std(axis=(1, 2)) > 1e-2 * np.abs(evidence).max()).all()


def test_other_weights_of_the_head_give_another_map():
    """Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018: a map must depend on what was learned."""
    network = decided("tiny")
    before = look(network, PIXELS[:1]).evidence.ravel()
    torch.nn.init.normal_(network.body.get_classifier().weight, generator=torch.Generator().manual_seed(2))
    after = look(network, PIXELS[:1]).evidence.ravel()
    assert abs(float(np.corrcoef(before, after)[0, 1])) < 0.9


def test_the_answer_is_that_of_an_ordinary_pass_bit_for_bit_and_vectors_are_those_of_its_head():
    network = decided("mobilenetv3_small")
    seen = look(network, PIXELS, batch_size=2)
    answered = predict(network, PIXELS, Runtime("fp32", "nchw"), torch.device("cpu"), batch_size=2)
    np.testing.assert_array_equal(seen.logits, answered)
    np.testing.assert_array_equal(seen.pooled, embed(network, PIXELS, batch_size=2))
    with torch.inference_mode():
        np.testing.assert_allclose(network.classify(torch.from_numpy(seen.pooled)).numpy(), seen.logits, atol=1e-6)


def test_a_network_of_fewer_stages_has_the_maps_of_those():
    network = decided("tiny")
    some = answering(network, ("a", "b", "c", "d", "e"), ("b", "e"))
    np.testing.assert_allclose(look(some, PIXELS).evidence, look(network, PIXELS).evidence[:, [1, 4]], rtol=1e-6)


def test_a_map_of_one_cell_says_nothing_about_where():
    seen = look(decided("tiny"), PIXELS[:, :32, :32])
    assert seen.evidence.shape == (3, 5, 1, 1)
    assert not seen.evidence.any()
