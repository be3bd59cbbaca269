"""Step run: what would go wrong after hours is said before any work is done."""

import pytest

from fibrokd.config import parse_config
from fibrokd.errors import ConfigError
from fibrokd.pipeline.run import RunConfig

PLAN = {"data": {"root": "images"}, "release": {"student": "student_kd"}}
STUDENT = {"backbone": "resnet18", "pretrained": False, "method": {"kind": "none"}}


@pytest.mark.parametrize("name", ["mine", "Student_kd", "student_", "student-kd", "student_KD"])
def test_a_student_of_another_name_is_told_the_rule_and_what_to_rename(name):
    with pytest.raises(ConfigError, match=r"student_ and then a-z, 0-9 or _, such as student_kd") as refusal:
        parse_config(PLAN | {"students": {"student_kd": STUDENT, name: STUDENT}}, RunConfig)
    assert f"rename {name!r} here" in refusal.value.problem


def test_students_named_by_the_rule_are_accepted():
    assert set(parse_config(PLAN | {"students": {"student_kd": STUDENT}}, RunConfig).students) == {"student_kd"}
