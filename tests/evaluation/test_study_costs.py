"""What a study's arms cost: own, other networks', shared; lower bounds are called so, and nothing uncounted is 0."""

import pytest

from fibrokd.evaluation.study.document import study_document
from fibrokd.evaluation.study.families import Declaration
from fibrokd.evaluation.study.pooled import Trial
from fibrokd.evaluation.study.table import study_markdown
from tests.evaluation.test_study import CONFIG, FACTS, answers

PHASES = [
    {"name": "init_0", "network": 0, "images_trained": 40, "seconds": 3.0},
    {"name": "teach_1", "network": 1, "images_trained": 20, "seconds": 2.0},
    {"name": "feedback_1", "network": 0, "images_trained": 10, "seconds": 1.0},
    {"name": "teach_2", "network": 1, "images_trained": 25, "seconds": 2.5},
]
WHOLE = {
    "train_seconds": 9.0, "cpu_seconds": 8.0, "book_teacher_forwards": 500, "online_teacher_forwards": 37,
    "own_teacher_forwards": 55, "attempts": 1, "attempts_begun": 1, "phases": PHASES,
    "books": [{"cost": {"wall_seconds": 7.0, "attempts": 1, "attempts_begun": 1}}],
}  # fmt: skip
TEACHER = {"train_seconds": 11.0, "book_teacher_forwards": 0, "online_teacher_forwards": 0}


def table(*costs, inputs=("prepared",), teacher=TEACHER):
    """The row of arm `x` by column, of one seed per cost; and its figures in study.json."""
    facts = [FACTS | {"inputs": dict.fromkeys(inputs, "d"), "cost": cost} for cost in costs]
    trials = [Trial("x", "tiny", 1.0, seed, answers(0.5, seed), f) for seed, f in enumerate(facts)]
    taught = [] if teacher is None else [Trial("t", "big", 1.0, 0, answers(0.9, 9), FACTS | {"cost": teacher})]
    found = study_document(trials, {"x": Declaration(teachers=("t",))}, ("none",), CONFIG, taught)
    lines = study_markdown(found).split("### What training cost")[1].splitlines()
    head, row = (next(line for line in lines if line.startswith(f"| {start}")) for start in ("Arm", "`x`"))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (head, row)]
    return dict(zip(*cells, strict=True)), found["rows"][0]["cost"]


def test_the_student_other_networks_own_and_given_teachers_and_what_is_shared_are_told_apart():
    row, cost = table(WHOLE)
    assert list(row.values()) == ["`x`", "9", "8", "4", "45", "50", "37", "55", "500", "7", "11"]
    assert cost["other_networks_seconds"] == 4.0
    assert cost["at_least"] == []


def test_what_an_earlier_version_did_not_count_is_said_and_is_not_nought():
    """The first versions wrote no more than this; then came answers online and the costs of books."""
    oldest = {"train_seconds": 9.0, "book_teacher_forwards": 500}
    row, cost = table(oldest, inputs=("prepared", "teacher"), teacher=None)
    assert list(row.values()) == ["`x`", "9", *["not counted"] * 6, "500", "not counted", "not counted"]
    assert cost["own_teacher_forwards"] is cost["images_trained"] is cost["book_seconds"] is None
    later = {name: WHOLE[name] for name in ("train_seconds", "book_teacher_forwards", "online_teacher_forwards")}
    row, _ = table(later | {"attempts": 1, "books": [{"cost": {"wall_seconds": 7.0, "attempts": 1}}]})
    assert list(row.values()) == ["`x`", "9", *["not counted"] * 4, "37", "not counted", "500", "7", "11"]


def test_without_a_teacher_online_none_answered_though_it_was_not_counted():
    assert table({"train_seconds": 9.0, "book_teacher_forwards": 0})[1]["online_teacher_forwards"] == 0


def test_one_seed_that_was_not_counted_leaves_the_arm_without_a_figure():
    missing = {name: value for name, value in WHOLE.items() if name not in ("own_teacher_forwards", "phases")}
    row, _ = table(WHOLE, missing)
    assert row["Answers of own teachers"] == row["Images, student"] == "not counted"
    assert row["Answers of given teachers online"] == "37"


def test_processor_time_is_that_of_the_seeds_that_counted_it():
    earlier = {name: value for name, value in WHOLE.items() if name != "cpu_seconds"}
    row, cost = table(earlier, WHOLE | {"cpu_seconds": 6.0}, WHOLE)
    assert (row["Processor s"], cost["cpu_seconds"]) == ("7", 7.0)


def test_without_a_book_its_seconds_are_nought():
    assert table(WHOLE | {"book_teacher_forwards": 0, "books": []})[1]["book_seconds"] == 0


@pytest.mark.parametrize(
    ("cost", "teacher", "marked"),
    [
        (WHOLE | {"attempts_begun": 2}, TEACHER, {1, 2, 3, 6, 7}),
        (WHOLE | {"books": [{"cost": {"wall_seconds": 7.0, "attempts": 1, "attempts_begun": 3}}]}, TEACHER, {9}),
        (WHOLE, TEACHER | {"last_attempt_alone": True}, {10}),
        (WHOLE | {"attempts": 2, "attempts_begun": 2}, TEACHER, set()),
    ],
)
def test_figures_that_lack_what_a_killed_attempt_spent_are_called_lower_bounds(cost, teacher, marked):
    row, _ = table(cost, teacher=teacher)
    assert {k for k, cell in enumerate(row.values()) if cell.startswith("≥ ")} == marked


def test_latency_is_the_least_of_all_networks_of_a_shape_and_none_of_another():
    def one(arm, seed, parameters, ms, backbone="tiny"):
        facts = FACTS | {"parameters": parameters, "latency_ms": ms, "cost": WHOLE}
        return Trial(arm, backbone, 1.0, seed, answers(0.5, seed), facts)

    trials = [one("a", 0, 10, 300.0), one("a", 1, 10, 5.0), one("b", 0, 10, 4.0), one("b", 1, 8, 9.0)]
    taught = [one("t", 0, 10, 1.0, backbone="big")]
    found = study_document(trials, {"a": Declaration(), "b": Declaration()}, (), CONFIG, taught)
    assert {row["arm"]: row["cost"]["latency_ms"] for row in found["rows"]} == {"a": 4.0, "b": 6.5, "teacher:t": 1.0}
