"""Step run: what would go wrong after hours is said before any work is done."""

from pathlib import Path

import pytest

from fibrokd.config import parse_config
from fibrokd.errors import ConfigError
from fibrokd.pipeline.distill import StudentPlan
from fibrokd.pipeline.run import RunConfig, _knowledge
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
