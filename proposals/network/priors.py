"""Prior boxes: where MultiBox looks before it has seen the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.structures import InputError

Boxes = NDArray[np.float32]

# Pixels of the input between two cells: the maps after 3b, 4e and 5b, and that one halved.
STRIDES = (8, 16, 32, 64)
_MOST_PER_CELL = 64  # of a finest grid of 256 x 256 cells, four million


@dataclass(frozen=True, kw_only=True)
class PriorSettings:
    """The grids of priors; kept in checkpoints.

    Attributes:
        sides: For each of `STRIDES`, square roots of the priors' areas, as shares of the input's side.
        ratios: Widths over heights, in the input, where every image is stretched to a square.

    Raises:
        InputError: The grids have different numbers of sizes, or a number is outside 0..10.
    """

    sides: tuple[tuple[float, ...], ...] = ((0.045, 0.07), (0.11, 0.17), (0.26, 0.41), (0.62, 0.9))
    ratios: tuple[float, ...] = (0.45, 1.0, 2.2)

    def __post_init__(self) -> None:
        counts = {len(sides) for sides in self.sides}
        if len(self.sides) != len(STRIDES) or len(counts) != 1 or 0 in counts:
            raise InputError(f"sides should name as many sizes for each of {len(STRIDES)} grids, got {self.sides}")
        if self.per_cell > _MOST_PER_CELL:
            raise InputError(f"sides and ratios make {self.per_cell} priors a cell, and {_MOST_PER_CELL} are the most")
        if not self.ratios or not all(0 < value < 10 for value in (*self.ratios, *sum(self.sides, ()))):
            raise InputError(f"sides and ratios should lie between 0 and 10, got {self.sides} and {self.ratios}")

    @property
    def per_cell(self) -> int:
        """Return how many priors each cell of a grid has."""
        return len(self.sides[0]) * len(self.ratios)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint's description."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PriorSettings:
        """Return the settings that `to_dict` described.

        Raises:
            InputError: A field is missing, unknown or of the wrong type.
        """
        try:
            sides = tuple(tuple(float(side) for side in level) for level in values["sides"])
            ratios = tuple(float(ratio) for ratio in values["ratios"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"prior settings should hold numbers as sides and ratios: {error!r}") from error
        if unknown := sorted(set(values) - {"sides", "ratios"}):
            raise InputError(f"unknown prior settings: {', '.join(unknown)}")
        return cls(sides=sides, ratios=ratios)


def grid_priors(settings: PriorSettings, side: int) -> Boxes:
    """Return the priors (K, 4) x1 y1 x2 y2 of an input of `side` pixels, as shares of it, grid by grid, row by row.

    Those at the border reach beyond it, so that all cells are alike.

    Raises:
        InputError: The side is no multiple of 64.

    >>> len(grid_priors(PriorSettings(), 320)) == 6 * (40**2 + 20**2 + 10**2 + 5**2)
    True
    """
    if side < STRIDES[-1] or side % STRIDES[-1]:
        raise InputError(f"the input's side should be a multiple of {STRIDES[-1]} px, got {side}")
    grids = []
    for stride, sides in zip(STRIDES, settings.sides, strict=True):
        cells = side // stride
        root = np.sqrt(np.array(settings.ratios))
        half = np.array([[size * wide / 2, size / wide / 2] for size in sides for wide in root])  # (A, 2)
        middle = (np.arange(cells) + 0.5) / cells
        centre = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 1, 2)  # x runs fastest
        grids.append(np.concatenate([centre - half, centre + half], axis=2).reshape(-1, 4))
    return np.concatenate(grids).astype(np.float32)


def common_ratios(boxes: ArrayLike, count: int = 3, seed: int = 0) -> tuple[float, ...]:
    """Return the widths over heights, ascending, that k-means finds among boxes given as shares of their images.

    Where the boxes have no more than `count` different ones, those.

    Raises:
        InputError: No box has an area.
    """
    corners = _with_area(boxes)
    if not len(corners):
        raise InputError("ratios are found among boxes with an area, and there is none")
    logs = np.clip(np.log((corners[:, 2] - corners[:, 0]) / (corners[:, 3] - corners[:, 1])), -2, 2)
    found = np.unique(logs.round(6))
    if len(found) > count:
        found = np.sort(_centres(logs[:, None], count, 10, seed)[:, 0])
    return tuple(round(float(ratio), 3) for ratio in np.exp(found))


def common_boxes(boxes: ArrayLike, count: int, seed: int = 0) -> Boxes:
    """Return the boxes (count, 4) that k-means finds among boxes given as shares of their images.

    Source:
        Erhan et al. 2014, "Scalable Object Detection using Deep Neural Networks", whose priors they are.
    """
    return _centres(_with_area(boxes), count, 50, seed).astype(np.float32)


def as_shares(boxes: Boxes, width: int, height: int) -> Boxes:
    """Return boxes in pixels as shares of an image's width and height."""
    shares: Boxes = np.divide(boxes, np.array([width, height, width, height], dtype=np.float32))
    return shares


def as_pixels(boxes: Boxes, width: int, height: int) -> Boxes:
    """Return boxes given as shares in pixels of an image, cut at its border."""
    size = np.array([width, height, width, height], dtype=np.float32)
    pixels: Boxes = np.clip(boxes * size, 0, size)
    return pixels


def _centres(points: NDArray[np.float64], count: int, iterations: int, seed: int) -> NDArray[np.float64]:
    """Return the (count, D) centres that k-means finds among points (N, D)."""
    from scipy.cluster.vq import kmeans2  # loads much of scipy, and proposing does without

    centres: NDArray[np.float64] = kmeans2(points, count, iter=iterations, minit="++", seed=seed)[0]
    return centres


def _with_area(boxes: ArrayLike) -> NDArray[np.float64]:
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return corners[(corners[:, 2:] > corners[:, :2]).all(axis=1)]


def flattened(parts: Sequence[NDArray[np.float32]]) -> Boxes:
    """Return all boxes of several images in one array (N, 4)."""
    return np.concatenate([np.zeros((0, 4), np.float32), *parts])
