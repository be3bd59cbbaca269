"""Sources: what a collection says about its files, and nothing lost on the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from fibrokd.config import parse_config
from fibrokd.data.isolation import WorkerLimits
from fibrokd.data.sources import DataConfig, SourceFile, Unmatched, find_files, list_files
from fibrokd.data.walking import locate
from fibrokd.errors import InputError, LabelError, TableError
from tests.data.objects import monochrome, to_bytes

LITTER = ("DICOMDIR", "Thumbs.db", "desktop.ini", ".DS_Store", "notes.txt", "Report.pdf", "list.csv", "i.xml", "i.json")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def table_config(root: Path, text: str) -> DataConfig:
    (root / "labels.csv").write_text(text)
    return DataConfig(root=root, layout="table", labels=Path("labels.csv"))


def stages(config: DataConfig) -> dict[str, str | None]:
    return {file.path: file.stage for file in find_files(config).files}


def test_folders_named_after_stages_label_their_files(tmp_path: Path) -> None:
    touch(tmp_path, "F0/b.png", "F0/a.jpg", "f4/deep/images/c.dcm", "train/F2/d.png", "test/3/e.png")
    assert find_files(DataConfig(root=tmp_path)).files == (
        SourceFile("F0/a.jpg", "F0"),
        SourceFile("F0/b.png", "F0"),
        SourceFile("f4/deep/images/c.dcm", "F4", patient="deep"),
        SourceFile("test/3/e.png", "F3"),
        SourceFile("train/F2/d.png", "F2"),
    )


def test_a_folder_below_the_stage_is_a_patient_unless_it_is_generic_or_switched_off(tmp_path: Path) -> None:
    touch(tmp_path, "F1/P7/a.png", "F1/images/b.png", "F1/2/c.png")
    found = find_files(DataConfig(root=tmp_path))
    assert [(f.path, f.stage, f.patient) for f in found.files] == [
        ("F1/2/c.png", "F1", "2"),
        ("F1/P7/a.png", "F1", "P7"),
        ("F1/images/b.png", "F1", ""),
    ]
    assert {f.patient for f in find_files(DataConfig(root=tmp_path, patient_folders=False)).files} == {""}


def test_files_without_a_stage_are_listed_and_not_dropped(tmp_path: Path) -> None:
    touch(tmp_path, "F0/a.png", "loose.png", "other/b.png", "F1/F2/c.png", "truth.csv", "F0/.hidden", ".git/x.png")
    (tmp_path / "F0" / "broken.png").symlink_to(tmp_path / "nowhere")
    found = find_files(DataConfig(root=tmp_path))
    assert [f.path for f in found.files] == ["F0/a.png"]
    assert [(u.kind, u.name, u.reason) for u in found.unmatched] == [
        ("file", "F0/broken.png", "not_a_file"),
        ("file", "F1/F2/c.png", "ambiguous_label"),
        ("file", "loose.png", "no_label"),
        ("file", "other/b.png", "no_label"),
    ]
    assert [(c.kind, c.name, c.reason) for c in found.companions] == [
        ("companion", ".git/", "hidden"),
        ("companion", "F0/.hidden", "hidden"),
        ("companion", "truth.csv", "no_picture"),
    ]


def test_links_that_go_in_circles_end(tmp_path: Path) -> None:
    touch(tmp_path, "F0/a.png", "F1/b.png")
    (tmp_path / "F0" / "again").symlink_to(tmp_path)
    (tmp_path / "F1" / "self").symlink_to(tmp_path / "F1")
    assert set(stages(DataConfig(root=tmp_path))) == {"F0/a.png", "F1/b.png"}
    companions = [(item.name, item.reason) for item in find_files(DataConfig(root=tmp_path)).companions]
    assert companions == [("F0/again/", "linked_again"), ("F1/self/", "linked_again")]


def test_a_link_that_leads_out_of_the_root_is_listed_and_followed_on_demand(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root, "F0/a.png")
    touch(tmp_path / "elsewhere", "b.png", "F3/c.png")
    (root / "F1").mkdir()
    (root / "F1" / "b.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    (root / "more").symlink_to(tmp_path / "elsewhere")
    found = find_files(DataConfig(root=root))
    assert [f.path for f in found.files] == ["F0/a.png"]
    assert [(u.name, u.reason) for u in found.unmatched] == [("F1/b.png", "outside_root"), ("more/", "outside_root")]
    assert set(stages(DataConfig(root=root, outside_links=True))) == {"F0/a.png", "F1/b.png", "more/F3/c.png"}


def test_names_that_no_table_could_hold_are_found_and_written_down(tmp_path: Path) -> None:
    touch(tmp_path, "F0/a\nb.png", 'F1/"quoted", again.png', "F2/50%.png", os.fsdecode(b"F2/Lebe\xfc.png"))
    assert set(stages(DataConfig(root=tmp_path))) == {
        "F0/a%0Ab.png",
        'F1/"quoted", again.png',
        "F2/50%.png",
        "F2/Lebe%FC.png",
    }


def test_a_table_finds_files_by_either_spelling_of_their_name(tmp_path: Path) -> None:
    touch(tmp_path, "re\u0301sume\u0301.png", "50%20.png", "a\tb.png")
    text = "path,stage\nr\u00e9sum\u00e9.png,F1\n50%20.png,F2\na%09b.png,F3\n"
    assert stages(table_config(tmp_path, text)) == {
        "re\u0301sume\u0301.png": "F1",
        "50%2520.png": "F2",
        "a%09b.png": "F3",
    }


def test_a_circular_link_beside_a_table_stops_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    found = find_files(table_config(tmp_path, "path,stage\na.png,F1\n"))
    assert [f.path for f in found.files] == ["a.png"]
    assert [(u.name, u.reason) for u in found.unmatched] == [("loop.png", "not_a_file")]


def test_headers_are_read_in_a_worker_where_that_is_asked_for(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    for number in range(3):
        (tmp_path / f"{number}.dcm").write_bytes(to_bytes(monochrome(pixels, PatientID=f"CASE-{number}")))
    (tmp_path / "broken.dcm").write_bytes(b"DICM" * 50)
    config = table_config(tmp_path, "PatientID,stage\nCASE-0,F0\nCASE-1,F1\nCASE-2,F2\n")
    assert find_files(config, WorkerLimits()) == find_files(config)


def test_another_stage_scale_is_read_from_the_configuration(tmp_path: Path) -> None:
    touch(tmp_path, "none/a.png", "Cirrhosis/b.png")
    config = parse_config(
        {"root": str(tmp_path), "stages": {"names": ["none", "cirrhosis"], "cutoffs": [1]}}, DataConfig
    )
    assert stages(config) == {"Cirrhosis/b.png": "cirrhosis", "none/a.png": "none"}


def test_a_table_of_paths_gives_stage_and_facts(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.png", "x/b.png", "x/c.png")
    text = "path,stage,patient,site,scanner,truth\nx/a.png,F3,P1,north,sonova,9\n"
    text += ".\\x\\b.png,4,P2,,,\nx/gone.png,F0,P3,,,\n"
    found = find_files(table_config(tmp_path, text))
    assert found.files == (
        SourceFile("x/a.png", "F3", "P1", "", "north", "sonova"),
        SourceFile("x/b.png", "F4", "P2"),
    )
    assert found.unmatched == (
        Unmatched("file", "x/c.png", "no_label", "no row of labels.csv has its path"),
        Unmatched("row", "labels.csv:4", "no_file", "x/gone.png"),
    )
    assert found.companions == (Unmatched("companion", "labels.csv", "label_table", ""),)


@pytest.mark.parametrize(("key", "value"), [("PatientID", "CASE-7"), ("StudyUID", "1.2.77")])
def test_a_table_of_dicom_identities_is_matched_through_the_headers(tmp_path: Path, key: str, value: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    for name, patient, study in (
        ("one", "CASE-7", "1.2.77"),
        ("two", "CASE-7", "1.2.77"),
        ("other", "CASE-8", "1.2.88"),
    ):
        (tmp_path / name).write_bytes(to_bytes(monochrome(pixels, PatientID=patient, StudyInstanceUID=study)))
    touch(tmp_path, "picture.png")
    found = find_files(table_config(tmp_path, f"{key},stage,site\n{value},F2,north\nSECRET-9,F1,south\n"))
    assert [(f.path, f.stage, f.patient, f.site) for f in found.files] == [
        ("one", "F2", "", "north"),
        ("two", "F2", "", "north"),
    ]
    assert [(u.name, u.reason) for u in found.unmatched] == [
        ("other", "no_label"),
        ("picture.png", "no_label"),
        ("labels.csv:3", "no_file"),
    ]
    assert "SECRET-9" not in repr(found.unmatched)


def test_every_problem_of_a_table_is_listed_at_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    with pytest.raises(TableError) as caught:
        find_files(table_config(tmp_path, "path,stage\na.png,F9\na.png,F1\n,F2\n"))
    assert caught.value.problems == (
        "line 2: stage 'F9' is not one of F0, F1, F2, F3, F4",
        "line 3: same path as line 2",
        "line 4: path is empty",
    )


@pytest.mark.parametrize("text", ["", "name,label\na,b\n", "path,name\na.png,x\n", '"broken\n'])
def test_a_table_without_usable_columns_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LabelError):
        find_files(table_config(touch(tmp_path, "a.png"), text))


def test_a_missing_table_or_root_or_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Expected a folder"):
        find_files(DataConfig(root=tmp_path / "absent"))
    with pytest.raises(InputError, match="1 × no_label") as caught:
        find_files(DataConfig(root=touch(tmp_path, "DOE^JANE/loose.png")))
    assert "loose" not in str(caught.value)
    assert "DOE" not in str(caught.value)
    with pytest.raises(LabelError, match="names no file"):
        find_files(DataConfig(root=tmp_path, layout="table"))
    with pytest.raises(LabelError, match="no such file"):
        find_files(DataConfig(root=tmp_path, layout="table", labels=Path("absent.csv")))


def test_bare_numbers_that_could_be_patients_are_not_guessed(tmp_path: Path) -> None:
    touch(tmp_path, "1/3/a.png", "2/3/a.png", "7/3/a.png", "3/3/a.png", "images/9/3/a.png")
    found = find_files(DataConfig(root=tmp_path))
    assert {f.path: f.stage for f in found.files} == {"7/3/a.png": "F3", "3/3/a.png": "F3", "images/9/3/a.png": "F3"}
    assert [(u.name, u.reason) for u in found.unmatched] == [
        ("1/3/a.png", "ambiguous_label"),
        ("2/3/a.png", "ambiguous_label"),
    ]


def test_bare_numbers_at_different_depths_are_refused_and_names_of_stages_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "7/3/a.png", "3/9/b.png", "F2/1/c.png", "train/x/F1/d.png")
    found = find_files(DataConfig(root=tmp_path))
    assert [f.path for f in found.files] == ["F2/1/c.png", "train/x/F1/d.png"]
    assert {u.reason for u in found.unmatched} == {"ambiguous_label"}
    touch(tmp_path / "other", "3/a.png", "train/2/b.png")
    assert stages(DataConfig(root=tmp_path / "other")) == {"3/a.png": "F3", "train/2/b.png": "F2"}


def test_a_link_from_a_stage_into_a_pool_gives_its_pictures_their_stage(tmp_path: Path) -> None:
    touch(tmp_path, "pool/p1/i.png", "pool/p1/deep/j.png", "pool/p2/k.png", "pool/p3/l.png", "F0/m.png")
    for link, target in (("F3/p1", "p1"), ("F1/p2", "p2"), ("F2/p2", "p2")):
        (tmp_path / link).parent.mkdir(exist_ok=True)
        (tmp_path / link).symlink_to(tmp_path / "pool" / target, target_is_directory=True)
    found = find_files(DataConfig(root=tmp_path))
    assert [(f.path, f.stage, f.patient) for f in found.files] == [
        ("F0/m.png", "F0", ""),
        ("F3/p1/deep/j.png", "F3", "p1"),
        ("F3/p1/i.png", "F3", "p1"),
    ]
    assert locate(tmp_path, found.files[1].path).read_bytes() == b"x"
    assert [(u.name, u.reason) for u in found.unmatched] == [
        ("pool/p2/k.png", "ambiguous_label"),
        ("pool/p3/l.png", "no_label"),
    ]
    assert found.companions == ()


def test_a_table_of_paths_may_compose_its_letters_in_another_way(tmp_path: Path) -> None:
    touch(tmp_path, "M\u00fcller.png", "Zo\u0308e.png")
    text = "path,stage\nMu\u0308ller.png,F1\nZ\u00f6e.png,F2\n"
    assert stages(table_config(tmp_path, text)) == {"M\u00fcller.png": "F1", "Zo\u0308e.png": "F2"}
    touch(tmp_path, "Mu\u0308ller.png")  # both spellings exist: each has its own row, or none
    text += "M\u00fcller.png,F4\n"
    assert stages(table_config(tmp_path, text)) == {
        "M\u00fcller.png": "F4",
        "Mu\u0308ller.png": "F1",
        "Zo\u0308e.png": "F2",
    }


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("F0/DOE_JANE/a.png,DOE^JANE,F0\nF1/ROE/b.png,ROE^RICHARD,F1\n", LabelError),
        ("path,stage,patient\na.png,DOE^JANE,F0\n", TableError),
        ("path,stage,patient\na.png,Roe,F0\n", TableError),
    ],
)
def test_no_message_about_a_table_quotes_what_may_be_a_name(tmp_path: Path, text: str, error: type[Exception]) -> None:
    touch(tmp_path, "a.png")
    with pytest.raises(error) as caught:
        find_files(table_config(tmp_path, text))
    assert not [name for name in ("DOE", "JANE", "ROE", "Roe", "RICHARD") if name in str(caught.value)]
    with pytest.raises(TableError, match="line 2: stage 'F7' is not one of"):
        find_files(table_config(tmp_path, "path,stage\na.png,F7\n"))


def dicom_files(root: Path, *patients: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    for number, patient in enumerate(patients):
        (root / f"IM{number}").write_bytes(to_bytes(monochrome(pixels, PatientID=patient)))


def test_where_no_row_is_about_a_file_the_message_says_why_and_not_to_set_what_is_set(tmp_path: Path) -> None:
    dicom_files(tmp_path, "000017", "000018")
    config = table_config(tmp_path, "PatientID,stage\n17,F1\n18,F2\n")
    with pytest.raises(InputError) as caught:
        find_files(config)
    assert "2 × no_file, 2 × no_label" in caught.value.problem
    assert "the table's have 2 characters, the files' 6) equal a file's but for leading zeros" in caught.value.problem
    assert "data.layout" not in caught.value.todo
    assert "outside_links" not in caught.value.todo
    assert not [value for value in ("17", "18") if value in str(caught.value).replace(str(tmp_path), "")]


def test_notes_and_litter_are_no_files_that_lack_an_identifier(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", *LITTER)
    with pytest.raises(InputError, match="none of 1 files carries a PatientID"):
        find_files(table_config(tmp_path, "PatientID,stage\nCASE-1,F1\n"))


def test_a_collection_without_a_match_can_be_listed_so_that_it_can_be_written_down(tmp_path: Path) -> None:
    config = table_config(touch(tmp_path, "a.png"), "path,stage\n/data/a.png,F1\n")
    found = list_files(config)
    assert found.files == ()
    assert [(item.kind, item.reason) for item in found.unmatched] == [("file", "no_label"), ("row", "no_file")]
    with pytest.raises(InputError, match="begin at a root or a drive") as caught:
        find_files(config)
    assert "relative to data.root" in caught.value.todo


def test_the_way_to_follow_links_is_named_where_links_were_left_alone_only(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "a.png")
    (root / "F0").symlink_to(touch(tmp_path / "away", "b.png"))
    with pytest.raises(InputError, match="outside_links"):
        find_files(DataConfig(root=root))


@pytest.mark.parametrize("folder", ["", "F2/"])
def test_what_is_no_picture_by_its_name_counts_as_none_wherever_it_lies(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, "F2/a.png", *(folder + name for name in LITTER))
    (tmp_path / (folder + "more.txt")).symlink_to(touch(tmp_path.parent / "away", "more.txt") / "more.txt")
    found = find_files(DataConfig(root=tmp_path))
    assert [file.path for file in found.files] == ["F2/a.png"]
    assert found.unmatched == ()
    assert {item.name for item in found.companions} == {folder + name for name in (*LITTER, "more.txt")}


def test_what_is_no_picture_by_its_name_lacks_no_row_of_a_table_but_may_have_one(tmp_path: Path) -> None:
    dicom_files(tmp_path, "CASE-1")
    touch(tmp_path, *LITTER)
    found = find_files(table_config(tmp_path, "PatientID,stage\nCASE-1,F2\n"))
    assert [file.path for file in found.files] == ["IM0"]
    assert found.unmatched == ()
    assert {item.name for item in found.companions} == {*LITTER, "labels.csv"}
    found = find_files(table_config(tmp_path, "path,stage\nnotes.txt,F2\n"))
    assert [file.path for file in found.files] == ["notes.txt"]  # named by somebody: reading it will say what it is


def test_a_linked_folder_is_no_note_whatever_it_is_called(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "F0/a.png")
    (root / "F1.json").symlink_to(touch(tmp_path / "away", "b.png"))
    assert [item.name for item in find_files(DataConfig(root=root)).unmatched] == ["F1.json/"]


@pytest.mark.parametrize("facts", [["Stage"], ["view", "VIEW"], ["patient"], ["contrast"], ["a-b"]])
def test_facts_are_columns_that_nothing_else_reads(tmp_path: Path, facts: list[str]) -> None:
    with pytest.raises(ValidationError, match="facts are names of columns"):
        DataConfig(root=tmp_path, layout="table", labels=Path("labels.csv"), facts=tuple(facts))
    with pytest.raises(ValidationError, match="layout: table"):
        DataConfig(root=tmp_path, facts=("view",))
