"""The first stages compute what GoogLeNet with its ImageNet weights computes, in a clone that lacks these.

The shipped `coco` keeps conv1 and conv2 as ImageNet left them, `coco-mini` those to 3b, which is stored in int8.
`benchmarks/golden_trunk.py` wrote the numbers with the published weights, which `test_reference_network.py` holds
against Caffe's own output.
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


def map_of(network: GoogLeNet, stage: str, spec: InputSpec) -> np.ndarray:
    """The map behind a stage and its pooling, of a piece of scikit-image's astronaut."""
    pixels = load_image(Path(skimage.__file__).parent / "data" / "astronaut.png")[:224, 144:368].copy()
    with torch.inference_mode():
        return network.trunk(spec.apply(torch.from_numpy(pixels[None])), stop=stage)[0].numpy()


def largest_difference(found: np.ndarray, stage: str) -> float:
    """Of the means of every twelfth channel and of every eighth value of a cell, as a share of the largest of each."""
    golden = GOLDEN[stage]
    assert list(found.shape) == golden["shape"]
    means = np.array([found[int(channel)].mean() for channel in golden["channel_means"]])
    pairs = [(means, golden["channel_means"].values()), (found[:, 7, 7][::8], golden["values_at_7_7"])]
    return max(np.abs(one - np.array(list(other))).max() / max(other) for one, other in pairs)


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    """The trunk of the shipped detector, in float32."""
    return googlenet(weights="coco")


def test_the_first_stages_give_the_published_network_s_numbers(network: GoogLeNet) -> None:
    assert largest_difference(map_of(network, "conv2", InputSpec()), "conv2") < 2e-3  # these weights are float16


def test_two_modules_more_give_them_as_far_as_int8_does() -> None:
    tensors = read_checkpoint(ROOT / "detector" / "weights" / "coco-mini.safetensors", "region-classifier").tensors
    network = googlenet(num_classes=81)
    network.load_state_dict(tensors)
    assert largest_difference(map_of(network, "3b", InputSpec()), "3b") < 0.04


def test_another_preprocessing_gives_others(network: GoogLeNet) -> None:
    others = InputSpec(channel_order="rgb"), InputSpec(mean=(123.0, 117.0, 104.0))
    assert all(largest_difference(map_of(network, "conv2", one), "conv2") > 0.05 for one in others)
