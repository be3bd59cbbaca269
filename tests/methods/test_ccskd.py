"""CCSKD: closed forms, the schedule at its break points, and a book in the teacher's place."""

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError, TrainingError
from fibrokd.methods.ccskd import METHOD, Ccskd, CcskdConfig, schedule, selective_kl, selective_weights
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.pipeline import distill, write_book
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment
from fibrokd.training.signals import TeacherSignal
from fibrokd.training.targets import agreement
from tests.methods.coefficients import Weighed
from tests.methods.losses import SUPERVISED, terms_of
from tests.methods.tiny import check_exact_resume, configuration, online, workshop
from tests.training.test_objective import K, make_batch, value

WEIGHED = Weighed(
    {
        "label_weight": 0.7,
        "selective_weight": 0.2,
        "kd_weight": 0.3,
        "channel_weight": 5.0,
        "relation_weight": 4.0,
        "kd_temperature": 2.0,
        "labels_enter": 0.0,
        "channel_decays_at": (0.0, 0.8),
        "decay": 0.5,
    },
    {
        "train": {
            "supervised": 0.7,
            "selective": 0.2 * 2.0**2,
            "kd": 0.3 * 2.0**2,
            "channel": 5.0 * 0.5,
            "relation": 4.0,
        }
    },
)

LATE = Moment(80, 200)
WIDTHS = {"s8": 4, "s16": 6}
TEACHER_WIDTHS = {"s8": 7, "s16": 3}
TAPS = ("s8", "s16")


def _objective(seed=0, **changes):
    return Ccskd(CcskdConfig(taps=TAPS, **changes), SUPERVISED, WIDTHS, TEACHER_WIDTHS, seed).eval()


def _outputs(logits, scale=1.0):
    random = torch.Generator().manual_seed(5)
    maps = {tap: scale * torch.randn(8, width, 3, 3, generator=random) for tap, width in WIDTHS.items()}
    return Outputs(logits, logits, maps)


def _signal(logits):
    random = torch.Generator().manual_seed(6)
    gaps = {tap: torch.rand(8, width, generator=random) for tap, width in TEACHER_WIDTHS.items()}
    return TeacherSignal(logits, gaps=gaps)


@pytest.mark.parametrize(
    ("progress", "labels", "channel", "selective"),
    [
        (0.0, 0, 1.0, 1.0),
        (0.2999, 0, 1.0, 0.9),
        (0.3, 1, 0.9, 0.81),
        (0.3001, 1, 0.9, 0.81),
        (0.8, 1, 0.81, 0.9**5),
        (0.9999, 1, 0.81, 0.9**6),
        (1.0, 1, 0.81, 0.9**6),
    ],
)
def test_the_schedule_at_its_break_points(progress, labels, channel, selective):
    moment = Moment(0, 1, progress)
    assert schedule(CcskdConfig(), moment) == (labels, pytest.approx(channel))
    agree = torch.tensor([0.0, 0.4, 1.0])
    weights = selective_weights(CcskdConfig(), agree, moment)
    assert torch.allclose(weights, (1 + agree) * selective)
    assert torch.equal(selective_weights(CcskdConfig(mode="strict"), agree, moment), agree)


def test_before_labels_join_they_have_no_gradient(student, teacher):
    for moment, joined in ((Moment(29, 100), False), (Moment(30, 100), True)):
        terms = _objective()(_outputs(student), _signal(teacher), make_batch(), moment)
        assert (terms["supervised"].coefficient > 0) == joined
        assert (terms["selective"].coefficient > 0) == joined
        assert terms["kd"].coefficient == pytest.approx(0.1)
        assert terms["relation"].coefficient == pytest.approx(6.0)


