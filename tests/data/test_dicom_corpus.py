"""DICOM files written by others: every one is read, or refused for the reason that a committed table states.

``dicom_corpus.csv`` holds one row per ``.dcm`` file of pydicom's own package, and of a folder of public samples that
FIBROKD_DICOM_DATA names (files it does not know are read or refused for any stated reason). Pixels of what is read are
compared with decoders that the product does not use for them, or with formulas written here; its column ``samples``
says of which files, whatever kind of object they are, samples must be decoded.
``python -m tests.data.test_dicom_corpus`` prints the table anew.
"""

from __future__ import annotations

import csv
import itertools
import os
import sys
import time
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, convert_color_space
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGTransferSyntaxes, RLELossless

from fibrokd.data.decoder_warnings import warnings_as_notes
from fibrokd.data.dicom.decoders import stored_samples
from fibrokd.data.dicom.objects import check_header
from fibrokd.data.limits import ReadLimits
from fibrokd.data.reading import REASONS, decode
from fibrokd.errors import UnreadableImageError

TABLE = Path(__file__).with_name("dicom_corpus.csv")
SHIPPED = Path(pydicom.data.__file__).parent
FOLDER = Path(os.environ["FIBROKD_DICOM_DATA"]) if "FIBROKD_DICOM_DATA" in os.environ else None
FILES = {path.name: path for path in sorted(SHIPPED.rglob("*.dcm"))}
SAMPLES = {path.name: path for path in sorted(FOLDER.glob("*.dcm"))} if FOLDER else {}
ANY = ReadLimits(min_side_px=1, accept_secondary_capture=True)


def outcome(path: Path, captures: bool) -> str:
    """``read`` with frames and parts, or the reason of the refusal."""
    try:
        images = decode(path.read_bytes(), path.name, ReadLimits(accept_secondary_capture=captures)).images
    except UnreadableImageError as error:
        return error.reason
    places = [f"{image.frame}.{image.part}" if image.part else f"{image.frame}" for image in images]
    return "read " + " ".join(places)


def table() -> dict[str, dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}


def expected() -> dict[str, tuple[str, str]]:
    return {name: (row["as_delivered"], row["with_captures"]) for name, row in table().items()}


def test_the_table_holds_every_file_that_pydicom_ships() -> None:
    assert len(FILES) > 90
    assert set(FILES) <= set(expected())


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_file_is_read_or_refused_as_the_table_says(name: str) -> None:
    before = time.process_time()
    assert (outcome(FILES[name], False), outcome(FILES[name], True)) == expected()[name]
    assert time.process_time() - before < 4


@pytest.mark.skipif(not SAMPLES, reason="FIBROKD_DICOM_DATA names no folder of samples")
def test_samples_are_read_or_refused_as_the_table_says() -> None:
    for name, path in SAMPLES.items():
        found = outcome(path, False), outcome(path, True)
        if name in expected():
            assert found == expected()[name], name
        assert all(one.startswith("read") or one in REASONS for one in found), name


# --------------------------------------------------------------------------- stored samples
def decodes(path: Path) -> bool:
    """Whether samples of the first frame are decoded, whatever kind of object it is."""
    try:
        with warnings_as_notes():
            dataset = dcmread(path, force=True)
            stored_samples(dataset, 0, path.name, check_header(dataset, path.name, ANY))
    except (UnreadableImageError, AttributeError, KeyError, ValueError, TypeError, NotImplementedError):
        return False
    return True


def pixel_objects() -> dict[str, Path]:
    """Files of which the table says that samples are decoded, as far as they are here."""
    files = FILES | SAMPLES
    return {name: files[name] for name, row in table().items() if row["samples"] == "yes" and name in files}


def test_samples_are_decoded_of_the_files_that_the_table_says_and_of_no_others() -> None:
    assert {name for name, path in FILES.items() if decodes(path)} == {n for n in pixel_objects() if n in FILES}
    assert len([name for name, row in table().items() if row["samples"] == "yes"]) > 60


def packbits(data: bytes) -> bytes:
    """PackBits as in PS3.5 G.3.2."""
    out, at = bytearray(), 0
    while at < len(data):
        control = data[at]
        if control < 128:
            out += data[at + 1 : at + 2 + control]
            at += 2 + control
        elif control > 128:
            out += data[at + 1 : at + 2] * (257 - control)
            at += 2
        else:
            at += 1
    return bytes(out)


def run_lengths(stream: bytes, dataset: Dataset) -> np.ndarray:
    count = int.from_bytes(stream[:4], "little")
    starts = [*np.frombuffer(stream[4 : 4 + 4 * count], "<u4").tolist(), len(stream)]
    area = dataset.Rows * dataset.Columns
    segments = [np.frombuffer(packbits(stream[a:b])[:area], np.uint8) for a, b in itertools.pairwise(starts)]
    width = dataset.BitsAllocated // 8
    planes = [
        sum(segments[sample * width + byte].astype(np.uint32) << 8 * (width - 1 - byte) for byte in range(width))
        for sample in range(dataset.SamplesPerPixel)
    ]
    return np.stack(planes, axis=1).reshape(dataset.Rows, dataset.Columns, -1)


