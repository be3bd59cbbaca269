"""Keyed generators: reproducible, and different for every key."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.errors import ConfigError
from fibrokd.phantom.randomness import COHORT, Stream, keyed

words = st.integers(0, 0xFFFFFFFF)


@given(words, words, st.sampled_from(Stream), words, words)
def test_the_same_key_gives_the_same_draws(seed, patient, stream, clip, frame):
    first = keyed(seed, patient, stream, clip, frame).integers(2**63, size=4)
    assert np.array_equal(first, keyed(seed, patient, stream, clip, frame).integers(2**63, size=4))


def test_keys_that_differ_in_one_word_share_no_draw_even_where_words_are_zero():
    keys = [
        (s, p, stream, c, f)
        for s in (0, 1)
        for p in (0, 1, COHORT)
        for stream in Stream
        for c in (0, 1)
        for f in (0, 1)
    ]
    draws = {int(keyed(*key).integers(2**63)) for key in keys}
    assert len(draws) == len(keys)


def test_a_key_that_does_not_fit_is_refused_rather_than_wrapped():
    with pytest.raises(ConfigError, match="4294967295"):
        keyed(2**32, 0, Stream.PATIENT)
