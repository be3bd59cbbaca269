"""Burned-in marks and the planted shortcut."""

from dataclasses import replace

import numpy as np
import pytest

from fibrokd.phantom.geometry import screen
from fibrokd.phantom.overlay import draw_overlay, draw_text
from fibrokd.phantom.patients import DIFFICULTIES, make_patient
from fibrokd.phantom.scanners import SCANNERS

scanners = pytest.mark.parametrize("scanner", SCANNERS.values(), ids=list(SCANNERS))


def marks(scanner, stage, leak, size=256):
    image = np.zeros((size, size), np.uint8)
    patient = replace(make_patient(3, 0, stage, DIFFICULTIES["medium"]), leak=leak)
    draw_overlay(image, scanner, patient, 0)
    return image


def test_text_is_drawn_in_three_by_five_pixels_and_never_outside():
    image = np.zeros((12, 12), np.uint8)
    draw_text(image, (1, 1), "I", 200)
    assert np.array_equal(image[1:6, 1:4] > 0, np.array([[1, 1, 1], [0, 1, 0], [0, 1, 0], [0, 1, 0], [1, 1, 1]], bool))
    draw_text(image, (9, 9), "88888", 255)
    assert image.max() == 200


@scanners
def test_marks_lie_mostly_outside_the_fan(scanner):
    drawn = marks(scanner, 0, leak=False) > 0
    fan = screen(scanner, 256).fan
    assert drawn.sum() > 50
    assert (drawn & fan).sum() < 0.02 * fan.sum()


@scanners
def test_honest_marks_say_nothing_about_the_stage(scanner):
    assert all(np.array_equal(marks(scanner, 0, leak=False), marks(scanner, stage, leak=False)) for stage in range(5))


@scanners
def test_leaking_marks_differ_for_every_stage(scanner):
    assert len({marks(scanner, stage, leak=True).tobytes() for stage in range(5)}) == 5


def test_small_screens_carry_no_text():
    scanner = SCANNERS["mirasono"]
    assert (marks(scanner, 0, leak=False, size=64) > 0).sum() < (marks(scanner, 0, leak=False, size=128) > 0).sum()
