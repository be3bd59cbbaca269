"""DICOM ultrasound end to end: every way of storing a phantom back to the grey levels that went in."""

from __future__ import annotations

import base64
import time
import tracemalloc
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import __version__ as pillow_version
from pydicom.dataset import Dataset
from pydicom.uid import (
    HEVCMP51,
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    UID,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from fibrokd.data.limits import ReadLimits
from fibrokd.data.reading import REASONS, decode, pixel_digest, read_bytes
from fibrokd.errors import UnreadableImageError
from tests.data.objects import (
    MULTI,
    colour,
    deflated,
    encapsulated,
    grey_rgb,
    j2k,
    jpeg_cine,
    meta_end,
    monochrome,
    palette,
    phantom_clip,
    region,
    to_bytes,
    transcoded,
)
from tests.data.sectors import draw_sector, encode

PICTURE, _ = draw_sector(96, 128, apex=(-10, 64), radii=(15, 95))
RGB = grey_rgb(PICTURE)
TRUTH = phantom_clip()[0]


def reason_of(data: bytes, limits: ReadLimits | None = None) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        read_bytes(data, "bad", limits)
    assert caught.value.reason in REASONS
    return caught.value.reason


def grey_of(dataset: Dataset | bytes) -> np.ndarray:
    (image,) = read_bytes(dataset if isinstance(dataset, bytes) else to_bytes(dataset))
    assert image.format == "DICOM"
    return image.pixels


def error(data: Dataset | bytes) -> float:
    """Mean absolute error against the phantom, grey levels."""
    return float(np.abs(grey_of(data).astype(int) - TRUTH).mean())


def stored_as(syntax: str) -> Dataset:
    dataset = monochrome(TRUTH)
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def run_lengths(dataset: Dataset) -> Dataset:
    dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset


def interleaved_422(picture: np.ndarray) -> Dataset:
    """Uncompressed YBR_FULL_422: Y1 Y2 Cb Cr for every two pixels."""
    dataset = colour(grey_rgb(picture), 0, "YBR_FULL_422")
    neutral = np.full((picture.shape[0], picture.shape[1] // 2), 128, np.uint8)
    dataset.PixelData = np.stack([picture[:, ::2], picture[:, 1::2], neutral, neutral], axis=2).tobytes()
    return dataset


LOSSLESS = {
    "explicit": monochrome(TRUTH),
    "implicit": stored_as(ImplicitVRLittleEndian),
    "big endian": stored_as(ExplicitVRBigEndian),
    "deflated": deflated(monochrome(TRUTH)),
    "mono1": monochrome(255 - TRUTH, PhotometricInterpretation="MONOCHROME1"),
    "rgb by pixel": colour(grey_rgb(TRUTH), planar=0),
    "rgb by plane": colour(grey_rgb(TRUTH), planar=1),
    "ybr full": colour(np.dstack([TRUTH, np.full_like(TRUTH, 128), np.full_like(TRUTH, 128)]), 0, "YBR_FULL"),
    "ybr full by plane": colour(np.dstack([TRUTH, np.full_like(TRUTH, 128), np.full_like(TRUTH, 128)]), 1, "YBR_FULL"),
    "ybr 422": interleaved_422(TRUTH),
    "palette": palette(255 - TRUTH, np.arange(256)[::-1] * 257),
    "16 bit": monochrome(TRUTH.astype(np.uint16) << 8),
    "12 bit": monochrome(TRUTH.astype(np.uint16) << 4, BitsStored=12, HighBit=11),
    "12 bit above": monochrome(TRUTH.astype(np.uint16) << 8, BitsStored=12, HighBit=15),
    "rle": run_lengths(monochrome(TRUTH)),
    "rle colour": run_lengths(colour(grey_rgb(TRUTH), planar=0)),
    "rle 16 bit": run_lengths(monochrome(TRUTH.astype(np.uint16) * 256 + 77)),
    "j2k": j2k(TRUTH, "MONOCHROME2"),
    "j2k 16 bit": j2k(TRUTH.astype(np.uint16) << 8, "MONOCHROME2"),
    "j2k rct": j2k(grey_rgb(TRUTH), "YBR_RCT", mct=1),
    "j2k rgb": j2k(grey_rgb(TRUTH), "RGB", mct=0),
}
LOSSY = {
    "jpeg": (encapsulated([encode(TRUTH, "JPEG", quality=90)], TRUTH.shape, JPEGBaseline8Bit, "MONOCHROME2"), 2.0),
    "jpeg 422": (jpeg_cine([TRUTH]), 2.0),
    "j2k ict": (j2k(grey_rgb(TRUTH), "YBR_ICT", JPEG2000, irreversible=True, mct=1, quality_layers=[8]), 2.0),
}


# --------------------------------------------------------------------------- the phantom comes back
@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_object_gives_back_every_grey_level(name: str) -> None:
    np.testing.assert_array_equal(grey_of(LOSSLESS[name]), TRUTH)


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_object_is_within_its_tolerance(name: str) -> None:
    data, tolerance = LOSSY[name]
    assert 0 < error(data) < tolerance


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize("kind", ["grey", "16 bit", "colour"])
def test_what_gdcm_compresses_without_loss_comes_back(syntax: str, kind: str) -> None:
    pytest.importorskip("gdcm")
    plain = {
        "grey": monochrome(TRUTH),
        "16 bit": monochrome(TRUTH.astype(np.uint16) << 8),
        "colour": colour(grey_rgb(TRUTH), 0),
    }[kind]
    data = transcoded(plain, syntax)
    if kind == "16 bit" and syntax == JPEGLosslessSV1:
        with pytest.raises(UnreadableImageError, match="16 bits per sample in 'JPEG Lossless"):
            read_bytes(data)
    else:
        np.testing.assert_array_equal(grey_of(data), TRUTH)


@pytest.mark.parametrize(("file", "photometric"), [("grey", "MONOCHROME2"), ("colour", "YBR_RCT"), ("colour", "RGB")])
@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_high_throughput_jpeg_2000_comes_back(file: str, photometric: str, syntax: str) -> None:
    pytest.importorskip("openjpeg")
    text = Path(__file__).with_name(f"phantom_96px_{file}.jhc.b64").read_text()  # a rendered phantom, without loss
    stream = base64.b64decode(text)
    dataset = encapsulated([stream], (96, 96), syntax, photometric)
    np.testing.assert_array_equal(grey_of(dataset), phantom_clip(size=96)[0])


def test_the_decoder_is_named_with_its_version() -> None:
    def decoder(dataset: Dataset | bytes) -> str:
        return read_bytes(dataset if isinstance(dataset, bytes) else to_bytes(dataset))[0].decoder

    pydicom_version = metadata.version("pydicom")
    assert decoder(LOSSLESS["explicit"]) == f"pydicom/native {pydicom_version}"
    assert decoder(LOSSLESS["rle"]) == f"pydicom/pydicom {pydicom_version}"
    assert decoder(LOSSY["jpeg"][0]) == f"pydicom/pillow {pillow_version}"
    assert read_bytes(encode(TRUTH, "PNG"))[0].decoder == f"pillow {pillow_version}"
    pytest.importorskip("gdcm")
    gdcm_version = metadata.version("python-gdcm")
    assert decoder(transcoded(monochrome(TRUTH), JPEGLSLossless)) == f"pydicom/gdcm {gdcm_version}"


# --------------------------------------------------------------------------- bits that do not count
OVERLAY = np.uint16(0xA000)  # planes of a retired overlay, in the bits above the samples


def test_bits_above_the_samples_are_no_part_of_them() -> None:
    lifted = TRUTH.astype(np.uint16) << 4
    junk = monochrome(lifted | OVERLAY, BitsStored=8, HighBit=11)
    np.testing.assert_array_equal(grey_of(junk), TRUTH)
    low = monochrome(TRUTH.astype(np.uint16) | OVERLAY, BitsStored=8, HighBit=7)
    np.testing.assert_array_equal(grey_of(low), TRUTH)
    signed = ((TRUTH.astype(np.int16) - 128) << 4).view(np.uint16) & 0x0FFF
    np.testing.assert_array_equal(
        grey_of(monochrome(signed | OVERLAY, BitsStored=8, HighBit=11, PixelRepresentation=1)), TRUTH
    )
    packed = run_lengths(monochrome((TRUTH.astype(np.uint16) << 4) | OVERLAY, BitsStored=16, HighBit=15))
    packed.BitsStored, packed.HighBit = 8, 11
    np.testing.assert_array_equal(grey_of(packed), TRUTH)


def test_a_codestream_of_the_bits_that_count_is_not_moved() -> None:
    dataset = j2k(TRUTH, "MONOCHROME2")
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 8, 11
    np.testing.assert_array_equal(grey_of(dataset), TRUTH)
    words = j2k(TRUTH.astype(np.uint16) << 8, "MONOCHROME2")  # of the whole words, as they were
    words.BitsStored, words.HighBit = 12, 15
    np.testing.assert_array_equal(grey_of(words), TRUTH)


# --------------------------------------------------------------------------- cines and layouts
def test_a_jpeg_cine_gives_three_frames_apart_from_each_other() -> None:
    frames = phantom_clip(frames=10, size=192)
    images = read_bytes(to_bytes(jpeg_cine(frames)))
    assert [image.frame for image in images] == [2, 5, 8]
    for image in images:
        distances = [np.abs(image.pixels.astype(int) - frame).mean() for frame in frames]
        assert int(np.argmin(distances)) == image.frame  # the right frame of the clip, not a neighbour
        assert min(distances) < 2


def test_an_uncompressed_multiframe_object_is_not_mistaken_for_colour() -> None:
    frames = phantom_clip(frames=10, size=192)[:3]
    dataset = monochrome(frames[0], SOPClassUID=MULTI, NumberOfFrames=3)
    dataset.PixelData = np.stack(frames).tobytes()
    images = read_bytes(to_bytes(dataset))
    assert [image.frame for image in images] == [0, 2]
    for image in images:
        np.testing.assert_array_equal(image.pixels, frames[image.frame])


def test_two_pictures_side_by_side_become_two_samples_of_one_frame() -> None:
    left, right = (phantom_clip(number, size=128)[0] for number in (3, 4))
    dataset = monochrome(np.hstack([left, right]))
    dataset.SequenceOfUltrasoundRegions = [
        region((0, 128, 127, 255), spacing_cm=(0.03, 0.03)),
        region((0, 0, 127, 127), spacing_cm=(0.06, -0.05)),
        region((0, 0, 19, 9), data_type=0xD, spatial_format=0),
    ]
    decoding = decode(to_bytes(dataset))
    first, second = decoding.images
    assert [(image.frame, image.part) for image in decoding.images] == [(0, 0), (0, 1)]
    assert (first.tissue, second.tissue) == ((0, 0, 128, 128), (0, 128, 128, 256))
    assert first.spacing_mm == pytest.approx((0.6, 0.5))
    assert second.spacing_mm == pytest.approx((0.3, 0.3))
    shown = left.copy()
    shown[:20, :10] = 0  # the grey bar lies on top of the tissue
    np.testing.assert_array_equal(first.pixels, np.hstack([shown, np.zeros_like(right)]))
    np.testing.assert_array_equal(second.pixels, np.hstack([np.zeros_like(left), right]))
    assert pixel_digest(first) != pixel_digest(second)
    assert first.patient == second.patient
    assert any("side by side" in note for note in decoding.notes)


# --------------------------------------------------------------------------- refusals
def truncated_jpeg_cine() -> bytes:
    return to_bytes(jpeg_cine(phantom_clip(frames=10, size=192)))[:30_000]


def with_vr(data: bytes, tag: bytes, old: bytes, new: bytes) -> bytes:
    """Replace the VR of the first element with this tag."""
    at = data.index(tag + old)
    return data[: at + 4] + new + data[at + 6 :]


def text_rows() -> bytes:
    whole = to_bytes(monochrome(PICTURE))
    at = whole.index(b"\x28\x00\x10\x00US\x02\x00")
    return whole[: at + 4] + b"DS\x02\x0096" + whole[at + 10 :]


def nested(depth: int) -> bytes:
    opening = b"\x08\x00\x10\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)
    whole = to_bytes(monochrome(PICTURE))
    return whole[: meta_end(whole)] + opening * depth + closing * depth + whole[meta_end(whole) :]


def other_syntax(syntax: str) -> bytes:
    dataset = jpeg_cine([PICTURE])
    if not UID(syntax).is_private:
        dataset.file_meta.TransferSyntaxUID = syntax
        return to_bytes(dataset)
    known = JPEGBaseline8Bit.encode()
    return to_bytes(dataset).replace(known, syntax.encode().ljust(len(known), b"\x00"), 1)


def without(keyword: str) -> Dataset:
    dataset = monochrome(PICTURE)
    delattr(dataset, keyword)
    return dataset


def large_frame(kind: str) -> bytes:
    """A frame of 12,000 × 12,000 pixels in a header that says 256 × 256."""
    huge = np.zeros((12_000, 12_000), np.uint8)
    if kind == "JPEG":
        return to_bytes(encapsulated([encode(huge, "JPEG")], (256, 256), JPEGBaseline8Bit, "MONOCHROME2"))
    stream = encode(np.zeros((64, 64), np.uint8), "JPEG2000", no_jp2=True)
    size = (12_000).to_bytes(4, "big")
    stream = stream[:8] + size + size + stream[16:]
    return to_bytes(encapsulated([stream], (256, 256), HTJ2KLossless if kind == "HTJ2K" else JPEG2000, "MONOCHROME2"))


# Every way of failing that was seen or is known, and what is said about it.
REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"only text, no picture at all " * 20, "not_an_image"),
    "mark only": (bytes(128) + b"DICM", "truncated"),
    "mark and noise": (bytes(128) + b"DICM" + b"\xff" * 64, "truncated"),
    "truncated header": (to_bytes(monochrome(PICTURE))[:300], "truncated"),
    "truncated native pixels": (to_bytes(monochrome(PICTURE))[:3000], "truncated"),
    "fewer pixels than rows": (to_bytes(monochrome(PICTURE, Rows=200)), "truncated"),
    "truncated jpeg cine": (truncated_jpeg_cine(), "truncated"),
    "65535 x 65535": (to_bytes(monochrome(PICTURE, Rows=65535, Columns=65535)), "too_large"),
    "2,000,000 frames": (to_bytes(monochrome(PICTURE, NumberOfFrames=2_000_000)), "too_large"),
    "no rows": (to_bytes(monochrome(PICTURE, Rows=0)), "too_small"),
    "rows missing": (to_bytes(without("Rows")), "corrupt"),
    "photometric missing": (to_bytes(without("PhotometricInterpretation")), "corrupt"),
    "no pixel data": (to_bytes(without("PixelData")), "no_pixels"),
    "rows as text": (text_rows(), "corrupt"),
    "unknown kind of element": (with_vr(to_bytes(monochrome(PICTURE)), b"\x28\x00\x10\x00", b"US", b"ZZ"), "corrupt"),
    "nested 400 deep": (nested(400), "corrupt"),
    "nested 5,000 deep": (nested(5000), "corrupt"),
    "large jpeg frame": (large_frame("JPEG"), "corrupt"),
    "large j2k frame": (large_frame("J2K"), "corrupt"),
    "large htj2k frame": (large_frame("HTJ2K"), "corrupt"),
    "small frames in a larger header": (to_bytes(jpeg_cine([PICTURE] * 3, header_size=(128, 128))), "corrupt"),
    "mpeg-2": (other_syntax(MPEG2MPML), "unsupported_transfer_syntax"),
    "hevc": (other_syntax(HEVCMP51), "unsupported_transfer_syntax"),
    "jpip": (other_syntax("1.2.840.10008.1.2.4.94"), "unsupported_transfer_syntax"),
    "private syntax": (other_syntax("1.2.3.4"), "unsupported_transfer_syntax"),
    "palette without tables": (
        to_bytes(monochrome(PICTURE, PhotometricInterpretation="PALETTE COLOR")),
        "corrupt",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_object_is_refused_with_its_reason_at_once_and_cheaply(name: str) -> None:
    data, reason = REFUSED[name]
    tracemalloc.start()
    before = time.process_time()
    assert reason_of(data) == reason
    seconds = time.process_time() - before
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 2
    assert peak < 8_000_000 + 4 * len(data)


def test_a_picture_under_a_dicom_name_is_read_as_what_it_is() -> None:
    (image,) = read_bytes(encode(PICTURE, "JPEG"), "IM0001.dcm")
    assert image.format == "JPEG"


def test_videos_and_unknown_compressions_are_named() -> None:
    for syntax, words in ((MPEG2MPML, "MPEG2"), (HEVCMP51, "HEVC"), ("1.2.840.10008.1.2.4.94", "JPIP")):
        with pytest.raises(UnreadableImageError, match=words):
            read_bytes(other_syntax(syntax))


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
    tissue = monochrome(PICTURE)
    tissue.SequenceOfUltrasoundRegions = [region((4, 4, 90, 60)), region((4, 64, 90, 120))]
    wholes = [
        to_bytes(jpeg_cine([PICTURE] * 3)),
        to_bytes(palette(PICTURE, np.arange(256) * 257)),
        to_bytes(tissue),
        deflated(monochrome(PICTURE)),
        to_bytes(run_lengths(colour(RGB, 0))),
        to_bytes(j2k(RGB, "YBR_RCT", mct=1)),
    ]
    reasons: set[str] = set()
    random = np.random.default_rng(2)
    for whole in wholes:
        for _ in range(40):
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
    assert "unreadable" not in reasons


def test_a_decoder_that_is_missing_is_named_in_the_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibrokd.data.dicom.decoders._DECODERS", {JPEGBaseline8Bit: ()})
    with pytest.raises(UnreadableImageError, match="JPEG Baseline") as caught:
        read_bytes(to_bytes(jpeg_cine([PICTURE])))
    assert caught.value.reason == "unsupported_transfer_syntax"
    assert "extra 'dicom'" in caught.value.todo
