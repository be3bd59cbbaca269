"""Splits: a group never straddles, every part holds every stage, or the step says why not."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fibrokd.config import parse_config
from fibrokd.errors import ConfigError, SplitError
from fibrokd.integrity.groups import group_images
from fibrokd.integrity.identity import StemRules, stem_keys, trusted_keys
from fibrokd.integrity.splitting import SplitConfig, SplitShares, assign_parts, split_images
from fibrokd.stages import METAVIR
from tests.integrity.builders import content, manifest

FOUR = {"train": 0.6, "val": 0.15, "calibration": 0.1, "test": 0.15}
NAMES = METAVIR.names


def assign(groups, stages, wanted=None, seed=0):
    return assign_parts(np.array(groups), np.array(stages), wanted or FOUR, NAMES, seed, "splits")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), min_size=20, max_size=60),
    mixed=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=4),
    seed=st.integers(0, 3),
)
def test_a_group_never_straddles_and_every_split_holds_every_stage(sizes, mixed, seed):
    held = [stage for stage, _ in sizes]
    assume(all(held.count(k) >= 4 for k in set(held)))
    groups = [g for g, (_, n) in enumerate(sizes) for _ in range(n)]
    stages = [k for k, n in sizes for _ in range(n)]
    for a, b in mixed:  # groups of two images with two stages
        if a in held and b in held:
            groups += [max(groups) + 1] * 2
            stages += [a, b]
    parts = assign(groups, stages, seed=seed)
    for group in set(groups):
        assert len({p for p, g in zip(parts.part, groups, strict=True) if g == group}) == 1
    for k in set(stages):
        assert (parts.counts[:, k] > 0).all()
    assert parts.counts.sum() == len(groups)


def test_stages_come_near_their_wanted_shares():
    random = np.random.default_rng(1)
    sizes = random.integers(1, 10, 400)
    groups = np.repeat(np.arange(400), sizes)
    stages = np.repeat(np.arange(400) % 5, sizes)
    parts = assign(groups, stages)
    assert parts.worst_deviation < 0.005
    found = parts.counts / parts.counts.sum(axis=0)
    assert np.abs(found - np.array(list(FOUR.values()))[:, None]).max() == pytest.approx(parts.worst_deviation)


def test_stages_dealt_out_in_turn_do_not_empty_a_fold():
    """Stage = patient number modulo 5 makes a plain GroupKFold put each stage wholly into one fold."""
    patients = np.repeat(np.arange(50), 4)
    parts = assign(patients, patients % 5, {str(k): 0.2 for k in range(5)})
    assert (parts.counts == 8).all()


def test_one_giant_group_goes_to_train():
    groups = [0] * 100 + [1, 2, 3, 4, 5, 6]
    parts = assign(groups, [2] * len(groups))
    assert parts.part[0] == 0
    assert (parts.counts[1:, 2] > 0).all()


def test_the_same_seed_gives_the_same_splits_and_another_seed_others():
    groups, stages = list(range(100)), [g % 5 for g in range(100)]
    one, same, other = (assign(groups, stages, seed=s).part.tolist() for s in (4, 4, 5))
    assert one == same != other


def test_too_few_groups_of_a_stage_are_refused_with_the_numbers():
    groups = [*range(40), 40, 40, 41, 41]
    stages = [g % 3 for g in range(40)] + [3] * 4
    with pytest.raises(SplitError, match=r"at least 4 independent groups .* F3 has only 2"):
        assign(groups, stages)


def test_a_stage_that_does_not_occur_is_not_demanded():
    parts = assign(list(range(20)), [0, 4] * 10)
    assert (parts.counts[:, [0, 4]] > 0).all()
    assert parts.counts[:, 1:4].sum() == 0


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ConfigError, match=r"sum to 1, found 0\.8"):
        parse_config({"shares": {"train": 0.4}}, SplitConfig)


def test_a_share_of_zero_leaves_the_split_out():
    table = manifest([{"stage": NAMES[n % 5], "path": f"{NAMES[n % 5]}/q{n}.png"} for n in range(50)])
    config = SplitConfig(shares=SplitShares(train=0.7, val=0.15, calibration=0.0, test=0.15), folds=3)
    written = split_images(table, group_images(table, "all"), METAVIR, config).to_table(table["image_id"])
    assert set(written["split"]) == {"train", "val", "test"}
    assert set(written["fold"]) == {"0", "1", "2"}
    assert list(written["image_id"]) == list(table["image_id"])


def test_thousands_of_single_pictures_are_split_to_the_picture():
    parts = assign(np.arange(6311), np.arange(6311) % 5)
    assert parts.worst_deviation < 0.001


def test_the_refusal_names_the_evidence_that_tied_the_groups_with_an_example_and_advice():
    rows = [{"stage": stage, "path": f"{stage}/img_{n}.png"} for stage in NAMES for n in range(10)]
    table = manifest(rows)
    with pytest.raises(SplitError) as caught:
        split_images(table, group_images(table, "all"), METAVIR, SplitConfig())
    assert "F0 has only 1" in caught.value.problem
    assert "tied mostly by stem (45 of 45 joins); for example 10 images share one normal stem" in (caught.value.problem)
    assert "stems.suffixes" in caught.value.todo
    table = manifest([{"stage": s, "patient": f"ward-{s}", "path": f"{s}/w/q{n}.png"} for s in NAMES for n in range(9)])
    with pytest.raises(SplitError, match=r"tied mostly by patient \(40 of 40 joins\)\.") as caught:
        split_images(table, group_images(table, "all"), METAVIR, SplitConfig())
    assert "patient_folders" in caught.value.todo
    assert "ward" not in str(caught.value)


WIDE = st.integers(0, 120)  # wide enough that most collections can be split at all


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    images=st.lists(st.tuples(st.integers(0, 4), WIDE, WIDE, WIDE, WIDE), min_size=60, max_size=120),
    seed=st.integers(0, 3),
)
def test_what_is_known_to_belong_together_never_lies_in_two_splits(images, seed):
    rows = []
    for number, (stage, patient, study, picture, name) in enumerate(images):
        mark = ("", "_1", " (2)", "_flip", "-copy")[number % 5]
        rows.append(
            {"stage": NAMES[stage], "path": f"{NAMES[stage]}/n{name}x{mark}.png", "frame": number,
             "patient": ("", "ANON", f"P{patient}")[min(patient, 2)], "study": f"S{study}" if study > 90 else "",
             "pixel_digest": content(picture if picture < 12 else 1000 + number)}
        )  # fmt: skip
    table = manifest(rows)
    shares = SplitShares(train=0.6, val=0.0, calibration=0.0, test=0.4)
    try:
        splits = split_images(
            table, group_images(table, "all"), METAVIR, SplitConfig(seed=seed, shares=shares, folds=2)
        )
    except SplitError:
        assume(False)
    written = splits.to_table(table["image_id"])
    patients, _ = trusted_keys(list(table["patient"]), list(table["study"]))
    studies, _ = trusted_keys(list(table["study"]))
    stems, _ = stem_keys(list(table["path"]), StemRules())
    for kind, keys in {"patient": patients, "study": studies, "stem": stems, "content": table["pixel_digest"]}.items():
        for part in ("split", "fold"):
            parts = written[part].groupby(np.array(keys, dtype=object)).nunique()
            assert (parts.drop("", errors="ignore") == 1).all(), (kind, part)
