"""Consistency between two passes: its limits, the single pass of the teacher, and the counting of disagreement."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fibrokd.data.prepared import Prepared
from fibrokd.errors import TrainingError
from fibrokd.methods.cons_kd import METHOD, ConsistentKd, ConsKdConfig, Disagreement, symmetric_kl
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.pipeline import distill
from fibrokd.training.companion import EpochEnd
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.dropout import ensure_dropout
from fibrokd.training.findings import Validation
from fibrokd.training.networks import build
from fibrokd.training.runtime import Runtime
from fibrokd.training.signals import TeacherSignal
from tests.methods.coefficients import SHARED, VANILLA, Weighed
from tests.methods.losses import START, SUPERVISED, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, online, workshop
from tests.training.test_objective import K, make_batch, value

WEIGHED = Weighed({**SHARED, "beta": 0.4}, {"train": {**VANILLA, "consistency": 0.4}})

CPU = torch.device("cpu")


def _terms(config, first, second, teacher, batch):
    return terms_of(ConsistentKd(config, SUPERVISED), torch.cat([first, second]), teacher, batch)


def _kd(config, logits, teacher, batch):
    vanilla = VanillaKd(KdConfig(alpha=config.alpha, kd_temperature=config.kd_temperature), SUPERVISED)
    return loss_of(terms_of(vanilla, logits, teacher, batch))


@pytest.fixture
def passes():
    random = torch.Generator().manual_seed(3)
    return torch.randn(8, K, generator=random), torch.randn(8, K, generator=random)


def test_two_equal_passes_are_vanilla_distillation(passes, teacher):
    terms = _terms(ConsKdConfig(), passes[0], passes[0], teacher, make_batch())
    assert value(terms["consistency"]).item() == 0
    assert torch.allclose(loss_of(terms), _kd(ConsKdConfig(), passes[0], teacher, make_batch()), atol=1e-6)


def test_without_beta_it_is_the_mean_of_two_distillation_losses(passes, teacher):
    config, batch = ConsKdConfig(beta=0.0), make_batch()
    wanted = sum(_kd(config, z, teacher, batch) for z in passes) / 2
    assert torch.allclose(loss_of(_terms(config, *passes, teacher, batch)), wanted, atol=1e-6)


def test_the_order_of_the_passes_is_of_no_account(passes, teacher):
    batch = make_batch()
    first, second = (loss_of(_terms(ConsKdConfig(), *order, teacher, batch)) for order in (passes, passes[::-1]))
    assert torch.allclose(first, second)


def test_the_consistency_is_what_loops_say(passes):
    p, q = (z.double().softmax(1) for z in passes)
    wanted = [
        sum((a * (a / b).log() + b * (b / a).log()).item() for a, b in zip(p[i], q[i], strict=True)) / 2
        for i in range(8)
    ]
    assert torch.allclose(symmetric_kl(*passes).double(), torch.tensor(wanted, dtype=torch.float64), atol=1e-6)


def test_gradients_reach_both_passes_and_not_the_teacher(passes, teacher):
    first, second = (z.clone().requires_grad_() for z in passes)
    known = teacher.requires_grad_()
    config = ConsKdConfig(alpha=0.0, beta=1.0)
    terms = _terms(config, first, second, known.detach(), make_batch())
    value(terms["consistency"]).backward()
    assert first.grad.abs().min(1).values.max() > 0
    assert second.grad.abs().min(1).values.max() > 0
    assert known.grad is None


def test_extreme_answers_stay_finite(passes, teacher):
    first, second = ((1e4 * z).bfloat16().requires_grad_() for z in passes)
    loss = loss_of(_terms(ConsKdConfig(), first, second, 1e4 * teacher, make_batch()))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(z.grad).all() and z.grad.any() for z in (first, second))


class Masks(torch.nn.Module):
    """Dropout by masks that are known beforehand, one after the other."""

    def __init__(self, *told):
        super().__init__()
        self.told = list(told)

    def forward(self, pooled):
        return pooled * self.told.pop(0)


def test_a_saved_pass_leaves_the_loss_and_the_gradients_of_a_batch_that_is_shown_twice(monkeypatch):
    saved, shown = (build("tiny", K, False, None, 0).train() for _ in range(2))
    for network in (saved, shown):
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # timm starts residual branches at 0, without gradients
                torch.nn.init.ones_(module.weight)
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    batch, signal = dataclasses.replace(make_batch(2), images=images), TeacherSignal(torch.randn(2, K))
    objective = ConsistentKd(ConsKdConfig(), SUPERVISED)

    width = saved.body.get_classifier().in_features
    masks = (torch.rand(4, width, generator=torch.Generator().manual_seed(2)) > 0.4).float()
    saved.dropout, shown.dropout = Masks(*masks.chunk(2)), Masks(masks)
    asked = objective.ask(saved, batch)
    monkeypatch.setattr("fibrokd.methods.cons_kd.only_classifier_is_noisy", lambda network: False)
    wanted = objective.ask(shown, batch)
    assert not torch.allclose(*asked.logits.chunk(2))
    assert torch.allclose(asked.logits, wanted.logits, atol=1e-5)
    assert torch.allclose(asked.pooled, wanted.pooled, atol=1e-5)
    for network, outputs in ((saved, asked), (shown, wanted)):
        loss_of(objective(outputs, signal, batch, START)).backward()
        assert all(p.grad is not None and p.grad.any() for p in network.parameters())
    for own, other in zip(saved.parameters(), shown.parameters(), strict=True):
        # Gradients are sums over places in another order: of numbers near 2, one near 0 differs by what 2 would.
        assert torch.allclose(own.grad, other.grad, rtol=1e-3, atol=1e-4 * float(other.grad.abs().max()))


def test_the_body_is_asked_once_where_both_passes_would_be_equal_up_to_the_classifier():
    seen = []
    for backbone, taps in (("mobilenetv3_small", ()), ("mobilenetv3_small", ("s32",)), ("efficientnet_b0", ())):
        network = build(backbone, K, False, None, 0).train()
        ensure_dropout(network, 0.2, taps)
        network.body.get_submodule("conv_stem").register_forward_hook(lambda m, args, out: seen.append(len(out)))
        batch = dataclasses.replace(make_batch(2), images=torch.rand(2, 1, 32, 32))
        assert len(ConsistentKd(ConsKdConfig(), SUPERVISED).ask(network, batch).logits) == 4
    assert seen == [2, 4, 4]


class Wrapped(torch.nn.Module):
    """What several processes make of a network."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, images, taps=()):
        return self.module(images, taps)


