"""A pooled network's two parts, what is before RoIAlign and what is behind it, computed by torch or by OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from inception_rcnn.backbones.inception import INCEPTION_TABLE
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.runtimes.openvino_runtime import compile_part
from inception_rcnn.backbones.runtimes.recording import Part, Port, Ranges
from inception_rcnn.detector.region_pooling import COARSE, PooledMaps, PooledNetwork, PoolingSpec

TRUNK: Final = "trunk"
HEAD: Final = "head"
_EXAMPLE_SIDES: Final = (64, 96)  # of an image in pixels; what is recorded does not depend on them
_EXAMPLE_REGIONS: Final = 2


class PooledCompute(Protocol):
    """What computes a pooled network, but for RoIAlign."""

    def maps(self, images: Tensor) -> PooledMaps:
        """Return the maps of images (B, 3, H, W), preprocessed."""

    def head(self, coarse: Tensor, fine: Tensor | None, mean: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return class logits (R, C + 1) and box offsets (R, 4).

        Args:
            coarse: (R, 832, cells, cells), from `PooledNetwork.pool`; may be written over.
            fine: (R, fine_channels, cells, cells), likewise; None where there is no fine map.
            mean: (R, 832), of the map of each region's image; None where it is left out.
        """


def pooled_compute(network: PooledNetwork, runtime: Runtime, ranges: Mapping[str, Ranges]) -> PooledCompute:
    """Return what computes a network where and how the runtime says.

    Args:
        network: In evaluation, on the runtime's device and in its type.
        runtime: torch's or OpenVINO's.
        ranges: Of what each part's convolutions read, by the part's name; only int8 needs them.

    Raises:
        InputError: int8 is asked for, and the ranges are missing.
        MissingDependencyError: OpenVINO is asked for, and not installed.
    """
    return _ByTorch(network) if runtime.openvino is None else _ByOpenVino(network, runtime.openvino, ranges)


def trunk_part(network: PooledNetwork, ranges: Ranges | None = None) -> Part:
    """Return what runs once for an image: images (B, 3, H, W) -> coarse, fine and mean, as far as there are.

    Args:
        network: In float32, on the CPU.
        ranges: Of what its convolutions read; only int8 needs them.
    """
    outputs = [Port("coarse", ("images", None, "coarse_rows", "coarse_columns"))]
    if network.spec.fine_channels:
        outputs.append(Port("fine", ("images", None, "fine_rows", "fine_columns")))
    if network.spec.image_mean:
        outputs.append(Port("mean", ("images", None)))
    return Part(
        name=TRUNK,
        module=_Trunk(network),
        example=(torch.zeros(1, 3, *_EXAMPLE_SIDES),),
        inputs=(Port("images", ("images", None, "height", "width")),),
        outputs=tuple(outputs),
        ranges=ranges,
    )


def head_part(network: PooledNetwork, ranges: Ranges | None = None) -> Part:
    """Return what runs for each region: its cells and its image's mean, as far as there are -> logits and offsets.

    Args:
        network: In float32, on the CPU.
        ranges: Of what its convolutions read; only int8 needs them.
    """
    spec, width = network.spec, INCEPTION_TABLE[COARSE].out_channels
    inputs = [Port("coarse", ("regions", None, None, None))]
    shapes: list[tuple[int, ...]] = [(width, spec.cells, spec.cells)]
    if spec.fine_channels:
        inputs.append(Port("fine", ("regions", None, None, None)))
        shapes.append((spec.fine_channels, spec.cells, spec.cells))
    if spec.image_mean:
        inputs.append(Port("mean", ("regions", None)))
        shapes.append((width,))
    outputs = ["logits"] + ["offsets"] * (network.regressor is not None)
    return Part(
        name=HEAD,
        module=_Head(network),
        example=tuple(torch.zeros(_EXAMPLE_REGIONS, *shape) for shape in shapes),
        inputs=tuple(inputs),
        outputs=tuple(Port(name, ("regions", None)) for name in outputs),
        ranges=ranges,
    )


class _ByTorch:
    def __init__(self, network: PooledNetwork) -> None:
        self._network = network

    def maps(self, images: Tensor) -> PooledMaps:
        return self._network.maps(images)

    def head(self, coarse: Tensor, fine: Tensor | None, mean: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self._network.head(self._network.join(coarse, fine), mean)


class _ByOpenVino:
    def __init__(self, network: PooledNetwork, precision: str, ranges: Mapping[str, Ranges]) -> None:
        self._spec = network.spec
        self._trunk = compile_part(trunk_part(network, ranges.get(TRUNK)), precision)
        self._head = compile_part(head_part(network, ranges.get(HEAD)), precision)

    def maps(self, images: Tensor) -> PooledMaps:
        coarse, *others = self._trunk(images)
        return PooledMaps(coarse, *_named(self._spec, others))

    def head(self, coarse: Tensor, fine: Tensor | None, mean: Tensor | None) -> tuple[Tensor, Tensor | None]:
        logits, *offsets = self._head(*(one for one in (coarse, fine, mean) if one is not None))
        return logits, offsets[0] if offsets else None


class _Trunk(nn.Module):
    """Images -> coarse, fine, mean; those that there are."""

    def __init__(self, network: PooledNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.network.maps(images)
        return [one for one in (maps.coarse, maps.fine, maps.mean) if one is not None]


class _Head(nn.Module):
    """Coarse, fine, mean, those that there are -> logits, offsets."""

    def __init__(self, network: PooledNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, coarse: Tensor, *others: Tensor) -> list[Tensor]:
        fine, mean = _named(self.network.spec, list(others))
        return [one for one in self.network.head(self.network.join(coarse, fine), mean) if one is not None]


def _named(spec: PoolingSpec, others: list[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Return the fine one and the mean from what there is of them, in this order."""
    rest = iter(others)
    return next(rest) if spec.fine_channels else None, next(rest) if spec.image_mean else None
