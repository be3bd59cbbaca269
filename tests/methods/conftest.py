"""What the tests of most methods begin with: answers of a student and of its teacher, images, a network that teaches.

A test module whose method needs others has fixtures of its own by these names.
"""

from __future__ import annotations

import pytest
import torch

from fibrokd.pipeline import distill
from tests.methods.tiny import configuration, write_tiny
from tests.training.test_objective import K


@pytest.fixture
def student():
    """Logits of eight images."""
    return torch.randn(8, K, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def teacher():
    """Surer logits of the same."""
    return 3 * torch.randn(8, K, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A prepared folder that nobody changes."""
    return write_tiny(tmp_path_factory.mktemp("methods") / "prepared")


@pytest.fixture(scope="session")
def taught(prepared, tmp_path_factory):
    """The folder of a finished network that may teach."""
    folder = tmp_path_factory.mktemp("methods") / "teacher"
    distill.run(configuration(prepared, {"kind": "none"}), folder)
    return folder
