"""Names and keys: copies share a normal form, different pictures keep different ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.config import parse_config
from fibrokd.errors import ConfigError, InputError
from fibrokd.integrity.identity import StemRules, refuse_unnaming, stem_keys, trusted_keys

MARKS = ["_1", "_07", " (2)", "(3)", "-copy", "_copy2", " - Copy (2)", "_aug3", "_flip", "_rot90", "_hflip", "_vflip",
         "frame012", "_frame012", "-frame3", "_noise", "_crop_2", "_rot-15", "_blur", " copy"]  # fmt: skip
RULES = StemRules()
stems = st.text(alphabet="aZ19_- .()frmecopyéß漢", min_size=1, max_size=12).filter(
    lambda s: any(c.isalnum() for c in s)
)


@given(stem=st.text(min_size=1, max_size=20))
def test_normalising_twice_changes_nothing(stem):
    once = RULES.normalise(stem)
    assert RULES.normalise(once) == once


@given(stem=stems, marks=st.lists(st.sampled_from(MARKS), max_size=4))
def test_any_sequence_of_marks_leads_back_to_the_same_normal_form(stem, marks):
    assert RULES.normalise(stem + "".join(marks)) == RULES.normalise(stem)


@given(numbers=st.lists(st.integers(0, 99_999), min_size=2, max_size=2, unique=True), letter=st.sampled_from("aKz"))
def test_names_that_merely_contain_digits_stay_distinct(numbers, letter):
    first, second = (RULES.normalise(f"{letter}{n}") for n in numbers)
    assert first != second
    assert RULES.normalise("P0001_C0_000") != RULES.normalise("P0001_C0_001")


@pytest.mark.parametrize("name", ["frame012", "copy", "(2)", "_1", "wireframe", "ct3-28", "hcopy", "a2139"])
def test_a_name_with_nothing_before_the_mark_stays_itself(name):
    assert RULES.normalise(name) == name


def test_equal_stems_in_two_folders_are_one_key_only_in_collection_scope():
    paths = ["F0/a1.png", "F0/a1_copy.png", "F3/a1.png"]
    near, refused = stem_keys(paths, RULES)
    assert near[0] == near[1] != near[2]
    assert refused == []
    wide, _ = stem_keys(paths, StemRules(scope="collection"))
    assert len(set(wide)) == 1


def test_a_naming_scheme_is_not_taken_for_one_picture():
    paths = [f"F0/img_{n}.png" for n in range(100)] + ["F1/a.png", "F1/a_1.png"]
    keys, refused = stem_keys(paths, RULES)
    assert refused == ["F0/img"]
    assert set(keys[:100]) == {""}
    assert keys[100] == keys[101] == "F1/a"


def test_broken_expressions_are_refused_with_the_configuration():
    with pytest.raises(ConfigError, match="not a regular expression"):
        parse_config({"suffixes": ["("]}, StemRules)


def test_one_number_on_every_study_is_not_believed():
    studies = [f"S{n}" for n in range(200)]
    keys = ["12345" if n % 2 else f"P{n}" for n in range(200)]
    believed, refused = trusted_keys(keys, studies)
    assert refused == ["12345"]
    assert believed == ["" if n % 2 else f"P{n}" for n in range(200)]
    assert trusted_keys(keys)[1] == []


@pytest.mark.parametrize(("patients", "visits"), [(15, 14), (3, 40), (40, 6)])
def test_patients_with_equally_many_studies_keep_their_keys(patients, visits):
    keys = [f"P{n % patients}" for n in range(patients * visits)]
    believed, refused = trusted_keys(keys, [f"S{n}" for n in range(len(keys))])
    assert refused == []
    assert believed == keys
    refuse_unnaming(keys, [f"S{n}" for n in range(len(keys))])


def test_distrust_that_takes_the_patient_from_many_images_is_refused_and_from_a_few_is_not():
    studies = [f"S{n}" for n in range(200)]
    many = ["12345" if n < 21 else f"P{n}" for n in range(200)]
    with pytest.raises(InputError, match=r"1 key\(s\) .* leaves 21 of 200 images without a patient") as caught:
        refuse_unnaming(many, studies)
    assert "accept_distrusted_keys" in caught.value.todo
    refuse_unnaming(["12345" if n < 19 else f"P{n}" for n in range(200)], studies)
    refuse_unnaming(["ANON"] * 200, studies)  # nobody was named in the first place
