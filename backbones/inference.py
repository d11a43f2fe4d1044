"""GoogLeNet made ready to run, not to learn: sibling convolutions joined once, passes over memory fused on a GPU.

`for_inference(network)` computes what the network computes: on the CPU to the bit, on a GPU in the same type but for
rounding (there, sums before bias and ReLU are not rounded twice). It shares the network's weights where nothing is
joined, knows neither dropout nor auxiliary heads, and is no network to train or to save.
"""

from __future__ import annotations

import copy
import sys
from functools import lru_cache
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from inception_rcnn.backbones.inception import ConvReLU, Downsample, GoogLeNet, Inception
from inception_rcnn.structures import InputError

Network = TypeVar("Network", bound=nn.Module)


def for_inference(network: GoogLeNet) -> InferenceGoogLeNet:
    """Return the network with what can be computed once computed, on its own device and in its own type.

    Raises:
        InputError: It is in training, or of a variant with batch norm, of which nothing is joined: it runs as it is.
    """
    if network.training:
        raise InputError("a network in training cannot be made ready for inference; call eval() first")
    if not isinstance(network.conv1, ConvReLU):
        raise InputError(f"variant {network.variant!r} cannot be made ready for inference; call it as it is")
    return network if isinstance(network, InferenceGoogLeNet) else InferenceGoogLeNet(network)


def with_inference_trunk(network: Network) -> Network:
    """Return a copy of a network, its GoogLeNets made ready for inference; weights that are not joined are shared.

    Raises:
        InputError: It is in training.
    """
    known: dict[int, Any] = {id(one): one for one in (*network.parameters(), *network.buffers())}
    ready = copy.deepcopy(network, known)
    for name, child in list(ready.named_children()):
        if isinstance(child, GoogLeNet):
            setattr(ready, name, for_inference(child))
    return ready


class FusedInception(nn.Module):
    """An Inception module whose three sibling 1x1 convolutions are one: the same products, a third of the calls.

    Args:
        module: Whose weights it takes; later changes to the siblings' do not reach it.
    """

    def __init__(self, module: Inception) -> None:
        super().__init__()
        self.out_channels = module.out_channels
        siblings = (module.conv1x1, module.reduce3x3, module.reduce5x5)
        self.widths = [conv.out_channels for conv in siblings]
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", torch.cat([conv.weight.detach() for conv in siblings]))
        self.register_buffer("bias", torch.cat([conv.get_parameter("bias").detach() for conv in siblings]))
        self.conv3x3, self.conv5x5, self.project = module.conv3x3, module.conv5x5, module.project

    def forward(self, x: Tensor) -> Tensor:
        """Return the branches 1x1, 3x3, 5x5 and pool-projection, concatenated: (N, C, H, W)."""
        kernels = gpu_kernels(x)
        if kernels is not None:
            return self._on_gpu(x.contiguous(memory_format=torch.channels_last), kernels)
        together = functional.conv2d(x, self.weight, self.bias).relu_()
        one, three, five = torch.split(together, self.widths, dim=1)
        pooled = functional.max_pool2d(x, kernel_size=3, stride=1, padding=1)
        branches = [one, self.conv3x3(three).relu_(), self.conv5x5(five).relu_(), self.project(pooled).relu_()]
        return torch.cat(branches, dim=1)

    def _on_gpu(self, x: Tensor, kernels: ModuleType) -> Tensor:
        """Return the same; every branch writes into its own columns of the result."""
        one, three, five = self.widths
        out, columns = _empty_map(x, self.out_channels), 0
        reduced3, reduced5 = _empty_map(x, three), _empty_map(x, five)
        flat = _rows(out)
        together = _rows(x) @ self.weight.flatten(1).T
        kernels.bias_relu(together, self.bias, flat[:, :one], _rows(reduced3), _rows(reduced5))
        columns = one
        for conv, read in ((self.conv3x3, reduced3), (self.conv5x5, reduced5)):
            found = functional.conv2d(read, conv.weight, None, padding=conv.padding)
            kernels.bias_relu(_rows(found), conv.bias, flat[:, columns : columns + conv.out_channels])
            columns += conv.out_channels
        pooled = _rows(kernels.max_pool(x, stride=1))
        kernels.bias_relu(pooled @ self.project.weight.flatten(1).T, self.project.bias, flat[:, columns:])
        return out


class FusedDownsample(Downsample):
    """The pooling, in one pass over memory on a GPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the maximum over 3x3 windows at stride 2."""
        kernels = gpu_kernels(input)
        if kernels is None:
            found: Tensor = super().forward(input)
        else:
            found = kernels.max_pool(input.contiguous(memory_format=torch.channels_last), stride=2)
        return found


def _ready(layer: nn.Module) -> nn.Module:
    if isinstance(layer, Inception):
        return FusedInception(layer)
    return FusedDownsample() if isinstance(layer, Downsample) else layer


