"""An untrained MultiBox that looks at 64 px, and photographs for it. torch is imported by the tests that need it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

if TYPE_CHECKING:
    from inception_rcnn.backbones import InputSpec
    from inception_rcnn.backbones.runtime import Runtime
    from inception_rcnn.proposals import MultiBox
    from inception_rcnn.proposals.network.model import MultiBoxNet


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """torch on one thread: for small networks two that wait for each other are slower, many times so if it is busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cpu() -> Runtime:
    """The CPU in float32, four photographs a batch."""
    import torch

    from inception_rcnn.backbones.runtime import Runtime

    return Runtime(torch.device("cpu"), torch.float32, 4)


@pytest.fixture(scope="session")
def spec() -> InputSpec:
    """Photographs stretched to 64 px."""
    from inception_rcnn.backbones import InputSpec

    return InputSpec(side=64)


@pytest.fixture(scope="session")
def make_network() -> Callable[[int], MultiBoxNet]:
    """seed -> a network of 64 px and 16 channels with fresh weights, whose boxes differ from its priors."""
    import torch

    from inception_rcnn.proposals.network.model import MultiBoxNet

    def make(seed: int) -> MultiBoxNet:
        torch.manual_seed(seed)
        network = MultiBoxNet(64, channels=16)
        network.fit_laterals(torch.randn(2, 3, 64, 64) * 60)
        for layer in (network.location, network.confidence):
            torch.nn.init.normal_(layer.weight, std=0.3)
        return network

    return make


@pytest.fixture(scope="session")
def untrained(make_network: Callable[[int], MultiBoxNet], spec: InputSpec, cpu: Runtime, one_thread: None) -> MultiBox:
    """A network with fresh weights, ready to propose; read only."""
    from inception_rcnn.proposals import MultiBox

    return MultiBox(make_network(0), spec, cpu, checksum="0123")


@pytest.fixture(scope="session")
def photograph() -> NDArray[np.uint8]:
    """Part of a real photograph, 96 x 80 pixels."""
    image = np.ascontiguousarray(data.astronaut()[20:212:2, 120:280:2])
    image.setflags(write=False)
    return image
