"""Opening DICOM files: deflate with a cap, no preamble, damage; memory and time stay bounded."""

from __future__ import annotations

import functools
import resource
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from fibrokd.data.dicom.file import looks_like_dicom, open_object, read_header
from fibrokd.data.dicom.identity_keys import read_identity
from fibrokd.data.limits import ReadLimits
from fibrokd.data.reading import read_bytes, true_format
from fibrokd.errors import UnreadableImageError
from tests.data.objects import deflated, meta_end, monochrome, phantom_clip, to_bytes
from tests.data.sectors import draw_sector

PICTURE, _ = draw_sector(96, 128, apex=(-10, 64), radii=(15, 95))
UID_DEFLATED = b"1.2.840.10008.1.2.1.99"


def reason_of(data: bytes, limits: ReadLimits | None = None) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        read_bytes(data, "bad", limits)
    return caught.value.reason


@functools.cache
def bomb(megabytes: int) -> bytes:
    """A deflated file whose data set is an honest start and then zeros."""
    whole = to_bytes(monochrome(PICTURE))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(whole[meta_end(whole) :]) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(10**6)) + packer.flush(zlib.Z_FULL_FLUSH)  # may be repeated: it refers to itself only
    shell = deflated(monochrome(PICTURE))
    return shell[: meta_end(shell)] + packed + zeros * megabytes + packer.flush()


def test_a_deflated_object_is_read_like_the_plain_one() -> None:
    truth = phantom_clip()[0]
    (image,) = read_bytes(deflated(monochrome(truth)))
    np.testing.assert_array_equal(image.pixels, truth)


def test_a_deflated_bomb_is_refused_without_being_inflated() -> None:
    data = bomb(600)
    assert len(data) < 1_000_000
    tracemalloc.start()
    before = time.process_time()
    assert reason_of(data) == "too_large"
    seconds = time.process_time() - before
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
    assert seconds < 2


def test_the_process_does_not_grow_when_it_meets_a_deflated_bomb(tmp_path: Path) -> None:
    (tmp_path / "bomb.dcm").write_bytes(bomb(600))
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from fibrokd.data.dicom.identity_keys import read_identity\n"
        "from fibrokd.data.reading import read\n"
        "from fibrokd.errors import UnreadableImageError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "path = Path(sys.argv[1])\n"
        "assert read_identity(path) is None\n"
        "try:\n"
        "    read(path)\n"
        "except UnreadableImageError as error:\n"
        "    assert error.reason == 'too_large', error.reason\n"
        "else:\n"
        "    raise SystemExit('read')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "bomb.dcm")], capture_output=True, text=True, check=True
    )
    grown_mb = int(done.stdout) * resource.getpagesize() / 4096 / 1024
    assert grown_mb < 60  # libraries loaded on the way; the bomb itself holds 600 MB


def test_the_cap_is_that_of_the_limits() -> None:
    data = bomb(3)
    assert reason_of(data, ReadLimits(max_inflated_mb=2)) == "too_large"
    assert len(read_bytes(data, limits=ReadLimits(max_inflated_mb=4))) == 1


def test_damaged_deflated_content_is_named() -> None:
    whole = deflated(monochrome(PICTURE))
    assert reason_of(whole[:-2000]) == "truncated"
    middle = meta_end(whole) + 500
    assert reason_of(whole[:middle] + b"\xff" * 300 + whole[middle + 300 :]) in ("corrupt", "truncated")


def test_deflate_cannot_be_smuggled_past_the_cap() -> None:
    data = bomb(300)
    repeated = data[144:150] + data[150 : meta_end(data)]
    twice = bytearray(data[: meta_end(data)] + repeated + data[meta_end(data) :])  # group length no longer fits
    without_length = data[:132] + data[144:]
    bare = data[132:]
    for hidden in (bytes(twice), without_length, without_length[132:], bare):
        assert UID_DEFLATED in hidden
        before = time.process_time()
        assert reason_of(hidden) in ("corrupt", "too_large")
        assert time.process_time() - before < 2


def test_a_file_that_only_mentions_deflate_is_read() -> None:
    (image,) = read_bytes(to_bytes(monochrome(PICTURE, StudyInstanceUID=UID_DEFLATED.decode())))
    np.testing.assert_array_equal(image.pixels, PICTURE)


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_an_object_without_preamble_is_read(syntax: str | None) -> None:
    dataset = monochrome(PICTURE)
    if syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
    whole = to_bytes(dataset)
    for bare in (whole[132:], whole[meta_end(whole) :]):
        assert true_format(bare) == "DICOM"
        np.testing.assert_array_equal(read_bytes(bare)[0].pixels, PICTURE)


def test_a_tiff_header_in_the_preamble_does_not_hide_the_object() -> None:
    data = to_bytes(monochrome(PICTURE))
    assert true_format(b"II*\x00" + data[4:]) == "DICOM"


def test_other_files_do_not_look_like_dicom() -> None:
    for data in (b"", b"text " * 100, bytes(400), b"\x08\x00" + bytes(300) + b"x", b"\x02\x00\xff\xff" * 100):
        assert not looks_like_dicom(data) or len(data) >= 128
    assert not looks_like_dicom(b"text " * 100)
    assert not looks_like_dicom(b"\x08\x00\x05\x00\xff\xff\xff\xff" * 50)


def test_identifiers_are_read_without_reading_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in {
        "plain": to_bytes(monochrome(PICTURE)),
        "bare": to_bytes(monochrome(PICTURE))[132:],
        "deflated": deflated(monochrome(PICTURE)),
    }.items():
        (tmp_path / name).write_bytes(data)
        identity = read_identity(tmp_path / name)
        assert identity is not None
        assert identity.patient_id == "CASE-0042"
    (tmp_path / "picture.png").write_bytes(b"\x89PNG" + bytes(500))
    assert read_identity(tmp_path / "picture.png") is None
    assert read_header(tmp_path / "plain", ["PatientID"], ReadLimits()).get("PixelData") is None
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("the whole file was read"))
    assert read_identity(tmp_path / "plain") is not None


def test_a_header_that_ends_early_is_truncated() -> None:
    whole = to_bytes(monochrome(PICTURE))
    for data in (bytes(128) + b"DICM", bytes(128) + b"DICM" + b"\xff" * 64, whole[: meta_end(whole)]):
        assert reason_of(data) == "truncated"


def test_a_transfer_syntax_that_is_no_single_identifier_is_refused() -> None:
    whole = to_bytes(monochrome(PICTURE))
    assert reason_of(whole.replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840\\10008.1.2.1\x00", 1)) == "corrupt"


def test_an_open_object_keeps_its_pixels_as_they_were() -> None:
    dataset = open_object(to_bytes(monochrome(PICTURE)), "good", ReadLimits())
    assert dataset.PixelData == PICTURE.tobytes()
