"""What a file may cost before it is decoded, and which frames of a cine are taken. Plain settings, no decoding."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fibrokd.config import Config

Share = Annotated[float, Field(ge=0, le=1)]


class ReadLimits(Config):
    """Bounds checked on the header, before any pixel is decoded."""

    max_side_px: Annotated[int, Field(ge=32, le=65535)] = 8192
    """Largest width or height, pixels."""

    min_side_px: Annotated[int, Field(ge=1)] = 32
    """Smallest width or height, pixels: below it no liver texture is left (texture lives in 1–6 px)."""

    max_frames: Annotated[int, Field(ge=1)] = 4000
    """Largest number of frames of a cine (over a minute at 60 frames/s)."""

    max_file_mb: Annotated[int, Field(ge=1)] = 512
    """Largest file, megabytes (10⁶ bytes)."""


class FramePolicy(Config):
    """Which frames of a cine become images."""

    positions: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.2, 0.5, 0.8)
    """Positions along the clip, as shares of its length: apart from each other, away from freeze and probe lift-off."""

    min_difference: Annotated[float, Field(ge=0)] = 0.5
    """A frame whose mean absolute difference to one already taken is below this many grey levels is a frozen repeat."""

    min_mean: Annotated[float, Field(ge=0, le=255)] = 1.0
    """A frame whose mean grey level is below this is black: the probe had no contact."""
