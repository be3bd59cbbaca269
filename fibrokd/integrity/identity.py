"""What a file name or a stated key says about identity: stem rules and trust in patient and study keys.

Owns the normal form of a file stem and the decision whether a key is believed. It ties nothing together: links and
groups are made in :mod:`fibrokd.integrity.groups`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import PurePosixPath
from statistics import median
from typing import Annotated, Literal

from pydantic import Field, field_validator

from fibrokd.config import Config
from fibrokd.data.identities import is_placeholder
from fibrokd.errors import InputError

SUFFIXES = (
    r"[ _.-]*\(\d{1,3}\)",  # "a17 (2)", the mark of a second download
    # "a17_1". Three digits and more are numbers of pictures, be they frames ("P3_000") or patients ("20190312_001",
    # "img_001"): no rule on names tells these apart, and tying patients who came on one day would mix their stages.
    r"_\d{1,2}",
    r"[ _.-]+(?:copy|kopie|duplicate)[ _-]*\d{0,3}",
    (
        r"[ _.-]+(?:aug(?:mented)?|[hv]?flip(?:ped)?|mirror(?:ed)?|rot(?:ated?)?|crop(?:ped)?|zoom(?:ed)?|shift(?:ed)?"
        r"|nois[ey]|blur(?:red)?|bright(?:ness)?|contrast|gamma|scaled?|resized?)[ _-]*-?\d{0,4}"
    ),
    r"[ _.-]*frame\d{1,6}",
    r"[ _.-]+(?:frame|frm)[ _-]*\d{0,6}",
)
"""Endings that mark a copy, an augmentation or a frame of the picture named before them."""

OUTLIER_TIMES_MEDIAN = 5
"""A key is an outlier only above this many times the studies of the median key: in a small cohort every patient holds
more than a twentieth of all studies."""

MOST_UNNAMED = 0.1
"""Share of the images that may lose their key to distrust before somebody has to say that this is right."""


class StemRules(Config):
    """How a file name is reduced to what it shares with its copies."""

    suffixes: tuple[str, ...] = SUFFIXES
    """Regular expressions of endings to remove, again and again until none fits; upper and lower case count alike."""

    scope: Literal["folder", "collection"] = "folder"
    """``folder``: equal stems tie pictures of the same folder only, because names such as ``img1`` recur in every
    patient's folder. ``collection``: they tie pictures wherever they lie."""

    max_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """A shortened stem shared by more than this share of all pictures (and by more than 50) is no evidence: it is a
    naming scheme such as ``img_1``, ``img_2``."""

    @field_validator("suffixes")
    @classmethod
    def _compile(cls, suffixes: tuple[str, ...]) -> tuple[str, ...]:
        for suffix in suffixes:
            try:
                re.compile(suffix)
            except re.error as error:
                raise ValueError(f"{suffix!r} is not a regular expression ({error})") from error
        return suffixes

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        # The look-behind leaves at least one letter or digit: a name that is nothing but "frame012" stays itself.
        return tuple(re.compile(rf"^(?P<rest>.*[^\W_].*?)(?:{s})$", re.IGNORECASE | re.DOTALL) for s in self.suffixes)

    def normalise(self, stem: str) -> str:
        """Return the normal form of a file stem: no copy, augmentation or frame marks, no trailing separators.

        Example:
            >>> StemRules().normalise("P03_hflip (2)"), StemRules().normalise("a2139")
            ('P03', 'a2139')
        """
        current = _trim(stem)
        while True:
            shorter = next((m["rest"] for p in self._patterns if (m := p.match(current))), None)
            if shorter is None:
                return current
            current = _trim(shorter)

    def key(self, path: str) -> str:
        """Return the stem key of a relative POSIX path, within the scope of the rules."""
        location = PurePosixPath(path)
        stem = self.normalise(location.stem)
        return stem if self.scope == "collection" else str(location.parent / stem)


def _trim(stem: str) -> str:
    return re.sub(r"[\s_.-]+$", "", stem).lstrip() or stem


def stem_keys(paths: Sequence[str], rules: StemRules) -> tuple[list[str], list[str]]:
    """Return one stem key per path ("" where the stem is no evidence), and the keys that were not believed."""
    keys = [rules.key(path) for path in paths]
    limit = max(50, rules.max_share * len(keys))
    refused = sorted(key for key, count in Counter(keys).items() if count > limit)
    return [("" if key in set(refused) else key) for key in keys], refused


def trusted_keys(keys: Sequence[str], studies: Sequence[str] | None = None) -> tuple[list[str], list[str]]:
    """Return one key per image ("" where the key is not believed), and the keys that were not believed.

    A key is not believed when it is a placeholder, or when it is a clear outlier: it stands on more than 5 % of the
    studies of a collection, on more than 10, and on more than 5 times as many as the median key. Scanners left on a
    default write one number for everybody.

    Args:
        keys: Patient or study key of every image, "" where unknown.
        studies: Study key of every image; without it only placeholders are recognised.
    """
    refused = {key for key in keys if key and is_placeholder(key)}
    if studies is not None:
        held: dict[str, set[str]] = defaultdict(set)
        for key, study in zip(keys, studies, strict=True):
            if study:
                held[key].add(study)
        limit = max(10.0, 0.05 * len({study for study in studies if study}))
        counts = {key: len(found) for key, found in held.items() if key and key not in refused}
        limit = max(limit, OUTLIER_TIMES_MEDIAN * median(counts.values() or [0]))
        refused |= {key for key, count in counts.items() if count > limit}
    return [("" if not key or key in refused else key) for key in keys], sorted(refused)


def refuse_unnaming(patients: Sequence[str], studies: Sequence[str]) -> None:
    """Refuse to go on where distrust takes the patient from many images; placeholders never named anybody.

    Args:
        patients: Patient key of every image, "" where unknown.
        studies: Study key of every image, "" where unknown.

    Raises:
        InputError: More than :data:`MOST_UNNAMED` of the images would lose a key.
    """
    believed, _ = trusted_keys(patients, studies)
    pairs = zip(patients, believed, strict=True)
    lost = Counter(key for key, kept in pairs if key and not kept and not is_placeholder(key))
    if lost.total() > MOST_UNNAMED * len(patients):
        raise InputError(
            f"Expected patient keys to stand for one person each, found {len(lost)} key(s) with far more studies than "
            f"the others; not believing them leaves {lost.total()} of {len(patients)} images without a patient.",
            "Correct these identifiers, or set accept_distrusted_keys: true if the keys really name nobody, with a new "
            "OUT.",
        )
