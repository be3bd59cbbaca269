"""Teachers and books of a study: each made once, by whichever cell or process needs it first. Wiring only.

Several studies may share the folder. A folder goes by its short name as long as that is free, or holds this very
configuration; what another configuration made is left alone, and the name gets a digest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fibrokd.artifacts import RECORD, Record, read_record, require
from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection
from fibrokd.errors import ArtifactError, BusyError, FibroKDError
from fibrokd.files import digest_file, digest_json
from fibrokd.methods import METHODS
from fibrokd.pipeline import teach, write_book
from fibrokd.pipeline.study.grid import Cell, teacher_selection
from fibrokd.pipeline.study.plan import StudyConfig
from fibrokd.training.book import BookConfig
from fibrokd.training.dropout import Thinning
from fibrokd.training.signals import LOGITS


class SharedBusyError(BusyError):
    """Another process makes a teacher or a book that a cell needs."""


@dataclass(frozen=True)
class Bench:
    """Where cells are trained.

    Args:
        config: The study.
        prepared: Its data.
        out: Folder of the study.
        broken: What could not be made, and why: the next cell that needs it fails at once.
    """

    config: StudyConfig
    prepared: Prepared
    out: Path
    broken: dict[Path, FibroKDError] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        """Folder of teachers and books."""
        return self.config.shared or self.out

    def teacher(self, name: str, selection: Selection) -> Path:
        """Train a teacher on a share of the patients, unless that was done."""
        config = self._teaching(name, selection)
        return self._made(lambda: self.teacher_folder(name, selection), lambda folder: teach.run(config, folder))

    def teacher_folder(self, name: str, selection: Selection) -> Path:
        """Return where a teacher is, or would be."""
        config = self._teaching(name, selection)
        inputs = {"prepared": self.prepared.record.digest}
        if config.weights is not None:
            inputs["weights"] = digest_file(config.weights)
        return _place(
            self.shared / "teachers", f"{name}-f{selection.fraction:g}", Record("teach", config.settings, inputs)
        )

    def _teaching(self, name: str, selection: Selection) -> teach.TeachConfig:
        plan = self.config.teachers[name].model_copy(update={"selection": teacher_selection(selection)})
        settings = {key: getattr(plan, key) for key in type(plan).model_fields}
        return teach.TeachConfig(
            **settings,
            prepared=self.prepared.folder,
            views=self.config.teacher_views,
            label_noise=self.config.label_noise,
        )

    def book(self, name: str, cell: Cell) -> Path:
        """Write the book of a teacher for the views and the selection of a cell, unless that was done."""
        teacher = self.teacher(name, cell.plan.selection)
        form = self.form(cell)
        config = write_book.WriteBookConfig(
            prepared=self.prepared.folder,
            teacher=teacher,
            book=form,
            views=cell.views,
            selection=cell.plan.selection,
            minimum_balanced_accuracy=self.config.minimum_balanced_accuracy,
        )
        key = digest_json(
            {"views": cell.views.as_json(), "selection": cell.plan.selection.as_json(), "book": form.as_json()}
        )
        left_out: dict[str, Any] = {"prepared": True, "teacher": True, "book": {"batch_size"}}
        settings = config.model_dump(mode="json", exclude=left_out)
        inputs = {"prepared": self.prepared.record.digest, "teacher": require(teacher, "teach").digest}
        wanted = Record("write-book", settings, inputs)
        return self._made(
            lambda: _place(self.shared / "books", f"{name}-{key[:12]}", wanted),
            lambda folder: write_book.run(config, folder),
        )

    def form(self, cell: Cell) -> BookConfig:
        """Return the form of the book that a cell reads.

        Methods that read more than logits have books of their own, whose masks are the method's; others share one.
        """
        method = cell.plan.method
        more = sorted(METHODS[method.kind].asks_of(method) - {LOGITS})
        changes: dict[str, Any] = {"stores": tuple(more)} if more else {}
        thinning = getattr(method, "thinning", None)
        if isinstance(thinning, Thinning):
            changes["thinning"] = thinning
        return self.config.book_of(cell.arm).model_copy(update=changes)

    def source(self, name: str, cell: Cell) -> Path:
        """Make what a cell learns from: a teacher that answers online, or its book."""
        return self.teacher(name, cell.plan.selection) if cell.online else self.book(name, cell)

    def _made(self, place: Callable[[], Path], make: Callable[[Path], Record]) -> Path:
        """Make what is shared: once, by whichever process needs it first.

        Raises:
            SharedBusyError: Another process makes it.
        """
        while True:
            folder = place()
            if folder in self.broken:
                raise self.broken[folder]
            try:
                make(folder)
                return folder
            except BusyError as error:
                raise SharedBusyError(error.problem, error.todo) from error
            except FibroKDError as error:
                # Another study may have taken the name meanwhile.
                if isinstance(error, ArtifactError) and place() != folder:
                    continue
                self.broken[folder] = error
                raise


def _place(parent: Path, name: str, wanted: Record) -> Path:
    """The folder by its short name, unless that holds what another configuration made."""
    with_digest = parent / f"{name}-{wanted.identity[:8]}"
    if (with_digest / RECORD).exists():
        return with_digest
    short = parent / name
    if (short / RECORD).exists() and read_record(short).identity != wanted.identity:
        return with_digest
    return short
