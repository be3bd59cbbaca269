"""Keyed random generators: every draw of the phantom belongs to a named stream of one patient.

Owns the only way in which the phantom makes a generator. No generator is shared between images, so an image never
depends on which other images were made, in what order, or by how many workers. Must not hold state.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from fibrokd.errors import ConfigError

COHORT = 0xFFFFFFFF
"""Stands in the patient's place for draws that belong to a whole cohort."""

_WORD = 0xFFFFFFFF


class Stream(IntEnum):
    """What a generator is for; the numbers are part of every cohort's identity and are never reused."""

    PATIENT = 1
    STAGES = 2
    VIEW = 3
    BODY_WALL = 4
    POSTERIOR = 5
    ORGANS = 6
    VESSELS = 7
    TEXTURE = 8
    TISSUE = 9
    SHADOWS = 10
    SCATTERERS = 11
    HANDLING = 12
    FRAME = 13
    RECEIVER = 14
    STRADDLE = 15
    COPIES = 16
    TAMPER = 17
    NAMES = 18
    BROKEN = 19


def keyed(seed: int, patient: int, stream: Stream, clip: int = 0, frame: int = 0) -> np.random.Generator:
    """Return the generator of one stream.

    The key always has five 32-bit words: ``SeedSequence`` pads short keys with zeros, so keys of different lengths
    could meet.

    Args:
        seed: Seed of the cohort, 0 … 2³² - 1.
        patient: Patient number, or :data:`COHORT`.
        stream: What the draws are for.
        clip: Clip number within the patient.
        frame: Frame (or file) number within the clip.

    Raises:
        ConfigError: A part of the key does not fit into 32 bits.
    """
    key = (seed, patient, int(stream), clip, frame)
    if any(not 0 <= word <= _WORD for word in key):
        raise ConfigError(
            f"Expected every part of a random key within 0 … 4294967295, found {key}.", "Choose a smaller seed."
        )
    return np.random.default_rng(np.random.SeedSequence(key))
