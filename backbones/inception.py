"""The Inception module and GoogLeNet, exactly as published with the Caffe weights.

One table holds the architecture; everything else is built from it. The network knows nothing of detection, and
its `forward` hides no preprocessing: `preprocessing.py` has the object that goes with the weights.
Source: Szegedy et al. 2014, "Going deeper with convolutions", table 1 and figures 2 and 3. Where the paper leaves
a detail open (padding, ceil-mode pooling, LRN constants), the published Caffe definition decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional

from inception_rcnn.backbones.preprocessing import CAFFE_INPUT, SYMMETRIC_INPUT, InputSpec
from inception_rcnn.structures import InputError


@dataclass(frozen=True)
class InceptionWidths:
    """Output channels of one Inception module's convolutions, the columns of the paper's table 1.

    Args:
        conv1x1: Of the branch of 1x1 convolutions.
        reduce3x3: Of the 1x1 convolutions before those of 3x3.
        conv3x3: Of the 3x3 convolutions.
        reduce5x5: Of the 1x1 convolutions before those of 5x5.
        conv5x5: Of the 5x5 convolutions.
        project: Of the 1x1 convolutions behind the pooling.
    """

    conv1x1: int
    reduce3x3: int
    conv3x3: int
    reduce5x5: int
    conv5x5: int
    project: int

    @property
    def out_channels(self) -> int:
        """Channels of the concatenated output of the module with reductions."""
        return self.conv1x1 + self.conv3x3 + self.conv5x5 + self.project


# Table 1, rows 3a to 5b. Insertion order is the order of computation.
INCEPTION_TABLE: Final[dict[str, InceptionWidths]] = {
    "3a": InceptionWidths(64, 96, 128, 16, 32, 32),
    "3b": InceptionWidths(128, 128, 192, 32, 96, 64),
    "4a": InceptionWidths(192, 96, 208, 16, 48, 64),
    "4b": InceptionWidths(160, 112, 224, 24, 64, 64),
    "4c": InceptionWidths(128, 128, 256, 24, 64, 64),
    "4d": InceptionWidths(112, 144, 288, 32, 64, 64),
    "4e": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5a": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5b": InceptionWidths(384, 192, 384, 48, 128, 128),
}
VARIANTS: Final = ("paper", "naive", "batchnorm", "torchvision")
"""The networks: of figure 2(b)'s modules, of figure 2(a)'s, of the former with batch norm, and torchvision's."""
_WITH_BATCH_NORM: Final = ("batchnorm", "torchvision")
# The stages of the trunk in order of computation: the names by which stages are frozen and feature maps taken.
STAGES: Final = ("conv1", "conv2", *INCEPTION_TABLE)
STEM_CHANNELS: Final = 192
# The stages that a pooling follows, and the name of the map behind it.
POOLED_AS: Final = {"conv1": "pool1", "conv2": "pool2", "3b": "pool3", "4e": "pool4"}
# conv2 is normalised before its pooling, conv1 after it.
MAPS: Final[dict[str, tuple[str, ...]]] = {
    "conv1": ("conv1",),
    "pool1": ("pool1", "norm1"),
    "conv2": ("conv2_reduce", "conv2", "norm2"),
    "pool2": ("pool2",),
    "3a": ("inception_3a",),
    "3b": ("inception_3b",),
    "pool3": ("pool3",),
    **{name: (f"inception_{name}",) for name in ("4a", "4b", "4c", "4d", "4e")},
    "pool4": ("pool4",),
    "5a": ("inception_5a",),
    "5b": ("inception_5b",),
}
"""The trunk's maps in order of computation, and the layers from one to the next."""


class Downsample(nn.MaxPool2d):
    """The maximum over 3x3 windows at stride 2, (N, C, H, W) -> (N, C, ceil((H-1)/2), ceil((W-1)/2)).

    Ceil mode without padding: the last window may hang over the right and bottom edge. With floor the maps of a
    224 input would be 55, 27, 13 and 6 wide instead of 56, 28, 14 and 7.

    Args:
        size: Of the windows, in cells.
    """

    def __init__(self, size: int = 3) -> None:
        super().__init__(size, stride=2, ceil_mode=True)
        self.size = size


