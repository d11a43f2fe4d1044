"""The same answers on a GPU; skipped, saying so, where there is none."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.backbones.inference import for_inference, gpu_kernels
from inception_rcnn.backbones.runtimes.gpu_graphs import captured
from inception_rcnn.backbones.training.loop import TrainingRun
from inception_rcnn.detector import (
    ClassifierDescription,
    DetectionSettings,
    Detector,
    Ensemble,
    RegionClassifier,
    Runtime,
    choose_runtime,
    load_detector,
    load_region_classifier,
)
from inception_rcnn.detector.region_classifier import PooledClassifier
from inception_rcnn.detector.region_pooling import PooledNetwork, PoolingSpec
from inception_rcnn.detector.region_warp import RegionWarp
from inception_rcnn.detector.runtimes.device_warp import DeviceWarp
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.detector.training.warped.step import FineTuning
from inception_rcnn.proposals import load_multibox
from inception_rcnn.structures import Proposals

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU: this machine has none"),
]

CUDA = Runtime(torch.device("cuda"), torch.float32, 16)
CPU = Runtime(torch.device("cpu"), torch.float32, 16)
SEVERAL = np.array([(0, 0, 512, 512), (150, 20, 320, 220), (-30, 300, 90, 480), (200, 200, 215, 240)], np.float32)
LABELS = np.array([0, 1, 2, 3, 3, 3], dtype=np.int64)


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """No TF32: products in float32 as on the CPU."""
    # `flags` switches cuDNN off unless it is told not to, and nothing runs without it but these tests.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False, deterministic=True, benchmark=False):
        yield


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """Within, torch raises wherever the CPU would wait for the GPU."""
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


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
    found = on_gpu.ensemble.score(photograph, boxes).probabilities
    # A grey level of a pixel here and there, where the GPU's warp rounds the other way.
    np.testing.assert_allclose(found, on_cpu.ensemble.score(photograph, boxes).probabilities, atol=0.02)
    one, two = on_cpu(photograph), on_gpu(photograph)
    seen = {
        (*box, int(label)): score for box, label, score in zip(two.boxes.tolist(), two.labels, two.scores, strict=True)
    }
    sure = one.scores > 0.1
    assert sure.sum() > 3
    for box, label, score in zip(one.boxes[sure].tolist(), one.labels[sure], one.scores[sure], strict=True):
        assert abs(seen[(*box, int(label))] - score) < 0.02


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


@pytest.mark.parametrize("sides", [(512, 512), (397, 555)])
def test_regions_are_cut_as_on_the_cpu(sides: tuple[int, int]) -> None:
    image = np.ascontiguousarray(data.coffee()[: sides[0], : sides[1]])
    height, width = image.shape[:2]
    rng, spec = np.random.default_rng(0), InputSpec(context=16)
    extent = np.exp(rng.uniform(np.log(3), np.log([1.2 * width, 1.2 * height]), (200, 2)))
    centre = rng.uniform(0, 1, (200, 2)) * [width, height]
    regions = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1).astype(np.float32)
    expected = spec.apply(torch.from_numpy(RegionWarp(image, spec).cut(regions)))
    apart = (DeviceWarp(image, spec, CUDA.device, torch.bfloat16).cut(regions).float().cpu() - expected).abs()
    assert apart.max() <= 2 and apart.mean() < 0.3


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
@torch.inference_mode()
def test_the_network_made_ready_computes_the_same_there(dtype: torch.dtype, most: float) -> None:
    network = load_region_classifier("coco-mini", CPU).network
    assert isinstance(network, GoogLeNet)
    x = torch.from_numpy(RegionWarp(data.astronaut(), InputSpec(context=16)).cut(SEVERAL))
    inputs = InputSpec(context=16).apply(x.to(CUDA.device), dtype)
    exact = network(InputSpec(context=16).apply(x))
    ready = for_inference(network.to(CUDA.device, dtype))
    assert gpu_kernels(inputs) is not None, "Triton does not work on this machine"
    found = ready(inputs).float().cpu()
    assert torch.linalg.norm(found - exact) / torch.linalg.norm(exact) < most
    inputs = torch.cat([inputs, inputs.flip(3)])
    run = captured(lambda given: ready(given), inputs)
    for _ in range(2):
        inputs.copy_(inputs.flip(0))
        assert torch.allclose(run(), ready(inputs), rtol=1e-2, atol=1e-2)


def test_nothing_waits_between_the_batches(
    make_detector: Callable[[Runtime], Detector], photograph: NDArray[np.uint8], boxes: NDArray[np.float32]
) -> None:
    chain = make_detector(CUDA).ensemble._chain
    expected = chain.score(photograph, boxes)  # two batches, whose graphs are captured now
    with torch.inference_mode(), waiting_is_an_error():
        found = chain._queued(photograph, boxes)
    assert np.array_equal(found.cpu().numpy(), expected)


def test_short_memory_halves_the_batches_there(
    make_detector: Callable[[Runtime], Detector],
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = make_detector(CUDA).ensemble._chain
    expected = chain.score(photograph, boxes)
    chain._batches.clear()
    compute = chain.probabilities

    def short(inputs: Tensor) -> Tensor:
        if len(inputs) > 4:
            torch.empty(2**50, dtype=torch.uint8, device=inputs.device)  # the allocator's own error
        return compute(inputs)

    monkeypatch.setattr(chain, "probabilities", short)
    np.testing.assert_allclose(chain.score(photograph, boxes), expected, atol=0.02)
    assert chain.batch == 4


def test_pooled_regions_there(photograph: NDArray[np.uint8], boxes: NDArray[np.float32]) -> None:
    torch.manual_seed(3)
    pooling = PoolingSpec(short_side=160, long_side=320)
    network = PooledNetwork(3, pooling)
    description = ClassifierDescription(("cat", "cup", "dog"), InputSpec(), pooling=pooling, box_regression=True)
    expected = PooledClassifier(copy.deepcopy(network), description, CPU).score(photograph, boxes)
    member = PooledClassifier(network, description, CUDA)
    for found, wanted in zip(member.score(photograph, boxes), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-3)
    with torch.inference_mode(), waiting_is_an_error():
        maps, corners = member._look(photograph, boxes, None)
        member._ready.head(member._ready.cells(maps, corners), maps.mean.expand(len(boxes), -1))  # type: ignore[union-attr]


def test_multibox_there() -> None:
    image = data.astronaut()
    on_cpu, on_gpu = load_multibox("multibox", CPU), load_multibox("multibox", CUDA)
    expected, found = on_cpu.propose(image, top_k=20), on_gpu.propose(image, top_k=20)
    np.testing.assert_allclose(found.boxes[:10], expected.boxes[:10], atol=1)
    np.testing.assert_allclose(found.scores[:10], expected.scores[:10], atol=0.02)
    view = on_gpu.look([image])[0]
    on_gpu.look([np.ascontiguousarray(image[:, ::-1])])  # the graph's memory is used anew; the view is kept
    np.testing.assert_allclose(on_gpu.proposals(view, 20).scores[:10], expected.scores[:10], atol=0.02)
    np.testing.assert_allclose(on_gpu.objectness(view, SEVERAL), on_cpu.objectness(image, SEVERAL), atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_there_lowers_the_loss_and_can_be_resumed_on_the_cpu(
    spec: InputSpec, cpu: Runtime, dtype: torch.dtype, tmp_path: Path
) -> None:
    settings = TrainingSettings(iterations=21, learning_rate=0.005, warm_up=2, train_from="conv1")
    torch.manual_seed(1)
    tuning = FineTuning(GoogLeNet(4), spec, settings, replace(CUDA, dtype=dtype))
    tuning.network.dropout.p = 0.0
    losses = [tuning.step(plain_crops(), LABELS) for _ in range(20)]
    first = losses[1]  # a loss is read one step later, so that nothing waits for it
    assert losses[-1] < 0.1 * first
    run = TrainingRun(settings={})
    tuning.averaged.save(tmp_path / "state.safetensors", run)
    other = FineTuning(GoogLeNet(4), spec, settings, cpu)
    other.averaged.resume(tmp_path / "state.safetensors", run)
    assert other.step(plain_crops(), LABELS) < 2 * first and other.averaged.iteration == 21