def test_a_network_of_several_processes_is_shown_every_image_twice():
    network = build("tiny", K, False, None, 0).train()
    batch = dataclasses.replace(make_batch(4), images=torch.rand(4, 1, 32, 32))
    objective = ConsistentKd(ConsKdConfig(), SUPERVISED)
    asked, whole = objective.ask(network, batch), objective.ask(Wrapped(network), batch)
    assert torch.allclose(asked.logits, whole.logits, atol=1e-5)
    assert len(whole.pooled) == len(asked.pooled) == 8


def test_a_saved_pass_leaves_the_running_statistics_of_the_batch_itself():
    plain, asked = (build("tiny", K, False, None, 0).train() for _ in range(2))
    batch = dataclasses.replace(make_batch(4), images=torch.rand(4, 1, 32, 32))
    plain(batch.images)
    ConsistentKd(ConsKdConfig(), SUPERVISED).ask(asked, batch)
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), asked.buffers(), strict=True))


def test_batch_norm_sees_the_statistics_of_the_batch_itself_although_every_image_comes_twice():
    once, twice = (build("tiny", K, False, None, 0).train() for _ in range(2))
    ensure_dropout(twice, 1e-9, ("s32",))  # noise within the body, too little of it to be seen
    batch = dataclasses.replace(make_batch(4), images=torch.rand(4, 1, 32, 32))
    single, both = once(batch.images).logits, ConsistentKd(ConsKdConfig(), SUPERVISED).ask(twice, batch).logits
    assert torch.allclose(both, torch.cat([single, single]), atol=1e-5)
    norms = [[m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)] for network in (once, twice)]
    values = 4 * 16 * 16  # of a channel after the stem, which halves 32 pixels
    first, second = norms[0][0], norms[1][0]
    assert torch.allclose(first.running_mean, second.running_mean, atol=1e-6)
    own, doubled = ((norm.running_var - 0.9) / 0.1 for norm in (first, second))  # of this one batch, unbiased
    assert torch.allclose(own * (values - 1) / values, doubled * (2 * values - 1) / (2 * values), rtol=1e-3)


