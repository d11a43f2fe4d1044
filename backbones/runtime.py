"""Where the networks run, in which precision, and in batches of what size."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.structures import InputError

# glibc's mallopt parameters, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@dataclass(frozen=True)
class Runtime:
    """Where and how networks compute.

    Args:
        device: The CPU or a GPU.
        dtype: Floating-point type of the products.
        batch: Regions, or images, in each batch.
    """

    device: torch.device
    dtype: torch.dtype
    batch: int


def choose_runtime(device: str = "auto") -> Runtime:
    """Return the runtime for "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:N".

    bfloat16 where the hardware multiplies it faster than float32: CPUs with AVX512-BF16 or AMX (2 to 4 times), GPUs
    since Ampere. Never float16: the response normalisation squares activations of several hundred, which overflows.

    Raises:
        InputError: Unknown device, or CUDA asked for where there is none.
    """
    has_cuda = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if has_cuda else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cpu":
        return Runtime(chosen, torch.bfloat16 if cpu_has_fast_bfloat16() else torch.float32, 64)
    if chosen.type != "cuda":
        raise InputError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N")
    if not has_cuda or (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device!r} was asked for, but this machine has {torch.cuda.device_count()} CUDA devices"
        )
    fast = torch.cuda.get_device_capability(chosen)[0] >= 8
    return Runtime(chosen, torch.bfloat16 if fast else torch.float32, 512)


def cpu_has_fast_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16 products."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


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
        array: NDArray[Any] = tensor.numpy()
        return lambda: array
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.copy_(tensor, non_blocking=True)
    over = torch.cuda.Event()
    over.record(torch.cuda.current_stream(tensor.device))

    def wait() -> NDArray[Any]:
        over.synchronize()
        # A copy, because pinned memory is scarce and callers may keep what they are given.
        found: NDArray[Any] = pinned.numpy().copy()
        return found

    return wait
