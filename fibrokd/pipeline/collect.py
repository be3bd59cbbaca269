"""The half of ``assess`` that needs torch: what networks answer, and what is stored of how they came to it.

Every network is opened once and answers in the precision of the released bundle. What is collected here is all that the
other half (:mod:`fibrokd.pipeline.assess_numbers`) works on.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import nn

from fibrokd.data.prepared import Prepared
from fibrokd.errors import InputError
from fibrokd.evaluation.atlas.collected import PICTURES_PER_NETWORK, embeddings_file, evidence_file
from fibrokd.evaluation.atlas.image_arrays import ImageArrays, write_image_arrays
from fibrokd.evaluation.atlas.occlusion import occlusion
from fibrokd.evaluation.image_facts import ImageFacts, write_image_facts
from fibrokd.evaluation.predictions import Predictions, write_predictions
from fibrokd.evaluation.severity import worst_rows
from fibrokd.evaluation.shortcuts import FILE as SHORTCUTS
from fibrokd.files import read_json, write_json
from fibrokd.methods import open_network
from fibrokd.pipeline.assess import AssessConfig
from fibrokd.pipeline.assess_numbers import DISTURBED, learned_rows
from fibrokd.pipeline.disturbed import DisturbedPictures, chosen_rows, recorded, rendered
from fibrokd.pipeline.own_shortcuts import own_shortcuts
from fibrokd.progress import track
from fibrokd.training.prediction import embed, predict
from fibrokd.training.restriction import answering
from fibrokd.training.runtime import Runtime, median_milliseconds

DEPLOYED = Runtime("fp32", "nchw")
"""Precision in which networks are assessed: that of the released bundle, whatever they were trained in."""

_AT_ONCE = 1024

_CPU = torch.device("cpu")

ATLAS_SPLIT = "test"
"""The split whose errors are shown."""


def collect(config: AssessConfig, prepared: Prepared, facts: ImageFacts, out: Path) -> None:
    """Let every network answer every split once: ``predictions.csv``, and ``timings.json`` beside it.

    Of the split that is reported on, embeddings are kept as well, and maps of evidence of the worst errors.
    Timings differ from run to run; they are kept apart so that no digest depends on them.
    """
    answers: list[Predictions] = []
    held = set(prepared.table["split"])
    splits = [split for split in config.splits if split in held]
    if ATLAS_SPLIT not in splits:
        raise InputError(
            f"Expected {ATLAS_SPLIT} images, which the report is about, found none of them among the splits "
            f"{', '.join(splits) or 'that were asked for'}.",
            f"Name {ATLAS_SPLIT} in `splits` of assess, and give it a share in `splits` of the prepare step.",
        )
    disturbed = _disturbed(config, prepared)
    moved: list[Predictions] = []
    timings: dict[str, Any] = {}
    for name, folder in track(config.networks.items(), "assess", len(config.networks), "networks"):
        network = open_assessed(folder, prepared)
        others = [split for split in splits if split != ATLAS_SPLIT]
        answers += [answers_of(name, network, prepared, prepared.rows(split), split) for split in others]
        answers.append(_look_closely(name, network, prepared, config.neighbours > 0, out))
        moved += [_answers(name, _logits(network, item.pixels), prepared, item.rows, item.key) for item in disturbed]
        timings[name] = {"latency_ms": _latency_ms(network, prepared, config.latency_repeats)}
    write_predictions(out / "predictions.csv", answers)
    if moved:
        write_predictions(out / DISTURBED, moved)
    without_looking = own_shortcuts(prepared)
    if without_looking:
        write_predictions(out / SHORTCUTS, without_looking)
    write_image_facts(out / "images.csv", facts)
    threads = torch.get_num_threads()
    write_json(out / "timings.json", {"engine": "PyTorch fp32, batch 1", "threads": threads, "networks": timings})


def _disturbed(config: AssessConfig, prepared: Prepared) -> list[DisturbedPictures]:
    rows = chosen_rows(prepared, ATLAS_SPLIT, config.robustness)
    if not len(rows):
        return []
    again = [] if config.phantom is None else rendered(prepared, rows, config.phantom)
    return [*recorded(prepared, rows), *again]


def open_assessed(folder: Path, prepared: Prepared) -> nn.Module:
    """Return the network of a folder; it answers with the stages of ``prepared``, whatever more it tells apart."""
    return answering(open_network(folder), read_json(folder / "card.json")["stages"], prepared.scale.names)


def _look_closely(name: str, network: nn.Module, prepared: Prepared, with_learned: bool, out: Path) -> Predictions:
    """Let a network answer the images that are reported on, and store what it answered with."""
    rows, learned = prepared.rows(ATLAS_SPLIT), learned_rows(prepared)
    ids = prepared.table["image_id"].to_numpy()
    part = answers_of(name, network, prepared, rows, ATLAS_SPLIT)
    worst = rows[worst_rows(part, PICTURES_PER_NETWORK)]
    maps = [occlusion(partial(_logits, network), np.asarray(prepared.pixels[row])) for row in worst]
    if maps:
        write_image_arrays(out / evidence_file(name), ImageArrays(tuple(ids[worst]), np.stack(maps)))
    if with_learned and len(learned):
        both = np.concatenate([learned, rows])
        # In parts: the pictures of all that was learned from need not fit into memory.
        parts = np.array_split(both, -(-len(both) // _AT_ONCE))
        vectors = np.concatenate([embed(network, prepared.pixels[part], DEPLOYED, _CPU) for part in parts])
        write_image_arrays(out / embeddings_file(name), ImageArrays(tuple(ids[both]), vectors))
    return part


def _logits(network: nn.Module, pixels: UInt8[np.ndarray, "N S S"]) -> Float[np.ndarray, "N K"]:
    return predict(network, pixels, DEPLOYED, _CPU)


def answers_of(
    name: str, network: nn.Module, prepared: Prepared, rows: Int[np.ndarray, " N"], split: str
) -> Predictions:
    """Let a network answer some images once.

    Args:
        name: What the network is called.
        network: The network.
        prepared: The images.
        rows: Which of them.
        split: What these are called together.
    """
    return _answers(name, _logits(network, prepared.pixels[rows]), prepared, rows, split)


def _answers(
    name: str, logits: Float[np.ndarray, "N K"], prepared: Prepared, rows: Int[np.ndarray, " N"], split: str
) -> Predictions:
    table = prepared.table.iloc[rows]
    return Predictions(
        network=name,
        split=split,
        image_ids=tuple(table["image_id"]),
        groups=tuple(table["cluster"]),
        truth=prepared.stages[rows],
        probabilities=torch.from_numpy(logits).double().softmax(1).numpy(),
        scale=prepared.scale,
    )


def _latency_ms(network: nn.Module, prepared: Prepared, repeats: int) -> float:
    size = prepared.preprocess.size
    image = torch.zeros(1, 1, size, size)
    with torch.inference_mode():
        return round(median_milliseconds(lambda: network(image), repeats), 2)
