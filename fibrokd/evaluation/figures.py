"""Pictures of the report as data URIs: line charts as SVG, ultrasound frames as PNG.

Deterministic: fixed SVG ids, no dates, no version text. Every picture comes with words; numbers go into tables.

Shape letters: S side of a picture.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

import matplotlib as mpl
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from PIL import Image

PICTURE_SIDE = 192
# Okabe and Ito's colours that keep ≥ 3:1 on white, each with its own dash and marker: never told apart by colour alone.
_LINES = (
    ("#0072B2", "-", "o"),
    ("#B34700", "--", "s"),
    ("#007A5A", "-.", "^"),
    ("#8A3F73", ":", "D"),
    ("#444444", (0, (5, 1, 1, 1, 1, 1)), "v"),
)
_CHANCE = "#4a5665"
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "fibrokd",
    "svg.fonttype": "none",  # text stays text: small, sharp, and in the reader's own font
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#4a5665",
    "axes.grid": True,
    "grid.color": "#e3e8ee",
    "legend.frameon": False,
}

Curve = tuple[Sequence[int | float], Sequence[int | float]]
Bin = tuple[int | float, int | float, int | float | None, int | float | None]


def curves_uri(curves: Mapping[str, Curve], label: str) -> str:
    """Return a line chart by epoch as a data URI.

    Args:
        curves: Title of the line → (epochs, values).
        label: Label of the vertical axis.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _chart("Epoch", label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _drawn(figure, axes, curves)


def roc_uri(curves: Mapping[str, Curve]) -> str:
    """Return receiver operating characteristics as a data URI, with the diagonal of chance.

    Args:
        curves: Title of the line → (1 − specificity, sensitivity), ascending.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _chart("1 − specificity", "Sensitivity")
        axes.plot([0, 1], [0, 1], color=_CHANCE, linewidth=0.8, linestyle=":", label="chance")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        return _drawn(figure, axes, curves, drawstyle="steps-post")


def benefit_uri(curves: Mapping[str, Curve], of_all: Curve) -> str:
    """Return decision curves as a data URI, beside acting on all images and on none.

    Args:
        curves: Title of the line → (probabilities at which one would act, net benefits).
        of_all: The same of acting on every image. What lies far below zero is cut off.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _chart("Probability at which one would act", "Net benefit")
        axes.axhline(0, color=_CHANCE, linewidth=0.8, label="act on none")
        axes.plot(*of_all, color=_CHANCE, linewidth=0.8, linestyle=":", label="act on all")
        top = max(max(values) for _, values in (*curves.values(), of_all))
        axes.set(xlim=(0, 1), ylim=(-0.25 * max(top, 0.1), 1.1 * max(top, 0.1)))
        return _drawn(figure, axes, curves)


def reliability_uri(bins: Sequence[Bin]) -> str:
    """Return a reliability diagram as a data URI: how often a network is right, by how sure it says it is.

    Args:
        bins: Stated probability, share that was right, and its bounds (None: not known), by bin.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _chart("Stated probability", "Share staged right")
        axes.plot([0, 1], [0, 1], color=_CHANCE, linewidth=0.8, linestyle=":", label="as sure as right")
        for stated, right, low, high in bins:
            reach = None if low is None or high is None else [[max(0.0, right - low)], [max(0.0, high - right)]]
            axes.errorbar([stated], [right], yerr=reach, color=_LINES[0][0], marker="o", markersize=4, capsize=2)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        return _drawn(figure, axes, {})


def _chart(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.4, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_axisbelow(True)
    return figure, axes


def _drawn(figure: Figure, axes: Axes, curves: Mapping[str, Curve], drawstyle: str = "default") -> str:
    for rank, (title, (across, values)) in enumerate(curves.items()):
        colour, dash, marker = _LINES[rank % len(_LINES)]
        every = max(1, len(across) // 8)
        axes.plot(
            across,
            values,
            color=colour,
            linestyle=dash,
            marker=marker,
            markevery=every,
            markersize=4,
            label=title,
            drawstyle=drawstyle,
        )
    figure.legend(loc="outside lower center", ncols=1, fontsize=9)
    return "data:image/svg+xml;base64," + base64.b64encode(_svg(figure).encode()).decode()


Row = tuple[float, float | None, float | None, float]


def rows_svg(rows: Mapping[str, Row], measured: str, cost: str) -> str:
    """Return a chart of one row per entry, best first: a figure with its interval, and beside it what it cost.

    Its description holds the same numbers as text.

    Args:
        rows: Title → value, lower bound, upper bound (None: not known), cost; more of the value is better.
        measured: Label of the value.
        cost: Label of the cost, on a logarithmic axis.

    Raises:
        ValueError: There are no rows, a number is not finite, or a cost is not above 0.
    """
    if not rows:
        raise ValueError("expected at least one row, found none")
    for title, numbers in rows.items():
        if not np.isfinite([number for number in numbers if number is not None]).all() or numbers[-1] <= 0:
            raise ValueError(f"expected finite numbers and a cost above 0, found {numbers} of {title}")
    ranked = sorted(rows.items(), key=lambda entry: (-entry[1][0], entry[1][-1]))
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 1.1 + 0.26 * len(ranked)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for place, (_, (value, low, high, spent)) in enumerate(ranked):
            reach = None if low is None or high is None else [[max(0.0, value - low)], [max(0.0, high - value)]]
            left.errorbar([value], [place], xerr=reach, color=_LINES[0][0], marker="o", capsize=2)
            right.plot([spent], [place], color=_LINES[0][0], marker="o", linestyle="none")
        left.set_yticks(range(len(ranked)), [title for title, _ in ranked])
        left.set_ylim(len(ranked) - 0.5, -0.5)
        left.set_xlabel(measured)
        right.set_xlabel(cost)
        right.set_xscale("log")
        right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        right.xaxis.set_major_formatter("{x:g}")
        right.xaxis.set_minor_formatter("")
        told = "; ".join(f"{title}: {_words(numbers)}" for title, numbers in ranked)
        return _described(_svg(figure), f"{' '.join(measured.split())}, and {' '.join(cost.split())}", told)


def _words(numbers: Row) -> str:
    value, low, high, spent = numbers
    bounds = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{value:.3f}{bounds}, {spent:,.0f}" if spent >= 100 else f"{value:.3f}{bounds}, {spent:.3g}"


def _described(svg: str, title: str, description: str) -> str:
    """The picture with a title and words for who cannot see it."""
    head, rest = svg.split(">", 1)
    return f'{head} role="img">\n <title>{escape(title)}</title>\n <desc>{escape(description)}</desc>{rest}'


def _svg(figure: Figure) -> str:
    """Text of a figure: no date, no version, no prolog that names a DTD on the web."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = stream.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)


def picture_uri(pixels: UInt8[np.ndarray, "S S"], side: int = PICTURE_SIDE) -> str:
    """Return a grey picture as a PNG data URI, reduced to at most ``side`` pixels."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if max(image.size) > side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
