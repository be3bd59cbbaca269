"""Identities: the one way from what a file, a folder or a table says about a person to a key that may be written down.

Owns what a placeholder is, when two spellings mean one identifier, and the keyed stand-in for an identifier. Tables and
headers both go through :func:`stand_in`, so that the same person gets the same key whoever names them. It decides
nothing about groups.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from fibrokd.errors import ConfigError

ENVIRONMENT_VARIABLE = "FIBROKD_IDENTITY_KEY"
_LEAST_BYTES = 16

# Whatever archives, scanners and table programs write instead of an identifier: grouping by it would merge strangers.
# A number after a word is a name (``patient0`` is the first of a list), except after the caret of DICOM names.
_PLACEHOLDER = re.compile(
    r"[\s0\-_.?*^]*|9{3,}|x+"
    r"|(?:(?:anon(?:ym(?:ous|i[sz]ed)?)?|patient|tests?|unknown|no[ _-]?name)[\s_^-]*)+(?:(?<=\^)0+)?"
    r"|none|null|nil|nan|n/?a|dummy|no[ _-]?id|not[ _-]?(?:available|known)|deleted|removed|default|undefined",
    re.IGNORECASE,
)


def is_placeholder(identifier: str) -> bool:
    """Say whether an identifier names nobody: empty, ``0``, ``ANON``, ``unknown``, … (``ANON0017`` is a name).

    Example:
        >>> is_placeholder("ANON^0"), is_placeholder("0000"), is_placeholder("P0")
        (True, True, False)
    """
    return _PLACEHOLDER.fullmatch(identifier.strip()) is not None


def normalise(identifier: str) -> str:
    """Return the spelling in which identifiers are compared.

    Upper case, single spaces, no trailing ``^``; whole numbers without leading zeros and without the ``.0`` that table
    programs add. Two persons of one site whose numbers differ in leading zeros only would be merged: that costs a
    little data, while the opposite error would put one person on both sides of a split.
    """
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", identifier)).strip(" ^").upper()
    number = re.fullmatch(r"0*(\d+)(?:\.0+)?", text)
    return number.group(1) if number else text


def split_issuer(stated: str) -> tuple[str, str]:
    """Return (issuer, identifier) of ``issuer|identifier``; the issuer is empty where none is stated."""
    issuer, _, identifier = stated.rpartition("|")
    return issuer, identifier


def stand_in(kind: str, identifier: str, secret: bytes | None) -> str:
    """Return what is written down instead of an identifier.

    Args:
        kind: ``patient``, ``issuer`` or ``study``; the same text gives different stand-ins for different kinds.
        identifier: As stated; empty stays empty, and a placeholder stays readable, for it names nobody.
        secret: Key of the project; ``None`` leaves identifiers of generated data as they are.

    Returns:
        The first 16 hex digits of HMAC-SHA256 (RFC 2104): nobody without the secret can test a guessed identifier.
    """
    if secret is None or is_placeholder(identifier):
        return identifier.strip()
    text = f"{kind}\x00{normalise(identifier)}".encode()
    return hmac.new(secret, text, hashlib.sha256).hexdigest()[:16]


def reconcile(patients: Sequence[str], issuers: Sequence[str]) -> list[str]:
    """Return one patient key per row out of identifiers with and without an issuer.

    Equal identifiers are one patient. Only where an identifier comes with several issuers, and never without one, the
    issuer tells patients apart: a row without issuer could be any of them, and must share a split with all.

    Args:
        patients: Identifier (or its stand-in) of every row, "" where unknown.
        issuers: Its issuer (or its stand-in), "" where not stated.
    """
    stated: dict[str, set[str]] = defaultdict(set)
    for patient, issuer in zip(patients, issuers, strict=True):
        stated[patient].add(issuer)
    apart = {patient for patient, found in stated.items() if patient and len(found) > 1 and "" not in found}
    return [
        f"{issuer}|{patient}" if patient in apart else patient
        for patient, issuer in zip(patients, issuers, strict=True)
    ]


def secret_path(configured: Path | None) -> Path:
    """Return where the secret lies: as configured, else as the environment says, else in the user's configuration."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return configured or (Path(named) if named else Path.home() / ".config" / "fibrokd" / "identity.key")


def load_secret(path: Path) -> bytes:
    """Read the secret; the first use makes one that only its owner can read.

    Raises:
        ConfigError: It cannot be read or made, or is too short to be a secret.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            secret = path.read_bytes().strip()
        else:
            secret = secrets.token_hex(32).encode()
            with os.fdopen(handle, "wb") as stream:
                stream.write(secret + b"\n")
    except OSError as error:
        raise ConfigError(
            f"Expected to read or make the secret that hides identifiers at {path}, the system refused "
            f"({error.strerror}).",
            f"Set identity_key or {ENVIRONMENT_VARIABLE} to a file that you can write.",
        ) from error
    if len(secret) < _LEAST_BYTES:
        raise ConfigError(
            f"Expected at least {_LEAST_BYTES} bytes of secret in {path}, found {len(secret)}.",
            "Restore the file, or move it away to have a new one made (keys of patients will then change).",
        )
    return secret
