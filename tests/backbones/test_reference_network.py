"""The published weights give the published numbers: the network is GoogLeNet, and not something near it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inception_rcnn.backbones import CAFFE_INPUT, GoogLeNet, InputSpec, googlenet
from inception_rcnn.structures import load_image

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
WEIGHTS = SHARED / "weights" / "googlenet_imagenet.npz"
REFERENCE = SHARED / "data" / "caffe_reference"
SAMPLES = SHARED / "data" / "imagenet_samples"

pytestmark = pytest.mark.skipif(
    not WEIGHTS.is_file(),
    reason="needs ../shared: the published weights are no part of the project",
)


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    """GoogLeNet with the weights trained on ImageNet."""
    return googlenet(weights=WEIGHTS)


def pixels(*paths: Path) -> torch.Tensor:
    """Photographs as they are, (N, H, W, 3)."""
    return torch.from_numpy(np.stack([load_image(path) for path in paths]))


def reference(name: str) -> np.ndarray:
    """A table of probabilities, (N, 1000)."""
    return np.load(REFERENCE / name).reshape(-1, 1000)


@pytest.mark.parametrize(
    ("order", "images", "expected"),
    [
        ("bgr", ("googlenet_0.png", "googlenet_1.png"), "googlenet_prob.npy"),
        ("rgb", ("googlenet_0.png", "googlenet_1.png"), "googlenet_prob_rgb_2017.npy"),
        ("bgr", ("jpg_2015/googlenet_0.jpg", "jpg_2015/googlenet_1.jpg"), "jpg_2015/googlenet_prob.npy"),
    ],
)
def test_probabilities_are_the_reference_s(
    network: GoogLeNet, order: str, images: tuple[str, ...], expected: str
) -> None:
    # The reference fed 0..255 without subtracting the mean.
    inputs = InputSpec(channel_order=order, mean=(0.0, 0.0, 0.0)).apply(pixels(*(REFERENCE / name for name in images)))
    with torch.inference_mode():
        found = network(inputs).softmax(dim=1).numpy()
    assert np.abs(found - reference(expected)).max() < 1e-5


def test_a_map_inside_is_the_reference_s(network: GoogLeNet) -> None:
    inputs = InputSpec(mean=(0.0, 0.0, 0.0)).apply(pixels(REFERENCE / "googlenet_0.png"))
    with torch.inference_mode():
        found = network.get_submodule("inception_4c.conv1x1")(network.trunk(inputs, stop="4b")).numpy()
    expected = np.load(REFERENCE / "googlenet_inception_4c_1x1.npy")  # before its ReLU
    assert found.shape == expected.shape == (1, 128, 14, 14) and expected.min() < 0
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def centre_crop(path: Path) -> np.ndarray:
    """The centre 224x224 of a photograph squeezed to 256x256, as the network's training data were."""
    squeezed = Image.fromarray(load_image(path)).resize((256, 256), Image.Resampling.BILINEAR)
    return np.asarray(squeezed)[16:240, 16:240]


def test_photographs_are_classified(network: GoogLeNet) -> None:
    rows = [line.split("\t") for line in (SAMPLES / "labels.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    first = among_five = 0
    for start in range(0, len(rows), 25):
        part = rows[start : start + 25]
        crops = torch.from_numpy(np.stack([centre_crop(SAMPLES / row[0]) for row in part]))
        with torch.inference_mode():
            best = network(CAFFE_INPUT.apply(crops)).topk(5).indices
        right = best == torch.tensor([int(row[1]) for row in part])[:, None]
        first += int(right[:, 0].sum())
        among_five += int(right.any(dim=1).sum())
    assert len(rows) == 300
    assert first >= 0.78 * len(rows) and among_five >= 0.92 * len(rows)
