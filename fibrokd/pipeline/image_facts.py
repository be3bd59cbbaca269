"""What is known of every image of a prepared folder, for subgroups and for figures of patients and studies."""

from __future__ import annotations

import pandas as pd

from fibrokd.data.prepared import Prepared
from fibrokd.data.quality import quality
from fibrokd.evaluation.image_facts import ImageFacts


def image_facts(prepared: Prepared) -> ImageFacts:
    """Return what is known of every image: patient and study as numbers, site, scanner, further facts, quality."""
    table = prepared.table[["image_id", "split"]].copy()
    # Under a digest where nearly all patients are known; identities.csv may have been left out.
    subjects = pd.Series(prepared.levels.get("subject", ()), dtype=str)
    table["patient"] = _numbered(subjects if len(subjects) else prepared.table["patient"])
    table["study"] = _numbered(prepared.table["study"])
    kept = [column for column in ("site", "scanner") if (prepared.table[column] != "").any()]
    measured = pd.DataFrame([quality(pixels) for pixels in prepared.pixels])
    parts = [table, prepared.table[kept], prepared.facts, measured.map("{:g}".format)]
    return ImageFacts(pd.concat([part.reset_index(drop=True) for part in parts], axis=1))


def _numbered(keys: pd.Series[str]) -> list[str]:
    """Numbers in the order of first appearance: keys of patients differ with the secret, and these do not."""
    numbers = pd.factorize(keys.where(keys != ""))[0]
    return ["" if number < 0 else str(number + 1) for number in numbers.tolist()]
