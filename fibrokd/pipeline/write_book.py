"""Step ``write-book``: a teacher answers every training view once, for any number of students to read."""

from __future__ import annotations

import shutil
from pathlib import Path

from fibrokd.artifacts import Record, begin, require
from fibrokd.config import Config
from fibrokd.data.prepared import Prepared
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import PARTS, BookConfig, write_book
from fibrokd.training.runtime import accelerator
from fibrokd.training.teachers import LiveTeacher, check_competence


class WriteBookConfig(Config):
    """Configuration of the step."""

    prepared: Path
    """Folder that ``fibrokd prepare`` wrote."""
    teacher: Path
    """Folder that ``fibrokd teach`` wrote."""
    book: BookConfig = BookConfig()
    """Mode and number of views."""
    views: ViewSpec = ViewSpec()
    """Augmentation and MixUp; students that read the book must use the same."""
    minimum_balanced_accuracy: float | None = None
    """Refuse a teacher whose validation balanced accuracy is below; by default 1.25 times chance."""


def run(config: WriteBookConfig, out: Path) -> Record:
    """Write the book into ``out``; resumes an interrupted run.

    Raises:
        FibroKDError: The teacher belongs to other data, is no better than chance, or ``out`` holds something else.
    """
    prepared = Prepared.open(config.prepared)
    teacher_record = require(config.teacher, "teach")
    settings = config.model_dump(mode="json", exclude={"prepared": True, "teacher": True, "book": {"batch_size"}})
    inputs = {"prepared": prepared.record.digest, "teacher": teacher_record.digest}
    step = begin(out, "write-book", settings, inputs)
    if step.finished:
        shutil.rmtree(out / PARTS, ignore_errors=True)
        return step.record
    device = accelerator().device
    teacher = LiveTeacher.open(config.teacher, prepared, device)
    check_competence(teacher, prepared, config.minimum_balanced_accuracy)
    outputs = write_book(out, teacher, teacher_record.digest, prepared, config.views, config.book)
    record = step.finish(outputs, device=str(device))
    shutil.rmtree(out / PARTS)
    return record
