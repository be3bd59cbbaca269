"""Two processes with half the batch each train what one process trains with the whole batch: teachers, and students of
methods whose gradients take other ways than through the network alone."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fibrokd.methods import METHODS as CATALOGUE
from fibrokd.pipeline import distill
from tests.factories import write_prepared
from tests.methods.arrangements import ARRANGEMENTS
from tests.methods.tiny import configuration

pytestmark = pytest.mark.slow

TRAIN = {
    "epochs": 2,
    "batch_size": 8,
    "freeze_batch_norm": True,  # per-process batch statistics are the one thing that must differ
    "learning_rate": 1e-3,
    "early_stopping": None,
    "runtime": {"precision": "fp32", "memory_format": "nchw"},
}
# Adapters of the objective, parameters used outside the forward pass, networks that take turns, an earlier self, gates.
METHODS = {
    "csc_ace": {"relation": "full"},
    "vam": {},
    "dil": ARRANGEMENTS["dil"]["method"],
    "self_knowledge_ls": {},
    "kd_explainer": {"gate_rate": 1.0},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("distributed") / "prepared", patients=50)


def _train(step, config, out, processes):
    launcher = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes), "--num_machines", "1",
                "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m"]  # fmt: skip
    start = launcher if processes > 1 else ["-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *start, "fibrokd.cli", step, str(config), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(out / "weights.safetensors")


def _check_equal(step, settings, folder):
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    one, two = (_train(step, config, folder / f"p{n}", n) for n in (1, 2))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=2e-5, rtol=1e-4), name
    first, second = (
        [json.loads(line) for line in (folder / f"p{n}/metrics.jsonl").read_text().splitlines()] for n in (1, 2)
    )
    for left, right in zip(first, second, strict=True):
        assert left["epoch"] == right["epoch"]
        assert left["val_macro_f1"] == pytest.approx(right["val_macro_f1"], abs=0.02)


@pytest.mark.timeout(900)
def test_two_processes_equal_one_with_the_same_global_batch(prepared, tmp_path):
    settings = {"prepared": str(prepared), "backbone": "tiny", "pretrained": False, "train": TRAIN}
    _check_equal("teach", settings, tmp_path)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", METHODS)
def test_so_they_do_with_methods_whose_gradients_go_other_ways(prepared, tmp_path, kind):
    how = ARRANGEMENTS.get(kind, {})
    train = TRAIN | {"epochs": how.get("least_epochs", 2)}
    settings = {"prepared": str(prepared), "backbone": "tiny", "pretrained": False, "train": train}
    settings |= {"method": {"kind": kind, **METHODS[kind]}, **{k: how[k] for k in ("supervised",) if k in how}}
    if CATALOGUE[kind].needs_teacher:
        distill.run(configuration(prepared, {"kind": "none"}), tmp_path / "teacher")
        settings |= {"teacher": str(tmp_path / "teacher"), "minimum_balanced_accuracy": 0.0}
    _check_equal("distill", settings, tmp_path)
