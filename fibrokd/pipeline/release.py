"""Step ``release``: a trained student becomes a bundle, or nothing is released.

Exports the network to ONNX, compares it with PyTorch in every probability of the whole test split, renders golden
cases from the phantom (never from data of a collection) and writes the bundle. Torch is imported inside :func:`run`.
Shape letters: N batch, K stages, S side of the network input.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from pydantic import Field

import fibrokd
from fibrokd.artifacts import Record, begin, read_record, require
from fibrokd.config import Config
from fibrokd.data.prepared import Prepared
from fibrokd.data.preprocess import as_network_input
from fibrokd.data.selection import Selection, select
from fibrokd.errors import ArtifactError, BundleError
from fibrokd.files import read_json
from fibrokd.progress import say, track
from fibrokd.serving.bundle import Bundle, write_bundle
from fibrokd.serving.card import BundleCard, NetworkCard, StagesCard
from fibrokd.serving.golden import golden_cases
from fibrokd.serving.predictor import Predictor, softmax

if TYPE_CHECKING:
    from torch import nn

BATCH = 32


class ReleaseConfig(Config):
    """What is released, and how exactly it must agree with PyTorch."""

    student: Path
    """Folder of a finished network: a student, or a teacher."""

    prepared: Path
    """The prepared folder it was trained on; its test split is the parity set."""

    assess: Path | None = None
    """Folder of a finished assess step, for the headline metrics of the model card."""

    name: Annotated[str, Field(min_length=1)] = "fibrokd"
    """Name of the release, as users will see it."""

    tolerance: Annotated[float, Field(gt=0, le=0.01)] = 1e-4
    """Largest accepted difference of any probability between PyTorch and the exported network."""

    opset: Annotated[int, Field(ge=17, le=22)] = 18
    """ONNX operator set."""

    golden_per_stage: Annotated[int, Field(ge=1, le=20)] = 1
    """Rendered golden cases per stage."""

    golden_seed: int = 20_240
    """Seed of the golden cases."""


def run(config: ReleaseConfig, out: Path) -> Record:
    """Release a network into ``out``.

    Args:
        config: What to release.
        out: The bundle's folder, new or left unfinished.

    Raises:
        BundleError: The exported network disagrees with PyTorch; nothing is released.
        ArtifactError: An input folder is missing, unfinished or altered.
    """
    student = require(config.student, read_record(config.student).step)
    prepared = _part(Prepared.open(config.prepared), config.student)
    inputs = {"student": student.digest, "prepared": prepared.record.digest}
    if config.assess is not None:
        inputs["assess"] = require(config.assess, "assess").digest
    paths = {"student", "prepared", "assess"}
    step = begin(out, "release", {k: v for k, v in config.as_json().items() if k not in paths}, inputs)
    if step.finished:
        return step.record

    # Imported here: torch costs seconds and half a gigabyte that the command line's help must not pay.
    from fibrokd.methods import open_network
    from fibrokd.training.same_data import check_same_data

    check_same_data(config.student, prepared)

    say(f"release: exporting {config.student.name}")
    network = open_network(config.student)
    card = _card(config, prepared)
    bundle = Bundle(card, export_onnx(network, prepared.preprocess.size, config.opset), golden=())
    parity = compare(network, Predictor(bundle), prepared)
    _require_parity(parity, config.tolerance)
    bundle = replace(bundle, card=bundle.card.model_copy(update={"parity": parity}))
    golden = golden_cases(
        bundle, lambda views: torch_probabilities(network, views), config.golden_per_stage, config.golden_seed
    )
    bundle = replace(bundle, golden=golden)
    names = write_bundle(out, bundle)
    Bundle.open(out)
    say(f"release: {out} agrees with PyTorch within {parity['largest_difference']:.1e} on {parity['images']} images")
    return step.finish(names, parity=parity, bundle=bundle.digest)


# --------------------------------------------------------------------------- export
def export_onnx(network: nn.Module, size: int, opset: int) -> bytes:
    """Export a network with a free batch axis, from ``image`` [N, 1, S, S] to ``logits`` [N, K].

    Everything that names this machine or the exporter's inner life is removed, so that equal weights give equal bytes.

    Args:
        network: In eval mode on the CPU.
        size: Side S of the input, pixels.
        opset: ONNX operator set.

    Raises:
        BundleError: The exported model is not valid ONNX.
    """
    import onnx
    import torch

    class Logits(torch.nn.Module):
        """The part of the network that is deployed."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(image).logits
            return logits

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.onnx.export(
        Logits().eval(),
        (torch.zeros(2, 1, size, size),),
        dynamo=True,
        opset_version=opset,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes={"image": {0: torch.export.Dim("N")}},
        verbose=False,
    )
    if program is None:
        raise BundleError("The exporter returned no model.", "Check the versions of torch and onnxscript.")
    model = program.model_proto
    for item in _described(model):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"The exported network is not valid ONNX: {error}", "Try another opset.") from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _described(model: Any) -> Iterator[Any]:
    graph = model.graph
    yield model
    yield graph
    for group in (graph.node, graph.value_info, graph.input, graph.output, graph.initializer):
        yield from group


