"""What is counted about a collection: files used and refused are all files, and pictures are no files."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fibrokd.data.ingest import Refusal
from fibrokd.integrity.collection import count_refused
from fibrokd.integrity.verdict import judge
from tests.integrity.cohorts import cohort, findings_of


def picture(path: str, frame: int, reason: str) -> Refusal:
    return Refusal(path, frame, reason, "because", 0)


def test_clips_that_lose_a_frame_are_no_files_set_aside() -> None:
    lost = [picture(f"clip{number}", 15, "no_fan") for number in range(30)]
    counted = count_refused(lost, {f"clip{number}" for number in range(60)})
    assert (counted.files, counted.pictures) == ({}, {"no_fan": 30})


def test_a_file_without_a_picture_counts_once_under_its_most_frequent_reason() -> None:
    refusals = [picture("a", 0, "blank"), picture("a", 3, "no_fan"), picture("a", 6, "no_fan")]
    refusals += [picture("b", 0, "no_fan"), picture("b", 3, "blank"), Refusal("c", None, "empty", "no bytes")]
    counted = count_refused(refusals, set())
    assert counted.files == {"no_fan": 1, "blank": 1, "empty": 1}
    assert counted.pictures == {}


paths = st.sampled_from("abcdefgh")


@given(st.lists(st.tuples(paths, st.sampled_from(["no_fan", "blank", "corrupt"]))), st.sets(paths))
def test_every_file_is_used_or_refused_and_every_refusal_is_counted(
    drawn: list[tuple[str, str]], used: set[str]
) -> None:
    counted = count_refused([picture(path, 0, reason) for path, reason in drawn], used)
    assert sum(counted.files.values()) + len(used) == len(used | {path for path, _ in drawn})
    assert sum(counted.pictures.values()) == sum(path in used for path, _ in drawn)


def test_the_reproach_of_missing_fans_tells_files_from_pictures() -> None:
    whole = findings_of(cohort(), refused={"no_fan": 3}, files=303)
    clips = replace(whole, collection=replace(whole.collection, refused={}, refused_pictures={"no_fan": 30}))
    both = replace(whole, collection=replace(whole.collection, refused_pictures={"no_fan": 30}))
    few = replace(whole, collection=replace(whole.collection, refused={}, refused_pictures={"no_fan": 3, "blank": 90}))
    (files,), (pictures,), (two,) = (judge(one).reasons for one in (whole, clips, both))
    assert {files.code, pictures.code, two.code} == {"no_fan"}
    assert files.text.startswith("3 of 303 files were set aside")
    assert pictures.text.startswith("30 pictures of files of which others are used were set aside")
    assert two.text.startswith("3 of 303 files and 30 pictures")
    assert judge(few).reasons == ()
    told = both.as_json()
    assert (told["quarantined"], told["refused_pictures"]) == (3, {"no_fan": 30})


def test_a_clip_under_a_wrong_name_is_one_file() -> None:
    table = cohort()
    table.loc[:3, "extension_ok"] = "0"
    table.loc[:3, "path"] = table["path"][0]
    assert findings_of(table).as_json()["wrong_extension"] == 1
