"""A run that is killed at any moment and started again ends with the same weights as one that never was."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import yaml

from fibrokd.artifacts import read_record
from fibrokd.files import digest_file
from tests.factories import write_prepared

pytestmark = pytest.mark.slow

CONFIG = {
    "backbone": "mobilenetv3_small",
    "pretrained": False,
    "train": {
        "epochs": 6,
        "batch_size": 8,
        "average_decay": 0.9,
        "early_stopping": None,
        "schedule": {"kind": "one_cycle"},
        "runtime": {"precision": "fp32", "memory_format": "channels_last"},
    },
}


def _teach(config, out):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fibrokd.cli", "teach", str(config), str(out)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.timeout(900)
def test_killing_a_run_at_random_moments_changes_nothing(tmp_path):
    prepared = write_prepared(tmp_path / "prepared", patients=100, size=64)
    config = tmp_path / "teach.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "prepared": str(prepared)}))
    assert _teach(config, tmp_path / "whole").wait(timeout=300) == 0
    lasted = read_record(tmp_path / "whole").facts["wall_seconds"]

    moments = random.Random(0)
    kills = 0
    for _ in range(12):
        process = _teach(config, tmp_path / "killed")
        # Start-up (importing torch) is not where state can be lost: count from the first sign of training.
        while not (tmp_path / "killed" / "runtime.json").exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(moments.uniform(0.0, lasted))
        if process.poll() is not None:
            assert process.returncode == 0
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    else:
        assert _teach(config, tmp_path / "killed").wait(timeout=300) == 0
    assert kills >= 1
    for name in ("weights.safetensors", "metrics.jsonl"):
        assert digest_file(tmp_path / "killed" / name) == digest_file(tmp_path / "whole" / name), name
    assert read_record(tmp_path / "killed").digest == read_record(tmp_path / "whole").digest
