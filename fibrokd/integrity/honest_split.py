"""The least that must be kept together for results to mean anything, in words. Owns this advice alone."""

from __future__ import annotations

ENOUGH_KNOWN = 0.9
"""Share of the pictures whose patient must be known before patients count as known."""


def honest_split(known_patients: float, scanners: int) -> dict[str, str | bool]:
    """Return the minimum honest split of a collection.

    Args:
        known_patients: Share of the pictures with a believable patient key.
        scanners: Scanners that are known.

    Returns:
        ``grouping`` to configure, ``possible`` with what is known now, and ``text``.
    """
    text = "All pictures of a patient on one side, and with them whatever name, content or likeness ties to them"
    if known_patients >= ENOUGH_KNOWN:
        text += " (grouping: all)."
    else:
        text += (
            f". The patient is known for {100 * known_patients:.0f} % of the pictures only, so no split made now is "
            "sure to be honest: grouping: all is the best there is, and its results are an upper bound."
        )
    if scanners > 1:
        text += f" With {scanners} scanners, also test on one that was left out of training."
    return {"grouping": "all", "possible": known_patients >= ENOUGH_KNOWN, "text": text}
