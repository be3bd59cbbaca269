"""Runs the exported network: one ONNX Runtime session on the CPU, threads and precision explicit.

Owns the session. Knows nothing of images, stages or outcomes: a batch goes in, logits come out.
Shape letters: N batch, S side of the network input, K stages.
"""

from __future__ import annotations

import os

import numpy as np
import onnxruntime as ort
from jaxtyping import Float32

from fibrokd.errors import BundleError
from fibrokd.serving.card import NetworkCard


def available_cores() -> int:
    """Return how many cores this process may use; what the host has is beside the point in a container."""
    return len(os.sched_getaffinity(0))


class Engine:
    """An ONNX Runtime session in single precision.

    Args:
        network: Bytes of the ONNX file.
        card: Its interface as the bundle states it.
        stages: Number of stages K that the bundle declares.
        threads: Threads within one operator. One by default: a single image of a small network gains nothing from a
            second one (MobileNetV3-Small, 224 px, two busy cores: 1.77 ms with one thread, 1.98 ms with two).

    Raises:
        BundleError: The file is no network, or not the one the card describes.
    """

    def __init__(self, network: bytes, card: NetworkCard, stages: int, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Spinning threads hold a core between two images: on two busy cores they doubled the CPU time of an answer
        # (16 ms instead of 8) and sped nothing up.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only; they arrive as exceptions as well
        if card.precision != "fp32":
            raise BundleError(
                f"Expected a network in fp32, found {card.precision!r}.", "Install an engine for this precision."
            )
        try:
            self._session = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        # ONNX Runtime raises a different undocumented class per kind of damage; all of them mean the same here.
        except Exception as error:
            raise BundleError("The network of the bundle cannot be loaded.", "Restore the bundle.") from error
        self._input, self._output = card.input, card.output
        self._check(stages)

    def _check(self, stages: int) -> None:
        inputs = {item.name: item for item in self._session.get_inputs()}
        outputs = {item.name: item for item in self._session.get_outputs()}
        if set(inputs) != {self._input} or self._output not in outputs:
            raise BundleError(
                f"Expected a network from {self._input!r} to {self._output!r}, "
                f"found {sorted(inputs)} to {sorted(outputs)}.",
                "Restore the bundle.",
            )
        wide = outputs[self._output].shape[-1]
        if inputs[self._input].type != "tensor(float)" or wide != stages:
            raise BundleError(
                f"Expected a float32 network with {stages} stages, found {inputs[self._input].type} with {wide}.",
                "Restore the bundle.",
            )

    def run(self, batch: Float32[np.ndarray, "N 1 S S"]) -> Float32[np.ndarray, "N K"]:
        """Return the logits of a batch of grey levels in [0, 1]."""
        logits: np.ndarray = self._session.run([self._output], {self._input: batch})[0]
        return logits