# --------------------------------------------------------------------------- parity
def compare(network: nn.Module, predictor: Predictor, prepared: Prepared) -> dict[str, Any]:
    """Compare PyTorch and the exported network on every image of the test split.

    Returns:
        ``images``, ``largest_difference`` and ``mean_difference`` of the probabilities, ``stage_flips``.
    """
    rows = prepared.rows("test")
    names = prepared.scale.names
    largest, total, flips = 0.0, 0.0, {f"{name}→{other}": 0 for name in names for other in names if name != other}
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    for batch in track(batches, "comparing with PyTorch", len(batches), "batches"):
        views = np.asarray(prepared.pixels[batch])
        exported, reference = predictor.probabilities(views), torch_probabilities(network, views)
        difference = np.abs(exported - reference)
        # max() keeps its first argument when compared with NaN: turn NaN into a failure.
        largest = max(largest, float(np.nan_to_num(difference, nan=1.0).max()))
        total += float(difference.sum())
        for before, after in _flips(reference, exported):
            flips[f"{names[before]}→{names[after]}"] += 1
    return {
        "against": "PyTorch fp32",
        "split": "test",
        "images": len(rows),
        "largest_difference": largest,
        "mean_difference": total / (len(rows) * len(names)),
        "stage_flips": sum(flips.values()),
        "flips": {name: count for name, count in flips.items() if count},
    }


def _flips(reference: Float[np.ndarray, "N K"], exported: Float[np.ndarray, "N K"]) -> Int[np.ndarray, "M 2"]:
    pairs = np.stack([reference.argmax(axis=1), exported.argmax(axis=1)], axis=1)
    changed: np.ndarray = pairs[pairs[:, 0] != pairs[:, 1]]
    return changed


def torch_probabilities(network: nn.Module, views: UInt8[np.ndarray, "N S S"]) -> Float[np.ndarray, "N K"]:
    """Return what PyTorch answers for preprocessed frames, in fp32 on the CPU."""
    import torch

    with torch.inference_mode():
        logits = network(torch.from_numpy(as_network_input(views))).logits
    return softmax(logits.numpy())


def _require_parity(parity: dict[str, Any], tolerance: float) -> None:
    if parity["largest_difference"] > tolerance:
        raise BundleError(
            f"Expected the exported network to agree with PyTorch within {tolerance:.0e} in every probability, found "
            f"{parity['largest_difference']:.2e} ({parity['stage_flips']} of {parity['images']} stages changed).",
            "Nothing was released; try another opset, or report the versions of torch, onnx and onnxruntime.",
        )


# --------------------------------------------------------------------------- card
def _card(config: ReleaseConfig, prepared: Prepared) -> BundleCard:
    card = read_json(config.student / "card.json")
    scale = prepared.scale
    if tuple(card["stages"]) != scale.names:
        raise ArtifactError(
            f"{config.student} answers with {card['stages']}, {config.prepared} holds {list(scale.names)}.",
            "Release a network together with the prepared folder it was trained on.",
        )
    facts: dict[str, Any] = {
        "intended_use": "Research on ultrasound images; not a medical device.",
        "training_images": len(prepared.rows("train")),
        "test_images": len(prepared.rows("test")),
        "test": _headline(config),
    }
    return BundleCard(
        name=config.name,
        created_by=fibrokd.__version__,
        stages=StagesCard(names=scale.names, cutoffs=scale.cutoffs),
        preprocess=prepared.preprocess,
        network=NetworkCard(backbone=card["backbone"], parameters=card["parameters"], opset=config.opset),
        tolerance=config.tolerance,
        stamp=prepared.stamp,
        card=facts,
        parity={},
        files={},
    )


def _part(prepared: Prepared, student: Path) -> Prepared:
    """The images that the student can stage: those of its own stages."""
    told = tuple(read_json(student / "card.json")["stages"])
    fewer = told != prepared.scale.names and set(told) <= set(prepared.scale.names)
    return select(prepared, Selection(stages=told)) if fewer else prepared


def _headline(config: ReleaseConfig) -> dict[str, Any]:
    if config.assess is None:
        return {}
    networks = read_json(config.assess / "metrics.json")["networks"]
    found = networks.get(config.student.name)
    # The name alone proves nothing: every run has a folder called student_kd.
    assessed = read_record(config.assess).inputs.get(config.student.name)
    if found is None or assessed != read_record(config.student).digest:
        raise ArtifactError(
            f"Expected {config.assess} to have assessed {config.student}, found figures of {', '.join(networks)}, "
            "none of them of this very network.",
            "Assess the network that is to be released.",
        )
    test: dict[str, Any] = found["test"]
    return test
