"""integrity.html: the integrity check for people, one self-contained page.

Owns words and layout only. Everything shown comes from the content of integrity.json, so that page and data cannot
disagree; the only pictures are those that it lists as examples, masked as networks see them. No path and no identifier
of a person is shown; frames are named by image_id.

Shape letters: S side of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined

from fibrokd.evaluation.figures import picture_uri
from fibrokd.integrity.card import QUESTIONS
from fibrokd.integrity.controls import CONTROLS
from fibrokd.integrity.levels import LEVELS, STRICTEST_FIRST

Picture = Callable[[str], "UInt8[np.ndarray, 'S S'] | None"]
"""Image id → the preprocessed frame, or ``None`` where there is none."""

VERDICT_WORDS = {
    "fit": "Fit: nothing was found that would make results on this collection look better than they are.",
    "caution": "Caution: results on this collection need the reservations below.",
    "unfit": "Unfit: nothing measured on this collection says anything about staging fibrosis.",
}
LEVEL_WORDS = {
    "random": "single pictures (random split)",
    "stem": "equal file names (the published protocol)",
    "content": "identical pictures",
    "all": "all evidence",
    "subject": "known patients or subjects",
}
WITHHELD = "Not shown: the whole frame was kept, and names may be burned into it."
NO_PICTURE = "No picture stored."


def render_page(integrity: Mapping[str, Any], picture: Picture | None = None) -> str:
    """Return the page as HTML.

    Args:
        integrity: Content of integrity.json.
        picture: Fetches the pictures of the examples; never asked for a frame that was kept whole.
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
    scored = [name for name in CONTROLS if integrity["controls"].get(name)]
    strictest = {name: next(x for x in STRICTEST_FIRST if x in integrity["controls"][name]) for name in scored}
    return environment.get_template("integrity.html").render(
        i=integrity,
        verdict_words=VERDICT_WORDS,
        level_words=LEVEL_WORDS,
        controls=CONTROLS,
        scored=scored,
        strictest=strictest,
        levels=[
            level
            for level in LEVELS
            if any(level in integrity["controls"][name] and strictest[name] != level for name in scored)
        ],
        examples=[_example(example, picture) for example in integrity["examples"]],
        questions=QUESTIONS,
    )


def _interval(score: Mapping[str, float]) -> str:
    return f"{score['value']:.3f} ({score['low']:.3f}–{score['high']:.3f})"


def _example(example: Mapping[str, Any], picture: Picture | None) -> dict[str, Any]:
    pictures = []
    for shown in example["pictures"]:
        pixels = picture(shown["image_id"]) if picture and shown["shown"] else None
        uri = None if pixels is None else picture_uri(pixels)
        pictures.append({**shown, "uri": uri, "instead": NO_PICTURE if shown["shown"] else WITHHELD})
    return {**example, "pictures": pictures}
