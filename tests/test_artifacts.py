"""Run folders: nothing is overwritten, nothing altered goes unnoticed, no write is ever half done."""

import json

import pytest

from fibrokd import artifacts
from fibrokd.artifacts import Record, begin, read_record, require
from fibrokd.errors import ArtifactError
from fibrokd.files import atomic_path, digest_json, read_json, write_json, write_text


def finished(folder, config=None, content="content"):
    run = begin(folder, "step", config or {"a": {"b": 1}}, {"input": "0" * 64})
    write_text(folder / "out.txt", content)
    return run.finish(["out.txt"], seed=3)


def test_a_finished_folder_is_recognised_and_not_redone(tmp_path):
    finished(tmp_path / "run")
    again = begin(tmp_path / "run", "step", {"a": {"b": 1}}, {"input": "0" * 64})
    assert again.finished
    assert require(tmp_path / "run", "step").facts["seed"] == 3


def test_another_configuration_is_refused_and_the_difference_is_named(tmp_path):
    finished(tmp_path / "run")
    with pytest.raises(ArtifactError, match=r"a\.b: 1 → 2"):
        begin(tmp_path / "run", "step", {"a": {"b": 2}}, {"input": "0" * 64})
    with pytest.raises(ArtifactError, match="input input"):
        begin(tmp_path / "run", "step", {"a": {"b": 1}}, {"input": "1" * 64})
    with pytest.raises(ArtifactError, match="step 'step' instead of 'other'"):
        begin(tmp_path / "run", "other", {"a": {"b": 1}}, {"input": "0" * 64})


def test_an_unfinished_folder_is_resumable(tmp_path):
    begin(tmp_path / "run", "step", {}, {})
    again = begin(tmp_path / "run", "step", {}, {})
    assert again.resumed
    assert not again.finished
    with pytest.raises(ArtifactError, match="unfinished"):
        require(tmp_path / "run", "step")


def test_a_folder_whose_step_stopped_before_it_made_anything_is_begun_anew_with_what_is_asked_for_now(tmp_path):
    begin(tmp_path / "run", "step", {"minimum": 1}, {"input": "0" * 64})
    (tmp_path / "run" / "checkpoints").mkdir()
    again = begin(tmp_path / "run", "step", {"minimum": 0}, {"input": "1" * 64})
    assert not again.resumed
    assert read_record(tmp_path / "run").config == {"minimum": 0}
    assert read_record(tmp_path / "run").inputs == {"input": "1" * 64}
    del again
    with pytest.raises(ArtifactError, match="'step' instead of 'other'"):
        begin(tmp_path / "run", "other", {}, {})


@pytest.mark.parametrize("left", ["checkpoints/last.bin", "half.npy", ".cache/piece"])
def test_what_an_unfinished_step_has_made_is_kept_from_another_configuration(tmp_path, left):
    begin(tmp_path / "run", "step", {"a": 1}, {})
    (tmp_path / "run" / left).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / left).write_text("hours of work")
    with pytest.raises(ArtifactError, match="a: 1 → 2"):
        begin(tmp_path / "run", "step", {"a": 2}, {})
    assert begin(tmp_path / "run", "step", {"a": 1}, {}).resumed
    again = begin(tmp_path / "run", "step", {"a": 2}, {}, replaceable=[left.split("/", maxsplit=1)[0]])
    assert not again.resumed
    assert (tmp_path / "run" / left).read_text() == "hours of work"


def test_a_folder_at_work_is_not_begun_anew_by_another_process(tmp_path):
    first = begin(tmp_path / "run", "step", {"a": 1}, {})
    with pytest.raises(ArtifactError, match="another process"):
        begin(tmp_path / "run", "step", {"a": 2}, {})
    with pytest.raises(ArtifactError, match="a: 1 → 2"):
        begin(tmp_path / "run", "step", {"a": 2}, {}, exclusive=False)
    assert read_record(first.folder).config == {"a": 1}


def test_a_second_process_is_kept_out_until_the_first_has_gone(tmp_path):
    first = begin(tmp_path / "run", "step", {}, {})
    with pytest.raises(ArtifactError, match="another process"):
        begin(tmp_path / "run", "step", {}, {})
    assert begin(tmp_path / "run", "step", {}, {}, exclusive=False).resumed
    del first
    assert begin(tmp_path / "run", "step", {}, {}).resumed


def test_half_written_files_of_a_killed_attempt_are_swept_away(tmp_path):
    run = begin(tmp_path / "run", "step", {}, {})
    (run.folder / "checkpoints").mkdir()
    for name in (".tmp-record.json-abc.json", "checkpoints/.tmp-last.safetensors-x.safetensors"):
        (run.folder / name).write_text("half")
    (run.folder / "record.json").unlink()
    del run
    with pytest.raises(ArtifactError, match="other files"):
        begin(tmp_path / "run", "step", {}, {})  # the folder holds checkpoints but no record: not ours to take
    (tmp_path / "run" / "checkpoints").rmdir()
    assert not begin(tmp_path / "run", "step", {}, {}).resumed
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["record.json"]


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(ArtifactError, match="other files"):
        begin(tmp_path, "step", {}, {})
    assert (tmp_path / "thesis.docx").read_text() == "years of work"


def test_an_altered_or_missing_output_is_found(tmp_path):
    finished(tmp_path / "run")
    (tmp_path / "run/out.txt").write_text("Content")
    with pytest.raises(ArtifactError, match="altered"):
        require(tmp_path / "run", "step")
    (tmp_path / "run/out.txt").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        require(tmp_path / "run", "step")


def test_a_missing_run_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(ArtifactError) as error:
        require(tmp_path / "nowhere", "teach")
    assert "fibrokd teach" in error.value.todo


def test_digests_cover_content_and_never_circumstances(tmp_path):
    first, second = finished(tmp_path / "a"), finished(tmp_path / "b")
    slower = Record(first.step, first.config, first.inputs, first.outputs, finished=True, facts={"wall_seconds": 1e9})
    assert first.digest == second.digest == slower.digest
    assert first.digest != finished(tmp_path / "c", content="other").digest
    assert first.digest != finished(tmp_path / "d", config={"a": 2}).digest


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_digests_ignore_key_order_and_refuse_nan():
    assert digest_json({"a": 1, "b": [2]}) == digest_json({"b": [2], "a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_json({"a": float("nan")})


def test_a_record_that_is_not_ours_is_refused(tmp_path):
    write_json(tmp_path / "record.json", {"hello": 1})
    with pytest.raises(ArtifactError, match="not a record"):
        read_record(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        read_json(tmp_path / "broken.json")


def test_every_record_says_with_what_and_how_long(tmp_path):
    finished(tmp_path / "run")
    facts = json.loads((tmp_path / "run/record.json").read_text())["facts"]
    assert {"versions", "peak_memory_mb", "wall_seconds", "commit", "processor"} <= facts.keys()
    assert facts["versions"]["fibrokd"] == artifacts.importlib.metadata.version("fibrokd")
