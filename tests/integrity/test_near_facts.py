"""Near-duplicates are counted by what they contradict, and the best examples of each kind are chosen."""

import pytest

from fibrokd.integrity.examples import MOST_PICTURES, TITLES, choose_examples
from fibrokd.integrity.links import Link
from fibrokd.integrity.near_facts import is_altered_copy, near_facts
from tests.integrity.builders import content, manifest

TABLE = manifest(
    [
        {"path": "F0/a.png", "patient": "p", "stage": "F0"},
        {"path": "F0/b.png", "patient": "p", "stage": "F0"},
        {"path": "F1/c.png", "patient": "q", "stage": "F1"},
        {"path": "F1/d.png", "patient": "", "stage": "F1"},
        {"path": "F1/e.dcm", "frame": 0, "patient": "r", "stage": "F1"},
        {"path": "F1/e.dcm", "frame": 1, "patient": "r", "stage": "F1"},
        {"path": "F1/f.png", "patient": "q", "stage": "F1", "pixel_digest": content(9)},
        {"path": "F2/g.png", "patient": "s", "stage": "F2", "pixel_digest": content(9)},
    ]
)
PATIENTS = list(TABLE["patient"])
GROUPS = ["p", "p", "q", "d", "r", "r", "q", "q"]


def facts(*links):
    return near_facts(TABLE, PATIENTS, links, GROUPS, 0.65)


def near(a, b, value="0.90"):
    return Link(a, b, "near", value)


@pytest.mark.parametrize(
    ("link", "counted"),
    [
        (near(0, 1), {}),
        (near(0, 1, "0.98"), {}),  # neighbouring frames may be so alike
        (near(0, 1, "0.99"), {"copies": 1}),
        (near(0, 1, "0.80 mirrored"), {"copies": 1, "certain": 1, "mirrored": 1}),
        (near(4, 5, "0.99"), {}),  # frames of one file are no copies
        (near(6, 7, "1.00"), {"across_stages": 1, "across_patients": 1}),  # an exact copy, counted elsewhere
        (near(1, 2), {"across_stages": 1, "across_patients": 1, "merges": 1, "largest_groups": 2, "largest_images": 5}),
        (near(2, 3), {"merges": 1, "largest_groups": 2, "largest_images": 4}),  # whose picture 3 is nobody knows
    ],
)
def test_each_link_counts_for_what_it_says(link, counted):
    told = facts(link).as_json()
    expected = {"links": 1, "threshold": 0.65, "images": 2, "copies": 0, "certain": 0, "mirrored": 0,
                "across_stages": 0, "across_patients": 0, "merges": 0, **counted}  # fmt: skip
    assert {name: told[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("column", "value"),
    [("format", "JPEG"), ("height", "65"), ("width", "99"), ("jpeg_tables", "0badcafe"), ("mode", "RGB")],
)
def test_pictures_as_alike_as_frames_are_copies_where_their_files_differ(column, value):
    table = TABLE.astype(object)
    table.loc[1, column] = value
    assert is_altered_copy(table, near(0, 1, "0.91"))
    assert not is_altered_copy(table, near(0, 1, "0.89"))
    assert not is_altered_copy(TABLE, near(0, 1, "0.91"))


@pytest.mark.parametrize(
    ("one", "other", "copy"),
    [
        ("F0/P1_C0_000.png", "F0/P1_C0_001.png", False),
        ("F0/img17.png", "F0/img18.png", False),
        ("F0/P1_C0_000.png", "F0/P1_C0_000_1.png", True),
        ("F0/P1_C0_000.png", "F0/P2_C0_001.png", True),
        ("F0/a.png", "F0/b.png", True),
        ("F0/a1x.png", "F0/a2y.png", True),
    ],
)
def test_names_that_number_frames_are_not_those_of_copies(one, other, copy):
    table = manifest([{"path": one}, {"path": other}])
    assert is_altered_copy(table, near(0, 1, "0.99")) == copy
    assert is_altered_copy(table, near(0, 1, "0.99 mirrored"))


def test_without_links_nothing_is_counted():
    told = facts().as_json()
    assert (told["links"], told["images"], told["merges"], told["largest_groups"]) == (0, 0, 0, 1)


def kinds(links):
    return {example.kind: example for example in choose_examples(TABLE, PATIENTS, links)}


def test_the_gravest_examples_come_first_and_the_most_alike_stand_for_their_kind():
    links = [
        near(0, 2, "0.70"),
        near(1, 2, "0.95"),
        near(0, 1, "0.99"),
        near(2, 3, "0.75 mirrored"),
        near(4, 5, "0.99"),
    ]
    found = choose_examples(TABLE, PATIENTS, links)
    assert [example.kind for example in found] == [kind for kind in TITLES if kind in kinds(links)]
    assert set(kinds(links)) == set(TITLES)
    assert kinds(links)["near_across_stages"].rows == (1, 2)
    assert kinds(links)["near_copy"].rows == (0, 1)  # not the frames of one file
    assert kinds(links)["mirrored"].rows == (2, 3)
    assert kinds(links)["copies_across_stages"].rows == (6, 7)
    assert kinds(links)["largest_near_group"].rows == (0, 1, 2, 3)


def test_the_order_of_links_does_not_change_the_choice():
    links = [near(0, 2, "0.70"), near(1, 2, "0.95"), near(0, 1, "0.99"), near(2, 3, "0.75 mirrored")]
    assert choose_examples(TABLE, PATIENTS, links) == choose_examples(TABLE, PATIENTS, links[::-1])


def test_large_groups_are_shown_in_part_and_frames_kept_whole_are_marked():
    table = manifest([{"path": f"F0/{n}.png", "cropped": "0" if n == 0 else "1"} for n in range(50)])
    (example,) = choose_examples(table, [""] * 50, [near(n, n + 1) for n in range(49)])
    told = example.as_json(table)
    assert told["of"] == 50
    assert len(told["pictures"]) == MOST_PICTURES
    assert [picture["shown"] for picture in told["pictures"]] == [True] * MOST_PICTURES


def test_nothing_found_gives_no_example():
    assert choose_examples(manifest([{"path": "F0/a.png"}]), [""], []) == ()
