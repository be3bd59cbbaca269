"""Fixtures of tests about reports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fibrokd.evaluation import figures
from fibrokd.evaluation.report import render_report
from fibrokd.evaluation.sections import calibration as calibration_section
from fibrokd.evaluation.sections import end_points as end_point_section
from tests.evaluation.made_up_report import (
    once,
    report_inputs,
)


@pytest.fixture(autouse=True, scope="session")
def charts_drawn_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for section, name in (
            (end_point_section, "roc_uri"),
            (end_point_section, "benefit_uri"),
            (calibration_section, "reliability_uri"),
        ):
            patch.setattr(section, name, once(getattr(figures, name)))
        yield


@pytest.fixture(scope="session")
def html() -> str:
    return render_report(report_inputs())