@pytest.mark.parametrize(("progress", "joined", "decays"), [(0.0, 0, 0), (0.3, 1, 1), (0.8, 1, 2), (1.0, 1, 2)])
def test_every_term_has_the_coefficient_of_its_moment(student, teacher, progress, joined, decays):
    weights = {"label_weight": 0.7, "selective_weight": 0.2, "kd_weight": 0.3, "channel_weight": 5.0}
    objective = _objective(**weights, relation_weight=4.0, kd_temperature=2.0, decay=0.5)
    terms = objective(_outputs(student), _signal(teacher), make_batch(), Moment(0, 1, progress))
    assert {name: term.coefficient for name, term in terms.items()} == pytest.approx(
        {
            "supervised": joined * 0.7,
            "selective": joined * 0.2 * 2**2,
            "kd": 0.3 * 2**2,
            "channel": 5.0 * 0.5**decays,
            "relation": 4.0,
        }
    )


def test_equal_features_leave_nothing_to_match(student, teacher):
    objective, outputs = _objective(), _outputs(student)
    with torch.no_grad():
        gaps = {tap: objective.connectors[tap](outputs.maps[tap]).mean((2, 3)) for tap in TAPS}
    terms = objective(outputs, TeacherSignal(teacher, gaps=gaps), make_batch(), LATE)
    assert value(terms["channel"]).item() == 0
    assert value(terms["relation"]).item() == pytest.approx(0, abs=1e-9)


def test_the_channel_term_is_what_loops_say(student, teacher):
    objective, outputs, signal = _objective(), _outputs(student), _signal(teacher)
    total = 0.0
    with torch.no_grad():
        for tap in TAPS:
            conv, norm, _ = objective.connectors[tap]
            weight = conv.weight.numpy()[:, :, 0, 0] / np.sqrt(1 + norm.eps)  # batch norm at its start
            own = np.maximum(np.einsum("dc,bchw->bdhw", weight, outputs.maps[tap].numpy()), 0).mean((2, 3))
            total += ((own - signal.gaps[tap].numpy()) ** 2).mean()
    terms = objective(outputs, signal, make_batch(), LATE)
    assert value(terms["channel"]).item() == pytest.approx(total, rel=1e-4)


def _smooth(a, b):
    difference = np.abs(a - b)
    return np.where(difference < 1, 0.5 * difference**2, difference - 0.5).mean()


def _relations(x):
    """Distances over their mean, and the cosines at every image between any two others."""
    gaps = x[None, :, :] - x[:, None, :]
    lengths = np.linalg.norm(gaps, axis=2)
    directions = gaps / np.where(lengths > 0, lengths, 1)[:, :, None]
    cosines = np.stack([own @ own.T for own in directions])
    return lengths / lengths[lengths > 0].mean(), cosines


@pytest.mark.parametrize("angle_weight", [2.0, 0.5, 0.0])
def test_the_relation_term_is_the_sum_over_taps_of_distances_and_weighted_angles(student, teacher, angle_weight):
    objective, outputs, signal = _objective(angle_weight=angle_weight), _outputs(student), _signal(teacher)
    total = 0.0
    with torch.no_grad():
        for tap in TAPS:
            own = objective.connectors[tap](outputs.maps[tap]).mean((2, 3)).double().numpy()
            pairs = zip(_relations(own), _relations(signal.gaps[tap].double().numpy()), strict=True)
            distance, angle = (_smooth(a, b) for a, b in pairs)
            total += distance + angle_weight * angle
    terms = objective(outputs, signal, make_batch(), LATE)
    assert value(terms["relation"]).item() == pytest.approx(total, rel=1e-3)


def test_the_response_terms_are_what_loops_say(student, teacher):
    batch, moment = make_batch(), Moment(50, 100)
    terms = _objective(kd_temperature=2.0)(_outputs(student), _signal(teacher), batch, moment)
    plain = selective = 0.0
    for i in range(8):
        p, q = (teacher[i].double() / 2).softmax(0), (student[i].double() / 2).softmax(0)
        divergence = (p * (p / q).log()).sum().item()
        best, lam = int(p.argmax()), float(batch.lam[i])
        agree = lam * (best == int(batch.stages[i])) + (1 - lam) * (best == int(batch.partner_stages[i]))
        plain += divergence / 8
        selective += (1 + agree) * 0.9**3 * divergence / 8
    assert value(terms["kd"]).item() == pytest.approx(plain, rel=1e-4)
    assert terms["kd"].coefficient == pytest.approx(0.4)
    assert value(terms["selective"]).item() == pytest.approx(selective, rel=1e-4)