def native(dataset: Dataset) -> np.ndarray:
    rows, columns, samples = dataset.Rows, dataset.Columns, dataset.SamplesPerPixel
    little = dataset.file_meta.TransferSyntaxUID.is_little_endian
    kind = f"{'<' if little else '>'}{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}"
    data = np.frombuffer(dataset.PixelData, kind)
    if not little and dataset.BitsAllocated == 8 and dataset["PixelData"].VR == "OW":
        data = data.view("u2").byteswap().view("u1")  # words of two samples
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        pairs = data[: rows * columns * 2].reshape(rows, columns // 2, 4)
        luma = pairs[..., :2].reshape(rows, columns)
        return np.dstack([luma, pairs[..., 2].repeat(2, axis=1), pairs[..., 3].repeat(2, axis=1)])
    data = data[: rows * columns * samples]
    if samples == 3 and dataset.PlanarConfiguration == 1:
        return data.reshape(3, rows, columns).transpose(1, 2, 0)
    return data.reshape(rows, columns, samples)


def otherwise_decoded(dataset: Dataset) -> tuple[np.ndarray, float] | None:
    """Samples of the first frame by other means, and the mean difference to allow; ``None`` where there are none."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return native(dataset), 0.0
    if syntax == RLELossless:
        return run_lengths(get_frame(dataset.PixelData, 0), dataset), 0.0
    plugins = get_decoder(syntax).available_plugins
    if "gdcm" not in plugins or syntax not in (*JPEGTransferSyntaxes, *JPEG2000TransferSyntaxes):
        return None
    values, _ = get_decoder(syntax).as_array(dataset, index=0, decoding_plugin="gdcm", raw=True)
    return values.reshape(*values.shape[:2], -1), 0.0 if values.ndim == 2 else 1.0


@pytest.mark.parametrize("name", pixel_objects())
def test_stored_samples_are_those_of_an_independent_decoder(name: str) -> None:
    with warnings_as_notes():
        dataset = dcmread((FILES | SAMPLES)[name], force=True)
        found = stored_samples(dataset, 0, name, check_header(dataset, name, ANY))
        other = otherwise_decoded(dataset)
    if other is None:
        pytest.skip("no other decoder of this compression is installed")
    reference, tolerance = other
    values = found.values.reshape(reference.shape).astype(np.int64)
    assert np.abs(values - reference).mean() <= tolerance


def test_the_corpus_covers_the_ways_of_storing_pixels() -> None:
    names = set()
    for path in pixel_objects().values():
        with warnings_as_notes():
            names.add(dcmread(path, force=True).file_meta.TransferSyntaxUID.name)
    for word in ("Implicit", "Explicit VR Little", "Big Endian", "RLE", "JPEG Baseline", "JPEG Lossless", "JPEG 2000"):
        assert any(word in name for name in names), word


def test_jpeg_ls_gives_the_pixels_of_its_uncompressed_twin() -> None:
    pytest.importorskip("gdcm")
    twins = []
    for name in ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"):
        dataset = dcmread(FILES[name])
        twins.append(stored_samples(dataset, 0, name, check_header(dataset, name, ANY)).values)
    for other in twins[1:]:
        np.testing.assert_array_equal(other, twins[0])


# --------------------------------------------------------------------------- grey levels
def reference_grey(path: Path, index: int) -> np.ndarray:
    """Luminance by pydicom's own colour conversion and palette, in floating point."""
    dataset = dcmread(path)
    values, facts = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, index=index, raw=True)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset) / 256
    elif str(facts["photometric_interpretation"]).startswith("YBR"):
        values = convert_color_space(values, "YBR_FULL", "RGB")
    return values @ [0.299, 0.587, 0.114] if values.ndim == 3 else values.astype(float)


@pytest.mark.parametrize("name", [name for name, (plain, _) in expected().items() if plain.startswith("read")])
def test_grey_levels_are_those_of_an_independent_path(name: str) -> None:
    path = (FILES | SAMPLES).get(name)
    if path is None:
        pytest.skip("this sample is not here")
    for image in decode(path.read_bytes(), name).images:
        with warnings_as_notes():
            reference = reference_grey(path, image.frame)
        shown = image.pixels > 0  # what is hidden is 0
        assert np.count_nonzero(shown) > 0.02 * shown.size
        assert np.abs(image.pixels[shown] - reference[shown]).mean() < 1.0
        if image.part == 0 and len(decode(path.read_bytes(), name).images) == 1:
            assert (reference[~shown] > 40).mean() < 0.2  # text and marks


def _what(path: Path) -> str:
    """What a person can check the outcome against: object, modality, compression, photometric interpretation, size."""
    try:
        with warnings_as_notes():
            dataset = dcmread(path, force=True)
            kind, syntax = dataset.get("SOPClassUID"), dataset.file_meta.get("TransferSyntaxUID")
            size = f"{dataset.get('Rows')}x{dataset.get('Columns')}x{dataset.get('NumberOfFrames') or 1}"
            facts = [kind.name if kind else "no class", dataset.get("Modality") or "no modality"]
            facts += [syntax.name if syntax else "no syntax"]
            facts += [f"{dataset.PhotometricInterpretation} {size}" if "Rows" in dataset else "no picture"]
    except (AttributeError, ValueError, TypeError):
        return "cannot be parsed"
    return "; ".join(facts)


def _print_table() -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "as_delivered", "with_captures", "samples", "what"])
    for name, path in sorted((FILES | SAMPLES).items()):
        samples = "yes" if decodes(path) else "no"
        writer.writerow([name, outcome(path, False), outcome(path, True), samples, _what(path)])


if __name__ == "__main__":
    _print_table()
