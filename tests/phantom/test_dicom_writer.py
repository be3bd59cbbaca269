"""DICOM objects, read back with pydicom."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array
from pydicom.uid import JPEGBaseline8Bit, UltrasoundImageStorage, UltrasoundMultiFrameImageStorage

from fibrokd.phantom.clip import Clip
from fibrokd.phantom.dicom_writer import Source, cine, single_frame
from fibrokd.phantom.geometry import screen
from fibrokd.phantom.patients import DIFFICULTIES, make_patient
from fibrokd.phantom.scanners import SCANNERS

SIZE = 97  # odd: pixel data must be padded to an even length


def clip_of(scanner):
    return Clip(make_patient(12, 3, 3, DIFFICULTIES["medium"], (scanner,)))


def source(clip, frame=0, cohort="c" * 64):
    return Source(cohort, clip.patient, clip.clip, frame, overlay=True)


def read(data):
    return pydicom.dcmread(io.BytesIO(data))


@pytest.mark.parametrize("name", ["sonova", "mirasono"])
def test_a_monochrome_frame_comes_back_pixel_by_pixel(name):
    clip = clip_of(name)
    image = clip.frame(0, SIZE)
    dataset = read(single_frame(image, source(clip)))
    assert dataset.SOPClassUID == UltrasoundImageStorage
    assert dataset.PhotometricInterpretation == "MONOCHROME2"
    assert np.array_equal(pixel_array(dataset), image)


@pytest.mark.parametrize("name", ["echolab", "handix"])
def test_a_colour_frame_comes_back_pixel_by_pixel(name):
    clip = clip_of(name)
    image = clip.frame(0, SIZE)
    dataset = read(single_frame(image, source(clip)))
    assert dataset.PhotometricInterpretation == "RGB"
    assert np.array_equal(pixel_array(dataset), np.repeat(image[..., None], 3, axis=2))


def test_a_cine_comes_back_but_for_jpeg_loss():
    clip = clip_of("sonova")
    frames = [clip.frame(k, 96) for k in range(3)]
    dataset = read(cine(frames, source(clip), 95))
    assert dataset.SOPClassUID == UltrasoundMultiFrameImageStorage
    assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert (dataset.PhotometricInterpretation, dataset.NumberOfFrames) == ("YBR_FULL_422", 3)
    assert dataset[dataset.FrameIncrementPointer].value == 50.0
    for k, frame in enumerate(frames):
        decoded = pixel_array(dataset, index=k)
        assert decoded.shape == (96, 96, 3)
        assert np.abs(decoded.mean(axis=2) - frame).mean() < 3


def test_the_region_is_the_box_of_the_fan_and_its_scale_is_physical():
    clip = clip_of("sonova")
    region = read(single_frame(clip.frame(0, 256), source(clip))).SequenceOfUltrasoundRegions[0]
    fan = screen(SCANNERS["sonova"], 256).fan
    box = fan[
        region.RegionLocationMinY0 : region.RegionLocationMaxY1 + 1,
        region.RegionLocationMinX0 : region.RegionLocationMaxX1 + 1,
    ]
    assert box.sum() == fan.sum()
    assert all(edge.any() for edge in (box[0], box[-1], box[:, 0], box[:, -1]))
    assert (region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection) == (3, 3)
    scanner = SCANNERS["sonova"]
    half = np.radians(scanner.opening_deg) / 2
    width_cm = 2 * (scanner.radius_mm + scanner.depth_mm) * np.sin(half) / 10
    assert box.shape[1] * region.PhysicalDeltaX == pytest.approx(width_cm, rel=0.02)


def test_identity_is_deterministic_and_tells_patients_series_and_cohorts_apart():
    clip = clip_of("sonova")
    image = clip.frame(0, 64)
    first = read(single_frame(image, source(clip)))
    assert single_frame(image, source(clip)) == single_frame(image, source(clip))
    assert first.PatientID == "PHANTOM00012"
    assert "F3" not in str(first)
    next_frame, elsewhere = (
        read(single_frame(image, source(clip, 1))),
        read(single_frame(image, source(clip, cohort="d" * 64))),
    )
    assert next_frame.SeriesInstanceUID == first.SeriesInstanceUID
    assert next_frame.SOPInstanceUID != first.SOPInstanceUID
    assert elsewhere.StudyInstanceUID != first.StudyInstanceUID
