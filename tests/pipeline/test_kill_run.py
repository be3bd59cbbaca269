"""The whole chain, killed again and again at random moments, ends with the same digests as one that never was."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fibrokd.artifacts import read_record

pytestmark = pytest.mark.slow

SMOKE = Path(__file__).parents[2] / "configs" / "smoke" / "run.yaml"
STEPS = ("phantom", "prepared", "teacher", "book", "student_plain", "student_kd", "assess", "bundle")


def _start(out):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fibrokd.cli", "run", str(SMOKE), str(out)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.timeout(1500)
def test_killing_the_chain_at_random_moments_changes_no_digest(tmp_path):
    started = time.monotonic()
    assert _start(tmp_path / "whole").wait(timeout=600) == 0
    lasted = time.monotonic() - started
    moments = random.Random(1)
    kills = 0
    for _ in range(8):
        process = _start(tmp_path / "killed")
        try:
            process.wait(timeout=moments.uniform(0.3, 0.8) * lasted)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
            break
    else:
        assert _start(tmp_path / "killed").wait(timeout=600) == 0
    assert kills >= 1
    for step in STEPS:
        assert read_record(tmp_path / "killed" / step).digest == read_record(tmp_path / "whole" / step).digest, step
    assert not list((tmp_path / "killed").rglob(".tmp-*"))
