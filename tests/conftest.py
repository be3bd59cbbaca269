"""Fixtures of the whole suite."""

from __future__ import annotations

import pytest
from hypothesis import settings

# The same examples on every machine and every day, however busy it is: a suite that fails once in a while is not read.
settings.register_profile("same_every_day", derandomize=True, deadline=None)
settings.load_profile("same_every_day")


@pytest.fixture(scope="session", autouse=True)
def _identity_key_of_the_tests(tmp_path_factory):
    """Keep the key that stands in for patient identifiers out of the home folder of whoever runs the tests."""
    import os

    path = tmp_path_factory.mktemp("identity") / "identity.key"
    before = os.environ.get("FIBROKD_IDENTITY_KEY")
    os.environ["FIBROKD_IDENTITY_KEY"] = str(path)
    yield
    os.environ.pop("FIBROKD_IDENTITY_KEY")
    if before is not None:
        os.environ["FIBROKD_IDENTITY_KEY"] = before


@pytest.fixture(scope="session", autouse=True)
def _one_thread_per_worker():
    """Several workers share two cores; more threads than cores makes torch slower, not faster."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
