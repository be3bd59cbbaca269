"""Teacher-free self-distillation: what teaches is the first phase's best network, and the second starts afresh."""

import json

import pytest
import torch
from safetensors.torch import load_file

from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError
from fibrokd.methods.tf_kd_self import METHOD, TfKdSelfConfig
from fibrokd.pipeline import distill
from fibrokd.training.carry_out import PHASES, carry_out
from fibrokd.training.objective import Moment
from fibrokd.training.soft_labels import SoftLabels
from tests.methods.coefficients import ALONE, LABELS, SHARED, SOFT, Weighed
from tests.methods.tiny import check_exact_resume, configuration, shipped, weights, workshop
from tests.training.test_objective import value

WEIGHED = Weighed(
    {**SHARED, "scale": "released", "multiplier": 20.0},
    {"alone": ALONE, "self": {"supervised": LABELS, "kd": SOFT * 20 / 100}},
)

KIND = {"kind": "tf_kd_self"}


@pytest.fixture(scope="module")
def finished(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return check_exact_resume(configuration(prepared, KIND), folder, cuts=(2, 3))  # once in either phase


@pytest.fixture(scope="module")
def phases(prepared, tmp_path_factory):
    """What each phase began with: the weights of the trainee and those of its teacher; then those of the end."""
    data = Prepared.open(prepared)
    config = configuration(prepared, KIND)
    folder, seen = tmp_path_factory.mktemp("phases"), []

    def watched():
        for phase in METHOD.plan(config.method, workshop(data, config)):
            teacher = {} if phase.teacher is None else weights(phase.teacher.network)
            seen.append({"start": weights(phase.network), "teacher": teacher})
            yield phase
            seen[-1] |= {"end": weights(phase.network), "source": phase.teacher, "trainee": phase.network}

    carry_out(folder, data, workshop(data, config).images, watched())
    return folder, seen


def test_a_run_cut_in_either_phase_ends_with_the_same_student(finished):
    card = json.loads((finished / "card.json").read_text())
    assert [(p["name"], p["epochs"]) for p in card["phases"]] == [("alone", 3), ("self", 3)]


def test_the_first_phase_is_the_training_of_method_none(finished, prepared, tmp_path):
    distill.run(configuration(prepared, {"kind": "none"}), tmp_path / "none")
    alone = load_file(finished / PHASES / "00_alone/checkpoints/best.safetensors")
    none = load_file(tmp_path / "none/weights.safetensors")
    assert all(torch.equal(alone[name], tensor) for name, tensor in none.items())


def test_what_teaches_is_the_best_network_of_the_first_phase(phases):
    folder, (_, second) = phases
    best = load_file(folder / PHASES / "00_alone/checkpoints/best.safetensors")
    assert all(torch.equal(tensor, best[name]) for name, tensor in second["teacher"].items())


def test_the_second_phase_starts_from_weights_of_its_own(phases):
    _, (first, second) = phases
    for other in (first["start"], second["teacher"]):
        heads = [name for name in other if other[name].ndim > 1]
        assert heads
        assert not any(torch.equal(second["start"][name], other[name]) for name in heads)


def test_the_earlier_self_stays_as_it_was_and_gets_no_gradient(phases):
    _, (_, second) = phases
    source = second["source"].network
    assert all(torch.equal(tensor, second["teacher"][name]) for name, tensor in weights(source).items())
    assert all(parameter.grad is None for parameter in source.parameters())
    assert any(parameter.grad is not None for parameter in second["trainee"].parameters())


def test_identical_weights_teach_nothing(prepared):
    config = configuration(prepared, {**KIND, "alpha": 1.0})
    shop = workshop(Prepared.open(prepared), config)
    network = shop.student().eval()
    batch = next(shop.images.batches(0, 10))
    terms = SoftLabels(config.method, shop.supervised)(
        network(batch.images), shop.frozen(shop.student()).signal(batch), batch, Moment(0, 1)
    )
    (terms["kd"].coefficient * value(terms["kd"])).backward()
    assert max(parameter.grad.abs().max() for parameter in network.parameters()) < 1e-6


def test_a_teacher_beside_it_is_refused(prepared, finished, tmp_path):
    with pytest.raises(ConfigError, match="tf_kd_self"):
        distill.run(configuration(prepared, KIND, teacher=str(finished)), tmp_path)


def test_the_configuration_in_the_repository_is_vanilla_distillation_in_scale():
    config = shipped("tf_kd_self").method
    assert config.soft_weight == pytest.approx(0.6 * 9)
    assert TfKdSelfConfig.model_validate_json(config.model_dump_json()) == config
