"""Small bundles for tests: a hand-made ONNX network whose answer can be worked out on paper."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from PIL import Image

from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.serving.bundle import Bundle, GoldenCase, write_bundle
from fibrokd.serving.card import BundleCard, NetworkCard, StagesCard
from fibrokd.serving.predictor import Predictor
from fibrokd.stages import METAVIR

CENTRES = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
SHARPNESS = 60.0


def brightness_network(opset: int = 18) -> bytes:
    """Logit of stage k is −60 (mean − centre_k)², up to a shared term: the brighter the image, the higher the stage."""
    weights = (2 * SHARPNESS * CENTRES).astype(np.float32)[:, None]
    bias = (-SHARPNESS * CENTRES**2).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["mean"]),
        helper.make_node("Gemm", ["mean", "weights", "bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, "S", "S"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(CENTRES)])],
        [
            helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel()),
            helper.make_tensor("bias", TensorProto.FLOAT, bias.shape, bias),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return bytes(model.SerializeToString())


def oracle(mean: float) -> np.ndarray:
    """Probabilities of the brightness network for an image of that mean grey level in [0, 1]."""
    scores = np.exp(-SHARPNESS * (mean - CENTRES) ** 2)
    return scores / scores.sum()


def speckle(mean: int, side: int = 64, seed: int = 0) -> np.ndarray:
    """A noisy square picture of that mean grey level."""
    noise = np.random.default_rng(seed).normal(mean, 8, (side, side))
    return noise.clip(0, 255).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def bundle_in_memory(stamp: dict[str, Any] | None = None, **changes: Any) -> Bundle:
    """A bundle with three golden cases whose expectations are what this machine answers."""
    card = BundleCard(
        name="brightness",
        created_by="0.0.0",
        stages=StagesCard(names=METAVIR.names, cutoffs=METAVIR.cutoffs),
        preprocess=PreprocessSpec(size=64, crop="full"),
        network=NetworkCard(backbone="brightness", parameters=10, opset=18),
        stamp=stamp or {"verdict": "fit", "grouping": "all", "reasons": [], "accepted_unfit": False, "synthetic": True},
        card={"training_images": 12, "test": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}},
        parity={"images": 4, "largest_difference": 0.0, "stage_flips": 0},
        files={},
    ).model_copy(update=changes)
    bare = Bundle(card, brightness_network(), ())
    predictor = Predictor(bare, threads=1)
    golden = []
    for index, mean in ((0, 30), (2, 128), (4, 225)):
        data = png(speckle(mean, seed=index))
        [staging] = predictor.predict_bytes(data, "golden")
        name = METAVIR.names[index]
        golden.append(
            GoldenCase(f"case_{name}.png", data, f"Noise like {name}", staging.outcome, staging.probabilities)
        )
    return replace(bare, golden=tuple(golden))


def write_test_bundle(folder: Path, **changes: Any) -> Path:
    write_bundle(folder, bundle_in_memory(**changes))
    return folder
