"""How each method is run on tiny data in the conformance suite: what it needs beside its own defaults.

A method that takes one teacher, or none, and any student needs no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ARRANGEMENTS: Mapping[str, Mapping[str, Any]] = {
    "reversed_kd": {"student": "resnet18", "train": {"epochs": 2}},
    "defective_kd": {
        "method": {"teacher_backbone": "tiny", "lowest": 0.0, "highest": 1.0, "teacher_epochs": 2},
        "own_teachers": True,
    },
    "tf_kd_reg": {"supervised": {"label_smoothing": 0.0}},
    "tf_kd_self": {"own_teachers": True},
    "self_knowledge_ls": {"supervised": {"label_smoothing": 0.0}, "own_teachers": True},
    "dil": {"method": {"assistants": ["tiny", "tiny"], "rounds": 2}, "own_teachers": True, "least_epochs": 2},
    "graft_multi_teacher": {"teachers": 2, "train": {"epochs": 7}, "least_epochs": 7, "structure": "block_share"},
    "ccd": {"views": {"joint": {}}},
    "class_specialised": {"selection": {"stages": ["F1", "F3", "F4"]}},
    "kddp": {
        "method": {"width": 32, "warm_up": 0.0, "every": 1},
        "train": {"epochs": 4, "average_decay": None},
        "least_epochs": 2,
        "structure": "l1",
    },
    "kd_explainer": {"train": {"epochs": 4}, "least_epochs": 3, "structure": "levels"},
    "qdnn_gslr": {"train": {"epochs": 4}, "least_epochs": 4, "structure": "bits"},
    "vam": {"structure": "block_size"},
    "uncertainty_kd": {"method": {"thinning": {"masks": 3}}},
}
"""By kind: ``method`` (settings), ``student`` (backbone), ``teachers`` (count), and parts of a student plan;
``least_epochs`` that its plan fits into (1), whether it makes ``own_teachers`` (no), and the setting that gives its
student another ``structure`` while it learns (none)."""
