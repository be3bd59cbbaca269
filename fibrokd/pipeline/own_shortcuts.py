"""What shortcuts answer on the very split that networks are trained and tested on: same train rows, same test rows.

The integrity check runs its controls by cross-validation over the whole collection; these are asked again here, where
networks are compared with them. Wiring only.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from fibrokd.data.prepared import Prepared
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.shortcuts import SHORTCUTS
from fibrokd.integrity.control_data import ControlData
from fibrokd.integrity.controls import CONTROLS


def own_shortcuts(prepared: Prepared, split: str = "test") -> list[Predictions]:
    """Let every shortcut that applies learn from the training images and answer the test images.

    Args:
        prepared: The folder, or a part of it.
        split: Which images are answered.

    Returns:
        Answers with probability 1 for one stage; none where there is nothing to learn from or to answer.
    """
    train, asked = (np.flatnonzero((prepared.table["split"] == name).to_numpy()) for name in ("train", split))
    if not len(train) or not len(asked):
        return []
    rows = np.concatenate([train, asked])
    table = prepared.table.iloc[rows].reset_index(drop=True)
    # No shortcut of these looks at a picture.
    blank = np.broadcast_to(np.zeros((1, 48, 48), dtype=np.uint8), (len(rows), 48, 48))
    data = ControlData(table, blank, prepared.stages[rows])
    test = np.arange(len(rows)) >= len(train)
    used = {name: CONTROLS[name] for name in SHORTCUTS if CONTROLS[name].applies(data)}
    return [_answers(prepared, asked, name, split, control.answer(data, test)) for name, control in used.items()]


def _answers(
    prepared: Prepared, rows: Int[np.ndarray, " T"], name: str, split: str, stages: Int[np.ndarray, " T"]
) -> Predictions:
    table = prepared.table.iloc[rows]
    return Predictions(
        network=name,
        split=split,
        image_ids=tuple(table["image_id"]),
        groups=tuple(table["cluster"]),
        truth=prepared.stages[rows],
        probabilities=np.eye(len(prepared.scale))[stages],
        scale=prepared.scale,
    )
