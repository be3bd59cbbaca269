"""Who a DICOM object is about: keys for grouping, read from the header only.

The keys are raw identifiers: they live in memory, and leave it only as stand-ins (:func:`identities.stand_in`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fibrokd.data.decoder_warnings import warnings_as_notes
from fibrokd.data.dicom.file import read_header
from fibrokd.data.identities import is_placeholder
from fibrokd.data.limits import ReadLimits

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_TAGS = ["PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "Modality"]


@dataclass(frozen=True)
class DicomIdentity:
    """Identifiers of one object as its header states them.

    Args:
        patient_id: PatientID, stripped; empty where absent.
        issuer: IssuerOfPatientID, stripped; empty where absent.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
    """

    patient_id: str
    issuer: str
    study_uid: str
    series_uid: str

    @property
    def patient_key(self) -> str | None:
        """Issuer and PatientID where plausible, else ``None``."""
        if is_placeholder(self.patient_id):
            return None
        return f"{self.issuer}|{self.patient_id}" if self.issuer else self.patient_id

    @property
    def study_key(self) -> str | None:
        """StudyInstanceUID, else SeriesInstanceUID, else ``None``."""
        return self.study_uid or self.series_uid or None


def identity_of(header: Dataset) -> DicomIdentity:
    """Return the identifiers of a header."""

    def text(keyword: str) -> str:
        value = header.get(keyword)
        return "" if value is None else str(value).strip()

    return DicomIdentity(
        patient_id=text("PatientID"),
        issuer=text("IssuerOfPatientID"),
        study_uid=text("StudyInstanceUID"),
        series_uid=text("SeriesInstanceUID"),
    )


def read_identity(path: Path, limits: ReadLimits | None = None) -> DicomIdentity | None:
    """Return the identifiers of a file, or ``None`` where it is no DICOM file; pixels are not read.

    Args:
        path: Any file.
        limits: What a deflated file may inflate to; defaults to :class:`ReadLimits`.
    """
    try:
        with warnings_as_notes():
            header = read_header(path, _TAGS, limits or ReadLimits())
            return None if header is None else identity_of(header)
    except Exception:  # whatever is wrong with the file, decoding it will say so with a reason
        return None
