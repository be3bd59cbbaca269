"""What an ultrasound object declares about its areas: tissue boxes, what covers them, millimetres per pixel, flow.

Regions are trusted only while they fit the frame and each other: exports that were scaled down often keep the
regions of the original. Must not look at pixels. Reference: DICOM PS3.3 C.8.5.5 (US region calibration module).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

Box = tuple[int, int, int, int]
"""(top, left, bottom, right), half-open, in pixels."""

_SPATIAL_2D, _TISSUE, _COLOUR_FLOW = 1, 1, 2
_CENTIMETRES = 3
_LOW_PRIORITY = 1  # bit 0 of RegionFlags: pixels of other regions lie on top
_MIN_SHARE = 0.05  # of the frame: smaller tissue regions are previews
_MAX_CLIPPED = 0.10  # of a region's area outside the frame: beyond it the region belongs to another picture size
_MAX_OVERLAP = 0.10  # of a tissue region's area within a larger one: beyond it they are no layout side by side
_MAX_COVERED = 0.50  # of a tissue region's area: beyond it the declarations contradict each other
_MAX_ANISOTROPY = 2.0  # larger to smaller side of a pixel: screens have square pixels, half-height fields are 2 : 1
_DISTRUSTED_SPACING = "declared millimetres per pixel that make pixels over twice as long as wide were not trusted"
_MM_PER_PIXEL = (0.005, 5.0)  # a 40 MHz probe … a frame of 32 px over 16 cm


@dataclass(frozen=True)
class Part:
    """One B-mode picture within the frame.

    Args:
        box: Its tissue.
        spacing_mm: (row, column) millimetres per pixel.
        holes: What high-priority regions that show no tissue cover of it.
    """

    box: Box
    spacing_mm: tuple[float, float] | None = None
    holes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Regions:
    """Declared areas of one object.

    Args:
        parts: Tissue regions from left to right; none where not declared or not to be trusted.
        spacing_mm: (row, column) millimetres per pixel of the frame, where the header states it without regions.
        flow: Boxes that show colour flow.
        flow_declared: A colour-flow region is declared, trusted or not.
        notes: What was distrusted, and why.
    """

    parts: tuple[Part, ...] = ()
    spacing_mm: tuple[float, float] | None = None
    flow: tuple[Box, ...] = ()
    flow_declared: bool = False
    notes: tuple[str, ...] = ()


def read_regions(header: Dataset, height: int, width: int) -> Regions:
    """Return the declared areas that fit a frame of ``height`` × ``width`` pixels.

    Args:
        header: The object's header.
        height: Rows of the frame.
        width: Columns of the frame.
    """
    items = list(header.get("SequenceOfUltrasoundRegions") or [])
    tissue = [item for item in items if _is(item, _TISSUE)]
    flow = [item for item in items if _is(item, _COLOUR_FLOW)]
    notes: list[str] = []
    fallback = _pixel_spacing(header, notes)
    if any(_fitted(item, height, width) is None for item in tissue):
        note = "a declared tissue region does not fit the frame and was not trusted"
        return Regions(spacing_mm=None, flow_declared=bool(flow), notes=(note,))
    chosen = _side_by_side(tissue, height, width, notes)
    others = [item for item in items if not _is(item, _COLOUR_FLOW) and not any(item is part for part, _ in chosen)]
    parts = []
    for item, box in chosen:
        holes = _holes(box, others, height, width)
        if sum(area(hole) for hole in holes) > _MAX_COVERED * area(box):
            note = "declared regions contradict each other and were not trusted"
            return Regions(spacing_mm=fallback, flow_declared=bool(flow), notes=(note,))
        parts.append(Part(box, _spacing(item, fallback, notes), holes))
    if len(parts) > 1:
        notes.append(f"the frame shows {len(parts)} pictures side by side: one sample each")
    flow_boxes = [_clip(_box(item), height, width) for item in flow]
    seen = tuple(box for box in flow_boxes if box is not None)
    return Regions(tuple(parts), fallback, seen, bool(flow), tuple(dict.fromkeys(notes)))


def area(box: Box) -> int:
    """Return the number of pixels of a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


# --------------------------------------------------------------------------- boxes
def _is(item: Dataset, data_type: int) -> bool:
    return _number(item, "RegionSpatialFormat") == _SPATIAL_2D and _number(item, "RegionDataType") == data_type


