"""The comparison with another library: both sides must do the same work, or its ratios mean nothing."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.peers import steps as peers
from benchmarks.peers import torchdistill_side as common
from benchmarks.training_material import STAGES, rendered_images
from fibrokd.training.augment import ViewSpec


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "BATCH", 8)
    monkeypatch.setattr(peers, "BATCHES", 2)


def _options(**changes: object) -> argparse.Namespace:
    plain = {"student": "resnet18", "side": 32, "repeats": 1, "steps": 1, "threads": 1, "memory_format": "nchw"}
    return argparse.Namespace(**{**plain, "peer": None, **changes})


def test_the_loss_is_that_of_the_peer_once_alpha_is_turned_round() -> None:
    torch.manual_seed(0)
    student, teacher = 3 * torch.randn(2, 32, STAGES), 3 * torch.randn(2, 32, STAGES)
    stages = torch.randint(STAGES, (2, 32))
    found = peers.our_losses({"student_logits": student, "teacher_logits": teacher, "logit_stages": stages})
    alpha, t = common.KD_LOSS["alpha"], common.KD_LOSS["temperature"]  # KDLoss: alpha · CE + (1 - alpha) · T² · KL
    for k, loss in enumerate(found):
        soft = F.kl_div((student[k] / t).log_softmax(1), (teacher[k] / t).softmax(1), reduction="batchmean")
        hard = F.cross_entropy(student[k], stages[k], label_smoothing=common.KD_LOSS["label_smoothing"])
        assert loss == pytest.approx(float(alpha * hard + (1 - alpha) * t**2 * soft), rel=1e-5)


def test_the_loop_and_the_one_written_by_hand_take_the_same_steps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = rendered_images(peers.BATCH * 2, 32, ViewSpec(augment=None, mixup_alpha=0.0))
    material, batches = peers.make_material(images, _options())
    ours = peers.our_walk(material, images, batches, False, tmp_path)
    by_hand = common.Walk(common.plain(material), common.pairs(material))
    ours.go(2)
    by_hand.go(2)
    assert peers.apart(ours.losses, by_hand.losses) < 1e-4
    assert ours.losses[0] != pytest.approx(ours.losses[1], rel=1e-3)  # something was learned in between


def test_without_a_peer_the_comparison_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    found = peers.measure(_options(), tmp_path)
    assert found["ratio"] is None
    assert "--peer" in found["peer"]
    assert "ratio_book" not in found
    assert set(found["milliseconds_per_step"]) == {"live", "book", "plain_here"}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torchdistill") is not None, reason="torchdistill is installed here")
def test_a_python_without_the_peer_ends_the_run_instead_of_giving_figures(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="torchdistill"):
        peers.measure(_options(peer=Path(sys.executable)), tmp_path)
