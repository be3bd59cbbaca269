"""What runs are called: by their folders, as briefly as tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ASSESS = "assess"
"""Folder of a run that holds its assessment; a run is called after the folder that this one lies in."""


def run_names(folders: Sequence[Path]) -> list[str]:
    """Return a name for every folder: its last part, or as many as tell all of them apart.

    What all paths end in says nothing about any of them and is left out.

    Args:
        folders: Different folders, absolute.

    Example:
        >>> run_names([Path("/x/seed_0/assess"), Path("/x/seed_1/assess")])
        ['seed_0', 'seed_1']
        >>> run_names([Path("/x/kd/seed_0"), Path("/y/plain/seed_0"), Path("/x/kd/seed_1")])
        ['kd/seed_0', 'plain/seed_0', 'kd/seed_1']
    """
    parts = [list(folder.parts[1:] if folder.is_absolute() else folder.parts) for folder in folders]
    parts = [part[:-1] if part[-1] == ASSESS and len(part) > 1 else part for part in parts]
    while len({part[-1] for part in parts}) == 1 and all(len(part) > 1 for part in parts):
        parts = [part[:-1] for part in parts]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    # A run's folder and the one inside it: only a number is left.
    return [f"{'/'.join(part[-1:])} ({number})" for number, part in enumerate(parts, start=1)]
