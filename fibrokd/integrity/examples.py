"""Which pictures show best what was found: one example per kind of finding, a few pictures each.

Owns the choice. Pictures themselves are fetched where the page is made; of a frame that was kept whole none is ever
shown, for names may be burned in. Frames are named by image_id alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fibrokd.integrity.components import Components
from fibrokd.integrity.links import Link
from fibrokd.integrity.near_facts import correlation_of, is_altered_copy, is_mirrored

MOST_PICTURES = 6
"""Pictures of one example."""

TITLES = {
    "copies_across_stages": "One picture, identical to the last grey level, filed under different stages",
    "near_across_stages": "Nearly the same picture filed under different stages",
    "near_across_patients": "Nearly the same picture under two different patients",
    "largest_near_group": "The largest group that near-duplicates tie",
    "mirrored": "A picture and its mirror image",
    "near_copy": "A picture and an altered copy of it, or its neighbouring frame",
    "most_copied": "The most copied picture",
}
"""Kind of example → what the page calls it, the gravest first."""


@dataclass(frozen=True)
class Example:
    """Some pictures that show one finding.

    Args:
        kind: Key of :data:`TITLES`.
        rows: Rows of the pictures.
        detail: What ties them, in words.
        of: How many pictures there are of which these are shown.
    """

    kind: str
    rows: tuple[int, ...]
    detail: str
    of: int

    def as_json(self, table: pd.DataFrame) -> dict[str, Any]:
        """Return what the page needs; ``shown`` is False where a whole frame was kept."""
        columns = zip(table["image_id"], table["stage"], table["cropped"].astype(str), strict=True)
        told = list(columns)
        return {
            "kind": self.kind,
            "title": TITLES[self.kind],
            "detail": self.detail,
            "of": self.of,
            "pictures": [
                {"image_id": told[row][0], "stage": told[row][1], "shown": told[row][2] == "1"} for row in self.rows
            ],
        }


def choose_examples(table: pd.DataFrame, patients: Sequence[str], near: Sequence[Link]) -> tuple[Example, ...]:
    """Choose one example for every kind of finding that occurs.

    Pictures that may be shown come before frames that were kept whole: a pair of empty boxes convinces nobody.

    Args:
        table: Manifest rows.
        patients: Believed patient key of every row, "" where unknown.
        near: Near-duplicate links between rows.
    """
    stages, contents = list(table["stage"]), list(table["pixel_digest"])
    shown = list(table["cropped"].astype(str) == "1")
    distinct = [link for link in near if contents[link.a] != contents[link.b]]
    altered = [link for link in distinct if is_altered_copy(table, link)]
    found = [
        *_copied(contents, stages, shown),
        *_pair("near_across_stages", (x for x in distinct if stages[x.a] != stages[x.b]), shown),
        *_pair("near_across_patients", (x for x in distinct if patients[x.a] and patients[x.b] and
                                        patients[x.a] != patients[x.b]), shown),
        *_largest(distinct, shown),
        *_pair("mirrored", (x for x in altered if is_mirrored(x)), shown),
        *_pair("near_copy", (x for x in altered if not is_mirrored(x)), shown),
    ]  # fmt: skip
    order = list(TITLES)
    return tuple(sorted(found, key=lambda example: order.index(example.kind)))


def _copied(contents: Sequence[str], stages: Sequence[str], shown: Sequence[bool]) -> list[Example]:
    """A picture under several stages, and the picture with most copies; of equals one that may be shown."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, content in enumerate(contents):
        rows[content].append(row)
    several = [held for held in rows.values() if len(held) > 1]
    found = []
    across = [held for held in several if len({stages[row] for row in held}) > 1]
    if across:
        held = max(across, key=lambda rows: (len(rows), shown[rows[0]]))
        first = {stages[row]: row for row in reversed(held)}
        chosen = tuple(sorted(first.values()))[:MOST_PICTURES]
        found.append(Example("copies_across_stages", chosen, f"{len(held)} files hold it", len(held)))
    if several:
        held = max(several, key=lambda rows: (len(rows), shown[rows[0]]))
        found.append(Example("most_copied", (held[0],), f"{len(held)} files hold it", len(held)))
    return found


def _pair(kind: str, links: Iterable[Link], shown: Sequence[bool]) -> list[Example]:
    """The most alike of some pairs, of those first of which both pictures may be shown."""
    best = min(
        links,
        key=lambda link: (-(shown[link.a] + shown[link.b]), -correlation_of(link), link.a, link.b),
        default=None,
    )
    if best is None:
        return []
    mirrored = ", one of them mirrored" if is_mirrored(best) else ""
    return [Example(kind, (best.a, best.b), f"correlation {correlation_of(best):.2f} inside the fan{mirrored}", 2)]


def _largest(links: Sequence[Link], shown: Sequence[bool]) -> list[Example]:
    """The largest group of three or more pictures."""
    sets = Components(len(shown))
    for link in links:
        sets.join(link.a, link.b)
    groups: dict[int, list[int]] = defaultdict(list)
    for row in sorted({row for link in links for row in (link.a, link.b)}):
        groups[sets.find(row)].append(row)
    largest = max(groups.values(), key=len, default=[])
    if len(largest) < 3:
        return []
    open_ones = [row for row in largest if shown[row]]
    choice = open_ones if len(open_ones) > 1 else largest
    chosen = tuple(choice[:: max(1, len(choice) // MOST_PICTURES)][:MOST_PICTURES])
    return [
        Example("largest_near_group", chosen, f"{len(largest)} pictures, each nearly the same as another", len(largest))
    ]
