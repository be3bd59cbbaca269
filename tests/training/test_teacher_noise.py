"""A teacher made wrong swaps its first answer with another one: for the drawn images, always, and for no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.training.signals import TeacherSignal
from fibrokd.training.teacher_noise import Corruption, TeacherNoise

IDS = tuple(f"image-{number}" for number in range(4000))


def answers(rows: int, stages: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (rows, stages)).astype(np.float32))


def changed(share: float, seed: int = 0) -> torch.Tensor:
    logits, rows = answers(len(IDS)), torch.arange(len(IDS))
    corruption = Corruption.of(TeacherNoise(share=share, seed=seed), IDS)
    return (corruption.applied(TeacherSignal(logits), rows, rows).logits != logits).any(1)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 1.0])
def test_about_the_asked_share_is_wrong_and_smaller_shares_are_parts_of_larger_ones(share: float) -> None:
    assert float(changed(share).float().mean()) == pytest.approx(share, abs=0.02)
    assert bool((changed(share) <= changed(min(1.0, share + 0.2))).all())


def test_another_seed_draws_other_images() -> None:
    one, other = changed(0.3), changed(0.3, seed=1)
    assert float((one & other).float().mean()) == pytest.approx(0.09, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 7), st.integers(0, 10**6), st.floats(0.05, 1.0))
def test_a_wrong_answer_is_the_same_numbers_in_another_order_with_another_first(
    stages: int, seed: int, share: float
) -> None:
    logits, rows = answers(64, stages, seed), torch.arange(64)
    corruption = Corruption.of(TeacherNoise(share=share, seed=seed), IDS[:64])
    told = corruption.applied(TeacherSignal(logits), rows, rows).logits
    torch.testing.assert_close(told.sort(1).values, logits.sort(1).values, rtol=0, atol=0)
    wrong = (told != logits).any(1)
    assert bool((told.argmax(1)[wrong] != logits.argmax(1)[wrong]).all())
    assert bool(((told != logits).sum(1)[wrong] == 2).all())


def test_every_other_stage_takes_its_part() -> None:
    logits, rows = answers(len(IDS)), torch.arange(len(IDS))
    told = Corruption.of(TeacherNoise(share=0.5), IDS).applied(TeacherSignal(logits), rows, rows).logits
    step = (told.argmax(1) - logits.argmax(1)) % 5
    shares = torch.bincount(step, minlength=5)[1:] / (step > 0).sum()
    assert bool(((shares - 0.25).abs() < 0.03).all())


def test_of_a_pair_that_was_seen_separately_each_image_decides_for_itself() -> None:
    logits, partner = answers(200), answers(200, seed=1)
    index, partner_index = torch.arange(200), torch.arange(200).roll(-1)
    corruption = Corruption.of(TeacherNoise(share=0.5), IDS[:200])
    told = corruption.applied(TeacherSignal(logits, partner, torch.full((200,), 0.7)), index, partner_index)
    alone = corruption.applied(TeacherSignal(partner), partner_index, partner_index).logits
    assert told.partner_logits is not None
    torch.testing.assert_close(told.partner_logits, alone, rtol=0, atol=0)
    assert told.lam is not None


def test_all_variants_of_an_image_are_treated_alike() -> None:
    corruption = Corruption.of(TeacherNoise(share=0.5), IDS[:50], variants=2)
    assert torch.equal(corruption.draws[0::2], corruption.draws[1::2])
    assert len(corruption.draws) == 100


def test_two_answers_alike_change_places_without_harm() -> None:
    logits, rows = torch.zeros(8, 5), torch.arange(8)
    told = Corruption.of(TeacherNoise(share=1.0), IDS[:8]).applied(TeacherSignal(logits), rows, rows)
    assert torch.equal(told.logits, logits)
