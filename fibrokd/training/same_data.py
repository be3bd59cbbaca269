"""Whether a network was trained on the data at hand. Torch-free."""

from __future__ import annotations

from pathlib import Path

from fibrokd.artifacts import read_record, require
from fibrokd.data.prepared import Prepared
from fibrokd.errors import TrainingError


def check_same_data(folder: Path, prepared: Prepared) -> None:
    """Refuse a network that was trained on other data or another split than ``prepared``.

    Raises:
        TrainingError: Digests differ.
        ArtifactError: The folder is not a finished network.
    """
    record = require(folder, read_record(folder).step)
    if record.inputs.get("prepared") != prepared.record.digest:
        raise TrainingError(
            f"{folder} was trained on another prepared folder than {prepared.folder}.",
            "Its images may be test images here. Use the folder it was trained on, or train it again on this one.",
        )
