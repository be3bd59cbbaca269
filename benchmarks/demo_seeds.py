"""Does distillation help on the demo cohort? The demo's two students again under other seeds, from the same book.

``ratio`` = mean balanced accuracy of the distilled students ÷ that of the plain ones on the demo's test patients.
The demo's own students count as their seed; the others are ordinary resumable run folders under ``RUN/seeds``.

Run after ``make demo``: ``python -m benchmarks.demo_seeds runs/demo [--seeds 0 1 2]``
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from fibrokd.config import load_config
from fibrokd.files import read_json
from fibrokd.pipeline import assess, distill
from fibrokd.pipeline.run import RunConfig

STUDENTS = ("student_plain", "student_kd")


def train(run: Path, config: RunConfig, student: str, seed: int) -> Path:
    """Train one student under one seed, unless that has been done."""
    plan = config.students[student]
    if seed == plan.train.seed:
        return run / student
    settings: dict[str, Any] = {name: getattr(plan, name) for name in type(plan).model_fields}
    settings["train"] = plan.train.model_copy(update={"seed": seed})
    out = run / "seeds" / f"{student}_s{seed}"
    book = run / "book" if plan.method.kind != "none" else None
    distill.run(distill.DistillConfig(**settings, prepared=run / "prepared", views=config.views, book=book), out)
    return out


def main() -> None:
    """Train, assess and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--config", type=Path, default=Path("configs/demo.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    run, config = arguments.run, load_config(arguments.config, RunConfig)
    networks = {"teacher": run / "teacher"}
    for seed in arguments.seeds:
        for student in STUDENTS:
            networks[f"{student}_s{seed}"] = train(run, config, student, seed)
    name = "assess_" + "_".join(str(seed) for seed in arguments.seeds)
    assess.run(assess.AssessConfig(prepared=run / "prepared", networks=networks, title="Seeds"), run / "seeds" / name)
    found = read_json(run / "seeds" / name / "metrics.json")["networks"]
    metrics = ("balanced_accuracy", "quadratic_kappa", "macro_f1", "log_loss")
    by_student = {
        student: {m: [found[f"{student}_s{s}"]["test"][m]["value"] for s in arguments.seeds] for m in metrics}
        for student in STUDENTS
    }
    means = {s: {m: round(statistics.mean(v), 4) for m, v in values.items()} for s, values in by_student.items()}
    plain, distilled = (means[student]["balanced_accuracy"] for student in STUDENTS)
    teacher = {m: found["teacher"]["test"][m]["value"] for m in metrics}
    print(json.dumps({"ratio": round(distilled / plain, 4), "means": means, "by_seed": by_student, "teacher": teacher}))


if __name__ == "__main__":
    main()
