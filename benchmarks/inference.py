"""What a bedside answer costs: decode-to-answer of one PNG ÷ the bare engine, and PyTorch eager ÷ the engine.

MobileNetV3-Small at 224 px with random weights, single images, all timed in one run in interleaved turns, medians of
wall time; ``cpu_ratio`` is the same of processor time, which a busy machine distorts less. Both engines use the same
number of threads (``--threads``, stated in the result). The bare engine is ``InferenceSession.run`` on a tensor that is
ready; decode-to-answer is ``Predictor.predict_bytes`` on the bytes of a rendered phantom PNG: decode, find the fan,
crop, resize, gates, network, softmax.
``python benchmarks/inference.py [--side 256] [--repeats 200] [--threads 1]``; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from fibrokd.data.images import UltrasoundImage
from fibrokd.data.preprocess import PreprocessSpec, as_network_input, preprocess
from fibrokd.data.reading import read_bytes
from fibrokd.phantom.cohort import render_case
from fibrokd.pipeline.release import export_onnx
from fibrokd.serving.bundle import Bundle
from fibrokd.serving.card import BundleCard, NetworkCard, StagesCard
from fibrokd.serving.engine import Engine, available_cores
from fibrokd.serving.predictor import Predictor
from fibrokd.stages import METAVIR
from fibrokd.training.networks import StagingNetwork, build, parameter_count

SIZE = 224
WARM_UP = 5


@dataclass(frozen=True)
class Workload:
    """Everything the timed functions need.

    Args:
        network: PyTorch network in eval mode.
        bundle: The same network, exported.
        png: A rendered phantom as a PNG file.
    """

    network: StagingNetwork
    bundle: Bundle
    png: bytes


def main() -> None:
    """Time everything and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=256, help="side of the PNG, pixels")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime and of PyTorch alike")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    wall, cpu = interleaved(timed(workload(arguments.side), arguments.threads), arguments.repeats)
    result = {
        "ratio": round(wall["decode_to_answer"] / wall["engine"], 3),
        "torch_ratio": round(wall["torch_eager"] / wall["engine"], 3),
        "cpu_ratio": round(cpu["decode_to_answer"] / cpu["engine"], 3),
        "torch_cpu_ratio": round(cpu["torch_eager"] / cpu["engine"], 3),
        "backbone": "mobilenetv3_small",
        "size_px": SIZE,
        "png_side_px": arguments.side,
        "threads": arguments.threads,
        "cores": available_cores(),
        "repeats": arguments.repeats,
        **{f"{name}_ms": round(1e3 * value, 3) for name, value in wall.items()},
        **{f"{name}_cpu_ms": round(1e3 * value, 3) for name, value in cpu.items()},
    }
    print(json.dumps(result))


def workload(side: int) -> Workload:
    """Build the network, its bundle (in memory) and the PNG."""
    network = build("mobilenetv3_small", len(METAVIR), pretrained=False, weights=None, seed=0).eval()
    card = BundleCard(
        name="benchmark",
        created_by="benchmark",
        stages=StagesCard(names=METAVIR.names, cutoffs=METAVIR.cutoffs),
        preprocess=PreprocessSpec(size=SIZE),
        network=NetworkCard(backbone=network.backbone_name, parameters=parameter_count(network), opset=18),
        stamp={},
        card={},
        parity={},
        files={},
    )
    stream = io.BytesIO()
    Image.fromarray(render_case(3, 0, 2, side, "easy")).save(stream, "PNG")
    return Workload(network, Bundle(card, export_onnx(network, SIZE, 18), ()), stream.getvalue())


def timed(work: Workload, threads: int) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name; the parts of decode-to-answer are timed as well, to show where time goes."""
    predictor = Predictor(work.bundle, threads)
    [staging] = predictor.predict_bytes(work.png, "benchmark.png")
    if staging.outcome != "stage" or staging.network_view is None:
        raise SystemExit(f"the benchmark image was refused: {staging.reasons}")
    batch = as_network_input(staging.network_view[None])
    tensor = torch.from_numpy(batch)
    engine = Engine(work.bundle.network, work.bundle.card.network, len(METAVIR), threads)
    [image] = read_bytes(work.png, "benchmark.png")
    spec = work.bundle.card.preprocess

    def eager() -> object:
        with torch.inference_mode():
            return work.network(tensor).logits

    def cut() -> object:
        return preprocess(UltrasoundImage(np.ascontiguousarray(image.pixels), "PNG"), spec)

    return {
        "engine": lambda: engine.run(batch),
        "decode_to_answer": lambda: predictor.predict_bytes(work.png, "benchmark.png"),
        "torch_eager": eager,
        "decode": lambda: read_bytes(work.png, "benchmark.png"),
        "preprocess": cut,
    }


def interleaved(functions: dict[str, Callable[[], object]], repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median wall and processor seconds per call.

    Every round times each function once, so that whatever else the machine does hits all alike.
    """
    wall: dict[str, list[float]] = {name: [] for name in functions}
    cpu: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + WARM_UP):
        for name, function in functions.items():
            function()  # the first call after another function pays for its cold caches and sleeping threads
            busy, started = time.process_time(), time.perf_counter()
            function()
            elapsed, used = time.perf_counter() - started, time.process_time() - busy
            if repeat >= WARM_UP:
                wall[name].append(elapsed)
                cpu[name].append(used)
    return _medians(wall), _medians(cpu)


def _medians(samples: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in samples.items()}


if __name__ == "__main__":
    main()
