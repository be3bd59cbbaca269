"""levels.csv: which images one kind of evidence keeps together, without a name of a file or a person."""

import numpy as np
import pytest

from fibrokd.integrity.identity import StemRules
from fibrokd.integrity.levels import build_levels, cluster_scores, coarse_levels, draw_weights, level_table
from tests.integrity.builders import content, manifest

STAGES = np.repeat(np.arange(5), 20)


def collection(**columns):
    rows = [
        {"path": f"F{n // 20}/x{n}.png", "stage": f"F{n // 20}", **{name: cell(n) for name, cell in columns.items()}}
        for n in range(100)
    ]
    return manifest(rows)


def same(names):
    """Return which pairs of images are in one group."""
    names = np.array(names)
    return names[:, None] == names[None, :]


def test_groups_are_those_that_the_controls_are_cross_validated_under():
    table = collection(
        path=lambda n: f"F{n // 20}/d{n % 2}/IM{n // 2}.png",
        patient=lambda n: f"SECRET{n // 4}",
        pixel_digest=lambda n: content(n // 3 if n % 20 < 10 else 1000 + n),
    )
    written = level_table(table, StemRules())
    levels = {level.name: level for level in build_levels(table, STAGES, StemRules(), seeds=(0,), replicates=100)}
    assert list(written.columns) == ["image_id", "stem", "content", "subject"]
    for name in ("stem", "content", "subject"):
        assert (same(written[name]) == same(levels[name].codes)).all()


def test_each_level_ties_what_its_key_ties_and_nothing_else():
    table = collection(patient=lambda n: f"P{n % 33}", pixel_digest=lambda n: content(n % 60))
    written = level_table(table, StemRules())
    assert (same(written["stem"]) == np.eye(100, dtype=bool)).all()
    assert (same(written["content"]) == same(table["pixel_digest"])).all()
    assert (same(written["subject"]) == same(table["patient"])).all()


def test_groups_are_named_by_their_smallest_image_id_and_by_nothing_secret():
    table = collection(patient=lambda n: f"SECRET{n // 4}", path=lambda n: f"MUELLER/{n}.png")
    written = level_table(table, StemRules())
    assert "SECRET" not in written.to_csv()
    assert "MUELLER" not in written.to_csv()
    for name in ("stem", "content", "subject"):
        assert (written.groupby(name)["image_id"].min() == written.groupby(name)["image_id"].min().index).all()


def test_there_is_no_subject_level_where_too_few_patients_are_known():
    known = level_table(collection(patient=lambda n: f"P{n}" if n < 90 else ""), StemRules())
    unknown = level_table(collection(patient=lambda n: f"P{n}" if n < 89 else ""), StemRules())
    assert "subject" in known.columns
    assert "subject" not in unknown.columns


@pytest.mark.parametrize(("clusters", "given"), [(5, False), (9, False), (10, True)])
def test_percentiles_of_fewer_than_ten_clusters_are_not_given_as_intervals(clusters, given):
    codes = np.arange(40) % clusters
    correct = (np.arange(40) % 3 == 0) * 1.0
    scores = cluster_scores(correct, np.arange(40) % 2, codes, draw_weights(clusters, 100))
    for score in scores.values():
        assert (score["low"] is not None) == (score["high"] is not None) == given
        assert ("note" not in score) == given
    if not given:
        assert scores["accuracy"]["value"] == 0.35
        assert scores["accuracy"]["note"] == f"no interval from {clusters} clusters (at least 10 needed)"


@pytest.mark.parametrize(("names", "run"), [(2, False), (9, False), (10, True)])
def test_names_that_a_scanner_deals_out_anew_for_every_patient_make_no_level(names, run):
    table = collection(path=lambda n: f"P{n // 2}/IM{n % names:04d}.png", patient=lambda n: f"P{n // 2}")
    levels = {level.name for level in build_levels(table, STAGES, StemRules(), seeds=(0,), replicates=100)}
    assert ("stem" in levels) == run
    assert {"random", "content", "all", "subject"} <= levels
    assert coarse_levels(table, StemRules()) == ({} if run else {"stem": names})
