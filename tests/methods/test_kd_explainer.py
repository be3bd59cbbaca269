"""The tree of experts: soft mixtures, hard choices, what is removed, what is frozen, and what the card tells."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from fibrokd.data.prepared import Prepared
from fibrokd.errors import BookError, ConfigError
from fibrokd.files import read_json
from fibrokd.methods import METHODS, open_network
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.kd_explainer import (
    ALL_BUT_GATES,
    METHOD,
    Annealing,
    KdExplainerConfig,
    TreeKd,
    gate_entropy,
    make_tree,
    sharing,
)
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import BookConfig, write_book
from fibrokd.training.carry_out import PHASES, carry_out
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.networks import build, parameter_count
from fibrokd.training.parameters import Partition, parameter_groups
from fibrokd.training.runtime import Runtime
from fibrokd.training.signals import TeacherSignal
from fibrokd.training.teachers import LiveTeacher
from tests.methods.coefficients import SHARED, VANILLA, Weighed
from tests.methods.losses import START, SUPERVISED, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, shipped, workshop
from tests.training.test_objective import K, make_batch

WEIGHED = Weighed(SHARED, {"*": VANILLA})

CONFIG = KdExplainerConfig(tap="s8", levels=(2, 3), leaf_width=8)
SMALL = {"kind": "kd_explainer", "tap": "s8", "levels": [2, 3], "leaf_width": 8, "warm_up": 0.34, "hard": 0.34}


def _tree(config=CONFIG, backbone="tiny", seed=0):
    tree = make_tree(config, build(backbone, 5, False, None, 0), seed).eval()
    for leaf in tree.leaves:
        torch.nn.init.normal_(leaf.logit.weight, generator=torch.Generator().manual_seed(3))
    return tree


def _choose(tree, routes):
    """Give every child's gate to one parent."""
    for link, route in enumerate(routes):
        scores = torch.zeros(tree.links[link])
        scores[torch.arange(len(route)), torch.tensor(route)] = 1.0
        tree.gates[link].data.copy_(scores.flatten())


@pytest.fixture
def image():
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------ gates
@pytest.mark.parametrize("temperature", [10.0, 1.0, 1 / 30])
def test_rows_of_gates_sum_to_one_and_are_the_released_formula(temperature):
    tree = _tree()
    tree.temperature.fill_(temperature)
    for link, (children, parents) in enumerate(tree.links):
        gates = tree.soft_gates(link)
        assert gates.shape == (children, parents)
        assert torch.allclose(gates.sum(1), torch.ones(children))
        scores = tree.gates[link].detach().double().view(children, parents)
        r = (scores / 0.5).softmax(1)
        assert torch.allclose(gates.detach().double(), (r.log() / temperature).softmax(1), atol=1e-5)


def test_gates_start_between_zero_and_one():
    for gates in _tree().gates:
        assert 0 <= gates.min() < gates.max() <= 1


def test_a_soft_tree_is_what_loops_say(image):
    tree = _tree()
    tree.temperature.fill_(0.7)
    with torch.no_grad():
        stem = build("tiny", 5, False, None, 0).eval()(image, taps=("s8",)).maps["s8"]
        level = [tree.experts[f"0_{n}"](stem) for n in range(2)]
        for link, children in ((0, [tree.experts[f"1_{n}"] for n in range(3)]), (1, list(tree.leaves))):
            scores = tree.gates[link].view(tree.links[link]).tolist()
            answers = []
            for c, child in enumerate(children):
                e = [math.exp(2 * a / 0.7) for a in scores[c]]
                answers.append(child(sum(w / sum(e) * said for w, said in zip(e, level, strict=True))))
            level = answers
        wanted = torch.cat([logit for logit, _ in level], dim=1)
        assert torch.allclose(tree(image).logits, wanted, atol=1e-5)


def test_cold_gates_answer_like_the_hard_tree_and_warm_ones_do_not(image):
    tree = _tree()
    tree.temperature.fill_(1e-4)
    cold = tree(image).logits
    tree.temperature.fill_(1.0)
    warm = tree(image).logits
    tree.harden()
    hard = tree(image).logits
    assert torch.allclose(cold, hard, atol=1e-5)
    assert not torch.allclose(warm, hard, atol=1e-3)


