"""Configuration: strict, frozen, and every problem in one message."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.config import Config, apply_overrides, load_config, parse_config
from fibrokd.errors import ConfigError


class Inner(Config):
    rate: float = 0.1
    names: tuple[str, ...] = ()


class Outer(Config):
    count: int
    inner: Inner = Inner()
    root: Path | None = None


def test_yaml_and_overrides_meet_in_one_frozen_object(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("count: 3\ninner: {names: [a, b]}\n")
    config = load_config(path, Outer, ["inner.rate=1", "root=some/folder"])
    assert config == Outer(count=3, inner=Inner(rate=1.0, names=("a", "b")), root=Path("some/folder"))
    with pytest.raises(ValueError, match="frozen"):
        config.count = 4


def test_every_problem_is_reported_at_once():
    with pytest.raises(ConfigError) as error:
        parse_config({"count": "three", "inner": {"rate": "fast", "speed": 1}}, Outer, "my.yaml")
    message = error.value.problem
    assert "my.yaml has 3 problem(s)" in message
    assert all(part in message for part in ("count:", "inner.rate:", "inner.speed: unknown key"))


def test_strictness_does_not_turn_text_into_numbers():
    with pytest.raises(ConfigError, match="count"):
        parse_config({"count": "3"}, Outer)


@pytest.mark.parametrize("override", ["count", "=3", "count.deeper=1", "inner.names.0.x=1"])
def test_a_wrong_override_is_named(tmp_path, override):
    path = tmp_path / "c.yaml"
    path.write_text("count: 3\ninner: {names: [a]}\n")
    with pytest.raises(ConfigError) as error:
        load_config(path, Outer, [override])
    assert override.split("=")[0] in error.value.problem


@pytest.mark.parametrize(("text", "match"), [("a: [", "not valid YAML"), ("- 1", "key: value")])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, match):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=match):
        load_config(path, Outer)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml"):
        load_config(tmp_path / "nothing.yaml", Outer)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.integers())
def test_an_override_puts_its_value_where_the_key_says_and_nothing_else_changes(parts, value):
    before = {"z": {"y": 1}}
    node = apply_overrides(before, [f"{'.'.join(parts)}={value}"])
    assert node["z"] == before["z"]
    for part in parts:
        node = node[part]
    assert node == value
    assert before == {"z": {"y": 1}}
