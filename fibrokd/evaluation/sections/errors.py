"""The error atlas: the worst errors as pictures, with where the network found its answer and whom it took them for.

Stage by stage: what images of a stage were called instead, and the worst of these errors, which put most probability
farthest from the truth, one per cluster. After them come labels that the network and the nearest training patients
contradict together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fibrokd.evaluation.atlas.collected import PICTURES_PER_NETWORK, Collected, Neighbour
from fibrokd.evaluation.atlas.doubt import doubts, ranked
from fibrokd.evaluation.atlas.maps import LEAST, layer_uri, strongest, versus
from fibrokd.evaluation.figures import picture_uri
from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.severity import worst_rows
from fibrokd.evaluation.wording import listing

PICTURES_PER_REPORT = 48  # 48 noisy pictures of 192 px are about 2 MB
NEIGHBOURS_SHOWN = 3
NEIGHBOUR_SIDE = 56
LABELS_SHOWN = 10
LEAST_DOUBT = 1.0
"""Labels are listed where network and neighbours put them at least this many stages away, or half the scale."""


def errors(inputs: ReportInputs) -> dict[str, Any]:
    """Return the worst errors of every network, by true stage."""
    share = max(1, PICTURES_PER_REPORT // len(inputs.parts))
    networks = [_of_network(inputs, part, min(PICTURES_PER_NETWORK, share)) for part in inputs.parts]
    shown = [picture for network in networks for stage in network["stages"] for picture in stage["pictures"]]
    return {
        "networks": networks,
        "mapped": any(picture["layer"] and picture["uri"] for picture in shown),
        "compared": any(picture["neighbours"] for picture in shown),
        "thumbnails": any(item["uri"] for picture in shown for item in picture["neighbours"]),
    }


def _of_network(inputs: ReportInputs, part: Predictions, limit: int) -> dict[str, Any]:
    wrong = int((part.predicted != part.truth).sum())
    far = int((np.abs(part.predicted - part.truth) >= 2).sum())
    title = inputs.title_of(part.network)
    known = inputs.collected.get(part.network, Collected())
    return {
        "title": title,
        "wrong": wrong,
        "far": far,
        "images": len(part),
        "share": f"{100 * wrong / len(part):.1f} %",
        "withheld": inputs.no_picture,
        "stages": [_of_stage(inputs, part, stage, worst_rows(part, limit), known) for stage in range(len(part.scale))],
        "asked": max(map(len, known.neighbours.values()), default=0),
        "labels": _labels(part, known, title) if _knows(inputs, part.network) else None,
        "ignorant": bool(known.neighbours) and not _knows(inputs, part.network),
    }


def _of_stage(
    inputs: ReportInputs, part: Predictions, stage: int, worst: Sequence[int], known: Collected
) -> dict[str, Any]:
    """What the images of one true stage were called, and the pictures of its worst errors."""
    names = part.scale.names
    counts = np.bincount(part.predicted[part.truth == stage], minlength=len(names))
    wrong = int(counts.sum() - counts[stage])
    instead = [
        f"{names[k]} {counts[k]}" for k in np.argsort(-counts, kind="stable").tolist() if k != stage and counts[k]
    ]
    return {
        "stage": names[stage],
        "words": f"{wrong} of {counts.sum()} images called otherwise: {listing(instead)}."
        if wrong
        else ("Every image called so." if counts.sum() else "No image has this stage."),
        "pictures": [_picture(inputs, part, row, known) for row in worst if part.truth[row] == stage],
    }


def _picture(inputs: ReportInputs, part: Predictions, row: int, known: Collected) -> dict[str, Any]:
    names, p = part.scale.names, part.probabilities[row]
    image_id = part.image_ids[row]
    truth, predicted = names[part.truth[row]], names[part.predicted[row]]
    probability = f"{p[part.predicted[row]]:.2f}"
    pixels = inputs.picture(image_id)
    title = inputs.title_of(part.network)
    return {
        "image_id": image_id,
        "truth": truth,
        "predicted": predicted,
        "probability": probability,
        "probabilities": [
            (name, f"{share:.2f}", round(100 * float(share), 1)) for name, share in zip(names, p, strict=True)
        ],
        "uri": None if pixels is None else picture_uri(pixels),
        "alt": f"Ultrasound frame of true stage {truth} that {title} calls {predicted} with probability {probability}.",
        **_layer(part, row, known),
        "neighbours": _neighbours(inputs, known.neighbours.get(image_id, ())[:NEIGHBOURS_SHOWN]),
    }


def _layer(part: Predictions, row: int, known: Collected) -> dict[str, Any]:
    """Where the picture speaks for the stage it was called, rather than for its own."""
    place = None if known.evidence is None else known.evidence.rows.get(part.image_ids[row])
    if known.evidence is None or place is None:
        return {"layer": None, "cells": [], "where": ""}
    evidence = known.evidence.values[place]
    cells = versus(evidence, int(part.predicted[row]), int(part.truth[row]))
    strength = float(np.abs(cells).max())
    if strength < LEAST:
        return {"layer": None, "cells": [], "where": "No square by itself changes the answer."}
    names = part.scale.names
    rather = f"{names[part.predicted[row]]} rather than {names[part.truth[row]]}"
    most = strongest(cells)
    said = f"Nothing speaks for {rather}" if most is None else f"For {rather}: {most[0]} ({100 * most[1]:.0f} %)"
    where = f"{said}; at most {strength:.2f} log odds by one square."
    return {
        "layer": layer_uri(cells),
        "cells": [[f"{value:+.2f}".replace("-", "−") for value in line] for line in cells.tolist()],
        "where": where,
    }


def _neighbours(inputs: ReportInputs, items: Sequence[Neighbour]) -> list[dict[str, Any]]:
    found = []
    for item in items:
        pixels = inputs.picture(item.image_id)
        stage = inputs.scale[item.stage]
        found.append(
            {
                "stage": stage,
                "likeness": f"{item.likeness:.2f}",
                "uri": None if pixels is None else picture_uri(pixels, NEIGHBOUR_SIDE),
                "alt": f"Training frame of stage {stage}.",
            }
        )
    return found


def _knows(inputs: ReportInputs, network: str) -> bool:
    """Whether a network is surely better than chance; what one that is not contradicts is no news."""
    low = inputs.networks[network]["balanced_accuracy"]["low"]
    return low is not None and low > 1 / len(inputs.scale)


def _labels(part: Predictions, known: Collected, title: str) -> PageTable | None:
    if not known.neighbours:
        return None
    names = part.scale.names
    stages = np.array([[item.stage for item in known.neighbours[image_id]] for image_id in part.image_ids])
    least = min(LEAST_DOUBT, (len(names) - 1) / 2)
    doubted = [item for item in ranked(part, doubts(part, stages)) if item.doubt >= least]
    rows = [
        Row(
            head=part.image_ids[item.row],
            aside=f"{item.images} images of its cluster hold this label" if item.images > 1 else "",
            cells=(
                names[part.truth[item.row]],
                f"{names[part.predicted[item.row]]} ({part.probabilities[item.row].max():.2f})",
                " ".join(names[stage] for stage in stages[item.row]),
                f"{item.doubt:.1f}",
            ),
        )
        for item in doubted[:LABELS_SHOWN]
    ]
    if not rows:
        return None
    more = len(doubted) - len(rows)
    return PageTable(
        label=f"Labels worth checking, {title}",
        caption="Labels worth checking: network and nearest training images both put these at least "
        f"{least:g} stage away from their label, on the same side."
        + (f" The {len(rows)} most doubted of {len(doubted)}." if more else ""),
        columns=(
            Column("Image"),
            Column("Label"),
            Column("Called"),
            Column("Nearest training images", short="Nearest"),
            Column("Doubt (stages)", number=True, short="Doubt"),
        ),
        rows=rows,
    )
