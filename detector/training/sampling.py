"""Which regions make up a training batch: drawn over the pools of all photographs, not photograph by photograph.

Source: R-CNN technical report v5, section 2.3 (32 foreground and 96 background regions a batch, uniform draws).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inception_rcnn.detector.training.region_labels import LabelledRegions
from inception_rcnn.structures import InputError


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How batches are drawn.

    Attributes:
        foreground, background: regions of each kind a batch.
        uniform: every foreground window is equally likely (R-CNN). Otherwise a class is drawn first, with its number
            of objects to the power `class_power`, then one of its objects, then one of that object's windows: a
            frequent class or a large object (which has many windows) does not drown the others.
        class_power: 1 keeps the classes' frequencies, 0 makes all classes equally likely.
        hard_background: share of the background drawn among windows that overlap an object by an IoU of 0.1 to 0.5,
            the near misses; the rest is drawn among the others. Ignored if `uniform`.
        seed: the same seed and iteration give the same batch.
    Raises:
        InputError: a number is out of range.
    """

    foreground: int = 32
    background: int = 96
    uniform: bool = False
    class_power: float = 0.5
    hard_background: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
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
    """Regions to cut: photograph (B,), boxes (B, 4), labels (B,), and whether to mirror (B,) bool."""

    images: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    mirror: npt.NDArray[np.bool_]


HARD_OVERLAP = 0.1


class RegionSampler:
    """Draws batches from the labelled regions of all photographs.

    Args of the constructor:
        regions: one entry a photograph.
        num_classes: C; background is label C.
        settings: how to draw.
    Raises:
        InputError: no foreground or no background region in the whole set.
    """

    def __init__(self, regions: Sequence[LabelledRegions], num_classes: int, settings: SamplingSettings) -> None:
        self.settings = settings
        self.num_classes = num_classes
        self.images = np.repeat(np.arange(len(regions)), [len(one) for one in regions])
        self.boxes = np.concatenate([one.boxes for one in regions]) if regions else np.zeros((0, 4), np.float32)
        self.labels = np.concatenate([one.labels for one in regions]) if regions else np.zeros(0, np.int64)
        overlap = np.concatenate([one.overlap for one in regions]) if regions else np.zeros(0, np.float32)
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
        """Sorts the foreground windows by object, and the objects by class, so that a draw is two look-ups."""
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

    def draw(self, iteration: int) -> Batch:
        """The batch of that iteration: a pure function of seed and iteration, so that a resumed run goes on exactly."""
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

    def _evened_foreground(self, rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        drawn = rng.choice(len(self._present), count, p=self._class_share)
        nth = rng.integers(0, self._objects_of[drawn])
        thing = self._objects[self._class_first[drawn] + nth]
        window = rng.integers(0, self._windows_of[thing])
        rows: npt.NDArray[np.int64] = self._windows[self._first[thing] + window]
        return rows

    def _background(self, rng: np.random.Generator, count: int, share_near: float | None) -> npt.NDArray[np.int64]:
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
