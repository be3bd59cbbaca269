"""docs/methods.md: the catalogue of distillation methods as a page, written from what the methods say of themselves.

Must not know any particular method. Figures are those of the study.json files that are given
(:mod:`fibrokd.pipeline.methods_results`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fibrokd.evaluation.claims.register import ClaimsConfig
from fibrokd.evaluation.markdown import table
from fibrokd.pipeline.methods_reported import Reporter, reported_table
from fibrokd.pipeline.methods_results import results_table, studies_table
from fibrokd.training.method import GRADES, MethodSpec

_NOTATION = """\
Notation: z logits, p = softmax(z), p^T = softmax(z / T); s student, t teacher; L_sup the shared supervised term
(class-weighted cross-entropy with label smoothing ε under MixUp); α multiplies the distillation term unless said
otherwise; KL sums over stages and is averaged over images; K stages, B images of a batch."""

_COMMANDS = """\
The command of a section trains a student with the method's own configuration, on a prepared folder and with a finished
teacher; where the table says that it reads a book, `--set book=FOLDER` may stand in place of `teacher`. From there,
`fibrokd assess` and `fibrokd release` lead to a bundle (`configs/steps/`)."""


def methods_page(
    methods: Mapping[str, MethodSpec],
    studies: Mapping[str, Mapping[str, Any]] | None = None,
    register: ClaimsConfig | None = None,
    reporters: Sequence[Reporter] = (),
) -> str:
    """Return the page as Markdown; equal inputs give equal text.

    Args:
        methods: The catalogue.
        studies: Name of a study → content of its study.json; ``None``: no results.
        register: What is claimed of the methods, with links to claims.md beside this page; ``None``: no links.
        reporters: Trained networks, for what they report of themselves.
    """
    parts = [
        "# Distillation methods",
        "",
        "<!-- written by `fibrokd methods --markdown`; do not edit -->",
        "",
        f"{len(methods)} systems: each one file in `fibrokd/methods/`, one in `configs/methods/`, one row here.",
        "How to add one: CONTRIBUTING.md. What all of them must do: `tests/methods/test_conformance.py`.",
        "",
        _COMMANDS,
        "",
        _NOTATION,
        "",
        *_grades(),
        "",
        *_overview(list(methods.values())),
        "",
    ]
    if studies:
        parts += [*studies_table(studies), ""]
    for spec in methods.values():
        parts += [*_section(spec, _claims(spec.kind, register)), ""]
        if studies is not None:
            parts += [*results_table(spec.kind, studies), ""]
        told = reported_table(spec, reporters)
        parts += [*told, ""] if told else []
    return "\n".join(parts)


def _grades() -> list[str]:
    lines = ["What a part of a method rests on (evidence grades):", ""]
    lines += [f"* **{grade}**: {meaning}" for grade, meaning in GRADES.items()]
    return [*lines, "", "Whatever rests on D or M is *our reading of* its source, and not the paper's own loss."]


def _overview(specs: Sequence[MethodSpec]) -> list[str]:
    rows = []
    for spec in specs:
        least, most = spec.teachers
        teachers = str(least) if least == most else f"{least} to {most}"
        book = "yes" if spec.cacheable else "no" if most else "–"
        grades = ", ".join(spec.grades.split())
        rows.append([f"[`{spec.kind}`](#{spec.kind})", spec.heading, grades, teachers, book])
    return table(["kind", "system", "grades", "teachers", "book"], rows)


def _section(spec: MethodSpec, claims: str) -> list[str]:
    rows = {
        "Idea": spec.idea,
        "Loss": f"`{spec.formula}`",
        "Source": spec.reference,
        "Grades": ", ".join(spec.grades.split()),
        "Seams": spec.seams,
        "Asks a teacher for": ", ".join(sorted(spec.needs)),
        "Cost": spec.cost,
        "Command": f"`{command(spec)}`",
        "Claimed (outcomes behind the links)": claims,
    }
    return [
        f"## {spec.kind}",
        "",
        f"**{spec.heading}**",
        "",
        *(f"* {head}: {text}" for head, text in rows.items() if text),
    ]


def command(spec: MethodSpec) -> str:
    """Return the command that trains a student with a method's own configuration."""
    words = ["fibrokd distill", f"configs/methods/{spec.kind}.yaml", f"runs/mine/student_{spec.kind}"]
    words.append("--set prepared=runs/mine/prepared")
    words += ["--set teacher=runs/mine/teacher"] if spec.needs_teacher else []
    return " ".join(words)


def _claims(kind: str, register: ClaimsConfig | None) -> str:
    claims = register.claims if register is not None else {}
    return "; ".join(f"[{claim.says}](claims.md#{name})" for name, claim in claims.items() if kind in claim.methods)