@pytest.mark.parametrize("backbone", ["tiny", "mobilenetv3_small"])
def test_the_student_answers_twice_and_the_teacher_once(backbone):
    network = build(backbone, K, False, None, 0).train()
    with torch.no_grad():
        network.body.get_classifier().weight.mul_(50)
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = dataclasses.replace(make_batch(4), images=images)
    teacher = online(1)
    objective = ConsistentKd(ConsKdConfig(), SUPERVISED)
    outputs = objective.ask(network, batch)
    terms = objective(outputs, teacher.signal(batch, objective.needs), batch, START)
    assert outputs.logits.shape == (8, K)
    assert teacher.forwards == 4
    # Without dropout both passes agree although batch norm looks at the batch; with it they do not.
    agreed = value(terms["consistency"]).item() < 1e-9
    assert agreed == (backbone == "tiny")


def test_stochastic_depth_alone_makes_the_passes_differ():
    network = build("efficientnet_b0", K, False, None, 0).train()
    network.dropout.p = 0.0
    batch = dataclasses.replace(make_batch(2), images=torch.rand(2, 1, 32, 32))
    first, second = ConsistentKd(ConsKdConfig(), SUPERVISED).ask(network, batch).logits.chunk(2)
    assert not torch.equal(first, second)


def test_disagreement_is_counted_without_a_trace(prepared):
    images = TrainingImages.of(Prepared.open(prepared), distill.ViewSpec())
    network = build("tiny", K, False, None, 0).train()
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    end = EpochEnd(network, network, optimizer, images, 1, 3, True, Runtime("fp32", "nchw"), CPU)
    assert Disagreement(16, 8, 0).after_epoch(end) == {"dropout_disagreement": 0.0}
    ensure_dropout(network, 0.9, ("s16", "s32"))
    counted = Disagreement(16, 8, 0).after_epoch(end)
    assert counted == Disagreement(16, 8, 0).after_epoch(end)
    assert counted["dropout_disagreement"] > 0
    assert Disagreement(0, 8, 0).after_epoch(end) == {}
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training


def test_the_card_says_how_far_inference_is_from_training(prepared):
    validation = Validation(Prepared.open(prepared), Runtime("fp32", "nchw"), CPU)
    network = build("tiny", K, False, None, 0).eval()
    said = [Disagreement(0, 8, 0).report(network, validation)["validation"]]
    for rate in (0.2, 0.8):
        ensure_dropout(network, rate, ("s16", "s32"))
        said.append(Disagreement(0, 8, 0).report(network, validation)["validation"])
    assert said[0] == {
        "passes": 16,
        "dropout_disagreement": 0.0,
        "dropout_divergence": pytest.approx(0.0, abs=1e-9),
    }
    assert 0 < said[1]["dropout_divergence"] < said[2]["dropout_divergence"]
    plain, told = validation.probabilities(network), validation.noisy_probabilities(network, 16)
    by_hand = [
        sum(p * math.log(p / q) for p, q in zip(plain[i], noisy[i], strict=True))
        for noisy in told
        for i in range(len(plain))
    ]
    assert said[2]["dropout_divergence"] == pytest.approx(np.mean(by_hand))
    assert said[2]["dropout_disagreement"] == np.mean([noisy.argmax(1) != plain.argmax(1) for noisy in told])


def test_without_a_teacher_it_says_what_is_missing(passes):
    both = torch.cat(passes)
    with pytest.raises(TrainingError, match="Expected a teacher"):
        terms_of(ConsistentKd(ConsKdConfig(), SUPERVISED), both, None)


@pytest.mark.parametrize("wrong", [{"beta": -1.0}, {"dropout": 1.0}, {"taps": ("s1",)}, {"alpha": 2.0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        ConsKdConfig(**wrong)


def test_a_run_resumes_exactly_and_exports_the_plain_backbone(prepared, taught, tmp_path):
    method = {"kind": "cons_kd", "taps": ["s16"]}
    config = configuration(prepared, method, teacher=str(taught))
    folder = check_exact_resume(config, tmp_path, cuts=(2,))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(line["terms"]["consistency"] > 0 for line in lines)
    assert all(0 <= line["dropout_disagreement"] <= 1 for line in lines)


def test_its_student_has_the_dropout_that_was_asked_for(prepared):
    data = Prepared.open(prepared)
    config = configuration(prepared, {"kind": "cons_kd", "dropout": 0.3})
    teacher = online(1)
    phase = next(METHOD.plan(config.method, workshop(data, config, [teacher])))
    assert phase.network.dropout.p == 0.3
