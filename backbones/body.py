"""`googlenet_body(...)`: GoogLeNet as the body of other libraries' detectors, their prepared images -> its maps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import torch
import torch.fx
from torch import Tensor, nn

from inception_rcnn.backbones.feature_maps import Cells, cells_of_network
from inception_rcnn.backbones.inception import (
    MAPS,
    STAGES,
    ConvBatchNorm,
    FrozenBatchNorm,
    GoogLeNet,
    check_images,
    check_maps,
    stage_of,
    stages_between,
)
from inception_rcnn.backbones.preprocessing import CAFFE_INPUT, InputSpec
from inception_rcnn.backbones.weights import WeightSource, googlenet
from inception_rcnn.structures import InputError

# What images a body may be given, all (N, 3, H, W) floats: pixel = value * deviation + mean, in R, G, B of 0..255.
# "imagenet" is what torchvision's detectors make of R, G, B in 0..1.
INPUTS: Final = {
    "rgb01": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}

torch.fx.wrap("check_images")


class InputConversion(nn.Module):
    """Images as a detector prepares them -> as the weights expect them, both (N, 3, H, W): a factor and a sum each.

    Args:
        given: "rgb01": R, G, B in 0..1. "imagenet": the same minus ImageNet's mean, divided by its deviation, as
            torchvision's detectors do. "caffe": B, G, R in 0..255 minus 104, 117, 123.
        expected: By the weights.

    Raises:
        InputError: `given` is unknown.
    """

    def __init__(self, given: str, expected: InputSpec) -> None:
        super().__init__()
        if given not in (*INPUTS, "caffe"):
            raise InputError(f"unknown input {given!r}; known are {', '.join(INPUTS)}, caffe")
        mean, deviation = INPUTS.get(given, (CAFFE_INPUT.fill, (1.0, 1.0, 1.0)))
        self.given, self.expected = given, expected
        self.turns = (given == "caffe") != (expected.channel_order == "bgr")
        factors = torch.tensor(deviation, dtype=torch.float64) * expected.scale
        terms = (torch.tensor(mean, dtype=torch.float64) - torch.tensor(expected.fill)) * expected.scale
        if given == "caffe":  # the channels of the numbers are the image's, and turned afterwards
            factors, terms = factors.flip(0), terms.flip(0)
        self.factor: Tensor
        self.term: Tensor
        self.register_buffer("factor", factors.float().view(1, 3, 1, 1), persistent=False)
        self.register_buffer("term", terms.float().view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the images as the weights expect them."""
        if self.given == "caffe" and self.expected == CAFFE_INPUT:
            return x
        x = x * self.factor + self.term
        if not self.turns:
            return x
        first, second, third = torch.split(
            x, [1, 1, 1], dim=1
        )  # `flip` would say the same, but exporters know it less well
        return torch.cat([third, second, first], dim=1)

    def extra_repr(self) -> str:
        """Return what it converts, for the module's repr."""
        return f"{self.given} -> {self.expected.channel_order} minus {self.expected.mean} times {self.expected.scale:g}"


