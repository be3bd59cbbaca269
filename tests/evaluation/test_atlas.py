"""The error atlas: files survive, neighbours are the nearest patients, layers say where, and wrong labels rise."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from fibrokd.data.prepared import read_table
from fibrokd.errors import ArtifactError, TableError
from fibrokd.evaluation.atlas.collected import (
    Learned,
    collected,
    embeddings_file,
    evidence_file,
    write_neighbours,
)
from fibrokd.evaluation.atlas.doubt import doubts, ranked
from fibrokd.evaluation.atlas.image_arrays import ImageArrays, read_image_arrays, write_image_arrays
from fibrokd.evaluation.atlas.maps import AGAINST, FOR, layer_uri, strongest, versus
from fibrokd.evaluation.atlas.neighbours import nearest
from fibrokd.evaluation.atlas.occlusion import occlusion, squares, without_texture
from fibrokd.evaluation.severity import severity
from tests.evaluation.made_up import made_up_predictions

RANDOM = np.random.default_rng(0)


# --------------------------------------------------------------------------- files
def test_arrays_survive_their_file_within_half_precision_and_equal_ones_give_equal_bytes(tmp_path):
    arrays = ImageArrays(("b", "a"), RANDOM.normal(size=(2, 5, 3, 4)))
    for name in ("one.npz", "two.npz"):
        write_image_arrays(tmp_path / name, arrays)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    found = read_image_arrays(tmp_path / "one.npz")
    assert found.image_ids == ("b", "a")
    np.testing.assert_allclose(found.values, arrays.values, rtol=1e-3, atol=1e-6)


def test_numbers_beyond_half_precision_stay_numbers(tmp_path):
    write_image_arrays(tmp_path / "a.npz", ImageArrays(("a",), np.array([[1e9, -1e9]])))
    assert read_image_arrays(tmp_path / "a.npz").values.tolist() == [[65504, -65504]]


@pytest.mark.parametrize(
    ("ids", "values", "problem"),
    [
        (("a", "a"), np.zeros((2, 1)), "an image comes twice"),
        (("a",), np.array([[np.nan]]), "numbers are not finite"),
        (("a",), np.zeros((2, 1)), "found 2 and 1"),
    ],
)
def test_arrays_that_belong_to_no_image_are_refused(ids, values, problem):
    with pytest.raises(TableError, match=problem):
        ImageArrays(ids, values)


def test_files_that_are_none_are_refused_and_nothing_is_unpickled(tmp_path):
    write_image_arrays(tmp_path / "a.npz", ImageArrays(("a",), np.zeros((1, 2))))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(tmp_path / "pickled.npz", image_id=np.array(["a"], dtype=object), values=np.zeros((1, 2)))
    np.savez(tmp_path / "other.npz", something=np.zeros(2))
    for name in ("cut", "pickled", "other", "absent"):
        with pytest.raises(ArtifactError, match=f"{name}.npz, found none"):
            read_image_arrays(tmp_path / f"{name}.npz")


# --------------------------------------------------------------------------- neighbours
def test_neighbours_are_the_nearest_by_cosine_where_every_image_is_a_cluster_of_its_own():
    asked, known = RANDOM.normal(size=(300, 8)), RANDOM.normal(3, 1, size=(90, 8))
    found = nearest(asked, known, ["none"] * 300, [f"c{number:02d}" for number in range(90)], 4)
    centre = known.mean(axis=0)
    oracle = NearestNeighbors(n_neighbors=4, metric="cosine", algorithm="brute").fit(known - centre)
    distance, rows = oracle.kneighbors(asked - centre)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.likeness, 1 - distance, atol=1e-9)


def test_a_cluster_is_one_neighbour_by_its_most_alike_image():
    known = RANDOM.normal(size=(60, 5))
    clusters = [f"c{number % 7}" for number in range(60)]
    found = nearest(known, known, ["none"] * 60, clusters, 20)
    assert found.rows.shape == (60, 7)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(60))
    np.testing.assert_allclose(found.likeness[:, 0], 1)
    assert (np.diff(found.likeness, axis=1) <= 0).all()
    unit = known - known.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for number in range(60):
        assert len({clusters[row] for row in found.rows[number]}) == 7
        for row, likeness in zip(found.rows[number], found.likeness[number], strict=True):
            same = [k for k in range(60) if clusters[k] == clusters[row]]
            assert likeness == pytest.approx(max(unit[number] @ unit[k] for k in same))


def test_neighbours_do_not_depend_on_where_the_embedding_is_turned_moved_or_stretched_to():
    asked, known = RANDOM.normal(size=(20, 4)), RANDOM.normal(size=(50, 4))
    clusters = [f"c{number // 2}" for number in range(50)]
    turn = np.linalg.qr(RANDOM.normal(size=(4, 4)))[0]
    before = nearest(asked, known, ["none"] * 20, clusters, 3)
    after = nearest(3 * asked @ turn + 5, 3 * known @ turn + 5, ["none"] * 20, clusters, 3)
    np.testing.assert_array_equal(before.rows, after.rows)
    np.testing.assert_allclose(before.likeness, after.likeness, atol=1e-9)


def test_an_image_is_no_neighbour_of_its_own_cluster_which_a_leaky_split_leaves_in_training():
    known = RANDOM.normal(size=(40, 5))
    clusters = [f"c{number // 4}" for number in range(40)]
    found = nearest(known[:12], known, clusters[:12], clusters, 20)
    assert found.rows.shape == (12, 9)
    assert np.isfinite(found.likeness).all()
    assert all(clusters[row] != clusters[number] for number in range(12) for row in found.rows[number])
    alone = nearest(known[:1], known[:4], ["c0"], ["c0"] * 4, 3)
    assert alone.rows.shape == (1, 0)


def test_of_equally_alike_clusters_the_first_are_taken():
    known = np.repeat(np.array([[1.0, 0.0], [-1.0, 0.0]]), 6, axis=0)
    found = nearest(np.array([[2.0, 0.0]]), known, ["none"], [f"c{number:02d}" for number in range(12)], 4)
    assert found.rows.tolist() == [[0, 1, 2, 3]]


def test_an_embedding_without_length_is_like_nothing():
    found = nearest(np.zeros((1, 2)), np.array([[1.0, 0.0], [-1.0, 0.0]]), ["c"], ["a", "b"], 2)
    assert found.likeness.tolist() == [[0, 0]]


# --------------------------------------------------------------------------- occlusion
def fan(side=64):
    picture = RANDOM.integers(1, 256, (side, side), dtype=np.uint8)
    picture[np.tri(side, dtype=bool)] = 0
    return picture


def test_evidence_of_a_network_that_adds_up_pixels_is_what_each_square_adds():
    picture, weights = fan(), RANDOM.normal(size=(3, 64, 64))
    found = occlusion(lambda shown: np.einsum("nij,kij->nk", shown.astype(float), weights), picture)
    added = weights * (picture.astype(float) - without_texture(picture, 8))
    np.testing.assert_allclose(found, added.reshape(3, 8, 8, 8, 8).sum((2, 4)), atol=1e-8)


def test_only_the_square_that_a_network_looks_at_has_evidence_and_none_lies_outside_the_fan():
    picture, asked = fan(), []

    def answer(shown):
        asked.append(len(shown))
        return np.stack([shown[:, 8:16, 40:48].std((1, 2)), shown[:, 60:, :8].std((1, 2))], axis=1)

    found = occlusion(answer, picture)
    expected = np.zeros((8, 8), dtype=bool)
    expected[1, 5] = True
    np.testing.assert_array_equal(found[0] > 0, expected)
    assert not found[1].any(), "nothing is there to blur"
    assert asked == [1 + 36], "one pass, and only of squares that the fan touches"


@pytest.mark.parametrize("side", [5, 32, 100, 224])
def test_every_pixel_lies_in_exactly_one_square(side):
    covered = np.zeros((side, side), dtype=int)
    for place in squares(side, 8):
        covered[place] += 1
    assert len(squares(side, 8)) == 64
    assert (covered == 1).all()


def test_a_picture_without_texture_has_no_evidence_not_even_along_the_outline_of_its_fan():
    flat = np.where(np.tri(64, dtype=bool), 0, 90).astype(np.uint8)
    flat[20:24, 50:55] = 0  # a vessel
    np.testing.assert_array_equal(without_texture(flat, 8), flat)
    assert not occlusion(lambda shown: shown.reshape(len(shown), -1)[:, :2].astype(float), flat).any()


# --------------------------------------------------------------------------- layers
def picture_of(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


def test_a_layer_is_orange_where_it_speaks_for_blue_where_against_and_clear_where_it_says_nothing():
    cells = np.zeros((3, 3))
    cells[0, 0], cells[2, 2] = 2.0, -1.0
    layer = np.asarray(picture_of(layer_uri(cells)))
    assert layer.shape == (96, 96, 4)
    assert tuple(layer[8, 8, :3]) == FOR
    assert tuple(layer[88, 88, :3]) == AGAINST
    assert layer[8, 8, 3] > 1.8 * layer[88, 88, 3] > 0
    assert layer[48, 48, 3] == layer[8, 88, 3] == 0
    assert layer_uri(cells) == layer_uri(2 * cells), "the strongest cell is the strongest colour, whatever its size"


def test_a_layer_of_nothing_is_clear():
    assert np.asarray(picture_of(layer_uri(np.zeros((2, 2)))))[..., 3].max() == 0


@pytest.mark.parametrize(
    ("shape", "cell", "where", "share"),
    [
        ((3, 3), (0, 2), "upper right", 1),
        ((6, 6), (3, 2), "centre", 1),
        ((7, 7), (6, 3), "lower centre", 1),
        ((4, 4), (1, 0), "middle left", 2 / 3),  # a cell of four lies in two thirds
    ],
)
def test_the_strongest_place_is_told_in_words_with_its_share(shape, cell, where, share):
    cells = np.zeros(shape)
    cells[cell] = 0.3
    found = strongest(cells - 1e-12)
    assert found is not None
    assert found[0] == where
    assert found[1] == pytest.approx(share)
    assert strongest(-cells) is None


def test_a_map_of_two_stages_is_a_change_of_log_odds():
    evidence = RANDOM.normal(size=(5, 2, 2))
    np.testing.assert_array_equal(versus(evidence, 3, 1), evidence[3] - evidence[1])
    np.testing.assert_array_equal(versus(evidence, 3, 1), -versus(evidence, 1, 3))


# --------------------------------------------------------------------------- doubt
def test_doubt_is_the_smaller_of_two_distances_from_the_label():
    part = made_up_predictions(patients=10, frames=1)
    near = np.repeat(part.truth[:, None], 5, axis=1)
    assert not doubts(part, near).any(), "neighbours that hold the label take all doubt away"
    wrong = replace(part, truth=np.where(part.predicted > 1, part.predicted - 2, part.predicted + 2))
    called = np.repeat(wrong.predicted[:, None], 5, axis=1)
    np.testing.assert_allclose(doubts(wrong, called), np.minimum(severity(wrong), 2))
    across = wrong.truth[:, None] - np.sign(called - wrong.truth[:, None])
    assert not doubts(wrong, across).any(), "neighbours on the other side of the label do not agree with the network"


def test_wrong_labels_rise_to_the_top_and_higher_than_by_the_network_alone():
    """Of 200 patients 20 are filed two stages off; the network is often wrong itself, and so are neighbours by one."""
    part = made_up_predictions(patients=200, frames=3, skill=0.5)
    random = np.random.default_rng(1)
    learned = np.clip(part.truth[:, None] + random.choice([-1, 0, 0, 0, 1], (600, 5)), 0, 4)
    patients = np.arange(600) // 3
    wrong = np.isin(patients, random.choice(200, 20, replace=False))
    labelled = replace(part, truth=np.where(wrong, (part.truth + 2) % 5, part.truth))
    order = ranked(labelled, doubts(labelled, learned))
    assert len(order) == 200
    planted = [bool(wrong[item.row]) for item in order]
    doubt = roc_auc_score(planted, [item.doubt for item in order])
    alone = ranked(labelled, severity(labelled))
    network = roc_auc_score([bool(wrong[item.row]) for item in alone], [item.doubt for item in alone])
    assert doubt > 0.94
    assert network < 0.9
    assert {item.images for item in order} == {3}


# --------------------------------------------------------------------------- together
@pytest.fixture
def folder(tmp_path):
    """Write embeddings and maps of one network's answers to 30 images, and of 40 training images."""
    part = made_up_predictions("student_kd", patients=10, frames=3)
    ids = tuple(f"train{number:02d}" for number in range(40))
    vectors = RANDOM.normal(size=(70, 6))
    write_image_arrays(tmp_path / embeddings_file("student_kd"), ImageArrays((*ids, *part.image_ids), vectors))
    write_image_arrays(tmp_path / evidence_file("student_kd"), ImageArrays(part.image_ids, np.zeros((30, 5, 2, 2))))
    clusters = tuple(f"c{number // 4}" for number in range(40))
    return tmp_path, part, Learned(ids, clusters, np.arange(40) % 5)


