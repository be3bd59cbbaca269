"""Networks: published sizes, normalisation inside, taps, weights in and out."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from fibrokd.errors import ConfigError, WeightsError
from fibrokd.training import networks
from fibrokd.training.networks import (
    BACKBONES,
    TAPS,
    StagingNetwork,
    build,
    load_network,
    parameter_count,
    save_network,
)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_its_published_size_and_answers(name):
    network = build(name, 5, False, None, 0).eval()
    assert parameter_count(network) == BACKBONES[name].parameters
    with torch.inference_mode():
        answer = network(torch.rand(2, 1, 64, 64), taps=("s8", "s16"))
    assert answer.logits.shape == (2, 5)
    assert answer.pooled.shape == (2, network.body.get_classifier().in_features)
    assert {tap: m.shape[-1] for tap, m in answer.maps.items()} == {tap: 64 // TAPS[tap] for tap in ("s8", "s16")}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_starts_undecided(name):
    network = build(name, 5, False, None, 0).train()
    torch.manual_seed(0)  # of the images, dropout and stochastic depth
    probabilities = network(torch.rand(8, 1, 64, 64)).logits.softmax(1)
    assert (probabilities - 0.2).abs().max() < 0.1


def test_the_weights_that_are_loaded_are_named(monkeypatch):
    asked = []

    def create(name, pretrained, **rest):
        asked.append((name, pretrained))
        return original(name, pretrained=False, **rest)

    original = networks.timm.create_model
    monkeypatch.setattr(networks.timm, "create_model", create)
    StagingNetwork("mobilenetv3_small", 5, pretrained=True)
    assert asked == [("mobilenetv3_small_100.lamb_in1k", True)]
    assert all(
        timm.get_pretrained_cfg(f"{row.timm_name}.{row.tag}").tag == row.tag for row in BACKBONES.values() if row.tag
    )


def test_weights_and_training_from_scratch_exclude_each_other(tmp_path):
    with pytest.raises(ConfigError, match="pretrained: false"):
        build("tiny", 5, False, tmp_path / "weights.safetensors", 0)


def test_the_logits_are_the_classifier_applied_to_the_pooled_vector():
    network = build("mobilenetv3_small", 5, False, None, 0).eval()
    answer = network(torch.rand(2, 1, 64, 64))
    assert torch.allclose(answer.logits, network.body.get_classifier()(answer.pooled), atol=1e-6)


def test_asking_for_taps_does_not_change_the_answer():
    network = build("resnet18", 5, False, None, 0).eval()
    image = torch.rand(1, 1, 64, 64)
    assert torch.allclose(network(image).logits, network(image, taps=("s4", "s32")).logits, atol=1e-5)


def test_normalisation_is_inside_the_network():
    network = build("tiny", 5, False, None, 0).eval()
    image = torch.rand(1, 1, 32, 32)
    colour = (image.expand(-1, 3, -1, -1) - network.mean) / network.std
    assert torch.allclose(network(image).logits, network.body(colour), atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second, other = (build("tiny", 5, False, None, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_a_saved_network_answers_the_same(tmp_path):
    network = build("tiny", 5, False, None, 0).eval()
    save_network(tmp_path, network, "tiny", {"stages": ["F0", "F1", "F2", "F3", "F4"]})
    image = torch.rand(2, 1, 32, 32)
    assert torch.equal(load_network(tmp_path)(image).logits, network(image).logits)


def test_weights_of_another_network_are_refused(tmp_path):
    save_network(tmp_path, build("tiny", 5, False, None, 0), "tiny", {"stages": ["F0", "F1", "F2", "F3", "F4"]})
    text = (tmp_path / "card.json").read_text().replace("tiny", "resnet18")
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(WeightsError, match="does not hold a resnet18"):
        load_network(tmp_path)


def test_an_unknown_backbone_names_the_known_ones():
    with pytest.raises(ConfigError, match="mobilenetv3_small"):
        StagingNetwork("vgg", 5)


def test_local_imagenet_weights_fill_everything_but_the_classifier(tmp_path):
    thousand = build("tiny", 1000, False, None, 3)
    save_file(thousand.body.state_dict(), tmp_path / "weights.safetensors")
    network = build("tiny", 5, True, tmp_path / "weights.safetensors", 0)
    own, source = network.body.state_dict(), thousand.body.state_dict()
    shared = [k for k in own if own[k].shape == source[k].shape]
    assert len(shared) == len(own) - 2
    assert all(torch.equal(own[k], source[k]) for k in shared)


def test_local_weights_of_another_architecture_are_refused(tmp_path):
    save_file(build("tiny", 5, False, None, 0).body.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="lacks"):
        build("resnet18", 5, True, tmp_path / "weights.safetensors", 0)


def test_a_missing_weights_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"nothing\.safetensors"):
        build("tiny", 5, True, tmp_path / "nothing.safetensors", 0)


def test_an_unreachable_hub_names_both_ways_out(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", offline, raising=False)
    with pytest.raises(WeightsError) as error:
        build("resnet18", 5, True, None, 0)
    assert "weights: PATH" in error.value.todo
    assert "pretrained: false" in error.value.todo
