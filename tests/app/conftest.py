"""Streamlit's test runner leaves the app behind as ``__main__``; processes spawned later would run it."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _main_module_as_it_was():
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before