def test_the_hard_form_is_a_tree_and_every_child_has_one_parent():
    tree = _tree()
    tree.harden()
    for route, (children, parents) in zip(tree.routes, tree.links, strict=True):
        assert len(route) == children
        assert set(route) <= set(range(parents))
    paths = [tree.path(stage) for stage in range(5)]
    parent_of = {}
    for path in paths:
        for level in range(1, len(path)):
            assert parent_of.setdefault((level, path[level]), path[level - 1]) == path[level - 1]
    assert set(tree.experts) == {f"{level}_{n}" for path in paths for level, n in enumerate(path)}


def test_an_expert_that_nobody_chooses_is_removed_and_the_answer_stays(image):
    tree, whole = _tree(), _tree()
    routes = ((1, 0, 1), (0, 0, 2, 2, 0))
    _choose(tree, routes)
    _choose(whole, routes)
    tree.harden()
    assert tree.routes == routes
    assert set(tree.experts) == {"0_1", "1_0", "1_2"}
    whole.routes = routes  # hard, and everything still there
    assert torch.equal(tree(image).logits, whole(image).logits)
    with torch.no_grad():
        for parameter in whole.experts["1_1"].parameters():
            parameter.fill_(float("nan"))
    assert torch.equal(tree(image).logits, whole(image).logits)


def test_the_read_out_tells_paths_and_what_stages_share():
    tree = _tree()
    _choose(tree, ((0, 1, 1), (0, 0, 1, 2, 2)))
    tree.harden()
    assert [tree.path(stage) for stage in range(5)] == [(0, 0), (0, 0), (1, 1), (1, 2), (1, 2)]
    matrix = sharing(tree)
    assert matrix[0] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert matrix[2] == [0.0, 0.0, 1.0, 0.5, 0.5]
    assert np.array_equal(matrix, np.transpose(matrix))
    facts = METHOD.facts(tree, CONFIG)
    assert facts["sharing_of_adjacent_stages"] == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert facts["sharing_of_distant_stages"] == pytest.approx(0.5 / 6)
    assert facts["experts_left"] == 5
    assert facts["training_parameters"] == parameter_count(_tree())


def test_gate_entropy_is_one_for_equal_gates_and_falls_when_they_choose():
    tree = _tree()
    for gates in tree.gates:
        gates.data.zero_()
    assert gate_entropy(tree) == pytest.approx([1.0, 1.0])
    _choose(tree, ((0, 1, 1), (0, 0, 1, 2, 2)))
    e = [math.exp(2.0), 1.0]
    p = [v / sum(e) for v in e]
    assert gate_entropy(tree)[0] == pytest.approx(-sum(v * math.log(v) for v in p) / math.log(2), rel=1e-5)
    tree.temperature.fill_(1e-3)
    assert gate_entropy(tree)[0] > 0.5  # measured before gates are sharpened


# ------------------------------------------------------------------ network
@pytest.mark.parametrize("backbone", ["tiny", "mobilenetv3_small", "efficientnet_b0", "resnet18"])
def test_it_grows_on_every_backbone_and_drops_what_comes_after_the_tap(backbone):
    config = KdExplainerConfig()
    image = torch.rand(2, 1, 64, 64)
    plain = build(backbone, 5, False, None, 0).eval()
    answer = plain(image, taps=("s8", "s16"))
    tree = make_tree(config, plain, 0).eval()
    grown = tree(image, taps=("s8", "s16"))
    assert all(torch.equal(grown.maps[tap], answer.maps[tap]) for tap in ("s8", "s16"))
    assert grown.logits.shape == (2, 5)
    assert grown.pooled.shape == (2, 5 * 128)
    assert (grown.logits.softmax(1) - 0.2).abs().max() < 0.1  # undecided, as every new head
    for parameter in tree.parameters():
        parameter.grad = None
    tree(image).logits.sum().backward()
    assert all(p.grad is not None for p in tree.parameters())  # nothing is carried that plays no part


