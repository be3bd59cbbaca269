"""Fixtures of the whole suite."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread_per_worker():
    """Several workers share two cores; more threads than cores makes torch slower, not faster."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
