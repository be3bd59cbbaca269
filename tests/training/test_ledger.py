"""The ledger: attempts add up, peaks do not, and teachers that are held are counted."""

import json

import pytest
import torch

from fibrokd.training.dataset import Batch
from fibrokd.training.ledger import COST, measured
from fibrokd.training.networks import build, parameter_count
from fibrokd.training.runtime import Runtime
from fibrokd.training.teachers import LiveTeacher

CPU = torch.device("cpu")


def _batch(size):
    few = torch.zeros(size, dtype=torch.int64)
    return Batch(torch.zeros(size, 1, 32, 32), few, few, torch.ones(size), few, few, 0)


def test_attempts_add_up_failed_ones_too(tmp_path):
    teacher = LiveTeacher(build("tiny", 5, False, None, 0), Runtime("fp32", "nchw"), CPU)
    with measured(tmp_path, CPU, [teacher]):
        teacher.signal(_batch(3))
    first = json.loads((tmp_path / COST).read_text())

    def fail():
        with measured(tmp_path, CPU, [teacher]):
            teacher.signal(_batch(4))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power"):
        fail()
    second = json.loads((tmp_path / COST).read_text())
    assert (first["attempts"], first["teacher_forwards"]) == (1, 3)
    assert (second["attempts"], second["teacher_forwards"]) == (2, 7)
    assert second["wall_seconds"] > first["wall_seconds"] > 0
    assert second["peak_memory_mb"] >= second["peak_memory_before_mb"] > 0
    assert second["peak_device_memory_mb"] == 0
    assert second["teacher_weights_mb"] == first["teacher_weights_mb"]
    assert first["teacher_weights_mb"] == pytest.approx(4 * parameter_count(teacher.network) / 2**20, rel=0.01)


def test_without_a_teacher_none_is_counted(tmp_path):
    with measured(tmp_path, CPU):
        pass
    cost = json.loads((tmp_path / COST).read_text())
    assert (cost["teacher_forwards"], cost["teacher_weights_mb"]) == (0, 0)
