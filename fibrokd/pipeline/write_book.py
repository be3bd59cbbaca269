"""Step ``write-book``: a teacher answers every training view once, for any number of students to read."""

from __future__ import annotations

import shutil
from pathlib import Path

from fibrokd.artifacts import Record, begin, read_record, require
from fibrokd.config import Config
from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection, select
from fibrokd.methods import open_network
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import PARTS, BookConfig, write_book
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.runtime import accelerator
from fibrokd.training.teachers import LiveTeacher, check_competence


class WriteBookConfig(Config):
    """Configuration of the step."""

    prepared: Path
    """Folder that ``fibrokd prepare`` wrote."""
    teacher: Path
    """Folder of a finished network: that ``fibrokd teach`` wrote, or ``fibrokd distill``."""
    book: BookConfig = BookConfig()
    """Mode and number of views."""
    views: ViewSpec = ViewSpec()
    """Augmentation and MixUp; students that read the book must use the same."""
    selection: Selection = Selection()
    """Which part of the training images; students that read the book must use the same."""
    minimum_balanced_accuracy: float | None = None
    """Refuse a teacher whose validation balanced accuracy is below; by default 1.25 times chance."""


def run(config: WriteBookConfig, out: Path) -> Record:
    """Write the book into ``out``; resumes an interrupted run.

    Raises:
        FibroKDError: The teacher belongs to other data, is no better than chance, or ``out`` holds something else.
    """
    prepared = Prepared.open(config.prepared)
    teacher_record = require(config.teacher, read_record(config.teacher).step)
    settings = config.model_dump(mode="json", exclude={"prepared": True, "teacher": True, "book": {"batch_size"}})
    inputs = {"prepared": prepared.record.digest, "teacher": teacher_record.digest}
    step = begin(out, "write-book", settings, inputs)
    if step.finished:
        shutil.rmtree(out / PARTS, ignore_errors=True)
        return step.record
    device = accelerator().device
    teacher = LiveTeacher.open(config.teacher, prepared, device, open_network)
    check_competence(teacher, prepared, config.minimum_balanced_accuracy)
    images = TrainingImages.of(select(prepared, config.selection), config.views)
    outputs = write_book(out, teacher, teacher_record.digest, images, prepared, config.book)
    record = step.finish(outputs, device=str(device))
    shutil.rmtree(out / PARTS)
    return record
