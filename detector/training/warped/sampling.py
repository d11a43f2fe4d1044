"""Which regions make up a training batch, drawn over all photographs together, and their pixels.

Source: R-CNN technical report v5, section 2.3 (batches of 32 foreground and 96 background regions, uniform draws).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.backbones import InputSpec
from inception_rcnn.detector.region_warp import RegionWarp
from inception_rcnn.detector.training.region_labels import LabelledRegions
from inception_rcnn.structures import InputError
from inception_rcnn.structures.dataset import ImageCache
from inception_rcnn.structures.errors import check_fields

HARD_OVERLAP = 0.1


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How batches are drawn.

    Args:
        foreground: Foreground regions in each batch, 0 or more.
        background: Background regions in each batch, 0 or more.
        uniform: Every foreground window is equally likely (R-CNN). Otherwise a class is drawn first, with its number
            of objects to the power `class_power`, then one of its objects, then one of that object's windows: a
            frequent class or a large object (which has many windows) does not drown the others.
        class_power: 1 keeps the classes' frequencies, 0 makes all classes equally likely.
        hard_background: Share of the background drawn among windows that overlap an object by an IoU of 0.1 to 0.5,
            the near misses; the rest is drawn among the others. Ignored if `uniform`.
        seed: The same seed and iteration give the same batch.

    Raises:
        InputError: A field is of another type or a number out of range.
    """

    foreground: int = 32
    background: int = 96
    uniform: bool = False
    class_power: float = 0.5
    hard_background: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if min(self.foreground, self.background) < 0 or self.foreground + self.background < 1:
            raise InputError(
                f"foreground and background should be 0 or more and not both 0, got {self.foreground} and "
                f"{self.background}"
            )
        if not 0 <= self.hard_background <= 1:
            raise InputError(f"hard_background should lie in 0..1, got {self.hard_background}")
        if not 0 <= self.class_power < math.inf:
            raise InputError(f"class_power should be 0 or more, got {self.class_power}")
        if self.seed < 0:
            raise InputError(f"seed should be 0 or more, got {self.seed}")


@dataclass(frozen=True)
class Batch:
    """Regions to cut out.

    Args:
        images: (B,) numbers of the photographs.
        boxes: (B, 4) float32 x1 y1 x2 y2, in pixels of their photographs.
        labels: (B,) int64, 0..C-1, or C for background.
        mirror: (B,) which regions are to be mirrored.
    """

    images: NDArray[np.int64]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    mirror: NDArray[np.bool_]

    def rows(self, rows: slice) -> Batch:
        """Return some of the regions."""
        return Batch(self.images[rows], self.boxes[rows], self.labels[rows], self.mirror[rows])


class RegionSampler:
    """Draws batches from the labelled regions of all photographs.

    Args:
        regions: One entry for each photograph.
        num_classes: C; background is label C.
        settings: How to draw.

    Raises:
        InputError: No foreground or no background region in the whole set.
    """

    def __init__(self, regions: Sequence[LabelledRegions], num_classes: int, settings: SamplingSettings) -> None:
        self.settings = settings
        self.num_classes = num_classes
        self.images = np.repeat(np.arange(len(regions)), [len(one) for one in regions])
        self.boxes = np.concatenate([np.zeros((0, 4), np.float32), *(one.boxes for one in regions)])
        self.labels = np.concatenate([np.zeros(0, np.int64), *(one.labels for one in regions)])
        overlap = np.concatenate([np.zeros(0, np.float32), *(one.overlap for one in regions)])
        background = self.labels == num_classes
        self.foreground = np.flatnonzero(~background)
        self.near = np.flatnonzero(background & (overlap >= HARD_OVERLAP))
        self.far = np.flatnonzero(background & (overlap < HARD_OVERLAP))
        if len(self.foreground) == 0 or len(self.near) + len(self.far) == 0:
            raise InputError(
                f"training needs foreground and background regions; these {len(regions)} photographs have "
                f"{len(self.foreground)} and {len(self.near) + len(self.far)}: check annotations and proposals"
            )
        self._index_objects(regions)

    def _index_objects(self, regions: Sequence[LabelledRegions]) -> None:
        """Sort the foreground windows by object, and the objects by class, so that a draw is two look-ups."""
        objects = np.concatenate([one.objects for one in regions])[self.foreground]
        key = self.images[self.foreground] * (objects.max() + 1) + objects
        order = np.argsort(key, kind="stable")
        self._windows = self.foreground[order]
        _, self._first, self._windows_of = np.unique(key[order], return_index=True, return_counts=True)
        classes = self.labels[self._windows[self._first]]
        self._objects = np.argsort(classes, kind="stable")
        self._present, self._class_first, self._objects_of = np.unique(
            classes[self._objects], return_index=True, return_counts=True
        )
        weight = self._objects_of.astype(np.float64) ** self.settings.class_power
        self._class_share = weight / weight.sum()

    @property
    def batches_per_pass(self) -> int:
        """In how many batches as many windows come as there are: of foreground, or without it of background."""
        settings = self.settings
        if settings.foreground:
            return -(-len(self.foreground) // settings.foreground)
        return -(-(len(self.near) + len(self.far)) // settings.background)

    def draw(self, iteration: int) -> Batch:
        """Return the batch of an iteration: a pure function of seed and iteration, so that a resumed run is exact."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, iteration])
        if settings.uniform:
            foreground = rng.choice(self.foreground, settings.foreground)
            background = self._background(rng, settings.background, share_near=None)
        else:
            foreground = self._evened_foreground(rng, settings.foreground)
            background = self._background(rng, settings.background, share_near=settings.hard_background)
        rows = np.concatenate([foreground, background])
        mirror = rng.random(len(rows)) < 0.5
        return Batch(self.images[rows], self.boxes[rows], self.labels[rows], mirror)

    def _evened_foreground(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Return rows of windows: a class is drawn first, then an object of it, then a window of that object."""
        drawn = rng.choice(len(self._present), count, p=self._class_share)
        nth = rng.integers(0, self._objects_of[drawn])
        objects = self._objects[self._class_first[drawn] + nth]
        window = rng.integers(0, self._windows_of[objects])
        rows: NDArray[np.int64] = self._windows[self._first[objects] + window]
        return rows

    def _background(self, rng: np.random.Generator, count: int, share_near: float | None) -> NDArray[np.int64]:
        """Return rows of background windows, a share of them near an object; None: as frequent as they are."""
        near, far = len(self.near), len(self.far)
        if share_near is None or near == 0 or far == 0:
            share_near = near / (near + far)
        is_near = rng.random(count) < share_near
        rows = np.empty(count, dtype=np.int64)
        if is_near.any():
            rows[is_near] = rng.choice(self.near, int(is_near.sum()))
        if not is_near.all():
            rows[~is_near] = rng.choice(self.far, int((~is_near).sum()))
        return rows


def cut_batch(images: ImageCache, batch: Batch, spec: InputSpec, *, threads: int = 1) -> NDArray[np.uint8]:
    """Return the batch's regions as uint8 RGB (B, side, side, 3), mirrored where it says so.

    Args:
        images: The photographs, by number.
        batch: Which regions.
        spec: Side and context of the network's input.
        threads: How many cut at the same time.
    """
    crops = np.empty((len(batch.boxes), spec.side, spec.side, 3), dtype=np.uint8)
    for index in np.unique(batch.images):
        rows = np.flatnonzero(batch.images == index)
        crops[rows] = RegionWarp(images[int(index)], spec).cut(batch.boxes[rows], threads=threads)
    crops[batch.mirror] = crops[batch.mirror, :, ::-1]
    return crops
