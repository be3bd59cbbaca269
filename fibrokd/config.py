"""Strict, frozen configuration: the base class of every Config, YAML reading and ``--set`` overrides.

YAML is data only. A component's knobs live in a Config beside the component; a step composes them. Every problem of
a file is reported in one readable list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from fibrokd.errors import ConfigError


class Config(BaseModel):
    """Base of all configurations: frozen, strict, unknown keys refused, field docstrings are the documentation."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)

    one_only: ClassVar[str] = ""
    """Of classes that are told apart by ``kind``: why two of them cannot be combined."""

    @classmethod
    def completed(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return plain data with what follows from what it says; before it is validated, by the rules of JSON.

        In place of validators that run "before": what these let through is validated as Python, where a list is no
        tuple.

        Args:
            data: Of a file, whole.

        Raises:
            ConfigError: What it says contradicts itself.
        """
        return data

    def as_json(self) -> dict[str, Any]:
        """Return the resolved configuration as plain JSON data, for records and digests."""
        data: dict[str, Any] = self.model_dump(mode="json")
        return data


C = TypeVar("C", bound=Config)


class _EachKeyOnce(yaml.SafeLoader):
    """YAML without a key that is written twice: of two values a reader would silently lose the first."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping as it is written, before anything is merged into it."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return node


def load_config(path: Path, kind: type[C], overrides: Sequence[str] = ()) -> C:
    """Read a YAML file into ``kind``, after applying ``a.b=value`` overrides.

    A file may name another one as ``base``, by its path from there: sections that it does not hold itself are then
    those of the base, whole.

    Args:
        path: YAML file; an empty file means all defaults.
        kind: Configuration class to validate against.
        overrides: ``dotted.key=value`` strings; the value is read as YAML.

    Raises:
        ConfigError: The file is missing or not YAML, or keys or values are wrong (all of them are listed).
    """
    return parse_config(apply_overrides(_read(path), overrides), kind, source=str(path))


def _read(path: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a YAML file and, below its own keys, those of the file that its ``base`` names."""
    if path.resolve() in readers:
        raise ConfigError(f"{path} is its own `base`, by way of others.", "Let one of the files stand by itself.")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"Expected a configuration file at {path}, found none ({error.strerror}).",
            "Give the path of a YAML file, such as configs/demo.yaml.",
        ) from error
    try:
        data = yaml.load(text, _EachKeyOnce) or {}  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_one_line(error)}", "Correct the syntax.") from error
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path} should hold 'key: value' pairs, found a {type(data).__name__}.", "See configs/ for examples."
        )
    base = data.pop("base", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise ConfigError(f"{path} should name a file as `base`, found {base!r}.", "Write `base: other.yaml`.")
    return {**_read(path.parent / base, (*readers, path.resolve())), **data}


def parse_config(data: Mapping[str, Any], kind: type[C], source: str = "configuration") -> C:
    """Validate plain data against ``kind``; JSON rules apply (lists become tuples, strings become paths).

    Raises:
        ConfigError: Lists every wrong key and value.
    """
    try:
        return kind.model_validate_json(json.dumps(kind.completed(data), default=str))
    except ValidationError as error:
        lines = [_problem(item, kind) for item in error.errors(include_url=False)]
        raise ConfigError(
            f"{source} has {len(lines)} problem(s): " + "; ".join(lines),
            "Correct these keys; `fibrokd STEP --help` names configuration files to start from.",
        ) from error


def apply_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of ``data`` with ``a.b=value`` strings applied; lists are addressed by index.

    Raises:
        ConfigError: An override is not of that form, or goes through a value that is not a mapping.

    Example:
        >>> apply_overrides({"a": {"b": 1}}, ["a.b=2", "c=[1, 2]"])
        {'a': {'b': 2}, 'c': [1, 2]}
    """
    result: dict[str, Any] = json.loads(json.dumps(data, default=str))
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"Expected --set key.subkey=value, found {override!r}.", "Write for example --set teacher.epochs=3."
            )
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"The value of --set {key} is not valid YAML: {value!r}.", "Quote it.") from error
        _assign(result, key.strip().split("."), parsed, override)
    return result


