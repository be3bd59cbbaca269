"""Which frames of a cine become images: apart from each other, neither black nor frozen nor at a scene cut.

Frames are decoded one at a time, and only those that are looked at. Whether a frame is black or frozen is seen within
the tissue that the file declares: a running clock or a name beside it is no picture. Must not know how a frame is
decoded. Shape letters: H W frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from fibrokd.data.dicom.pixels import Frame
from fibrokd.data.limits import FramePolicy
from fibrokd.errors import UnreadableImageError

_SATURATED = 100  # grey levels between two neighbours of a clip: speckle that moves changes by less
_REMEMBERED = 4  # decoded frames: neighbours are compared with each other
_CUT = "just after a scene cut"


def _whole(pixels: UInt8[np.ndarray, "H W"]) -> Sequence[np.ndarray]:
    return [pixels]


@dataclass
class Clip:
    """Decodes frames on demand and remembers the last few.

    Args:
        decode: Decodes one frame.
        tissues: Returns what each picture of a frame shows, [h, w]; by default the whole frame.
        recent: Frames decoded last, by index.
        refusal: Why a frame could not be used.
    """

    decode: Callable[[int], Frame]
    tissues: Callable[[UInt8[np.ndarray, "H W"]], Sequence[np.ndarray]] = _whole
    recent: dict[int, Frame] = field(default_factory=dict)
    refusal: UnreadableImageError | None = None

    def frame(self, index: int) -> Frame | None:
        """A frame, ``None`` where it shows colour flow."""
        if index not in self.recent:
            try:
                self.recent[index] = self.decode(index)
            except UnreadableImageError as error:
                if error.reason != "colour_flow":
                    raise
                self.refusal = error
                return None
            while len(self.recent) > _REMEMBERED:
                del self.recent[next(iter(self.recent))]
        return self.recent[index]

    def is_black(self, frame: Frame, least_mean: float) -> bool:
        """Whether none of a frame's pictures is brighter than ``least_mean``."""
        return all(tissue.mean() < least_mean for tissue in self.tissues(frame.pixels))

    def is_uniform(self, frame: Frame) -> bool:
        """Whether every one of a frame's pictures has a single grey level."""
        return all(tissue.min() == tissue.max() for tissue in self.tissues(frame.pixels))

    def difference(self, frame: Frame, other: Frame) -> float:
        """Mean absolute difference between two frames, grey levels, of the picture that differs most."""
        pairs = zip(self.tissues(frame.pixels), self.tissues(other.pixels), strict=True)
        return max(float(np.abs(one.astype(np.int16) - two).mean()) for one, two in pairs)


def choose_frames(count: int, policy: FramePolicy, clip: Clip) -> tuple[list[tuple[int, Frame]], list[str]]:
    """Return the frames to take, ascending, and notes on those left out.

    Args:
        count: Number of frames.
        policy: Where to look, and what is worthless.
        clip: The frames.

    Raises:
        UnreadableImageError: Of ``clip.decode``; ``colour_flow`` where every frame looked at shows it, ``blank`` where
            none can be used.
    """
    if count == 1:
        return [(0, clip.decode(0))], []
    taken: dict[int, Frame] = {}
    notes: list[str] = []
    for wanted in candidates(count, policy.positions):
        index, why = _nearest_usable(wanted, count, policy, clip, taken)
        if index is not None and (frame := clip.frame(index)) is not None:
            taken[index] = frame
        if why:
            instead = "" if index is None else f"; frame {index} was taken instead"
            notes.append(f"frame {wanted} was left out: {why}{instead}")
    if not taken:
        raise clip.refusal or UnreadableImageError(
            "blank", "Every frame looked at is black or has a single grey level."
        )
    return sorted(taken.items()), notes


def candidates(count: int, positions: tuple[float, ...]) -> list[int]:
    """Return frame indices at shares of a clip's length, ascending, never two neighbours.

    Example:
        >>> candidates(30, (0.2, 0.5, 0.8)), candidates(1, (0.2, 0.5, 0.8)), candidates(3, (0.2, 0.5, 0.8))
        ([6, 15, 24], [0], [0, 2])
    """
    chosen: list[int] = []
    for position in sorted(positions):
        index = min(int(position * count), count - 1)
        if not chosen or index - chosen[-1] >= 2:
            chosen.append(index)
    return chosen


def saturated_share(pixels: UInt8[np.ndarray, "H W"], before: UInt8[np.ndarray, "H W"]) -> float:
    """Return the share of pixels that differ by over 100 grey levels between two frames."""
    return float((np.abs(pixels.astype(np.int16) - before) > _SATURATED).mean())


def _nearest_usable(
    wanted: int, count: int, policy: FramePolicy, clip: Clip, taken: dict[int, Frame]
) -> tuple[int | None, str]:
    """The usable frame nearest to a position, and why the position's own frame is not it (empty where it is)."""
    first_why, only_cut = "", None
    for index in _outwards(wanted, count, policy.reach):
        if any(abs(index - other) < 2 for other in taken):
            continue
        why = _worthless(index, policy, clip, taken)
        if not why:
            return index, first_why
        if why == _CUT and only_cut is None:
            only_cut = index
        first_why = first_why or why
    if only_cut == wanted:
        return wanted, ""  # pictures of their own rather than a clip: each differs from the one before
    return only_cut, first_why


def _outwards(wanted: int, count: int, reach: int) -> Iterator[int]:
    yield wanted
    for distance in range(1, reach + 1):
        for index in (wanted + distance, wanted - distance):
            if 0 <= index < count:
                yield index


def _worthless(index: int, policy: FramePolicy, clip: Clip, taken: dict[int, Frame]) -> str:
    """Why a frame cannot be used; empty where it can."""
    frame = clip.frame(index)
    if frame is None:
        return "colour flow"
    if clip.is_black(frame, policy.min_mean):
        return "black"
    if clip.is_uniform(frame):
        return "a single grey level"
    if any(clip.difference(frame, other) < policy.min_difference for other in taken.values()):
        return "a frozen repeat"
    before = clip.frame(index - 1 if index else 1)
    if before is None or saturated_share(frame.pixels, before.pixels) > policy.max_cut_share:
        return _CUT
    return ""
