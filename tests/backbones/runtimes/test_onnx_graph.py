"""Networks as ONNX models, computed by ONNX's own slow reference, against torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor, nn
from torch.nn import functional

from inception_rcnn.backbones import CAFFE_INPUT, GoogLeNet
from inception_rcnn.backbones.runtimes.export import backbone_part
from inception_rcnn.backbones.runtimes.onnx_graph import OPSET, onnx_model
from inception_rcnn.backbones.runtimes.recording import Part, Port, record
from inception_rcnn.structures import InputError, MissingDependencyError


class Made(nn.Module):
    """A function of a tensor as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor | Sequence[Tensor]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor | Sequence[Tensor]:
        """Call it."""
        return self.function(x)


@pytest.fixture(scope="module")
def onnx() -> ModuleType:
    """The library; its tests are left out where it is missing."""
    return pytest.importorskip("onnx", reason="needs inception-rcnn[export]")


def computed(model: bytes, **inputs: Tensor) -> list[NDArray[Any]]:
    """What ONNX's reference makes of the inputs."""
    from onnx.reference import ReferenceEvaluator

    found: list[NDArray[Any]] = ReferenceEvaluator(model).run(None, {name: x.numpy() for name, x in inputs.items()})
    return found


def part_of(function: Callable[[Tensor], Tensor | Sequence[Tensor]], example: Tensor, outputs: int = 1) -> Part:
    """A part whose images may have any number and size."""
    results = function(example.clone())
    first = results if isinstance(results, Tensor) else results[0]
    axes = tuple("nchw"[: example.ndim])
    out = ("n", *(None for _ in range(first.ndim - 1)))
    ports = tuple(Port(f"y{number}", out) for number in range(outputs))
    return Part(name="part", module=Made(function), example=(example,), inputs=(Port("x", axes),), outputs=ports)


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "concatenation": lambda x: torch.cat([x, x * 2.0], dim=1),
    "maximum, rounded up": lambda x: functional.max_pool2d(x, 3, 2, ceil_mode=True),
    "maximum, padded": lambda x: functional.max_pool2d(x, 3, 1, padding=1),
    "maximum, no stride named": lambda x: functional.max_pool2d(x, 2),
    "convolution": lambda x: functional.conv2d(x, torch.linspace(-1, 1, 72).reshape(6, 3, 2, 2), torch.ones(6), 2, 1),
    "convolution without bias": lambda x: functional.conv2d(x, torch.linspace(-1, 1, 12).reshape(4, 3, 1, 1)),
    "roots": lambda x: (x * x).add_(1.0).rsqrt_() + (x * x).sqrt(),
    "mean": lambda x: x.mean(dim=(2, 3)),
    "linear": lambda x: functional.linear(
        x.mean(dim=(2, 3)), torch.linspace(-1, 1, 15).reshape(5, 3), torch.arange(5.0)
    ),
    "by prior": lambda x: x.permute(0, 2, 3, 1).reshape(len(x), -1, 3),
    "squeeze": lambda x: x.mean(dim=1, keepdim=True).squeeze(1),
    "exponentials": lambda x: (x - x.amax(dim=1, keepdim=True)).exp().log(),
    "product": lambda x: x.mean(dim=(2, 3)) @ torch.linspace(-1, 1, 15).reshape(3, 5),
    "nearest": lambda x: functional.interpolate(x, size=(14, 17), mode="nearest"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_torchs(name: str, onnx: ModuleType) -> None:
    x = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    part = part_of(OPERATIONS[name], x)
    (found,) = computed(onnx_model(record(part)), x=x)
    assert found == pytest.approx(OPERATIONS[name](x).numpy(), abs=1e-5)


@pytest.mark.parametrize("size", [(5, 9), (8, 8), (13, 4), (3, 2)])
def test_images_may_have_another_number_and_size_than_the_example(size: tuple[int, int], onnx: ModuleType) -> None:
    def function(x: Tensor) -> Tensor:
        return functional.max_pool2d(x, 3, 2, ceil_mode=True)

    model = onnx_model(record(part_of(function, torch.zeros(1, 3, 7, 7))))
    x = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(0))
    (found,) = computed(model, x=x)
    assert np.array_equal(found, function(x).numpy())


