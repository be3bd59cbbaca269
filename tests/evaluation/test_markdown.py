"""Tables in Markdown."""

from __future__ import annotations

import pytest

from fibrokd.evaluation.markdown import table


def test_a_table_has_a_line_per_row_and_escapes_what_would_end_a_cell() -> None:
    assert table(["loss", "why"], [["p(y|x)", "none\n"]]) == ["| loss | why |", "| --- | --- |", "| p(y\\|x) | none |"]


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 cells, found 1"):
        table(["loss", "why"], [["p"]])
