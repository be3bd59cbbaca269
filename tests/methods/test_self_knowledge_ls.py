"""Adaptive label smoothing: its limits, its gradient, and a prior that changes only with a better epoch."""

import json
import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError, TrainingError
from fibrokd.methods.self_knowledge_ls import METHOD, AdaptiveSmoothing, SelfKnowledgeConfig, smoothing
from fibrokd.pipeline import distill
from fibrokd.training import loop
from fibrokd.training.carry_out import PHASES, carry_out
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm
from tests.methods.coefficients import Weighed
from tests.methods.losses import WEIGHTS, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, shipped, weights, workshop
from tests.training.test_objective import K, make_batch, value

# Smoothing is in the target; how much of it is only told.
WEIGHED = Weighed({"alpha_cap": 0.5}, {"train": {"supervised": 1.0, "alpha": 0.0}})

KIND = {"kind": "self_knowledge_ls"}
PLAIN = {"label_smoothing": 0}


def _supervised(smoothing=0.0, weights=None):
    return SupervisedTerm(SupervisedConfig(label_smoothing=smoothing), WEIGHTS if weights is None else weights)


def _terms(logits, prior, batch, cap=1.0, supervised=None):
    objective = AdaptiveSmoothing(SelfKnowledgeConfig(alpha_cap=cap), supervised or _supervised())
    return terms_of(objective, logits, prior, batch)


