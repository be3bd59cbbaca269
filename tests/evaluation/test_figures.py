"""Pictures as text: what they say, in which order, and what is drawn filled."""

from __future__ import annotations

from fibrokd.evaluation.figures import rows_svg


def test_rows_are_drawn_best_first_and_only_those_that_none_beats_at_a_lower_cost_are_filled() -> None:
    rows = {"worse": (0.5, 0.4, 0.6, 3.0), "cheap": (0.6, 0.5, 0.7, 2.0), "best": (0.7, 0.6, 0.8, 9.0)}
    svg = rows_svg(rows, "Balanced accuracy", "Seconds")
    titles = sorted(rows, key=lambda title: svg.index(f">{title}<"))
    assert titles == ["best", "cheap", "worse"]
    worse_alone = rows_svg({"best": rows["best"], "worse": rows["worse"]}, "Balanced accuracy", "Seconds")
    # Each marker is defined once and used once: white ones are those that another row beats at a lower cost.
    assert "fill: #ffffff; stroke: #0072b2" in svg
    assert "fill: #ffffff; stroke: #0072b2" not in worse_alone
    assert rows_svg(rows, "Balanced accuracy", "Seconds") == svg
