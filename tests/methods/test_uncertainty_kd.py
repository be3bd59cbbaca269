"""Uncertainty sets share and temperature: the limits, live and from a book, and masks that must agree."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fibrokd.data.prepared import Prepared
from fibrokd.errors import BookError, ConfigError, TrainingError
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.uncertainty_kd import METHOD, UncertaintyKd, UncertaintyKdConfig, auroc, uncertainties
from fibrokd.pipeline import distill, write_book
from fibrokd.training.signals import TeacherSignal, Uncertainty
from fibrokd.training.teachers import Ensemble
from tests.methods.coefficients import SHARED, Weighed
from tests.methods.losses import SUPERVISED, WEIGHTS, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, online, shipped, workshop
from tests.training.test_objective import K, make_batch, value

# Shares and T² differ from image to image and are in the values; uncertainties are only told.
WEIGHED = Weighed(SHARED, {"train": {"supervised": 1.0, "kd": 1.0, "epistemic": 0.0, "aleatoric": 0.0}})

CPU = torch.device("cpu")
THINNING = {"masks": 3, "dropout": 0.3, "taps": ["s32"]}


def spread(answers):
    """Signal of S answers, [S, B, K]."""
    mean = answers.mean(0)
    aleatoric = torch.special.entr(answers).sum(2).mean(0)
    epistemic = (torch.special.entr(mean).sum(1) - aleatoric).clamp_min(0)
    return TeacherSignal(mean.clamp_min(1e-38).log(), uncertainty=Uncertainty(aleatoric, epistemic))


def _terms(config, logits, signal, batch):
    return terms_of(UncertaintyKd(config, SUPERVISED), logits, signal, batch)


@pytest.fixture
def answers():
    return (2 * torch.randn(6, 8, K, generator=torch.Generator().manual_seed(4))).softmax(2)


def test_masks_that_agree_leave_the_share_at_alpha(answers):
    same = spread(answers[:1].expand(6, -1, -1))
    shares = UncertaintyKd(UncertaintyKdConfig(), SUPERVISED).shares(same.uncertainty, K)
    assert torch.allclose(shares, torch.full((8,), 0.6), atol=1e-6)


def test_masks_that_contradict_each_other_leave_nothing_of_the_teacher(student):
    certain = torch.eye(K)[:, None].expand(K, 8, K)
    signal = spread(certain)
    terms = _terms(UncertaintyKdConfig(), student, signal, make_batch())
    assert value(terms["kd"]).item() == pytest.approx(0, abs=1e-5)
    assert torch.allclose(value(terms["supervised"]), value(SUPERVISED(student, make_batch())), atol=1e-5)


def test_an_unambiguous_image_has_t0_and_a_wholly_ambiguous_one_the_other_end():
    clear = Uncertainty(torch.zeros(2), torch.zeros(2))
    vague = Uncertainty(torch.full((2,), math.log(K)), torch.zeros(2))
    for config, end in (
        (UncertaintyKdConfig(), 1.0),
        (UncertaintyKdConfig(direction="soften", rho=0.5), 4.5),
        (UncertaintyKdConfig(direction="none"), 3.0),
    ):
        objective = UncertaintyKd(config, SUPERVISED)
        assert torch.allclose(objective.temperatures(clear, K), torch.tensor(3.0))
        assert torch.allclose(objective.temperatures(vague, K), torch.tensor(end))


def test_without_dropout_and_with_one_temperature_it_is_vanilla_distillation(student, answers):
    batch, logits = make_batch(), answers[0].log() + 1.7
    signal = spread(answers[:1])
    config = UncertaintyKdConfig(lowest_temperature=3.0)
    vanilla = terms_of(VanillaKd(KdConfig(), SUPERVISED), student, logits, batch)
    assert torch.allclose(loss_of(_terms(config, student, signal, batch)), loss_of(vanilla), atol=1e-5)


@pytest.mark.parametrize("direction", ["sharpen", "soften"])
def test_it_is_what_loops_say(student, answers, direction):
    config, batch = UncertaintyKdConfig(direction=direction, eta=2.0, alpha=0.7), make_batch()
    hard = soft = omegas = 0.0
    for i in range(8):
        mean = answers[:, i].double().mean(0)
        single = -(answers[:, i].double() * answers[:, i].double().log()).sum(1).mean().item()
        total = -(mean * mean.log()).sum().item()
        share = 0.7 * (1 - (total - single) / math.log(K)) ** 2
        t = 1 + 2 * (1 - single / math.log(K)) if direction == "sharpen" else 3 * (1 + single / math.log(K))
        p, q = (mean.log() / t).softmax(0), (student[i].double() / t).softmax(0)
        soft += share * t * t * (p * (p / q).log()).sum().item() / 8
        a, b, lam = int(batch.stages[i]), int(batch.partner_stages[i]), float(batch.lam[i])
        smoothed = [0.9 * (lam * (k == a) + (1 - lam) * (k == b)) + 0.1 / K for k in range(K)]
        omega = float(lam * WEIGHTS[a] + (1 - lam) * WEIGHTS[b])
        log_p = student[i].double().log_softmax(0).tolist()
        hard -= omega * (1 - share) * sum(x * y for x, y in zip(smoothed, log_p, strict=True))
        omegas += omega
    found = loss_of(_terms(config, student, spread(answers), batch)).item()
    assert found == pytest.approx(hard / omegas + soft, rel=1e-4)


def test_gradients_reach_the_student_and_not_the_uncertainty(student, answers):
    x = student.clone().requires_grad_()
    signal = spread(answers)
    loss_of(_terms(UncertaintyKdConfig(), x, signal, make_batch())).backward()
    assert (x.grad.abs().sum(1) > 0).all()
    assert not signal.logits.requires_grad


def test_extreme_answers_stay_finite(student):
    certain = torch.eye(K)[torch.arange(8) % K][None].expand(2, 8, K)
    x = (1e4 * student).bfloat16().requires_grad_()
    loss = loss_of(_terms(UncertaintyKdConfig(), x, spread(certain), make_batch()))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()


def test_a_signal_without_uncertainty_says_what_is_missing(student):
    with pytest.raises(TrainingError, match="uncertainty"):
        _terms(UncertaintyKdConfig(), student, TeacherSignal(student), make_batch())
    with pytest.raises(TrainingError, match="Expected a teacher"):
        _terms(UncertaintyKdConfig(), student, None, make_batch())


@pytest.mark.parametrize(
    "wrong", [{"alpha": 1.5}, {"eta": -1.0}, {"lowest_temperature": 4.0}, {"direction": "up"}, {"taps": ("s0",)}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        UncertaintyKdConfig(**wrong)


def test_the_shipped_configuration_is_the_default():
    assert shipped("uncertainty_kd").method == UncertaintyKdConfig()


def test_several_teachers_have_no_common_masks(prepared):
    config = configuration(prepared, {"kind": "uncertainty_kd"})
    live = online(1)
    shop = workshop(Prepared.open(prepared), config, [Ensemble([live, live])])
    with pytest.raises(ConfigError, match="masks can be chosen"):
        next(METHOD.plan(config.method, shop))


def test_the_plan_thins_both_networks_and_keeps_counting_the_teachers_work(prepared):
    config = configuration(prepared, {"kind": "uncertainty_kd", "thinning": THINNING})
    live = online(1)
    phase = next(METHOD.plan(config.method, workshop(Prepared.open(prepared), config, [live])))
    batch = dataclasses.replace(make_batch(4), images=torch.rand(4, 1, 32, 32))
    phase.teacher.signal(batch, phase.objective.needs)
    assert phase.teacher.thinning.masks == 3
    assert live.forwards == 3 * 4
    assert phase.network.dropout.p == 0.2


def test_a_run_resumes_exactly_and_exports_the_plain_backbone(prepared, taught, tmp_path):
    config = configuration(prepared, {"kind": "uncertainty_kd", "thinning": THINNING}, teacher=str(taught))
    check_exact_resume(config, tmp_path, cuts=(1,))


def test_the_card_compares_the_deployed_pass_with_the_mean_over_dropout_passes(prepared, taught, tmp_path):
    config = configuration(prepared, {"kind": "uncertainty_kd", "thinning": THINNING}, teacher=str(taught))
    distill.run(config, tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    facts, found = card["method_facts"], card["method_facts"]["validation"]
    assert facts["deployed"] == "deterministic"
    assert found["deterministic"]["macro_f1"] == card["validation"]["macro_f1"]
    assert (found["deterministic"]["passes"], found["monte_carlo"]["passes"]) == (1, 10)
    assert 0 < found["monte_carlo"]["epistemic"] < found["monte_carlo"]["aleatoric"] < 1
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < line["terms"]["epistemic"] < line["terms"]["aleatoric"] < 1 for line in lines)


def test_the_students_uncertainty_is_what_loops_say_and_nothing_where_no_pass_differs():
    told = np.random.default_rng(0).dirichlet(np.ones(3), (10, 4))
    epistemic, aleatoric = uncertainties(told)
    for i in range(4):
        mean = [np.mean([told[s, i, k] for s in range(10)]) for k in range(3)]
        inner = np.mean([-sum(p * math.log(p) for p in told[s, i]) for s in range(10)])
        assert aleatoric[i] == pytest.approx(inner / math.log(3))
        assert epistemic[i] == pytest.approx((-sum(p * math.log(p) for p in mean) - inner) / math.log(3))
    assert uncertainties(np.repeat(told[:1], 10, axis=0))[0] == pytest.approx(np.zeros(4), abs=1e-12)


def test_the_area_is_the_share_of_pairs_in_which_the_error_is_the_less_certain():
    wrong, score = np.array([True, False, True, False, False]), np.array([0.5, 0.1, 0.2, 0.2, 0.6])
    pairs = [(score[i] > score[j]) + 0.5 * (score[i] == score[j]) for i in (0, 2) for j in (1, 3, 4)]
    assert auroc(wrong, score) == pytest.approx(np.mean(pairs))
    assert auroc(np.ones(3, dtype=bool), score[:3]) is None
    assert auroc(np.zeros(3, dtype=bool), score[:3]) is None


def test_a_book_of_its_numbers_takes_the_teachers_place(prepared, taught, tmp_path):
    step = {"prepared": prepared, "teacher": taught, "minimum_balanced_accuracy": 0.0}
    book = {"mode": "trajectory", "views": 3, "stores": ("uncertainty",), "thinning": THINNING}
    write_book.run(write_book.WriteBookConfig.model_validate({**step, "book": book}, strict=False), tmp_path / "book")
    method = {"kind": "uncertainty_kd", "thinning": THINNING}
    results = []
    for name, source in (("live", {"teacher": str(taught)}), ("read", {"book": str(tmp_path / "book")})):
        distill.run(configuration(prepared, method, **source), tmp_path / name)
        results.append((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0])
    losses = [float(line.split('"train_loss": ')[1].split(",")[0]) for line in results]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)
    other = configuration(prepared, {"kind": "uncertainty_kd"}, book=str(tmp_path / "book"))
    with pytest.raises(BookError, match="uncertainty is that of"):
        distill.run(other, tmp_path / "other")


def test_a_book_of_logits_alone_is_refused(prepared, taught, tmp_path):
    step = {"prepared": prepared, "teacher": taught, "minimum_balanced_accuracy": 0.0}
    write_book.run(
        write_book.WriteBookConfig.model_validate({**step, "book": {"views": 3}}, strict=False), tmp_path / "book"
    )
    with pytest.raises(ConfigError, match="gives uncertainty"):
        distill.run(configuration(prepared, {"kind": "uncertainty_kd"}, book=str(tmp_path / "book")), tmp_path / "s")
