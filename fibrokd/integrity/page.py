"""integrity.html: the integrity check for people, one self-contained page.

Owns words and layout only. Everything shown comes from the content of integrity.json, so that page and data cannot
disagree; no path and no identifier is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

VERDICT_WORDS = {
    "fit": "Fit: nothing was found that would make results on this collection look better than they are.",
    "caution": "Caution: results on this collection need the reservations below.",
    "unfit": "Unfit: nothing measured on this collection says anything about staging fibrosis.",
}
LEVEL_WORDS = {
    "random": "nothing kept together (random split)",
    "stem": "equal file names (the published protocol)",
    "content": "identical pictures",
    "all": "all evidence",
    "subject": "known patients or subjects",
}
CONTROL_WORDS = {
    "thumbnail_1nn": "Look-up of the most similar 48 × 48 thumbnail, without learning",
    "metadata": "Format, size and file name only, picture unopened",
}


def render_page(integrity: Mapping[str, Any]) -> str:
    """Return the page as HTML.

    Args:
        integrity: Content of integrity.json.
    """
    environment = Environment(
        loader=PackageLoader("fibrokd.integrity", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    environment.filters["interval"] = _interval
    return environment.get_template("integrity.html").render(
        i=integrity,
        verdict_words=VERDICT_WORDS,
        level_words=LEVEL_WORDS,
        control_words=CONTROL_WORDS,
        scored=[name for name in CONTROL_WORDS if integrity["controls"].get(name)],
    )


def _interval(score: Mapping[str, float]) -> str:
    return f"{score['value']:.3f} ({score['low']:.3f}–{score['high']:.3f})"
