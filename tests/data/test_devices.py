"""Scanners and sites as they may be written down: vendors and plain labels readable, everything else a stand-in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.data.devices import device_name, fact_label, place_label, stated_device

STAND_IN = re.compile("(?:[A-Z][A-Za-z]*|device)-[0-9a-f]{4}")


@pytest.mark.parametrize(
    ("manufacturer", "vendor"),
    [
        ("GE Healthcare", "GE"),
        ("GEMS Ultrasound GE Vingmed", "GE"),
        ("TOSHIBA_MEC_US", "Canon"),
        ("Philips Medical Systems", "Philips"),
        ("SAMSUNG MEDISON CO., LTD.", "Samsung"),
        ("SuperSonic Imagine SA", "SuperSonic"),
        ("SIEMENS", "Siemens"),
    ],
)
def test_a_known_vendor_is_named_and_its_model_is_not(manufacturer: str, vendor: str) -> None:
    name = device_name(stated_device(manufacturer, "Doe 1970"))
    assert name.startswith(f"{vendor}-")
    assert STAND_IN.fullmatch(name)
    assert device_name(stated_device(manufacturer, "")) == vendor


def test_whoever_is_no_vendor_is_not_named() -> None:
    for manufacturer in ("DOE^JANE 1970", "Georg Vogel", "Atlas, Anna", "1.2.840.113619", "Synthetic"):
        assert device_name(stated_device(manufacturer, "X")).startswith("device-")
    assert device_name(stated_device(" ", "")) == ""


def test_spelling_does_not_make_another_scanner_and_a_model_does() -> None:
    one = device_name(stated_device("GE Healthcare", "LOGIQ E9"))
    assert device_name(stated_device("GE MEDICAL SYSTEMS", " logiq  e9 ")) == one
    assert device_name(stated_device("GE Healthcare", "LOGIQ S8")) != one
    assert device_name(stated_device("Doe", "A")) != device_name(stated_device("Doe", "B"))


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_a_header_says_only_vendors_and_stand_ins_come_out(manufacturer: str, model: str) -> None:
    name = device_name(stated_device(manufacturer, model))
    assert name == "" or name.isalpha() or STAND_IN.fullmatch(name)


@pytest.mark.parametrize("label", ["", "north", "Z\u00fcrich 2", "LOGIQ E9", "S2000", "room 3", "site_1", "A+B (old)"])
def test_short_plain_labels_of_a_table_pass(label: str) -> None:
    assert place_label("site", f" {label} ") == label


@pytest.mark.parametrize(
    "text",
    ["DOE^JANE", "Doe, Jane", "room 12.03.1970", "1970-03-12", "PID 0012345", "x" * 33, "a@b.org", "=1+1", "a|b"],
)
def test_names_dates_and_record_numbers_of_a_table_are_replaced(text: str) -> None:
    assert re.fullmatch("site-[0-9a-f]{4}", place_label("site", text))
    assert place_label("site", text) == place_label("site", f" {text}")


@pytest.mark.parametrize("text", ["0.072", "42", "-3.5", "intercostal", "S2", "left lobe", "120"])
def test_small_numbers_and_short_words_of_further_columns_pass(text: str) -> None:
    assert fact_label("view", f" {text} ") == text


@pytest.mark.parametrize("text", ["12345", "1987", "1234.5", "born 1987", "1987-03-04", "DOE^JANE", "4711-08-15"])
def test_what_may_be_a_record_a_day_or_a_name_is_replaced_in_further_columns(text: str) -> None:
    assert re.fullmatch("view-[0-9a-f]{4}", fact_label("view", text))


@pytest.mark.parametrize(("written", "kept"), [("12,5", "12.5"), ("0.0720", "0.072"), ("0.123456789", "0.1235")])
def test_numbers_of_further_columns_are_spelled_alike(written: str, kept: str) -> None:
    assert fact_label("fat", written) == kept
