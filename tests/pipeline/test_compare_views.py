"""The spread of a teacher's mean answer: against NumPy, in cases with a known answer, and as a step."""

import numpy as np
import pytest
import torch
from torch import nn

from fibrokd.config import parse_config
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError
from fibrokd.files import read_json
from fibrokd.pipeline import compare_views, distill
from fibrokd.training.augment import ViewSpec
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.joint import JointSpec
from fibrokd.training.networks import Outputs
from fibrokd.training.runtime import Runtime
from fibrokd.training.teacher_spread import SpreadConfig, interval, measure, menu, ranking, spread
from fibrokd.training.teachers import LiveTeacher
from tests.factories import write_prepared
from tests.methods.tiny import configuration

STILL = ViewSpec(seed=0, augment=None, mixup_alpha=0.0)
FEW = SpreadConfig(draws=6, batches=2, batch_size=5)


class Brightness(nn.Module):
    """A teacher that knows only how bright a picture is."""

    def forward(self, images, taps=()):
        del taps
        mean = images.mean((1, 2, 3))
        logits = torch.stack([8 * mean, torch.ones_like(mean), 3 - mean, mean, -mean], dim=1)
        return Outputs(logits, logits, {})


class Constant(nn.Module):
    """A teacher that looks at nothing."""

    def forward(self, images, taps=()):
        del taps
        logits = torch.arange(5.0).expand(len(images), 5)
        return Outputs(logits, logits, {})


def _teacher(network):
    return LiveTeacher(network, Runtime("fp32", "nchw"), torch.device("cpu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("views") / "prepared", patients=50)


@pytest.fixture(scope="module")
def prepared(folder):
    return Prepared.open(folder)


def test_the_spread_is_the_deviation_over_draws_averaged_over_stages():
    draws = np.array([[0.1, 0.9], [0.3, 0.7], [0.2, 0.8]])
    assert spread(draws) == pytest.approx(0.1)
    low, high = interval(draws, 0)
    assert 0 <= low <= spread(draws) <= high
    assert (low, high) == interval(draws, 0)
    assert interval(np.full((5, 3), 1 / 3), 0) == pytest.approx((0, 0), abs=1e-12)


def test_the_measured_spread_is_that_of_answers_collected_by_hand(prepared):
    images = TrainingImages.of(prepared, STILL)
    result = measure(_teacher(Brightness()), images, FEW)
    vectors = []
    for draw in range(6):
        batches = [batch for step, batch in enumerate(images.batches(draw, 5)) if step < 2]
        pixels = torch.cat([batch.images for batch in batches])
        vectors.append(Brightness()(pixels).logits.double().softmax(1).mean(0).numpy())
    assert result["images_per_draw"] == 10
    assert result["stddev"] == pytest.approx(np.stack(vectors).std(axis=0, ddof=1).mean(), rel=1e-4)
    assert result["stddev"] > 1e-3


def test_a_teacher_that_looks_at_nothing_has_no_spread_and_the_agreement_of_chance(prepared):
    result = measure(_teacher(Constant()), TrainingImages.of(prepared, ViewSpec()), FEW)
    assert result["stddev"] == pytest.approx(0, abs=1e-7)
    assert 0 < result["agreement"] < 0.5


def test_mixing_policies_get_as_many_images_unless_more_are_asked_for(prepared):
    config, mixing = SpreadConfig(draws=40, batches=2, batch_size=5), ViewSpec(augment=None, mixup_alpha=0.4)
    plain, mixed = (
        measure(_teacher(Brightness()), TrainingImages.of(prepared, views), config) for views in (STILL, mixing)
    )
    assert mixed["images_per_draw"] == plain["images_per_draw"]
    assert mixed["stddev"] != plain["stddev"]
    doubled = config.model_copy(update={"mixed_batches": 4})
    more = measure(_teacher(Brightness()), TrainingImages.of(prepared, mixing), doubled)
    assert more["images_per_draw"] == 2 * plain["images_per_draw"]
    assert more["stddev"] < 0.85 * mixed["stddev"]  # twice the images: the bias that is not the default


def test_of_paired_views_only_the_copies_count(prepared):
    paired = ViewSpec(augment=None, mixup_alpha=0.0, joint=JointSpec(probability=1.0))
    teacher = _teacher(Brightness())
    result = measure(teacher, TrainingImages.of(prepared, paired), FEW)
    assert teacher.forwards == 6 * 10
    assert result["images_per_draw"] == 10
    still = measure(teacher, TrainingImages.of(prepared, STILL), FEW)
    assert abs(result["stddev"] - still["stddev"]) > 1e-6
    unmoved = ViewSpec(
        augment=None,
        mixup_alpha=0.0,
        joint=JointSpec(rotate_degrees=0, shear=0, shift=0, brightness=0, contrast=0, sharpness=0, autocontrast=False),
    )
    assert measure(teacher, TrainingImages.of(prepared, unmoved), FEW) == still


def test_draws_that_would_hold_everything_are_refused(prepared):
    with pytest.raises(ConfigError, match="every draw"):
        measure(_teacher(Constant()), TrainingImages.of(prepared, STILL), SpreadConfig(batches=5, batch_size=10))


def test_the_menu_offers_single_and_joint_augmentation_and_differs_throughout():
    policies = menu()
    assert {"identity", "flip", "shift_zoom", "mixup", "joint"} <= set(policies)
    assert len({views.digest for views in policies.values()}) == len(policies)


def test_the_step_ranks_the_menu_and_does_nothing_twice(folder, tmp_path):
    distill.run(configuration(folder, {"kind": "none"}), tmp_path / "teacher")
    settings = {
        "prepared": str(folder),
        "teacher": str(tmp_path / "teacher"),
        "spread": {"draws": 4, "batches": 1, "batch_size": 10},
        "minimum_balanced_accuracy": 0.0,
    }
    config = parse_config(settings, compare_views.CompareViewsConfig)
    first = compare_views.run(config, tmp_path / "views")
    document = read_json(tmp_path / "views" / "views.json")
    assert document["policies"].keys() == menu().keys()
    assert document["ranking"] == ranking(document["policies"])
    assert "4 draws" in document["how"]
    lines = (tmp_path / "views" / "views.csv").read_text().splitlines()
    assert len(lines) == 1 + len(menu())
    assert lines[1].split(",")[0] == document["ranking"][0]
    assert compare_views.run(config, tmp_path / "views").digest == first.digest
    again = compare_views.run(config, tmp_path / "again")
    assert again.digest == first.digest
