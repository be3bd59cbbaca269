"""integrity.html: the integrity check for people, one self-contained page without scripts.

Owns layout only; short names are in :mod:`fibrokd.integrity.page_words`. Everything shown comes from the content of
integrity.json, so that page and data cannot disagree; the only pictures are those that it lists as examples, masked as
networks see them. No path and no identifier of a person is shown; frames are named by image_id.

Shape letters: S side of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined

from fibrokd.evaluation.figures import picture_uri
from fibrokd.evaluation.intervals import MIN_CLUSTERS
from fibrokd.integrity import page_words as words
from fibrokd.integrity.card import QUESTIONS
from fibrokd.integrity.controls import CONTROLS
from fibrokd.integrity.levels import FEWEST_GROUPS, LEVELS, STRICTEST_FIRST

Picture = Callable[[str], "UInt8[np.ndarray, 'S S'] | None"]
"""Image id → the preprocessed frame, or ``None`` where there is none."""

WITHHELD = "Not shown: the whole frame was kept, and names may be burned into it."
NO_PICTURE = "No picture stored."
MOST_MIXED = 10
"""Groups with more than one stage that are listed; groups.csv has them all."""

_ONE_PICTURE = frozenset(["copies_across_stages", "most_copied"])  # every file not shown looks the same


def render_page(integrity: Mapping[str, Any], picture: Picture | None = None) -> str:
    """Return the page as HTML; equal contents give equal bytes.

    Args:
        integrity: Content of integrity.json.
        picture: Fetches the pictures of the examples; never asked for a frame that was kept whole.
    """
    scored = [name for name in CONTROLS if integrity["controls"].get(name)]
    strictest = {name: next(x for x in STRICTEST_FIRST if x in integrity["controls"][name]) for name in scored}
    examples = [_example(example, picture) for example in integrity["examples"]]
    anchors = _anchors(integrity, scored)
    reasons = [words.worded(reason, place, anchors) for place, reason in enumerate(integrity["reasons"], start=1)]
    return _environment().get_template("integrity.html").render(
        i=integrity,
        reasons=reasons,
        words=words,
        controls=CONTROLS,
        scored=scored,
        strictest=strictest,
        looser=[
            level
            for level in LEVELS
            if any(level in integrity["controls"][name] and strictest[name] != level for name in scored)
        ],
        flattery=_flattery(integrity, strictest.get("thumbnail_1nn")),
        examples=examples,
        most_mixed=MOST_MIXED,
        min_clusters=MIN_CLUSTERS,
        fewest_groups=FEWEST_GROUPS,
        questions=QUESTIONS,
    )  # fmt: skip


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fibrokd.integrity", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (
        words.percent,
        words.points,
        words.bounds,
        words.plain_bounds,
        words.interval,
        words.unbroken,
        words.probability,
    )
    environment.filters.update({function.__name__: function for function in filters})
    return environment


def _anchors(integrity: Mapping[str, Any], scored: list[str]) -> frozenset[str]:
    """Places of the page that reasons may point to."""
    present = {
        "split": True,
        "stages": True,
        "mixed": bool(integrity["groups"]["mixed_stage"]),
        "set-aside": bool(integrity["quarantine_reasons"]),
        "card": integrity["card"] is not None,
    }
    return frozenset(
        [
            *(name for name, there in present.items() if there),
            *(f"control-{name}" for name in scored),
            *(f"example-{example['kind']}" for example in integrity["examples"]),
        ]
    )


def _flattery(integrity: Mapping[str, Any], strictest: str | None) -> dict[str, Any] | None:
    """How much better the look-up of thumbnails seems when nothing is kept together; ``None`` where unknown."""
    if strictest is None or strictest == "random":
        return None
    levels = integrity["controls"]["thumbnail_1nn"]
    if "random" not in levels:
        return None
    return {
        "random": levels["random"]["accuracy"],
        "strict": levels[strictest]["accuracy"],
        "level": words.LEVEL_WORDS[strictest],
        "points": integrity["inflation_points"]["thumbnail_1nn"]["random"],
    }


def _example(example: Mapping[str, Any], picture: Picture | None) -> dict[str, Any]:
    pictures = []
    for shown in example["pictures"]:
        pixels = picture(shown["image_id"]) if picture and shown["shown"] else None
        uri = None if pixels is None else picture_uri(pixels)
        pictures.append({**shown, "uri": uri, "instead": NO_PICTURE if shown["shown"] else WITHHELD})
    part = len(pictures) < example["of"] and example["kind"] not in _ONE_PICTURE
    return {**example, "pictures": pictures, "part": part}
