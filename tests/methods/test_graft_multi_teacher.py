"""Dual-stage grafting: whose targets, which parts train when, and what is deployed in the end."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fibrokd.data.prepared import Prepared
from fibrokd.data.preprocess import as_network_input
from fibrokd.errors import ConfigError, TrainingError
from fibrokd.methods import open_network
from fibrokd.methods.graft_multi_teacher import METHOD, GraftConfig, GraftLoss, integrate
from fibrokd.pipeline import distill, teach
from fibrokd.training.augment import ViewSpec
from fibrokd.training.carry_out import carry_out
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.grafting import BLOCKS, Grafted
from fibrokd.training.networks import StagingNetwork, build, parameter_count
from fibrokd.training.quality import teacher_qualities, unseen_rows
from fibrokd.training.signals import EnsembleSignal, TeacherSignal
from fibrokd.training.teachers import LiveTeacher
from tests.factories import write_prepared
from tests.methods.coefficients import Weighed
from tests.methods.losses import SUPERVISED, terms_of
from tests.methods.tiny import check_exact_resume, configuration, online, shipped, weights, workshop
from tests.training.test_objective import K, make_batch, value

WEIGHED = Weighed({"kd_temperature": 2.0}, {"*": {"graft": 2.0**2}})

CPU = torch.device("cpu")
KIND = {"kind": "graft_multi_teacher"}
ADAPTING = (("adapters", "weight"), ("exits", "bias"))


def _logits(seed, scale=1.0):
    return scale * torch.randn(8, K, generator=torch.Generator().manual_seed(seed))


def _signal(*logits):
    return EnsembleSignal.of([TeacherSignal(z) for z in logits])


def _term(config, logits, signal, batch, quality=(0.9, 0.8), host=0):
    objective = GraftLoss(config, quality[: len(signal.members)], host, SUPERVISED)
    return terms_of(objective, logits, signal, batch)["graft"]


@pytest.fixture(scope="module")
def teachers(prepared, tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("teachers"), []
    for seed in range(2):
        train = configuration(prepared, {"kind": "none"}, train={"epochs": 1, "seed": seed}).train
        config = teach.TeachConfig(prepared=prepared, backbone="tiny", pretrained=False, train=train)
        teach.run(config, folder / str(seed))
        made.append(str(folder / str(seed)))
    return made


def test_the_integrated_target_is_what_loops_over_images_and_teachers_give():
    batch, config = make_batch(), GraftConfig(kd_temperature=2.0, sharpness=5.0, doubt=0.01)
    teachers, student, quality = (_logits(1, 3.0), _logits(2, 2.0)), _logits(3), (0.9, 0.7)
    truth = SUPERVISED.targets(batch, K).double().numpy()
    total = 0.0
    for i in range(8):
        weights_, answers, agreed = [], [], 0.0
        for logits, v in zip(teachers, quality, strict=True):
            e = np.exp(logits[i].double().numpy() / 2)
            answers.append(e / e.sum())
            top, lam = int(e.argmax()), float(batch.lam[i])
            a = lam * (top == batch.stages[i].item()) + (1 - lam) * (top == batch.partner_stages[i].item())
            agreed += a
            weights_.append(math.exp(5.0 * v) * (a + 0.01))
        target = sum(w * p for w, p in zip(weights_, answers, strict=True)) / sum(weights_)
        if agreed == 0:
            target = 0.5 * target + 0.5 * truth[i]
        e = np.exp(student[i].double().numpy() / 2)
        total += float((target * (np.log(target) - np.log(e / e.sum()))).sum())
    term = _term(config, student, _signal(*teachers), batch, quality)
    assert value(term).item() == pytest.approx(total / 8, rel=1e-5)
    assert term.coefficient == 4.0


def test_the_parents_loss_is_the_squared_distance_of_unit_logits_to_the_hosts():
    batch, student, host, other = make_batch(), _logits(1), _logits(2), _logits(3)
    term = _term(GraftConfig(graft_loss="norm_mse"), student, _signal(other, host), batch, host=1)
    wanted = F.mse_loss(F.normalize(student), F.normalize(host), reduction="sum") / 8
    assert torch.allclose(value(term), wanted)
    permuted = make_batch(seed=5)
    assert torch.equal(
        term.values, _term(GraftConfig(graft_loss="norm_mse"), student, _signal(other, host), permuted, host=1).values
    )


def test_limits_of_the_integration():
    batch, config, truth = make_batch(), GraftConfig(), SUPERVISED.targets(make_batch(), K)
    first, second = _logits(1).softmax(1), _logits(2).softmax(1)
    somebody = integrate([first], (0.5,), config, batch, first)
    assert torch.allclose(somebody, first)  # one teacher, and nothing to mend it with but itself
    assert torch.allclose(integrate([first, first], (0.9, 0.1), GraftConfig(labels=False), batch, truth), first)
    best = integrate([first, second], (0.5, 0.9), GraftConfig(labels=False, sharpness=1e4), batch, truth)
    assert torch.allclose(best, second)
    equal = integrate([first, second], (0.7, 0.7), GraftConfig(labels=False), batch, truth)
    assert torch.allclose(equal, (first + second) / 2)


def test_the_limits_hold_with_labels_too_wherever_somebody_is_right():
    batch = make_batch(mixed=False)
    first, second = _logits(1, 2.0), _logits(2, 2.0)
    first[::2, :], second[1::2, :] = 6.0 * F.one_hot(batch.stages, K)[::2], 6.0 * F.one_hot(batch.stages, K)[1::2]
    first, second = first.softmax(1), second.softmax(1)
    truth = SUPERVISED.targets(batch, K)
    right = {name: answer.argmax(1) == batch.stages for name, answer in (("first", first), ("second", second))}
    assert 4 <= right["first"].sum() < 8
    assert (right["first"] | right["second"]).all()
    alone = integrate([first], (0.4,), GraftConfig(), batch, truth)
    assert torch.allclose(alone[right["first"]], first[right["first"]])
    same = integrate([first, first], (0.9, 0.1), GraftConfig(), batch, truth)
    assert torch.allclose(same[right["first"]], first[right["first"]])
    best = integrate([first, second], (0.5, 0.9), GraftConfig(sharpness=1e4), batch, truth)
    assert torch.allclose(best, second)  # wherever it is right or wrong, for the other one is not listened to


def test_whoever_is_right_outweighs_the_better_teacher_and_labels_mend_what_nobody_knows():
    batch = make_batch(mixed=False)
    right, wrong = F.one_hot(batch.stages, K).float(), F.one_hot((batch.stages + 1) % K, K).float()
    truth = SUPERVISED.targets(batch, K)
    told = integrate([wrong, right], (0.9, 0.8), GraftConfig(), batch, truth)
    assert (told.argmax(1) == batch.stages).all()
    mended = integrate([wrong, wrong], (0.9, 0.8), GraftConfig(), batch, truth)
    assert torch.allclose(mended, 0.5 * wrong + 0.5 * truth)
    assert torch.allclose(integrate([wrong, wrong], (0.9, 0.8), GraftConfig(labels=False), batch, truth), wrong)


@pytest.mark.parametrize("loss", ["soft_kl", "norm_mse"])
def test_extreme_logits_stay_finite_and_teachers_get_no_gradient(loss):
    for scale in (0.0, 1e4):
        x, t = _logits(1, scale).requires_grad_(), _logits(2, scale).requires_grad_()
        term = _term(GraftConfig(graft_loss=loss), x, _signal(t.detach(), t.detach().flip(0)), make_batch())
        value(term).backward()
        assert torch.isfinite(value(term))
        assert torch.isfinite(x.grad).all()
        assert t.grad is None


def test_the_teachers_own_block_behind_identity_adapters_has_no_loss():
    host = online(1)
    grafted = Grafted(host.network, build("tiny", 5, False, None, 1), 0).eval()
    for adapter in grafted.adapters.values():
        torch.nn.init.dirac_(adapter.weight)
    images = torch.rand(8, 1, 32, 32)
    for first, last in ((1, 1), (3, 3), (1, 4)):
        grafted.graft(first, last)
        signal = _signal(host.network(images).logits.detach())
        term = _term(GraftConfig(graft_loss="norm_mse"), grafted(images).logits, signal, make_batch())
        assert value(term).item() == pytest.approx(0, abs=1e-9)


def test_every_phase_trains_what_it_grafts_at_its_rate_and_leaves_hosts_alone(prepared, tmp_path):
    data, rates = Prepared.open(prepared), {"block_rate": 0.25, "net_rate": 0.1}
    config = configuration(
        prepared,
        {**KIND, "quality": [0.2, 0.6], "adapter_factor": 10, "rate_by_shots": True, **rates},
        train={"epochs": 12},
    )
    sources, seen = [online(1), online(2)], []
    shop, before = workshop(data, config, sources), [weights(source.network) for source in sources]

    def watched():
        for phase in METHOD.plan(config.method, shop):
            start = weights(phase.network)
            yield phase
            changed = {n for n, v in weights(phase.network).items() if not torch.equal(v, start[n])}
            assert changed
            assert all(phase.partition.trains(n.replace("running_mean", "weight")) for n in changed if "num_b" not in n)
            factors = {phase.partition.factor(f"{name}.s2t_1.{kind}") for name, kind in ADAPTING}
            seen.append((phase.name, phase.train.epochs, phase.train.learning_rate, factors))
            assert phase.network.host is sources[1].network

    carry_out(tmp_path, data, shop.images, watched())
    few = 20 / 5 / 10  # images per stage ÷ 10
    assert seen == [
        *[(f"block_{j}", 1, pytest.approx(3e-3 * 0.25 * few), {10.0}) for j in range(1, BLOCKS + 1)],
        *[(f"net_{j}", n, pytest.approx(3e-4), {1.0}) for j, n in ((2, 2), (3, 2), (4, 4))],
    ]
    for source, old in zip(sources, before, strict=True):
        assert all(torch.equal(tensor, old[name]) for name, tensor in source.network.state_dict().items())


def test_a_run_cut_between_and_within_phases_ends_with_the_same_stock_student(prepared, teachers, tmp_path):
    shares = {"block_share": 0.125, "net_share": 0.125}  # one epoch of each, two of the last
    # Clipped in every step: what parts that are frozen by now were last told must not count.
    config = configuration(prepared, {**KIND, **shares}, teacher=teachers, train={"gradient_clip": 0.1, "epochs": 8})
    folder = check_exact_resume(config, tmp_path, cuts=(1, 4, 2))
    network = open_network(folder)
    assert type(network) is StagingNetwork
    card = json.loads((folder / "card.json").read_text())
    assert card["parameters"] == parameter_count(build("tiny", 5, False, None, 0))
    assert card["method_facts"]["host"] == "tiny"
    assert card["method_facts"]["trained_parameters"] - card["method_facts"]["adapter_parameters"] == card["parameters"]


def test_a_few_shots_suffice_to_run(prepared, teachers, tmp_path):
    config = configuration(
        prepared,
        {**KIND, "graft_loss": "norm_mse"},
        teacher=teachers[0],
        selection={"shots": 1},
        views={"mixup_alpha": 0.0},
        train={"epochs": 7},
    )
    distill.run(config, tmp_path / "run")
    assert json.loads((tmp_path / "run/card.json").read_text())["training_images"] == K


def test_few_shots_are_not_mixed_and_every_phase_has_an_epoch(prepared):
    few = configuration(prepared, KIND, selection={"shots": 5}, train={"epochs": 7})
    with pytest.raises(ConfigError, match=r"Expected no MixUp where .* has 5 image"):
        METHOD.check(few.method, few)
    METHOD.check(few.method, few.model_copy(update={"views": ViewSpec(mixup_alpha=0.0)}))
    short = configuration(prepared, KIND, train={"epochs": 6})
    with pytest.raises(ConfigError, match="at least 7 epochs"):
        METHOD.check(short.method, short)


def test_the_parents_loss_asks_the_host_alone(prepared):
    data = Prepared.open(prepared)
    config = configuration(prepared, {**KIND, "graft_loss": "norm_mse", "quality": [0.2, 0.6]}, train={"epochs": 7})
    sources = [online(1), online(2)]
    phase = next(METHOD.plan(config.method, workshop(data, config, sources)))
    assert phase.teacher.members == (sources[1],)
    assert (phase.objective.host, phase.network.host) == (0, sources[1].network)


def test_qualities_are_measured_where_no_teacher_was_trained_or_not_at_all(tmp_path):
    folder = write_prepared(tmp_path / "prepared", patients=100)
    data = Prepared.open(folder)
    selection = {"fraction": 0.6}
    train = configuration(folder, {"kind": "none"}, train={"epochs": 1}).train
    common = {"prepared": folder, "backbone": "tiny", "pretrained": False, "train": train}
    teach.run(teach.TeachConfig(**common, selection=selection), tmp_path / "part")
    teach.run(teach.TeachConfig(**common), tmp_path / "all")
    part, whole = (LiveTeacher.open(tmp_path / name, data, CPU) for name in ("part", "all"))
    images = TrainingImages.of(data, configuration(folder, KIND).views)
    rows = unseen_rows([part], images)
    groups = data.table.set_index("image_id")["group"]
    unseen = {images.image_ids[k] for k in rows}
    assert len(rows) == len(images) - len(part.seen) > 0
    assert not {groups[name] for name in unseen} & {groups[name] for name in part.seen}
    (found,) = teacher_qualities([part], images, 5)
    answer = part.network(torch.from_numpy(as_network_input(images.pixels[rows]))).logits.argmax(1).numpy()
    truth = images.stages[rows]
    assert found == pytest.approx(np.mean([(answer[truth == k] == k).mean() for k in range(5)]))
    assert teacher_qualities([part, whole], images, 5) is None
    assert teacher_qualities([part, online(0)], images, 5) is None


def test_books_and_wrong_numbers_of_qualities_are_refused_and_a_plain_network_hosts(prepared):
    data, config = Prepared.open(prepared), configuration(prepared, {**KIND, "quality": [0.5]})
    with pytest.raises(ConfigError, match="one quality for each of 2"):
        next(METHOD.plan(config.method, workshop(data, config, [online(1), online(2)])))
    assert not METHOD.cacheable
    shaped = online(1)
    shaped.network = torch.nn.Identity()
    with pytest.raises(ConfigError, match="plain backbone"):
        next(METHOD.plan(config.method, workshop(data, config, [shaped])))
    with pytest.raises(TrainingError, match="several teachers"):
        terms_of(GraftLoss(GraftConfig(), (1.0,), 0, SUPERVISED), _logits(1), None)


@pytest.mark.parametrize(
    "nonsense", [{"graft_loss": "mse"}, {"doubt": 0}, {"quality": [2.0]}, {"block_share": 0}, {"net_share": 0.4}]
)
def test_nonsense_is_refused(nonsense, prepared):
    with pytest.raises(ConfigError):
        configuration(prepared, {**KIND, **nonsense})


def test_the_shipped_configuration_is_the_default():
    shipped_method = shipped("graft_multi_teacher").method
    assert shipped_method.shares == pytest.approx(GraftConfig().shares)
    assert shipped_method.model_copy(update={"net_share": 1 / 6, "block_share": 1 / 12}) == GraftConfig()
    assert GraftConfig.model_validate_json(GraftConfig().model_dump_json()) == GraftConfig()
