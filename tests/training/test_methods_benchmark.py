"""The benchmark of methods: what is compared with what."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.methods import alone, settings, summary
from fibrokd.methods import METHODS

OPTIONS = argparse.Namespace(epochs=7, precision="fp32")


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_is_measured_beside_the_same_network_that_learns_alone(kind: str) -> None:
    config = settings(kind, OPTIONS)
    by_itself, beside = alone(config, paired=False), alone(config, paired=True)
    assert config.method.kind == kind
    assert {one.method.kind for one in (by_itself, beside)} == {"none"}
    assert {one.backbone for one in (config, by_itself, beside)} == {config.backbone}
    assert (config.views, config.train) == (beside.views, beside.train)
    assert (by_itself.views.joint, by_itself.train.batch_size) == (None, 32)


def test_pairs_are_shown_in_batches_of_as_many_images() -> None:
    config = settings("ccd", OPTIONS)
    assert config.views.joint is not None
    assert config.train.batch_size == 64
    assert settings("reversed_kd", OPTIONS).backbone == "resnet50"


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
