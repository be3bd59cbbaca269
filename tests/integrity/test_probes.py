"""Probes are linear discriminants: they agree with scikit-learn's, and dull columns do them no harm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fibrokd.integrity.probes import discriminant


def blobs(count, features=6, classes=4, seed=0, apart=1.0):
    random = np.random.default_rng(seed)
    names = random.integers(0, classes, count)
    centres = random.normal(size=(classes, features)) * apart
    return centres[names] + random.normal(size=(count, features)), names


def test_answers_agree_with_linear_discriminant_analysis():
    features, names = blobs(1200)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", priors=np.full(4, 0.25)).fit(features[:800], names[:800])
    answers = discriminant(features[:800], names[:800], features[800:])
    assert (answers == oracle.predict(features[800:])).mean() > 0.97


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-50, 50))
@settings(max_examples=30)
def test_units_do_not_matter(seed, scale, shift):
    features, names = blobs(300, seed=seed)
    before = discriminant(features[:200], names[:200], features[200:])
    changed = features * scale + shift
    assert (discriminant(changed[:200], names[:200], changed[200:]) == before).mean() > 0.98


def test_constant_and_repeated_columns_do_no_harm():
    features, names = blobs(400, apart=2)
    dull = np.concatenate([features, np.full((400, 3), 0.7), features[:, :1]], axis=1)
    plain = (discriminant(features[:300], names[:300], features[300:]) == names[300:]).mean()
    assert (discriminant(dull[:300], names[:300], dull[300:]) == names[300:]).mean() == pytest.approx(plain, abs=0.06)


def test_nothing_but_constants_gives_one_answer():
    answers = discriminant(np.zeros((20, 3)), np.arange(20) % 2 + 1, np.ones((5, 3)))
    assert answers.tolist() == [1] * 5
