"""What a study compares: cells and their identities, declared comparisons, and the studies in configs/study."""

import math
from pathlib import Path

import pytest

from fibrokd.config import load_config
from fibrokd.errors import ConfigError
from fibrokd.pipeline.compare_views import CompareViewsConfig
from fibrokd.pipeline.study.grid import cells, configuration_digest
from fibrokd.pipeline.study.plan import StudyConfig
from fibrokd.training.grafting import BLOCKS
from fibrokd.training.mixture import split_epochs
from tests.pipeline.test_study import settings

STUDIES = Path("configs/study")
PREPARED = "somewhere"


def test_cells_come_seed_by_seed_in_the_order_of_the_arms():
    names = [cell.name for cell in cells(settings(PREPARED, backbones=["tiny", "resnet18"]))]
    assert names[:3] == ["none-tiny-f1-s0", "none-resnet18-f1-s0", "kd-tiny-f1-s0"]
    assert names[6] == "none-tiny-f1-s1"


def test_an_arm_changes_what_it_names_and_nothing_else():
    arms = {
        "kd": {
            "student": {"method": {"kind": "kd", "alpha": 0.9}, "train": {"batch_size": 16}},
            "views": {"mixup_alpha": 0.0},
        }
    }
    (cell,) = cells(settings(PREPARED, seeds=[4], arms=arms))
    assert cell.plan.method.alpha == 0.9
    assert (cell.plan.train.batch_size, cell.plan.train.epochs, cell.plan.train.seed) == (16, 2, 4)
    assert cell.views.mixup_alpha == 0
    assert cell.plan.pretrained is False


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"student": {"method": {"kind": "kd"}}, "teachers": ["nobody"]}, "unknown teacher"),
        ({"student": {"method": {"kind": "kd"}}, "teachers": []}, "takes 1 to 1"),
        ({"student": {"method": {"kind": "none"}}, "teachers": ["teacher"]}, "takes 0 to 0"),
        ({"student": {"method": {"kind": "none"}, "selection": {"fraction": 0.5}}}, "belong into `fractions`"),
        ({"student": {"method": {"kind": "kd"}, "trian": {}}}, "unknown key"),
    ],
)
def test_what_is_wrong_with_an_arm_is_said_before_anything_is_trained(arm, message):
    with pytest.raises(ConfigError, match=message):
        settings(PREPARED, arms={"x": arm})


def test_the_smoke_configuration_loads():
    config = load_config(Path("configs/study/smoke.yaml"), StudyConfig)
    assert list(config.arms) == ["none", "kd"]


def test_the_identity_of_a_simple_cell_stays_what_it_was():
    """Committed results stay valid: this digest was that of the first version of the command."""
    found = {cell.name: cell.identity(settings(PREPARED), "0" * 64) for cell in cells(settings(PREPARED))}
    assert found["none-tiny-f1-s0"] == "68883f4d1c83d2f493155399837d7513d9ae8236143d45741439e1ee2ccaa60a"
    assert found["kd-tiny-f1-s1"] == "faa888c7f49ca3e0a2c7050817309d8729854d3f3bb0ef165c9e2ac727589f94"
    assert found["online-tiny-f1-s0"] == "4a71fba548b1553253cc646688e09196d4e6eff727ecd989339bd1c0babe71c2"


def test_what_is_compared_and_how_often_it_is_resampled_is_no_part_of_an_identity():
    def identity(arm, **changes):
        config = settings(
            PREPARED, seeds=[0], arms={"none": {"student": {"method": {"kind": "none"}}}, "x": arm}, **changes
        )
        return [cell.identity(config, "0" * 64) for cell in cells(config)][1]

    plain = {"student": {"method": {"kind": "kd"}}}
    declared = plain | {"against": ["none"], "endpoints": ["quadratic_kappa"], "control": True, "note": "new"}
    assert identity(plain) == identity(declared, retry_failed=True, bootstrap={"resamples": 500})
    assert identity(plain) != identity(plain | {"online": True})


def test_studies_draw_twenty_thousand_resamples_also_where_another_key_of_the_bootstrap_is_given():
    config = settings(PREPARED, bootstrap={"level": 0.9})
    assert (config.bootstrap.resamples, config.bootstrap.level) == (20_000, 0.9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"against": ["nobody"]}, "expected other arms of the study in `against`, found nobody"),
        ({"against": ["x"]}, "expected other arms"),
        ({"against": ["none", "none"]}, "expected different arms"),
        ({"endpoints": ["log_loss"]}, "name arms there"),
        ({"against": ["none"], "endpoints": ["expected_calibration_error"]}, "endpoints"),
        ({"against": ["none"], "backbones": ["resnet18"]}, "none of its backbones"),
        ({"against": ["two"]}, "does not tell its stages apart"),
    ],
)
def test_what_is_wrong_with_a_declared_comparison_is_said_at_once(changes, message):
    none = {"student": {"method": {"kind": "none"}}}
    two = {"student": {"method": {"kind": "none"}, "selection": {"stages": ["F3", "F4"]}}}
    with pytest.raises(ConfigError, match=message):
        settings(PREPARED, arms={"none": none, "two": two, "x": none | changes})


