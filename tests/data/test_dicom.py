"""DICOM ultrasound: every photometric interpretation back to the grey levels that went in, and bad objects refused."""

from __future__ import annotations

import copy
import itertools
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import MPEG2MPML, DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from fibrokd.data.dicom import candidates
from fibrokd.data.dicom_pixels import codestream_size
from fibrokd.data.identity_keys import DicomIdentity, identity_of
from fibrokd.data.limits import FramePolicy, ReadLimits
from fibrokd.data.reading import REASONS, decode, read_bytes, true_format
from fibrokd.errors import UnreadableImageError
from tests.data.objects import MULTI, colour, jpeg_cine, monochrome, palette, region, to_bytes
from tests.data.sectors import draw_sector, encode

PICTURE, _ = draw_sector(96, 128, apex=(-10, 64), radii=(15, 95))
RGB = np.repeat(PICTURE[..., None], 3, 2)


def reason_of(data: bytes, limits: ReadLimits | None = None) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        read_bytes(data, "bad", limits)
    assert caught.value.reason in REASONS
    return caught.value.reason


def grey_of(dataset: Dataset) -> np.ndarray:
    (image,) = read_bytes(to_bytes(dataset))
    assert image.format == "DICOM"
    return image.pixels


# --------------------------------------------------------------------------- photometric interpretations
@pytest.mark.parametrize(
    "dataset",
    [
        monochrome(PICTURE),
        monochrome(255 - PICTURE, PhotometricInterpretation="MONOCHROME1"),
        colour(RGB, planar=0),
        colour(RGB, planar=1),
        palette(255 - PICTURE, np.arange(256)[::-1] * 257),
        monochrome(PICTURE.astype(np.uint16) << 8),
        monochrome(PICTURE.astype(np.uint16) << 4, BitsStored=12, HighBit=11),
        monochrome(PICTURE, SOPClassUID="1.2.840.10008.5.1.4.1.1.6"),
        monochrome(PICTURE, SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
    ],
    ids=["mono2", "mono1", "rgb0", "rgb1", "palette", "16bit", "12bit", "retired", "capture"],
)
def test_uncompressed_objects_give_back_every_grey_level(dataset: Dataset) -> None:
    np.testing.assert_array_equal(grey_of(dataset), PICTURE)


def test_uncompressed_ybr_is_converted_within_rounding() -> None:
    ybr = np.dstack([PICTURE, np.full_like(PICTURE, 128), np.full_like(PICTURE, 128)])
    assert np.abs(grey_of(colour(ybr, 0, "YBR_FULL")).astype(int) - PICTURE).max() <= 1


def test_run_length_encoding_is_lossless() -> None:
    dataset = monochrome(PICTURE)
    dataset.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(grey_of(dataset), PICTURE)


def test_a_window_maps_its_range_to_all_grey_levels() -> None:
    levels = (np.arange(96 * 128, dtype=np.uint16) % 2048).reshape(96, 128)
    dataset = monochrome(levels, BitsStored=12, HighBit=11, WindowCenter=1024, WindowWidth=1025)
    pixels = grey_of(dataset)
    np.testing.assert_array_equal(pixels[levels <= 511], 0)
    np.testing.assert_array_equal(pixels[levels >= 1536], 255)
    middle = (levels > 511) & (levels < 1536)
    assert np.abs(pixels[middle] - (levels[middle] - 511.5) / 1024 * 255).max() <= 0.5


def test_samples_read_as_the_wrong_colour_space_are_put_right() -> None:
    ybr = np.dstack([PICTURE, np.full_like(PICTURE, 128), np.full_like(PICTURE, 128)])
    decoding = decode(to_bytes(colour(ybr, 0, "RGB")))
    assert np.abs(decoding.images[0].pixels.astype(int) - PICTURE).max() <= 1
    assert any("photometric" in note for note in decoding.notes)


def test_declared_colour_flow_is_refused_only_where_there_is_colour() -> None:
    flow = RGB.copy()
    flow[30:60, 40:80, 2] = 0
    for picture, refused in ((RGB, False), (flow, True)):
        dataset = colour(picture, 0)
        dataset.SequenceOfUltrasoundRegions = [region((0, 0, 95, 127)), region((30, 40, 60, 80), data_type=2)]
        if refused:
            assert reason_of(to_bytes(dataset)) == "colour_flow"
        else:
            assert len(read_bytes(to_bytes(dataset))) == 1


# --------------------------------------------------------------------------- cines
def cine(count: int = 10) -> list[np.ndarray]:
    return [draw_sector(96, 128, apex=(-10, 64), radii=(15, 95), seed=k)[0] for k in range(count)]


def test_a_jpeg_cine_gives_three_frames_apart_from_each_other() -> None:
    frames = cine()
    images = read_bytes(to_bytes(jpeg_cine(frames)))
    assert [image.frame for image in images] == [2, 5, 8]
    assert images[0].decoder == "pydicom/pillow"
    for image in images:
        errors = np.abs(image.pixels.astype(int) - frames[image.frame])
        others = min(np.abs(image.pixels.astype(int) - f).mean() for k, f in enumerate(frames) if k != image.frame)
        assert errors.mean() < 4 < others  # the right frame of the clip, not a neighbour


def test_an_uncompressed_multiframe_object_is_not_mistaken_for_colour() -> None:
    frames = cine(4)[:3]
    dataset = monochrome(frames[0], SOPClassUID=MULTI, NumberOfFrames=3)
    dataset.PixelData = np.stack(frames).tobytes()
    images = read_bytes(to_bytes(dataset))
    assert [image.frame for image in images] == [0, 2]
    for image in images:
        np.testing.assert_array_equal(image.pixels, frames[image.frame])


def test_black_and_frozen_frames_are_left_out_and_named() -> None:
    frames = cine()
    frames[5] = np.zeros_like(frames[5])
    frames[8] = frames[2]
    decoding = decode(to_bytes(jpeg_cine(frames)))
    assert [image.frame for image in decoding.images] == [2]
    assert decoding.notes == ("frame 5 was left out: black", "frame 8 was left out: a frozen repeat")


def test_frames_taken_are_never_neighbours() -> None:
    policy = FramePolicy().positions
    for count in range(1, 60):
        chosen = candidates(count, policy)
        assert chosen
        assert all(0 <= index < count for index in chosen)
        assert all(b - a >= 2 for a, b in itertools.pairwise(chosen))


# --------------------------------------------------------------------------- regions and identity
def with_regions(*items: Dataset) -> Dataset:
    dataset = monochrome(PICTURE)
    dataset.SequenceOfUltrasoundRegions = list(items)
    return dataset


def test_the_tissue_region_gives_box_and_millimetres() -> None:
    (image,) = read_bytes(to_bytes(with_regions(region((4, 10, 90, 120), spacing_cm=(0.05, -0.025)))))
    assert image.tissue == (4, 10, 91, 121)
    assert image.spacing_mm == (0.5, 0.25)


def test_a_region_that_does_not_fit_the_frame_is_not_trusted() -> None:
    decoding = decode(to_bytes(with_regions(region((31, 84, 414, 595)))))
    assert decoding.images[0].tissue is None
    assert decoding.images[0].spacing_mm is None
    assert "not trusted" in decoding.notes[0]


def test_the_largest_tissue_region_counts_and_others_do_not() -> None:
    items = [region((0, 0, 20, 30)), region((10, 40, 90, 120)), region((0, 0, 95, 127), data_type=0xD)]
    (image,) = read_bytes(to_bytes(with_regions(*items)))
    assert image.tissue == (10, 40, 91, 121)


def test_identity_comes_from_the_header_where_it_is_plausible() -> None:
    (image,) = read_bytes(to_bytes(monochrome(PICTURE, IssuerOfPatientID="HOSPITAL")))
    assert (image.patient, image.study, image.device) == ("HOSPITAL|CASE-0042", "1.2.3.4", "Synthetic One")
    for placeholder in ("", "0", "000", "anonymous", "Unknown", " TEST "):
        identity = identity_of(monochrome(PICTURE, PatientID=placeholder))
        assert identity.patient_key is None
    assert DicomIdentity("7", "", "", "1.9").study_key == "1.9"


# --------------------------------------------------------------------------- refusals
def without(keyword: str) -> Dataset:
    dataset = monochrome(PICTURE)
    delattr(dataset, keyword)
    return dataset


def other_syntax(syntax: str) -> bytes:
    dataset = jpeg_cine(cine(2)[:1])
    dataset.file_meta.TransferSyntaxUID = syntax
    return to_bytes(dataset)


def deflated_bomb() -> bytes:
    """A file of 50 kB that inflates to 50 MB while it is opened."""
    plain = monochrome(PICTURE)
    plain.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = to_bytes(plain)
    meta_end = 132 + 12 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return whole[:meta_end] + packer.compress(bytes(50_000_000)) + packer.flush()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (to_bytes(monochrome(PICTURE, Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")), "not_ultrasound"),
        (to_bytes(monochrome(PICTURE, Modality="OT", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")), "not_ultrasound"),
        (to_bytes(monochrome(PICTURE, SOPClassUID="1.2.840.10008.5.1.4.1.1.6.2")), "unsupported_format"),
        (to_bytes(without("PixelData")), "no_pixels"),
        (to_bytes(without("Rows")), "corrupt"),
        (to_bytes(without("PhotometricInterpretation")), "corrupt"),
        (to_bytes(monochrome(PICTURE, PhotometricInterpretation="HSV")), "unsupported_format"),
        (to_bytes(monochrome(PICTURE, Rows=0)), "too_small"),
        (to_bytes(monochrome(PICTURE, Rows=65535, Columns=65535)), "too_large"),
        (to_bytes(monochrome(PICTURE, NumberOfFrames=2_000_000)), "too_large"),
        (to_bytes(monochrome(PICTURE, Rows=200)), "truncated"),
        (to_bytes(monochrome(PICTURE))[:3000], "truncated"),
        (to_bytes(monochrome(PICTURE))[:300], "truncated"),
        (to_bytes(jpeg_cine(cine(3), header_size=(64, 64))), "corrupt"),
        (to_bytes(jpeg_cine(cine(6)))[:9000], "truncated"),
        (other_syntax(MPEG2MPML), "unsupported_transfer_syntax"),
        (other_syntax("1.2.840.10008.1.2.4.94"), "unsupported_transfer_syntax"),
        (deflated_bomb(), "unsupported_transfer_syntax"),
        (bytes(128) + b"DICM", "truncated"),
        (bytes(128) + b"DICM" + b"\xff" * 64, "truncated"),
    ],
)
def test_a_bad_object_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


def test_a_frame_larger_than_its_header_is_refused_before_it_is_decoded() -> None:
    dataset = jpeg_cine([np.tile(PICTURE, (40, 40))], header_size=(96, 128))
    assert len(to_bytes(dataset)) > 100_000
    assert reason_of(to_bytes(dataset)) == "corrupt"


@pytest.mark.parametrize("depth", [400, 5000])
def test_endless_nesting_is_refused(depth: int) -> None:
    opening = b"\x08\x00\x10\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)
    whole = to_bytes(monochrome(PICTURE))
    meta_end = 132 + 12 + int.from_bytes(whole[140:144], "little")
    assert reason_of(whole[:meta_end] + opening * depth + closing * depth + whole[meta_end:]) == "corrupt"


def test_what_is_said_about_a_file_quotes_nothing_that_identifies_a_patient(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    overlong = to_bytes(monochrome(PICTURE, PhotometricInterpretation="SECRETNAME AAAAA"))
    overlong = overlong.replace(b"CS\x10\x00SECRETNAME AAAAA", b"DS\x10\x00SECRETNAME AAAAA")
    wrong_kind = to_bytes(monochrome(PICTURE, StudyDate="20260101")).replace(b"20260101", b"SECRETNM")
    for data in (overlong, wrong_kind, wrong_kind[:-5000]):
        try:
            said = str(decode(data, "name").notes)
        except UnreadableImageError as error:
            said = str(error)
        assert "SECRET" not in said
    assert "SECRET" not in caplog.text
    assert "SECRET" not in "".join(capfd.readouterr())


def test_damaged_objects_never_escape_as_another_error() -> None:
    wholes = [
        to_bytes(jpeg_cine(cine(3))),
        to_bytes(palette(PICTURE, np.arange(256) * 257)),
        to_bytes(with_regions(region((4, 4, 90, 120)))),
    ]
    reasons: set[str] = set()
    random = np.random.default_rng(2)
    for whole in wholes:
        for _ in range(60):
            damaged = bytearray(whole)
            for at in random.integers(128, min(len(whole), 1500), 3):
                damaged[at] = int(random.integers(256))
            try:
                images = read_bytes(bytes(damaged), "damaged")
            except UnreadableImageError as error:
                reasons.add(error.reason)
            else:
                assert images[0].pixels.ndim == 2
    assert reasons
    assert reasons <= set(REASONS)


def test_an_object_without_preamble_is_read() -> None:
    bare = to_bytes(monochrome(PICTURE))[132:]
    assert true_format(bare) == "DICOM"
    np.testing.assert_array_equal(read_bytes(bare)[0].pixels, PICTURE)


def test_a_tiff_header_in_the_preamble_does_not_hide_the_object() -> None:
    data = to_bytes(monochrome(PICTURE))
    assert true_format(b"II*\x00" + data[4:]) == "DICOM"


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_the_size_inside_a_compressed_frame_is_found(kind: str) -> None:
    options = {"no_jp2": True} if kind == "JPEG2000" else {"progressive": True}
    assert codestream_size(encode(PICTURE, kind, **options)) == PICTURE.shape
    assert codestream_size(b"no codestream") is None


SHIPPED = {
    "ExplVR_BigEnd.dcm": [0],
    "examples_rgb_color.dcm": [0],
    "examples_palette.dcm": [0],
    "examples_ybr_color.dcm": [6, 15, 24],
    "examples_jpeg2k.dcm": [0],
    "CT_small.dcm": "not_ultrasound",
    "SC_rgb_small_odd.dcm": "not_ultrasound",
    "DICOMDIR": "not_ultrasound",
    "rtplan.dcm": "not_ultrasound",
    "JPEG2000.dcm": "not_ultrasound",
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_examples_that_pydicom_ships_are_read_or_refused_as_stated(name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert path is not None
    expected = SHIPPED[name]
    if isinstance(expected, str):
        assert reason_of(Path(path).read_bytes()) == expected
    else:
        assert [image.frame for image in read_bytes(Path(path).read_bytes())] == expected


def test_a_decoder_that_is_missing_is_named_in_the_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibrokd.data.dicom_pixels._DECODERS", ())
    dataset = copy.deepcopy(jpeg_cine(cine(3)))
    assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert reason_of(to_bytes(dataset)) == "unsupported_transfer_syntax"
