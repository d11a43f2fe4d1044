"""Which photographs and which of their regions make up a training batch for pooled regions.

A few photographs a batch, a few dozen regions of each, because the trunk's work is shared by the regions of a
photograph. Photographs of a batch have one shape, padded; all are enlarged by one factor, and half of them mirrored.

Source: Girshick 2015, "Fast R-CNN", section 2.3 (hierarchical sampling, a quarter foreground); Gupta et al. 2019,
"LVIS", appendix B (repeat factors); "Going deeper with convolutions", section 6 (random interpolation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.backbones.training.distributed import Part
from inception_rcnn.backbones.training.patches import colour_changes
from inception_rcnn.detector.training.region_labels import LabelledRegions
from inception_rcnn.detector.training.warped.sampling import HARD_OVERLAP
from inception_rcnn.structures import InputError
from inception_rcnn.structures.boxes import encode_boxes
from inception_rcnn.structures.errors import check_fields

INTERPOLATIONS: Final = ("nearest-exact", "bilinear", "bicubic", "area")  # by torch's names


@dataclass(frozen=True, kw_only=True)
class PooledSamplingSettings:
    """How batches of photographs and regions are drawn.

    Args:
        photographs: In each batch, at least 1.
        regions: Of each photograph, at least 1.
        foreground: Share of foreground regions at most, in [0, 1]; an object is drawn first, then one of its regions.
        hard_background: Share of the background drawn among regions that overlap an object by an IoU of 0.1 to 0.5.
        stored_side: Long side, in pixels, beyond which photographs are reduced when they are read.
        scales: Photographs are enlarged by one of these factors, drawn for each batch.
        cells: Regions are read off as so many cells across and down, in each iteration the next of these numbers, so
            that the network can be used with any of them; empty: as many as its specification says.
        mirror: Whether half of the photographs are mirrored.
        photometric: Strength of random contrast, brightness and saturation, 0 to 1; 0: none.
        random_interpolation: Whether each photograph is enlarged in one of four ways (nearest pixel, bilinear, bicubic,
            area), drawn with equal probability, instead of bilinearly.
        repeat_below: Photographs with a class that fewer than this share of all photographs show come more often, by
            the square root of what is missing (LVIS's repeat factor); 0: every photograph once a pass.
        seed: The same seed and iteration give the same batch.

    Raises:
        InputError: A field is of another type or a number out of range.
    """

    photographs: int = 2
    regions: int = 64
    foreground: float = 0.25
    hard_background: float = 0.5
    stored_side: int = 512
    scales: tuple[float, ...] = (1.0, 1.25, 1.5)
    cells: tuple[int, ...] = ()
    mirror: bool = True
    photometric: float = 0.0
    random_interpolation: bool = False
    repeat_below: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("photographs", "regions"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} should be at least 1, got {getattr(self, name)}")
        for name in ("foreground", "hard_background", "photometric", "repeat_below"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} should lie in 0..1, got {getattr(self, name)}")
        if not 64 <= self.stored_side <= 4096:
            raise InputError(f"stored_side should lie in 64..4096 px, got {self.stored_side}")
        if not self.scales or not all(0.25 <= scale <= 4 for scale in self.scales):
            raise InputError(f"scales should be factors in 0.25..4, got {self.scales}")
        if not all(type(cells) is int and 1 <= cells <= 14 for cells in self.cells):
            raise InputError(f"cells should be whole numbers in 1..14, got {self.cells}")
        if self.seed < 0:
            raise InputError(f"seed should be 0 or more, got {self.seed}")


@dataclass(frozen=True, eq=False)
class PooledBatch:
    """Photographs of one shape with regions of each.

    Args:
        images: (B,) numbers of the photographs.
        scale: By which they are enlarged.
        mirror: (B,) which are mirrored.
        colour: (B, 3, 4) float32, RGB of 0..255 -> RGB: a matrix, and a column that is added; None: as they are.
        boxes: (R, 5) float32, position of the photograph in the batch, then x1 y1 x2 y2 in pixels of the stored
            photograph, not mirrored and not enlarged.
        labels: (R,) int64, 0..C-1, or C for background.
        offsets: (R, 4) float32, to the object of a foreground region, not mirrored; 0 for background.
        cells: Across and down each region; None: as many as the network's specification says.
        interpolation: (B,) positions in `INTERPOLATIONS`; None: all bilinearly.
        part: Which regions of a batch shared by several processes these are; None: all.
    """

    images: NDArray[np.int64]
    scale: float
    mirror: NDArray[np.bool_]
    colour: NDArray[np.float32] | None
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    offsets: NDArray[np.float32]
    cells: int | None = None
    interpolation: NDArray[np.int64] | None = None
    part: Part | None = None

    def of_process(self, part: Part) -> PooledBatch:
        """Return the photographs that a process takes, with their regions, of which each has as many."""
        regions, chosen = part.times(len(self.boxes) // len(self.images)), part.rows
        boxes = self.boxes[regions.rows].copy()
        boxes[:, 0] -= part.first
        return replace(
            self,
            images=self.images[chosen],
            mirror=self.mirror[chosen],
            colour=None if self.colour is None else self.colour[chosen],
            boxes=boxes,
            labels=self.labels[regions.rows],
            offsets=self.offsets[regions.rows],
            interpolation=None if self.interpolation is None else self.interpolation[chosen],
            part=regions,
        )


@dataclass(frozen=True, eq=False)
class _Choices:
    """Rows of a photograph's regions by what they are drawn as; found once, so that a draw is a few lookups.

    Args:
        foreground: Those that show an object, in the order of their objects.
        first: Where each object's rows begin among them.
        count: How many rows each object has.
        near: Background that overlaps an object.
        far: Other background.
    """

    foreground: NDArray[np.int32]
    first: NDArray[np.int32]
    count: NDArray[np.int32]
    near: NDArray[np.int32]
    far: NDArray[np.int32]

    @classmethod
    def of(cls, one: LabelledRegions, num_classes: int) -> _Choices:
        """Return the choices among labelled regions."""
        found = one.labels < num_classes
        rows, hard = np.flatnonzero(found), one.overlap >= HARD_OVERLAP
        rows = rows[np.argsort(one.objects[rows], kind="stable")]
        _, first, count = np.unique(one.objects[rows], return_index=True, return_counts=True)
        parts = (rows, first, count, np.flatnonzero(~found & hard), np.flatnonzero(~found & ~hard))
        return cls(*(part.astype(np.int32) for part in parts))


def stored_side(short_side: int, scales: Sequence[float]) -> int:
    """Return the long side of stored photographs at which 3:4 ones, enlarged by the middle scale, have a short side.

    Args:
        short_side: That short side, in pixels; the answer is the nearest multiple of 64.
        scales: By which photographs are enlarged.

    >>> stored_side(480, (1.0, 1.25, 1.5)), stored_side(480, (1.0,)), stored_side(600, (1.0, 1.25, 1.5))
    (512, 640, 640)
    """
    return max(64, 64 * round(short_side * 4 / 3 / float(np.median(scales)) / 64))


def canvas_shape(height: int, width: int, stored_side: int) -> tuple[int, int]:
    """Return (height, width) of the padded form of a photograph: landscape, portrait or square.

    >>> canvas_shape(375, 500, 512), canvas_shape(500, 333, 512), canvas_shape(500, 400, 512)
    ((384, 512), (512, 384), (512, 512))
    """
    short = -(-3 * stored_side // 4)
    if height <= short:
        return (short, stored_side)
    return (stored_side, short) if width <= short else (stored_side, stored_side)


class PooledSampler:
    """Draws batches, pass after pass over all photographs.

    Args:
        regions: One entry for each photograph, in pixels of its stored form, its objects' own boxes among them.
        truths: (K, 4) boxes of each photograph's ground truth, which `LabelledRegions.objects` number.
        shapes: (height, width) of each photograph's padded form; a batch has one.
        num_classes: C; background is label C.
        settings: How to draw.

    Raises:
        InputError: There is no foreground or no background in the whole set.
    """

    def __init__(
        self,
        regions: Sequence[LabelledRegions],
        truths: Sequence[NDArray[np.float32]],
        shapes: Sequence[tuple[int, int]],
        num_classes: int,
        settings: PooledSamplingSettings,
    ) -> None:
        self.settings, self.num_classes = settings, num_classes
        self.regions, self.truths = list(regions), list(truths)
        foreground = sum(int((one.labels < num_classes).sum()) for one in regions)
        background = sum(len(one) for one in regions) - foreground
        if foreground == 0 or background == 0:
            raise InputError(
                f"training needs foreground and background regions; these {len(regions)} photographs have "
                f"{foreground} and {background}: check annotations and proposals"
            )
        kinds = sorted(set(shapes))
        self._kind = np.array([kinds.index(shape) for shape in shapes])
        usable = np.array([len(one) > 0 for one in regions])
        self._groups = [np.flatnonzero((self._kind == kind) & usable) for kind in range(len(kinds))]
        self._choices = [_Choices.of(one, num_classes) for one in regions]
        self._repeats = self._repeat_factors(usable)
        self._pass = lru_cache(maxsize=2)(self._draw_pass)
        self.batches_per_pass = len(self._pass(0))

    @property
    def photographs_per_pass(self) -> int:
        """Photographs drawn in one pass; more than there are where rare classes are repeated."""
        return self.batches_per_pass * self.settings.photographs

    def draw(self, iteration: int) -> PooledBatch:
        """Return the batch of an iteration: a pure function of seed and iteration, so that a resumed run is exact."""
        number, place = divmod(iteration, self.batches_per_pass)
        settings, images = self.settings, self._pass(number)[place]
        rng = np.random.default_rng([settings.seed, 1, iteration])
        scale = float(rng.choice(np.array(settings.scales)))
        mirror = rng.random(len(images)) < (0.5 if settings.mirror else 0.0)
        colour = colour_changes(len(images), settings.photometric, rng) if settings.photometric else None
        rows = [self._rows_of(image, rng) for image in images]
        regions = [self.regions[image] for image in images]
        boxes = np.concatenate([one.boxes[row] for one, row in zip(regions, rows, strict=True)])
        labels = np.concatenate([one.labels[row] for one, row in zip(regions, rows, strict=True)])
        position = np.repeat(np.arange(len(images), dtype=np.float32), settings.regions)
        return PooledBatch(
            images=images,
            scale=scale,
            mirror=mirror,
            colour=colour,
            boxes=np.column_stack([position, boxes]).astype(np.float32),
            labels=labels,
            offsets=self._offsets(images, rows, boxes, labels),
            cells=settings.cells[iteration % len(settings.cells)] if settings.cells else None,
            # Drawn last, so that all else is as without it.
            interpolation=rng.integers(0, len(INTERPOLATIONS), len(images)) if settings.random_interpolation else None,
        )

    def _rows_of(self, image: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return rows of exactly `regions` regions of a photograph, drawn with repetition, foreground first."""
        one, count = self._choices[image], self.settings.regions
        objects = min(round(count * self.settings.foreground), len(one.foreground))
        if len(one.near) + len(one.far) == 0:  # nothing but objects: more of them
            objects = count
        rest = count - objects
        hard = round(rest * self.settings.hard_background) if len(one.far) else rest
        chance = rng.random(count)
        of_objects, of_near, of_far = np.split(chance, [objects, objects + (hard if len(one.near) else 0)])
        foreground = _one_of_each_object(one, of_objects, rng)
        return np.concatenate([foreground, _picked(one.near, of_near), _picked(one.far, of_far)]).astype(np.int64)

    def _offsets(
        self,
        images: NDArray[np.int64],
        rows: list[NDArray[np.int64]],
        boxes: NDArray[np.float32],
        labels: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Return (R, 4) what leads from each foreground region to its object; 0 for background."""
        numbers = [self.regions[image].objects[row] for image, row in zip(images, rows, strict=True)]
        targets = [self.truths[image][one[one >= 0]] for image, one in zip(images, numbers, strict=True)]
        offsets, found = np.zeros((len(boxes), 4), np.float32), labels < self.num_classes
        offsets[found] = encode_boxes(boxes[found], np.concatenate(targets))
        return offsets

    def _repeat_factors(self, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return how often each photograph comes in a pass, on average."""
        repeats = np.ones(len(self.regions))
        least = self.settings.repeat_below
        shown = [np.unique(one.labels[one.labels < self.num_classes]) for one in self.regions]
        share = np.bincount(np.concatenate(shown), minlength=self.num_classes) / max(1, int(usable.sum()))
        factor = np.sqrt(np.maximum(1.0, least / np.maximum(share, 1e-9)))
        for row, classes in enumerate(shown):
            repeats[row] = factor[classes].max(initial=1.0)
        return repeats

    def _draw_pass(self, number: int) -> list[NDArray[np.int64]]:
        """Return the photographs of each batch of a pass."""
        rng = np.random.default_rng([self.settings.seed, 2, number])
        size, batches = self.settings.photographs, []
        for group in self._groups:
            repeats = self._repeats[group]
            whole = np.floor(repeats)
            # As many in every pass, so that passes have the same length; which ones is drawn.
            drawn = np.repeat(group, whole.astype(np.int64))
            more = round(float((repeats - whole).sum()))
            if more:
                odds = (repeats - whole) / (repeats - whole).sum()
                drawn = np.concatenate([drawn, rng.choice(group, more, replace=False, p=odds)])
            order = rng.permutation(drawn)
            if 0 < len(order) < size:  # few of a shape: they come again, or nothing would be learned from them
                order = np.resize(order, size)
            batches += [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
        return [batches[place] for place in rng.permutation(len(batches))]


def _one_of_each_object(one: _Choices, chance: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int32]:
    """Return a row of foreground regions for each number in [0, 1).

    Objects in turn, in a drawn order, one of each object's regions at a time.
    """
    if len(chance) == 0:
        return one.foreground[:0]
    turns = np.resize(rng.permutation(len(one.first)), len(chance))
    return one.foreground[one.first[turns] + (chance * one.count[turns]).astype(np.int32)]


def _picked(rows: NDArray[np.int32], chance: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return one of the rows for each number in [0, 1)."""
    return rows[(chance * len(rows)).astype(np.int64)] if len(chance) else rows[:0]
