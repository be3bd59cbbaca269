"""Near-duplicates are counted by what they contradict, and the best examples of each kind are chosen."""

from functools import cache
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fibrokd.data.fan.finder import find_fan
from fibrokd.data.fingerprint import fingerprint
from fibrokd.integrity.examples import MOST_PICTURES, TITLES, choose_examples
from fibrokd.integrity.groups import group_images
from fibrokd.integrity.links import Link
from fibrokd.integrity.near_duplicates import NearConfig, near_links
from fibrokd.integrity.near_facts import is_altered_copy, near_facts
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.cohort import CohortConfig, cohort_patients
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
        (near(0, 1, "0.99"), {"copies": 2}),
        (near(0, 1, "0.80 mirrored"), {"copies": 2, "converted": 2, "mirrored": 2}),
        (near(4, 5, "0.99"), {}),  # frames of one file are no copies
        (near(6, 7, "1.00"), {"across_stages": 1, "across_patients": 1}),  # an exact copy, counted elsewhere
        (near(1, 2), {"across_stages": 1, "across_patients": 1, "merges": 1, "largest_groups": 2, "largest_images": 5}),
        (near(2, 3), {"merges": 1, "largest_groups": 2, "largest_images": 4}),  # whose picture 3 is nobody knows
    ],
)
def test_each_link_counts_for_what_it_says(link, counted):
    told = facts(link).as_json()
    expected = {"links": 1, "threshold": 0.65, "images": 2, "copies": 0, "converted": 0, "mirrored": 0,
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
        ("F0/img17.png", "F0/old/img17.png", True),  # one number: not two frames
    ],
)
def test_names_that_number_frames_are_not_those_of_copies(one, other, copy):
    table = manifest([{"path": one}, {"path": other}])
    assert is_altered_copy(table, near(0, 1, "0.99")) == copy
    assert is_altered_copy(table, near(0, 1, "0.99 mirrored"))


@pytest.mark.parametrize(("other", "copies"), [("F0/Bild 2.jpg", 0), ("F0/Bild 1.jpg", 1), ("F0/Bild 1 (2).jpg", 1)])
def test_numbered_frames_of_a_clip_that_was_exported_in_two_formats_are_not_called_copies(other, copies):
    table = manifest([{"path": "F0/Bild 1.png"}, {"path": other, "format": "JPEG"}])
    told = near_facts(table, ["p", "p"], [near(0, 1, "0.97")], ["p", "p"], 0.65)
    assert (told.copies, told.converted) == (2 * copies, 2 * copies)


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


# --------------------------------------------------------------------------- from pictures to facts
PATIENTS_DRAWN = 6
CONFIG = NearConfig()


@cache
def clip(patient):
    return Clip(cohort_patients(CohortConfig(patients=PATIENTS_DRAWN, seed=4))[patient], 0)


@cache
def frame(patient, number=0):
    picture = clip(patient).frame(number, 192, overlay=False)
    picture.flags.writeable = False
    return picture


def saved_again(picture, quality=70):
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def lighter(picture):
    return np.where(picture > 0, np.clip(picture * 1.15 + 6, 0, 255), 0).astype(np.uint8)


def smaller(picture):
    return np.asarray(Image.fromarray(picture).resize((160, 160)))


def turned(picture):
    return picture[:, ::-1]


@cache
def print_of(pixels, height):
    picture = np.frombuffer(pixels, dtype=np.uint8).reshape(height, -1)
    return fingerprint(picture, find_fan(picture))


def original(patient):
    return frame(patient), {"path": f"F0/P{patient}_C0_000.png", "patient": f"P{patient}"}


def told_of(shown):
    """Facts about pictures, from their pixels on: (facts, links, groups of other evidence, all groups)."""
    table = manifest([row for _, row in shown])
    links = near_links(np.stack([print_of(np.ascontiguousarray(p).tobytes(), len(p)) for p, _ in shown]), CONFIG)
    others, groups = group_images(table, "all"), group_images(table, "all", extra=links)
    return near_facts(table, list(table["patient"]), links, others.names, CONFIG.threshold), links, others, groups


FILED = {"path": "F0/copy.png", "patient": "P2"}
JPEG = {"path": "F0/P2_C0_000_2.jpg", "format": "JPEG"}