class ConvReLU(nn.Conv2d):
    """A convolution with its ReLU, (N, C, H, W) -> (N, out_channels, h, w): a layer that can be called in a row."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the activations."""
        return super().forward(input).relu_()


class ConvBatchNorm(nn.Module):
    """A convolution without bias, batch normalisation and ReLU, (N, C, H, W) -> (N, out_channels, h, w).

    Args:
        in_channels: Of the maps it reads.
        out_channels: Of those it returns.
        kernel_size: Side of its windows, in cells.
        stride: Cells from one window to the next.
        padding: Cells of zeros on each side.

    Source: Ioffe and Szegedy 2015; the constants, epsilon 1e-3 and momentum 0.1, are torchvision's.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False)
        self.bn: nn.BatchNorm2d | FrozenBatchNorm = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations."""
        activations: Tensor = self.bn(self.conv(x)).relu_()
        return activations


class FrozenBatchNorm(nn.Module):
    """A batch norm that keeps its statistics, (N, C, H, W) -> (N, C, H, W), whatever mode the network is put into.

    It is no `nn.BatchNorm2d`, so that nothing that looks for those, such as `convert_sync_batchnorm`, thaws it. Its
    parameters and buffers are those of the layer that it stands for, under the same names.

    Args:
        layer: Which; it is not copied.
    """

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps = layer.eps
        self.weight, self.bias = layer.weight, layer.bias
        for name, buffer in layer.named_buffers():
            self.register_buffer(name, buffer)
        self.eval()

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised activations."""
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        return functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)


class LocalResponseNorm(nn.Module):
    """Each activation divided by (1 + alpha/size * sum of squares over `size` neighbouring channels) ** 0.75.

    The sum over channels is a 1x1 convolution with a banded matrix, which CPU and GPU run several times faster than
    a pooling over the channel axis, in bfloat16 above all.
    Source: Caffe's lrn_layer, across channels; GoogLeNet uses size 5, alpha 1e-4, beta 0.75, k 1.
    """

    def __init__(self, channels: int, size: int = 5, alpha: float = 1e-4) -> None:
        super().__init__()
        index = torch.arange(channels)
        near = (index[:, None] - index[None, :]).abs() <= size // 2
        self.strength = alpha / size
        self.band: Tensor
        self.register_buffer("band", (near.float() * (alpha / size))[:, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised activations (N, C, H, W), in the shape given."""
        # s ** -0.75 as r * sqrt(r) with r = s ** -0.5: two cheap roots instead of one expensive power.
        root = inverse_root(x, self.band)
        return x * root * root.sqrt()


