"""Stored grey samples to 8-bit grey levels: modality and VOI transforms, padding, inversion.

Every transform of the standard maps one stored value to one level: it is computed once for every value a sample can
take (at most 65,536) and looked up. Limits are fixed by the header, never by the picture's own extremes.
Reference: DICOM PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.5.1.1.2 (padding).
Shape letters: H W frame, L values a sample can take, E entries of a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8
from pydicom.dataset import Dataset

from fibrokd.data.grey import high_byte


@dataclass(frozen=True)
class _Range:
    """What a transform can give: its lowest value, its highest, and the distance between two."""

    low: float
    high: float
    step: float = 1.0


def grey_levels(samples: Integer[np.ndarray, "H W"], dataset: Dataset, notes: list[str]) -> UInt8[np.ndarray, "H W"]:
    """Return 8-bit grey levels of a MONOCHROME1 or MONOCHROME2 frame, 0 = black; padded pixels are 0.

    Args:
        samples: As stored.
        dataset: The header.
        notes: Is told what was ignored.
    """
    bits = int(dataset.BitsStored)
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    low = -(1 << (bits - 1)) if signed else 0
    stored = np.arange(low, low + (1 << bits), dtype=np.int64)
    table = level_table(stored, dataset, notes)
    if str(dataset.PhotometricInterpretation).strip().upper() == "MONOCHROME1":
        table = 255 - table
    table[_padding(stored, dataset, bits)] = 0
    return table[np.clip(samples.astype(np.int32), low, int(stored[-1])) - low]


def level_table(stored: Int[np.ndarray, " L"], dataset: Dataset, notes: list[str]) -> UInt8[np.ndarray, " L"]:
    """Return the level of every stored value, before inversion and padding.

    Args:
        stored: All values a sample can take, ascending.
        dataset: The header.
        notes: Is told what was ignored.
    """
    values, given = _after_modality(stored, dataset, notes)
    plain = _stretched(values, given)
    shown = _after_voi(values, dataset, notes)
    if shown is None:
        return plain
    if len(stored) <= 256 and np.abs(shown.astype(np.int16) - plain).max() <= 1:
        return plain  # windows such as 127 ± 127.5 mean all levels: keep them as they are
    return shown


def window(
    values: Float[np.ndarray, " L"], center: float, width: float, function: str = "LINEAR"
) -> Float[np.ndarray, " L"]:
    """Return a VOI window as shares of the output range (PS3.3 C.11.2.1.2.1 and C.11.2.1.3).

    Args:
        values: Values after the modality transform.
        center: Window center.
        width: Window width; above 0, and from 1 for ``LINEAR``, where 1 is a step.
        function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.
    """
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    return np.clip((values - (center - 0.5)) / max(width - 1.0, 1e-6) + 0.5, 0.0, 1.0)


def table_entries(data: object, count: int, little_endian: bool) -> Int[np.ndarray, " E"]:
    """Return the entries of a look-up table, however the header stores them: numbers, or bytes of 8 or 16 bits.

    Args:
        data: Value of the element.
        count: Number of entries the descriptor states.
        little_endian: Byte order of the data set.
    """
    if isinstance(data, bytes | bytearray):
        wide = len(data) >= 2 * count
        kind = ("<u2" if little_endian else ">u2") if wide else np.uint8
        usable = len(data) - len(data) % 2 if wide else len(data)
        return np.frombuffer(data[:usable], dtype=kind)[:count].astype(np.int64)
    numbers = data if isinstance(data, int) or hasattr(data, "__iter__") else ()
    return np.atleast_1d(np.asarray(numbers, dtype=np.int64))[:count]


# --------------------------------------------------------------------------- steps
def _after_modality(
    stored: Int[np.ndarray, " L"], dataset: Dataset, notes: list[str]
) -> tuple[Float[np.ndarray, " L"], _Range]:
    """Values after the modality transform, and what it can give."""
    if dataset.get("ModalityLUTSequence"):
        values, bits = _looked_up(stored.astype(np.float64), dataset.ModalityLUTSequence[0], dataset)
        return values, _Range(0.0, float((1 << bits) - 1))
    slope, intercept = _number(dataset.get("RescaleSlope"), 1.0), _number(dataset.get("RescaleIntercept"), 0.0)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        notes.append("the modality transform of the header is not usable and was left out")
        slope, intercept = 1.0, 0.0
    values = stored.astype(np.float64) * slope + intercept
    return values, _Range(float(values.min()), float(values.max()), abs(slope))


def _after_voi(values: Float[np.ndarray, " L"], dataset: Dataset, notes: list[str]) -> UInt8[np.ndarray, " L"] | None:
    if dataset.get("VOILUTSequence"):
        entries, bits = _looked_up(values, dataset.VOILUTSequence[0], dataset)
        return high_byte(entries.astype(np.int64), bits)
    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        return None
    center, width = _number(dataset.WindowCenter, np.nan), _number(dataset.WindowWidth, np.nan)
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    least = 1.0 if function == "LINEAR" else 0.0
    usable = np.isfinite([center, width]).all() and width >= least and width > 0
    if not usable or function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        notes.append("the window of the header is not usable and was left out")
        return None
    return _to_levels(window(values, center, width, function))


def _stretched(values: Float[np.ndarray, " L"], given: _Range) -> UInt8[np.ndarray, " L"]:
    """The whole range to all levels: the upper byte where there are more than 256 of them."""
    steps = np.rint((values - given.low) / given.step).astype(np.int64)
    count = round((given.high - given.low) / given.step) + 1
    if count < 256:
        return _to_levels(steps / max(count - 1, 1))
    return np.asarray((steps * 256 // count).clip(0, 255), dtype=np.uint8)


def _to_levels(shares: Float[np.ndarray, " L"]) -> UInt8[np.ndarray, " L"]:
    return np.asarray(np.rint(np.clip(shares, 0.0, 1.0) * 255.0), dtype=np.uint8)


def _looked_up(values: Float[np.ndarray, " L"], item: Dataset, dataset: Dataset) -> tuple[Float[np.ndarray, " L"], int]:
    """Entries of a LUT sequence's item, and their bits."""
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    table = table_entries(item.LUTData, count or 1 << 16, bool(dataset.original_encoding[1]))
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
    return table[index].astype(np.float64), bits


def _padding(stored: Int[np.ndarray, " L"], dataset: Dataset, bits: int) -> Bool[np.ndarray, " L"]:
    """True for stored values that mean no data."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return np.zeros(len(stored), dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = sorted(_as_stored(end, stored, bits) for end in (value, limit if isinstance(limit, int) else value))
    return np.asarray((stored >= ends[0]) & (stored <= ends[1]))


def _as_stored(value: int, stored: Int[np.ndarray, " L"], bits: int) -> int:
    """A value of the header as samples hold it: where they are signed, negative ones are often written as unsigned.

    63,536 means −2,000 then: the same 16 bits. Some write only the bits that are stored.
    """
    low, high = int(stored[0]), int(stored[-1])
    meant = (value, value - (1 << 16), value - (1 << bits)) if low < 0 else (value,)
    return next((one for one in meant if low <= one <= high), value)


def _number(value: object, default: float) -> float:
    """First value of a number or of several; ``default`` where there is none."""
    if value is None or value == "":
        return default
    if isinstance(value, Iterable) and not isinstance(value, str):
        value = next(iter(value), default)
    return float(str(value))
