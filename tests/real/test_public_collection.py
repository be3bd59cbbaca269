"""The public 6,323-file collection, judged from its files alone. Needs FIBROKD_REAL_DATA = the rebuilt tree."""

import json
import os

import pytest

from fibrokd.artifacts import require
from fibrokd.config import load_config
from fibrokd.pipeline.prepare import PrepareConfig, run

ROOT = os.environ.get("FIBROKD_REAL_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not ROOT, reason="FIBROKD_REAL_DATA does not point at the rebuilt public collection"),
]


def prepare(request, folder, *overrides):
    base = request.config.rootpath
    manifest = base / "data_manifests" / "kaggle_liver_fibrosis.csv"
    settings = [
        f"data.root={ROOT}",
        f"subjects.table={manifest}",
        "preprocess={size: 32, crop: full}",
        "without_fan=keep",
        *overrides,
    ]
    config = load_config(base / "configs" / "prepare" / "kaggle.yaml", PrepareConfig, settings)
    run(config, folder)
    return json.loads((folder / "integrity.json").read_text())


@pytest.fixture(scope="module")
def alone(request, tmp_path_factory):
    return prepare(request, tmp_path_factory.mktemp("alone") / "out", "subjects=null", "mixed_stage_groups=refuse")


@pytest.fixture(scope="module")
def informed(request, tmp_path_factory):
    return prepare(request, tmp_path_factory.mktemp("informed") / "out")


@pytest.fixture(scope="module", autouse=True)
def _secret(tmp_path_factory):
    """Keep the secret of the tests out of the home folder."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FIBROKD_IDENTITY_KEY", str(tmp_path_factory.mktemp("secret") / "identity.key"))
        yield


def accuracy(integrity, level):
    return integrity["controls"]["thumbnail_1nn"][level]["accuracy"]["value"]


def test_the_files_alone_give_the_counts(alone):
    assert (alone["files"], alone["quarantined"], alone["wrong_extension"]) == (6323, 0, 1938)
    assert (alone["distinct_images"], alone["most_copies"], alone["pictures_across_stages"]) == (1536, 18, 0)
    assert alone["stages"] == {"F0": 2114, "F1": 861, "F2": 793, "F3": 857, "F4": 1698}


def test_the_lookup_table_scores_as_measured_at_every_level(alone, informed):
    assert accuracy(alone, "random") == pytest.approx(0.981, abs=0.02)
    assert accuracy(alone, "stem") == pytest.approx(0.981, abs=0.02)
    assert accuracy(alone, "content") == pytest.approx(0.751, abs=0.03)
    assert accuracy(informed, "subject") < 0.40
    levels = informed["controls"]["thumbnail_1nn"]
    assert [levels[name]["groups"] for name in ("random", "stem", "content", "subject")] == [6323, 6311, 1536, 24]
    assert levels["stem"]["twin_in_train"] == pytest.approx(0.955, abs=0.005)
    assert levels["content"]["twin_in_train"] == 0


def test_the_collection_is_unfit_and_the_reasons_say_why(alone, informed):
    for integrity in (alone, informed):
        assert integrity["verdict"] == "unfit"
        assert {"metadata", "copies", "label_order", "wrong_extension"} <= {r["code"] for r in integrity["reasons"]}
    assert "unknown_patients" in {reason["code"] for reason in alone["reasons"]}
    assert len(informed["groups"]["mixed_stage"]) == 4


def test_the_published_split_is_stamped_and_its_leak_measured(request, tmp_path):
    folder = tmp_path / "out"
    integrity = prepare(request, folder, "grouping=stem", "controls.seeds=[0]", "controls.replicates=100")
    own = integrity["controls"]["thumbnail_1nn_split"]
    assert own["accuracy"]["value"] > 0.9
    assert own["clusters"] <= 24 < own["test_images"]
    assert integrity["groups"]["clusters"] == 24  # the table of subjects ties what names do not
    assert integrity["leak"]["others"]["val→train"] > 0.85
    assert integrity["leak"]["twins"] > 0.85  # 60 % of the files are in training
    assert integrity["groups"]["count"] == 6311
    assert len(integrity["groups"]["mixed_stage"]) == 12
    stamp = json.loads((folder / "dataset.json").read_text())["stamp"]
    assert "published protocol: file-stem groups only; not leak-safe" in stamp["reasons"]
    assert require(folder, "prepare").finished
