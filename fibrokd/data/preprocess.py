"""THE function from a decoded frame to the network's input; training, export, command line and app all call it.

Shape letters: H W decoded frame, S side of the square network input.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fibrokd.config import Config


class PreprocessSpec(Config):
    """Everything that decides the pixels a network sees; travels with every network and bundle."""

    size: Annotated[int, Field(ge=32, le=1024)] = 224
    """Side of the square network input, pixels."""

    crop: Literal["fan", "full"] = "fan"
    """``fan``: find the insonation fan, set everything outside it to 0 and crop to its box.
    ``full``: keep the whole frame."""

    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Below this fan confidence (intersection over union of the fitted sector) the whole frame is kept."""
