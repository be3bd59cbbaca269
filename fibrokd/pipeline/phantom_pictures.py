"""Whether pictures are those of a phantom cohort: by the digests that the ``phantom`` step recorded, and not by a name.

Generated pictures are nobody's: identifiers stay readable, and whole frames may be kept. So a record that lies beside
real pictures, or real pictures that were put into a cohort's folder, must not pass for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fibrokd.artifacts import read_record
from fibrokd.data.walking import plain
from fibrokd.errors import ArtifactError
from fibrokd.files import digest_file
from fibrokd.phantom.writing import DIGESTS, STEP
from fibrokd.progress import say


def are_of_phantom_step(root: Path, digests: Mapping[str, str]) -> bool:
    """Return whether ``root`` is a finished phantom cohort and every file is one that it recorded, unaltered.

    Args:
        root: Data root.
        digests: sha256 of every file that is to be read, by name as :func:`fibrokd.data.walking.walk` writes it.
    """
    try:
        record = read_record(root)
        if record.step != STEP:
            return False
        unaltered = record.finished and record.outputs.get(DIGESTS) == digest_file(root / DIGESTS)
        lines = (root / DIGESTS).read_text(encoding="utf-8").splitlines() if unaltered else []
    except (ArtifactError, OSError, UnicodeDecodeError):
        return False
    known = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    strange = sum(known.get(plain(name)) != digest for name, digest in digests.items())
    if strange:
        say(
            f"  {strange} of {len(digests)} files in this folder of the phantom step are not those it recorded: all "
            "are treated as pictures of real patients (synthetic: true if they are not)."
        )
    return not strange
