"""Frames of a cine: where they are taken, what is left out, what replaces it, and how little is decoded."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.data.dicom.cine import Clip, candidates, choose_frames, saturated_share
from fibrokd.data.dicom.pixels import Frame
from fibrokd.data.limits import FramePolicy
from fibrokd.data.reading import decode
from fibrokd.errors import UnreadableImageError
from tests.data.objects import jpeg_cine, phantom_clip, to_bytes

CLIP = phantom_clip(frames=30, size=128)
OTHER = phantom_clip(number=11, frames=30, size=128)
BLACK = np.zeros_like(CLIP[0])


class Decoder:
    """Hands out frames and counts how often each was decoded."""

    def __init__(self, frames: list[np.ndarray], flow: tuple[int, ...] = ()) -> None:
        self.frames, self.flow, self.asked = frames, flow, list[int]()

    def __call__(self, index: int) -> Frame:
        self.asked.append(index)
        if index in self.flow:
            raise UnreadableImageError("colour_flow", "Doppler.")
        return Frame(self.frames[index], "test")


def chosen(frames: list[np.ndarray], flow: tuple[int, ...] = (), **policy: object) -> tuple[list[int], list[str]]:
    taken, notes = choose_frames(len(frames), FramePolicy(**policy), Clip(Decoder(frames, flow)))
    for index, frame in taken:
        np.testing.assert_array_equal(frame.pixels, frames[index])
    return [index for index, _ in taken], notes


def replaced(frames: dict[int, np.ndarray]) -> list[np.ndarray]:
    return [frames.get(index, frame) for index, frame in enumerate(CLIP)]


def test_frames_come_from_20_50_and_80_percent() -> None:
    assert chosen(CLIP) == ([6, 15, 24], [])


def test_only_what_is_looked_at_is_decoded() -> None:
    decoder = Decoder(CLIP)
    choose_frames(30, FramePolicy(), Clip(decoder))
    assert sorted(decoder.asked) == [5, 6, 14, 15, 23, 24]
    assert len(set(decoder.asked)) == len(decoder.asked)


def test_a_black_frame_is_replaced_by_its_nearest_usable_neighbour() -> None:
    indices, notes = chosen(replaced({15: BLACK}))
    assert indices == [6, 14, 24]  # 16 follows the black frame: nothing says that it is whole
    assert notes == ["frame 15 was left out: black; frame 14 was taken instead"]


def test_a_frame_of_a_single_grey_level_is_replaced_like_a_black_one() -> None:
    indices, notes = chosen(replaced({15: np.full_like(BLACK, 200)}))
    assert indices == [6, 14, 24]
    assert notes == ["frame 15 was left out: a single grey level; frame 14 was taken instead"]


def within(*boxes: tuple[slice, slice]) -> Callable[[np.ndarray], list[np.ndarray]]:
    return lambda pixels: [pixels[box] for box in boxes]


def taken_within(frames: list[np.ndarray], *boxes: tuple[slice, slice]) -> tuple[list[int], list[str]]:
    taken, notes = choose_frames(len(frames), FramePolicy(), Clip(Decoder(frames), within(*boxes)))
    return [index for index, _ in taken], notes


def test_whether_a_frame_is_black_is_seen_within_the_tissue_and_not_in_the_text_beside_it() -> None:
    frames = [frame // 3 for frame in replaced({15: BLACK})]  # so dim that a black frame is no scene cut
    for frame in frames:
        frame[:16] = 60
    assert chosen(frames)[0] == [6, 15, 24]
    indices, notes = taken_within(frames, (slice(16, 128), slice(0, 128)))
    assert indices == [6, 16, 24]
    assert "frame 15 was left out: black" in notes[0]


def test_a_running_clock_beside_the_tissue_does_not_thaw_a_frozen_clip() -> None:
    frames = [CLIP[0].copy() for _ in range(30)]
    for second, frame in enumerate(frames):
        frame[:16] = 8 * second  # within what a clock may change between two frames
    assert chosen(frames)[0] == [6, 15, 24]
    indices, notes = taken_within(frames, (slice(16, 128), slice(0, 128)))
    assert indices == [6]
    assert len(notes) == 2


def test_a_dual_screen_is_frozen_or_black_only_where_both_of_its_pictures_are() -> None:
    left, right = (slice(0, 128), slice(0, 128)), (slice(0, 128), slice(128, 256))
    frozen = [np.hstack([CLIP[0], moving]) for moving in CLIP]
    empty = [np.hstack([BLACK, moving]) for moving in CLIP]
    for frames in (frozen, empty):
        assert taken_within(frames, left, right) == ([6, 15, 24], [])


def test_a_frozen_stretch_is_left_for_the_first_frame_that_moves() -> None:
    frozen = replaced(dict.fromkeys(range(6, 19), CLIP[6]))
    indices, notes = chosen(frozen)
    assert indices == [6, 19, 24]
    assert notes == ["frame 15 was left out: a frozen repeat; frame 19 was taken instead"]


def test_a_frozen_clip_gives_one_frame_and_says_so() -> None:
    indices, notes = chosen([CLIP[0]] * 30)
    assert indices == [6]
    assert notes == [f"frame {index} was left out: a frozen repeat" for index in (15, 24)]


def test_a_frame_just_after_a_scene_cut_is_replaced() -> None:
    cut = [*CLIP[:15], *OTHER[15:]]
    assert saturated_share(cut[15], cut[14]) > 0.05
    indices, notes = chosen(cut)
    assert indices == [6, 16, 24]
    assert notes == ["frame 15 was left out: just after a scene cut; frame 16 was taken instead"]


def test_pictures_of_their_own_are_all_taken() -> None:
    stills = [picture for pair in zip(CLIP, OTHER, strict=True) for picture in pair][:12]
    indices, notes = chosen(stills)
    assert indices == [2, 6, 9]
    assert notes == []


def test_moving_speckle_is_no_scene_cut() -> None:
    for number, difficulty in itertools.product(range(0, 40, 5), ("easy", "hard")):
        clip = phantom_clip(number, 2, 128, difficulty)
        assert saturated_share(clip[1], clip[0]) < 0.01


def test_frames_with_colour_flow_are_replaced() -> None:
    indices, notes = chosen(CLIP, flow=(15, 16))
    assert indices == [6, 14, 24]
    assert notes == ["frame 15 was left out: colour flow; frame 14 was taken instead"]
    with pytest.raises(UnreadableImageError) as caught:
        chosen(CLIP, flow=tuple(range(30)))
    assert caught.value.reason == "colour_flow"


def test_a_clip_without_a_picture_is_blank() -> None:
    with pytest.raises(UnreadableImageError) as caught:
        chosen([BLACK] * 30)
    assert caught.value.reason == "blank"


def test_other_refusals_are_those_of_the_file() -> None:
    def broken(index: int) -> Frame:
        raise UnreadableImageError("corrupt", f"Frame {index} is damaged.")

    with pytest.raises(UnreadableImageError, match="damaged"):
        choose_frames(30, FramePolicy(), Clip(broken))


def test_without_reach_nothing_is_replaced() -> None:
    indices, notes = chosen(replaced({15: BLACK}), reach=0)
    assert indices == [6, 24]
    assert notes == ["frame 15 was left out: black"]


@given(st.integers(1, 200), st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_positions_are_within_the_clip_and_never_neighbours(count: int, positions: list[float]) -> None:
    found = candidates(count, tuple(positions))
    assert found
    assert all(0 <= index < count for index in found)
    assert all(b - a >= 2 for a, b in itertools.pairwise(found))


@given(st.lists(st.sampled_from("abx"), min_size=1, max_size=30))
def test_whatever_the_clip_frames_taken_are_good_and_never_neighbours(kinds: list[str]) -> None:
    source = {"a": CLIP, "b": OTHER, "x": [BLACK] * 30}
    frames = [source[kind][index] for index, kind in enumerate(kinds)]
    if len(kinds) > 1 and "a" not in kinds and "b" not in kinds:
        with pytest.raises(UnreadableImageError, match="black"):
            chosen(frames)
        return
    try:
        indices, _ = chosen(frames)
    except UnreadableImageError:  # what could be used lies out of reach
        return
    assert all(b - a >= 2 for a, b in itertools.pairwise(indices))
    if len(frames) > 1:
        assert not any(kinds[index] == "x" for index in indices)


def test_a_whole_object_is_decoded_frame_by_frame() -> None:
    frames = [frame if index != 15 else BLACK for index, frame in enumerate(CLIP)]
    decoding = decode(to_bytes(jpeg_cine(frames)))
    assert [image.frame for image in decoding.images] == [6, 14, 24]
    assert any("frame 15 was left out" in note for note in decoding.notes)
