"""Regions pooled from one map: the trunk sees the image once, and each region is read off its maps.

    image --enlarge--> (1, 3, h, w) --trunk, once--> maps of 3b (stride 8) and 4e (stride 16)
      --RoIAlign--> cells x cells of each region --mix--> 5a, 5b --mean--> class logits and box offsets

What is linear is applied to the map, not to the cells of each region: the 1x1 convolutions before the first ReLU
commute with RoIAlign, which averages, and the map has far fewer cells than all regions together.

Source: Girshick 2015, "Fast R-CNN"; He et al. 2017, "Mask R-CNN" (RoIAlign); Bell et al. 2016, "Inside-Outside Net"
(a finer map joined in).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.backbones.feature_maps import FIRST_CENTRES, STRIDES, feature_maps
from inception_rcnn.backbones.inception import INCEPTION_TABLE
from inception_rcnn.backbones.region_align import align_regions
from inception_rcnn.backbones.runtime import upload
from inception_rcnn.structures import InputError, check_rgb

COARSE, FINE = "4e", "3b"


@dataclass(frozen=True, kw_only=True)
class PoolingSpec:
    """How regions are pooled; stored in the checkpoint of a pooled classifier.

    Args:
        short_side: The image is enlarged or reduced until its short side has so many pixels, in 64..2048.
        long_side: ... but its long side no more than this, in 64..4096:
            the trunk takes 2.3 GB for 2048 x 4096.
        cells: Each region is read off as cells x cells, in 1..14.
        fine_channels: Of the map behind 3b that are joined in; 0 leaves it out.
        image_mean: Whether the mean of the image's map stands beside each region's features.
        centred: Whether the cells are taken where the trunk's poolings put them; False: as if cell 0 began at pixel 0,
            as other detectors have it.

    Raises:
        InputError: A value is out of range, or of the wrong type.
    """

    short_side: int = 480
    long_side: int = 1000
    cells: int = 7
    fine_channels: int = 256
    image_mean: bool = True
    centred: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (
            ("short_side", 64, 2048),
            ("long_side", 64, 4096),
            ("cells", 1, 14),
            ("fine_channels", 0, 4096),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InputError(f"{name} should be a whole number in {low}..{high}, got {value!r}")
        for name in ("image_mean", "centred"):
            if type(getattr(self, name)) is not bool:
                raise InputError(f"{name} should be true or false, got {getattr(self, name)!r}")

    def scale_for(self, width: int, height: int) -> float:
        """Return by what an image of this size is enlarged."""
        return min(self.short_side / min(width, height), self.long_side / max(width, height))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint's description."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PoolingSpec:
        """Return the specification that `to_dict` described.

        Raises:
            InputError: A field is unknown, missing, of the wrong type or out of range.
        """
        if wrong := sorted(set(values) ^ set(cls.__dataclass_fields__)):
            raise InputError(f"pooling specification has unknown or missing fields: {', '.join(wrong)}")
        return cls(**values)


@dataclass(frozen=True, eq=False)
class PooledMaps:
    """What the trunk saw in a batch of images, ready to be pooled.

    Attributes:
        coarse: (B, 832, h, w) at stride 16, the coarse part of `mix` applied where there is a fine map.
        fine: (B, fine_channels, H, W) at stride 8; None where it is left out.
        mean: (B, 832), the mean of each image's map behind 4e; None where it is left out.
    """

    coarse: Tensor
    fine: Tensor | None
    mean: Tensor | None


class PooledNetwork(nn.Module):
    """GoogLeNet's trunk as feature map, its last two modules as the head of each region.

    Args:
        num_classes: C; there are C + 1 class logits, background last.
        spec: How regions are pooled.
        box_regression: Whether there are box offsets, the same for all classes.
        lrn: Whether the trunk normalises across channels; see `GoogLeNet`.
    """

    def __init__(self, num_classes: int, spec: PoolingSpec, *, box_regression: bool = True, lrn: bool = True) -> None:
        super().__init__()
        self.spec = spec
        self.num_classes = num_classes
        self.trunk = GoogLeNet(num_classes=0, lrn=lrn)
        width = INCEPTION_TABLE[COARSE].out_channels
        self.lateral: nn.Conv2d | None = None
        if spec.fine_channels:
            self.lateral = nn.Conv2d(INCEPTION_TABLE[FINE].out_channels, spec.fine_channels, 1)
            self.mix_coarse = nn.Conv2d(width, width, 1)
            self.mix_fine = nn.Conv2d(spec.fine_channels, width, 1, bias=False)
        features = self.trunk.out_channels + (width if spec.image_mean else 0)
        self.dropout = nn.Dropout(0.4)
        self.classifier = nn.Linear(features, num_classes + 1)
        self.regressor = nn.Linear(features, 4) if box_regression else None
        self._initialise()

    def maps(self, images: Tensor, sizes: Tensor | None = None) -> PooledMaps:
        """Return the maps of a batch of images.

        Args:
            images: (B, 3, H, W), preprocessed.
            sizes: (B, 2) height and width of each image in the padded batch; None: no padding. The mean is taken over
                the image alone.
        """
        names = (FINE, COARSE) if self.lateral is not None else (COARSE,)
        found = feature_maps(self.trunk, images, names)
        coarse = found[COARSE]
        mean = _mean_over(coarse, sizes) if self.spec.image_mean else None
        if self.lateral is None:
            return PooledMaps(coarse, None, mean)
        return PooledMaps(self.mix_coarse(coarse), self.lateral(found[FINE]), mean)

    def cells(self, maps: PooledMaps, boxes: Tensor, across: int | None = None) -> Tensor:
        """Return what the head reads of each region: (R, 832, cells, cells).

        Args:
            maps: Of a batch of images.
            boxes: (R, 5) float32, number of the image in the batch, then x1 y1 x2 y2 in pixels of the batch.
            across: Cells across and down; None: as many as the specification says.
        """
        return self.join(*self.pool(maps, boxes, across))

    def pool(self, maps: PooledMaps, boxes: Tensor, across: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Return what the coarse and the fine map show of each region, (R, channels, cells, cells). See `cells`."""
        fine = None if maps.fine is None else self._pool(maps.fine, boxes, FINE, across)
        return self._pool(maps.coarse, boxes, COARSE, across), fine

    def join(self, coarse: Tensor, fine: Tensor | None) -> Tensor:
        """Return what the head reads, (R, 832, cells, cells), from what `pool` gave; that may be written over."""
        if fine is None:
            return coarse
        return functional.relu_(coarse + self.mix_fine(fine.relu_()))

    def head(self, cells: Tensor, mean: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return class logits (R, C + 1) and box offsets (R, 4), None without box regression.

        Args:
            cells: (R, 832, cells, cells), from `cells`.
            mean: (R, 832), the mean of the map of each region's image.
        """
        read = self.trunk.trunk(cells, start="5a").mean(dim=(2, 3))
        if mean is not None:
            read = torch.cat([read, mean.to(read.dtype)], dim=1)
        read = self.dropout(read)
        return self.classifier(read), None if self.regressor is None else self.regressor(read)

    def forward(
        self, images: Tensor, boxes: Tensor, sizes: Tensor | None = None, across: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return class logits (R, C + 1) and box offsets (R, 4) of regions. See `maps` and `cells`."""
        maps = self.maps(images, sizes)
        mean = None if maps.mean is None else maps.mean[boxes[:, 0].long()]
        return self.head(self.cells(maps, boxes, across), mean)

    def _pool(self, x: Tensor, boxes: Tensor, stage: str, across: int | None = None) -> Tensor:
        stride = STRIDES[stage]
        if self.spec.centred:
            shift = FIRST_CENTRES[stage] - (stride - 1) / 2
            boxes = torch.cat([boxes[:, :1], boxes[:, 1:] - shift], dim=1)
        return align_regions(x, boxes, across or self.spec.cells, 1 / stride)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Let the fine map add nothing much at first, and the head see what it was pre-trained on."""
        if self.lateral is not None:
            nn.init.kaiming_normal_(self.lateral.weight, nonlinearity="relu")
            nn.init.zeros_(self.lateral.get_parameter("bias"))
            nn.init.zeros_(self.mix_coarse.get_parameter("bias"))
            self.mix_coarse.weight.copy_(torch.eye(len(self.mix_coarse.weight))[:, :, None, None])
            nn.init.normal_(self.mix_fine.weight, std=0.001)
        for last in (self.classifier, self.regressor):
            if last is not None:
                nn.init.normal_(last.weight, std=0.01 if last is self.classifier else 0.001)
                nn.init.zeros_(last.bias)


def _mean_over(x: Tensor, sizes: Tensor | None) -> Tensor:
    """Return the mean (B, C) of maps (B, C, h, w), over the cells of each image alone where sizes are given."""
    if sizes is None:
        return x.mean(dim=(2, 3))
    stride = STRIDES[COARSE]
    last = torch.div(sizes + (stride - 1), stride, rounding_mode="floor").clamp_min(1)
    rows, columns = (torch.arange(length, device=x.device) for length in x.shape[2:])
    inside = (rows[None, :, None] < last[:, :1, None]) & (columns[None, None, :] < last[:, 1:, None])
    weight = (inside / inside.sum(dim=(1, 2), keepdim=True)).to(x.dtype)
    return torch.einsum("bchw,bhw->bc", x, weight)


def pooled_input(image: NDArray[np.uint8], spec: InputSpec, scale: float, device: torch.device) -> Tensor:
    """Return an image (H, W, 3) uint8 RGB enlarged and preprocessed: (1, 3, h, w) float32, channels last.

    Args:
        image: On the CPU; it goes to `device` as it is.
        spec: Of the input: order of the channels, mean, scale of the values.
        scale: By which the sides are multiplied; a reduced image is antialiased, and nothing is rounded to whole
            numbers.
        device: Where all this happens.

    Raises:
        InputError: The image is not uint8 (H, W, 3).
    """
    check_rgb(image)
    height, width = image.shape[:2]
    size = (max(32, round(height * scale)), max(32, round(width * scale)))
    pixels = upload(image, device)
    x = pixels[None].permute(0, 3, 1, 2).float()
    x = functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=scale < 1)
    return spec.shift(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def enlarged_boxes(boxes: NDArray[np.float32], image: tuple[int, int], batch: Tensor) -> NDArray[np.float32]:
    """Return boxes (N, 4) of an image (width, height) in pixels of its enlarged form (1, 3, h, w)."""
    width, height = image
    factor = np.array([batch.shape[3] / width, batch.shape[2] / height] * 2, np.float32)
    return boxes * factor
