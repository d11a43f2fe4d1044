"""Where the networks run, in which precision, and in batches of what size."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.structures import InputError, MissingDependencyError
from inception_rcnn.structures.jobs import available_processors

# glibc's mallopt parameters, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ENOUGH_FOR_BOTH: Final = 4  # processors
_USUAL_SIDE: Final = 224  # of the inputs that batches are meant for


ENGINES: Final = ("auto", "torch", "openvino")
PRECISIONS: Final = ("auto", "fp32", "bf16", "int8")
_TYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Processors on which OpenVINO was measured against torch: faster in bfloat16, no different in float32 with AVX2 alone.
# `auto` takes it where it is faster. Source: benchmarks/results/runtimes-2026-11-26.txt.
_MEASURED_ON: Final = ("x86_64", "AMD64")


@dataclass(frozen=True)
class Runtime:
    """Where and how networks compute.

    Args:
        device: The CPU or a GPU.
        dtype: Floating-point type of torch's products; of what goes in and out where another engine computes.
        batch: Regions, or images, of 224 px in each batch; see `batch_for`.
        openvino: Precision in which OpenVINO computes what it can: "fp32", "bf16" or "int8"; None: torch computes all.
    """

    device: torch.device
    dtype: torch.dtype
    batch: int
    openvino: str | None = None

    @property
    def precision(self) -> str:
        """In which most products are made: "fp32", "bf16", "int8", or torch's name of another type."""
        names = {dtype: name for name, dtype in _TYPES.items()}
        return self.openvino or names.get(self.dtype, str(self.dtype))

    def batch_for(self, side: int) -> int:
        """Return how many inputs of `side` x `side` px go together: fewer of larger ones, which take more memory each.

        >>> [Runtime(torch.device("cpu"), torch.float32, 64).batch_for(side) for side in (32, 224, 448, 2048)]
        [64, 64, 16, 1]
        """
        return self.batch if side <= _USUAL_SIDE else max(1, self.batch * _USUAL_SIDE**2 // side**2)

    def autocast(self) -> torch.autocast:
        """Return the context in which a training's products are made in its type, weights staying as they are."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def __str__(self) -> str:
        """Return it in words, such as "bf16 by OpenVINO on cpu"."""
        return f"{self.precision} by {'OpenVINO' if self.openvino else 'torch'} on {self.device}"


def choose_runtime(device: str = "auto", engine: str = "torch", precision: str = "auto") -> Runtime:
    """Return where and how to compute.

    Args:
        device: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:N", or another accelerator that
            torch has here, "mps" or "xpu", which nobody has measured.
        engine: "torch", "openvino" (on the CPU; it cannot train), or "auto": OpenVINO on the CPU where it is installed
            and was measured faster, on x86-64 that multiplies bfloat16; or where int8 is asked for.
        precision: "fp32", "bf16", "int8" (OpenVINO and calibrated weights only), or "auto": bfloat16 where the hardware
            multiplies it faster than float32, CPUs with AVX512-BF16 or AMX (2 to 4 times) and GPUs since Ampere. Never
            float16, in which nothing was measured.

    Raises:
        InputError: An unknown word, or what this machine or engine cannot do.
        MissingDependencyError: OpenVINO was asked for and is not installed.
    """
    for name, value, known in (("runtime", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise InputError(f"unknown {name} {value!r}; known are {', '.join(known)}")
    chosen = _device(device, engine)
    if engine == "auto":
        engine = "openvino" if chosen.type == "cpu" and _openvino_is_better(precision) else "torch"
    if precision == "auto":
        precision = "bf16" if _has_fast_bfloat16(chosen) else "fp32"
    if engine == "openvino":
        _check_openvino(chosen)
        return Runtime(chosen, torch.float32, 64, precision)
    if precision == "int8":
        raise InputError("precision int8 is OpenVINO's alone; ask for runtime openvino, or for fp32 or bf16")
    return Runtime(chosen, _TYPES[precision], 64 if chosen.type == "cpu" else 512)


def _device(device: str, engine: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if has_cuda and engine != "openvino" else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N") from error
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    known = {"cpu", "cuda", *([accelerator.type] if accelerator is not None else [])}
    if chosen.type not in known:
        others = ", ".join(sorted(known - {"cpu", "cuda"}))
        raise InputError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N{others and f', or here {others}'}")
    if chosen.type == "cuda" and (not has_cuda or (chosen.index or 0) >= torch.cuda.device_count()):
        raise InputError(
            f"device {device!r} was asked for, but this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return chosen


def _has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 products were measured to be faster than float32's there."""
    if device.type == "cpu":
        return cpu_has_fast_bfloat16()
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8


def openvino_is_installed() -> bool:
    """Return whether OpenVINO, and what translates networks for it, can be found; neither is imported."""
    return all(importlib.util.find_spec(name) is not None for name in ("openvino", "onnx"))


def _openvino_is_better(precision: str) -> bool:
    if not openvino_is_installed() or platform.machine() not in _MEASURED_ON:
        return False
    return precision == "int8" or (precision != "fp32" and cpu_has_fast_bfloat16())


def _check_openvino(device: torch.device) -> None:
    if device.type != "cpu":
        raise InputError(f"runtime openvino computes on the CPU; device {device} needs runtime torch")
    if not openvino_is_installed():
        raise MissingDependencyError(
            "runtime openvino needs OpenVINO: pip install 'inception-rcnn[cpu]', or use runtime torch"
        )


def cpu_has_fast_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16 products."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def leaves_processors(runtime: Runtime) -> bool:
    """Return whether other work gains by running while a network computes there.

    It does beside a GPU, and where there are more processors than a network of one image keeps busy. On two, both only
    take turns.
    """
    return runtime.device.type != "cpu" or available_processors() >= _ENOUGH_FOR_BOTH


def drawing_threads(runtime: Runtime) -> int:
    """Return how many threads should decode and draw for a training: beside a GPU all, on a CPU one."""
    return available_processors() if runtime.device.type == "cuda" else 1


def keep_freed_memory() -> None:
    """Make glibc keep large freed blocks for reuse, instead of asking the system for fresh, zeroed pages.

    A network on the CPU frees and allocates the same tens of megabytes at every layer; without this a quarter to a
    third of its time goes into page faults. It acts on the whole process, so the commands call it, the library does
    not. Nothing happens where the C library is another one.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on a device, without waiting for what the device is doing.

    Args:
        array: Of numbers; it may be changed or freed as soon as this returns.
        device: Of any kind. On the CPU the tensor may share the array's memory.
    """
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    # A copy from pageable memory would wait; the pinned block is kept by the allocator until the copy is over.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def download(tensor: Tensor) -> Callable[[], NDArray[Any]]:
    """Start to copy a tensor to the CPU, and return what waits for the copy and gives the array.

    Args:
        tensor: On any device; of a type that NumPy knows.
    """
    if tensor.device.type != "cuda":
        array: NDArray[Any] = tensor.cpu().numpy()
        return lambda: array
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.copy_(tensor, non_blocking=True)
    over = torch.cuda.Event()  # type: ignore[no-untyped-call]
    over.record(torch.cuda.current_stream(tensor.device))

    def wait() -> NDArray[Any]:
        over.synchronize()
        # A copy, because pinned memory is scarce and callers may keep what they are given.
        found: NDArray[Any] = pinned.numpy().copy()
        return found

    return wait
