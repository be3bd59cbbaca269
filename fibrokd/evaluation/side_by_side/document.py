"""compare.json: runs side by side. Every network with its figures, every pair with difference and agreement.

The shape is published in ``fibrokd/evaluation/compare.schema.json``. Networks, comparisons and agreement are as in
metrics.json, over the images that all runs asked. Wall times, hosts and paths have no place in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fibrokd.evaluation import document as metrics
from fibrokd.evaluation.agreement.document import agreements
from fibrokd.evaluation.comparisons.document import comparisons
from fibrokd.evaluation.end_points.document import thresholds_told
from fibrokd.evaluation.intervals import BootstrapConfig, bootstrap
from fibrokd.evaluation.side_by_side.repetitions import repetitions
from fibrokd.evaluation.side_by_side.runs import Run
from fibrokd.evaluation.side_by_side.settings import differing
from fibrokd.evaluation.side_by_side.shared import Shared
from fibrokd.evaluation.stage_figures import stage_figures

FORMAT = 3
SCHEMA = Path(metrics.__file__).with_name("compare.schema.json")


def compare_document(
    runs: Sequence[Run], shared: Shared, config: BootstrapConfig, same_but_seed: bool = False
) -> dict[str, Any]:
    """Return the content of compare.json.

    Args:
        runs: Two or more, in the order of the tables.
        shared: Their answers to the images that all of them asked.
        config: How intervals are made.
        same_but_seed: All runs are repetitions of one another.
    """
    split = shared.parts[0].split
    samples = {part.network: bootstrap(part, config) for part in shared.parts}
    different = [samples[name] for name in distinct_networks(runs)]
    networks = {
        run.network_name(network): {
            "run": run.name,
            "network": network,
            "parameters": run.metrics["networks"][network]["parameters"],
            split: stage_figures(samples[run.network_name(network)]),
        }
        for run in runs
        for network in run.parts
    }
    thresholds = {
        (run.network_name(network), split): thresholds_told(run.metrics["networks"][network].get(split, {}))
        for run in runs
        for network in run.parts
    }
    of_name = {run.network_name(network): network for run in runs for network in run.parts}
    agreement = _same_name_first(agreements(different), of_name)
    return {
        "format": FORMAT,
        "split": split,
        "images": shared.images,
        "scale": list(runs[0].scale.names),
        "level": config.level,
        "bootstrap": metrics.bootstrap_words(shared.parts, config, shared.known_patients),
        "runs": {run.name: _run(run, shared) for run in runs},
        "networks": networks,
        "comparisons": _same_name_first(comparisons(different, thresholds), of_name),
        "agreement": agreement,
        "repetitions": repetitions(runs, networks, agreement, split, same_but_seed),
        "settings": differing(runs),
    }


def distinct_networks(runs: Sequence[Run]) -> list[str]:
    """Return what networks are called, each once: one that several runs share is not compared with itself.

    Nor is it compared several times with the others: every pair would stand in the correction as often.
    """
    found: dict[str, str] = {}
    for run in runs:
        for network in run.parts:
            name = run.network_name(network)
            found.setdefault(run.record.inputs.get(network, name), name)
    return list(found.values())


def _same_name_first(entries: list[dict[str, Any]], of_name: Mapping[str, str]) -> list[dict[str, Any]]:
    """One network in two runs is what runs are compared for; pairs of other networks follow."""
    return sorted(entries, key=lambda entry: of_name[entry["first"]] != of_name[entry["second"]])


def _run(run: Run, shared: Shared) -> dict[str, Any]:
    asked = shared.asked[run.name]
    return {
        "step": run.record.step,
        "digest": run.record.digest,
        "files": {name: run.record.outputs[name] for name in ("images.csv", "metrics.json", "predictions.csv")},
        "inputs": dict(run.record.inputs),
        "trainings": sorted(run.trainings.keys() & run.parts.keys()),
        "images": asked,
        "left_out": asked - shared.images,
        "stamp": dict(run.stamp),
    }
