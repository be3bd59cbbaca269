"""A student of some stages goes the whole way: taught by a teacher of all, compared with it, and released."""

import pytest

from fibrokd.errors import ConfigError
from fibrokd.files import read_json
from fibrokd.pipeline import assess, distill, release
from fibrokd.serving.bundle import Bundle
from tests.factories import write_prepared
from tests.methods.tiny import configuration

STAGES = ("F1", "F3", "F4")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("some")
    prepared = write_prepared(root / "prepared", patients=100, frames=2)
    distill.run(configuration(prepared, {"kind": "none"}), root / "teacher")
    special = configuration(
        prepared, {"kind": "class_specialised"}, selection={"stages": STAGES}, teacher=str(root / "teacher")
    )
    distill.run(special, root / "student_special")
    return root


def assessed(trained, out, stages):
    networks = {name: trained / name for name in ("teacher", "student_special")}
    config = assess.AssessConfig(
        prepared=trained / "prepared", networks=networks, stages=stages, splits=("test",), latency_repeats=1
    )
    assess.run(config, out)
    return read_json(out / "metrics.json")


def test_it_is_compared_with_its_teacher_on_the_images_of_its_stages(trained, tmp_path):
    document = assessed(trained, tmp_path / "assess", STAGES)
    assert document["scale"] == list(STAGES)
    found = {name: entry["test"] for name, entry in document["networks"].items()}
    assert found["teacher"]["images"] == found["student_special"]["images"] == 24
    for entry in found.values():
        assert [sum(row) for row in entry["confusion"]] == [8, 8, 8]
    assert any(c["first"] == "student_special" and c["second"] == "teacher" for c in document["comparisons"])


def test_on_all_stages_it_cannot_be_compared(trained, tmp_path):
    with pytest.raises(ConfigError, match="Expected a network that knows F0"):
        assessed(trained, tmp_path / "assess", None)


def test_its_bundle_answers_with_its_stages_and_renders_them(trained, tmp_path):
    config = release.ReleaseConfig(student=trained / "student_special", prepared=trained / "prepared")
    release.run(config, tmp_path / "bundle")
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.scale.names == STAGES
    words = [case.description for case in bundle.golden]
    assert [word.split()[-1] for word in words[:-1]] == list(STAGES)
