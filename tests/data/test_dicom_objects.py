"""Which DICOM objects are taken, by name, and what their headers may promise."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from fibrokd.data.limits import ReadLimits
from fibrokd.data.reading import REASONS, read_bytes
from fibrokd.errors import UnreadableImageError
from tests.data.objects import CAPTURE, MULTI, SINGLE, monochrome, to_bytes
from tests.data.sectors import draw_sector

PICTURE, _ = draw_sector(96, 128, apex=(-10, 64), radii=(15, 95))
STORAGE = "1.2.840.10008.5.1.4.1.1."


def refusal(dataset: Dataset, limits: ReadLimits | None = None) -> UnreadableImageError:
    with pytest.raises(UnreadableImageError) as caught:
        read_bytes(to_bytes(dataset), "object", limits)
    assert caught.value.reason in REASONS
    return caught.value


@pytest.mark.parametrize("kind", [SINGLE, MULTI, STORAGE + "6", STORAGE + "3"])
@pytest.mark.parametrize("modality", ["US", "US ", "OT", ""])
def test_ultrasound_objects_and_their_retired_twins_are_read(kind: str, modality: str) -> None:
    (image,) = read_bytes(to_bytes(monochrome(PICTURE, SOPClassUID=kind, Modality=modality)))
    np.testing.assert_array_equal(image.pixels, PICTURE)


@pytest.mark.parametrize("tail", ["7", "7.1", "7.2", "7.3", "7.4"])
@pytest.mark.parametrize("modality", ["US", "OT"])
def test_secondary_captures_are_read_only_when_asked_for(tail: str, modality: str) -> None:
    dataset = monochrome(PICTURE, SOPClassUID=STORAGE + tail, Modality=modality)
    refused = refusal(dataset)
    assert refused.reason == "secondary_capture"
    assert "limits.accept_secondary_capture" in refused.todo
    (image,) = read_bytes(to_bytes(dataset), limits=ReadLimits(accept_secondary_capture=True))
    np.testing.assert_array_equal(image.pixels, PICTURE)


@pytest.mark.parametrize("modality", ["CT", "XC", ""])
def test_secondary_captures_of_other_modalities_stay_refused(modality: str) -> None:
    dataset = monochrome(PICTURE, SOPClassUID=CAPTURE, Modality=modality)
    assert refusal(dataset, ReadLimits(accept_secondary_capture=True)).reason == "not_ultrasound"


@pytest.mark.parametrize(
    ("kind", "modality", "words"),
    [
        (STORAGE + "2", "CT", "'CT Image Storage' of modality CT"),
        (STORAGE + "88.33", "SR", "'Comprehensive SR Storage'"),
        (STORAGE + "11.1", "PR", "'Grayscale Softcopy Presentation State Storage'"),
        (STORAGE + "88.59", "KO", "'Key Object Selection Document Storage'"),
        (STORAGE + "104.1", "DOC", "'Encapsulated PDF Storage'"),
        (SINGLE, "IVUS", "'Ultrasound Image Storage' of modality IVUS"),
        ("1.2.3.4.5", "US", "unknown object class"),
        (STORAGE + "2", "SMITH JOHN", "no known modality"),
    ],
)
def test_other_objects_are_refused_by_name(kind: str, modality: str, words: str) -> None:
    refused = refusal(monochrome(PICTURE, SOPClassUID=kind, Modality=modality))
    assert refused.reason == "not_ultrasound"
    assert words in refused.problem
    assert "SMITH" not in str(refused)


def test_volumes_and_directories_are_refused_by_name() -> None:
    volume = refusal(monochrome(PICTURE, SOPClassUID=STORAGE + "6.2"))
    assert volume.reason == "unsupported_format"
    assert "3-D ultrasound volume" in volume.problem
    directory = monochrome(PICTURE)
    directory.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.1.3.10")
    del directory.SOPClassUID
    refused = refusal(directory)
    assert refused.reason == "not_ultrasound"
    assert "DICOMDIR" in refused.problem


def changed(**header: object) -> Dataset:
    return monochrome(PICTURE, **header)


@pytest.mark.parametrize(
    ("header", "limits", "reason", "words"),
    [
        ({"Rows": 65535, "Columns": 65535}, {}, "too_large", "65535 × 65535"),
        ({"Rows": 9000}, {}, "too_large", "9000"),
        ({"Columns": 8193}, {}, "too_large", "8193"),
        ({"Rows": 0}, {}, "too_small", "0"),
        ({"Columns": 31}, {}, "too_small", "31"),
        ({"NumberOfFrames": 2_000_000}, {}, "too_large", "2000000"),
        ({"NumberOfFrames": 4001}, {}, "too_large", "4001"),
        ({"NumberOfFrames": -1}, {}, "too_large", "-1"),
        ({"Rows": 8000, "Columns": 8000, "SamplesPerPixel": 3}, {}, "too_large", "max_frame_mb"),
        ({"NumberOfFrames": 3000}, {"max_clip_mb": 20}, "too_large", "max_clip_mb"),
        ({"BitsAllocated": 32, "BitsStored": 32}, {}, "unsupported_format", "32 bits"),
        ({"BitsAllocated": 1, "BitsStored": 1}, {}, "unsupported_format", "1 bits"),
        ({"SamplesPerPixel": 4}, {}, "unsupported_format", "4 samples"),
        ({"BitsStored": 12}, {}, "corrupt", "12"),
        ({"BitsStored": 0}, {}, "corrupt", "0"),
    ],
)
def test_what_a_header_promises_is_checked_before_decoding(
    header: dict[str, object], limits: dict[str, int], reason: str, words: str
) -> None:
    refused = refusal(changed(**header), ReadLimits(**limits))
    assert refused.reason == reason
    assert words in str(refused)


@pytest.mark.parametrize(
    "keyword", ["Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel", "PhotometricInterpretation"]
)
def test_a_missing_element_is_named(keyword: str) -> None:
    dataset = monochrome(PICTURE)
    delattr(dataset, keyword)
    refused = refusal(dataset)
    assert refused.reason == "corrupt"
    assert keyword in refused.problem


def test_objects_without_whole_pixels_are_refused() -> None:
    empty = monochrome(PICTURE)
    del empty.PixelData
    assert refusal(empty).reason == "no_pixels"
    real = monochrome(PICTURE)
    del real.PixelData
    real.FloatPixelData = PICTURE.astype("<f4").tobytes()
    assert refusal(real).reason == "unsupported_format"


@pytest.mark.parametrize("kind", ["HSV", "ARGB", "CMYK", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "RGB", "SMITH JOHN"])
def test_colour_spaces_that_are_not_read_are_named(kind: str) -> None:
    refused = refusal(changed(PhotometricInterpretation=kind))
    assert refused.reason == "unsupported_format"
    assert "SMITH" not in str(refused)
    assert (kind if kind != "SMITH JOHN" else "unknown kind") in refused.problem
