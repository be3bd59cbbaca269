"""The exception tree of fibrokd, and nothing else.

::

    FibroKDError                 anything a user can act on; the command line prints it in two lines and exits 2
    ├── ConfigError              a configuration file or a --set override is wrong
    ├── ArtifactError            a run folder is missing, unfinished, altered, or made with another configuration
    │   └── BusyError            another process is at work in it
    ├── InputError               what the user brought cannot be used
    │   ├── UnreadableImageError one file cannot be decoded; carries a machine-readable ``reason``
    │   ├── LabelError           stages or label tables cannot be understood
    │   └── TableError           rows of a table break its schema; lists up to ten problems
    ├── SplitError               the requested split would leak, or cannot hold every stage
    ├── TrainingError            a network, a teacher or the loop cannot go on
    │   ├── WeightsError         pretrained or saved weights cannot be had or do not fit
    │   └── BookError            a book of teacher answers does not belong to this run
    └── BundleError              a released bundle is incomplete, altered, newer, or disagrees with its golden cases
"""

from __future__ import annotations

from collections.abc import Sequence


class FibroKDError(Exception):
    """Base of every error that names what was expected, what was found, and what to do.

    Args:
        problem: What was expected and what was found instead, in one sentence.
        todo: What the user can do about it, in one sentence.
    """

    def __init__(self, problem: str, todo: str) -> None:
        super().__init__(problem, todo)
        self.problem = problem
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.problem}\n→ {self.todo}"


class ConfigError(FibroKDError):
    """A configuration file or a ``--set`` override is wrong."""


class ArtifactError(FibroKDError):
    """A run folder is missing, unfinished, altered, or was made with another configuration."""


class BusyError(ArtifactError):
    """Another process is at work in a run folder."""


class InputError(FibroKDError):
    """What the user brought cannot be used."""


class UnreadableImageError(InputError):
    """One file cannot be decoded.

    Args:
        reason: Short machine-readable reason (``truncated``, ``not_an_image``, …) as quarantine.csv records it.
        problem: What was expected and what was found.
        todo: What to do about it.
    """

    def __init__(self, reason: str, problem: str, todo: str = "Replace the file or leave it out.") -> None:
        super().__init__(problem, todo)
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadableImageError], tuple[str, str, str]]:
        """Pickle all three arguments: the error travels back from decoding worker processes."""
        return (type(self), (self.reason, self.problem, self.todo))


class LabelError(InputError):
    """Stages or a label table cannot be understood."""


class TableError(InputError):
    """Rows of a table break its schema; every kind of problem is reported at once.

    Args:
        table: Name of the table, as the user knows it.
        problems: All problems found; the message shows the first ten.
        todo: What to do about them.
    """

    SHOWN = 10

    def __init__(self, table: str, problems: Sequence[str], todo: str) -> None:
        shown = "; ".join(problems[: self.SHOWN])
        more = f"; and {len(problems) - self.SHOWN} more" if len(problems) > self.SHOWN else ""
        super().__init__(f"{table} has {len(problems)} problem(s): {shown}{more}", todo)
        self.problems = tuple(problems)


class SplitError(FibroKDError):
    """The requested split would leak, or cannot hold every stage."""


class TrainingError(FibroKDError):
    """A network, a teacher or the loop cannot go on."""


class WeightsError(TrainingError):
    """Pretrained or saved weights cannot be had or do not fit."""


class BookError(TrainingError):
    """A book of teacher answers does not belong to this run."""


class BundleError(FibroKDError):
    """A released bundle is incomplete, altered, newer, or disagrees with its golden cases."""
