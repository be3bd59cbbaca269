"""Controls: how far one gets without looking at the liver. A score that a control reaches says nothing of staging.

Owns the table of controls and their scores at every split level; what they see is in
:mod:`fibrokd.integrity.control_data`. Torch-free and cheap: about a minute for 6,000 images on one core. To add a
control, write a function and a row in :data:`CONTROLS`; page, JSON, inflation table and verdict follow.

Shape letters: N images, T test images, M images drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jaxtyping import Bool, Int
from pydantic import Field
from sklearn.tree import DecisionTreeClassifier

from fibrokd.config import Config
from fibrokd.integrity.control_data import ControlData
from fibrokd.integrity.levels import Level
from fibrokd.integrity.probes import border_only, fan_shape, outside_fan
from fibrokd.integrity.scanners import from_scanner, scanners_known


class ControlsConfig(Config):
    """Which effort goes into the controls."""

    enabled: bool = True
    """Without controls no verdict better than ``caution`` is given."""

    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """Seeds of the repeated cross-validation."""

    folds: Annotated[int, Field(ge=2)] = 5
    """Folds of the cross-validation."""

    replicates: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap replicates of the intervals."""

    max_images: Annotated[int, Field(ge=100)] = 8000
    """Above it, whole groups are drawn at random up to this many images: the lookup compares every pair."""


Answer = Callable[[ControlData, Bool[np.ndarray, " N"]], Int[np.ndarray, " T"]]


def nearest_thumbnail(data: ControlData, test: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " T"]:
    """Look up the most similar training thumbnail and answer with its stage: no learning at all."""
    rows, train = np.flatnonzero(test), np.flatnonzero(~test)
    nearest = train[data.distances[np.ix_(rows, train)].argmin(axis=1)]
    return np.asarray(data.stages[nearest], dtype=np.int64)


def metadata_only(data: ControlData, test: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " T"]:
    """Answer from the file, its size, background and name alone, by a small decision tree; no liver is looked at."""
    tree = DecisionTreeClassifier(max_depth=8, min_samples_leaf=5, class_weight="balanced", random_state=0)
    tree.fit(data.metadata[~test], data.stages[~test])
    return np.asarray(tree.predict(data.metadata[test]), dtype=np.int64)


@dataclass(frozen=True)
class Control:
    """One control.

    Args:
        answer: Answers with a stage for every test image, having seen the others.
        title: What it looks at, as tables call it.
        finding: What it means that it finds the stage; ``{value}`` and ``{chance}`` are filled in.
        todo: What to do about it.
        applies: Whether there is anything to look at.
        cut_off: What it looks at is cut off before a network sees the picture, where the fan was found.
    """

    answer: Answer
    title: str
    finding: str
    todo: str
    applies: Callable[[ControlData], bool] = lambda data: True  # noqa: ARG005 - always
    cut_off: bool = False


def _has_margins(data: ControlData) -> bool:
    return data.margins is not None


CONTROLS: Mapping[str, Control] = {
    "thumbnail_1nn": Control(
        nearest_thumbnail,
        "Look-up of the most similar 48 × 48 thumbnail, without learning",
        "Looking up the most similar stamp-sized picture, without any learning, finds {value} of the stages (chance "
        "{chance}) although everything known to belong together stayed on one side of the split: pictures are "
        "recognised, not livers.",
        "Find out what these pictures have in common besides the liver (patient, clip, simulator, scanner), name it "
        "in the patient or subject keys, and split again.",
    ),
    "metadata": Control(
        metadata_only,
        "File format, size, background level and name only, picture unopened",
        "The stage follows the file: format, size and name alone, without looking at the picture, find {value} of the "
        "stages (chance {chance}).",
        "Export all stages in the same way from the original archive, under names that do not follow the stage.",
    ),
    "border": Control(
        border_only,
        "Mean grey levels along the frame's border only",
        "The outermost ring of the frame alone finds {value} of the stages (chance {chance}): frames of different "
        "stages come from different sources.",
        "Crop to the fan (preprocess.crop: fan), and bring pictures of every stage from every source.",
        _has_margins,
        cut_off=True,
    ),
    "outside_fan": Control(
        outside_fan,
        "What lies outside the fan only: burned-in marks, layout, and the fan's place",
        "What lies outside the fan, marks and layout, alone finds {value} of the stages (chance {chance}): the stage "
        "or something that goes with it is written on the picture.",
        "Crop to the fan (preprocess.crop: fan), never show whole frames to a network, and find out what is burned in.",
        _has_margins,
        cut_off=True,
    ),
    "fan_shape": Control(
        fan_shape,
        "Shape and place of the fan only",
        "The shape of the fan alone finds {value} of the stages (chance {chance}), and networks see it even when "
        "everything outside is black: probes or presets differ between stages.",
        "Bring pictures of every stage from every probe and preset, and test on a scanner that was left out.",
        _has_margins,
    ),
    "scanner": Control(
        from_scanner,
        "Name of scanner and site only",
        "The name of scanner and site alone, without a picture, finds {value} of the stages (chance {chance}): a "
        "network may learn machines instead of livers.",
        "Bring pictures of every stage from every scanner, and test on a scanner that was left out.",
        scanners_known,
    ),
}
"""Controls that answer with a stage."""


def run_controls(data: ControlData, levels: list[Level]) -> dict[str, dict[str, Any]]:
    """Score every control that applies at every level.

    Returns:
        control → level → ``accuracy`` and ``balanced_accuracy`` (value, low, high), ``twin_in_train`` (share of test
        images whose exact content is among the training images) and ``groups``.
    """
    used = {name: control for name, control in CONTROLS.items() if control.applies(data)}
    result: dict[str, dict[str, Any]] = {name: {} for name in used}
    for level in levels:
        twins = twin_share(data.contents, level)
        for name, control in used.items():
            correct = np.zeros(len(data.stages))
            for test, _ in level.rounds():
                correct[test] += control.answer(data, test) == data.stages[test]
            scores = level.score(correct / len(level.folds))
            result[name][level.name] = {**scores, "twin_in_train": twins, "groups": level.groups}
    return result


def twin_share(contents: Int[np.ndarray, " N"], level: Level) -> float:
    """Return the share of test images with an identical copy among the training images of their round."""
    found = sum(int(np.isin(contents[test], contents[~test]).sum()) for test, _ in level.rounds())
    return round(found / (len(contents) * len(level.folds)), 4)


def draw_groups(codes: Int[np.ndarray, " N"], at_most: int, seed: int = 0) -> Int[np.ndarray, " M"]:
    """Return rows of whole groups, drawn at random, at most ``at_most`` rows in all (but one group at least)."""
    if len(codes) <= at_most:
        return np.arange(len(codes))
    sizes = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(len(sizes))
    kept = order[: max(1, int((np.cumsum(sizes[order]) <= at_most).sum()))]
    return np.flatnonzero(np.isin(codes, kept))
