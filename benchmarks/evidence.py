"""Whether maps of evidence say what the network says, and whether cheaper ones would.

    python -m benchmarks.evidence NETWORK PREPARED [--images 100] [--seed 0]

NETWORK is a teacher or student folder. Every picture is asked for the stage it is called rather than the next probable
one. ``occlusion`` is the map that reports show (squares are blurred one by one), ``grad_cam`` the gradient-weighted
activations of the last feature map, with their sign. Both are held against disturbances that neither is made of, on
squares that the fan covers at least by half:

* ``agrees_grey``, ``agrees_shuffled``: Spearman's correlation of the map with how far the log odds fall where a square
  is filled with the fan's mean grey, or its pixels are shuffled; mean over pictures.
* ``fall_strongest``, ``fall_weakest``, ``fall_chance``: how far they fall where the pixels of a quarter of the squares
  are shuffled, each within its square: those that the map calls strongest, weakest, and drawn by chance.

A map that says nothing has correlations of 0 and three equal falls. One picture per cluster; bounds are percentiles of
the bootstrap over pictures.

References:
    Samek et al., "Evaluating the visualization of what a deep neural network has learned", IEEE TNNLS 2017,
    doi:10.1109/TNNLS.2016.2599820; Selvaraju et al., "Grad-CAM", ICCV 2017, doi:10.1109/ICCV.2017.74.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from scipy.stats import spearmanr

from fibrokd.data.prepared import Prepared
from fibrokd.data.preprocess import as_network_input
from fibrokd.evaluation.atlas.maps import versus
from fibrokd.evaluation.atlas.occlusion import GRID, occlusion, squares
from fibrokd.methods import open_network
from fibrokd.progress import track
from fibrokd.training.prediction import predict
from fibrokd.training.runtime import Runtime

QUARTER = 0.25
LEAST_SQUARES = 12
"""Of fewer squares within the fan a quarter is no more than two."""


class Asked:
    """A network, asked about one picture: its two most probable stages.

    Args:
        network: The network.
        picture: What it sees.
    """

    def __init__(self, network: torch.nn.Module, picture: UInt8[np.ndarray, "S S"]) -> None:
        self.network, self.picture = network, picture
        logits = self.logits(picture[None])[0]
        self.called, self.other = (int(stage) for stage in np.argsort(-logits, kind="stable")[:2])
        self.odds = logits[self.called] - logits[self.other]

    def logits(self, pictures: UInt8[np.ndarray, "N S S"]) -> Float[np.ndarray, "N K"]:
        """Return what it answers."""
        return predict(self.network, pictures, Runtime("fp32", "nchw"), torch.device("cpu"))

    def falls(self, pictures: UInt8[np.ndarray, "N S S"]) -> Float[np.ndarray, " N"]:
        """Return how far the log odds of its two stages fall on other pictures."""
        logits = self.logits(pictures)
        fallen: np.ndarray = self.odds - (logits[:, self.called] - logits[:, self.other])
        return fallen

    def occlusion(self) -> Float[np.ndarray, "h w"]:
        """Return the map of the reports."""
        return versus(occlusion(self.logits, self.picture), self.called, self.other)

    def grad_cam(self) -> Float[np.ndarray, "h w"]:
        """Return the gradient-weighted activations of the last feature map, on as many squares."""
        outputs = self.network(torch.from_numpy(as_network_input(self.picture[None])), taps=("s32",))
        activations = outputs.maps["s32"]
        [gradient] = torch.autograd.grad(outputs.logits[0, self.called] - outputs.logits[0, self.other], activations)
        cells = (gradient.mean((2, 3), keepdim=True) * activations).sum(1)[0].detach().numpy()
        found: np.ndarray = np.asarray(Image.fromarray(cells).resize((GRID, GRID), Image.Resampling.BILINEAR))
        return found


def judged(asked: Asked, random: np.random.Generator) -> dict[str, dict[str, float]] | None:
    """Return the figures of one picture by map; ``None`` where the fan covers too few squares."""
    picture, places = asked.picture, squares(len(asked.picture), GRID)
    inside = np.flatnonzero([(picture[place] > 0).mean() >= 0.5 for place in places])
    if len(inside) < LEAST_SQUARES:
        return None
    shuffled, grey = picture.copy(), np.where(picture > 0, picture[picture > 0].mean(), 0).astype(np.uint8)
    for number in inside:
        shuffled[places[number]] = random.permutation(picture[places[number]].ravel()).reshape(
            picture[places[number]].shape
        )
    one_by_one = [_is(number, len(places)) for number in inside]
    falls_grey = asked.falls(np.stack([_changed(picture, grey, chosen) for chosen in one_by_one]))
    falls_shuffled = asked.falls(np.stack([_changed(picture, shuffled, chosen) for chosen in one_by_one]))
    count = round(QUARTER * len(inside))
    by_chance = random.permutation(inside)[:count]
    found = {}
    for name, cells in (("occlusion", asked.occlusion()), ("grad_cam", asked.grad_cam())):
        strength = cells.ravel()[inside]
        order = inside[np.argsort(-strength, kind="stable")]
        quarters = [_is(chosen, len(places)) for chosen in (order[:count], order[-count:], by_chance)]
        falls = asked.falls(np.stack([_changed(picture, shuffled, chosen) for chosen in quarters]))
        found[name] = {
            "agrees_grey": float(spearmanr(strength, falls_grey).statistic),
            "agrees_shuffled": float(spearmanr(strength, falls_shuffled).statistic),
            **dict(zip(("fall_strongest", "fall_weakest", "fall_chance"), falls.tolist(), strict=True)),
        }
    return found


def _is(chosen: Int[np.ndarray, " M"] | np.integer[Any], count: int) -> Bool[np.ndarray, " G"]:
    found = np.zeros(count, dtype=bool)
    found[chosen] = True
    return found


def _changed(
    picture: UInt8[np.ndarray, "S S"], other: UInt8[np.ndarray, "S S"], chosen: Bool[np.ndarray, " G"]
) -> UInt8[np.ndarray, "S S"]:
    changed = picture.copy()
    for place, taken in zip(squares(len(picture), GRID), chosen, strict=True):
        if taken:
            changed[place] = other[place]
    return changed


def measure(folder: Path, prepared: Prepared, images: int, seed: int) -> dict[str, Any]:
    """Return every figure of one network.

    Args:
        folder: Folder of a finished network.
        prepared: The images that it was trained on.
        images: At most so many test images.
        seed: Seed of everything that is drawn.
    """
    network, random = open_network(folder), np.random.default_rng(seed)
    rows = prepared.rows("test")
    first = np.unique(prepared.table["cluster"].to_numpy()[rows], return_index=True)[1]
    chosen = random.permutation(rows[first])[:images]
    found = [
        judged(Asked(network, np.asarray(prepared.pixels[row])), random)
        for row in track(chosen, "covering", len(chosen))
    ]
    whole = [item for item in found if item is not None]
    draws = random.integers(len(whole), size=(2000, len(whole)))
    maps = {
        name: {figure: _mean(np.array([item[name][figure] for item in whole]), draws) for figure in whole[0][name]}
        for name in whole[0]
    }
    return {"network": folder.name, "images": len(whole), "seed": seed, "maps": maps}


def _mean(values: Float[np.ndarray, " N"], draws: Int[np.ndarray, "R N"]) -> list[float]:
    """Mean over pictures with its bounds; a picture of which all squares tie has no correlation, and counts as 0."""
    known = np.nan_to_num(values)
    low, high = np.quantile(known[draws].mean(axis=1), [0.025, 0.975])
    return [round(float(value), 3) for value in (known.mean(), low, high)]


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(json.dumps(measure(given.network, Prepared.open(given.prepared), given.images, given.seed), indent=2))


if __name__ == "__main__":
    main()
