import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fibrokd.artifacts import begin, read_record
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ArtifactError, BundleError, TrainingError
from fibrokd.pipeline import release
from fibrokd.pipeline.release import ReleaseConfig, export_onnx, run
from fibrokd.serving.bundle import Bundle
from fibrokd.serving.card import NetworkCard
from fibrokd.serving.engine import Engine
from fibrokd.serving.verify import verify
from tests.factories import write_prepared


@pytest.fixture(scope="module")
def network():
    from fibrokd.training.networks import build

    return build("tiny", 5, pretrained=False, weights=None, seed=3).eval()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, network) -> dict[str, Path]:
    from fibrokd.training.networks import save_network

    root = tmp_path_factory.mktemp("release")
    write_prepared(root / "prepared")
    step = begin(root / "student", "distill", {}, {"prepared": Prepared.open(root / "prepared").record.digest})
    save_network(root / "student", network, "tiny", {"stages": ["F0", "F1", "F2", "F3", "F4"]})
    step.finish(["weights.safetensors", "card.json"])
    step = begin(root / "assess", "assess", {}, {"student": read_record(root / "student").digest})
    test = {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}
    (root / "assess/metrics.json").write_text(json.dumps({"networks": {"student": {"parameters": 1, "test": test}}}))
    step.finish(["metrics.json"])
    return {name: root / name for name in ("prepared", "student", "assess")}


@pytest.fixture(scope="module")
def released(inputs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("released") / "bundle"
    run(ReleaseConfig(**inputs, name="tiny demo"), out)
    return out


def test_a_released_bundle_opens_and_repeats_its_golden_cases(released, inputs):
    bundle = Bundle.open(released)
    assert verify(bundle).worst.deviation <= 1e-6
    assert [case.outcome for case in bundle.golden] == ["stage"] * 5 + ["re-acquire"]
    assert bundle.card.stamp == Prepared.open(inputs["prepared"]).stamp
    assert bundle.card.card["test"]["accuracy"]["value"] == 0.5
    assert bundle.card.card["training_images"] == 40
    assert bundle.card.network.parameters == 373_173


def test_the_parity_of_the_whole_test_split_is_in_the_card(released, inputs):
    parity = Bundle.open(released).card.parity
    assert parity["images"] == len(Prepared.open(inputs["prepared"]).rows("test"))
    assert 0 < parity["largest_difference"] <= 1e-5
    assert parity["stage_flips"] == 0


def test_the_exported_network_answers_as_pytorch_does(network):
    import torch

    data = export_onnx(network, 48, 18)
    engine = Engine(data, NetworkCard(backbone="tiny", parameters=1, opset=18), 5)
    for count in (1, 2, 7):
        images = np.random.default_rng(count).random((count, 1, 48, 48), dtype=np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(images)).logits.numpy()
        np.testing.assert_allclose(engine.run(images), expected, atol=1e-5)


@pytest.mark.slow
def test_releasing_twice_gives_the_same_bundle_and_names_no_machine(released, inputs, tmp_path):
    run(ReleaseConfig(**inputs, name="tiny demo"), tmp_path / "again")
    assert Bundle.open(tmp_path / "again").digest == Bundle.open(released).digest
    data = (released / "network.onnx").read_bytes()
    assert b".py" not in data
    assert str(Path.cwd()).encode() not in data


def test_a_finished_release_is_not_redone(released, inputs):
    before = read_record(released).facts
    assert run(ReleaseConfig(**inputs, name="tiny demo"), released).facts == before


def test_an_export_that_disagrees_releases_nothing(inputs, tmp_path, monkeypatch):
    from fibrokd.training.networks import build

    other = build("tiny", 5, pretrained=False, weights=None, seed=4).eval()
    genuine = release.export_onnx
    monkeypatch.setattr(release, "export_onnx", lambda network, size, opset: genuine(other, size, opset))
    with pytest.raises(BundleError, match="agree with PyTorch"):
        run(ReleaseConfig(**inputs), tmp_path / "bundle")
    assert not (tmp_path / "bundle/bundle.json").exists()
    with pytest.raises(BundleError):
        Bundle.open(tmp_path / "bundle")
    monkeypatch.undo()
    run(ReleaseConfig(**inputs), tmp_path / "bundle")
    Bundle.open(tmp_path / "bundle")


def test_an_altered_student_is_not_released(inputs, tmp_path):
    student = Path(shutil.copytree(inputs["student"], tmp_path / "student"))
    (student / "weights.safetensors").write_bytes(b"other weights")
    with pytest.raises(ArtifactError, match="altered"):
        run(ReleaseConfig(student=student, prepared=inputs["prepared"]), tmp_path / "bundle")


def test_metrics_of_another_network_are_not_borrowed(inputs, tmp_path):
    student = Path(shutil.copytree(inputs["student"], tmp_path / "unassessed"))
    config = ReleaseConfig(student=student, prepared=inputs["prepared"], assess=inputs["assess"])
    with pytest.raises(ArtifactError, match="unassessed"):
        run(config, tmp_path / "bundle")


def test_metrics_of_a_namesake_are_not_borrowed(inputs, tmp_path):
    step = begin(tmp_path / "assess", "assess", {}, {"student": "f" * 64})
    shutil.copyfile(inputs["assess"] / "metrics.json", tmp_path / "assess" / "metrics.json")
    step.finish(["metrics.json"])
    config = ReleaseConfig(student=inputs["student"], prepared=inputs["prepared"], assess=tmp_path / "assess")
    with pytest.raises(ArtifactError, match="none of them of this very network"):
        run(config, tmp_path / "bundle")


def test_a_student_is_released_with_the_data_it_was_trained_on_or_not_at_all(inputs, tmp_path):
    other = write_prepared(tmp_path / "other", seed=1)
    with pytest.raises(TrainingError, match="trained on another prepared folder"):
        run(ReleaseConfig(student=inputs["student"], prepared=other), tmp_path / "bundle")
