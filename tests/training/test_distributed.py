"""Two processes with half the batch each train what one process trains with the whole batch."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.factories import write_prepared

pytestmark = pytest.mark.slow


def _teach(config, out, processes):
    launcher = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes), "--num_machines", "1",
                "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m"]  # fmt: skip
    start = launcher if processes > 1 else ["-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *start, "fibrokd.cli", "teach", str(config), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(out / "weights.safetensors")


@pytest.mark.timeout(900)
def test_two_processes_equal_one_with_the_same_global_batch(tmp_path):
    prepared = write_prepared(tmp_path / "prepared", patients=50)
    config = tmp_path / "teach.yaml"
    train = {
        "epochs": 2,
        "batch_size": 8,
        "freeze_batch_norm": True,  # per-process batch statistics are the one thing that must differ
        "learning_rate": 1e-3,
        "early_stopping": None,
        "runtime": {"precision": "fp32", "memory_format": "nchw"},
    }
    config.write_text(
        yaml.safe_dump({"prepared": str(prepared), "backbone": "tiny", "pretrained": False, "train": train})
    )
    one, two = (_teach(config, tmp_path / f"p{n}", n) for n in (1, 2))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=2e-5, rtol=1e-4), name
    first, second = (
        [json.loads(line) for line in (tmp_path / f"p{n}/metrics.jsonl").read_text().splitlines()] for n in (1, 2)
    )
    for left, right in zip(first, second, strict=True):
        assert left["epoch"] == right["epoch"]
        assert left["val_macro_f1"] == pytest.approx(right["val_macro_f1"], abs=0.02)
