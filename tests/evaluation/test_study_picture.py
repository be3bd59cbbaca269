"""The picture of a study: which rows it has, in which order, what it calls them, and what it says in words."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from fibrokd.evaluation.figures import rows_svg
from fibrokd.evaluation.study.picture import study_picture

SVG = "{http://www.w3.org/2000/svg}"


def row(arm: str, stages: int = 5, cpu: float | None = 2.0, value: float | None = 0.5, **more: Any) -> dict[str, Any]:
    figure = {"value": value, "low": 0.4, "high": 0.6}
    cost = {"cpu_seconds": cpu, "train_seconds": 9.0}
    where = {"arm": arm, "backbone": "tiny", "fraction": 1.0, "seeds": [0, 1, 2], "control": False}
    return {**where, "stages": ["F"] * stages, "metrics": {"balanced_accuracy": figure}, "cost": cost, **more}


def texts(svg: str) -> dict[str, float]:
    """Every text of a picture and how far down it stands."""
    found = {}
    for element in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        place = re.search(r"translate\(\S+ (\S+)\)", element.get("transform", ""))
        found["".join(element.itertext())] = float(place[1]) if place else float(element.get("y", "nan"))
    return found


def test_rows_stand_one_below_the_other_best_first_and_the_cheaper_one_first_where_they_are_equal() -> None:
    rows = {"worse": (0.5, 0.4, 0.6, 3.0), "dear": (0.7, 0.6, 0.8, 9999.0), "cheap": (0.7, 0.6, 0.8, 1234.5)}
    svg = rows_svg(rows, "Balanced accuracy", "Seconds")
    down = texts(svg)
    assert down["cheap"] < down["dear"] < down["worse"]
    assert rows_svg(rows, "Balanced accuracy", "Seconds") == svg


def test_what_is_seen_is_also_said() -> None:
    svg = rows_svg({"a<b": (0.5, 0.4, 0.6, 3.0)}, "Balanced accuracy", "Seconds\n(of one cell)")
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "Balanced accuracy, and Seconds (of one cell)"
    assert root.findtext(f"{SVG}desc") == "a<b: 0.500 (0.400 to 0.600), 3"


@pytest.mark.parametrize("wrong", [(float("nan"), 0.4, 0.6, 3.0), (0.5, 0.4, 0.6, 0.0), (0.5, 0.4, 0.6, float("inf"))])
def test_what_cannot_be_drawn_is_refused(wrong: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="of kd"):
        rows_svg({"kd": wrong}, "Balanced accuracy", "Seconds")


def picture(rows: list[dict[str, Any]]) -> str:
    found = study_picture({"rows": rows, "bootstrap": {"level": 0.95}})
    assert found is not None
    return found


def test_where_nothing_was_estimated_there_is_no_picture() -> None:
    assert study_picture({"rows": [row("lost", value=None)], "bootstrap": {"level": 0.95}}) is None
    with pytest.raises(ValueError, match="at least one row"):
        rows_svg({}, "Balanced accuracy", "Seconds")


def test_it_shows_what_can_be_compared_and_names_no_more_than_it_must() -> None:
    rows = [row("none"), row("kd"), row("two", stages=2), row("teacher:big"), row("lost", value=None)]
    shown = texts(picture(rows))
    assert {"none", "kd"} <= set(shown)
    assert not {"two", "teacher:big", "lost"} & set(shown)
    assert "Processor time of one cell, seconds" in shown
    assert "none, tiny" in texts(picture([row("none"), row("none", backbone="resnet18")]))
    assert "none, 25 %" in texts(picture([row("none"), row("none", fraction=0.25)]))
    assert "Training time of one cell, seconds" in texts(picture([row("none"), row("kd", cpu=None)]))


def test_it_says_which_arms_are_controls_and_which_have_too_few_seeds() -> None:
    shown = texts(picture([row("none", control=True), row("kd", seeds=[0, 1])]))
    assert {"none, control", "kd, 2 of 3 seeds"} <= set(shown)


def test_bounds_that_are_not_known_are_not_drawn_as_if_they_were() -> None:
    unknown = row("kd")
    unknown["metrics"]["balanced_accuracy"].update(low=None, high=None)
    assert "kd: 0.500, 2<" in picture([unknown])
