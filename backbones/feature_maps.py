"""Where the cells of GoogLeNet's maps lie in the image, for detectors that pool regions; and the maps themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from inception_rcnn.backbones.inception import MAPS, GoogLeNet


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Where a map's cells look, along either axis.

    Args:
        stride: Pixels of the image from one cell to the next.
        centre: Of cell 0, in pixels counted from the centre of pixel 0: cell i is centred at stride * i + centre. A map
            whose cell 0 began where pixel 0 does would have (stride - 1) / 2.
        field: Side of what a cell looks at, in pixels.
    """

    stride: int
    centre: float
    field: int

    def behind(self, size: int, stride: int, padding: int) -> Cells:
        """Return the cells behind windows of `size` cells, one each `stride` cells, the first moved by `padding`."""
        return Cells(
            stride=self.stride * stride,
            centre=self.centre + self.stride * ((size - 1) / 2 - padding),
            field=self.field + self.stride * (size - 1),
        )


def cells_of_maps(*, last_pool: int = 3, widest: int = 5) -> dict[str, Cells]:
    """Return the cells of each of the trunk's `MAPS`.

    Args:
        last_pool: Side of the windows of the pooling before 5a; torchvision's network has 2.
        widest: Side of an Inception module's largest convolution; torchvision's network has 3.

    >>> cells_of_maps()["4e"]
    Cells(stride=16, centre=14.0, field=427)
    """
    cells, found = Cells(stride=1, centre=0.0, field=1), {}
    for name in MAPS:
        if name == "conv1":
            cells = cells.behind(7, 2, 3)
        elif name == "conv2":
            cells = cells.behind(3, 1, 1)
        elif name.startswith("pool"):
            cells = cells.behind(last_pool if name == "pool4" else 3, 2, 0)
        else:
            cells = cells.behind(widest, 1, widest // 2)
        found[name] = cells
    return found


def cells_of_network(network: GoogLeNet) -> dict[str, Cells]:
    """Return the cells of each of the trunk's `MAPS`, whatever its variant."""
    layers = [layer for layer in network.get_submodule("inception_3a").modules() if isinstance(layer, nn.Conv2d)]
    return cells_of_maps(last_pool=network.pool4.size, widest=max(layer.kernel_size[0] for layer in layers))


# Of the maps that regions are pooled from. The poolings without padding move the cells to the right and down.
# Source: computed from the kernels' sizes; a test reads it off an impulse.
STRIDES: Final = {name: cells_of_maps()[name].stride for name in ("3b", "4e", "5b")}
FIRST_CENTRES: Final = {name: cells_of_maps()[name].centre for name in STRIDES}


def feature_maps(network: GoogLeNet, images: Tensor, names: Sequence[str] = ("3b", "4e", "5b")) -> dict[str, Tensor]:
    """Return the maps (N, channels, h, w) behind the named stages; see `GoogLeNet.feature_maps`, which this calls."""
    return network.feature_maps(images, names)
