"""A method is a file, its configuration, its tests and a row: with nothing else changed, suites take up a new one."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.methods.tiny import ROOT

pytestmark = pytest.mark.slow
NEW = "as_vanilla_kd"
SUITES = ["conformance", "gradients", "refusals", "from_configuration_to_bundle"]

OWN_TESTS = """from tests.methods.coefficients import SHARED, VANILLA, Weighed

WEIGHED = Weighed(SHARED, {"train": VANILLA})
"""


def _renamed(text):
    for old in ('kind: Literal["kd"] = "kd"', 'kind="kd"'):
        assert text.count(old) == 1
        text = text.replace(old, old.replace('"kd"', f'"{NEW}"'))
    return text


@pytest.mark.timeout(600)
def test_a_file_a_configuration_a_test_file_and_a_row_are_all(tmp_path):
    for part in ("fibrokd", "configs", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    text = (ROOT / "fibrokd/methods/kd.py").read_text(encoding="utf-8")
    (tmp_path / f"fibrokd/methods/{NEW}.py").write_text(_renamed(text), encoding="utf-8")
    shipped = (ROOT / "configs/methods/kd.yaml").read_text(encoding="utf-8")
    (tmp_path / f"configs/methods/{NEW}.yaml").write_text(shipped.replace("kind: kd", f"kind: {NEW}"), encoding="utf-8")
    (tmp_path / f"tests/methods/test_{NEW}.py").write_text(OWN_TESTS, encoding="utf-8")
    rows = tmp_path / "fibrokd/methods/__init__.py"
    text = rows.read_text(encoding="utf-8")
    for start in ("from fibrokd.methods import (\n", "_MODULES = (\n"):
        assert text.count(start) == 1
        text = text.replace(start, f"{start}    {NEW},\n")
    rows.write_text(text, encoding="utf-8")

    suites = [f"tests/methods/test_{suite}.py" for suite in SUITES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow", "-k", NEW]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([*command, *suites], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = int(done.stdout.rpartition(" passed")[0].split()[-1])
    assert passed >= 15, done.stdout[-500:]
