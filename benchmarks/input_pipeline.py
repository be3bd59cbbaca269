"""Does the input keep up? Images/s of the real loop ÷ images/s of the same steps on tensors already in memory.

``ratios`` by backbone, wanted ≥ 0.90 at 224 px. The real loop draws and applies views, mixes pairs and prefetches in
its background thread; the other side repeats finished batches.

Run: ``python -m benchmarks.input_pipeline [--side 224] [--backbones mobilenetv3_small,resnet18]``
"""

from __future__ import annotations

import argparse
import json
import statistics

import torch

from benchmarks.training_material import interleaved, paired_ratio, rendered_images, trainer
from fibrokd.training.augment import ViewSpec
from fibrokd.training.loop import Trainer
from fibrokd.training.objective import Moment
from fibrokd.training.runtime import RuntimeConfig

BACKBONES = {
    # Fast networks need more images per turn for the clock; slow ones fewer for your patience.
    "mobilenetv3_small": (192, "fp32"),
    "efficientnet_b0": (96, "fp32"),
    "resnet18": (96, "bf16"),
    "resnet50": (64, "bf16"),
}


def measure(backbone: str, side: int, repeats: int) -> dict[str, float]:
    """Return the ratio and both rates for one backbone."""
    count, precision = BACKBONES[backbone]
    images = rendered_images(count, side, ViewSpec())
    run = trainer(
        backbone, images, None, RuntimeConfig.model_validate({"precision": precision, "memory_format": "channels_last"})
    )
    batches = list(images.batches(0, 32))

    def in_memory(run: Trainer = run) -> None:
        run.trainee.set_modes()
        for batch in batches:
            run.step(batch, Moment(0, 1))

    seconds = interleaved({"loop": run.train_epoch, "memory": in_memory}, repeats)
    return {
        "ratio": paired_ratio(seconds, "memory", "loop"),
        "loop_images_per_s": round(count / statistics.median(seconds["loop"]), 1),
        "memory_images_per_s": round(count / statistics.median(seconds["memory"]), 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--backbones", default=",".join(BACKBONES))
    arguments = parser.parse_args()
    found = {name: measure(name, arguments.side, arguments.repeats) for name in arguments.backbones.split(",")}
    result = {
        "ratios": {name: values["ratio"] for name, values in found.items()},
        "details": found,
        "side": arguments.side,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
