"""Automatic precision and memory format: what is clearly faster, and otherwise always the same."""

import pytest

from fibrokd.training.runtime import Runtime, _clearly_fastest

ORDER = [Runtime(p, f) for p in ("fp32", "bf16") for f in ("channels_last", "nchw")]


def chosen(*milliseconds):
    names = [f"{c.precision}/{c.memory_format}" for c in ORDER]
    found = _clearly_fastest(ORDER, dict(zip(names, milliseconds, strict=True)))
    return f"{found.precision}/{found.memory_format}"


@pytest.mark.parametrize(
    ("milliseconds", "wanted"),
    [
        ((304.08, 309.26, 213.47, 216.06), "bf16/channels_last"),  # measured: nothing else running
        ((893.61, 1019.67, 659.48, 657.95), "bf16/channels_last"),  # measured: tests beside it
        ((100.0, 99.0, 95.0, 93.0), "fp32/channels_last"),
        ((100.0, 80.0, 100.0, 79.0), "fp32/nchw"),
        ((100.0, 100.0, 100.0, 50.0), "bf16/nchw"),
    ],
)
def test_only_what_is_clearly_faster_displaces_what_stands_before_it(milliseconds, wanted):
    assert chosen(*milliseconds) == wanted


def test_alone_a_candidate_is_taken_without_being_measured():
    assert _clearly_fastest(ORDER[2:3], {}) == ORDER[2]
