"""Groups are the union of all evidence, and every link says why."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.integrity.groups import group_images
from fibrokd.integrity.links import Link, links_of_equal_keys
from tests.integrity.builders import manifest


def digest(letter):
    return letter * 64


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25))
def test_groups_are_the_connected_components_of_the_evidence(keys):
    table = manifest(
        [
            {"path": f"F0/n{i}.png", "patient": f"P{p}" if p else "", "study": f"S{s}" if s else "",
             "pixel_digest": digest("abcdef"[c])}
            for i, (p, s, c) in enumerate(keys)
        ]
    )  # fmt: skip
    groups = group_images(table, "all")
    # Oracle: repeated flooding over pairs.
    component = list(range(len(keys)))
    for _ in keys:
        for i, j in itertools.combinations(range(len(keys)), 2):
            (p, s, c), (q, t, d) = keys[i], keys[j]
            if (p and p == q) or (s and s == t) or c == d:
                component[i] = component[j] = min(component[i], component[j])
    for i, j in itertools.combinations(range(len(keys)), 2):
        assert (groups.names[i] == groups.names[j]) == (component[i] == component[j])
    for i, name in enumerate(groups.names):
        members = [k for k in range(len(keys)) if component[k] == component[i]]
        assert name == min(table["image_id"][k] for k in members)


def test_the_order_of_the_rows_does_not_change_the_groups():
    rows = [{"path": f"F0/n{i}.png", "patient": f"P{i % 4}", "pixel_digest": digest("abcde"[i % 5])} for i in range(9)]
    table = manifest(rows)
    shuffled = table.sample(frac=1, random_state=3).reset_index(drop=True)
    one = dict(zip(table["image_id"], group_images(table, "all").names, strict=True))
    two = dict(zip(shuffled["image_id"], group_images(shuffled, "all").names, strict=True))
    assert one == two


@pytest.fixture
def copies():
    return manifest(
        [
            {"path": "F0/a1.png", "patient": "P1", "pixel_digest": digest("a")},
            {"path": "F0/a1_copy.png", "pixel_digest": digest("b")},
            {"path": "F0/z9.png", "patient": "P1", "pixel_digest": digest("c")},
            {"path": "F0/q4.png", "pixel_digest": digest("a")},
            {"path": "F3/a1.png", "stage": "F3", "pixel_digest": digest("d")},
        ]
    )


@pytest.mark.parametrize(
    ("grouping", "expected"),
    [("none", [1, 2, 3, 4, 5]), ("stem", [1, 1, 2, 3, 1]), ("content", [1, 2, 3, 1, 4]), ("subject", [1, 2, 1, 3, 4]),
     ("all", [1, 1, 1, 1, 2])],
)  # fmt: skip
def test_each_grouping_counts_its_own_evidence(copies, grouping, expected):
    names = group_images(copies, grouping).names
    first = {name: n for n, name in reversed(list(enumerate(dict.fromkeys(names), start=1)))}
    assert [first[name] for name in names] == expected


def test_frames_of_one_file_belong_together_at_every_grouping():
    table = manifest([{"path": "F1/cine.dcm", "frame": n, "stage": "F1"} for n in range(3)])
    for grouping in ("stem", "content", "subject", "all"):
        assert group_images(table, grouping).count == 1
    assert group_images(table, "none").count == 3


def test_every_link_says_which_evidence_and_what_value(copies):
    groups = group_images(copies, "all")
    written = groups.to_table(list(copies["image_id"]), groups.names).set_index("image_id")
    head, copy, other, twin, stranger = (written.loc[i] for i in copies["image_id"])
    assert tuple(head[["evidence", "link_to"]]) == ("patient|stem|content", "||")
    assert tuple(copy[["evidence", "link_to", "value"]]) == ("stem", head.name, "")  # names are of persons, often
    assert tuple(other[["evidence", "link_to", "value"]]) == ("patient", head.name, "")
    assert tuple(twin[["evidence", "link_to", "value"]]) == ("content", head.name, "a" * 32)
    assert tuple(stranger[["evidence", "link_to", "value"]]) == ("", "", "")


def test_links_span_a_key_without_repeating_it():
    links = links_of_equal_keys(["k", "", "k", "m", "k"], "patient")
    assert links == [Link(0, 2, "patient", "k"), Link(0, 4, "patient", "k")]


def test_groups_across_stages_are_listed_with_their_evidence(copies):
    assert group_images(copies, "all").mixed == ()
    (mixed,) = group_images(copies, "stem").mixed
    assert mixed.stages == {"F0": 2, "F3": 1}
    assert mixed.evidence == ("stem",)


def test_extra_links_from_outside_count_under_all(copies):
    groups = group_images(copies, "all", extra=[Link(0, 4, "near", "0.93")])
    assert groups.count == 1
    assert len(groups.mixed) == 1
    assert group_images(copies, "content", extra=[Link(0, 4, "near", "0.93")]).count == 4


def test_distrusted_keys_are_named_and_tie_nothing():
    groups = group_images(manifest([{"patient": "ANON"}, {"patient": "ANON"}, {"patient": "0"}]), "all")
    assert groups.count == 3
    assert groups.distrusted == {"patient": ("0", "ANON")}


def test_every_image_has_its_cluster_under_all_evidence_whatever_grouping_splits(copies):
    groups, evidence = group_images(copies, "stem"), group_images(copies, "all")
    written = groups.to_table(list(copies["image_id"]), evidence.names)
    assert list(written["group"]) == list(groups.names)
    assert list(written["cluster"]) == list(evidence.names)
    assert written["cluster"].nunique() == 2 < written["group"].nunique()


def test_no_key_of_a_person_reaches_the_table_of_groups():
    table = manifest([{"patient": "SECRET-P", "study": "SECRET-S"} for _ in range(2)])
    groups = group_images(table, "all")
    assert groups.count == 1
    assert "SECRET" not in groups.to_table(list(table["image_id"]), groups.names).to_csv()


def test_what_joins_patients_is_blamed_and_not_what_ties_most_pictures_inside_them():
    rows = [{"path": f"F0/{p}-{f}.png", "patient": f"P{p}"} for p in range(20) for f in range(30)]
    for row in rows[::30]:
        row["pixel_digest"] = digest("e")  # one picture of every patient is the same
    groups = group_images(manifest(rows), "all")
    assert groups.count == 1
    assert (groups.merges["content"], groups.merges["patient"]) == (19, 20 * 29)
    why, todo = groups.tied_by()
    assert "mostly by content (19 of 19 joins of what patients and studies left apart); for example 20 images" in why
    assert todo == " Remove the copies, or bring other pictures."


def test_keys_are_blamed_where_they_alone_leave_too_few_groups():
    rows = [{"path": f"F0/{n}.png", "patient": f"P{n % 3}"} for n in range(30)]
    assert "mostly by patient (27 of 27 joins)" in group_images(manifest(rows), "all").tied_by()[0]
    unknown = [row | {"patient": "", "pixel_digest": digest("a")} for row in rows]
    assert "mostly by content (29 of 29 joins)" in group_images(manifest(unknown), "all").tied_by()[0]
    assert group_images(manifest([{}, {}]), "all").tied_by() == ("", "")


def test_links_that_join_nothing_are_not_counted():
    rows = [{"path": f"F0/x{n}.png", "study": "S", "patient": "P"} for n in range(5)]
    groups = group_images(manifest(rows), "all", extra=[Link(0, 1, "near", "0.93")])
    assert dict(groups.merges) == {"patient": 4}
