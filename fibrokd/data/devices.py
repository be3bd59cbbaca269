"""What may be written down of where a picture was taken and with what: names of vendors and short plain labels.

Manufacturer and model of a DICOM header, and the columns ``site`` and ``scanner`` of a label table, are free text that
can hold anything, a name included, and they go into files that are passed on and into their digests. What is not known
to be harmless is replaced by a stand-in that still tells one text from another. Must not read files.

A stand-in is 4 hex digits of an unkeyed sha256: unkeyed, so that no digest of a prepared folder depends on a secret;
short, so that it proves no guess, for of a list of a million names every stand-in fits about fifteen.
"""

from __future__ import annotations

import re
import unicodedata

from fibrokd.files import digest_bytes

_VENDORS = {
    "Alpinion": r"alpinion",
    "Analogic": r"analogic|ultrasonix|b-?k ?(medical|ultrasound)",
    "Butterfly": r"butterfly",
    "Canon": r"canon|toshiba",
    "Chison": r"chison",
    "Clarius": r"clarius",
    "Echosens": r"echosens",
    "Edan": r"edan",
    "Esaote": r"esaote|pie medical",
    "Fujifilm": r"fuji ?film|hitachi|aloka|sonosite",
    "GE": r"ge|g\.e\.|general electric|vingmed|kretz(technik)?",
    "Mindray": r"mindray",
    "Philips": r"philips|atl",
    "Samsung": r"samsung|medison",
    "Siemens": r"siemens|acuson",
    "SonoScape": r"sonoscape",
    "SuperSonic": r"super ?sonic( imagine)?|hologic",
    "Terason": r"terason",
    "Vinno": r"vinno",
    "Zonare": r"zonare",
}
"""Makers of ultrasound scanners, and how they or the firms they took over write their names."""

_KNOWN = {name: re.compile(rf"(?<![a-z])(?:{spelling})(?![a-z])") for name, spelling in _VENDORS.items()}
_PLAIN = re.compile(r"\w[\w ./+()-]{0,31}")
_NUMBER = re.compile(r"\d{5}|\d[-./_ ]\d+[-./_ ]\d")  # record numbers, dates
_SMALL = re.compile(r"-?\d{1,3}([.,]\d+)?")
_YEAR = re.compile(r"\d{4}")
_DIGITS = 4


def stated_device(manufacturer: str, model: str) -> str:
    """Return a header's two free texts as one; only :func:`device_name` may take them further."""
    return f"{manufacturer.strip()}|{model.strip()}".strip("|")


def device_name(stated: str) -> str:
    """Return what is written down of a scanner: its vendor, and stand-ins of what else is said.

    Args:
        stated: As :func:`stated_device` returns it.

    Returns:
        ``GE-3f2a`` for a known vendor and a model, ``GE`` without a model, else ``device-3f2a``; empty stays empty.

    Example:
        >>> device_name("GE MEDICAL SYSTEMS|LOGIQ E9") == device_name("GE Healthcare |Logiq E9")
        True
        >>> device_name("GE|"), device_name("")
        ('GE', '')
    """
    manufacturer, _, model = (_normal(text) for text in stated.partition("|"))
    vendor = next((name for name, spelling in _KNOWN.items() if spelling.search(manufacturer)), None)
    if vendor is None:
        return _stand_in("device", f"{manufacturer}|{model}") if manufacturer or model else ""
    return _stand_in(vendor, model) if model else vendor


def place_label(kind: str, text: str) -> str:
    """Return a site or scanner of a label table as it may be written down.

    Short plain labels pass, for whoever writes a table chooses them to be read. What has the form of a person's name
    (DICOM's ``^``, a comma), of a date or of a record number, and whatever is long, is replaced.

    Args:
        kind: ``site``, ``scanner``, or what else it is about.
        text: What the table says.
    """
    text = text.strip()
    if not text or (_PLAIN.fullmatch(text) and not _NUMBER.search(text)):
        return text
    return _stand_in(kind, _normal(text))


def fact_label(column: str, text: str) -> str:
    """Return what a label table says of a picture as it may be written down: short plain words, and small numbers.

    Four digits in a row may be a record's, a year or a day: what holds them is replaced. Numbers have a point and at
    most four decimals afterwards, whatever they had before.

    Args:
        column: Name of the column, for stand-ins.
        text: What the table says.
    """
    text = text.strip()
    if _SMALL.fullmatch(text):
        return f"{round(float(text.replace(',', '.')), 4):g}"
    return _stand_in(column, _normal(text)) if _YEAR.search(text) else place_label(column, text)


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip(" ^").casefold()


def _stand_in(kind: str, text: str) -> str:
    return f"{kind}-{digest_bytes(f'{kind}:{text}'.encode())[:_DIGITS]}"
