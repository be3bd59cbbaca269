"""Command ``verify``: repeats a bundle's golden cases on this machine and reports the worst deviation."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fibrokd.serving.bundle import Bundle


def run(bundle: Path, as_json: bool = False) -> int:
    """Check every digest of the bundle, re-run its golden cases and print how far they deviate.

    Args:
        bundle: Folder of a released bundle.
        as_json: Print one JSON object instead of lines.

    Returns:
        0 when every golden case lies within the tolerance, else 1.

    Raises:
        BundleError: The bundle is incomplete, altered or newer.
    """
    # Imported here: the engine costs 0.4 s that `fibrokd --help` must not pay.
    from fibrokd.serving.verify import verify

    opened = Bundle.open(bundle)
    result = verify(opened)
    if as_json:
        row = {"passed": result.passed, "bundle": opened.digest, **result.as_json()}
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        return 0 if result.passed else 1
    for case in result.cases:
        sys.stdout.write(f"{case.name}: largest deviation {case.deviation:.2g} in {case.where}\n")
    verdict = "passed" if result.passed else "FAILED"
    sys.stdout.write(
        f"{opened.card.name} ({opened.digest[:12]}): {verdict}; worst {result.worst.deviation:.2g} in "
        f"{result.worst.name}, {result.worst.where}; accepted {result.tolerance:.0e}\n"
    )
    return 0 if result.passed else 1
