"""Configuration: strict, frozen, and every problem in one message."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from fibrokd.config import Config, apply_overrides, load_config, parse_config
from fibrokd.errors import ConfigError


class Inner(Config):
    rate: float = 0.1
    names: tuple[str, ...] = ()


class Outer(Config):
    count: int
    inner: Inner = Inner()
    root: Path | None = None


class Round(Config):
    kind: Literal["round"] = "round"
    radius: float = 1.0


class Square(Config):
    kind: Literal["square"] = "square"
    edge: float = 1.0


class Nested(Config):
    root: Path | None = None
    shape: Annotated[Round | Square, Field(discriminator="kind")] = Round()
    inners: dict[str, Inner] | None = None
    several: tuple[Inner, ...] | None = None


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


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "key: value"),
        ("count: 1\ninner: {rate: 0.1, rate: 0.2}", "'rate' is there twice"),
    ],
)
def test_a_file_that_is_no_mapping_or_holds_a_key_twice_is_refused(tmp_path, text, match):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=match):
        load_config(path, Outer)


def test_what_is_merged_into_a_mapping_may_be_said_otherwise_there(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("count: 1\ninner: {<<: {rate: 0.5, names: [a]}, rate: 0.2}\n")
    assert load_config(path, Outer).inner == Inner(rate=0.2, names=("a",))


def test_a_file_stands_on_its_base_section_by_section(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yaml").write_text("count: 3\ninner: {names: [a], rate: 0.5}\n")
    (tmp_path / "deep" / "b.yaml").write_text("base: ../a.yaml\ninner: {names: [b]}\n")
    (tmp_path / "c.yaml").write_text("base: deep/b.yaml\n")
    found = load_config(tmp_path / "c.yaml", Outer, ["inner.rate=0.25"])
    assert found == Outer(count=3, inner=Inner(names=("b",), rate=0.25))


@pytest.mark.parametrize(
    ("text", "match"),
    [("base: b.yaml", "own `base`"), ("base: 3", "should name a file"), ("base: no.yaml", "found none")],
)
def test_a_base_that_cannot_be_read_is_refused(tmp_path, text, match):
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text("base: a.yaml")
    with pytest.raises(ConfigError, match=match):
        load_config(tmp_path / "a.yaml", Outer)


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


SQUARE_WITH_RADIUS = (
    "shape.square.radius: unknown key, a setting of kind round, and kinds are not combined; known here: kind, edge"
)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"rooot": "a"}, "rooot: unknown key, did you mean root?"),
        ({"rate": 1}, "rate: unknown key, did you mean inners.rate?"),
        ({"shape": {"kind": "square", "edges": 1}}, "shape.square.edges: unknown key, did you mean edge?"),
        ({"shape": {"kind": "square", "radius": 1}}, SQUARE_WITH_RADIUS),
        ({"inners": {"a": {"nams": []}}}, "inners.a.nams: unknown key, did you mean names?"),
        ({"several": [{}, {"rat": 1}]}, "several.1.rat: unknown key, did you mean rate?"),
        ({"qqq": 1}, "qqq: unknown key, known here: root, shape, inners, several"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_valid_one_or_with_all(data, said):
    with pytest.raises(ConfigError) as error:
        parse_config(data, Nested)
    assert error.value.problem == f"configuration has 1 problem(s): {said}"


@given(st.sampled_from(sorted(Nested.model_fields)), st.integers(0, 20), st.sampled_from("xyz"))
def test_a_key_with_one_letter_too_many_is_recognised(key, place, letter):
    wrong = key[:place] + letter + key[place:]
    with pytest.raises(ConfigError, match=rf"{wrong}: unknown key, did you mean {key}\?"):
        parse_config({wrong: None}, Nested)
