"""The benchmark of methods: what is compared with what."""

from __future__ import annotations

import argparse

from benchmarks.methods import PAIRED, settings, summary

OPTIONS = argparse.Namespace(epochs=3, precision="fp32")


def test_a_student_alone_may_be_shown_the_pairs_of_the_method_that_needs_them() -> None:
    paired, alone, beside = settings(PAIRED, OPTIONS), settings("none", OPTIONS), settings("none", OPTIONS, paired=True)
    assert (paired.views, paired.train) == (beside.views, beside.train)
    assert paired.train.batch_size == 2 * alone.train.batch_size
    assert alone.views.joint is None


def test_what_is_over_the_limit_is_named_by_steps_and_by_steps_of_as_many_rows() -> None:
    plain = {"from_book": True, "logits_alone": True}
    found = {
        "kd": {"step": 1.0, "same_rows": 1.0, **plain},
        "ccd": {"step": 2.0, "same_rows": 0.99, **plain},
        "maps": {"step": 3.0, "same_rows": 3.0, "from_book": True, "logits_alone": False},
        "live": {"step": 9.0, "same_rows": 9.0, "from_book": False, "logits_alone": False},
    }
    assert summary(found) == {
        "ratio": 2.0,
        "ratio_books": 3.0,
        "over": ["ccd", "maps"],
        "over_same_rows": ["maps"],
    }
