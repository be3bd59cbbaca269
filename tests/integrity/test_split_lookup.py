"""The look-up on the networks' own split learns from exactly its train rows and answers exactly its test rows."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from fibrokd.integrity import split_lookup as module
from fibrokd.integrity import thumbnail_distances
from fibrokd.integrity.control_data import ControlData
from fibrokd.integrity.controls import ControlsConfig, nearest_thumbnail
from fibrokd.integrity.split_lookup import nearest, split_lookup
from tests.integrity.builders import manifest

N = 300
CONFIG = ControlsConfig(replicates=300)
THUMBNAILS = np.random.default_rng(0).integers(0, 256, (N, 48, 48), dtype=np.uint8)
STAGES = np.arange(N) % 5
TRAIN, TEST = np.flatnonzero(np.arange(N) % 7 < 4), np.flatnonzero(np.arange(N) % 7 == 6)


def measure(thumbnails=THUMBNAILS, clusters=None, contents=None, config=CONFIG):
    own = np.arange(N)
    return split_lookup(
        (TRAIN, TEST), lambda rows: thumbnails[rows], STAGES, own if contents is None else contents,
        own if clusters is None else clusters, config,
    )  # fmt: skip


def test_the_answer_is_the_nearest_training_thumbnail_in_pieces_as_at_once(monkeypatch):
    flat = THUMBNAILS.reshape(N, -1).astype(np.float64)
    oracle = cdist(flat[TEST], flat[TRAIN], "sqeuclidean").argmin(axis=1)
    for block in (2048, 10):
        for place in (module, thumbnail_distances):
            monkeypatch.setattr(place, "_BLOCK", block)
        assert nearest(TRAIN, TEST, lambda rows: THUMBNAILS[rows]).tolist() == oracle.tolist()
    found = measure()
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(STAGES[TEST], STAGES[TRAIN][oracle]), abs=1e-4)
    balanced = balanced_accuracy_score(STAGES[TEST], STAGES[TRAIN][oracle])
    assert found["balanced_accuracy"]["value"] == pytest.approx(balanced, abs=1e-4)
    assert (found["train_images"], found["test_images"]) == (len(TRAIN), len(TEST))


def test_rows_of_other_splits_are_never_looked_up():
    thumbnails, contents = THUMBNAILS.copy(), np.arange(N)
    unused = np.flatnonzero(np.arange(N) % 7 == 5)[: len(TEST)]
    thumbnails[unused], contents[unused] = thumbnails[TEST], contents[TEST]
    assert measure(thumbnails, contents=contents) == measure()
    thumbnails[TRAIN[: len(TEST)]], contents[TRAIN[: len(TEST)]] = thumbnails[TEST], contents[TEST]
    assert measure(thumbnails, contents=contents)["twin_in_train"] == 1


def test_intervals_resample_clusters_and_not_images():
    clusters = np.arange(N) // 28  # four test images each
    thumbnails = THUMBNAILS.copy()
    for row in TEST[clusters[TEST] % 2 == 0]:  # every other cluster is answered rightly
        thumbnails[next(r for r in TRAIN if r > row - 28 and STAGES[r] == STAGES[row])] = thumbnails[row]
    by_image, by_cluster = measure(thumbnails), measure(thumbnails, clusters=clusters)
    width = [found["accuracy"]["high"] - found["accuracy"]["low"] for found in (by_image, by_cluster)]
    assert (by_image["clusters"], by_cluster["clusters"]) == (len(TEST), len(set(clusters[TEST])))
    assert by_image["accuracy"]["value"] == by_cluster["accuracy"]["value"]
    assert width[1] > 1.5 * width[0]


def test_without_test_images_nothing_is_measured():
    rows = (TRAIN, TEST[:0])
    assert split_lookup(rows, lambda asked: THUMBNAILS[asked], STAGES, STAGES, STAGES, CONFIG) == {}


def test_above_the_limit_whole_clusters_are_compared_and_the_number_is_told():
    clusters = np.arange(N) // 6
    found = measure(clusters=clusters, config=ControlsConfig(replicates=300, max_images=100))
    assert found["sampled"] == found["train_images"] + found["test_images"]
    assert 80 < found["sampled"] <= 100
    assert measure(clusters=clusters)["sampled"] is None
    asked = []
    rows = (TRAIN, TEST)
    split_lookup(
        rows, lambda rows: asked.append(rows) or THUMBNAILS[rows], STAGES, STAGES, clusters,
        ControlsConfig(replicates=300, max_images=100),
    )  # fmt: skip
    used, both = set(np.concatenate(asked).tolist()), np.concatenate(rows)
    drawn = {clusters[row] for row in used}
    assert used == {row for row in both.tolist() if clusters[row] in drawn}


def test_distances_are_exact_and_both_look_ups_answer_alike():
    flat = THUMBNAILS.reshape(N, -1).astype(np.int64)
    exact = ((flat[:40, None] - flat[None, :50]) ** 2).sum(axis=2)
    assert (thumbnail_distances.squared_distances(THUMBNAILS[:40], THUMBNAILS[:50]) == exact).all()
    extremes = np.stack([np.zeros((48, 48), np.uint8), np.full((48, 48), 255, np.uint8)])
    assert thumbnail_distances.squared_distances(extremes, extremes)[0, 1] == 48 * 48 * 255**2
    twins = np.concatenate([THUMBNAILS[:60], THUMBNAILS[:60]])  # every picture twice: of equals the first counts
    stages, test = np.concatenate([STAGES[:60], (STAGES[:60] + 1) % 5]), np.arange(120) < 20
    data = ControlData(manifest([{} for _ in twins]), twins, stages)
    train = np.flatnonzero(~test)
    looked = stages[train[nearest(train, np.flatnonzero(test), lambda rows: twins[rows])]]
    assert nearest_thumbnail(data, test).tolist() == looked.tolist() == ((STAGES[:20] + 1) % 5).tolist()
