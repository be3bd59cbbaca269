"""The report: one self-contained HTML file made from stored numbers.

To add a section: a function in ``sections/``, a template of its id, its place in :data:`SECTIONS`. The report makes no
external request, runs no script, holds no date, and names images by their id only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.sections.agreement import agreement
from fibrokd.evaluation.sections.calibration import calibration
from fibrokd.evaluation.sections.confusion import confusion
from fibrokd.evaluation.sections.controls import controls
from fibrokd.evaluation.sections.costs import costs
from fibrokd.evaluation.sections.differences import differences
from fibrokd.evaluation.sections.end_points import end_points
from fibrokd.evaluation.sections.errors import errors
from fibrokd.evaluation.sections.external import external
from fibrokd.evaluation.sections.integrity import integrity
from fibrokd.evaluation.sections.learning import learning
from fibrokd.evaluation.sections.methods import methods
from fibrokd.evaluation.sections.overview import overview
from fibrokd.evaluation.sections.patients import patients
from fibrokd.evaluation.sections.provenance import provenance
from fibrokd.evaluation.sections.robustness import robustness
from fibrokd.evaluation.sections.rounds import rounds
from fibrokd.evaluation.sections.stage_sets import stage_sets
from fibrokd.evaluation.sections.stages import all_metrics, stages
from fibrokd.evaluation.sections.subgroups import subgroups
from fibrokd.files import write_text

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Args:
        id: Anchor of the section and name of its template.
        title: Its heading.
        function: Inputs of the report → data of the template; ``None`` where there is nothing to show.
        template: Name of its template, where that is not the id.
    """

    id: str
    title: str
    function: Callable[[ReportInputs], dict[str, Any] | None]
    template: str = ""


SECTIONS = (
    Section("overview", "Result at a glance", overview),
    Section("controls", "Could a lookup table do this?", controls),
    Section("differences", "Differences between networks", differences),
    Section("agreement", "Agreement between networks", agreement),
    Section("external", "Away from home", external),
    Section("rounds", "Round by round", rounds),
    Section("confusion", "Who is confused with whom", confusion),
    Section("stages", "Stage by stage", stages),
    Section("metrics", "All metrics", all_metrics),
    Section("patients", "Patients and studies", patients),
    Section("end_points", "Clinical end points", end_points),
    Section("calibration", "How sure, and how right", calibration),
    Section("stage_sets", "Sets that hold the stage", stage_sets),
    Section("subgroups", "Who is staged worse", subgroups),
    Section("robustness", "How steady the answers are", robustness),
    Section("errors", "The worst errors", errors),
    Section("learning", "How the networks learned", learning),
    Section("methods", "What the methods left behind", methods),
    Section("costs", "What it cost", costs),
    Section("integrity", "Integrity of the data", integrity),
    Section("provenance", "Provenance", provenance),
)


def render_report(inputs: ReportInputs) -> str:
    """Return the whole report as one HTML document; equal inputs give equal text."""
    return render_page(inputs, SECTIONS, "assessment report")


def render_page(inputs: ReportInputs, sections: Sequence[Section], kind: str) -> str:
    """Return sections as one HTML document.

    Args:
        inputs: What they show.
        sections: The first has the id ``overview``; the contents follow it.
        kind: What the document is, in a word or two.
    """
    environment = _environment()
    fragments = [
        {
            "id": section.id,
            "title": section.title,
            "html": Markup(environment.get_template(f"{section.template or section.id}.html").render(data)),  # noqa: S704  # autoescaped by its own template
        }
        for section in sections
        if (data := section.function(inputs)) is not None
    ]
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704  # a file of this package
    page = environment.get_template("report.html")
    return page.render(title=inputs.title, kind=kind, style=style, sections=fragments)


@cache
def _environment() -> Environment:
    """Compiled templates are kept: they cost more than what is rendered of them."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_report(path: Path, inputs: ReportInputs) -> None:
    """Render the report and write it atomically."""
    write_text(path, render_report(inputs))
