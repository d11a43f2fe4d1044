"""A pooled network's two parts by OpenVINO and in bfloat16, against torch in float32, on a real photograph."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from inception_rcnn.detector import ClassifierDescription, Runtime
from inception_rcnn.detector.calibration import activation_ranges
from inception_rcnn.detector.region_classifier import REGION_INPUT, PooledClassifier
from inception_rcnn.detector.region_pooling import PooledNetwork, PoolingSpec
from inception_rcnn.detector.runtimes.pooled_parts import HEAD, TRUNK
from inception_rcnn.structures import InputError

CPU = torch.device("cpu")
NAMES = ("cat", "cup", "person")
SPEC = PoolingSpec(short_side=96, long_side=160, cells=5, fine_channels=32)
# Largest difference of a probability, and of an offset in units of its own spread.
TOLERANCES = {"fp32": (1e-4, 1e-3), "bf16": (0.06, 0.5), "int8": (0.12, 1.0)}
Scores = tuple[NDArray[np.float32], NDArray[np.float32] | None]


@pytest.fixture(scope="module")
def photograph() -> NDArray[np.uint8]:
    """A cat, 300 x 451."""
    return np.ascontiguousarray(data.chelsea())


@pytest.fixture(scope="module")
def boxes(photograph: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Forty boxes all over it."""
    return boxes_all_over(photograph)


