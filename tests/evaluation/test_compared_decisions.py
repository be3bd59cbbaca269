"""Differences in sensitivity and specificity: against scikit-learn, an exact test, and a bootstrap written here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import recall_score

from fibrokd.errors import TableError
from fibrokd.evaluation.comparisons.decisions import AtThreshold, compare_decisions
from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.end_points.sample import has_end_point, probability_of
from fibrokd.evaluation.end_points.thresholds import RULES
from fibrokd.evaluation.intervals import BootstrapConfig, draw_counts
from fibrokd.evaluation.totals import cluster_codes
from fibrokd.stages import METAVIR
from tests.evaluation.made_up import made_up_predictions, of_split

NETWORKS = ("teacher", "student_plain", "student_kd")
CONFIG = BootstrapConfig(resamples=300, seed=5)
DECIDED = ("sensitivity", "specificity")


def _two(**options):
    return [AtThreshold(made_up_predictions(f"n{skill}", skill=skill, seed=skill, **options), 0.5) for skill in (1, 2)]


def _called(side, cutoff):
    return probability_of(side.answers, cutoff) >= side.threshold


@pytest.mark.parametrize("cutoff", METAVIR.cutoffs)
@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_they_are_what_scikit_learns_recalls_differ_by(cutoff, threshold):
    first, second = _two()
    second = second._replace(threshold=threshold)
    truth = has_end_point(first.answers, cutoff)
    found = dict(compare_decisions(first, second, cutoff, CONFIG))
    assert tuple(found) == DECIDED
    for name, label in zip(DECIDED, (True, False), strict=True):
        recalls = [recall_score(truth, _called(side, cutoff), pos_label=label) for side in (first, second)]
        assert found[name].difference.value == pytest.approx(recalls[0] - recalls[1], abs=1e-12)


def test_with_one_image_per_cluster_the_p_value_is_mcnemars_among_images_of_the_class():
    first, second = _two(patients=80, frames=1)
    truth = has_end_point(first.answers, 2)
    right = [_called(side, 2) == truth for side in (first, second)]
    for (_, found), rows in zip(compare_decisions(first, second, 2, CONFIG), (truth, ~truth), strict=True):
        better, worse = ((right[0] > right[1])[rows].sum(), (right[0] < right[1])[rows].sum())
        assert better + worse > 3
        assert found.p == pytest.approx(binomtest(int(better), int(better + worse)).pvalue, abs=1e-12)
        assert found.difference.clusters == rows.sum()


def test_bounds_are_percentiles_over_whole_clusters_drawn_with_replacement():
    first, second = _two(patients=30, frames=4)
    part = first.answers
    truth, codes = has_end_point(part, 2), cluster_codes(part)
    drawn = []
    for times in np.concatenate(list(draw_counts(30, CONFIG))):
        rows = np.repeat(np.arange(len(part)), times[codes].astype(int))
        drawn.append([_called(side, 2)[rows][truth[rows]].mean() for side in (first, second)])
    low, high = np.quantile(np.subtract(*np.array(drawn).T), [0.025, 0.975])
    found = dict(compare_decisions(first, second, 2, CONFIG))["sensitivity"].difference
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_exchanged_networks_differ_by_the_opposite_and_a_network_not_from_itself():
    first, second = _two()
    there, back = (dict(compare_decisions(*sides, 3, CONFIG)) for sides in ((first, second), (second, first)))
    for name in DECIDED:
        assert there[name].difference.value == -back[name].difference.value
        assert there[name].p == back[name].p
        same = dict(compare_decisions(first, first, 3, CONFIG))[name]
        assert (same.difference.value, same.p) == (0.0, None)


def test_answers_to_other_images_are_refused_and_few_clusters_get_no_interval():
    first, second = _two(patients=6)
    found = dict(compare_decisions(first, second, 2, CONFIG))["specificity"]
    assert found.difference.low is None
    assert found.p is None
    assert "at least 10 needed" in found.difference.note
    with pytest.raises(TableError, match="comparison"):
        list(compare_decisions(first, _two(patients=7)[1], 2, CONFIG))


def test_the_document_compares_networks_at_their_own_thresholds_where_both_have_one():
    parts = [made_up_predictions(name, skill=skill, seed=skill) for skill, name in enumerate(NETWORKS, 1)]
    costs = {name: {"parameters": 1} for name in NETWORKS}
    document = metrics_document([each for part in parts for each in (of_split(part, "val"), part)], costs)
    told = [entry for entry in document["comparisons"] if entry["metric"] in DECIDED]
    assert len(told) == 3 * len(METAVIR.cutoffs) * len(RULES) * len(DECIDED)
    for entry in told:
        assert entry["split"] == "test"  # thresholds are fixed on the others
        values = [
            document["networks"][entry[side]]["test"]["end_points"][entry["end_point"]]["operating_points"][
                entry["rule"]
            ][entry["metric"]]["value"]
            for side in ("first", "second")
        ]
        assert entry["difference"]["value"] == pytest.approx(values[0] - values[1], abs=1e-9)
        assert ("p_holm" in entry) == (entry["difference"]["low"] is not None)
    without = metrics_document([of_split(parts[0], "val"), *parts], costs)["comparisons"]
    assert not [entry for entry in without if entry["metric"] in DECIDED]
