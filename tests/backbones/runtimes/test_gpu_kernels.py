"""Triton's kernels against torch's operations: on a GPU where there is one, else run step by step by its interpreter.

The interpreter must be asked for before Triton is imported, so the last test runs this file in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType

import pytest
import torch
from torch.nn import functional

from inception_rcnn.backbones import GoogLeNet, LocalResponseNorm, inference
from inception_rcnn.backbones.inception import Downsample
from inception_rcnn.backbones.inference import FusedInception, for_inference

HAS_GPU = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and not HAS_GPU
DEVICE = torch.device("cuda" if HAS_GPU else "cpu")

pytestmark = pytest.mark.cuda
runs_here = pytest.mark.skipif(not (HAS_GPU or INTERPRETED), reason="runs in a process of its own, see the last test")


@pytest.fixture
def kernels() -> ModuleType:
    """The kernels, as they run here."""
    return pytest.importorskip(
        "inception_rcnn.backbones.runtimes.gpu_kernels", reason="Triton comes with torch for CUDA"
    )


@runs_here
@pytest.mark.parametrize("size", [(9, 8), (7, 7), (3, 4)])
@pytest.mark.parametrize("channels", [16, 70])
def test_kernels_compute_what_torch_does(kernels: ModuleType, channels: int, size: tuple[int, int]) -> None:
    torch.manual_seed(2)
    x = (torch.randn(2, channels, *size, device=DEVICE) * 300).contiguous(memory_format=torch.channels_last)
    bias, norm = torch.randn(channels, device=DEVICE), LocalResponseNorm(channels).to(DEVICE)
    active = (x + bias[:, None, None]).relu()
    assert torch.equal(kernels.max_pool(x, stride=1), functional.max_pool2d(x, 3, 1, 1))
    assert torch.equal(kernels.max_pool(x, stride=2), Downsample()(x))
    for found, expected in (
        (kernels.pool_then_normalise(x, bias, norm.strength), norm(Downsample()(active))),
        (kernels.normalise_then_pool(x, bias, norm.strength), Downsample()(norm(active))),
    ):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
    wide, second, third = (torch.zeros(len(rows), width, device=DEVICE) for width in (50, 4, channels - 13))
    kernels.bias_relu(rows, bias, wide[:, 5:14], second, third)
    assert torch.equal(torch.cat([wide[:, 5:14], second, third], dim=1), (rows + bias).relu())
    assert wide[:, :5].abs().max() == 0 and wide[:, 14:].abs().max() == 0


@runs_here
@torch.inference_mode()
def test_a_module_and_the_stem(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = GoogLeNet(5).eval().to(DEVICE).to(memory_format=torch.channels_last)
    x = (torch.randn(1, 3, 32, 38, device=DEVICE) * 60).contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    stem = network.stage("conv2", network.stage("conv1", x))
    module = network.get_submodule("inception_3a")(stem)
    ready = for_inference(network)
    monkeypatch.setattr(inference, "gpu_kernels", lambda x: kernels)
    torch.testing.assert_close(ready.stage("conv2", ready.stage("conv1", x)), stem, atol=1e-2, rtol=1e-3)
    fused = ready.get_submodule("inception_3a")
    assert isinstance(fused, FusedInception)
    torch.testing.assert_close(fused(stem), module, atol=1e-2, rtol=1e-3)


@pytest.mark.skipif(HAS_GPU or INTERPRETED, reason="the tests above ran as they are")
def test_in_the_interpreter() -> None:
    pytest.importorskip("triton", reason="Triton is not installed: it comes with torch for CUDA")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0 and "7 passed" in run.stdout, run.stdout[-3000:]