def boxes_all_over(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Forty boxes in an image."""
    rng = np.random.default_rng(0)
    height, width = image.shape[:2]
    corner = rng.uniform(0, 0.6, (40, 2)) * [width, height]
    sides = rng.uniform(0.1, 0.4, (40, 2)) * [width, height]
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)


@lru_cache
def network_of(spec: PoolingSpec, *, box_regression: bool = True) -> PooledNetwork:
    """A network with fresh weights, not to be changed, that gives the photograph's regions different answers."""
    torch.manual_seed(0)
    network = PooledNetwork(len(NAMES), spec, box_regression=box_regression).eval()
    read: list[torch.Tensor] = []
    hook = network.classifier.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    description = ClassifierDescription(NAMES, REGION_INPUT, pooling=spec, box_regression=box_regression)
    image = np.ascontiguousarray(data.chelsea())
    PooledClassifier(network, description, runtime("fp32", "torch")).score(image, boxes_all_over(image))
    hook.remove()
    with torch.no_grad():
        for layer, spread in ((network.classifier, 0.7), (network.regressor, 1.0)):
            if layer is not None:
                torch.nn.init.normal_(layer.weight)
                answers = read[0] @ layer.weight.T
                layer.weight.mul_(spread / answers.std(dim=0)[:, None])
                layer.bias.copy_(-(answers.mean(dim=0) * spread / answers.std(dim=0)))
    return network


def classifier(network: PooledNetwork, runtime: Runtime, **more: object) -> PooledClassifier:
    """A copy of the network on a runtime."""
    description = ClassifierDescription(
        NAMES, REGION_INPUT, pooling=network.spec, box_regression=network.regressor is not None
    )
    return PooledClassifier(deepcopy(network), replace(description, **more), runtime)  # type: ignore[arg-type]


def runtime(precision: str, engine: str = "openvino") -> Runtime:
    """By OpenVINO, or by torch in the type of that name."""
    if engine == "openvino":
        return Runtime(CPU, torch.float32, 64, precision)
    return Runtime(CPU, {"fp32": torch.float32, "bf16": torch.bfloat16}[precision], 64)


@pytest.fixture(scope="module")
def exact(photograph: NDArray[np.uint8], boxes: NDArray[np.float32]) -> Scores:
    """What torch says in float32."""
    return classifier(network_of(SPEC), runtime("fp32", "torch")).score(photograph, boxes)


@pytest.fixture(scope="module")
def ranges(photograph: NDArray[np.uint8], boxes: NDArray[np.float32]) -> Iterator[dict[str, object]]:
    """Of what the layers read in two other photographs."""
    others = [np.ascontiguousarray(one[:300, :451]) for one in (data.coffee(), data.astronaut())]
    yield dict(activation_ranges(classifier(network_of(SPEC), runtime("fp32", "torch")), [(o, boxes) for o in others]))


def assert_near(found: Scores, exact: Scores, precision: str) -> None:
    """Probabilities and offsets are those of float32, as far as the precision allows."""
    probabilities, offsets = TOLERANCES[precision]
    assert np.abs(found[0] - exact[0]).max() < probabilities
    assert np.abs(found[0].sum(axis=1) - 1).max() < 1e-5
    if exact[1] is None or found[1] is None:
        assert found[1] is exact[1] is None
        return
    assert np.abs(found[1] - exact[1]).max() < offsets * exact[1].std()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_says_what_torch_says(
    openvino: ModuleType, exact: Scores, photograph: NDArray[np.uint8], boxes: NDArray[np.float32], precision: str
) -> None:
    found = classifier(network_of(SPEC), runtime(precision)).score(photograph, boxes)
    assert_near(found, exact, precision)
    assert np.ptp(exact[0], axis=0).max() > 0.3, "the regions differ, so that equal answers mean something"


def test_torch_in_bfloat16_says_what_it_says_in_float32(
    exact: Scores, photograph: NDArray[np.uint8], boxes: NDArray[np.float32]
) -> None:
    assert_near(classifier(network_of(SPEC), runtime("bf16", "torch")).score(photograph, boxes), exact, "bf16")


def test_int8_says_nearly_what_float32_says(
    openvino: ModuleType,
    exact: Scores,
    ranges: dict[str, object],
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
) -> None:
    found = classifier(network_of(SPEC), runtime("int8"), activation_ranges=ranges).score(photograph, boxes)
    assert_near(found, exact, "int8")
    assert np.abs(found[0] - exact[0]).max() > 1e-4, "something was rounded"


def test_int8_without_calibration_is_refused(openvino: ModuleType) -> None:
    with pytest.raises(InputError, match="int8 needs calibrated weights, and the trunk's are not"):
        classifier(network_of(SPEC), runtime("int8"))


@pytest.mark.parametrize(
    ("fine_channels", "image_mean", "box_regression"), [(0, False, False), (0, True, True), (16, False, True)]
)
def test_parts_that_are_left_out_are_left_out_of_the_compiled_parts_too(
    openvino: ModuleType,
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    fine_channels: int,
    image_mean: bool,
    box_regression: bool,
) -> None:
    spec = replace(SPEC, fine_channels=fine_channels, image_mean=image_mean)
    network = network_of(spec, box_regression=box_regression)
    expected = classifier(network, runtime("fp32", "torch")).score(photograph, boxes[:9])
    assert_near(classifier(network, runtime("fp32")).score(photograph, boxes[:9]), expected, "fp32")


def test_ranges_hold_what_each_convolution_with_a_bias_reads(ranges: dict[str, list[tuple[float, float]]]) -> None:
    # Three before the modules; four in each, whose three siblings are one; lateral and mix_coarse.
    assert {name: len(found) for name, found in ranges.items()} == {TRUNK: 3 + 7 * 4 + 2, HEAD: 2 * 4}
    for name, pairs in ranges.items():
        for low, high in pairs:
            first = name == TRUNK and (low, high) == pairs[0]
            assert low < high and (low >= 0 or first), "all but the first are behind a ReLU"
    assert ranges[TRUNK][0][0] > -130 and ranges[TRUNK][0][1] < 160, "pixels minus their mean"


def test_a_calibration_without_photographs_or_by_openvino_is_refused(openvino: ModuleType) -> None:
    with pytest.raises(InputError, match="a calibration needs photographs"):
        activation_ranges(classifier(network_of(SPEC), runtime("fp32", "torch")), [])
    with pytest.raises(InputError, match="computed in fp32 by OpenVINO on cpu"):
        activation_ranges(classifier(network_of(SPEC), runtime("fp32")), [])
