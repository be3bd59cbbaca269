"""Reversed distillation: vanilla distillation with the roles exchanged, and only with a smaller teacher."""

import numpy as np
import pytest
import torch

from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError
from fibrokd.files import read_json
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.reversed_kd import METHOD, ReversedKdConfig, check_reversed
from fibrokd.pipeline import distill, write_book
from fibrokd.training.book import Book, BookConfig
from fibrokd.training.networks import build
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm
from fibrokd.training.runtime import Runtime
from fibrokd.training.soft_labels import SoftLabels
from fibrokd.training.teachers import LiveTeacher
from tests.methods.coefficients import LABELS, SHARED, SOFT, Weighed
from tests.methods.losses import loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, online, shipped, workshop
from tests.training.test_objective import K, make_batch

# The released code's numbers: α T² times the multiplier ÷ 100 classes.
WEIGHED = Weighed(
    {**SHARED, "scale": "released", "multiplier": 50.0}, {"train": {"supervised": LABELS, "kd": SOFT * 50 / 100}}
)

KIND = {"kind": "reversed_kd"}


def test_swapping_roles_is_the_vanilla_loss_with_the_networks_exchanged():
    draw = torch.Generator().manual_seed(3)
    small, big, batch = torch.randn(8, K, generator=draw), torch.randn(8, K, generator=draw), make_batch()
    supervised = SupervisedTerm(SupervisedConfig(), torch.ones(K))
    reversed_, vanilla = SoftLabels(ReversedKdConfig(), supervised), VanillaKd(KdConfig(), supervised)
    big_learns = loss_of(terms_of(reversed_, big, small, batch))
    assert torch.equal(big_learns, loss_of(terms_of(vanilla, big, small, batch)))
    assert not torch.isclose(big_learns, loss_of(terms_of(vanilla, small, big, batch)), rtol=1e-2)


def test_the_plan_trains_the_backbone_that_is_named_and_asks_the_small_one(prepared):
    small = online(1)
    config = configuration(prepared, KIND, backbone="mobilenetv3_small")
    (phase,) = METHOD.plan(config.method, workshop(Prepared.open(prepared), config, [small]))
    assert phase.network.backbone_name == "mobilenetv3_small"
    assert phase.teacher is small


@pytest.mark.parametrize(("size", "refused"), [(10, False), (10**8, True), (None, False)])
def test_a_book_tells_how_big_its_teacher_was(size, refused):
    book = Book(np.zeros((1, 1, K), np.float16), "trajectory", "", teacher_parameters=size)
    student = build("tiny", K, False, None, 0)
    if refused:
        with pytest.raises(ConfigError, match="found 100000000 parameters teaching"):
            check_reversed(book, student)
    else:
        check_reversed(book, student)


def test_a_teacher_that_is_not_smaller_is_refused():
    tiny, mobile = (build(name, K, False, None, 0) for name in ("tiny", "mobilenetv3_small"))
    runtime, cpu = Runtime("fp32", "nchw"), torch.device("cpu")
    check_reversed(LiveTeacher(tiny, runtime, cpu), mobile)
    for teacher, student in ((mobile, tiny), (tiny, build("tiny", K, False, None, 1))):
        with pytest.raises(ConfigError, match="smaller than its student"):
            check_reversed(LiveTeacher(teacher, runtime, cpu), student)


def test_a_run_with_a_teacher_of_the_same_size_is_refused_before_it_trains(prepared, taught, tmp_path):
    with pytest.raises(ConfigError, match="smaller than its student"):
        distill.run(configuration(prepared, KIND, teacher=str(taught)), tmp_path / "run")
    assert not (tmp_path / "run" / "phases").exists()


def test_the_big_network_learns_from_the_small_one_and_resumes_exactly(prepared, taught, tmp_path):
    config = configuration(prepared, KIND, teacher=str(taught), backbone="mobilenetv3_small", train={"epochs": 2})
    folder = check_exact_resume(config, tmp_path, cuts=(1,))
    assert read_json(folder / "card.json")["parameters"] == 1_522_981


def test_a_book_of_the_small_network_takes_its_place(prepared, taught, tmp_path):
    written = write_book.WriteBookConfig(
        prepared=prepared, teacher=taught, book=BookConfig(views=2), minimum_balanced_accuracy=0.0
    )
    write_book.run(written, tmp_path / "book")
    config = configuration(
        prepared, KIND, book=str(tmp_path / "book"), backbone="mobilenetv3_small", train={"epochs": 1}
    )
    distill.run(config, tmp_path / "run")
    assert read_json(tmp_path / "run" / "card.json")["method"]["kind"] == "reversed_kd"
    with pytest.raises(ConfigError, match="smaller than its student"):
        distill.run(config.model_copy(update={"backbone": "tiny"}), tmp_path / "same_size")


def test_the_configuration_in_the_repository_trains_the_big_backbone():
    plan = shipped("reversed_kd")
    assert plan.backbone == "resnet50"
    assert ReversedKdConfig.model_validate_json(plan.method.model_dump_json()) == plan.method
