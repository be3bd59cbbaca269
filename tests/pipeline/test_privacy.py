"""Privacy: names planted everywhere a collection can hold them reach nothing that is logged, shown or passed on."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from fibrokd.config import parse_config
from fibrokd.data.ingest import IngestJob
from fibrokd.data.limits import ReadLimits
from fibrokd.data.prepared import read_table
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.data.shards import Shard, ingest_shards
from fibrokd.data.sources import find_files
from fibrokd.data.walking import locate
from fibrokd.errors import FibroKDError
from fibrokd.pipeline.prepare import PrepareConfig, run
from fibrokd.stages import METAVIR
from tests.data.objects import monochrome, to_bytes
from tests.data.sectors import draw_sector, encode

PATIENTS = 30
NAME = "XQDOE"  # part of everything planted; the rest says where
NAMES_OF_FILES = {"identities.csv", "quarantine.csv", "unmatched.csv"}
"""Files that list relative paths, and so whatever files and folders are called; they are not to be passed on."""


def picture(seed: int, written: str = "") -> np.ndarray:
    """A fan, and beside it what is written."""
    pixels, mask = draw_sector(seed=seed)
    if written:
        image = Image.fromarray(pixels)
        draw = ImageDraw.Draw(image)
        draw.text((2, 2), written, fill=255)
        draw.text((216, 2), written, fill=255)
        draw.text((2, 226), written, fill=180)
        draw.rectangle((306, 60, 312, 180), fill=220)
        pixels = np.where(mask, pixels, np.asarray(image)).astype(np.uint8)
    return pixels


def dicom(seed: int, patient: int, written: str) -> bytes:
    header = {
        "PatientName": f"{NAME}TAG^JANE",
        "PatientID": f"{NAME}ID{patient}",
        "IssuerOfPatientID": f"{NAME}ISSUER",
        "OtherPatientIDs": f"{NAME}OTHER",
        "AccessionNumber": f"{NAME}ACC",
        "InstitutionName": f"{NAME} HOSPITAL",
        "ReferringPhysicianName": f"{NAME}DOCTOR",
        "OperatorsName": f"{NAME}OPERATOR",
        "StudyDescription": f"{NAME} STUDY",
        "ImageComments": f"{NAME} COMMENT",
        "StudyInstanceUID": f"1.2.{patient}.4",
        "Manufacturer": f"{NAME}^JANE" if patient % 2 else "GE Healthcare",
        "ManufacturerModelName": f"{NAME} 1970",
    }
    dataset = monochrome(picture(seed, written), **header)
    block = dataset.private_block(0x0029, f"{NAME}PRIVATE", create=True)
    block.add_new(0x01, "LO", f"{NAME} PRIVATE VALUE")
    return to_bytes(dataset)


def raster(seed: int, written: str) -> tuple[str, bytes]:
    """A picture file with a name in its metadata; its extension."""
    image = Image.fromarray(picture(seed, written))
    stream = BytesIO()
    if seed % 4:
        text = PngInfo()
        text.add_text("Description", f"{NAME}TEXT", zip=True)
        image.save(stream, "PNG", pnginfo=text)
        return "png", stream.getvalue()
    image.save(stream, "TIFF", description=f"{NAME}TAG", artist=f"{NAME}ARTIST")
    return "tif", stream.getvalue()


@dataclass
class Clinic:
    """A collection full of names, and the same one with nothing written into its pictures."""

    root: Path
    clean: Path


def fill(root: Path, written: str) -> Path:
    rows = []
    for patient in range(PATIENTS):
        folder = root / f"{NAME}FOLDER{patient}"
        folder.mkdir(parents=True)
        for frame in range(2):
            seed = 2 * patient + frame
            kind, data = ("dcm", dicom(seed, patient, written)) if frame else raster(seed, written)
            path = folder / f"{NAME}FILE{seed}.{kind}"
            path.write_bytes(data)
            rows.append(
                {
                    "path": path.relative_to(root).as_posix(),
                    "stage": METAVIR.names[patient % 5],
                    "patient": f"{NAME}TABLE{patient}",
                    "study": f"{NAME}STUDY{patient}",
                    "comment": f"{NAME}COMMENT",
                    "site": f"{NAME}^SITE",
                    "scanner": "" if frame else f"{NAME}, SCANNER",
                }
            )
    broken = {
        "a.png": encode(picture(99))[:700],
        "b.dcm": dicom(98, 1, written)[:900],
        "c.jpg": b"",
        "d.tif": b"II*\0x",
    }
    for name, data in broken.items():
        path = root / f"{NAME}FOLDER0" / f"{NAME}{name}"
        path.write_bytes(data)
        rows.append({"path": path.relative_to(root).as_posix(), "stage": "F0", "patient": f"{NAME}TABLE0"})
    rows.append({"path": f"{NAME}GONE.png", "stage": "F1", "patient": f"{NAME}GONE"})
    (root / f"{NAME}STRAY.png").write_bytes(encode(picture(97)))
    (root / f"{NAME}LOOP").symlink_to(root / f"{NAME}LOOP")
    pd.DataFrame(rows).fillna("").to_csv(root / "labels.csv", index=False)
    return root


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    folder = tmp_path_factory.mktemp("clinic")
    return Clinic(fill(folder / "archive", f"{NAME} JANE 1970"), fill(folder / "clean", ""))


def config(root: Path, **changes: object) -> PrepareConfig:
    base: dict[str, object] = {
        "data": {"root": str(root), "layout": "table", "labels": "labels.csv"},
        "preprocess": {"size": 64},
        "controls": {"seeds": [0], "replicates": 100},
        "synthetic": False,
        "workers": 1,
    }
    return parse_config(base | changes, PrepareConfig)


def jobs(root: Path) -> list[IngestJob]:
    found = find_files(config(root).data).files
    return [IngestJob(root, file, PreprocessSpec(size=64), ReadLimits(), secret=b"secret" * 4) for file in found]


@pytest.fixture(scope="module")
def shards(clinic: Clinic, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Shard], list[Shard]]:
    folder = tmp_path_factory.mktemp("shards")
    return ingest_shards(jobs(clinic.root), folder / "named"), ingest_shards(jobs(clinic.clean), folder / "clean")


@pytest.fixture(scope="module")
def prepared(clinic: Clinic, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("prepared")
    for name, root in (("named", clinic.root), ("clean", clinic.clean)):
        run(config(root), folder / name)
    return folder / "named", folder / "clean"


def test_no_planted_name_is_logged_shown_or_written_but_in_lists_of_paths(
    clinic: Clinic, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    run(config(clinic.root), tmp_path / "out")
    told = capfd.readouterr()
    assert "verdict" in told.err
    assert NAME not in told.out + told.err + caplog.text
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"integrity.json", "integrity.html", "dataset.json", "groups.csv", "identities.csv"} <= {
        path.name for path in written
    }
    leaking = {path.name for path in written if NAME.encode() in path.read_bytes()}
    assert leaking <= NAMES_OF_FILES


def test_lists_of_paths_hold_names_of_files_and_nothing_else_that_was_planted(prepared: tuple[Path, Path]) -> None:
    named, _ = prepared
    for name, columns in (
        ("identities.csv", {"path"}),
        ("quarantine.csv", {"path"}),
        ("unmatched.csv", {"name", "detail"}),
    ):
        table = read_table(named / name)
        assert {column for column in table if table[column].str.contains(NAME).any()} <= columns
    quarantine = read_table(named / "quarantine.csv")
    assert len(quarantine) == 4 + 2  # broken ones; the stray picture and the circular link


def test_a_shard_holds_no_planted_name_beside_the_path(shards: tuple[list[Shard], list[Shard]]) -> None:
    named, _ = shards
    for shard in named:
        assert not [
            column for row in shard.rows for column, value in row.items() if NAME in str(value) and column != "path"
        ]
        assert NAME not in str(shard.notes)
        assert not [refusal for refusal in shard.refusals if NAME in refusal.detail]


def test_what_is_burned_in_beside_the_fan_reaches_no_shard(shards: tuple[list[Shard], list[Shard]]) -> None:
    named, clean = shards
    assert sum(len(shard.rows) for shard in named) == 2 * PATIENTS
    for one, other in zip(named, clean, strict=True):
        assert [row["cropped"] for row in one.rows] == [1] * len(one.rows)
        for array in ("pixels", "thumbnails", "fingerprints"):
            np.testing.assert_array_equal(one.array(array), other.array(array))


def test_no_pixel_outside_the_fan_is_kept(clinic: Clinic, shards: tuple[list[Shard], list[Shard]]) -> None:
    named, _ = shards
    mask = Image.fromarray(draw_sector()[1].astype(np.uint8) * 255)
    apart = np.asarray(mask.resize((48, 48), Image.Resampling.BOX)) == 0
    assert apart.mean() > 0.3
    for shard in named:
        assert not shard.array("thumbnails")[:, apart].any()
        assert shard.array("thumbnails")[:, ~apart].any()


def test_the_pixels_of_a_prepared_folder_are_those_of_pictures_with_nothing_written_on_them(
    prepared: tuple[Path, Path],
) -> None:
    one, other = (in_the_order_of_paths(folder) for folder in prepared)
    np.testing.assert_array_equal(one, other)


def in_the_order_of_paths(folder: Path) -> np.ndarray:
    """Pixels of a prepared folder; its own order follows from the digests of its files."""
    paths = read_table(folder / "identities.csv")["path"]
    return np.load(folder / "pixels.npy")[paths.argsort(kind="stable")]


def test_the_order_of_rows_gives_no_order_of_names_away(prepared: tuple[Path, Path]) -> None:
    identifiers = list(read_table(prepared[0] / "manifest.csv")["image_id"])
    assert identifiers == sorted(identifiers)
    for table in ("groups.csv", "splits.csv", "identities.csv"):
        assert list(read_table(prepared[0] / table)["image_id"]) == identifiers


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"layout": "folders"}},
        {"data": {"layout": "table", "labels": "wrong.csv"}},
        {"data": {"layout": "table", "labels": "mixed.csv"}},
        {"data": {"layout": "table", "labels": "few.csv"}},
        {"data": {"layout": "table", "labels": "unreadable.csv"}},
        {"data": {"layout": "table", "labels": "one_patient.csv"}},
    ],
    ids=lambda changes: str(changes["data"].get("labels", "folders")),
)
def test_no_error_message_quotes_a_planted_name(
    clinic: Clinic, tmp_path: Path, changes: dict[str, dict[str, str]]
) -> None:
    table = read_table(clinic.root / "labels.csv")
    table.assign(stage="F9").to_csv(clinic.root / "wrong.csv", index=False)
    stages = [METAVIR.names[number % 5] for number in range(len(table))]
    table.assign(stage=stages).to_csv(clinic.root / "mixed.csv", index=False)
    table[:4].to_csv(clinic.root / "few.csv", index=False)
    table[table["path"].str.contains(r"DOE[abcd]\.")].to_csv(clinic.root / "unreadable.csv", index=False)
    table.assign(patient=f"{NAME}EVERYONE").to_csv(clinic.root / "one_patient.csv", index=False)
    asked = config(clinic.root, data={"root": str(clinic.root), **changes["data"]})
    with pytest.raises(FibroKDError) as caught:
        run(asked, tmp_path / "out")
    assert NAME not in str(caught.value)


def test_scanners_stay_apart_although_nothing_of_what_headers_say_is_written(prepared: tuple[Path, Path]) -> None:
    manifest = read_table(prepared[0] / "manifest.csv")
    from_headers = set(manifest["scanner"][manifest["format"] == "DICOM"])
    assert len(from_headers) == 2
    assert any(name.startswith("GE-") for name in from_headers)
    assert manifest["site"].nunique() == 1
    assert len(set(manifest["scanner"]) - from_headers) == 1


def test_folders_named_after_patients_are_hidden_as_well(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "images"
    for patient in range(PATIENTS):
        folder = root / METAVIR.names[patient % 5] / f"{NAME}{patient}"
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(encode(picture(patient, f"{NAME} JANE")))
    run(config(root, data={"root": str(root)}), tmp_path / "out")
    assert NAME not in "".join(capfd.readouterr())
    leaking = {path.name for path in (tmp_path / "out").iterdir() if NAME.encode() in path.read_bytes()}
    assert leaking == {"identities.csv"}
    assert read_table(tmp_path / "out" / "identities.csv")["patient"].nunique() == PATIENTS


def test_names_that_cannot_be_written_down_pass_through_every_table(tmp_path: Path) -> None:
    odd = [b"a\nb.png", b"Lebe\xfc.png", b'"quoted", x.png', b"back\\slash.png", b"50%41.png", b"\xe2\x80\xa8.png"]
    root = tmp_path / "images"
    for patient in range(PATIENTS):
        folder = root / METAVIR.names[patient % 5] / os.fsdecode(b"p\xff\n%d" % patient)
        folder.mkdir(parents=True)
        (folder / os.fsdecode(odd[patient % len(odd)])).write_bytes(encode(picture(patient)))
    (root / "F0" / os.fsdecode(b"broken\xff.png")).write_bytes(b"x")
    run(config(root, data={"root": str(root)}), tmp_path / "out")
    identities = read_table(tmp_path / "out" / "identities.csv")
    assert len(identities) == PATIENTS
    assert all(locate(root, path).is_file() for path in identities["path"])
    assert list(read_table(tmp_path / "out" / "quarantine.csv")["path"]) == ["F0/broken%FF.png"]
