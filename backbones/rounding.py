"""Weights stored as int8, a scale for each output channel, and made floating-point numbers again when they are read.

    weight (O, ...) float  -->  "name" (O, ...) int8  and  "name/int8-scale" (O,) float32;  name * scale

Half the size of fp16. Networks compute with the expanded numbers, in whatever precision they are asked to: this is a
way to store, not a way to compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from inception_rcnn.structures import CheckpointError

_SCALE: Final = "/int8-scale"
_HIGHEST: Final = 127
# Smaller tensors (biases, the first layers of few weights) stay as they are: there is nothing to save.
_LEAST_NUMBERS: Final = 4096
# Of a channel's largest weight: beyond it weights are cut off, if the others come out so much finer that the squared
# error falls.
_CUTS: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


def rounded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with every large matrix or kernel as int8 and scales; see the module.

    Args:
        tensors: Floating-point numbers, by name; those of fewer than two dimensions or 4,096 numbers are returned as
            float16.

    >>> weight = torch.linspace(-1, 1, 8192).view(2, 4096)
    >>> stored = rounded({"w": weight})
    >>> stored["w"].dtype, stored["w/int8-scale"].shape
    (torch.int8, torch.Size([2]))
    >>> bool((expanded(stored)["w"] - weight).abs().max() <= 1 / 127)
    True
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or tensor.numel() < _LEAST_NUMBERS or not tensor.is_floating_point():
            stored[name] = tensor.half() if tensor.is_floating_point() else tensor
            continue
        rows = tensor.detach().float().flatten(1)
        scale = _best_scales(rows)
        stored[name] = _levels(rows, scale).to(torch.int8).view(tensor.shape)
        stored[name + _SCALE] = scale
    return stored


def expanded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what `rounded` was given, as float32, within half a step of each channel; other tensors as they are.

    Raises:
        CheckpointError: Scales without their int8 tensor, or of another length, or not finite numbers from 0 on.
    """
    result = {}
    for name, tensor in tensors.items():
        if name.endswith(_SCALE):
            owner = tensors.get(name.removesuffix(_SCALE))
            if owner is None or owner.dtype != torch.int8:
                raise CheckpointError(f"{name} stands beside no int8 tensor; the file is damaged")
            continue
        scale = tensors.get(name + _SCALE)
        if scale is None:
            result[name] = tensor
            continue
        if scale.dtype != torch.float32 or tensor.ndim == 0 or scale.shape != tensor.shape[:1]:
            raise CheckpointError(
                f"{name}{_SCALE} should have a float32 for each of {tuple(tensor.shape)[:1]} channels, "
                f"got {scale.dtype} {tuple(scale.shape)}; the file is damaged"
            )
        if not bool((torch.isfinite(scale) & (scale >= 0)).all()):
            raise CheckpointError(f"{name}{_SCALE} holds a number that is negative or not finite; the file is damaged")
        result[name] = tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
    return result


def _best_scales(rows: Tensor) -> Tensor:
    """Return for each row the step, (O,) float32, with which rounding costs the least squared error."""
    largest = rows.abs().amax(dim=1).clamp_min(1e-12) / _HIGHEST
    candidates = torch.stack([cut * largest for cut in _CUTS])
    errors = torch.stack([(_levels(rows, one) * one[:, None] - rows).square().sum(dim=1) for one in candidates])
    return candidates.gather(0, errors.argmin(dim=0)[None])[0]


def _levels(rows: Tensor, scale: Tensor) -> Tensor:
    return (rows / scale[:, None]).round().clamp(-_HIGHEST, _HIGHEST)
