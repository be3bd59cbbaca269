"""Examples are the gravest and most telling pictures, and pictures that may be shown come first."""

import pytest

from fibrokd.integrity.examples import TITLES, choose_examples
from fibrokd.integrity.links import Link
from tests.integrity.builders import content, manifest

WHOLE = {"cropped": "0"}


def chosen(rows, links=(), patients=None):
    table = manifest(rows)
    return {example.kind: example for example in choose_examples(table, patients or [""] * len(rows), links)}


def near(a, b, value="0.80"):
    return Link(a, b, "near", value)


def test_the_most_alike_pair_is_shown_first():
    found = chosen([{"stage": f"F{n % 2}"} for n in range(6)], [near(0, 1, "0.70"), near(2, 3, "0.95"), near(4, 5)])
    assert found["near_across_stages"].rows == (2, 3)
    assert found["near_across_stages"].detail == "correlation 0.95 inside the fan"


@pytest.mark.parametrize("whole", [[2], [3], [2, 3]])
def test_a_pair_that_may_be_shown_comes_before_a_pair_more_alike_that_was_kept_whole(whole):
    rows = [{"stage": f"F{n % 2}", **(WHOLE if n in whole else {})} for n in range(4)]
    assert chosen(rows, [near(0, 1, "0.70"), near(2, 3, "0.95")])["near_across_stages"].rows == (0, 1)


def test_where_nothing_may_be_shown_the_finding_is_named_all_the_same():
    rows = [{"stage": f"F{n % 2}", **WHOLE} for n in range(2)]
    example = chosen(rows, [near(0, 1)])["near_across_stages"]
    assert example.rows == (0, 1)
    assert not any(shown["shown"] for shown in example.as_json(manifest(rows))["pictures"])


def test_of_equally_copied_pictures_one_that_may_be_shown_stands_for_them():
    rows = [{"pixel_digest": content(0), **WHOLE}] * 3 + [{"pixel_digest": content(1)}] * 3
    example = chosen([{**row, "path": f"F0/q{n}.png"} for n, row in enumerate(rows)])["most_copied"]
    assert (example.rows, example.detail) == ((3,), "3 files hold it")


def test_of_the_largest_group_the_pictures_that_may_be_shown_are_chosen_and_all_are_counted():
    rows = [WHOLE if n % 2 else {} for n in range(10)]
    example = chosen(rows, [near(n, n + 1) for n in range(9)])["largest_near_group"]
    assert set(example.rows) <= {0, 2, 4, 6, 8}
    assert len(example.rows) == 5
    assert example.of == 10


def test_examples_come_in_the_order_of_their_gravity():
    rows = [{"stage": "F0", "path": "F0/a.png", "pixel_digest": content(0)},
            {"stage": "F1", "path": "F1/b.png", "pixel_digest": content(0)},
            {"stage": "F0", "path": "F0/c.png"}, {"stage": "F1", "path": "F1/d.png"}]  # fmt: skip
    found = choose_examples(manifest(rows), ["p", "p", "p", "q"], [near(2, 3, "0.90 mirrored"), near(1, 2)])
    kinds = [example.kind for example in found]
    assert kinds == [kind for kind in TITLES if kind in kinds]
    assert kinds[0] == "copies_across_stages"
    assert {"near_across_patients", "mirrored", "most_copied"} <= set(kinds)
