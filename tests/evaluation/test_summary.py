from __future__ import annotations

from rich.console import Console

from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.summary import interval_text, summary_table
from tests.evaluation.made_up import made_up_predictions


def test_the_table_names_size_numbers_with_intervals_and_time_of_every_network() -> None:
    parts = [made_up_predictions(name, seed=seed) for seed, name in enumerate(("teacher", "student_kd"))]
    document = metrics_document(parts, {"teacher": {"parameters": 23518277}, "student_kd": {"parameters": 1522981}})
    console = Console(width=140, record=True, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        console.print(summary_table(document, {"student_kd": 3.42}))
    lines = capture.get().splitlines()
    teacher = next(line for line in lines if "teacher" in line)
    student = next(line for line in lines if "student_kd" in line)
    assert "23,518,277" in teacher
    assert teacher.rstrip().rstrip("│").rstrip().endswith("–")
    assert "3.4" in student
    for metric in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert interval_text(document["networks"]["student_kd"]["test"][metric]) in student
    assert "95 % intervals" in lines[0]


def test_what_is_missing_is_said() -> None:
    assert interval_text({"value": None, "low": None, "high": None}) == "not estimable"
    assert interval_text({"value": 0.25, "low": None, "high": None}) == "0.250 [no interval]"