def _assign(node: Any, parts: list[str], value: Any, override: str) -> None:
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            key: Any = int(part)
        elif isinstance(node, dict):
            key = part
        else:
            raise ConfigError(
                f"--set {override}: {'.'.join(parts[:depth]) or 'the top'} holds a {type(node).__name__}, "
                f"which has no key {part!r}.",
                "Check the key against the configuration file.",
            )
        if last:
            node[key] = value
        else:
            if isinstance(node, dict) and node.get(key) is None:
                node[key] = {}
            node = node[key]


def _problem(item: Any, kind: type[Config]) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "(top level)"
    if item["type"] == "extra_forbidden":
        *place, key = item["loc"]
        return f"{where}: unknown key, {_of_another_kind(kind, place, key)}{_nearest(key, _known_keys(kind, place))}"
    found = "" if item["type"] == "missing" else f" (found {item['input']!r})"
    why = _one_of_a_kind(kind, item["loc"]) if isinstance(item["input"], list) else ""
    return f"{where}: {item['msg'][:1].lower()}{item['msg'][1:]}{found[:120]}{why}"


def _of_another_kind(kind: type[Config], place: Sequence[str | int], key: str) -> str:
    """Say which other kinds have this key, and why kinds are not combined; empty where ``place`` is none of a kind."""
    if not place or not all(_has_tag(config, str(place[-1])) for config in _configs_at(kind, place)):
        return ""
    owners = [config for config in _configs_at(kind, place[:-1]) if _kinds_of(config) and key in config.model_fields]
    names = [tag for config in owners for tag in _kinds_of(config)]
    why = f" ({owners[0].one_only})" if owners and owners[0].one_only else ""
    return f"a setting of kind {' and '.join(names)}, and kinds are not combined{why}; " if names else ""


def _one_of_a_kind(kind: type[Config], place: Sequence[str | int]) -> str:
    """Say why there is one, where several were given in a list; empty where a list may stand or is another mistake."""
    under = [found for config in _configs_at(kind, place[:-1]) for found in _configs_under(config, str(place[-1]))]
    return next((f"; {config.one_only}" for config in under if config.one_only), "")


def _nearest(key: str, known: Sequence[str]) -> str:
    """Say which of the known (dotted) keys may be meant, or all that are known at that place."""
    leaves: dict[str, str] = {}
    for name in known:
        leaves.setdefault(name.rpartition(".")[2], name)  # keys of the place itself come first
    near = get_close_matches(key, list(leaves), n=1)
    if near:
        return f"did you mean {leaves[near[0]]}?"
    return f"known here: {', '.join(name for name in known if '.' not in name)}"


def _known_keys(kind: type[Config], place: Sequence[str | int]) -> list[str]:
    """Keys at a place of a configuration, then those one level deeper (``data.root``)."""
    here = _configs_at(kind, place)
    fields = [name for config in here for name in config.model_fields]
    below = [
        f"{name}.{key}"
        for config in here
        for name in config.model_fields
        for found in _configs_under(config, name)
        for key in found.model_fields
    ]
    return list(dict.fromkeys([*fields, *below]))


def _configs_at(kind: type[Config], place: Sequence[str | int]) -> list[type[Config]]:
    """Configuration classes that may stand at a place."""
    here = [kind]
    for part in place:
        deeper = [found for config in here for found in _configs_under(config, str(part))]
        tagged = [config for config in here if _has_tag(config, str(part))]
        here = deeper or tagged or here  # keys of a mapping and places in a list lead nowhere else
    return here


def _configs_under(config: type[Config], name: str) -> list[type[Config]]:
    """Configuration classes that may stand under a key, within unions and containers too."""
    return _configs_in(config.model_fields[name].annotation) if name in config.model_fields else []


def _configs_in(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [found for part in get_args(annotation) for found in _configs_in(part)]


def _kinds_of(config: type[Config]) -> tuple[str, ...]:
    """What ``kind`` may be in a class that has one."""
    return get_args(config.model_fields["kind"].annotation) if "kind" in config.model_fields else ()


def _has_tag(config: type[Config], tag: str) -> bool:
    return tag in _kinds_of(config)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
