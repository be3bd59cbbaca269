"""The look-up on the networks' own split learns from exactly its train rows and answers exactly its test rows."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from fibrokd.integrity import split_lookup as module
from fibrokd.integrity.split_lookup import nearest, split_lookup

N = 300
THUMBNAILS = np.random.default_rng(0).integers(0, 256, (N, 48, 48), dtype=np.uint8)
STAGES = np.arange(N) % 5
TRAIN, TEST = np.flatnonzero(np.arange(N) % 7 < 4), np.flatnonzero(np.arange(N) % 7 == 6)


def measure(thumbnails=THUMBNAILS, clusters=None, contents=None):
    own = np.arange(N)
    return split_lookup(
        (TRAIN, TEST), lambda rows: thumbnails[rows], STAGES, own if contents is None else contents,
        own if clusters is None else clusters, 300,
    )  # fmt: skip


def test_the_answer_is_the_nearest_training_thumbnail_in_pieces_as_at_once(monkeypatch):
    flat = THUMBNAILS.reshape(N, -1).astype(np.float64)
    oracle = cdist(flat[TEST], flat[TRAIN], "sqeuclidean").argmin(axis=1)
    for block in (2048, 10):
        monkeypatch.setattr(module, "_BLOCK", block)
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
    clusters = np.arange(N) // 42  # about six test images each
    thumbnails = THUMBNAILS.copy()
    for row in TEST[clusters[TEST] % 2 == 0]:  # every other cluster is answered rightly
        thumbnails[next(r for r in TRAIN if r > row - 42 and STAGES[r] == STAGES[row])] = thumbnails[row]
    by_image, by_cluster = measure(thumbnails), measure(thumbnails, clusters=clusters)
    width = [found["accuracy"]["high"] - found["accuracy"]["low"] for found in (by_image, by_cluster)]
    assert (by_image["clusters"], by_cluster["clusters"]) == (len(TEST), len(set(clusters[TEST])))
    assert by_image["accuracy"]["value"] == by_cluster["accuracy"]["value"]
    assert width[1] > 1.5 * width[0]


def test_without_test_images_nothing_is_measured():
    rows = (TRAIN, TEST[:0])
    assert split_lookup(rows, lambda asked: THUMBNAILS[asked], STAGES, STAGES, STAGES, 100) == {}
