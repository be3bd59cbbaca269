"""What a file may cost before it is decoded, and which frames of a cine are taken. Plain settings, no decoding."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fibrokd.config import Config

Share = Annotated[float, Field(ge=0, le=1)]


class ReadLimits(Config):
    """Bounds checked on the header, before any pixel is decoded, and what is accepted at all."""

    max_side_px: Annotated[int, Field(ge=32, le=65535)] = 8192
    """Largest width or height, pixels."""

    min_side_px: Annotated[int, Field(ge=1)] = 32
    """Smallest width or height, pixels: below it no liver texture is left (texture lives in 1–6 px)."""

    max_frames: Annotated[int, Field(ge=1)] = 4000
    """Largest number of frames of a cine (over a minute at 60 frames/s)."""

    max_file_mb: Annotated[int, Field(ge=1)] = 512
    """Largest file, megabytes (10⁶ bytes)."""

    max_frame_mb: Annotated[int, Field(ge=1)] = 128
    """Largest decoded frame of a DICOM object, megabytes: rows × columns × samples × bytes, as its header says."""

    max_clip_mb: Annotated[int, Field(ge=1)] = 16_384
    """Largest DICOM cine, megabytes of all its frames decoded, as its header says. Frames are decoded one at a time:
    this bounds what a header may claim, not memory."""

    max_inflated_mb: Annotated[int, Field(ge=1)] = 256
    """Largest content of a deflated DICOM file, megabytes; more is refused while it is counted, not after."""

    accept_secondary_capture: bool = False
    """Read DICOM secondary captures (screenshots, modality US or OT) too. Their origin is unknown: a photographed
    print, another examination, a picture that somebody drew on."""

    max_colour_share: Share = 0.25
    """Share of the lit tissue of a DICOM frame that colour may hide. Coloured areas are set to 0 up to it; above it
    the frame is refused as ``colour_flow``."""


class FramePolicy(Config):
    """Which frames of a cine become images."""

    positions: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.2, 0.5, 0.8)
    """Positions along the clip, as shares of its length: apart from each other, away from freeze and probe lift-off."""

    reach: Annotated[int, Field(ge=0, le=100)] = 8
    """Frames to either side of a position that are looked at, nearest first, where its own frame cannot be used."""

    min_difference: Annotated[float, Field(ge=0)] = 0.5
    """A frame whose mean absolute difference to one already taken is below this many grey levels is a frozen repeat.
    Where the file declares its tissue, only that counts: beside it clocks run."""

    min_mean: Annotated[float, Field(ge=0, le=255)] = 1.0
    """A frame whose mean grey level is below this is black: the probe had no contact. Where the file declares its
    tissue, only that counts, and single pictures are refused as ``blank`` by the same rule."""

    max_cut_share: Share = 0.05
    """A frame that differs from its predecessor by over 100 grey levels in more than this share of its pixels follows
    a scene cut: a cine frame may be drawn half, and what is shown may not be what was shown before."""
