"""Every YAML file in configs/ is a valid configuration of its step; every smoke configuration is run by a test."""

from pathlib import Path

import pytest

from fibrokd.config import load_config
from fibrokd.evaluation.claims.register import ClaimsConfig
from fibrokd.pipeline.assess import AssessConfig
from fibrokd.pipeline.compare_views import CompareViewsConfig
from fibrokd.pipeline.distill import DistillConfig
from fibrokd.pipeline.phantom import PhantomConfig
from fibrokd.pipeline.prepare import PrepareConfig
from fibrokd.pipeline.release import ReleaseConfig
from fibrokd.pipeline.run import RunConfig
from fibrokd.pipeline.study.plan import StudyConfig
from fibrokd.pipeline.teach import TeachConfig
from fibrokd.pipeline.write_book import WriteBookConfig

ROOT = Path(__file__).parents[1] / "configs"
KINDS = {
    "phantom": PhantomConfig,
    "prepare": PrepareConfig,
    "smoke": RunConfig,
    "methods": DistillConfig,
    "study": StudyConfig,
    "": RunConfig,
}
# Files of the steps' folder, and those of the study folder that are no studies, say what they are in their names.
NAMED = {
    "study/cohort.yaml": PhantomConfig,
    "study/prepare.yaml": PrepareConfig,
    "study/claims.yaml": ClaimsConfig,
    "study/views_spread.yaml": CompareViewsConfig,
    "steps/teach.yaml": TeachConfig,
    "steps/write_book.yaml": WriteBookConfig,
    "steps/distill.yaml": DistillConfig,
    "steps/assess.yaml": AssessConfig,
    "steps/release.yaml": ReleaseConfig,
}
FILES = sorted(ROOT.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_every_configuration_is_valid(path):
    name = path.relative_to(ROOT).as_posix()
    kind = NAMED.get(name) or KINDS["" if path.parent == ROOT else path.relative_to(ROOT).parts[0]]
    given = ["prepared=somewhere"] if path.parent.name == "methods" else []  # the data are named on the command line
    assert isinstance(load_config(path, kind, given), kind)


def test_the_paper_configuration_is_the_published_recipe():
    config = load_config(ROOT / "paper.yaml", RunConfig, ["data.root=some/folder"])
    assert config.teacher.backbone == "resnet50"
    assert config.teacher.pretrained
    assert {plan.backbone for plan in config.students.values()} == {
        "mobilenetv3_small",
        "resnet18",
        "efficientnet_b0",
    }
    method = config.students["student_kd"].method
    assert (method.kind, method.kd_temperature, method.alpha) == ("kd", 3.0, 0.6)
    assert config.preprocess.size == 224
    assert config.views.mixup_alpha > 0
    assert config.teacher.supervised.class_weights == "balanced"
    assert config.teacher.supervised.label_smoothing > 0
    assert config.teacher.train.schedule.kind == "plateau"


def test_the_configurations_of_single_steps_lead_from_one_to_the_next():
    book = load_config(ROOT / "steps" / "write_book.yaml", WriteBookConfig)
    student = load_config(ROOT / "steps" / "distill.yaml", DistillConfig)
    teacher = load_config(ROOT / "steps" / "teach.yaml", TeachConfig)
    assess = load_config(ROOT / "steps" / "assess.yaml", AssessConfig)
    release = load_config(ROOT / "steps" / "release.yaml", ReleaseConfig)
    assert student.views == book.views
    assert teacher.views.seed != book.views.seed
    assert student.train.epochs <= book.book.views
    assert {item.prepared for item in (book, student, teacher, assess, release)} == {teacher.prepared}
    assert book.teacher == assess.networks["teacher"]
    assert release.student == assess.networks["student_kd"]


def test_every_arm_that_a_claim_names_is_one_of_a_study():
    register = load_config(ROOT / "study" / "claims.yaml", ClaimsConfig)
    studies = {path.stem: path for path in (ROOT / "study").rglob("*.yaml")}
    wanted = {arm.study for claim in register.claims.values() for arm in claim.arms}
    loaded = {name: load_config(studies[name], StudyConfig) for name in wanted}
    for claim in register.claims.values():
        for arm in claim.arms:
            study = loaded[arm.study]
            teacher = arm.arm.removeprefix("teacher:")
            assert arm.arm in study.arms or (teacher != arm.arm and teacher in study.teachers), arm
            assert arm.fraction in study.fractions, arm
            assert len(study.seeds) >= register.seeds
            assert len(study.backbones) == 1 or arm.backbone in study.backbones, arm


def test_the_smoke_configurations_are_those_that_tests_run():
    assert {p.name for p in (ROOT / "smoke").glob("*.yaml")} == {"run.yaml"}
