"""Which device, which precision; every wrong wish refused."""

from __future__ import annotations

import ctypes
import platform

import pytest
import torch

from inception_rcnn.backbones.runtime import cpu_has_fast_bfloat16
from inception_rcnn.detector import choose_runtime, keep_freed_memory
from inception_rcnn.structures import InputError, MissingDependencyError


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({}, False),
        ({"avx512_f": True, "amx_bf16": False, "avx512_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
    ],
)
def test_the_cpu_computes_in_bfloat16_where_it_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    runtime = choose_runtime("cpu")
    assert cpu_has_fast_bfloat16() is fast
    assert runtime.dtype == (torch.bfloat16 if fast else torch.float32)
    assert runtime.device == torch.device("cpu") and runtime.batch == 64


def test_an_older_torch_that_cannot_say_means_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_runtime("cpu").dtype == torch.float32


@pytest.fixture
def pretend_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is installed, on a processor that it was measured on."""
    monkeypatch.setattr("inception_rcnn.backbones.runtime.openvino_is_installed", lambda: True)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def pretend_cpu(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    """Makes torch report a processor with these."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


def test_auto_is_openvino_where_it_is_installed_and_faster(
    monkeypatch: pytest.MonkeyPatch, pretend_openvino: None
) -> None:
    pretend_cpu(monkeypatch, avx512_bf16=True)
    for precision in ("auto", "bf16"):
        runtime = choose_runtime("cpu", "auto", precision)
        assert (runtime.openvino, runtime.precision, runtime.dtype) == ("bf16", "bf16", torch.float32)
        assert str(runtime) == "bf16 by OpenVINO on cpu"
    assert choose_runtime("cpu", "auto", "fp32").openvino is None, "where it was measured no faster"
    assert choose_runtime("cpu", "torch").openvino is None
    assert choose_runtime("cpu").openvino is None, "which cannot train, so it is not what one gets unasked"


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp32"])
def test_auto_is_torch_on_a_processor_without_bfloat16(
    monkeypatch: pytest.MonkeyPatch, pretend_openvino: None, precision: str
) -> None:
    pretend_cpu(monkeypatch, avx2=True)
    assert choose_runtime("cpu", "auto", precision).openvino is None
    assert choose_runtime("cpu", "openvino").openvino == "fp32", "by name it is taken"


def test_auto_is_torch_where_openvino_is_missing_or_was_not_measured(
    monkeypatch: pytest.MonkeyPatch, pretend_openvino: None
) -> None:
    pretend_cpu(monkeypatch, amx_bf16=True)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert choose_runtime("cpu", "auto").openvino is None
    assert choose_runtime("cpu", "openvino").openvino is not None, "by name it is taken"
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr("inception_rcnn.backbones.runtime.openvino_is_installed", lambda: False)
    assert choose_runtime("cpu", "auto").openvino is None


def test_auto_is_torch_on_cuda_and_openvino_by_name_means_the_cpu(
    monkeypatch: pytest.MonkeyPatch, pretend_openvino: None
) -> None:
    pretend_cuda(monkeypatch, 1)
    assert choose_runtime("auto", "auto").openvino is None
    assert choose_runtime("auto", "auto").device.type == "cuda"
    assert choose_runtime("auto", "openvino").device.type == "cpu"
    with pytest.raises(InputError, match="openvino computes on the CPU; device cuda needs runtime torch"):
        choose_runtime("cuda", "openvino")


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_precision_is_taken_by_name(monkeypatch: pytest.MonkeyPatch, precision: str, dtype: torch.dtype) -> None:
    for fast in (False, True):
        pretend_cpu(monkeypatch, avx512_bf16=fast)
        runtime = choose_runtime("cpu", "torch", precision)
        assert (runtime.dtype, runtime.precision) == (dtype, precision)
        assert str(runtime) == f"{precision} by torch on cpu"


def test_int8_is_openvinos_alone_and_never_chosen_by_auto(
    monkeypatch: pytest.MonkeyPatch, pretend_openvino: None
) -> None:
    assert choose_runtime("cpu", "openvino", "int8").precision == "int8"
    assert choose_runtime("cpu", "auto", "int8").openvino == "int8"
    with pytest.raises(InputError, match="int8 is OpenVINO's alone"):
        choose_runtime("cpu", "torch", "int8")
    pretend_cuda(monkeypatch, 1)
    with pytest.raises(InputError, match="int8 is OpenVINO's alone"):
        choose_runtime("cuda", "auto", "int8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cpu", "onnx"), "unknown runtime 'onnx'; known are auto, torch, openvino"),
        (("cpu", "auto", "fp16"), "unknown precision 'fp16'; known are auto, fp32, bf16, int8"),
    ],
)
def test_unknown_words_are_refused_with_the_known_ones(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_runtime(*arguments)


def test_openvino_by_name_without_the_library_says_how_to_install_it() -> None:
    with pytest.raises(MissingDependencyError, match=r"pip install 'inception-rcnn\[cpu\]', or use runtime torch"):
        choose_runtime("cpu", "openvino")


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, devices: int, capability: tuple[int, int] = (9, 0)) -> None:
    """Makes torch report so many CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch, 0)
    assert choose_runtime().device.type == "cpu"
    pretend_cuda(monkeypatch, 1)
    assert choose_runtime().device.type == "cuda" and choose_runtime("cpu").device.type == "cpu"


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_cuda_computes_in_bfloat16_since_ampere(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    pretend_cuda(monkeypatch, 2, capability)
    runtime = choose_runtime("cuda:1")
    assert runtime.dtype == dtype and runtime.device == torch.device("cuda", 1)


@pytest.mark.parametrize("device", ["gpu", "", "mps", "meta", "cuda:x", "tpu:0", None, 0.5])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(InputError, match=f"unknown device {device!r}; use auto, cpu, cuda or cuda:N"):
        choose_runtime(device)


@pytest.mark.parametrize(("device", "devices"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2), ("cuda:99", 1)])
def test_cuda_devices_that_are_not_there_are_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, devices: int
) -> None:
    pretend_cuda(monkeypatch, devices)
    with pytest.raises(InputError, match=f"'{device}' was asked for, but this machine has {devices} CUDA devices"):
        choose_runtime(device)


class FakeLibrary:
    """A C library that notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def mallopt(self, parameter: int, value: int) -> int:
        self.calls.append((parameter, value))
        return 1


@pytest.mark.parametrize(("library", "calls"), [("glibc", [(-3, 2**30), (-1, 2**31 - 1)]), ("", []), ("musl", [])])
def test_freed_memory_is_kept_by_glibc_only(
    monkeypatch: pytest.MonkeyPatch, library: str, calls: list[tuple[int, int]]
) -> None:
    fake = FakeLibrary()
    monkeypatch.setattr(platform, "libc_ver", lambda: (library, "2.36"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: fake)
    keep_freed_memory()
    assert fake.calls == calls


def test_another_accelerator_is_taken_by_name_where_torch_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No such machine was at hand: this is of the choice alone."""
    mps = torch.device("mps")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: mps)
    runtime = choose_runtime("mps")
    assert (runtime.device.type, runtime.dtype, runtime.openvino) == ("mps", torch.float32, None)
    assert choose_runtime("auto").device.type in ("cpu", "cuda")
    with pytest.raises(InputError, match="unknown device 'xpu'; use auto, cpu, cuda or cuda:N, or here mps"):
        choose_runtime("xpu")
