import numpy as np
import pytest

from fibrokd.errors import BundleError
from fibrokd.serving.card import NetworkCard
from fibrokd.serving.engine import Engine, available_cores
from tests.serving.bundles import brightness_network

CARD = NetworkCard(backbone="brightness", parameters=10, opset=18)


def test_a_batch_gives_one_row_of_logits_per_image():
    engine = Engine(brightness_network(), CARD, stages=5)
    batch = np.random.default_rng(0).random((3, 1, 32, 32), dtype=np.float32)
    logits = engine.run(batch)
    assert logits.shape == (3, 5)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(engine.run(batch[1:2])[0], logits[1], rtol=1e-5)


def test_the_number_of_threads_does_not_change_the_answer():
    batch = np.random.default_rng(0).random((4, 1, 64, 64), dtype=np.float32)
    one, two = (Engine(brightness_network(), CARD, 5, threads).run(batch) for threads in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-5)
    assert available_cores() >= 1


@pytest.mark.parametrize(
    ("network", "card", "stages"),
    [
        (b"no network", CARD, 5),
        (brightness_network()[:200], CARD, 5),
        (brightness_network(), CARD, 4),
        (brightness_network(), CARD.model_copy(update={"input": "picture"}), 5),
        (brightness_network(), CARD.model_copy(update={"precision": "bf16"}), 5),
    ],
)
def test_a_network_other_than_the_cards_is_refused(network, card, stages):
    with pytest.raises(BundleError):
        Engine(network, card, stages)
