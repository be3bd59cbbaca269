"""Step run: what would go wrong after hours is said before any work is done."""

from pathlib import Path

import pytest

from fibrokd.config import parse_config
from fibrokd.errors import ConfigError
from fibrokd.pipeline.distill import StudentPlan
from fibrokd.pipeline.recipe import _knowledge
from fibrokd.pipeline.run import RunConfig
from fibrokd.training.book import BookConfig

PLAN = {"data": {"root": "images"}, "release": {"student": "student_kd"}}
STUDENT = {"backbone": "resnet18", "pretrained": False, "method": {"kind": "none"}}


@pytest.mark.parametrize("name", ["mine", "Student_kd", "student_", "student-kd", "student_KD"])
def test_a_student_of_another_name_is_told_the_rule_and_what_to_rename(name):
    with pytest.raises(ConfigError, match=r"student_ and then a-z, 0-9 or _, such as student_kd") as refusal:
        parse_config(PLAN | {"students": {"student_kd": STUDENT, name: STUDENT}}, RunConfig)
    assert f"rename {name!r} here" in refusal.value.problem


def test_students_named_by_the_rule_are_accepted():
    assert set(parse_config(PLAN | {"students": {"student_kd": STUDENT}}, RunConfig).students) == {"student_kd"}


@pytest.mark.parametrize(
    ("method", "book", "source"),
    [
        ({"kind": "none"}, {}, set()),
        ({"kind": "kd"}, {}, {"book"}),
        ({"kind": "csc_ace"}, {}, {"teacher"}),
        ({"kind": "csc_ace", "beta": 0.0}, {}, {"book"}),
        ({"kind": "ccskd", "taps": ["s16"]}, {}, {"teacher"}),
        ({"kind": "ccskd", "taps": ["s16"]}, {"stores": ["gaps:s16"]}, {"book"}),
        ({"kind": "uncertainty_kd", "thinning": {"masks": 5}}, {"stores": ["uncertainty"]}, {"teacher"}),
        (
            {"kind": "uncertainty_kd", "thinning": {"masks": 5}},
            {"stores": ["uncertainty"], "thinning": {"masks": 5}},
            {"book"},
        ),
    ],
)
def test_a_student_reads_the_book_where_the_book_holds_what_its_method_asks_for(method, book, source):
    plan = parse_config(STUDENT | {"method": method}, StudentPlan)
    form = parse_config(book, BookConfig)
    assert set(_knowledge(plan, form, Path("book"), Path("teacher"))) == source


@pytest.mark.parametrize(
    ("method", "changes", "reason"),
    [
        ({"kind": "tf_kd_reg"}, {}, "label smoothing"),
        ({"kind": "book_kd"}, {"supervised": {"label_smoothing": 0.0}}, "label_smoothing"),
        ({"kind": "ccd"}, {}, "views.joint"),
        ({"kind": "kd"}, {"selection": {"stages": ["F1", "F3"]}}, "compares stage by stage"),
    ],
)
def test_what_a_method_cannot_be_combined_with_is_refused_when_the_run_is_read(method, changes, reason):
    student = STUDENT | {"method": method, **changes}
    with pytest.raises(ConfigError, match=f"student_kd: .*{reason}"):
        parse_config(PLAN | {"students": {"student_kd": student}}, RunConfig)


def test_only_a_student_that_reads_the_book_needs_one_as_long_as_its_training():
    def parsed(method):
        student = STUDENT | {"method": method, "train": {"epochs": 5}}
        return parse_config(PLAN | {"students": {"student_kd": student}, "book": {"views": 2}}, RunConfig)

    assert parsed({"kind": "csc_ace"}).book.views == 2
    with pytest.raises(ConfigError, match="may train 5 epochs, the trajectory book holds 2 views"):
        parsed({"kind": "kd"})


def test_settings_that_are_lists_reach_students_and_steps():
    methods = [{"kind": "dil", "assistants": ["tiny"], "rounds": 1}, {"kind": "kd_explainer", "levels": [2, 3]}]
    students = {f"student_{k}": STUDENT | {"method": method} for k, method in enumerate(methods)}
    students["student_kd"] = STUDENT | {"selection": {"stages": ["F1", "F3"]}}
    plan = parse_config(PLAN | {"students": students, "assess": {"splits": ["test"]}}, RunConfig)
    assert plan.students["student_0"].method.assistants == ("tiny",)
    assert plan.students["student_1"].method.levels == (2, 3)
    assert plan.students["student_kd"].selection.stages == ("F1", "F3")
    assert plan.assess.splits == ("test",)
    rendered = {key: value for key, value in PLAN.items() if key != "data"} | {"phantom": {"patients": 40}}
    plan = parse_config(rendered | {"students": students}, RunConfig)
    assert plan.students["student_1"].method.levels == (2, 3)
    assert plan.data.labels == Path("truth.csv")


def test_a_phantom_and_data_beside_it_are_refused():
    with pytest.raises(ConfigError, match="either `phantom` or `data`, found both"):
        parse_config(PLAN | {"phantom": {"patients": 40}, "students": {"student_kd": STUDENT}}, RunConfig)
