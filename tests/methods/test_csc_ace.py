"""Correlation and adaptive cross-entropy: the limits of each, alone and together, and adapters that stay behind."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError, TrainingError
from fibrokd.methods.csc_ace import DENSE, METHOD, CscAce, CscAceConfig
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.pipeline import distill, write_book
from fibrokd.training.correlations import channel_difference, joint_difference, spatial_difference
from fibrokd.training.networks import Outputs, build
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm
from fibrokd.training.runtime import Runtime
from fibrokd.training.signals import TeacherSignal
from tests.methods.coefficients import Weighed
from tests.methods.losses import START, SUPERVISED, WEIGHTS, terms_of
from tests.methods.tiny import check_exact_resume, check_export, configuration, online, workshop
from tests.training.test_objective import K, make_batch, value

WEIGHED = Weighed({"beta": 0.3}, {"train": {"ace": 1.0, "correlation": 0.3}})

PLAIN = SupervisedTerm(SupervisedConfig(label_smoothing=0.0), WEIGHTS)
CPU = torch.device("cpu")
WIDTHS, TEACHER_WIDTHS = {"s16": 6, "s32": 4}, {"s16": 3, "s32": 5}


def _ace(logits, teacher, batch, supervised=SUPERVISED):
    objective = CscAce(CscAceConfig(beta=0.0), supervised)
    return value(terms_of(objective, logits, teacher, batch)["ace"])


def _maps(widths, scale=1.0, side=3):
    random = torch.Generator().manual_seed(5)
    return {tap: scale * torch.randn(8, width, side, side, generator=random) for tap, width in widths.items()}


def _csc(**changes):
    return CscAce(CscAceConfig(**changes), SUPERVISED, WIDTHS, TEACHER_WIDTHS)


def test_a_perfect_teacher_is_cross_entropy(student):
    batch = make_batch(mixed=False)
    perfect = 200.0 * F.one_hot(batch.stages, K).float()
    assert torch.allclose(_ace(student, perfect, batch), value(PLAIN(student, batch)), atol=1e-6)


def test_a_teacher_that_is_always_wrong_has_no_say_at_all(student, teacher):
    batch = make_batch()
    wrong = teacher.clone()
    for i in range(8):
        wrong[i, batch.stages[i]] = wrong[i, batch.partner_stages[i]] = -9.0
    assert torch.equal(_ace(student, wrong, batch), _ace(student, wrong.flip(1) * 0 + wrong * 0.5, batch))
    assert torch.allclose(_ace(student, wrong, batch), value(PLAIN(student, batch)), atol=1e-6)


def test_a_teacher_that_is_always_right_gives_soft_cross_entropy(student, teacher):
    batch = make_batch(mixed=False)
    batch = dataclasses.replace(batch, stages=teacher.argmax(1), partner_stages=teacher.argmax(1))
    values = -(teacher.softmax(1) * student.log_softmax(1)).sum(1)
    omega = WEIGHTS[batch.stages]
    assert torch.allclose(_ace(student, teacher, batch), (omega * values).sum() / omega.sum(), atol=1e-6)


def test_it_is_what_loops_say_under_mixup_and_class_weights(student, teacher):
    batch, total, omegas = make_batch(), 0.0, 0.0
    for i in range(8):
        p, q = teacher[i].double().softmax(0), student[i].double().softmax(0)
        a, b, lam = int(batch.stages[i]), int(batch.partner_stages[i]), float(batch.lam[i])
        best = int(p.argmax())
        agree = lam * (best == a) + (1 - lam) * (best == b)
        target = [agree * p[k] + (1 - agree) * (lam * (k == a) + (1 - lam) * (k == b)) for k in range(K)]
        omega = float(lam * WEIGHTS[a] + (1 - lam) * WEIGHTS[b])
        total += omega * -sum(float(target[k] * q[k].log()) for k in range(K))
        omegas += omega
    assert _ace(student, teacher, batch).item() == pytest.approx(total / omegas, rel=1e-4)


def test_the_correlation_is_the_mean_over_taps_of_three_relations(student, teacher):
    objective = _csc(kappa=0.5)
    maps, known = _maps(WIDTHS), _maps(TEACHER_WIDTHS)
    wanted = torch.zeros(8)
    with torch.no_grad():
        for tap in ("s16", "s32"):
            own, other = objective.adapters[tap](maps[tap]).flatten(2), known[tap].flatten(2)
            wanted += (
                channel_difference(own, other) + spatial_difference(own, other) + 0.5 * joint_difference(own, other)
            ) / 2
    terms = objective(Outputs(student, student, maps), TeacherSignal(teacher, maps=known), make_batch(), START)
    assert torch.allclose(terms["correlation"].values, wanted, atol=1e-6)
    assert terms["correlation"].coefficient == 1.0


def test_a_student_whose_maps_are_the_teachers_has_no_correlation_loss():
    objective = CscAce(CscAceConfig(), SUPERVISED, WIDTHS, WIDTHS)
    for adapter in objective.adapters.values():
        torch.nn.init.eye_(adapter.weight.data.view(adapter.weight.shape[:2]))
    maps = _maps(WIDTHS)
    assert objective.correlation(maps, maps).abs().max() < 1e-6


@pytest.mark.parametrize("relation", ["no_adapter", "cka"])
def test_without_adapters_there_is_nothing_to_train_besides_the_student(relation):
    objective = CscAce(CscAceConfig(relation=relation), SUPERVISED)
    assert not list(objective.parameters())
    assert objective.correlation(_maps(WIDTHS), _maps(TEACHER_WIDTHS)).shape == (8,)


@pytest.mark.parametrize("relation", ["no_adapter", "cka"])
def test_the_relations_without_adapters_are_what_explicit_matrices_say(relation):
    objective = CscAce(CscAceConfig(relation=relation), SUPERVISED)
    maps, known = _maps(WIDTHS), _maps(TEACHER_WIDTHS)
    found = objective.correlation(maps, known)
    for i in range(8):
        wanted = 0.0
        for tap in ("s16", "s32"):
            x, y = (features[tap][i].double().flatten(1) for features in (maps, known))
            if relation == "no_adapter":
                s, t = ((z / z.norm(dim=0)).T @ (z / z.norm(dim=0)) for z in (x, y))
                wanted += (s - t).square().sum().item() / 9**2 / 2
            else:
                x, y = (z - z.mean(1, keepdim=True) for z in (x, y))
                alike = (x @ y.T).square().sum() / ((x @ x.T).norm() * (y @ y.T).norm())
                wanted += (1 - alike.item()) / 2
        assert found[i].item() == pytest.approx(wanted, rel=1e-3)


def test_maps_of_different_sides_are_compared_at_the_smaller():
    objective = CscAce(CscAceConfig(relation="no_adapter", largest_side=4), SUPERVISED)
    assert torch.isfinite(objective.correlation(_maps(WIDTHS, side=6), _maps(TEACHER_WIDTHS, side=5))).all()


def test_each_part_works_alone(student, teacher):
    assert CscAceConfig(beta=0.0).needs == {"logits"}
    assert CscAce(CscAceConfig(beta=0.0), SUPERVISED).taps == ()
    outputs = Outputs(student, student, _maps(WIDTHS))
    signal = TeacherSignal(teacher, maps=_maps(TEACHER_WIDTHS))
    batch = make_batch()
    alone = _csc(response="supervised")(outputs, signal, batch, START)
    assert set(alone) == {"supervised", "correlation"}
    assert torch.equal(value(alone["supervised"]), value(SUPERVISED(student, batch)))
    beside = CscAce(CscAceConfig(response="kd", beta=0.0), SUPERVISED)(outputs, signal, batch, START)
    vanilla = VanillaKd(KdConfig(), SUPERVISED)(outputs, signal, batch, START)
    assert all(torch.equal(beside[name].values, vanilla[name].values) for name in vanilla)
    assert all(beside[name].coefficient == pytest.approx(vanilla[name].coefficient) for name in vanilla)


def test_gradients_reach_maps_and_adapters_and_not_the_teacher(student, teacher):
    objective = _csc()
    maps = {tap: features.requires_grad_() for tap, features in _maps(WIDTHS).items()}
    signal = TeacherSignal(teacher, maps=_maps(TEACHER_WIDTHS))
    terms = objective(Outputs(student.requires_grad_(), student, maps), signal, make_batch(), START)
    sum(value(term) for term in terms.values()).backward()
    assert student.grad.abs().max() > 0
    assert all(features.grad.abs().max() > 0 for features in maps.values())
    assert all(p.grad.abs().max() > 0 for p in objective.parameters())
    assert not any(features.requires_grad for features in signal.maps.values())


@pytest.mark.parametrize("relation", ["full", "no_adapter", "cka"])
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_empty_maps_and_extreme_answers_stay_finite(student, teacher, relation, scale):
    objective = _csc(relation=relation)
    x = (1e4 * student).bfloat16().requires_grad_()
    maps = {tap: features.bfloat16().requires_grad_() for tap, features in _maps(WIDTHS, scale).items()}
    signal = TeacherSignal(1e4 * teacher, maps=_maps(TEACHER_WIDTHS, scale))
    terms = objective(Outputs(x, x, maps), signal, make_batch(), START)
    loss = sum(value(term) for term in terms.values())
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(tensor.grad).all() for tensor in [x, *maps.values()])


@pytest.mark.parametrize("backbone", ["tiny", "mobilenetv3_small", "efficientnet_b0"])
def test_dense_logits_of_a_constant_map_are_those_of_the_image(backbone):
    network = build(backbone, K, False, None, 0).eval()
    batch = dataclasses.replace(make_batch(2), images=torch.rand(2, 1, 32, 32))
    objective = CscAce(CscAceConfig(beta=0.0, dense=True), SUPERVISED)
    outputs = objective.ask(network, batch)
    assert outputs.maps[DENSE].shape == (2, K, 1, 1)  # 32 px: one position
    assert torch.allclose(outputs.maps[DENSE][:, :, 0, 0], outputs.logits, atol=1e-5)
    larger = objective.ask(network, dataclasses.replace(batch, images=torch.rand(2, 1, 64, 64)))
    assert larger.maps[DENSE].shape == (2, K, 2, 2)
    assert not network.body.global_pool._forward_pre_hooks


def test_dense_judges_every_position(student, teacher):
    batch = make_batch()
    objective = CscAce(CscAceConfig(beta=0.0, dense=True), SUPERVISED)
    places = torch.stack([student, student.flip(0), -student, student], 2).reshape(8, K, 2, 2)
    dense = objective(Outputs(student, student, {DENSE: places}), TeacherSignal(teacher), batch, START)
    each = [_ace(logits, teacher, batch) for logits in (student, student.flip(0), -student, student)]
    assert torch.allclose(value(dense["ace"]), torch.stack(each).mean(), atol=1e-5)


def test_without_a_teacher_it_says_what_is_missing(student):
    with pytest.raises(TrainingError, match="Expected a teacher"):
        terms_of(CscAce(CscAceConfig(beta=0.0), SUPERVISED), student, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"response": "supervised", "beta": 0.0},
        {"response": "kd", "dense": True},
        {"taps": ("s64",)},
        {"taps": ()},
        {"largest_side": 0},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        CscAceConfig(**wrong)


def test_a_run_resumes_exactly_exports_no_adapter_and_tells_the_ratio_of_gradients(prepared, taught, tmp_path):
    folder = check_exact_resume(configuration(prepared, {"kind": "csc_ace"}, teacher=str(taught)), tmp_path, cuts=(2,))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert set(lines[0]["terms"]) == {"ace", "correlation"}
    assert all(line["correlation_gradient"] > 0 for line in lines)


def test_a_dense_run_ends(prepared, taught, tmp_path):
    method = {"kind": "csc_ace", "dense": True, "beta": 0.0}
    config = configuration(prepared, method, teacher=str(taught), train={"epochs": 1})
    check_export(config, tmp_path / "dense")


def test_a_book_is_refused_for_maps_are_not_written_down(prepared, taught, tmp_path):
    step = {"prepared": prepared, "teacher": taught, "minimum_balanced_accuracy": 0.0, "book": {"views": 3}}
    write_book.run(write_book.WriteBookConfig.model_validate(step, strict=False), tmp_path / "book")
    with pytest.raises(ConfigError, match="answers online"):
        distill.run(configuration(prepared, {"kind": "csc_ace"}, book=str(tmp_path / "book")), tmp_path / "s")


def test_without_the_correlation_a_book_will_do_and_gives_the_live_teachers_losses(prepared, taught, tmp_path):
    method = {"kind": "csc_ace", "beta": 0.0}
    step = {"prepared": prepared, "teacher": taught, "minimum_balanced_accuracy": 0.0, "book": {"views": 3}}
    write_book.run(write_book.WriteBookConfig.model_validate(step, strict=False), tmp_path / "book")
    assert METHOD.takes_book(CscAceConfig(beta=0.0))
    assert not METHOD.takes_book(CscAceConfig())
    losses = []
    for name, source in (("read", {"book": str(tmp_path / "book")}), ("live", {"teacher": str(taught)})):
        distill.run(configuration(prepared, method, **source), tmp_path / name)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["train_loss"] for line in lines])
    assert losses[0] == pytest.approx(losses[1], abs=5e-3)


def test_beta_scales_the_ratio_of_gradients(prepared):
    from fibrokd.training.companion import EpochEnd

    data, ratios = Prepared.open(prepared), []
    for beta in (1.0, 3.0):
        config = configuration(prepared, {"kind": "csc_ace", "beta": beta})
        live = online(1)
        shop = workshop(data, config, [live])
        phase = next(METHOD.plan(config.method, shop))
        optimizer = torch.optim.SGD(phase.network.parameters(), lr=0.1)
        end = EpochEnd(phase.network, phase.network, optimizer, shop.images, 1, 3, True, Runtime("fp32", "nchw"), CPU)
        before = {k: v.clone() for k, v in phase.network.state_dict().items()}
        ratios.append(phase.companion.after_epoch(end)["correlation_gradient"])
        assert all(torch.equal(v, before[k]) for k, v in phase.network.state_dict().items())
        assert all(p.grad is None for p in phase.network.parameters())
    assert ratios[1] == pytest.approx(3 * ratios[0], rel=1e-3)