class InferenceGoogLeNet(GoogLeNet):
    """What `for_inference` gives; `trunk`, `stage`, `classify` and `forward` are the network's."""

    def __init__(self, network: GoogLeNet) -> None:
        nn.Module.__init__(self)
        self.num_classes, self.out_channels = network.num_classes, network.out_channels
        self.variant, self.lrn = network.variant, network.lrn
        for name, child in network.named_children():
            if not name.startswith("aux_"):
                self.add_module(name, _ready(child))
        if network.classifier is None:
            self.classifier = None
        self.aux_4a = self.aux_4d = None
        self.folded: Tensor
        self.register_buffer("folded", _folded(network.conv1.weight.detach()))
        self.eval()

    def train(self, mode: bool = True) -> InferenceGoogLeNet:
        """Refuse to be trained.

        Raises:
            InputError: `mode` is true.
        """
        if mode:
            raise InputError("a network made ready for inference cannot be trained; train the one it was made from")
        return super().train(False)

    def stage(self, name: str, x: Tensor) -> Tensor:
        """Return the output of one stage. See `GoogLeNet.stage`."""
        kernels = gpu_kernels(x)
        if kernels is None or not self.lrn:  # the kernels of the first two stages normalise
            return super().stage(name, x)
        if name == "conv1":
            found = self._first_products(x).contiguous(memory_format=torch.channels_last)
            strength = self.norm1.strength
            return kernels.pool_then_normalise(found, self.conv1.bias, strength)  # type: ignore[no-any-return]
        if name == "conv2":
            x = x.contiguous(memory_format=torch.channels_last)
            reduced = _empty_map(x, self.conv2_reduce.out_channels)
            weight = self.conv2_reduce.weight.flatten(1)
            kernels.bias_relu(_rows(x) @ weight.T, self.conv2_reduce.bias, _rows(reduced))
            found = functional.conv2d(reduced, self.conv2.weight, None, padding=1)
            found = found.contiguous(memory_format=torch.channels_last)
            strength = self.norm2.strength
            return kernels.normalise_then_pool(found, self.conv2.bias, strength)  # type: ignore[no-any-return]
        return super().stage(name, x)

    def _first_products(self, x: Tensor) -> Tensor:
        """Return conv1's result before the bias.

        Matrix units want 8 or 16 channels, not 3: four neighbouring pixels become one of 12, and 7x7 at stride 2
        becomes 4x4 at stride 1.
        """
        batch, channels, height, width = x.shape
        if height % 2 or width % 2 or channels != 3:
            return functional.conv2d(x, self.conv1.weight, None, stride=2, padding=3)
        half = (height // 2, width // 2)
        padded = torch.zeros((batch, half[0] + 3, half[1] + 3, 16), dtype=x.dtype, device=x.device)
        inner = padded[:, 2:-1, 2:-1, :12].view(batch, *half, 2, 2, 3)
        fours = x.permute(0, 2, 3, 1).reshape(batch, half[0], 2, half[1], 2, 3)
        inner.copy_(fours.permute(0, 1, 3, 2, 4, 5))
        return functional.conv2d(padded.permute(0, 3, 1, 2), self.folded)


def _folded(weight: Tensor) -> Tensor:
    """Return a 7x7 stride 2 kernel (out, 3, 7, 7) as the 4x4 stride 1 kernel (out, 16, 4, 4) over folded pixels.

    Tap k of 7 reads pixel 2 y + k - 3, which is the folded pixel y + q, its part p, with 2 q + p = k - 3: with a zero
    put before the seven, tap 2 (q + 2) + p of eight. Four channels stay empty.
    """
    eight = functional.pad(weight, (1, 0, 1, 0))
    parts = eight.reshape(len(weight), 3, 4, 2, 4, 2)  # out, 3, q, p, q, p
    folded = parts.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
    return functional.pad(folded, (0, 0, 0, 0, 0, 4)).contiguous(memory_format=torch.channels_last)


def gpu_kernels(x: Tensor) -> ModuleType | None:
    """Return the module `gpu_kernels` if it can compute with this tensor: on a GPU where Triton works, no gradients."""
    if not x.is_cuda or torch.is_grad_enabled():
        return None
    return _kernels_on(x.device)


@lru_cache
def _kernels_on(device: torch.device) -> ModuleType | None:
    try:
        from inception_rcnn.backbones.runtimes import gpu_kernels as kernels

        kernels.max_pool(torch.zeros((1, 1, 3, 8), device=device).permute(0, 3, 1, 2), stride=1)
    except Exception as error:  # no Triton, no compiler, an old card, ...: whatever it is, torch alone does it too
        sys.stderr.write(f"inception-rcnn: slower on {device}, as Triton does not work there: {_first_line(error)}\n")
        return None
    return kernels


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]


def _empty_map(like: Tensor, channels: int) -> Tensor:
    """Return an empty map of that many channels, otherwise as another one: (N, channels, H, W), channels last."""
    size: Any = (like.shape[0], channels, *like.shape[2:])
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _rows(x: Tensor) -> Tensor:
    """Return a map (N, C, H, W) as a matrix, a row for each pixel: (N * H * W, C); a view if channels are last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
