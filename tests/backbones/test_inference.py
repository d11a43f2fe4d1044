"""The network made ready for inference against the network itself; runtimes/test_gpu_kernels.py has the GPU's way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones import GoogLeNet
from inception_rcnn.backbones.feature_maps import feature_maps
from inception_rcnn.backbones.inference import for_inference
from inception_rcnn.structures import InputError


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    """Fresh weights, five classes."""
    torch.manual_seed(0)
    return GoogLeNet(5).eval().to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Two images of 64 px, as the network reads them."""
    torch.manual_seed(1)
    return (torch.randn(2, 3, 64, 64) * 60).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def test_on_the_cpu_it_is_the_network_to_the_bit(network: GoogLeNet, images: Tensor) -> None:
    ready = for_inference(network)
    assert torch.equal(ready(images), network(images))
    assert for_inference(ready) is ready
    for (name, found), expected in zip(
        feature_maps(ready, images).items(), feature_maps(network, images).values(), strict=True
    ):
        assert torch.equal(found, expected), name
    half = GoogLeNet(5).eval().to(torch.bfloat16)
    assert torch.equal(for_inference(half)(images.bfloat16()), half(images.bfloat16()))


def test_a_network_without_normalisation_stays_one(images: Tensor) -> None:
    torch.manual_seed(0)
    network = GoogLeNet(3, lrn=False).eval()
    with torch.inference_mode():
        assert torch.equal(for_inference(network)(images), network(images))


def test_the_network_itself_stays_as_it_is(network: GoogLeNet) -> None:
    names = list(network.state_dict())
    for_inference(network)
    assert list(network.state_dict()) == names and "inception_3a.reduce3x3.weight" in names


def test_it_cannot_be_trained(network: GoogLeNet) -> None:
    with pytest.raises(InputError, match="cannot be trained"):
        for_inference(network).train()
    with pytest.raises(InputError, match="call eval"):
        for_inference(GoogLeNet(2))


@torch.inference_mode()
@pytest.mark.parametrize("size", [(64, 64), (32, 50)])
def test_the_first_convolution_folded_is_the_first_convolution(network: GoogLeNet, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size).contiguous(memory_format=torch.channels_last) * 50
    expected = functional.conv2d(x, network.conv1.weight, None, stride=2, padding=3)
    torch.testing.assert_close(for_inference(network)._first_products(x), expected, atol=1e-3, rtol=1e-5)