@pytest.mark.parametrize(
    ("planted", "row", "counted"),
    [
        (saved_again, FILED | JPEG, {"copies": 2, "converted": 2}),
        (lighter, FILED, {"copies": 2}),
        (lighter, FILED | {"path": "F0/P2_C0_007.png"}, {}),  # named as a frame of the clip: may be one
        (lighter, FILED | {"path": "F0/P3_C0_007.png"}, {"copies": 2}),
        (smaller, FILED | {"height": "160", "width": "160"}, {"copies": 2, "converted": 2}),
        (turned, FILED, {"copies": 2, "converted": 2, "mirrored": 2}),
        (turned, FILED | {"path": "F0/P2_C0_007.png"}, {"copies": 2, "converted": 2, "mirrored": 2}),
        (lambda p: saved_again(turned(p)), FILED | JPEG, {"copies": 2, "converted": 2, "mirrored": 2}),
        (lambda p: lighter(saved_again(p, 90)), FILED | JPEG | {"stage": "F3"},
         {"copies": 2, "converted": 2, "across_stages": 1}),
        (turned, FILED | {"patient": "P9"}, {"copies": 2, "converted": 2, "mirrored": 2, "across_patients": 1,
                                            "merges": 1, "largest_groups": 2, "largest_images": 2}),
        (lighter, FILED | {"patient": ""}, {"copies": 2, "merges": 1, "largest_groups": 2, "largest_images": 2}),
        (lambda p: p.copy(), FILED | {"pixel_digest": content(2)}, {}),  # an exact copy, counted elsewhere
        (lambda p: frame(2, 1), FILED | {"path": "F0/P2_C0_001.png"}, {}),
    ],
    ids=["saved again", "lighter", "lighter, numbered", "lighter, another clip's name", "smaller", "mirrored",
         "mirrored, numbered", "mirrored and saved again", "another stage", "another patient", "no patient", "exact",
         "next frame"],
)  # fmt: skip
def test_one_planted_picture_is_reported_for_what_was_done_to_it(planted, row, counted):
    shown = [original(patient) for patient in range(PATIENTS_DRAWN)]
    shown[2][1]["pixel_digest"] = content(2)
    told, links, others, groups = told_of([*shown, (planted(frame(2)), row)])
    assert [(link.a, link.b) for link in links] == [(2, PATIENTS_DRAWN)]
    expected = {"links": 1, "threshold": 0.6, "images": 2, "copies": 0, "converted": 0, "mirrored": 0,
                "across_stages": 0, "across_patients": 0, "merges": 0, **counted}  # fmt: skip
    found = told.as_json()
    assert {name: found[name] for name in expected} == expected
    assert groups.names[2] == groups.names[PATIENTS_DRAWN]
    assert others.count - groups.count == told.merges


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (1, 2, 0, 3, 4)])
def test_one_picture_saved_again_four_times_counts_the_same_wherever_it_lies(order):
    shown = [
        original(0),
        *((saved_again(frame(0), 60 + 10 * n), JPEG | {"path": f"F0/{'abcd'[n]}.jpg"}) for n in range(4)),
    ]
    told = told_of([shown[place] for place in order])[0]
    assert (told.copies, told.converted) == (5, 5)


def test_different_patients_on_the_same_scanners_are_nobodys_copies():
    told, links, others, groups = told_of([original(patient) for patient in range(PATIENTS_DRAWN)])
    assert links == []
    assert (told.links, told.images, told.copies, told.merges, told.largest_images) == (0, 0, 0, 0, 1)
    assert others.count == groups.count == PATIENTS_DRAWN


def planted_everywhere():
    """Six patients, each with one picture that was altered in its own way and filed without a patient."""
    altered = [saved_again, lighter, turned, lambda p: saved_again(turned(p)), smaller, lighter]
    rows = [{"format": "JPEG"}, {}, {}, {"format": "JPEG"}, {"height": "160", "width": "160"}, {"stage": "F1"}]
    shown = [original(patient) for patient in range(PATIENTS_DRAWN)]
    for patient, (alter, row) in enumerate(zip(altered, rows, strict=True)):
        shown.append((alter(frame(patient)), {"path": f"F0/{'abcdef'[patient]}.png", **row}))
    return shown


def test_many_planted_pictures_add_up():
    told, _, others, groups = told_of(planted_everywhere())
    assert told.as_json() == {
        "links": 6, "threshold": 0.6, "images": 12, "copies": 12, "converted": 8, "mirrored": 4, "across_stages": 1,
        "across_patients": 0, "merges": 6, "largest_groups": 2, "largest_images": 2,
    }  # fmt: skip
    assert (others.count, groups.count) == (12, 6)


@pytest.mark.parametrize("seed", range(5))
def test_in_whatever_order_the_files_lie_the_facts_are_the_same(seed):
    shown = planted_everywhere()
    order = np.random.default_rng(seed).permutation(len(shown))
    assert told_of([shown[place] for place in order])[0] == told_of(shown)[0]


def test_a_chain_of_copies_under_many_patients_is_measured_from_end_to_end():
    shown = [original(patient) for patient in range(PATIENTS_DRAWN)]
    alterations = [lighter(frame(0)), saved_again(frame(0)), turned(frame(0))]
    shown += [(picture, {"path": f"F0/{n}.png", "patient": f"Q{n}"}) for n, picture in enumerate(alterations)]
    shown.append((frame(1, 1), {"path": "F0/P1_C0_001.png", "patient": "Q2"}))  # ties a second patient to the last one
    told, _, others, groups = told_of(shown)
    assert (told.largest_groups, told.largest_images) == (5, 6)  # P0, Q0, Q1, Q2 and P1
    assert told.merges == others.count - groups.count == 4
    assert told.across_patients == told.links > 4
