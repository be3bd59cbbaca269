"""What an ultrasound object declares about its areas: the tissue box, millimetres per pixel, colour flow.

Regions are trusted only while they fit the frame: exports that were scaled down often keep the regions of the
original. Reference: DICOM PS3.3 C.8.5.5 (US region calibration module).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

Box = tuple[int, int, int, int]

_SPATIAL_2D, _TISSUE, _COLOUR_FLOW = 1, 1, 2
_CENTIMETRES = 3
_MIN_SHARE = 0.05  # of the frame: smaller tissue regions are previews
_MAX_CLIPPED = 0.10  # of a region's area outside the frame: beyond it the region belongs to another picture size


@dataclass(frozen=True)
class Regions:
    """Declared areas of one object.

    Args:
        tissue: Box (top, left, bottom, right), half-open, of the B-mode tissue; ``None`` where not declared or
            not to be trusted.
        spacing_mm: (row, column) millimetres per pixel.
        colour_flow: A colour-flow region is declared.
        notes: What was distrusted, and why.
    """

    tissue: Box | None = None
    spacing_mm: tuple[float, float] | None = None
    colour_flow: bool = False
    notes: tuple[str, ...] = ()


def read_regions(header: Dataset, height: int, width: int) -> Regions:
    """Return the declared areas that fit a frame of ``height`` × ``width`` pixels.

    Args:
        header: The object's header.
        height: Rows of the frame.
        width: Columns of the frame.
    """
    items = [
        item
        for item in (header.get("SequenceOfUltrasoundRegions") or [])
        if _number(item, "RegionSpatialFormat") == _SPATIAL_2D
    ]
    flow = any(_number(item, "RegionDataType") == _COLOUR_FLOW for item in items)
    notes: list[str] = []
    best: tuple[int, Box, Dataset] | None = None
    tissue = [item for item in items if _number(item, "RegionDataType") == _TISSUE]
    for item in tissue:
        declared = _box(item)
        clipped = _clip(declared, height, width) if declared else None
        if declared is None or clipped is None or _area(clipped) < (1 - _MAX_CLIPPED) * _area(declared):
            notes.append("a declared tissue region does not fit the frame and was not trusted")
            return Regions(colour_flow=flow, notes=tuple(notes))
        if _area(clipped) >= _MIN_SHARE * height * width and (best is None or _area(clipped) > best[0]):
            best = (_area(clipped), clipped, item)
    if len(tissue) > 1 and best:
        notes.append(f"the largest of {len(tissue)} tissue regions was taken")
    if best is None:
        return Regions(spacing_mm=_pixel_spacing(header), colour_flow=flow, notes=tuple(notes))
    return Regions(best[1], _spacing(best[2]) or _pixel_spacing(header), flow, tuple(notes))


def _box(item: Dataset) -> Box | None:
    """Half-open box of a region; its bounds are inclusive."""
    keys = ("RegionLocationMinY0", "RegionLocationMinX0", "RegionLocationMaxY1", "RegionLocationMaxX1")
    values = [_number(item, key) for key in keys]
    if any(value is None for value in values):
        return None
    top, left, bottom, right = (int(value) for value in values if value is not None)
    return (top, left, bottom + 1, right + 1) if bottom > top and right > left else None


def _clip(box: Box, height: int, width: int) -> Box | None:
    top, left, bottom, right = max(box[0], 0), max(box[1], 0), min(box[2], height), min(box[3], width)
    return (top, left, bottom, right) if bottom > top and right > left else None


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _spacing(item: Dataset) -> tuple[float, float] | None:
    """Millimetres per pixel; regions are in centimetres, deltas may be negative."""
    if any(_number(item, f"PhysicalUnits{axis}Direction") != _CENTIMETRES for axis in "XY"):
        return None
    down, across = _number(item, "PhysicalDeltaY"), _number(item, "PhysicalDeltaX")
    return (abs(down) * 10, abs(across) * 10) if down and across else None


def _pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    values = header.get("PixelSpacing")
    if values is None or len(values) != 2 or not all(float(value) > 0 for value in values):
        return None
    return (float(values[0]), float(values[1]))


def _number(item: Dataset, key: str) -> float | None:
    value = item.get(key)
    return float(value) if isinstance(value, int | float) else None
