"""Figures on validation images: the loop's and others' own, and passes in which dropout acts."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from fibrokd.data.prepared import Prepared
from fibrokd.training.dropout import ensure_dropout
from fibrokd.training.findings import Reporter, Validation
from fibrokd.training.networks import build
from fibrokd.training.runtime import Runtime
from tests.methods.tiny import answers, write_tiny
from tests.training.test_objective import K


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    data = Prepared.open(write_tiny(tmp_path_factory.mktemp("findings") / "prepared"))
    return Validation(data, Runtime("fp32", "nchw"), torch.device("cpu"))


def _network(rate=0.3):
    network = build("tiny", K, False, None, 0)
    ensure_dropout(network, rate, ("s32",))
    return network.eval()


def test_scores_are_those_of_scikit_learn(validation):
    told = np.random.default_rng(0).dirichlet(np.ones(K), len(validation.stages))
    scores = validation.scores(told)
    assert scores["log_loss"] == pytest.approx(log_loss(validation.stages, told, labels=range(K)))
    hits = [np.mean((told.argmax(1) == k)[validation.stages == k]) for k in range(K)]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(hits))
    perfect = validation.scores(np.eye(K)[validation.stages])
    assert perfect == {
        "macro_f1": 1.0,
        "balanced_accuracy": 1.0,
        "log_loss": pytest.approx(0, abs=1e-12),
        "expected_calibration_error": pytest.approx(0, abs=1e-12),
    }


def test_one_pass_answers_what_the_network_answers_on_validation_images_alone(validation):
    from fibrokd.data.preprocess import as_network_input

    network, rows = _network(), validation.prepared.rows("val")
    images = torch.from_numpy(as_network_input(np.asarray(validation.prepared.pixels[rows])))
    wanted = torch.from_numpy(answers(network, images)).double().softmax(1).numpy()
    np.testing.assert_allclose(validation.probabilities(network), wanted, atol=1e-6)


def test_noisy_passes_differ_leave_the_network_and_the_random_state_and_come_again(validation):
    network = _network()
    before, state = torch.get_rng_state(), {name: t.clone() for name, t in network.state_dict().items()}
    first, again = (validation.noisy_probabilities(network, 4, seed=3) for _ in range(2))
    assert first.shape == (4, len(validation.stages), K)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first[0] - first[1]).max() > 1e-6
    assert np.abs(first - validation.noisy_probabilities(network, 4, seed=4)).max() > 1e-6
    np.testing.assert_allclose(first.sum(2), 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not network.training
    assert all(torch.equal(t, state[name]) for name, t in network.state_dict().items())


def test_without_dropout_a_noisy_pass_is_the_plain_one(validation):
    network = _network(rate=0.0)
    noisy = validation.noisy_probabilities(network, 2)
    np.testing.assert_allclose(noisy, np.stack([validation.probabilities(network)] * 2), atol=1e-7)


def test_a_companion_reports_only_where_it_says_so():
    from fibrokd.methods.dil import Listener
    from fibrokd.training.companion import Companion

    assert isinstance(Listener(), Reporter)
    assert not isinstance(Companion(), Reporter)
