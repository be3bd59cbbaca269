"""Students whose shape is not the plain backbone's: ONNX answers like PyTorch, for any batch."""

import numpy as np
import onnxruntime
import pytest
import torch

from fibrokd.methods.kd_explainer import METHOD, KdExplainerConfig, make_tree
from fibrokd.pipeline.release import export_onnx
from fibrokd.training.hidden_layer import cut, give_hidden_layer
from fibrokd.training.networks import build


def _tree(backbone):
    config = KdExplainerConfig()
    tree = make_tree(config, build(backbone, 5, False, None, 0), seed=1)
    tree.harden()
    return METHOD.export(tree, config)


def _pruned(backbone):
    network = build(backbone, 5, False, None, 0)
    give_hidden_layer(network, 64, relu=True, seed=0)
    cut(network, torch.arange(0, 60, 3))
    return network


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["tiny", "mobilenetv3_small"])
@pytest.mark.parametrize("deployed", [_tree, _pruned])
def test_the_exported_structure_answers_like_pytorch(deployed, backbone):
    network = deployed(backbone).eval()
    for parameter in network.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(export_onnx(network, 32, 18))
    images = torch.rand(7, 1, 32, 32)
    with torch.no_grad():
        wanted = network(images).logits.numpy()
    found = session.run(None, {"image": images.numpy()})[0]
    assert np.abs(found - wanted).max() < min(1e-5, 1e-3 * np.ptp(wanted))
