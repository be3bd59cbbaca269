"""What may not be combined is refused before anything is trained, and by the reason."""

import itertools
import re

import pytest
import torch

from fibrokd.config import parse_config
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError, TrainingError
from fibrokd.methods import METHODS
from fibrokd.pipeline import distill
from fibrokd.training.carry_out import carry_out
from fibrokd.training.signals import TeacherSignal
from tests.factories import write_prepared
from tests.methods.arrangements import ARRANGEMENTS
from tests.methods.tiny import configuration, workshop
from tests.training.test_objective import K

ALONE = [kind for kind, spec in METHODS.items() if spec.teachers[1] == 0]
TAUGHT = [kind for kind, spec in METHODS.items() if spec.needs_teacher]
STRUCTURAL = {kind: how["structure"] for kind, how in ARRANGEMENTS.items() if "structure" in how}
"""Methods whose student is of another structure while it learns, and a setting that makes this structure."""


class Telling:
    """A source that tells logits and claims whatever a test wants."""

    reach = None

    def __init__(self, caps):
        self.caps = frozenset(caps)

    def signal(self, batch, needs=frozenset()):
        return TeacherSignal(torch.zeros(len(batch), K))

    def with_thinning(self, thinning):
        return self


def _arranged(kind, prepared, **changes):
    how = ARRANGEMENTS.get(kind, {})
    settings = {name: how[name] for name in ("views", "selection", "supervised") if name in how}
    return configuration(
        prepared,
        {"kind": kind, **how.get("method", {})},
        backbone=how.get("student", "tiny"),
        train=dict(how.get("train", {})),
        **{**settings, **changes},
    )


@pytest.mark.parametrize("source", ["book", "teacher"])
@pytest.mark.parametrize("kind", ALONE)
def test_a_method_whose_teachers_change_or_do_not_exist_takes_neither_book_nor_teacher(
    prepared, tmp_path, kind, source
):
    config = _arranged(kind, prepared, **{source: str(tmp_path / "given")})
    with pytest.raises(ConfigError, match=f"'{kind}' takes neither `book` nor `teacher`, found .*: it learns without"):
        distill.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "caps"),
    [(kind, set()) for kind in TAUGHT if kind != "graft_multi_teacher"]
    + [(kind, {"logits"}) for kind in TAUGHT if METHODS[kind].needs - {"logits"}],
)
def test_a_teacher_that_cannot_give_what_is_asked_for_is_refused_by_the_name_of_what_is_missing(
    prepared, tmp_path, kind, caps
):
    missing = sorted(METHODS[kind].needs - caps)
    data, config = Prepared.open(prepared), _arranged(kind, prepared)
    shop = workshop(data, config, [Telling(caps)])
    with pytest.raises(ConfigError, match=f"a teacher that gives {', '.join(missing)}, found Telling"):
        carry_out(tmp_path, data, shop.images, METHODS[kind].plan(config.method, shop))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def taught_elsewhere(tmp_path_factory):
    """The folder of a network that learned from another prepared folder: of images that may be test images here."""
    folder = tmp_path_factory.mktemp("elsewhere")
    other = write_prepared(folder / "prepared", patients=50, frames=1, seed=1)
    distill.run(configuration(other, {"kind": "none"}, train={"epochs": 1}), folder / "teacher")
    return folder / "teacher"


@pytest.mark.parametrize("kind", TAUGHT)
def test_a_teacher_of_another_split_is_refused(prepared, taught_elsewhere, tmp_path, kind):
    config = _arranged(kind, prepared, teacher=str(taught_elsewhere))
    with pytest.raises(TrainingError, match="was trained on another prepared folder"):
        distill.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_who_grafts_needs_a_network_to_graft_on(prepared):
    config = _arranged("graft_multi_teacher", prepared)
    shop = workshop(Prepared.open(prepared), config, [Telling({"logits"})])
    with pytest.raises(ConfigError, match="answer online, found a book"):
        next(METHODS["graft_multi_teacher"].plan(config.method, shop))


@pytest.mark.parametrize("kind", [kind for kind in TAUGHT if not METHODS[kind].subsets])
def test_a_student_of_some_stages_is_not_compared_stage_by_stage_with_a_teacher_of_all(prepared, tmp_path, kind):
    config = _arranged(kind, prepared, teacher=str(tmp_path / "given"), selection={"stages": ["F1", "F3"]})
    with pytest.raises(ConfigError, match=f"'{kind}' compares stage by stage"):
        distill.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("kind", "other"), list(itertools.permutations(STRUCTURAL, 2)))
def test_a_student_has_one_structure(kind, other):
    """A run names one method, and no method takes a setting that makes another's structure."""
    setting = STRUCTURAL[other]
    value = METHODS[other].config().as_json()[setting]
    with pytest.raises(ConfigError, match=f"{setting}: unknown key, a setting of kind .*{other}.*one structure"):
        parse_config({"method": {"kind": kind, setting: value}}, distill.StudentPlan)
    with pytest.raises(ConfigError, match=r"method: .*found \[.*one structure"):
        parse_config({"method": [{"kind": kind}, {"kind": other}]}, distill.StudentPlan)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"train": {"pretrained": False}}, r"train\.pretrained: unknown key, known here"),
        ({"train": {"method": {}}}, r"train\.method: unknown key"),
        ({"train": {"runtime": {"epochs": 3}}}, r"train\.runtime\.epochs: unknown key, known here"),
        (
            {"method": {"kind": "uncertainty_kd", "thinning": {"alpha": 1}}},
            r"thinning\.alpha: unknown key, (did|known)",
        ),
        ({"method": {"kind": "kd", "alpha": [0.5, 0.6]}}, r"kd\.alpha: .*\(found \[0\.5, 0\.6\]\)$"),
        ({"method": {"kind": "dil", "assistants": []}}, r"dil\.assistants: .*\(found \[\]\)$"),
        ({"selection": {"stages": ["F1", "F1"]}}, r"stages: .*\(found \['F1', 'F1'\]\)$"),
    ],
)
def test_other_mistakes_are_told_as_everywhere(data, said):
    with pytest.raises(ConfigError) as error:
        parse_config(data, distill.StudentPlan)
    assert re.search(said, error.value.problem), error.value.problem


def test_a_setting_of_no_method_is_an_unknown_key_as_everywhere():
    with pytest.raises(ConfigError, match=r"method\.kd\.alhpa: unknown key"):
        parse_config({"method": {"kind": "kd", "alhpa": 0.5}}, distill.StudentPlan)


@pytest.mark.parametrize("kind", ALONE)
def test_there_is_no_noise_where_no_teacher_is_given(prepared, tmp_path, kind):
    config = _arranged(kind, prepared, teacher_noise={"share": 0.3})
    with pytest.raises(ConfigError, match="for `teacher_noise` to mislead, found none"):
        distill.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
