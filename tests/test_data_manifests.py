"""The committed manifests: the demo cohort is what the phantom renders; the public collection adds up.

``python -m tests.test_data_manifests`` writes the demo cohort's manifest anew, after its configuration changed.
"""

from collections import Counter
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest

from fibrokd.config import load_config
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.reading import pixel_digest
from fibrokd.phantom.plan import render_cohort
from fibrokd.pipeline.run import RunConfig

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "data_manifests" / "demo_phantom.csv"
COLUMNS = ["path", "stage", "patient", "site", "scanner", "pixel_digest"]


def demo_rows():
    """Yield the manifest rows of the demo cohort; digests are the first 16 of 64 hex characters."""
    config = load_config(ROOT / "configs" / "demo.yaml", RunConfig).phantom
    for pixels, truth in render_cohort(config):
        digest = pixel_digest(UltrasoundImage(pixels, "PNG"))[:16]
        yield [truth[name] for name in COLUMNS[:-1]] + [digest]


def _committed():
    return pd.read_csv(DEMO, dtype=str, keep_default_na=False)


def test_the_demo_cohort_is_rendered_as_its_manifest_says():
    rows = pd.DataFrame(islice(demo_rows(), 40), columns=COLUMNS)
    pd.testing.assert_frame_equal(rows, _committed().head(40))


@pytest.mark.slow
def test_the_whole_demo_cohort_is_rendered_as_its_manifest_says():
    pd.testing.assert_frame_equal(pd.DataFrame(demo_rows(), columns=COLUMNS), _committed())


def test_the_demo_manifest_is_balanced_and_holds_no_image_twice():
    table = _committed()
    config = load_config(ROOT / "configs" / "demo.yaml", RunConfig).phantom
    assert len(table) == config.patients * config.clips * config.frames
    assert table["pixel_digest"].is_unique
    assert len(set(Counter(table["stage"]).values())) == 1
    assert table.groupby("patient")["stage"].nunique().max() == 1


def test_the_public_collection_adds_up():
    table = pd.read_csv(ROOT / "data_manifests" / "kaggle_liver_fibrosis.csv", dtype=str)
    assert Counter(table["stage"]) == {"F0": 2114, "F1": 861, "F2": 793, "F3": 857, "F4": 1698}
    assert table["published_md5"].nunique() == 1536
    assert table.groupby("published_md5")["stage"].nunique().max() == 1
    assert table["subject"].nunique() == 24
    assert table["path"].is_unique
    copies = table.dropna(subset="copy_of")
    digest_of = table.set_index("path")["published_md5"]
    assert (digest_of.loc[copies["copy_of"]].to_numpy() == copies["published_md5"].to_numpy()).all()


if __name__ == "__main__":
    pd.DataFrame(demo_rows(), columns=COLUMNS).to_csv(DEMO, index=False, lineterminator="\n")
