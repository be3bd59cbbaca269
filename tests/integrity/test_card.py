"""The card of a collection: a form that cannot be handed in empty."""

import pytest
import yaml

from fibrokd.errors import ConfigError
from fibrokd.integrity.card import FILL_IN, QUESTIONS, CollectionCard, card_form, load_card, phantom_card


def write(tmp_path, text):
    (tmp_path / "card.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "card.yaml"


def test_the_form_asks_every_question_in_words(tmp_path):
    form = card_form()
    assert set(yaml.safe_load(form)) == set(CollectionCard.model_fields)
    for question in QUESTIONS.values():
        assert question in form
        assert len(question) > 20


def test_an_empty_form_is_refused_and_every_gap_named(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_card(write(tmp_path, card_form()))
    for name in CollectionCard.model_fields:
        assert name in str(caught.value)


def test_a_filled_form_is_read_back(tmp_path):
    filled = card_form().replace(FILL_IN, "Said so: yes, since 2019")
    card = load_card(write(tmp_path, filled))
    assert set(card.as_json().values()) == {"Said so: yes, since 2019"}
    assert card.unanswered == ()


@pytest.mark.parametrize("answer", ["unknown", "Unknown.", " UNKNOWN "])
def test_honest_gaps_are_listed(answer):
    card = CollectionCard(**(phantom_card(1, 2).as_json() | {"licence": answer, "ethics": answer}))
    assert card.unanswered == ("licence", "ethics")


@pytest.mark.parametrize("change", [{"licence": ""}, {"licence": None}, {"owner": "me"}])
def test_a_card_with_a_missing_empty_or_unknown_field_is_refused(tmp_path, change):
    card = {**phantom_card(1, 2).as_json(), **change}
    with pytest.raises(ConfigError, match=next(iter(change))):
        load_card(write(tmp_path, yaml.safe_dump(card)))
