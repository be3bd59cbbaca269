"""Every YAML file in configs/ is a valid configuration of its step; every smoke configuration is run by a test."""

from pathlib import Path

import pytest

from fibrokd.config import load_config
from fibrokd.pipeline.distill import StudentPlan
from fibrokd.pipeline.phantom import PhantomConfig
from fibrokd.pipeline.prepare import PrepareConfig
from fibrokd.pipeline.run import RunConfig
from fibrokd.pipeline.study_plan import StudyConfig

ROOT = Path(__file__).parents[1] / "configs"
KINDS = {
    "phantom": PhantomConfig,
    "prepare": PrepareConfig,
    "smoke": RunConfig,
    "methods": StudentPlan,
    "study": StudyConfig,
    "": RunConfig,
}
# Files of the study folder that are not studies say what they are in their names.
NAMED = {"cohort.yaml": PhantomConfig, "prepare.yaml": PrepareConfig}
FILES = sorted(ROOT.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_every_configuration_is_valid(path):
    folder = "" if path.parent == ROOT else path.relative_to(ROOT).parts[0]
    kind = NAMED.get(path.name, KINDS[folder])
    assert isinstance(load_config(path, kind), kind)


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


def test_the_smoke_configurations_are_those_that_tests_run():
    assert {p.name for p in (ROOT / "smoke").glob("*.yaml")} == {"run.yaml"}
