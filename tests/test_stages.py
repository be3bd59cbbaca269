"""The stage scale: labels in every spelling that folders and tables use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.errors import LabelError
from fibrokd.stages import METAVIR, StageScale


@pytest.mark.parametrize(("label", "stage"), [("F0", 0), ("f4", 4), (" F2 ", 2), ("3", 3), (1, 1), ("2.0", 2)])
def test_common_spellings_are_understood(label, stage):
    assert METAVIR.parse(label) == stage


@given(st.text(max_size=6))
def test_whatever_is_not_on_the_scale_is_refused_and_never_guessed(label):
    stage = METAVIR.try_parse(label)
    if stage is None:
        with pytest.raises(LabelError):
            METAVIR.parse(label)
    else:
        assert METAVIR.names[stage][1] in label or label.strip().casefold() == METAVIR.names[stage].casefold()


@pytest.mark.parametrize("label", ["F5", "-1", "F", "", "nan", "1.5", "10"])
def test_near_misses_are_refused(label):
    assert METAVIR.try_parse(label) is None


def test_cutoffs_are_the_clinical_end_points():
    assert METAVIR.cutoff_names == ("≥F2", "≥F3", "≥F4")


def test_other_scales_are_checked():
    assert StageScale(("none", "mild", "severe"), (1, 2)).parse("Mild") == 1
    with pytest.raises(LabelError):
        StageScale(("a", "A"), ())
    with pytest.raises(LabelError):
        StageScale(("a", "b"), (0,))
