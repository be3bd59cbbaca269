"""Step ``phantom``: a configuration in, a synthetic cohort with known truth out.

Writes F0/ … F4/ (or dicom/), ``truth.csv`` with one row per file, and ``images.sha256`` in the format of
``sha256sum --check``. Wiring only; everything is made in :mod:`fibrokd.phantom`.
"""

from __future__ import annotations

from pathlib import Path

from fibrokd.artifacts import Record, begin
from fibrokd.phantom.cohort import CohortConfig
from fibrokd.phantom.writing import DIGESTS, STEP, TRUTH, verify_cohort, write_cohort


class PhantomConfig(CohortConfig):
    """Configuration of the ``phantom`` step: a cohort."""


def run(config: PhantomConfig, out: Path) -> Record:
    """Write a cohort; an interrupted run goes on where it was, a finished one is left alone.

    Args:
        config: What to generate. ``workers`` is not part of the run's identity.
        out: Run folder, new or of the same configuration.

    Returns:
        The finished record; its outputs are ``truth.csv`` and ``images.sha256``, which covers every image.

    Raises:
        ArtifactError: ``out`` holds something else, or a finished cohort in it was altered.
    """
    step = begin(out, STEP, config.identity(), {})
    if step.finished:
        verify_cohort(out)
        return step.record
    written = write_cohort(config, out)
    return step.finish(
        (TRUTH, DIGESTS),
        files=written.files,
        kept=written.kept,
        workers=written.workers,
        seed=config.seed,
        device="cpu",
    )
