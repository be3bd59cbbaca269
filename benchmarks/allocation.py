"""What a training step gains where the process keeps the memory that it frees (MobileNetV3-Small, batch 32).

Two processes take turns on the same steps of the real loop: one keeps its freed memory, as every training of fibrokd
does, one gives it back, as glibc does by default. ``ratio`` = step that gives back ÷ step that keeps, median over
turns; ``loss_difference`` is the largest difference of the losses (wanted: 0); ``peak_mb`` of each.

Run: ``python -m benchmarks.allocation [--side 224] [--repeats 8] [--threads 2]``
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
MODES = ("keep", "give")


def side_of(mode: str, side: int, threads: int) -> None:
    """Take three steps whenever a line comes in, and tell the seconds, the last loss and the peak so far."""
    import torch

    from benchmarks.training_material import rendered_images, trainer
    from fibrokd.memory import peak_mb
    from fibrokd.training import runtime
    from fibrokd.training.augment import ViewSpec
    from fibrokd.training.objective import Moment
    from fibrokd.training.runtime import RuntimeConfig

    torch.set_num_threads(threads)
    with ExitStack() as stack:
        if mode == "give":
            stack.enter_context(patch.object(runtime, "keep_freed_memory", bool))
        images = rendered_images(96, side, ViewSpec())
        run = trainer("mobilenetv3_small", images, None, RuntimeConfig(precision="fp32", memory_format="channels_last"))
        batches = list(images.batches(0, 32))
        run.trainee.set_modes()
        torch.manual_seed(0)  # dropout
        print("ready", flush=True)
        for _ in sys.stdin:
            started = time.perf_counter()
            losses = [sum(run.step(batch, Moment(0, 1)).values()) for batch in batches]
            seconds = (time.perf_counter() - started) / len(batches)
            print(json.dumps({"seconds": seconds, "loss": losses[-1], "peak_mb": round(peak_mb())}), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mode", choices=MODES, help="used by the benchmark itself")
    options = parser.parse_args()
    if options.mode:
        side_of(options.mode, options.side, options.threads)
        return
    sides = {}
    for mode in MODES:
        command = [sys.executable, "-m", "benchmarks.allocation", "--mode", mode]
        command += ["--side", str(options.side), "--threads", str(options.threads)]
        sides[mode] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        _line(sides[mode])
    turns = [{mode: _asked(side) for mode, side in sides.items()} for _ in range(options.repeats + 1)][1:]
    for side in sides.values():
        side.communicate()
    result = {
        "ratio": round(median(turn["give"]["seconds"] / turn["keep"]["seconds"] for turn in turns), 3),
        "loss_difference": max(abs(turn["give"]["loss"] - turn["keep"]["loss"]) for turn in turns),
        "ms_per_step": {mode: round(1000 * median(turn[mode]["seconds"] for turn in turns)) for mode in MODES},
        "peak_mb": {mode: turns[-1][mode]["peak_mb"] for mode in MODES},
        "side": options.side,
        "threads": options.threads,
        "turns": options.repeats,
    }
    print(json.dumps(result))


def _asked(side: subprocess.Popen[str]) -> dict[str, float]:
    assert side.stdin is not None
    side.stdin.write("step\n")
    side.stdin.flush()
    answer: dict[str, float] = json.loads(_line(side))
    return answer


def _line(side: subprocess.Popen[str]) -> str:
    assert side.stdout is not None
    line = side.stdout.readline()
    if not line:
        raise SystemExit("One side ended; its own message stands above.")
    return line


if __name__ == "__main__":
    main()
