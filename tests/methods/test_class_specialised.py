"""Class-specialised distillation: restriction, intra-class variance, purity, and real runs on some stages."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection, select
from fibrokd.errors import ConfigError, TrainingError
from fibrokd.files import read_json
from fibrokd.methods import open_network
from fibrokd.methods.class_specialised import (
    ClassSpecialised,
    ClassSpecialisedConfig,
    orthogonal_projection,
    pure_classes,
    released_icv,
    true_icv,
)
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.pipeline import distill, write_book
from fibrokd.training.book import BookConfig
from fibrokd.training.networks import build
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm
from fibrokd.training.prediction import predict
from fibrokd.training.restriction import Restricted, answering, restricted
from fibrokd.training.runtime import Runtime
from fibrokd.training.signals import TeacherSignal
from tests.methods.coefficients import Weighed
from tests.methods.losses import START, SUPERVISED, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, check_export, configuration, online, shipped
from tests.training.test_objective import K, make_batch, value

WEIGHED = Weighed(
    {"renorm": 0.3, "kd_temperature": 2.0, "variance": 0.4, "orthogonal": 0.15},
    {"train": {"supervised": 1.0, "renorm_kl": 0.3 * 2.0**2, "icv": 0.4, "opl": 0.15}},
)

CPU = torch.device("cpu")
SOME = (3, 4)
CLASSES = torch.tensor([0, 0, 0, 1, 1, 2, -1, -1])


def _batch(count=2, mixed=True):
    batch = make_batch(8, mixed)
    return dataclasses.replace(batch, stages=batch.stages % count, partner_stages=batch.partner_stages % count)


def _terms(config, logits, teacher, batch=None, stages=SOME, pooled=None):
    supervised = SupervisedTerm(SupervisedConfig(), torch.linspace(0.5, 1.5, len(stages)))
    batch = _batch(len(stages)) if batch is None else batch
    return terms_of(ClassSpecialised(config, supervised, stages), logits, teacher, batch, pooled=pooled)


@pytest.fixture
def student():
    return torch.randn(8, 2, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def pooled():
    return torch.randn(8, 12, generator=torch.Generator().manual_seed(5))


def test_with_all_stages_the_renormalised_loss_is_vanilla_distillation_exactly(teacher):
    logits, batch = teacher.flip(0), make_batch()
    config = ClassSpecialisedConfig(renorm=0.7, kd_temperature=3.0)
    mine = _terms(config, logits, teacher, batch, tuple(range(K)))["renorm_kl"]
    plain = terms_of(VanillaKd(KdConfig(alpha=0.7), SUPERVISED), logits, teacher, batch)["kd"]
    assert torch.equal(mine.values, plain.values)
    assert mine.coefficient == pytest.approx(plain.coefficient)


@given(st.permutations(range(K)), st.integers(2, K))
@settings(max_examples=30, deadline=None)
def test_permuting_the_selection_permutes_the_answer(order, size):
    signal = TeacherSignal(torch.randn(4, K, generator=torch.Generator().manual_seed(1)))
    chosen = tuple(order[:size])
    straight = restricted(signal, tuple(sorted(chosen))).probabilities(2.0)
    permuted = restricted(signal, chosen).probabilities(2.0)
    assert torch.allclose(permuted, straight[:, [sorted(chosen).index(stage) for stage in chosen]], atol=1e-6)


@pytest.mark.parametrize("order", [(3, 1, 4), (4, 3, 1)])
def test_permuting_the_selection_with_the_student_leaves_every_term_as_it_is(teacher, pooled, order):
    straight, logits = (1, 3, 4), torch.randn(8, 3, generator=torch.Generator().manual_seed(8))
    places = [straight.index(stage) for stage in order]
    config, batch = ClassSpecialisedConfig(orthogonal=0.2, kd_temperature=2.0), _batch(3, mixed=False)
    moved = torch.tensor([order.index(stage) for stage in straight])
    turned = dataclasses.replace(batch, stages=moved[batch.stages], partner_stages=moved[batch.partner_stages])
    weights = torch.tensor([0.5, 1.0, 1.5])
    first, second = (
        terms_of(
            ClassSpecialised(config, SupervisedTerm(SupervisedConfig(), w), stages), z, teacher, shown, pooled=pooled
        )
        for w, stages, z, shown in (
            (weights, straight, logits, batch),
            (weights[places], order, logits[:, places], turned),
        )
    )
    assert first.keys() == second.keys() == {"supervised", "renorm_kl", "icv", "opl"}
    for name in first:
        assert torch.allclose(value(first[name]), value(second[name]), atol=1e-6), name
        assert value(first[name]) > 0


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_restricting_logits_is_renormalising_probabilities(teacher, temperature):
    whole = TeacherSignal(teacher).probabilities(temperature)[:, SOME]
    wanted = whole / whole.sum(1, keepdim=True)
    assert torch.allclose(restricted(TeacherSignal(teacher), SOME).probabilities(temperature), wanted, atol=1e-6)


def test_stages_that_are_left_out_cannot_influence_the_loss(student, teacher):
    other = teacher.clone()
    other[:, :3] = 1e4 * torch.randn(8, 3)
    first, second = (loss_of(_terms(ClassSpecialisedConfig(), student, t)) for t in (teacher, other))
    assert torch.equal(first, second)


def test_members_of_a_pair_are_restricted_one_by_one(teacher):
    lam = torch.linspace(0.5, 1, 8)
    mixed = restricted(TeacherSignal(teacher, teacher.flip(0), lam), SOME).probabilities(2.0)
    own, partner = ((t[:, SOME] / 2).softmax(1) for t in (teacher, teacher.flip(0)))
    assert torch.allclose(mixed, lam[:, None] * own + (1 - lam[:, None]) * partner)


def test_a_teacher_of_too_few_stages_is_refused(student):
    with pytest.raises(TrainingError, match="at least 5 stages"):
        _terms(ClassSpecialisedConfig(), student, torch.zeros(8, 2))


def test_networks_of_different_stages_can_be_asked_for_the_ones_they_share():
    network, stages = build("tiny", K, False, None, 0).eval(), ["F0", "F1", "F2", "F3", "F4"]
    images = torch.rand(2, 1, 32, 32)
    assert answering(network, stages, stages) is network
    some = answering(network, stages, ["F1", "F4"])
    assert not some.training
    assert torch.equal(some(images).logits, network(images).logits[:, [1, 4]])
    with pytest.raises(ConfigError, match="knows F2, F4, found one of F3, F4"):
        answering(network, ["F3", "F4"], ["F2", "F4"])


def test_collapsed_classes_have_no_variance_although_the_released_loss_sees_some(pooled):
    collapsed = pooled[:3].repeat_interleave(torch.tensor([3, 2, 3]), 0)
    classes = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    assert true_icv(3 * collapsed, classes, 3).item() == pytest.approx(0, abs=1e-6)
    assert released_icv(collapsed, classes, 3) > 1


def test_the_variance_is_that_of_numpy_over_the_images_of_a_class(pooled):
    vectors = pooled.double().numpy()
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * np.sqrt(12)
    wanted = np.mean([vectors[:3].var(axis=0, ddof=1).mean(), vectors[3:5].var(axis=0, ddof=1).mean()])
    assert true_icv(pooled, CLASSES, 5).item() == pytest.approx(wanted, rel=1e-5)


def test_the_released_variance_is_that_of_numpy_over_features(pooled):
    vectors = pooled.double().numpy()
    wanted = sum(np.linalg.norm(vectors[a:b].var(axis=1, ddof=1)) for a, b in ((0, 3), (3, 5), (5, 6)))
    assert released_icv(pooled, CLASSES, 5).item() == pytest.approx(wanted, rel=1e-5)


def test_the_variance_does_not_change_when_the_space_is_turned_or_scaled(pooled):
    turn, _ = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(6)))
    turned = true_icv(7 * pooled @ turn, CLASSES, 3)
    assert turned.item() == pytest.approx(true_icv(pooled, CLASSES, 3).item(), rel=1e-5)


@pytest.mark.parametrize("classes", [[-1] * 8, [0, 1, 2, 3, 4, -1, -1, -1]])
@pytest.mark.parametrize("loss", [true_icv, released_icv, lambda p, c, k: orthogonal_projection(p, c, 0.5)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6])
def test_classes_without_company_and_silent_features_stay_finite(pooled, classes, loss, scale):
    x = (scale * pooled).requires_grad_()
    result = loss(x, torch.tensor(classes), 5)
    result.backward()
    assert torch.isfinite(result)
    assert torch.isfinite(x.grad).all()
    if loss is true_icv:
        assert result == 0


def test_the_orthogonal_projection_loss_is_written_out_in_loops(pooled):
    same, other = [], []
    for i in range(6):
        for j in range(6):
            if i != j:
                cosine = torch.dot(pooled[i], pooled[j]).item() / (pooled[i].norm() * pooled[j].norm()).item()
                (same if CLASSES[i] == CLASSES[j] else other).append(cosine)
    wanted = 1 - np.mean(same) + 0.5 * np.mean(other)
    assert orthogonal_projection(pooled, CLASSES, 0.5).item() == pytest.approx(wanted, rel=1e-5)


def test_only_pure_images_have_a_class_and_it_is_the_dominant_one():
    batch = dataclasses.replace(
        make_batch(5),
        stages=torch.tensor([0, 0, 0, 0, 0]),
        partner_stages=torch.tensor([1, 1, 1, 1, 1]),
        lam=torch.tensor([1.0, 0.9, 0.89, 0.05, 0.5]),
    )
    assert pure_classes(batch, 0.9).tolist() == [0, 0, -1, 1, -1]


def test_mixed_images_do_not_enter_the_embedding_losses(student, teacher, pooled):
    batch = dataclasses.replace(_batch(), lam=torch.tensor([1.0] * 6 + [0.6] * 2))
    config = ClassSpecialisedConfig(orthogonal=0.2)
    other = torch.cat([pooled[:6], torch.randn(2, 12)])
    first, second = (_terms(config, student, teacher, batch, pooled=p) for p in (pooled, other))
    assert first.keys() == {"supervised", "renorm_kl", "icv", "opl"}
    assert all(torch.allclose(value(first[name]), value(second[name])) for name in ("icv", "opl"))


def test_terms_without_weight_are_not_computed(student, teacher):
    config = ClassSpecialisedConfig(variance=0.0)
    assert _terms(config, student, teacher).keys() == {"supervised", "renorm_kl"}


def test_it_is_finite_with_mixup_class_weights_and_extreme_logits(student, teacher):
    x = (1e4 * student).requires_grad_()
    loss = loss_of(_terms(ClassSpecialisedConfig(orthogonal=0.2), x, (1e4 * teacher).bfloat16(), pooled=x))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()


def test_the_gradient_reaches_the_student_and_never_the_teacher():
    network = build("tiny", 2, False, None, 1)
    source = online(2)
    before = {name: tensor.clone() for name, tensor in source.network.state_dict().items()}
    batch = dataclasses.replace(_batch(), images=torch.rand(8, 1, 32, 32))
    objective = ClassSpecialised(ClassSpecialisedConfig(), SupervisedTerm(SupervisedConfig(), torch.ones(2)), SOME)
    loss_of(objective(objective.ask(network, batch), source.signal(batch), batch, START)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in source.network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in source.network.state_dict().items())


@pytest.mark.parametrize("wrong", [{"renorm": -1.0}, {"kd_temperature": 0.0}, {"purity": 0.5}, {"icv": "both"}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        ClassSpecialisedConfig(**wrong)


def test_the_configuration_in_the_repository_is_the_starting_point():
    plan = shipped("class_specialised")
    assert plan.method == ClassSpecialisedConfig()
    assert plan.selection.stages == ("F3", "F4")
    assert ClassSpecialisedConfig.model_validate_json(plan.method.model_dump_json()) == plan.method


def test_a_student_of_two_stages_resumes_exactly_reads_a_book_and_has_the_restricted_teacher_as_baseline(
    prepared, taught, tmp_path
):
    method, some = {"kind": "class_specialised"}, {"stages": ["F3", "F4"]}
    with pytest.raises(ConfigError, match=r"selection\.stages"):
        distill.run(configuration(prepared, method, teacher=str(taught)), tmp_path / "refused")
    config = configuration(prepared, method, teacher=str(taught), selection=some, train={"batch_size": 8})
    whole = check_exact_resume(config, tmp_path, cuts=(1,))
    assert read_json(whole / "card.json")["stages"] == ["F3", "F4"]

    book = write_book.WriteBookConfig(
        prepared=prepared,
        teacher=taught,
        book=BookConfig(views=3),
        selection=Selection(stages=("F3", "F4")),
        minimum_balanced_accuracy=0.0,
    )
    write_book.run(book, tmp_path / "book")
    read = configuration(prepared, method, book=str(tmp_path / "book"), selection=some, train={"batch_size": 8})
    check_export(read, tmp_path / "read")

    part = select(Prepared.open(prepared), Selection(stages=("F3", "F4")))
    rows = part.rows("test")
    answers = [
        predict(network, part.pixels[rows], Runtime("fp32", "nchw"), CPU)
        for network in (Restricted(open_network(taught), SOME).eval(), open_network(taught), open_network(whole))
    ]
    assert answers[0].shape == answers[2].shape == (len(rows), 2)
    assert np.array_equal(answers[0], answers[1][:, SOME])
    assert set(part.stages[rows]) == {0, 1}