def _fitted(item: Dataset, height: int, width: int) -> Box | None:
    """The box within the frame; ``None`` where it does not fit."""
    declared = _box(item)
    clipped = _clip(declared, height, width)
    if declared is None or clipped is None or area(clipped) < (1 - _MAX_CLIPPED) * area(declared):
        return None
    return clipped


def _side_by_side(tissue: list[Dataset], height: int, width: int, notes: list[str]) -> list[tuple[Dataset, Box]]:
    """Tissue regions that are pictures of their own, from left to right: neither previews nor drawn over another."""
    boxes = [(item, box) for item in tissue if (box := _fitted(item, height, width)) is not None]
    chosen: list[tuple[Dataset, Box]] = []
    for item, box in sorted(boxes, key=lambda pair: -area(pair[1])):
        overlaps = (area(common) for _, other in chosen if (common := _common(box, other)) is not None)
        if area(box) >= _MIN_SHARE * height * width and sum(overlaps) <= _MAX_OVERLAP * area(box):
            chosen.append((item, box))
        else:
            notes.append("a small or overlapping tissue region was left out")
    return sorted(chosen, key=lambda pair: (pair[1][1], pair[1][0]))


def _holes(box: Box, others: list[Dataset], height: int, width: int) -> tuple[Box, ...]:
    """What high-priority regions cover of a box; a tissue region that repeats the box covers nothing."""
    holes = []
    for item in others:
        flags = _number(item, "RegionFlags")
        common = _common(box, _clip(_box(item), height, width))
        if common is None or (flags is not None and int(flags) & _LOW_PRIORITY):
            continue
        if not (_is(item, _TISSUE) and area(common) > (1 - _MAX_OVERLAP) * area(box)):
            holes.append(common)
    return tuple(sorted(set(holes)))


def _box(item: Dataset) -> Box | None:
    """Half-open box of a region; its bounds are inclusive."""
    keys = ("RegionLocationMinY0", "RegionLocationMinX0", "RegionLocationMaxY1", "RegionLocationMaxX1")
    values = [_number(item, key) for key in keys]
    if any(value is None for value in values):
        return None
    top, left, bottom, right = (int(value) for value in values if value is not None)
    return (top, left, bottom + 1, right + 1) if bottom > top and right > left else None


def _clip(box: Box | None, height: int, width: int) -> Box | None:
    return None if box is None else _common(box, (0, 0, height, width))


def _common(box: Box, other: Box | None) -> Box | None:
    if other is None:
        return None
    top, left = max(box[0], other[0]), max(box[1], other[1])
    bottom, right = min(box[2], other[2]), min(box[3], other[3])
    return (top, left, bottom, right) if bottom > top and right > left else None


# --------------------------------------------------------------------------- millimetres
def _spacing(item: Dataset, fallback: tuple[float, float] | None, notes: list[str]) -> tuple[float, float] | None:
    """Millimetres per pixel of a region, which is in centimetres and may have negative deltas.

    What the header says of the whole frame stands in where the region says nothing that can be, and not where what it
    says is distrusted: one of the two is wrong then, and nobody knows which.
    """
    if any(_number(item, f"PhysicalUnits{axis}Direction") != _CENTIMETRES for axis in "XY"):
        return fallback
    down, across = _number(item, "PhysicalDeltaY"), _number(item, "PhysicalDeltaX")
    stated = _possible(abs(down) * 10, abs(across) * 10) if down and across else None
    return fallback if stated is None else _trusted(stated, notes)


def _pixel_spacing(header: Dataset, notes: list[str]) -> tuple[float, float] | None:
    values = header.get("PixelSpacing")
    if values is None or isinstance(values, str) or not hasattr(values, "__len__") or len(values) != 2:
        return None
    stated = _possible(float(values[0]), float(values[1]))
    return None if stated is None else _trusted(stated, notes)


def _possible(down: float, across: float) -> tuple[float, float] | None:
    low, high = _MM_PER_PIXEL
    return (down, across) if low <= down <= high and low <= across <= high else None


def _trusted(stated: tuple[float, float], notes: list[str]) -> tuple[float, float] | None:
    """Millimetres that pixels of a screen can have: others would squeeze the picture out of shape, or to a line."""
    if max(stated) <= _MAX_ANISOTROPY * min(stated):
        return stated
    notes.append(_DISTRUSTED_SPACING)
    return None


def _number(item: Dataset, key: str) -> float | None:
    value = item.get(key)
    return float(value) if isinstance(value, int | float) else None
