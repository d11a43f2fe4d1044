"""Small things to test the detector with: a photograph, regions on it, and networks that look at 32 px."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.detector import (
    ClassifierDescription,
    PooledClassifier,
    PooledNetwork,
    PoolingSpec,
    RegionClassifier,
    Runtime,
    warp_regions,
)
from inception_rcnn.detector.region_pooling import enlarged_boxes, pooled_input

SPEC = InputSpec(side=32, context=4)
NAMES = ("cat", "cup", "person")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """torch on one thread: for small networks two that wait for each other are slower, many times so if it is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cpu() -> Runtime:
    """The CPU in float32, four regions a batch."""
    return Runtime(torch.device("cpu"), torch.float32, 4)


@pytest.fixture(scope="session")
def spec() -> InputSpec:
    """Regions of 32 px with 4 px of context."""
    return SPEC


@pytest.fixture(scope="session")
def photograph() -> NDArray[np.uint8]:
    """Part of a real photograph, 96 x 80 pixels."""
    image = np.ascontiguousarray(data.astronaut()[20:212:2, 120:280:2])
    image.setflags(write=False)
    return image


@pytest.fixture(scope="session")
def boxes() -> NDArray[np.float32]:
    """Thirty boxes with whole-numbered corners inside the photograph, many of them overlapping."""
    rng = np.random.default_rng(0)
    corner, size = rng.integers(0, 50, (30, 2)), rng.integers(12, 30, (30, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


@pytest.fixture(scope="session")
def make_network(photograph: NDArray[np.uint8], boxes: NDArray[np.float32]) -> Callable[[int], GoogLeNet]:
    """seed -> a network with fresh weights and four outputs that gives different regions different answers."""
    pixels = torch.from_numpy(warp_regions(photograph, boxes[:6], SPEC))

    def make(seed: int) -> GoogLeNet:
        torch.manual_seed(seed)
        network = GoogLeNet(len(NAMES) + 1).eval()
        layer = network.classifier
        assert layer is not None
        with torch.no_grad():
            features = network.pooled(network.trunk(SPEC.apply(pixels)))
            layer.weight.mul_(15)
            layer.bias.copy_(-layer.weight @ features.mean(dim=0))
        return network

    return make


@pytest.fixture(scope="session")
def description() -> ClassifierDescription:
    """What a classifier of three classes says of itself."""
    return ClassifierDescription(NAMES, SPEC, {"mode": "fast", "seed": 3}, 0.25, {"data": "none"}, "CC0-1.0")


@pytest.fixture(scope="session")
def classifiers(
    make_network: Callable[[int], GoogLeNet], description: ClassifierDescription, cpu: Runtime
) -> tuple[RegionClassifier, RegionClassifier]:
    """Two classifiers with nothing in common; read only."""
    first, second = (RegionClassifier(make_network(seed), description, cpu) for seed in (1, 2))
    return first, second


POOLING = PoolingSpec(short_side=96, long_side=200, cells=3, fine_channels=16)


@pytest.fixture(scope="session")
def make_pooled(photograph: NDArray[np.uint8], boxes: NDArray[np.float32]) -> Callable[..., PooledNetwork]:
    """seed, spec, box_regression -> a pooled network with fresh weights that tells regions apart and moves boxes."""

    def make(seed: int, spec: PoolingSpec = POOLING, *, box_regression: bool = True) -> PooledNetwork:
        torch.manual_seed(seed)
        network = PooledNetwork(len(NAMES), spec, box_regression=box_regression).eval()
        height, width = photograph.shape[:2]
        image = pooled_input(photograph, SPEC, spec.scale_for(width, height), torch.device("cpu"))
        rows = torch.from_numpy(enlarged_boxes(boxes[:6], (width, height), image))
        with torch.inference_mode():
            maps = network.maps(image)
            cells = network.cells(maps, torch.nn.functional.pad(rows, (1, 0)))
            seen = network.trunk.trunk(cells, start="5a").mean(dim=(2, 3))
            if maps.mean is not None:
                seen = torch.cat([seen, maps.mean.expand(6, -1)], dim=1)
        with torch.no_grad():
            for layer, spread in ((network.classifier, 1.0), (network.regressor, 1.0)):
                if layer is not None:
                    layer.weight.normal_()
                    answers = (seen - seen.mean(dim=0)) @ layer.weight.T
                    layer.weight.mul_(spread / answers.std())
                    layer.bias.copy_(-layer.weight @ seen.mean(dim=0))
        return network

    return make


@pytest.fixture(scope="session")
def pooled_description(description: ClassifierDescription) -> ClassifierDescription:
    """What a pooled classifier of the same three classes says of itself."""
    return replace(description, pooling=POOLING, box_regression=True, objectness_power=0.5)


@pytest.fixture(scope="session")
def pooled(
    make_pooled: Callable[..., PooledNetwork], pooled_description: ClassifierDescription, cpu: Runtime
) -> PooledClassifier:
    """A pooled classifier; read only."""
    return PooledClassifier(make_pooled(1), pooled_description, cpu)