def test_strict_leaves_out_a_teacher_that_is_always_wrong(student):
    batch = make_batch()
    wrong = torch.zeros(8, K)
    for i in range(8):
        wrong[i, next(k for k in range(K) if k not in (int(batch.stages[i]), int(batch.partner_stages[i])))] = 5.0
    x = student.clone().requires_grad_()
    objective = _objective(mode="strict", kd_weight=0.0, label_weight=0.0, channel_weight=0.0, relation_weight=0.0)
    terms = objective(_outputs(x), _signal(wrong), batch, LATE)
    sum(term.coefficient * value(term) for term in terms.values()).backward()
    assert torch.equal(x.grad, torch.zeros_like(x))
    kept = _objective()(_outputs(x), _signal(wrong), batch, LATE)
    assert value(kept["selective"]).item() > 0


def test_released_is_what_weighting_both_arguments_comes_to(student, teacher):
    p, log_q = teacher.double().softmax(1), student.double().log_softmax(1)
    m = 1 + agreement(p, make_batch()).double()
    scaled = m[:, None] * p
    wanted = (scaled * (scaled.log() - m[:, None] * log_q)).sum(1)
    found = selective_kl(student, p.float(), 1.0, m.float(), "released")
    assert torch.allclose(found.double(), wanted, rtol=1e-4)
    x, y = (student.clone().requires_grad_() for _ in range(2))
    selective_kl(x, p.float(), 1.0, m.float(), "released").sum().backward()
    selective_kl(y, p.float(), 1.0, m.float(), "ccskd").sum().backward()
    ratio = x.grad.norm(dim=1) / y.grad.norm(dim=1)
    assert torch.allclose(ratio, m.float(), rtol=1e-3)


def test_with_nothing_but_plain_responses_it_is_vanilla_distillation(student, teacher):
    changes = {"selective_weight": 0.0, "channel_weight": 0.0, "relation_weight": 0.0, "labels_enter": 0.0}
    objective = _objective(label_weight=0.4, kd_weight=0.6, kd_temperature=3.0, **changes)
    terms = objective(_outputs(student), _signal(teacher), make_batch(), Moment(0, 9))
    vanilla = terms_of(VanillaKd(KdConfig(), SUPERVISED), student, teacher)
    first, second = (sum(t.coefficient * value(t) for t in found.values()) for found in (terms, vanilla))
    assert torch.allclose(first, second)


def test_where_no_maps_are_compared_none_is_asked_for_and_the_answers_count_as_before(student, teacher, prepared):
    weightless = {"channel_weight": 0.0, "relation_weight": 0.0}
    config = CcskdConfig(**weightless)
    assert METHOD.asks_of(config) == {"logits"}
    assert METHOD.asks_of(CcskdConfig(channel_weight=0.0)) == METHOD.needs
    alone = Ccskd(config, SUPERVISED, {}, {})(Outputs(student, student, {}), TeacherSignal(teacher), make_batch(), LATE)
    whole = _objective()(_outputs(student), _signal(teacher), make_batch(), LATE)
    assert set(alone) == {"supervised", "selective", "kd"}
    assert all(torch.equal(value(term), value(whole[name])) for name, term in alone.items())
    run = configuration(prepared, {"kind": "ccskd", **weightless})
    (phase,) = METHOD.plan(config, workshop(Prepared.open(prepared), run, [online(1)]))
    assert not list(phase.objective.parameters())


