"""Colour in a frame that should be grey: misread samples, tinted grey maps, colour flow, coloured marks.

B-mode is grey. Where nearly all of the tissue is coloured, the samples were read in the wrong colour space, or the
grey map is tinted; where some of it is, colour flow or marks hide the B-mode picture below, and the texture there is
not to be learned from. Reference: DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation), C.8.5.5.1.2 (data types).
Shape letters: H W frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from pydicom.pixels.processing import convert_color_space
from scipy import ndimage

from fibrokd.data.dicom.regions import Box, Regions
from fibrokd.data.fan.finder import find_fan
from fibrokd.data.grey import chroma, luminance
from fibrokd.errors import UnreadableImageError

CHROMA = 20
"""|R−G| + |G−B| in grey levels above which a pixel counts as coloured: JPEG noise on grey stays below."""

_MISREAD_SHARE = 0.25  # of the tissue coloured: try the other colour space
_CURED_SHARE = 0.25  # of that share left by the other reading: believe it
_LIT = 16  # luminance from which a pixel shows something
_TINT_SHARE = 0.90  # of the brighter pixels coloured, and of the coloured ones of one hue: a tinted grey map
_LEAST_TINT = 1.5  # mean difference between samples, grey levels, of what does not count as coloured
_PLAIN_SHARE = 0.01  # of the lit tissue: fewer pixels say nothing
_FLAT = 12.0  # grey levels of spread between samples: below it a coloured area is painted
_BLOCK = 8  # pixels along a side
_BLOCK_SHARE = 0.05  # of a block coloured: it belongs to a coloured area
_FLOW_SHARE = 0.005  # of a declared flow box coloured: all of it is hidden
_NEIGHBOURS = np.ones((3, 3), dtype=bool)
_MARGIN = 3  # pixels around a coloured area: the line drawn around a box, chroma that bled
_TISSUE_CONFIDENCE = 0.9  # of the fan: below it the whole frame counts as tissue


@dataclass
class Tissue:
    """Where B-mode tissue is on one frame: looked for once, when it is first asked for, however many ask.

    Args:
        regions: What the object declares.
        found: The area, once it was looked for.
    """

    regions: Regions
    found: Bool[np.ndarray, "H W"] | None = None

    def area(self, grey: UInt8[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
        """Return the area; ``grey`` is the frame, and not looked at again once its area is known."""
        if self.found is None:
            self.found = tissue_area(grey, self.regions)
        return self.found


def put_right(
    samples: UInt8[np.ndarray, "H W 3"], photometric: str, regions: Regions, notes: list[str]
) -> UInt8[np.ndarray, "H W 3"]:
    """Return RGB, undoing a wrong photometric interpretation in either direction.

    Args:
        samples: As stored.
        photometric: What they are said to be: ``RGB`` or one of ``YBR_*``.
        regions: Where tissue is declared: marks and logos around it do not count.
        notes: Is told of a repair.
    """
    other = None
    if photometric == "RGB":
        rgb = samples
    else:
        rgb, other = _from_ybr(samples), samples
    share = _coloured_share(rgb, regions)
    if share <= _MISREAD_SHARE:
        return rgb
    other = _from_ybr(samples) if other is None else other
    if _coloured_share(other, regions) > _CURED_SHARE * share:
        return rgb
    kind = "RGB" if photometric == "RGB" else "YBR"
    notes.append(f"the photometric interpretation {kind} is wrong: the samples were read the other way")
    return other


def without_colour(
    rgb: UInt8[np.ndarray, "H W 3"], tissue_of_frame: Tissue, most: float, notes: list[str]
) -> UInt8[np.ndarray, "H W"]:
    """Return grey levels; coloured areas of the tissue are set to 0, as far as they are small.

    Args:
        rgb: The frame.
        tissue_of_frame: Where tissue and flow are declared, and tissue is found.
        most: Share of the lit tissue that coloured areas may hide.
        notes: Is told what was done.

    Raises:
        UnreadableImageError: ``colour_flow``: more of the tissue is hidden than ``most``.
    """
    grey = luminance(rgb)
    coloured = chroma(rgb) > CHROMA
    if not coloured.any():
        return grey
    regions, tissue = tissue_of_frame.regions, tissue_of_frame.area(grey)
    coloured &= tissue
    if not coloured.any():
        return grey
    lit = tissue & ((grey >= _LIT) | coloured)
    if _is_tinted(rgb, grey, coloured, lit) and not regions.flow_declared:
        notes.append("the grey map is tinted; its luminance was taken")
        return grey
    groups = _groups(coloured)
    if tissue.all():  # neither regions nor a fan tell where the picture ends
        groups = [group for group in groups if not _is_menu(rgb[group.place][group.own], group.place, grey.shape)]
    hidden = _hidden(coloured, groups, regions.flow)
    if not hidden.any():
        return grey
    share = np.count_nonzero(hidden & lit) / np.count_nonzero(lit)
    if share > most:
        raise UnreadableImageError(
            "colour_flow",
            f"Colour hides {share:.0%} of the lit tissue, more than {most:.0%}: Doppler, not B-mode.",
            "Use a B-mode picture of the same view.",
        )
    notes.append(f"colour over {_rounded(share)} of the lit tissue was set to 0")
    grey[hidden] = 0
    return grey


def tissue_area(grey: UInt8[np.ndarray, "H W"], regions: Regions) -> Bool[np.ndarray, "H W"]:
    """Return where B-mode tissue is: the declared boxes, within them the fan where one is found with confidence.

    Args:
        grey: The frame.
        regions: What the object declares.
    """
    area = np.zeros(grey.shape, dtype=bool)
    boxes = [part.box for part in regions.parts] or [(0, 0, *grey.shape)]
    for top, left, bottom, right in boxes:
        fan = find_fan(np.ascontiguousarray(grey[top:bottom, left:right]))
        area[top:bottom, left:right] = fan.mask if fan.confidence >= _TISSUE_CONFIDENCE else True
    for top, left, bottom, right in (hole for part in regions.parts for hole in part.holes):
        area[top:bottom, left:right] = False
    return area


def _from_ybr(samples: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    return np.asarray(convert_color_space(samples, "YBR_FULL", "RGB"), dtype=np.uint8)


def _coloured_share(rgb: UInt8[np.ndarray, "H W 3"], regions: Regions) -> float:
    boxes = [part.box for part in regions.parts] or [(0, 0, *rgb.shape[:2])]
    counts = [(chroma(rgb[top:bottom, left:right]) > CHROMA) for top, left, bottom, right in boxes]
    return sum(int(np.count_nonzero(found)) for found in counts) / sum(found.size for found in counts)


def _is_tinted(
    rgb: UInt8[np.ndarray, "H W 3"],
    grey: UInt8[np.ndarray, "H W"],
    coloured: Bool[np.ndarray, "H W"],
    lit: Bool[np.ndarray, "H W"],
) -> bool:
    """Whether colour follows brightness: bright pixels are coloured nearly everywhere, dark ones a little, in one hue.

    Around flow and marks, what is not coloured is grey to the last level.
    """
    bright = lit & (grey >= np.median(grey[coloured]))
    if np.count_nonzero(bright & coloured) < _TINT_SHARE * np.count_nonzero(bright):
        return False
    plain = lit & ~coloured
    if np.count_nonzero(plain) > _PLAIN_SHARE * np.count_nonzero(lit):
        differences = np.diff(rgb[plain].astype(np.int16), axis=1).mean(axis=0)
        if np.abs(differences).sum() < _LEAST_TINT:
            return False
    levels = np.sign(np.diff(rgb[coloured].astype(np.int16), axis=1))
    hues = 3 * levels[:, 0] + levels[:, 1] + 4
    return bool(np.bincount(hues).max() >= _TINT_SHARE * len(hues))


@dataclass(frozen=True)
class _Group:
    """Coloured pixels that lie together.

    Args:
        place: Rows and columns of the smallest box around them.
        own: Which pixels of the box they are.
    """

    place: tuple[slice, slice]
    own: Bool[np.ndarray, "h w"]


def _groups(coloured: Bool[np.ndarray, "H W"]) -> list[_Group]:
    height, width = coloured.shape
    padded = np.pad(coloured, ((0, -height % _BLOCK), (0, -width % _BLOCK)))
    blocks = padded.reshape(padded.shape[0] // _BLOCK, _BLOCK, -1, _BLOCK).mean(axis=(1, 3)) >= _BLOCK_SHARE
    # Blocks one apart belong together: flow is speckled.
    labels, _ = ndimage.label(ndimage.binary_dilation(blocks, _NEIGHBOURS), _NEIGHBOURS)
    owner = labels.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)[:height, :width] * coloured
    places = enumerate(ndimage.find_objects(owner), start=1)
    return [_Group((place[0], place[1]), owner[place] == number) for number, place in places if place]


def _is_menu(colours: UInt8[np.ndarray, "N 3"], place: tuple[slice, slice], shape: tuple[int, ...]) -> bool:
    """Whether a group is a coloured bar of the screen: flat, and along the frame's border. Flow has many colours."""
    room = 2 * _BLOCK
    at_border = any(part.start < room or part.stop > side - room for part, side in zip(place, shape, strict=True))
    spread = np.diff(colours.astype(np.float64), axis=1).std(axis=0)
    return at_border and float(np.hypot(*spread)) < _FLAT


def _hidden(coloured: Bool[np.ndarray, "H W"], groups: list[_Group], flow: tuple[Box, ...]) -> Bool[np.ndarray, "H W"]:
    """Boxes around coloured groups, and every declared flow box that holds colour."""
    hidden = np.zeros_like(coloured)
    for group in groups:
        hidden[tuple(slice(max(part.start - _MARGIN, 0), part.stop + _MARGIN) for part in group.place)] = True
    for top, left, bottom, right in flow:
        if coloured[top:bottom, left:right].mean() > _FLOW_SHARE:
            hidden[top:bottom, left:right] = True
    return hidden


def _rounded(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"