WORDS = [
    {"title": "Other words"},
    {"shared": "elsewhere"},
    {"minutes": 0},
    {"arms": {"none": {"student": {"method": {"kind": "none"}}, "note": "words"}}},
    {"arms": {"none": {"student": {"method": {"kind": "none"}, "supervised": {"label_smoothing": 0.1}}}}},
]
FIGURES = [
    {"arms": {"alone": {"student": {"method": {"kind": "none"}}}}},
    {"arms": {"none": {"student": {"method": {"kind": "none"}}, "control": True}}},
    {"arms": {"none": {"student": {"method": {"kind": "none"}, "supervised": {"label_smoothing": 0}}}}},
    {"seeds": [0]},
    {"fractions": [0.5]},
    {"views": {"seed": 5}},
    {"bootstrap": {"resamples": 101}},
]


def test_the_digest_of_a_study_is_that_of_what_decides_its_figures():
    plain = {"arms": {"none": {"student": {"method": {"kind": "none"}}}}}
    wanted = configuration_digest(settings(PREPARED, **plain))
    assert configuration_digest(settings("elsewhere", **plain)) == wanted
    assert [configuration_digest(settings(PREPARED, **{**plain, **more})) for more in WORDS] == [wanted] * len(WORDS)
    others = {configuration_digest(settings(PREPARED, **{**plain, **more})) for more in FIGURES}
    assert len(others - {wanted}) == len(FIGURES)


def test_every_study_asks_a_question_of_its_own():
    titles = [load_config(path, StudyConfig).title for path in (STUDIES / "medium.yaml", *STUDIES.glob("regimes/*"))]
    assert len(set(titles) - {""}) == len(titles) >= 13


def test_what_arms_of_the_medium_study_are_compared_with_is_declared():
    arms = load_config(STUDIES / "medium.yaml", StudyConfig).declarations()
    assert arms["ordinal_kd"].against == ("none", "kd", "kd_heavier")
    assert arms["ordinal_kd"].endpoints == ("quadratic_kappa", "mean_absolute_stage_error")
    assert arms["reversed_kd"].against == ("none_resnet50",)
    assert arms["class_specialised"].against == ("none_f3_f4",)
    assert "kd_no_average" in arms["kddp"].against
    assert "cons_kd_no_consistency" in arms["cons_kd"].against
    controls = {name for name, arm in arms.items() if arm.control}
    assert controls == {
        "kd_heavier",
        "kd_no_average",
        "kddp_no_penalty",
        "cons_kd_no_consistency",
        "none_f3_f4",
        "none_resnet50",
    }
    assert all(any(name in (arm.against or ()) for arm in arms.values()) for name in controls)


def test_controls_of_the_medium_study_differ_from_their_arms_in_one_thing():
    config = load_config(STUDIES / "medium.yaml", StudyConfig)
    assert config.plan("kd_no_average").train == config.plan("kddp").train
    pruned, bare = (config.plan(name) for name in ("kddp", "kddp_no_penalty"))
    assert bare.train == pruned.train
    assert bare.method == pruned.method.model_copy(update={"l1": 1e-12})
    one, other = (config.plan(name) for name in ("cons_kd", "cons_kd_no_consistency"))
    assert other.method == one.method.model_copy(update={"beta": 0.0})
    big = config.teachers["teacher"].train
    for name in ("reversed_kd", "none_resnet50"):
        train = config.plan(name).train
        assert (train.learning_rate, train.batch_size, train.runtime) == (
            big.learning_rate,
            big.batch_size,
            big.runtime,
        )


@pytest.mark.parametrize(
    ("regime", "tested", "control"),
    [("low_bits", "gradual_", "fixed_"), ("few_shots", "graft_", "kd_"), ("temperature", "extractive_", "kd_")],
)
def test_arms_of_a_regime_are_compared_with_their_own_control(regime, tested, control):
    arms = load_config(STUDIES / "regimes" / f"{regime}.yaml", StudyConfig).declarations()
    for name, arm in arms.items():
        if name.startswith(tested):
            assert arm.against == (name.replace(tested, control),)
        else:
            assert arm.control


def test_few_shots_give_kd_and_grafting_as_many_steps_in_all_and_each_of_its_phases_enough():
    config = load_config(STUDIES / "regimes" / "few_shots.yaml", StudyConfig)
    for shots in (1, 5, 10, 20, 50):
        graft, kd = config.plan(f"graft_{shots}"), config.plan(f"kd_{shots}")
        assert graft.train == kd.train
        steps = math.ceil(5 * shots / graft.train.batch_size)
        assert 1600 <= steps * kd.train.epochs <= 1800
        phases = [steps * epochs for epochs in split_epochs(graft.train.epochs, graft.method.shares)]
        assert min(phases[:BLOCKS]) >= 128
        assert min(phases[BLOCKS:-1]) >= 256
        assert phases[-1] >= 530


def test_students_of_the_views_regime_see_what_the_teacher_is_asked_about():
    study = load_config(STUDIES / "regimes" / "views.yaml", StudyConfig)
    spread = load_config(STUDIES / "views_spread.yaml", CompareViewsConfig)
    views = {name.removeprefix("kd_"): study.views_of(name) for name in study.arms}
    assert views == {name: spread.policies[name] for name in views}
    assert len(views) == 6
    assert all(policy.joint is None for policy in views.values())


def test_an_arm_that_cannot_be_trained_on_one_of_its_backbones_is_refused_when_the_study_is_read(tmp_path):
    wide = {"student": {"method": {"kind": "vam", "block_size": 128}}}
    with pytest.raises(ConfigError, match=r"arm vam: .*tiny"):
        settings(tmp_path, arms={"vam": wide})
    assert settings(tmp_path, arms={"vam": wide | {"backbones": ["resnet50"]}}).backbones_of("vam") == ("resnet50",)
