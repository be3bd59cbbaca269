"""Answers and vectors of single centre views."""

import numpy as np
import torch

from fibrokd.training.networks import build
from fibrokd.training.prediction import embed, predict
from fibrokd.training.runtime import Runtime

PLAIN = (Runtime("fp32", "nchw"), torch.device("cpu"))


def test_vectors_are_what_the_last_layer_answers_from_whatever_the_batches():
    network = build("tiny", 5, pretrained=False, weights=None, seed=0).train()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    vectors = embed(network, pixels, *PLAIN, batch_size=2)
    assert network.training, "its mode is restored"
    np.testing.assert_allclose(vectors, embed(network, pixels, *PLAIN), atol=1e-5)
    with torch.inference_mode():
        logits = network.eval().classify(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(logits, predict(network, pixels, *PLAIN), atol=1e-5)
