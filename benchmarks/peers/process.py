"""A side of the comparison that lives in a process of its own and waits for questions while others are timed.

Owns the protocol: one line of text on standard input asks, one line of JSON on standard output answers, and a first
such line, before any question, tells facts. Knows no question.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """One side at work.

    Args:
        python: Interpreter.
        module: What it runs, a module of ``benchmarks``.
        material: File or folder that the module reads.
        expected: What that interpreter must have, for the message.

    Attributes:
        facts: What it said before any question.

    Raises:
        SystemExit: The process ended; its own message stands above.
    """

    def __init__(self, python: Path, module: str, material: Path, expected: str) -> None:
        self.expected = expected
        # Absolute, but not resolved: the python of a virtual environment is a link out of it.
        command = [str(python.absolute()), "-m", f"benchmarks.peers.{module}", str(material.absolute())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.facts = self._answer()

    def ask(self, question: str) -> Any:
        """Ask, and wait for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.close()
            raise SystemExit(f"One side ended ({self.process.returncode}): expected {self.expected}.")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def open_peer(python: Path, module: str, material: Path) -> Process:
    """Start the other library's side."""
    return Process(python, module, material, "a Python with torchdistill")