def test_a_split_gives_several_outputs(onnx: ModuleType) -> None:
    part = part_of(lambda x: torch.split(x, [1, 2], dim=1), torch.zeros(1, 3, 4, 4), outputs=2)
    x = torch.randn(2, 3, 5, 5)
    first, second = computed(onnx_model(record(part)), x=x)
    assert np.array_equal(first, x[:, :1].numpy()) and np.array_equal(second, x[:, 1:].numpy())


def test_googlenet_on_a_photograph(onnx: ModuleType) -> None:
    torch.manual_seed(0)
    network = GoogLeNet(7).eval()
    pixels = np.ascontiguousarray(data.astronaut()[60:100, 180:228])
    x = CAFFE_INPUT.apply(torch.from_numpy(pixels[None])).contiguous()
    model = onnx_model(record(backbone_part(network, 32)))
    (found,) = computed(model, images=x)
    with torch.inference_mode():
        expected = network(x).numpy()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4 * float(np.abs(expected).max()))


def test_int8_rounds_what_is_read_and_the_weights(onnx: ModuleType) -> None:
    weight, bias = torch.linspace(-1, 1, 72).reshape(6, 3, 2, 2), torch.ones(6)
    x = torch.rand(2, 3, 7, 6, generator=torch.Generator().manual_seed(0)) * 4 - 1
    part = replace(part_of(lambda x: functional.conv2d(x, weight, bias), x), ranges=((-1.0, 3.0),))
    (found,) = computed(onnx_model(record(part)), x=x)
    step = 4 / 255
    read = (torch.round(x / step)).clamp(-64, 191) * step
    steps = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    expected = functional.conv2d(read, torch.round(weight / steps) * steps, bias).numpy()
    assert found == pytest.approx(expected, abs=1e-4)
    assert not np.allclose(found, functional.conv2d(x, weight, bias).numpy(), atol=1e-3), "something was rounded"


@pytest.mark.parametrize("ranges", [(), ((-1.0, 3.0), (-1.0, 3.0))])
def test_ranges_of_another_number_of_convolutions_are_refused(
    ranges: tuple[tuple[float, float], ...], onnx: ModuleType
) -> None:
    part = replace(part_of(OPERATIONS["convolution"], torch.zeros(1, 3, 4, 4)), ranges=ranges)
    with pytest.raises(InputError, match=f"should be of its 1 convolutions, and are of {len(ranges)}; calibrate"):
        onnx_model(record(part))


@pytest.mark.parametrize("limits", [(0.0, 0.0), (-1e-46, 1e-46), (-3e-43, 1e-45)])
def test_a_convolution_that_read_nothing_but_zeros_is_made_in_int8(
    limits: tuple[float, float], onnx: ModuleType
) -> None:
    part = replace(part_of(OPERATIONS["convolution"], torch.zeros(1, 3, 4, 4)), ranges=(limits,))
    (found,) = computed(onnx_model(record(part)), x=torch.zeros(1, 3, 4, 4))
    assert np.array_equal(found, np.ones_like(found)), "the bias"


def test_the_models_say_who_made_them_and_are_for_old_runtimes_too(onnx: ModuleType) -> None:
    model = onnx.load_from_string(onnx_model(record(part_of(OPERATIONS["linear"], torch.zeros(1, 3, 4, 4)))))
    assert (model.ir_version, model.opset_import[0].version) == (9, OPSET)
    assert model.producer_name == "inception-rcnn" and model.graph.name == "part"
    assert [one.dim_param for one in model.graph.input[0].type.tensor_type.shape.dim] == list("nchw")


UNKNOWN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "operation": (lambda x: x.sin(), "operation sin has no translation"),
    "transposed": (
        lambda x: functional.conv_transpose2d(x, torch.ones(3, 2, 2, 2)),
        "a transposed convolution has no translation",
    ),
    "reshape": (lambda x: x.reshape(-1, 4), "a change of shape that touches the batch"),
    "factor": (lambda x: functional.interpolate(x, scale_factor=2.0, mode="nearest"), "enlarging by a factor"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_has_no_translation_is_refused(case: str, onnx: ModuleType) -> None:
    function, message = UNKNOWN[case]
    with pytest.raises(InputError, match=message):
        onnx_model(record(part_of(function, torch.zeros(2, 3, 4, 4))))


def test_without_onnx_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    recording = record(part_of(OPERATIONS["mean"], torch.zeros(1, 3, 4, 4)))
    with pytest.raises(MissingDependencyError, match=r"pip install 'inception-rcnn\[export\]'"):
        onnx_model(recording)