def test_every_answer_has_its_neighbours_and_the_table_holds_them(folder):
    path, part, learned = folder
    found = collected(path, [part], learned, 3)
    items = found["student_kd"].neighbours
    assert set(items) == set(part.image_ids)
    assert all(
        item.stage == learned.stages[learned.image_ids.index(item.image_id)] for item in items[part.image_ids[0]]
    )
    write_neighbours(path / "neighbours.csv", found, part.scale.names)
    table = read_table(path / "neighbours.csv")
    assert len(table) == 90
    assert table["rank"].tolist() == ["1", "2", "3"] * 30
    assert set(table["neighbour"]) <= set(learned.image_ids)


def test_what_was_not_collected_is_left_out(folder):
    path, part, learned = folder
    assert not collected(path, [part], learned, 0)["student_kd"].neighbours
    other = replace(part, network="teacher")
    assert collected(path, [other], learned, 3)["teacher"].evidence is None
    write_neighbours(path / "none.csv", collected(path, [other], learned, 3), part.scale.names)
    assert read_table(path / "none.csv").empty


def test_embeddings_of_other_answers_are_refused(folder):
    path, part, learned = folder
    file = path / embeddings_file("student_kd")
    arrays = read_image_arrays(file)
    write_image_arrays(file, ImageArrays(arrays.image_ids[:-1], arrays.values[:-1]))
    with pytest.raises(ArtifactError, match=r"hold all 30 images, found 1 missing (?s:.*)for other answers"):
        collected(path, [part], learned, 3)
