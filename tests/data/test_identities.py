"""Identities: one way to a key, whoever names the person; nobody is named by a placeholder, nobody by a guess."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.data.dicom.identity_keys import DicomIdentity
from fibrokd.data.identities import (
    ENVIRONMENT_VARIABLE,
    is_placeholder,
    load_secret,
    normalise,
    reconcile,
    secret_path,
    split_issuer,
    stand_in,
)
from fibrokd.errors import ConfigError

SECRET = b"a secret of at least sixteen bytes"
NOBODY = ["", "0", "000000", "ANON", "anonymous", "Anonymized", "unknown", "N/A", "--", "-----", "999", "99999", "XXXX",
          "PATIENT", "DELETED", "DUMMY", "ANON^0", "REMOVED", "default",
          "ANONYMOUS^PATIENT", "Test Patient", "None", " ", "no name", "?"]  # fmt: skip
SOMEBODY = ["P0", "ANON0017", "10", "Patienta", "x1", "42", "Tester", "12345", "Nonna", "PATIENT7", "patient0",
            "anon_0", "anon000"]  # fmt: skip


@pytest.mark.parametrize("key", NOBODY)
def test_placeholders_name_nobody_in_tables_and_headers_alike(key: str) -> None:
    assert is_placeholder(key)
    assert DicomIdentity(key.strip(), "HOSPITAL", "", "").patient_key is None


@pytest.mark.parametrize("key", SOMEBODY)
def test_keys_that_name_somebody_are_believed_in_tables_and_headers_alike(key: str) -> None:
    assert not is_placeholder(key)
    assert DicomIdentity(key, "", "", "").patient_key == key


@pytest.mark.parametrize("spelling", ["a-17", " A-17 ", "A-17^", "a-17^^"])
def test_spellings_of_one_identifier_share_a_key(spelling: str) -> None:
    assert stand_in("patient", spelling, SECRET) == stand_in("patient", "A-17", SECRET)


@pytest.mark.parametrize("spelling", ["42", "0042", "42.0", " 042 "])
def test_numbers_survive_a_table_program(spelling: str) -> None:
    assert normalise(spelling) == "42"


def test_a_stand_in_is_keyed_and_tells_kinds_apart() -> None:
    key = stand_in("patient", "12345", SECRET)
    assert len(key) == 16
    assert key == stand_in("patient", "12345", SECRET)
    assert key not in {stand_in("patient", "12345", SECRET[::-1]), stand_in("study", "12345", SECRET)}
    assert stand_in("patient", "12345", None) == "12345"
    assert stand_in("patient", "ANON", SECRET) == "ANON"


@given(identifier=st.text(max_size=12))
def test_no_identifier_that_names_somebody_is_readable_in_its_stand_in(identifier: str) -> None:
    key = stand_in("patient", identifier, SECRET)
    assert is_placeholder(identifier) or (len(key) == 16 and key != normalise(identifier))


def test_equal_identifiers_are_one_patient_unless_all_have_different_issuers() -> None:
    assert split_issuer("HOSPITAL|12") == ("HOSPITAL", "12")
    assert split_issuer("12") == ("", "12")
    assert reconcile(["12", "12", "7"], ["A", "", ""]) == ["12", "12", "7"]
    assert reconcile(["12", "12", "12"], ["A", "B", "A"]) == ["A|12", "B|12", "A|12"]
    assert reconcile(["12", "12", "12"], ["A", "B", ""]) == ["12", "12", "12"]
    assert reconcile(["", ""], ["A", "B"]) == ["", ""]


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "identity.key"
    secret = load_secret(path)
    assert len(secret) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_secret(path) == secret
    assert load_secret(tmp_path / "other.key") != secret


def test_a_secret_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("abc")
    with pytest.raises(ConfigError, match="found 3"):
        load_secret(tmp_path / "short")
    with pytest.raises(ConfigError, match="system refused"):
        load_secret(tmp_path / "short" / "below")


def test_configuration_comes_before_environment_and_environment_before_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "env.key"))
    assert secret_path(tmp_path / "own.key") == tmp_path / "own.key"
    assert secret_path(None) == tmp_path / "env.key"
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert secret_path(None) == tmp_path / ".config" / "fibrokd" / "identity.key"
