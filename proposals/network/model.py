"""MultiBox's network: one look at the whole image, a box and a confidence for every prior, a score for any box.

The trunk is GoogLeNet. Its maps at 8, 16 and 32 pixels are joined from coarse to fine (each 1x1 to `channels`, the
coarser one enlarged and added), the coarsest is halved once more, and one small head, the same for all, reads each
cell. The paper's fully connected head has 800 outputs that each learn one place by itself, from millions of
photographs; a convolutional head learns from every object what it needs at every place, which is what a few thousand
photographs allow, and the map at 8 pixels reaches objects that a coarse grid cannot tell apart.

Source: Erhan et al. 2014 and Szegedy et al. 2014, "Scalable, High-Quality Object Detection" (priors, confidences);
Lin et al. 2017, "Feature Pyramid Networks" (joining the maps).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from inception_rcnn.backbones import GoogLeNet
from inception_rcnn.backbones.feature_maps import feature_maps
from inception_rcnn.backbones.inception import INCEPTION_TABLE
from inception_rcnn.backbones.region_align import align_regions
from inception_rcnn.backbones.runtimes.recording import Part, Port
from inception_rcnn.proposals.network.priors import STRIDES, PriorSettings, grid_priors

# An output of 1 moves a corner by this share of the prior's width or height.
BOX_SCALE: Final = 0.1
READ_AFTER: Final = ("3b", "4e", "5b")
_OBJECTS_PER_IMAGE: Final = 7  # as many as an average image of COCO has: the confidences' first guess
_REGION_CELLS: Final = 5
_REGION_CHANNELS: Final = 64
_GEOMETRY: Final = 4


@dataclass(frozen=True)
class MultiBoxOutput:
    """What the network says of a batch of N images.

    Attributes:
        boxes: (N, K, 4) float32, as shares of the image, not cut at its border.
        residuals: (N, K, 4) float32, the same as corner minus prior, in units of `BOX_SCALE` of the prior's side.
        logits: (N, K) float32, of the confidences.
        regions: (N, 64, side / 8, side / 8), what `objectness` reads.
    """

    boxes: Tensor
    residuals: Tensor
    logits: Tensor
    regions: Tensor


class MultiBoxNet(nn.Module):
    """Images, stretched to a square, -> a box and a confidence for every prior.

    Args:
        side: Of the input in pixels, a multiple of 64.
        priors: The grids; None: the default ones.
        channels: Of the joined maps.

    Raises:
        InputError: The side is no multiple of 64.
    """

    def __init__(self, side: int = 320, priors: PriorSettings | None = None, channels: int = 128) -> None:
        super().__init__()
        self.side = side
        self.prior_settings = priors or PriorSettings()
        self.trunk = GoogLeNet(num_classes=0)
        widths = {name: INCEPTION_TABLE[name].out_channels for name in READ_AFTER}
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths.values())
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in widths)
        self.head = nn.Conv2d(channels, channels, 3, padding=1)
        count = self.prior_settings.per_cell
        self.location = nn.Conv2d(channels, 4 * count, 1)
        self.confidence = nn.Conv2d(channels, count, 1)
        self.region_map = nn.Conv2d(channels, _REGION_CHANNELS, 1)
        self.region_hidden = nn.Linear(_REGION_CHANNELS * _REGION_CELLS**2 + _GEOMETRY, 256)
        self.region_score = nn.Linear(256, 1)
        self.priors: Tensor
        self.register_buffer("priors", torch.from_numpy(grid_priors(self.prior_settings, side)), persistent=False)
        self._initialise()

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps at 8, 16 and 32 pixels, as the trunk gives them."""
        return list(feature_maps(self.trunk, images, READ_AFTER).values())

    def forward(self, images: Tensor) -> MultiBoxOutput:
        """Return what the network says of (N, 3, side, side), preprocessed as the trunk's weights expect."""
        return self.output(*self.raw(images))

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return residuals (N, K, 4), logits (N, K) and regions, in the network's type. See `MultiBoxOutput`."""
        joined = self._joined(self.maps(images))
        residuals, logits = [], []
        for one in [*joined, functional.max_pool2d(joined[-1], 2)]:
            hidden = self.head(one).relu()
            residuals.append(_by_prior(self.location(hidden), 4))
            logits.append(_by_prior(self.confidence(hidden), 1).squeeze(2))
        return torch.cat(residuals, dim=1), torch.cat(logits, dim=1), self.region_map(joined[0])

    def output(self, residuals: Tensor, logits: Tensor, regions: Tensor) -> MultiBoxOutput:
        """Return what `raw` gave with the boxes, which are computed in float32 whatever the network's type."""
        moved = residuals.float()
        return MultiBoxOutput(moved * self.scales + self.priors, moved, logits.float(), regions)

    def objectness(self, regions: Tensor, boxes: list[Tensor]) -> Tensor:
        """Return logits (M,) of "this box fits an object", for the boxes of all images one after the other.

        Args:
            regions: Of `MultiBoxOutput`.
            boxes: For each image (m, 4), as shares of it.
        """
        together = torch.cat(boxes)
        images = torch.cat([one.new_full((len(one), 1), number) for number, one in enumerate(boxes)])
        numbered = torch.cat([images, together * self.side], dim=1)
        cells = align_regions(regions, numbered, _REGION_CELLS, 1 / STRIDES[0])
        read = torch.cat([cells.flatten(1), _geometry(together)], dim=1)
        score: Tensor = self.region_score(self.region_hidden(read.to(self.region_hidden.weight.dtype)).relu())
        return score.squeeze(1).float()

    @property
    def scales(self) -> Tensor:
        """Return (K, 4) what an output of 1 means for each corner, as shares of the input's side."""
        sides = self.priors[:, 2:] - self.priors[:, :2]
        return BOX_SCALE * torch.cat([sides, sides], dim=1)

    def _joined(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the maps with what the coarser ones know, finest first."""
        above: Tensor | None = None
        joined: list[Tensor] = []
        for one, lateral, smooth in reversed(list(zip(maps, self.lateral, self.smooth, strict=True))):
            x = lateral(one)
            above = x if above is None else x + functional.interpolate(above, size=x.shape[2:], mode="nearest")
            joined.insert(0, smooth(above).relu())
        return joined

    def _initialise(self) -> None:
        """Make every box its prior, every confidence the share of priors that find an object."""
        for layer in (*self.lateral, *self.smooth, self.head, self.region_map, self.region_hidden):
            nn.init.kaiming_normal_(layer.get_parameter("weight"), nonlinearity="relu")
            nn.init.zeros_(layer.get_parameter("bias"))
        for last in (self.location, self.confidence, self.region_score):
            nn.init.normal_(last.get_parameter("weight"), std=0.01)
            nn.init.zeros_(last.get_parameter("bias"))
        nn.init.zeros_(self.location.weight)
        share = _OBJECTS_PER_IMAGE / len(self.priors)
        nn.init.constant_(self.confidence.get_parameter("bias"), math.log(share / (1 - share)))

    @torch.no_grad()
    def fit_laterals(self, images: Tensor) -> None:
        """Scale the first layers after the trunk so that their outputs on these images have a spread of 1.

        The trunk has no normalisation: its maps differ in size by a factor of fifty, and a new layer would first have
        to unlearn that.
        """
        for one, lateral in zip(self.maps(images), self.lateral, strict=True):
            lateral.get_parameter("weight").div_(lateral(one).float().std())


def multibox_part(network: MultiBoxNet) -> Part:
    """Return what other runtimes than torch can compute: images (N, 3, side, side) -> what `MultiBoxNet.raw` gives.

    Args:
        network: In float32, on the CPU.
    """
    axes: dict[str, tuple[str | None, ...]] = {
        "residuals": ("images", None, None),
        "logits": ("images", None),
        "regions": ("images", None, None, None),
    }
    return Part(
        name="multibox",
        module=_Raw(network),
        example=(torch.zeros(2, 3, network.side, network.side),),
        inputs=(Port("images", ("images", None, None, None)),),
        outputs=tuple(Port(name, lengths) for name, lengths in axes.items()),
    )


class _Raw(nn.Module):
    def __init__(self, network: MultiBoxNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.network.raw(images)


def _by_prior(x: Tensor, numbers: int) -> Tensor:
    """Return (N, A * numbers, h, w) as (N, h * w * A, numbers), in the order of `grid_priors`."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, numbers)


def _geometry(boxes: Tensor) -> Tensor:
    """Return centre and logarithm of the sides of boxes (M, 4), as (M, 4); they tell much by themselves."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp_min(1e-3)
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2
    return torch.cat([centre - 0.5, sides.log()], dim=1)
