"""The same answers on a GPU; skipped, saying so, where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.backbones.training import TrainingRun
from inception_rcnn.detector import (
    ClassifierDescription,
    DetectionSettings,
    Detector,
    Ensemble,
    RegionClassifier,
    Runtime,
    choose_runtime,
    load_detector,
)
from inception_rcnn.detector.training.step import FineTuning, TrainingSettings
from inception_rcnn.structures import Proposals

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU: this machine has none")

CUDA = Runtime(torch.device("cuda"), torch.float32, 16)
LABELS = np.array([0, 1, 2, 3, 3, 3], dtype=np.int64)


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """No TF32: products in float32 as on the CPU."""
    with torch.backends.cudnn.flags(allow_tf32=False, deterministic=True, benchmark=False):
        yield


@pytest.fixture
def make_detector(
    make_network: Callable[[int], GoogLeNet], description: ClassifierDescription, boxes: NDArray[np.float32]
) -> Callable[[Runtime], Detector]:
    """An ensemble of two, that share their leading stages, on a runtime."""

    def make(runtime: Runtime) -> Detector:
        networks = [make_network(1), make_network(1)]
        with torch.no_grad():
            networks[1].get_parameter("inception_5a.conv1x1.weight").mul_(1.5)
        members = [RegionClassifier(network, description, runtime) for network in networks]
        proposals = Proposals(boxes, np.linspace(1, 0, len(boxes), dtype=np.float32))
        return Detector(lambda image: proposals, Ensemble(members), DetectionSettings(score_threshold=0.05))

    return make


def plain_crops() -> NDArray[np.uint8]:
    """Six regions of one colour each."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128)]
    return np.array(colours, np.uint8)[:, None, None].repeat(32, axis=1).repeat(32, axis=2)


def test_auto_takes_the_gpu() -> None:
    assert choose_runtime().device.type == "cuda" and choose_runtime("cuda:0").device.index == 0


def test_cpu_and_gpu_detect_the_same(
    make_detector: Callable[[Runtime], Detector],
    cpu: Runtime,
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
) -> None:
    on_cpu, on_gpu = make_detector(cpu), make_detector(CUDA)
    assert len(on_gpu.ensemble.shared) == 9
    np.testing.assert_allclose(
        on_gpu.ensemble.score(photograph, boxes).probabilities[0],
        on_cpu.ensemble.score(photograph, boxes)[0],
        atol=1e-3,
    )
    one, two = on_cpu(photograph), on_gpu(photograph)
    assert len(one) > 3 and np.array_equal(one.boxes, two.boxes) and np.array_equal(one.labels, two.labels)
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-3)


def test_bfloat16_stays_near(
    make_detector: Callable[[Runtime], Detector],
    cpu: Runtime,
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
) -> None:
    rough = make_detector(replace(CUDA, dtype=torch.bfloat16)).ensemble.score(photograph, boxes).probabilities[0]
    np.testing.assert_allclose(rough, make_detector(cpu).ensemble.score(photograph, boxes).probabilities[0], atol=0.1)


def test_the_shipped_model_runs_there(photograph: NDArray[np.uint8], boxes: NDArray[np.float32]) -> None:
    found = load_detector(device="cuda").ensemble.score(photograph, boxes[:4]).probabilities[0]
    expected = load_detector(device="cpu").ensemble.score(photograph, boxes[:4]).probabilities[0]
    np.testing.assert_allclose(found, expected, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_there_lowers_the_loss_and_can_be_resumed_on_the_cpu(
    spec: InputSpec, cpu: Runtime, dtype: torch.dtype, tmp_path: Path
) -> None:
    settings = TrainingSettings(iterations=21, learning_rate=0.005, warm_up=2, train_from="conv1")
    torch.manual_seed(1)
    tuning = FineTuning(GoogLeNet(4), spec, settings, replace(CUDA, dtype=dtype))
    tuning.network.dropout.p = 0.0
    losses = [tuning.step(plain_crops(), LABELS) for _ in range(20)]
    assert losses[-1] < 0.1 * losses[0]
    run = TrainingRun(settings={})
    tuning.averaged.save(tmp_path / "state.safetensors", run)
    other = FineTuning(GoogLeNet(4), spec, settings, cpu)
    other.averaged.resume(tmp_path / "state.safetensors", run)
    assert other.step(plain_crops(), LABELS) < 2 * losses[0] and other.averaged.iteration == 21