def test_a_deployed_tree_has_routes_instead_of_gates_and_is_built_again_from_its_shapes(image):
    tree = _tree()
    _choose(tree, ((1, 0, 1), (0, 0, 2, 2, 0)))
    tree.harden()
    plain = tree.deployed()
    assert torch.equal(plain(image).logits, tree(image).logits)
    state = plain.state_dict()
    assert not any("gates" in name or "temperature" in name for name in state)
    shapes = {name: tensor.shape for name, tensor in state.items()}
    rebuilt = METHOD.rebuild(build("tiny", 5, False, None, 9), CONFIG, shapes)
    rebuilt.load_state_dict(state)
    assert torch.equal(rebuilt.eval()(image).logits, tree(image).logits)
    assert rebuilt.routes == tree.routes
    assert parameter_count(plain) < parameter_count(tree) < parameter_count(_tree())


def test_the_same_seed_gives_the_same_tree_and_leaves_the_global_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, second, other = (make_tree(CONFIG, build("tiny", 5, False, None, 0), s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


# ------------------------------------------------------------------ training
def test_the_temperature_is_the_released_schedule_stretched_over_the_phase():
    config = KdExplainerConfig()
    for epoch in (1, 2, 10, 300):
        assert config.gate_temperature((epoch - 1) / 299) == pytest.approx(10 / epoch)
    tree = _tree()
    annealing = Annealing(config, tree, epochs=4)
    seen = []
    for done in range(4):
        annealing.restore({"done": done}, tree)
        annealing.set()
        seen.append(float(tree.temperature))
    assert seen == pytest.approx([config.gate_temperature(k / 3) for k in range(4)])
    assert seen[0] == pytest.approx(10)
    assert seen[-1] == pytest.approx(1 / 30)
    resumed = Annealing(config, tree, epochs=4)
    resumed.restore(annealing.state(), tree)
    resumed.set()
    assert float(tree.temperature) == pytest.approx(seen[3])


def test_the_loss_is_a_tenth_labels_and_nine_tenths_teacher(student, teacher):
    ours = terms_of(TreeKd(KdExplainerConfig(), SUPERVISED), student, teacher)
    theirs = terms_of(VanillaKd(KdConfig(alpha=0.9, kd_temperature=4.0), SUPERVISED), student, teacher)
    for terms in (ours, theirs):
        assert terms["supervised"].coefficient == pytest.approx(0.1)
        assert terms["kd"].coefficient == pytest.approx(14.4)
    assert all(torch.equal(ours[name].values, theirs[name].values) for name in ours)


def test_extreme_gates_and_half_precision_stay_finite(image):
    tree = _tree().train()
    tree.gates[0].data.mul_(1e4)
    tree.temperature.fill_(1 / 30)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = tree(image)
    teacher = torch.full((3, K), 1e4)
    terms = TreeKd(CONFIG, SUPERVISED)(outputs, TeacherSignal(teacher), make_batch(3), START)
    loss_of(terms).backward()
    assert all(torch.isfinite(p.grad).all() for p in tree.parameters())
    assert teacher.grad is None


def test_gates_have_their_own_rate_and_never_decay():
    tree = _tree()
    groups = parameter_groups(tree, torch.nn.Module(), Partition(rates={r"^gates\.": 0.2}), 1e-2, 0.1)
    gates = {id(p) for p in tree.gates}
    found = [g for g in groups if gates & {id(p) for p in g["params"]}]
    assert [(g["lr"], g["weight_decay"], len(g["params"])) for g in found] == [(pytest.approx(2e-3), 0.0, 2)]


def test_gates_are_frozen_in_the_first_and_last_phase_and_learn_between(prepared, tmp_path):
    data = Prepared.open(prepared)
    config = configuration(data.folder, SMALL)
    teacher = workshop(data, config).frozen(build("tiny", 5, False, None, 7))
    shop = workshop(data, config, [teacher])
    seen = []

    def watched():
        for phase in METHOD.plan(config.method, shop):
            before = [gates.detach().clone() for gates in phase.network.gates]
            yield phase
            moved = [not torch.equal(a, b) for a, b in zip(before, phase.network.gates, strict=True)]
            seen.append((phase.name, all(moved), any(moved), phase.partition.trained == ALL_BUT_GATES))

    outcome = carry_out(tmp_path / "run", data, shop.images, watched())
    assert seen == [
        ("warm_up", False, False, True),
        ("soft", True, True, False),
        ("hard", False, False, True),
    ]
    assert outcome.network.routes is not None


@pytest.mark.parametrize("backbone", ["tiny", "mobilenetv3_small"])
def test_a_tree_that_teaches_is_asked_for_no_map_behind_its_tap(prepared, tmp_path, backbone):
    tree = _tree(backbone=backbone)
    tree.harden()
    live = LiveTeacher(tree.deployed(), Runtime("fp32", "nchw"), torch.device("cpu"))
    assert {"logits", "pooled", "maps:s8", "gaps:s4"} <= live.caps
    assert not {"maps:s16", "gaps:s32"} & live.caps
    data = Prepared.open(prepared)
    for kind, missing in (("csc_ace", "maps:s16, maps:s32"), ("ccskd", "gaps:s16, gaps:s32")):
        config = configuration(prepared, {"kind": kind})
        shop = workshop(data, config, [live])
        with pytest.raises(ConfigError, match=f"a teacher that gives {missing}, found LiveTeacher"):
            carry_out(tmp_path / kind, data, shop.images, METHODS[kind].plan(config.method, shop))
    images = TrainingImages.of(data, ViewSpec())
    with pytest.raises(BookError, match="gives gaps:s32, found a TreeStudent"):
        write_book(tmp_path / "book", live, "", images, data, BookConfig(views=1, stores=("gaps:s8", "gaps:s32")))
    assert not (tmp_path / "book").exists()


@pytest.mark.parametrize(
    "wrong", [{"levels": ()}, {"levels": (1, 4)}, {"tap": "s32"}, {"warm_up": 0.6, "hard": 0.4}, {"alpha": 1.5}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        KdExplainerConfig(**wrong)


def test_a_budget_without_room_for_three_phases_is_refused():
    with pytest.raises(ConfigError, match="at least 3 epochs"):
        METHOD.check(KdExplainerConfig(), SimpleNamespace(train=SimpleNamespace(epochs=2)))


def test_a_run_cut_anywhere_ends_with_the_same_tree(prepared, taught, tmp_path):
    method = {**SMALL, "warm_up": 0.2, "hard": 0.4}
    config = configuration(prepared, method, teacher=str(taught), train={"epochs": 5})
    folder = check_exact_resume(config, tmp_path, cuts=(1, 1, 2))
    card = read_json(folder / "card.json")
    assert [phase["epochs"] for phase in card["phases"]] == [1, 2, 2]
    facts = card["method_facts"]
    exported = open_network(folder)
    assert [list(exported.path(stage)) for stage in range(5)] == facts["paths"]
    assert len(facts["gate_entropy"]) == 2
    assert all(0 < entropy <= 1 for entropy in facts["gate_entropy"])
    assert facts["gate_entropy_at_start"] == gate_entropy(make_tree(config.method, build("tiny", 5, False, None, 0), 0))
    assert facts["gate_entropy_at_start"] != facts["gate_entropy"]
    assert card["parameters"] == parameter_count(exported) < facts["training_parameters"]
    trained = make_tree(config.method, build("tiny", 5, False, None, 0), 0)
    soft = load_file(folder / PHASES / "01_soft" / "checkpoints" / "best.safetensors")
    trained.load_state_dict(soft)
    assert float(trained.temperature) == pytest.approx(1 / 30)


@pytest.mark.slow
def test_a_run_cut_within_its_warm_up_ends_with_the_same_tree(prepared, taught, tmp_path):
    config = configuration(prepared, {**SMALL, "warm_up": 0.6, "hard": 0.2}, teacher=str(taught), train={"epochs": 5})
    folder = check_exact_resume(config, tmp_path, cuts=(1, 1, 1))
    assert [phase["epochs"] for phase in read_json(folder / "card.json")["phases"]] == [3, 1, 1]


def test_the_configuration_in_the_repository_is_the_starting_point():
    assert shipped("kd_explainer").method == KdExplainerConfig()
