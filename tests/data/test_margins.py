"""Margins: enough to see a mark or a scanner, too little to read a name, and blind to the tissue."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.data.fan.finder import Fan, find_fan
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.margins import BORDER, COUNT, GEOMETRY, OUTSIDE, margin_numbers
from fibrokd.errors import InputError
from fibrokd.phantom.overlay import draw_text
from fibrokd.phantom.patients import DIFFICULTIES
from fibrokd.phantom.plan import Clip, CohortConfig, cohort_patients


@pytest.fixture(scope="module")
def frame():
    patient = cohort_patients(CohortConfig(patients=1, seed=3))[0]
    return Clip(patient, 0).frame(0, 256, overlay=False)


@pytest.fixture(scope="module")
def fan(frame):
    found = find_fan(frame)
    assert found.confidence > 0.9
    return found


def numbers(pixels, fan, **fields):
    return margin_numbers(UltrasoundImage(pixels, "PNG", **fields), fan)


def corner(frame, fan):
    """Top left box outside the fan, 40 × 40 px."""
    assert not fan.mask[:40, :40].any()
    return slice(0, 40), slice(0, 40)


def test_the_parts_make_the_whole_and_there_are_few_numbers(frame, fan):
    assert (OUTSIDE.stop, BORDER.stop, GEOMETRY.stop) == (BORDER.start, GEOMETRY.start, COUNT)
    assert COUNT == 64
    found = numbers(frame, fan)
    assert found.shape == (COUNT,)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_tissue_does_not_reach_the_numbers(frame, fan):
    changed = frame.copy()
    inside = fan.inner_mask(2)
    changed[inside] = np.random.default_rng(0).integers(0, 256, int(inside.sum()))
    before, after = numbers(frame, fan), numbers(changed, fan)
    np.testing.assert_array_equal(before[OUTSIDE], after[OUTSIDE])
    np.testing.assert_array_equal(before[GEOMETRY], after[GEOMETRY])


def test_a_mark_shows_in_the_profile_of_its_side_and_its_place_is_linear(frame, fan):
    places = []
    for row in (16, 22, 28, 34):
        marked = frame.copy()
        marked[row : row + 5, 4:9] = 235
        left = (numbers(marked, fan) - numbers(frame, fan))[OUTSIDE][:8]
        assert left.sum() == pytest.approx(5 * 5 * 8 / (256 * 128), rel=0.05)
        places.append(float(left @ np.arange(8) / left.sum()))
    assert np.diff(places) == pytest.approx(6 / 32, rel=0.05)


def test_names_of_one_length_cannot_be_told_apart_by_their_letters(frame, fan):
    rows, columns = corner(frame, fan)
    random = np.random.default_rng(0)
    alphabet = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    seen = set()
    for _ in range(300):
        written = frame.copy()
        draw_text(written, (6, 3), "".join(random.choice(alphabet, 8)), 200)
        assert not np.array_equal(written[rows, columns], frame[rows, columns])
        seen.add(numbers(written, fan)[OUTSIDE].round(3).tobytes())
    # 26 to the power of 8 names leave no more traces than their amount of ink does.
    assert len(seen) < 150


def test_a_grey_bar_is_told_from_text(frame, fan):
    bar, text = frame.copy(), frame.copy()
    bar[64:149, 2:5] = np.linspace(255, 0, 85)[:, None]
    for row in range(64, 149, 8):
        draw_text(text, (row, 2), "8", 200)
    glides = OUTSIDE.stop - 5
    assert numbers(bar, fan)[glides] > 3 * max(numbers(text, fan)[glides], numbers(frame, fan)[glides])


def test_without_fan_or_box_nothing_counts_as_outside_but_the_border_does():
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    found = numbers(pixels, Fan(90, 120))
    assert not found[OUTSIDE][:-1].any()
    assert found[BORDER][:8] == pytest.approx(0.5, abs=0.1)
    assert found[GEOMETRY].tolist() == [0] * 9 + [1, 1]


def test_a_declared_tissue_box_bounds_the_inside(frame):
    wide = np.zeros((300, 400), dtype=np.uint8)
    wide[20:276, 60:316] = frame
    wide[290:295, 10:40] = 220
    box = (20, 60, 276, 316)
    fan = find_fan(frame)
    inner, whole = numbers(wide, fan, tissue=box), numbers(wide, Fan(300, 400), tissue=box)
    assert inner[OUTSIDE][:8].any()
    assert whole[OUTSIDE][:8].sum() == pytest.approx(5 * 30 * 8 / (300 * 200), rel=0.05)
    assert whole[GEOMETRY][-4:] == pytest.approx([20 / 300, 60 / 400, 276 / 300, 316 / 400], abs=1e-4)
    assert inner[GEOMETRY][-4] > 20 / 300


def test_a_fan_of_another_frame_is_refused(frame):
    with pytest.raises(InputError, match="tissue box"):
        numbers(frame, Fan(10, 10))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 255), st.integers(0, 1000))
@settings(max_examples=60)
def test_any_frame_gives_finite_numbers_within_bounds(height, width, level, seed):
    pixels = np.random.default_rng(seed).integers(0, level + 1, (height, width)).astype(np.uint8)
    found = numbers(pixels, find_fan(pixels))
    assert np.isfinite(found).all()
    assert (np.abs(found) <= 4).all()


def test_scanners_differ_in_their_numbers():
    easy = DIFFICULTIES["easy"]
    patients = cohort_patients(CohortConfig(patients=12, seed=1, knobs=easy))
    found = {}
    for patient in patients:
        pixels = Clip(patient, 0).frame(0, 256, overlay=True)
        found.setdefault(patient.scanner, []).append(numbers(pixels, find_fan(pixels))[GEOMETRY][-4:])
    centres = {name: np.mean(rows, axis=0) for name, rows in found.items()}
    names = sorted(centres)
    assert all(np.abs(centres[a] - centres[b]).max() > 0.01 for a in names for b in names if a < b)