def test_gradients_reach_maps_and_connectors_and_not_the_teacher(student, teacher):
    objective, outputs, signal = _objective().train(), _outputs(student), _signal(teacher)
    maps = {tap: features.requires_grad_() for tap, features in outputs.maps.items()}
    terms = objective(Outputs(student, student, maps), signal, make_batch(), LATE)
    (value(terms["channel"]) + value(terms["relation"])).backward()
    assert all(features.grad.abs().max() > 0 for features in maps.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in objective.parameters())
    assert not any(gaps.requires_grad for gaps in signal.gaps.values())


@pytest.mark.parametrize("mode", ["ccskd", "released", "strict"])
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_empty_maps_and_extreme_answers_stay_finite(student, teacher, mode, scale):
    x = (1e4 * student).bfloat16().requires_grad_()
    objective = _objective(mode=mode).train()
    terms = objective(_outputs(x, scale), _signal(1e4 * teacher), make_batch(), LATE)
    loss = sum(term.coefficient * value(term) for term in terms.values())
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in [x, *objective.parameters()])


def test_connectors_start_from_their_seed_and_leave_the_random_state_alone():
    state = torch.get_rng_state()
    first, again, other = _objective(seed=1), _objective(seed=1), _objective(seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    weights = [objective.connectors["s8"][0].weight for objective in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_early_stopping_waits_until_labels_have_been_seen(prepared):
    live = online(1)
    data = Prepared.open(prepared)
    for patience, wanted in ((None, 0), (4, 7), (12, 10)):
        config = configuration(prepared, {"kind": "ccskd"}, train={"epochs": 10, "early_stopping": patience})
        phase = next(METHOD.plan(config.method, workshop(data, config, [live])))
        assert phase.train.min_epochs == wanted
        assert phase.train.epochs == 10


@pytest.mark.parametrize(("enter", "blind"), [(0.3, 3), (0.0, 0)])
def test_the_learning_rate_does_not_fall_for_epochs_without_labels(prepared, enter, blind):
    config = configuration(prepared, {"kind": "ccskd", "labels_enter": enter}, train={"epochs": 10})
    (phase,) = METHOD.plan(config.method, workshop(Prepared.open(prepared), config, [online(1)]))
    assert phase.blind_epochs == blind


def test_without_a_teacher_it_says_what_is_missing(student):
    with pytest.raises(TrainingError, match="Expected a teacher"):
        _objective()(_outputs(student), None, make_batch(), LATE)


@pytest.mark.parametrize("wrong", [{"taps": ()}, {"taps": ("s5",)}, {"decay": 0.0}, {"mode": "x"}, {"kd_weight": -1.0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        CcskdConfig(**wrong)


def test_a_run_resumes_exactly_and_exports_no_connector(prepared, taught, tmp_path):
    config = configuration(prepared, {"kind": "ccskd"}, teacher=str(taught))
    folder = check_exact_resume(config, tmp_path, cuts=(1,))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert set(lines[0]["terms"]) == {"supervised", "selective", "kd", "channel", "relation"}


def test_a_book_that_stores_means_takes_the_teachers_place(prepared, taught, tmp_path):
    stores = sorted(METHOD.needs - {"logits"})
    for name, kept in (("full", stores), ("plain", [])):
        step = {"prepared": prepared, "teacher": taught, "minimum_balanced_accuracy": 0.0}
        book = {"views": 3, "stores": kept}
        write_book.run(write_book.WriteBookConfig.model_validate({**step, "book": book}, strict=False), tmp_path / name)
    losses = []
    for name, source in (("live", {"teacher": str(taught)}), ("read", {"book": str(tmp_path / "full")})):
        distill.run(configuration(prepared, {"kind": "ccskd"}, **source), tmp_path / name)
        first = (tmp_path / name / "metrics.jsonl").read_text().splitlines()[0]
        losses.append(json.loads(first)["train_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=5e-3)
    with pytest.raises(ConfigError, match="gives gaps:s16"):
        distill.run(configuration(prepared, {"kind": "ccskd"}, book=str(tmp_path / "plain")), tmp_path / "s")