class Inception(nn.Module):
    """The Inception module with dimension reductions, (N, C, H, W) -> (N, widths.out_channels, H, W).

    Source: figure 2(b). Every convolution has a bias and a ReLU, the reductions and the projection included.
    """

    def __init__(self, in_channels: int, widths: InceptionWidths) -> None:
        super().__init__()
        self.widths = widths
        self.out_channels = widths.out_channels
        self.conv1x1 = nn.Conv2d(in_channels, widths.conv1x1, 1)
        self.reduce3x3 = nn.Conv2d(in_channels, widths.reduce3x3, 1)
        self.conv3x3 = nn.Conv2d(widths.reduce3x3, widths.conv3x3, 3, padding=1)
        self.reduce5x5 = nn.Conv2d(in_channels, widths.reduce5x5, 1)
        self.conv5x5 = nn.Conv2d(widths.reduce5x5, widths.conv5x5, 5, padding=2)
        self.project = nn.Conv2d(in_channels, widths.project, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branches 1x1, 3x3, 5x5 and pool-projection, concatenated in this order."""
        # The three 1x1 convolutions that read the input itself run as one: same products, a third of the calls.
        siblings = (self.conv1x1, self.reduce3x3, self.reduce5x5)
        weight = torch.cat([conv.weight for conv in siblings])
        bias = torch.cat([_bias_of(conv) for conv in siblings])
        together = functional.conv2d(x, weight, bias).relu_()
        one, three, five = torch.split(together, [conv.out_channels for conv in siblings], dim=1)
        pooled = functional.max_pool2d(x, kernel_size=3, stride=1, padding=1)
        return torch.cat(
            [
                one,
                self.conv3x3(three).relu_(),
                self.conv5x5(five).relu_(),
                self.project(pooled).relu_(),
            ],
            dim=1,
        )


class NaiveInception(nn.Module):
    """The Inception module without reductions, (N, C, H, W) -> (N, 1x1 + 3x3 + 5x5 + C, H, W).

    The pooling branch passes all input channels on, so the width grows at every module. Source: figure 2(a).
    """

    def __init__(self, in_channels: int, widths: InceptionWidths) -> None:
        super().__init__()
        self.widths = widths
        self.out_channels = widths.conv1x1 + widths.conv3x3 + widths.conv5x5 + in_channels
        self.conv1x1 = nn.Conv2d(in_channels, widths.conv1x1, 1)
        self.conv3x3 = nn.Conv2d(in_channels, widths.conv3x3, 3, padding=1)
        self.conv5x5 = nn.Conv2d(in_channels, widths.conv5x5, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branches 1x1, 3x3, 5x5 and pooled input, concatenated in this order."""
        pooled = functional.max_pool2d(x, kernel_size=3, stride=1, padding=1)
        return torch.cat([self.conv1x1(x).relu_(), self.conv3x3(x).relu_(), self.conv5x5(x).relu_(), pooled], dim=1)


class BatchNormInception(nn.Module):
    """Figure 2(b)'s module with batch norm, (N, C, H, W) -> (N, widths.out_channels, H, W).

    Args:
        in_channels: C.
        widths: Of its convolutions.
        widest: Side of the windows of the branch that the paper calls 5x5.
    """

    def __init__(self, in_channels: int, widths: InceptionWidths, *, widest: int = 5) -> None:
        super().__init__()
        self.widths = widths
        self.out_channels = widths.out_channels
        self.conv1x1 = ConvBatchNorm(in_channels, widths.conv1x1, 1)
        self.reduce3x3 = ConvBatchNorm(in_channels, widths.reduce3x3, 1)
        self.conv3x3 = ConvBatchNorm(widths.reduce3x3, widths.conv3x3, 3, padding=1)
        self.reduce5x5 = ConvBatchNorm(in_channels, widths.reduce5x5, 1)
        self.conv5x5 = ConvBatchNorm(widths.reduce5x5, widths.conv5x5, widest, padding=widest // 2)
        self.project = ConvBatchNorm(in_channels, widths.project, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branches 1x1, 3x3, 5x5 and pool-projection, concatenated in this order."""
        pooled = functional.max_pool2d(x, kernel_size=3, stride=1, padding=1)
        three, five = self.conv3x3(self.reduce3x3(x)), self.conv5x5(self.reduce5x5(x))
        return torch.cat([self.conv1x1(x), three, five, self.project(pooled)], dim=1)


class AuxiliaryHead(nn.Module):
    """Classifier on an intermediate map, used in training only: (N, C, 14, 14) -> logits (N, num_classes).

    Maps with sides of 14 to 16 fit, that is inputs of 223 to 270 px. With batch norm maps of any size are averaged to
    4x4 cells, as torchvision does; on 14x14 those are windows of 4, not the paper's 5.

    Args:
        in_channels: C.
        num_classes: Outputs.
        batch_norm: Whether its convolution has it.

    Source: section 5: average pooling 5x5 at stride 3, 128 1x1 convolutions, 1024 hidden units, dropout of 70 %.
    """

    def __init__(self, in_channels: int, num_classes: int, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.conv = ConvBatchNorm(in_channels, 128, 1) if batch_norm else ConvReLU(in_channels, 128, 1)
        self.hidden = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = nn.Dropout(0.7)
        self.classifier = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, num_classes) of the auxiliary classifier.

        Raises:
            InputError: The maps do not fit.
        """
        if isinstance(self.conv, ConvBatchNorm):
            x = self.conv(functional.adaptive_avg_pool2d(x, (4, 4)))
        else:
            check_auxiliary_map(x)
            x = self.conv(functional.avg_pool2d(x, kernel_size=5, stride=3))
        x = self.hidden(x.flatten(1)).relu()
        logits: Tensor = self.classifier(self.dropout(x))
        return logits


class GoogLeNet(nn.Module):
    """GoogLeNet: images (N, 3, H, W) -> logits (N, num_classes).

    Args:
        num_classes: Outputs of the last linear layer; 0 leaves it out, and `forward` returns (N, 1024) features.
        aux_heads: Add the two auxiliary classifiers on 4a and 4d, which `forward` uses in `train()` only.
        variant: "paper", figure 2(b)'s modules. "naive": figure 2(a)'s, eight times the multiply-adds; for study.
            "batchnorm": the paper's widths with batch norm behind every convolution, which trains from scratch.
            "torchvision": `torchvision.models.googlenet` to the bit: with batch norm, 3x3 where the paper has 5x5, the
            last pooling 2x2, dropout of 20 %.
        lrn: Normalise across channels behind conv1 and conv2, as the paper does. Weights belong to one or the other.
            The variants with batch norm never do.

    Raises:
        InputError: An unknown variant, a negative number of classes, or auxiliary heads without classes.

    Source: table 1. 6,998,552 parameters with 1000 classes, 13,378,280 with the auxiliary heads.
    """

    pool3: Downsample
    pool4: Downsample

    def __init__(
        self, num_classes: int = 1000, *, aux_heads: bool = False, variant: str = "paper", lrn: bool = True
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise InputError(f"unknown variant {variant!r}; known are {', '.join(VARIANTS)}")
        if num_classes < (1 if aux_heads else 0):
            raise InputError(f"num_classes should be 0 or more, 1 or more with auxiliary heads, got {num_classes}")
        batch_norm, theirs = variant in _WITH_BATCH_NORM, variant == "torchvision"
        self.num_classes, self.variant, self.lrn = num_classes, variant, lrn and not batch_norm
        # Of one kind of layer or the other; both are called alike.
        conv: Any = ConvBatchNorm if batch_norm else ConvReLU
        # Up to 5b each layer reads what the one before it gives, so that whoever calls them in a row, as torchvision's
        # IntermediateLayerGetter does, computes this network and no other.
        self.conv1 = conv(3, 64, 7, stride=2, padding=3)
        self.pool1 = Downsample()
        self.norm1 = LocalResponseNorm(64) if self.lrn else nn.Identity()
        self.conv2_reduce = conv(64, 64, 1)
        self.conv2 = conv(64, STEM_CHANNELS, 3, padding=1)
        self.norm2 = LocalResponseNorm(STEM_CHANNELS) if self.lrn else nn.Identity()
        self.pool2 = Downsample()
        channels, widths_after = STEM_CHANNELS, {}
        for name, widths in INCEPTION_TABLE.items():
            block = _inception(variant, channels, widths)
            self.add_module(f"inception_{name}", block)
            channels = widths_after[name] = block.out_channels
            if name in POOLED_AS:
                self.add_module(POOLED_AS[name], Downsample(2 if theirs and name == "4e" else 3))
        self.out_channels = channels
        self.dropout = nn.Dropout(0.2 if theirs else 0.4)
        self.classifier = nn.Linear(channels, num_classes) if num_classes else None
        heads = [
            AuxiliaryHead(widths_after[name], num_classes, batch_norm=batch_norm) if aux_heads else None
            for name in ("4a", "4d")
        ]
        self.aux_4a, self.aux_4d = heads
        initialise(self)

    @property
    def input_spec(self) -> InputSpec:
        """What the published weights expect to see: Caffe's, or torchvision's, which "batchnorm" shares."""
        return SYMMETRIC_INPUT if self.variant in _WITH_BATCH_NORM else CAFFE_INPUT

    def stage(self, name: str, x: Tensor) -> Tensor:
        """Return the output of one of `STAGES`, given the output of the stage before it (the pooling between included).

        Raises:
            InputError: There is no stage of that name.
        """
        if name not in STAGES:
            raise InputError(f"unknown stage {name!r}; the trunk's stages are {', '.join(STAGES)}")
        x = self._between(name, x)
        return self._between(POOLED_AS[name], x) if name in POOLED_AS else x

    def _between(self, name: str, x: Tensor) -> Tensor:
        """Return a map of `MAPS`, given the one before it."""
        for layer in MAPS[name]:
            x = getattr(self, layer)(x)
        return x

    def feature_maps(self, x: Tensor, stages: Sequence[str] = ("3b", "4e", "5b")) -> dict[str, Tensor]:
        """Return maps (N, channels, h, w) inside the trunk, in order of computation; nothing behind the last runs.

        Args:
            x: Images (N, 3, H, W), preprocessed as the weights expect.
            stages: Names of `MAPS`, in any order. That of a stage is its map before any pooling behind it, finer, and
                what other detectors call C1 to C5; "pool1" to "pool4" are the maps behind the poolings.

        Raises:
            InputError: An unknown name.
        """
        wanted, maps = check_maps(stages), {}
        for stage in STAGES[: 1 + max((STAGES.index(stage_behind(name)) for name in wanted), default=-1)]:
            pool = POOLED_AS.get(stage)
            if pool is not None and stage not in wanted:
                x = maps[pool] = self.stage(stage, x)
                continue
            x = maps[stage] = self._between(stage, x)
            if pool is not None and wanted - maps.keys():
                x = maps[pool] = self._between(pool, x)
        return {name: maps[name] for name in MAPS if name in wanted}

    def trunk(self, x: Tensor, *, start: str = STAGES[0], stop: str = STAGES[-1]) -> Tensor:
        """Return the map after `stop`, given the images, or the map before `start` when it is named.

        224x224 images give 7x7 maps of 1024 channels after 5b.
        """
        for name in stages_between(start, stop):
            x = self.stage(name, x)
        return x

    def pooled(self, x: Tensor) -> Tensor:
        """Return the mean over the map after 5b: (N, 1024, h, w) -> (N, 1024). 7x7 average pooling at a 224 input."""
        return x.mean(dim=(2, 3))

    def classify(self, x: Tensor) -> Tensor:
        """Return the logits from the map after 5b, dropout in `train()` included."""
        x = self.dropout(self.pooled(x))
        return x if self.classifier is None else self.classifier(x)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Return the logits (N, num_classes); with auxiliary heads, in `train()`, (logits, aux of 4a, aux of 4d).

        Args:
            x: (N, 3, H, W) float, in the units the weights expect, `input_spec`: for the Caffe weights B, G, R in
                0..255 minus the means 104, 117, 123; with batch norm R, G, B in -1..1. Nothing is preprocessed here.

        Raises:
            InputError: It has another shape or type.
        """
        check_images(x)
        if self.aux_4a is None or self.aux_4d is None or not self.training:
            return self.classify(self.trunk(x))
        x = self.trunk(x, stop="4a")
        first = self.aux_4a(x)
        x = self.trunk(x, start="4b", stop="4d")
        second = self.aux_4d(x)
        return self.classify(self.trunk(x, start="4e")), first, second


def _inception(variant: str, in_channels: int, widths: InceptionWidths) -> Any:
    """Return one Inception module of a variant."""
    if variant in _WITH_BATCH_NORM:
        widest = 3 if variant == "torchvision" else 5  # torchvision's 3x3 where the paper has 5x5, its issue 906
        return BatchNormInception(in_channels, widths, widest=widest)
    return (NaiveInception if variant == "naive" else Inception)(in_channels, widths)


def stages_between(start: str, stop: str) -> tuple[str, ...]:
    """Return the stages from `start` to `stop`, both included; none if `stop` comes before `start`.

    Raises:
        InputError: One of them is not a stage.
    """
    for name in (start, stop):
        if name not in STAGES:
            raise InputError(f"unknown stage {name!r}; the trunk's stages are {', '.join(STAGES)}")
    return STAGES[STAGES.index(start) : STAGES.index(stop) + 1]


def check_maps(names: Sequence[str]) -> set[str]:
    """Return the names of maps as a set.

    Raises:
        InputError: One is not of `MAPS`.
    """
    if unknown := sorted(set(names) - set(MAPS)):
        raise InputError(f"unknown map {unknown[0]!r}; the trunk's maps are {', '.join(MAPS)}")
    return set(names)


def stage_behind(name: str) -> str:
    """Return the stage whose map this is, before or after its pooling.

    >>> stage_behind("pool3"), stage_behind("4a")
    ('3b', '4a')
    """
    return next((stage for stage, pool in POOLED_AS.items() if pool == name), name)


def stage_of(name: str) -> str:
    """Return the stage that a parameter of the trunk belongs to; of any other, the first part of its name.

    >>> stage_of("inception_4a.conv1x1.weight"), stage_of("conv2_reduce.bias"), stage_of("classifier.weight")
    ('4a', 'conv2', 'classifier')
    """
    return name.split(".")[0].removeprefix("inception_").removesuffix("_reduce")


def inverse_root(x: Tensor, band: Tensor) -> Tensor:
    """Return (1 + the sums of squares over channels) ** -0.5, in the shape and type of `x`.

    Args:
        x: (N, C, H, W).
        band: (C, C, 1, 1), what each square counts in each sum.
    """
    if x.dtype != torch.float16:
        return functional.conv2d(x * x, band.type_as(x)).add_(1.0).rsqrt_()
    with torch.autocast(x.device.type, enabled=False):  # float16 ends at 65,504, the square of 256
        return functional.conv2d(x.float().square(), band.float()).add_(1.0).rsqrt_().half()


def check_images(x: Tensor) -> None:
    """Raise if `x` is not a float batch (N, 3, H, W) with sides of at least 32 px.

    Raises:
        InputError: It is something else.
    """
    if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < 32 or not x.is_floating_point():
        raise InputError(
            f"images should be a float tensor (N, 3, H, W) with H, W >= 32, got {x.dtype} {tuple(x.shape)}"
        )


def check_auxiliary_map(x: Tensor) -> None:
    """Raise if a map (N, C, h, w) does not fit the auxiliary heads.

    Raises:
        InputError: It does not.
    """
    if not all(14 <= side <= 16 for side in x.shape[2:]):
        raise InputError(
            "the auxiliary heads need maps with sides of 14 to 16, that is inputs of 223 to 270 px, "
            f"got a map of {x.shape[2]}x{x.shape[3]}"
        )


# `torch.fx` follows shapes and types by name and not by value: what looks at those it does not look into.
torch.fx.wrap("inverse_root")
torch.fx.wrap("check_images")
torch.fx.wrap("check_auxiliary_map")


def initialise(network: nn.Module) -> None:
    """Give a network fresh weights, as BVLC trained with.

    Uniform in +-sqrt(3 / fan_in); biases of convolutions 0.2, of classifiers 0. Convolutions with batch norm have none.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, mode="fan_in", nonlinearity="linear")
            if layer.bias is not None:
                nn.init.constant_(layer.bias, 0.0 if name.endswith("classifier") else 0.2)


def _bias_of(layer: nn.Conv2d | nn.Linear) -> Tensor:
    bias: Tensor | None = layer.bias
    if bias is None:
        raise InputError("every layer of GoogLeNet has a bias; this one was built without")
    return bias
