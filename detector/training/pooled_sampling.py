"""Which photographs and which of their regions make up a training batch for pooled regions.

A few photographs a batch, a few dozen regions of each, because the trunk's work is shared by the regions of a
photograph. Photographs of a batch have one shape, padded; all are enlarged by one factor, and half of them mirrored.

Source: Girshick 2015, "Fast R-CNN", section 2.3 (hierarchical sampling, a quarter foreground); Gupta et al. 2019,
"LVIS", appendix B (repeat factors).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.detector.training.region_labels import LabelledRegions
from inception_rcnn.detector.training.sampling import HARD_OVERLAP
from inception_rcnn.structures import InputError
from inception_rcnn.structures.boxes import encode_boxes


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
        mirror: Whether half of the photographs are mirrored.
        photometric: Strength of random contrast, brightness and saturation, 0 to 1; 0: none.
        repeat_below: Photographs with a class that fewer than this share of all photographs show come more often, by
            the square root of what is missing (LVIS's repeat factor); 0: every photograph once a pass.
        seed: The same seed and iteration give the same batch.

    Raises:
        InputError: A number is out of range.
    """

    photographs: int = 2
    regions: int = 64
    foreground: float = 0.25
    hard_background: float = 0.5
    stored_side: int = 512
    scales: tuple[float, ...] = (1.0, 1.25, 1.5)
    mirror: bool = True
    photometric: float = 0.0
    repeat_below: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
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
    """

    images: NDArray[np.int64]
    scale: float
    mirror: NDArray[np.bool_]
    colour: NDArray[np.float32] | None
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    offsets: NDArray[np.float32]


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
        InputError: There is no foreground or no background in the whole set, or too few photographs for one batch.
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
        colour = _colours(len(images), settings.photometric, rng) if settings.photometric else None
        parts = [self._regions_of(image, rng) for image in images]
        boxes, labels, offsets = (np.concatenate([part[n] for part in parts]) for n in range(3))
        position = np.repeat(np.arange(len(images), dtype=np.float32), [len(part[0]) for part in parts])
        return PooledBatch(
            images, scale, mirror, colour, np.column_stack([position, boxes]).astype(np.float32), labels, offsets
        )

    def _regions_of(
        self, image: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Return boxes, labels and offsets of exactly `regions` regions of a photograph, drawn with repetition."""
        one, count = self.regions[image], self.settings.regions
        is_foreground = one.labels < self.num_classes
        wanted = round(count * self.settings.foreground)
        near = np.flatnonzero(~is_foreground & (one.overlap >= HARD_OVERLAP))
        far = np.flatnonzero(~is_foreground & (one.overlap < HARD_OVERLAP))
        foreground = _one_of_each_object(one, np.flatnonzero(is_foreground), wanted, rng)
        if len(near) + len(far) == 0:  # nothing but objects: more of them
            foreground = _one_of_each_object(one, np.flatnonzero(is_foreground), count, rng)
        rest = count - len(foreground)
        first = round(rest * self.settings.hard_background) if len(far) else rest
        hard = rng.choice(near, first) if len(near) else near[:0]
        easy = rng.choice(far, rest - len(hard)) if len(far) and rest > len(hard) else far[:0]
        rows = np.concatenate([foreground, hard, easy]).astype(np.int64)
        offsets = np.zeros((len(rows), 4), np.float32)
        found = rows[: len(foreground)]
        if len(found):
            offsets[: len(found)] = encode_boxes(one.boxes[found], self.truths[image][one.objects[found]])
        return one.boxes[rows], one.labels[rows], offsets

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
            batches += [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
        if not batches:
            raise InputError(
                f"no batch of {size} photographs of one shape can be drawn from {len(self.regions)}; "
                "ask for fewer photographs a batch"
            )
        return [batches[place] for place in rng.permutation(len(batches))]


def _one_of_each_object(
    one: LabelledRegions, foreground: NDArray[np.int64], wanted: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return rows of foreground regions: objects in turn, in a drawn order, one of each object's regions at a time."""
    if len(foreground) == 0 or wanted == 0:
        return foreground[:0]
    order = np.argsort(one.objects[foreground], kind="stable")
    sorted_rows = foreground[order]
    _, first, count = np.unique(one.objects[sorted_rows], return_index=True, return_counts=True)
    wanted = min(wanted, len(foreground))
    turns = np.resize(rng.permutation(len(first)), wanted)
    rows: NDArray[np.int64] = sorted_rows[first[turns] + rng.integers(0, count[turns])]
    return rows


def _colours(count: int, strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return (count, 3, 4) colour changes: saturation, contrast and brightness, each by a drawn factor."""
    spread = math.log1p(strength)
    saturation, contrast, brightness = np.exp(rng.uniform(-spread, spread, (3, count, 1, 1)))
    grey = np.broadcast_to(np.array([0.299, 0.587, 0.114]), (3, 3))
    matrix = (saturation * np.eye(3) + (1 - saturation) * grey) * contrast * brightness
    middle = 115.0 * (1 - contrast) * brightness  # contrast turns about a middle grey
    return np.concatenate([matrix, np.broadcast_to(middle, (count, 3, 1))], axis=2).astype(np.float32)