@pytest.fixture
def logits():
    return 2 * torch.randn(8, K, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def prior():
    return 3 * torch.randn(8, K, generator=torch.Generator().manual_seed(4))


def test_a_uniform_student_is_not_smoothed_and_a_certain_one_wholly(prior):
    uniform, certain = torch.full((8, K), 1.3), torch.zeros(8, K)
    certain[:, 2] = 200.0
    assert torch.allclose(smoothing(uniform, 1.0), torch.zeros(8), atol=1e-6)
    assert torch.equal(smoothing(certain, 1.0), torch.ones(8))
    batch = make_batch()
    assert torch.allclose(loss_of(_terms(uniform, prior, batch)), value(_supervised()(uniform, batch)), atol=1e-5)


def test_it_is_what_loops_say(logits, prior):
    batch, total, omegas = make_batch(), 0.0, 0.0
    for k in range(8):
        p, phi = (torch.softmax(z[k].double(), 0).tolist() for z in (logits, prior))
        a, b, lam = int(batch.stages[k]), int(batch.partner_stages[k]), float(batch.lam[k])
        alpha = 1 + sum(x * math.log(x) for x in p) / math.log(K)
        hard = -lam * math.log(p[a]) - (1 - lam) * math.log(p[b])
        soft = -sum(x * math.log(y) for x, y in zip(phi, p, strict=True))
        omega = lam * float(WEIGHTS[a]) + (1 - lam) * float(WEIGHTS[b])
        total, omegas = total + omega * ((1 - alpha) * hard + alpha * soft), omegas + omega
    assert loss_of(_terms(logits, prior, batch)).item() == pytest.approx(total / omegas, rel=1e-4)


def test_with_a_uniform_prior_and_a_constant_amount_it_is_label_smoothing(logits):
    batch, sure, uniform = make_batch(), 10 * logits, torch.zeros(8, K)
    assert (smoothing(sure, 1.0) > 0.15).all()
    assert torch.allclose(loss_of(_terms(sure, uniform, batch, cap=0.15)), value(_supervised(0.15)(sure, batch)))


def test_the_gradient_is_the_difference_to_the_smoothed_labels_and_passes_neither_amount_nor_prior(logits, prior):
    batch, x, z = make_batch(), logits.clone().requires_grad_(), prior.clone()
    supervised = _supervised(weights=torch.ones(K))
    loss_of(_terms(x, z, batch, supervised=supervised)).backward()
    alpha = smoothing(logits, 1.0)[:, None]
    target = (1 - alpha) * supervised.targets(batch, K) + alpha * prior.softmax(1)
    assert torch.allclose(x.grad, (logits.softmax(1) - target) / 8, atol=1e-6)


def test_without_any_smoothing_it_is_the_label_term(logits, prior):
    batch = make_batch()
    assert torch.allclose(loss_of(_terms(logits, prior, batch, cap=0.0)), value(_supervised()(logits, batch)))


def test_extreme_logits_class_weights_and_mixup_stay_finite(logits, prior):
    x = (1e4 * logits).requires_grad_()
    loss = loss_of(_terms(x, -1e4 * prior, make_batch()))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()
    assert smoothing(logits.bfloat16(), 1.0).dtype == torch.float32


def test_without_a_prior_it_says_what_is_missing(logits):
    objective = AdaptiveSmoothing(SelfKnowledgeConfig(), _supervised())
    with pytest.raises(TrainingError, match="'self_knowledge_ls'"):
        terms_of(objective, logits, None)


def test_the_prior_changes_only_when_validation_improves(prepared, tmp_path, monkeypatch):
    scores = [0.3, 0.2, 0.5, 0.4]
    heads, priors, answers = [], [], []

    def validate(trainer):
        heads.append(weights(trainer.task.network))
        return {"val_macro_f1": scores[len(heads) - 1], "val_balanced_accuracy": 0.5}

    monkeypatch.setattr(loop.Trainer, "validate", validate)
    saved = loop.Trainer.conclude_epoch

    def conclude(trainer, entry):
        batch = next(trainer.task.images.batches(0, 10))
        answers.append(trainer.task.teacher.signal(batch).logits)
        saved(trainer, entry)
        priors.append(weights(trainer.task.companion.modules()["prior"]))

    monkeypatch.setattr(loop.Trainer, "conclude_epoch", conclude)
    data = Prepared.open(prepared)
    config = configuration(prepared, KIND, supervised=PLAIN, train={"epochs": 4})
    shop = workshop(data, config)
    phases = list(METHOD.plan(config.method, shop))
    carry_out(tmp_path, data, shop.images, iter(phases))
    for prior, head in zip(priors, (heads[0], heads[0], heads[2], heads[2]), strict=True):
        assert all(torch.equal(tensor, head[name]) for name, tensor in prior.items())
    assert (answers[0] == 0).all()  # nothing is known before the first epoch is over
    assert torch.equal(answers[1], answers[2])
    assert not torch.equal(answers[2], answers[3])
    lines = [json.loads(line) for line in Path(tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["prior_epoch"] for line in lines] == [1, 1, 3, 3]
    assert all(0 <= line["terms"]["alpha"] <= 1 for line in lines)
    prior = phases[0].companion.modules()["prior"]
    assert all(parameter.grad is None for parameter in prior.parameters())


def test_a_run_cut_after_any_epoch_ends_with_the_same_student(prepared, tmp_path):
    check_exact_resume(configuration(prepared, KIND, supervised=PLAIN), tmp_path, cuts=(1, 1))
    last = "phases/00_train/checkpoints/last.safetensors"
    first, second = (load_file(tmp_path / name / last) for name in ("whole", "cut"))
    assert any(name.startswith("companion.prior/") for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_label_smoothing_beside_it_is_refused(prepared, tmp_path):
    with pytest.raises(ConfigError, match="smoothed twice"):
        distill.run(configuration(prepared, KIND), tmp_path)
    assert not (tmp_path / PHASES).exists()


@pytest.mark.parametrize("wrong", [{"alpha_cap": 1.5}, {"alpha_cap": -0.1}, {"prior": "best"}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        SelfKnowledgeConfig(**wrong)


def test_the_configuration_in_the_repository_smooths_once():
    plan = shipped("self_knowledge_ls")
    assert plan.supervised.label_smoothing == 0
    assert SelfKnowledgeConfig.model_validate_json(plan.method.model_dump_json()) == plan.method
