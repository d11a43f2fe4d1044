"""The first stages compute what GoogLeNet with its ImageNet weights computes, in a clone that lacks these.

The shipped region classifier keeps conv1 to 3b as ImageNet left them. `benchmarks/golden_trunk.py` wrote the numbers
with the published weights, which `test_reference_network.py` holds against Caffe's own output.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import torch

from inception_rcnn.backbones import GoogLeNet, InputSpec, googlenet, read_checkpoint
from inception_rcnn.structures import load_image

ROOT = Path(__file__).resolve().parents[2]
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "imagenet_trunk.json").read_text())


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    """The shipped classifier's network, in float32."""
    tensors = read_checkpoint(ROOT / "detector" / "weights" / "coco-mini.safetensors", "region-classifier").tensors
    network = googlenet(num_classes=81)
    network.load_state_dict(tensors)
    return network


def map_of_3b(network: GoogLeNet, spec: InputSpec) -> np.ndarray:
    """The map behind 3b and its pooling, of a piece of scikit-image's astronaut."""
    pixels = load_image(Path(skimage.__file__).parent / "data" / "astronaut.png")[:224, 144:368].copy()
    with torch.inference_mode():
        return network.trunk(spec.apply(torch.from_numpy(pixels[None])), stop="3b")[0].numpy()


def largest_difference(found: np.ndarray) -> float:
    """Of the means of 40 channels and of 60 values, as a share of the largest of each."""
    means = np.array([found[int(channel)].mean() for channel in GOLDEN["channel_means"]])
    pairs = [(means, GOLDEN["channel_means"].values()), (found[:, 7, 7][::8], GOLDEN["values_at_7_7"])]
    return max(np.abs(one - np.array(list(other))).max() / max(other) for one, other in pairs)


def test_the_first_stages_give_the_published_network_s_numbers(network: GoogLeNet) -> None:
    found = map_of_3b(network, InputSpec())
    assert list(found.shape) == GOLDEN["shape"]
    assert largest_difference(found) < 2e-3  # the shipped weights are float16


def test_another_preprocessing_gives_others(network: GoogLeNet) -> None:
    assert largest_difference(map_of_3b(network, InputSpec(channel_order="rgb"))) > 0.05
    assert largest_difference(map_of_3b(network, InputSpec(mean=(123.0, 117.0, 104.0)))) > 0.02
