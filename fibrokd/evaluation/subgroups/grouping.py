"""Which subgroups a fact of images makes.

Text makes one subgroup per value. Numbers are cut into classes: at given limits, or at thirds of the training images,
which have seen nothing of the assessed ones. Where every image was assessed in some round, thirds are of all of them:
no stage is looked at. What has one value only, or too many to be looked at, makes none.

Shape letters: N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from fibrokd.evaluation.image_facts import Fact

CUT_ON = "train"
"""Split on which numbers are cut into thirds; where there is none, ``all`` images are."""

MOST_VALUES = 12
"""Text with more values is no fact to part images by; numbers with no more are taken for names."""


@dataclass(frozen=True, eq=False)
class Grouping:
    """Subgroups of some images.

    Args:
        names: Names of the subgroups.
        codes: Subgroup of every image; −1 where unknown.
        cuts: Limits between classes of numbers; empty where values are names.
        cut_on: What the limits rest on: :data:`CUT_ON`, ``all``, or ``given``.
    """

    names: tuple[str, ...]
    codes: Int[np.ndarray, " N"]
    cuts: tuple[float, ...] = ()
    cut_on: str = ""


def grouping(fact: Fact, learned: Sequence[str], cuts: Sequence[float] | None = None) -> Grouping | str:
    """Return the subgroups of some images, or why there are none.

    Args:
        fact: What is known of every image.
        learned: The same of the training images, without unknown ones.
        cuts: Limits between classes, ascending; ``None``: thirds of ``learned``.
    """
    if not fact.names:
        return "it is not known of any image"
    numbers = _numbers(fact.names)
    if numbers is None or (cuts is None and len(numbers) <= MOST_VALUES):
        return _named(fact) if cuts is None else "it has limits, but is no number"
    known = learned or [fact.names[code] for code in fact.codes[fact.codes >= 0].tolist()]
    limits = tuple(sorted(cuts)) if cuts is not None else _thirds(known)
    if not limits:
        return f"{'training' if learned else 'these'} images do not tell where to cut it"
    cut_on = "given" if cuts is not None else CUT_ON if learned else "all"
    classes = np.append(
        np.searchsorted(limits, numbers, side="right"), -1
    )  # the last for images of which it is unknown
    return Grouping(_classes(limits), classes[fact.codes], limits, cut_on)


def _named(fact: Fact) -> Grouping | str:
    if len(fact.names) == 1:
        return "it is the same for all images"
    if len(fact.names) > MOST_VALUES:
        return f"it has {len(fact.names)} values (at most {MOST_VALUES} are shown)"
    return Grouping(fact.names, fact.codes)


def _numbers(distinct: Sequence[str]) -> list[float] | None:
    try:
        found = [float(value) for value in distinct]
    except ValueError:
        return None
    return found if bool(np.isfinite(found).all()) else None


def _thirds(learned: Sequence[str]) -> tuple[float, ...]:
    numbers = _numbers(learned) if learned else None
    if numbers is None or len(numbers) < 3:
        return ()
    limits = [float(f"{limit:.4g}") for limit in np.quantile(numbers, [1 / 3, 2 / 3])]
    return tuple(limits) if limits[0] < limits[1] else ()


def _classes(limits: Sequence[float]) -> tuple[str, ...]:
    between = (f"{low:g} to {high:g}" for low, high in pairwise(limits))
    return (f"below {limits[0]:g}", *between, f"{limits[-1]:g} and more")