class GoogLeNetBody(nn.Module):
    """Images (N, 3, H, W) -> an `OrderedDict` of maps, by name, in order of computation.

    Its children are layers that may be called in a row, and their parameters have GoogLeNet's names.

    Args:
        network: Whose trunk it takes, not a copy: what is frozen is frozen in it too.
        out_stages: Which maps, names of `MAPS`.
        frozen_until: The parameters of the stages to this one do not learn, and their batch norm, if they have one,
            becomes a `FrozenBatchNorm`, which keeps its statistics, under other modules too; None: all learn.
        input: What images it is given, see `InputConversion`.

    Attributes:
        out_channels: Of the map, or of each of several, in order: what torchvision's detectors ask for.
        strides: Pixels from one cell to the next, by map.
        offsets: Centre of cell 0 in pixels, counted from the centre of pixel 0, by map. RoIAlign (`aligned=True`)
            takes it to be (stride - 1) / 2.
        feature_info: For each map its channels, stride and last layer, in timm's words.
        return_layers: The last layer of each map, and "0", "1", ...: what `BackboneWithFPN` asks for, and the names by
            which torchvision's detectors look for its maps.
    """

    def __init__(
        self,
        network: GoogLeNet,
        *,
        out_stages: Sequence[str],
        frozen_until: str | None = None,
        input: str = "rgb01",
    ) -> None:
        super().__init__()
        wanted = check_maps(out_stages)
        if not wanted:
            raise InputError(f"out_stages should name a map or more, of {', '.join(MAPS)}; got none")
        frozen = () if frozen_until is None else stages_between(STAGES[0], frozen_until)
        self.out_stages = [name for name in MAPS if name in wanted]
        self.input = InputConversion(input, network.input_spec)
        last = list(MAPS).index(self.out_stages[-1])
        for name in list(MAPS)[: last + 1]:
            for layer in MAPS[name]:
                self.add_module(layer, network.get_submodule(layer))
        for layer, module in self.named_children():
            if stage_of(layer) in frozen:
                _freeze(module)
        self._describe(cells_of_network(network))
        self.train(network.training)

    def _describe(self, cells: dict[str, Cells]) -> None:
        layers = [MAPS[name][-1] for name in self.out_stages]
        self._stages = dict(zip(layers, self.out_stages, strict=True))
        channels, width = [], 0
        for layer, module in self.named_children():
            width = getattr(module, "out_channels", width)  # poolings and normalisations have none, and change none
            channels += [width] if layer in layers else []
        self.out_channels: int | list[int] = channels[0] if len(channels) == 1 else channels
        self.strides = {name: cells[name].stride for name in self.out_stages}
        self.offsets = {name: cells[name].centre for name in self.out_stages}
        self.return_layers = {layer: str(number) for number, layer in enumerate(layers)}
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": channel, "reduction": self.strides[name], "module": layer}
            for name, channel, layer in zip(self.out_stages, channels, layers, strict=True)
        ]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the maps (N, channels, h, w).

        Args:
            x: (N, 3, H, W) float, with sides of at least 32 px.

        Raises:
            InputError: It has another shape or type.
        """
        check_images(x)
        maps = OrderedDict()
        for layer, module in self.named_children():
            x = module(x)
            if layer in self._stages:
                maps[self._stages[layer]] = x
        return maps


def _freeze(module: nn.Module) -> None:
    """Let a stage's layers neither learn nor count."""
    module.requires_grad_(False)
    for layer in module.modules():
        if isinstance(layer, ConvBatchNorm) and isinstance(layer.bn, nn.BatchNorm2d):
            layer.bn = FrozenBatchNorm(layer.bn)


def googlenet_body(
    variant: str = "paper",
    *,
    out_stages: Sequence[str] = ("conv2", "3b", "4e", "5b"),
    weights: WeightSource | None = None,
    frozen_until: str | None = None,
    input: str = "rgb01",
    lrn: bool = True,
) -> GoogLeNetBody:
    """Return GoogLeNet as the body of a detector: images -> maps at 4, 8, 16 and 32 pixels.

    Args:
        variant: See `googlenet`.
        out_stages: Which maps; see `GoogLeNet.feature_maps`.
        weights: See `googlenet`; "coco" is the trunk of the shipped detector.
        frozen_until: The last stage that does not learn, such as "conv2"; None: all learn, batch norm's statistics too.
        input: "rgb01", "imagenet" (torchvision's detectors), or "caffe"; see `InputConversion`.
        lrn: See `googlenet`.

    Raises:
        InputError: An unknown name, or no map.
        CheckpointError: The weights do not fit.
    """
    network = googlenet(variant, weights=weights, num_classes=0, lrn=lrn)
    return GoogLeNetBody(network, out_stages=out_stages, frozen_until=frozen_until, input=input)
