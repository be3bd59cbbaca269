"""Which of the folders above a file names its stage, and which the patient. Looks at names and links, never into files.

Names of stages (``F3``) are clear. Bare numbers are not, for patients have numbers too: where they could be read in
more than one way nothing is guessed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fibrokd.data.walking import locate, written
from fibrokd.stages import StageScale

# Folder names that say how files are stored, not whom they show.
_GENERIC = {
    "train", "training", "val", "valid", "validation", "test", "images", "image", "img", "imgs", "frames", "data",
    "png", "jpg", "jpeg", "bmp", "tif", "tiff", "dcm", "dicom", "us", "ultrasound", "raw",
}  # fmt: skip


@dataclass(frozen=True)
class StageFolder:
    """What the folders above a file say.

    Args:
        stage: Stage name on the scale, ``None`` where unknown.
        patient: The first folder below the stage's that is not generic; "" where there is none.
        problem: ``no_label`` or ``ambiguous_label`` where there is no stage.
        depths: Where a bare number names the stage: how many folders that are not generic lie above it, in every way
            of reading it. Empty where the stage is named.
    """

    stage: str | None
    patient: str = ""
    problem: str = ""
    depths: frozenset[int] = frozenset()


def read_folders(folders: Sequence[str], scale: StageScale) -> StageFolder:
    """Read the folders above a file: names of stages win over bare numbers.

    Args:
        folders: Names of the folders, the outermost first.
        scale: Stage scale.
    """
    names = {name.casefold() for name in scale.names}
    read = {i: index for i, folder in enumerate(folders) if (index := scale.try_parse(folder)) is not None}
    named = [i for i in read if folders[i].casefold() in names]
    used = named or list(read)
    if not used:
        return StageFolder(None, problem="no_label")
    if len({read[i] for i in used}) > 1:
        return StageFolder(None, problem="ambiguous_label")
    depths = () if named else (sum(not _is_generic(above) for above in folders[:i]) for i in used)
    patient = next((folder for folder in folders[used[0] + 1 :] if not _is_generic(folder)), "")
    return StageFolder(scale.names[read[used[0]]], patient, depths=frozenset(depths))


def contradict(found: Iterable[StageFolder]) -> bool:
    """Return whether bare numbers name the stage at a different depth in different files.

    ``7/3/a.png`` and ``3/9/b.png`` cannot both be of patient and stage in this order.
    """
    depths = [folder.depths for folder in found if folder.depths]
    return bool(depths) and not frozenset.intersection(*depths)


def name_by_links(
    root: Path, names: Sequence[str], links: Sequence[str], scale: StageScale
) -> tuple[list[str], set[str], set[str]]:
    """Call files that lie in no stage's folder by the link that leads to them from one.

    Args:
        root: Data root.
        names: Names of all files, as :func:`walking.walk` gives them.
        links: Names of links to folders whose files are listed under other names.
        scale: Stage scale.

    Returns:
        Names of all files, in the same order; the links that files are called by now; and the names of files to which
        links of several stages lead.
    """
    staged = {
        link: os.path.realpath(locate(root, link)) + "/"
        for link in links
        if read_folders(PurePosixPath(link).parts, scale).stage is not None
    }
    if not staged:
        return list(names), set(), set()
    called: list[str] = []
    used: set[str] = set()
    disputed: set[str] = set()
    for name in names:
        ways: dict[str, str] = {}
        if read_folders(PurePosixPath(name).parts[:-1], scale).problem == "no_label":
            real = os.path.realpath(locate(root, name))
            ways = {link: link + written(real[len(to) :]) for link, to in staged.items() if real.startswith(to)}
        stages = {read_folders(PurePosixPath(way).parts[:-1], scale).stage for way in ways.values()}
        called.append(min(ways.values()) if len(stages) == 1 else name)
        used |= set(ways)
        disputed |= {name} if len(stages) > 1 else set()
    return called, used, disputed


def _is_generic(folder: str) -> bool:
    return folder.casefold() in _GENERIC
