"""What lies between GoogLeNet's convolutions, in one pass over memory each, for inference on a GPU.

torch's own pooling also writes where each maximum was, which costs more than the pooling; its response normalisation is
seven passes; a bias and a ReLU behind a convolution two. A network that is limited by memory, as this one, then runs
at a third of its speed. Triton compiles these kernels at their first call and keeps them (~/.triton); it comes with
torch where there is CUDA, and `usable` says whether it works. Everything is in channels-last memory and summed in
float32. A file of its own, since importing it imports Triton: `inference.py` does so when there is a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_PIXELS, _CHANNELS = 32, 64


@triton.jit
def _place(pixel, height, width, out_height, out_width, stride, padding):
    """Top left corner of an output pixel's window, and where its image begins, counted in pixels."""
    x = (pixel % out_width) * stride - padding
    y = ((pixel // out_width) % out_height) * stride - padding
    image = (pixel // (out_width * out_height)).to(tl.int64) * height * width
    return x, y, image


@triton.jit
def _pool(
    source, out, total, height, width, out_height, out_width, channels, stride, padding,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    x, y, image = _place(pixel, height, width, out_height, out_width, stride, padding)
    best = tl.full((PIXELS, CHANNELS), float("-inf"), tl.float32)
    for dy in tl.static_range(3):
        for dx in tl.static_range(3):
            inside = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width) & (pixel < total)
            at = (image + (y + dy) * width + (x + dx)) * channels
            mask = inside[:, None] & (channel < channels)[None, :]
            value = tl.load(source + at[:, None] + channel[None, :], mask=mask, other=float("-inf"))
            best = tl.maximum(best, value.to(tl.float32))
    to = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    tl.store(out + to, best, mask=(pixel < total)[:, None] & (channel < channels)[None, :])


@triton.jit
def _pool_then_normalise(
    source, bias, out, total, height, width, out_height, out_width, channels, strength,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    x, y, image = _place(pixel, height, width, out_height, out_width, 2, 0)
    squares = tl.zeros((PIXELS, CHANNELS), tl.float32)
    own = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for aside in tl.static_range(5):
        near = channel + (aside - 2)
        known = (near >= 0) & (near < channels)
        best = tl.full((PIXELS, CHANNELS), float("-inf"), tl.float32)
        for dy in tl.static_range(3):
            for dx in tl.static_range(3):
                mask = ((y + dy < height) & (x + dx < width) & (pixel < total))[:, None] & known[None, :]
                at = (image + (y + dy) * width + (x + dx)) * channels
                value = tl.load(source + at[:, None] + near[None, :], mask=mask, other=float("-inf"))
                best = tl.maximum(best, value.to(tl.float32))
        # The maximum commutes with what rises: bias and ReLU are for a quarter of the pixels then.
        value = tl.maximum(best + tl.load(bias + near, mask=known, other=0.0).to(tl.float32)[None, :], 0.0)
        squares += value * value
        if aside == 2:
            own = value
    root = tl.rsqrt(1.0 + strength * squares)
    to = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    mask = (pixel < total)[:, None] & (channel < channels)[None, :]
    tl.store(out + to, own * root * tl.sqrt(root), mask=mask)


@triton.jit
def _normalise_then_pool(
    source, bias, out, total, height, width, out_height, out_width, channels, strength,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    x, y, image = _place(pixel, height, width, out_height, out_width, 2, 0)
    best = tl.full((PIXELS, CHANNELS), float("-inf"), tl.float32)
    for tap in range(9):
        dy = tap // 3
        dx = tap % 3
        inside = (y + dy < height) & (x + dx < width) & (pixel < total)
        at = (image + (y + dy) * width + (x + dx)) * channels
        squares = tl.zeros((PIXELS, CHANNELS), tl.float32)
        own = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for aside in tl.static_range(5):
            near = channel + (aside - 2)
            known = (near >= 0) & (near < channels)
            mask = inside[:, None] & known[None, :]
            value = tl.load(source + at[:, None] + near[None, :], mask=mask, other=0.0).to(tl.float32)
            value = tl.maximum(value + tl.load(bias + near, mask=known, other=0.0).to(tl.float32)[None, :], 0.0)
            squares += value * value
            if aside == 2:
                own = value
        root = tl.rsqrt(1.0 + strength * squares)
        best = tl.maximum(best, tl.where(inside[:, None], own * root * tl.sqrt(root), float("-inf")))
    to = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    tl.store(out + to, best, mask=(pixel < total)[:, None] & (channel < channels)[None, :])


@triton.jit
def _bias_relu(
    source, bias, one, two, three, rows, channels, first, second, one_step, two_step, three_step,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) * PIXELS + tl.arange(0, PIXELS))[:, None]
    channel = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, :]
    mask = (row < rows) & (channel < channels)
    line = row.to(tl.int64)
    value = tl.load(source + line * channels + channel, mask=mask, other=0.0).to(tl.float32)
    value = tl.maximum(value + tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32), 0.0)
    tl.store(one + line * one_step + channel, value, mask=mask & (channel < first))
    tl.store(two + line * two_step + (channel - first), value, mask=mask & (channel >= first) & (channel < second))
    tl.store(three + line * three_step + (channel - second), value, mask=mask & (channel >= second))


def max_pool(x: Tensor, *, stride: int) -> Tensor:
    """Return the maximum over 3x3 windows: at stride 1 the map keeps its size, at stride 2 as `inception.Downsample`.

    Args:
        x: (N, C, H, W), channels last.
        stride: 1 or 2.
    """
    out, sizes = _pooled_map(x, stride)
    grid = _grid(out.numel() // out.shape[1], x.shape[1])
    _pool[grid](x, out, *sizes, stride, 2 - stride, PIXELS=_PIXELS, CHANNELS=_CHANNELS)
    return out


def pool_then_normalise(x: Tensor, bias: Tensor, strength: float) -> Tensor:
    """Return the normalised maxima of relu(x + bias) over 3x3 windows at stride 2.

    Args:
        x: (N, C, H, W), channels last: a convolution's result before its bias.
        bias: (C,).
        strength: alpha / size of the response normalisation over five channels.
    """
    out, sizes = _pooled_map(x, 2)
    grid = _grid(out.numel() // out.shape[1], x.shape[1])
    _pool_then_normalise[grid](x, bias, out, *sizes, strength, PIXELS=_PIXELS, CHANNELS=_CHANNELS)
    return out


def normalise_then_pool(x: Tensor, bias: Tensor, strength: float) -> Tensor:
    """Return the maxima over 3x3 windows at stride 2 of relu(x + bias), normalised. See `pool_then_normalise`."""
    out, sizes = _pooled_map(x, 2)
    grid = _grid(out.numel() // out.shape[1], x.shape[1])
    _normalise_then_pool[grid](x, bias, out, *sizes, strength, PIXELS=_PIXELS, CHANNELS=_CHANNELS)
    return out


def bias_relu(x: Tensor, bias: Tensor, *parts: Tensor) -> None:
    """Write relu(x + bias) into one, two or three tensors that take its columns one after the other.

    Args:
        x: (rows, channels), contiguous.
        bias: (channels,).
        parts: (rows, c) each, their c adding up to the channels; rows may be apart, columns not.
    """
    rows, channels = x.shape
    first = parts[0].shape[1]
    second = first + parts[1].shape[1] if len(parts) > 1 else channels
    one, two, three = (*parts, *parts[-1:] * 2)[:3]
    steps = (one.stride(0), two.stride(0), three.stride(0))
    grid = _grid(rows, channels)
    _bias_relu[grid](
        x, bias, one, two, three, rows, channels, first, second, *steps, PIXELS=_PIXELS, CHANNELS=_CHANNELS
    )


def _pooled_map(x: Tensor, stride: int) -> tuple[Tensor, tuple[Any, ...]]:
    """Return an empty map for what is pooled from `x`, and the numbers that every kernel here is told."""
    batch, channels, height, width = x.shape
    size = (height, width) if stride == 1 else tuple(_halved(length) for length in (height, width))
    out = torch.empty((batch, channels, *size), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    return out, (batch * size[0] * size[1], height, width, *size, channels)


def _halved(length: int) -> int:
    """Return how many windows of 3 at stride 2 there are, the last one hanging over: ceil((length - 3) / 2) + 1."""
    return (length - 2) // 2 + 1


def _grid(rows: int, channels: int) -> tuple[int, int]:
    return triton.cdiv(rows, _PIXELS), triton.cdiv(channels, _CHANNELS)
