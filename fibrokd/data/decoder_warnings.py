"""Keeps decoders' warnings out of logs: they quote header values, which may identify a patient."""

from __future__ import annotations

import logging
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

# Python's warning filters are one per process; two threads of the bedside app must not swap them under each other.
_LOCK = threading.Lock()
_LOGGERS = ("pydicom", "PIL")


@contextmanager
def warnings_as_notes() -> Iterator[list[str]]:
    """Collect the decoders' warnings instead of printing or logging them.

    Yields:
        A list that holds, after the block ended without an error, one note per kind of warning: kind and count only.
    """
    notes: list[str] = []
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    with _LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = [(logger.disabled, logger.propagate) for logger in loggers]
        for logger in loggers:
            logger.disabled = True
            logger.propagate = False  # loggers below it, such as PIL.TiffImagePlugin, are not disabled with it
        try:
            yield notes
        finally:
            for logger, (disabled, propagate) in zip(loggers, before, strict=True):
                logger.disabled, logger.propagate = disabled, propagate
    counts = Counter(warning.category.__name__ for warning in caught)
    notes.extend(f"the decoder warned ({kind}, {count} times)" for kind, count in sorted(counts.items()))
