"""What MultiBox is trained on: windows of photographs with what is known of the objects in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.proposals.network.loss import Floats, Labels
from inception_rcnn.structures import GroundTruth, InputError, Proposals
from inception_rcnn.structures.boxes import share_inside
from inception_rcnn.structures.dataset import DetectionDataset, ImageCache
from inception_rcnn.structures.images import stretch

Pixels = NDArray[np.uint8]
# Of an object that a window's border cuts: from here on the rest is an object itself, below it is neither right nor
# wrong, and under the second number it has gone.
_STILL_AN_OBJECT, _STILL_VISIBLE = 0.5, 0.15
_LEAST_SIDE = 0.01  # of what is left of an object or a proposal, as a share of the window


@dataclass(frozen=True)
class BoxSource:
    """A data set to train on.

    Args:
        dataset: Photographs and objects; its classes do not matter.
        propose_set: Called once for the proposals of each photograph, which the objectness learns from.
        complete: Whether it labels every object that should be found; COCO does for its 80 classes, a set of three
            classes does not.
        rows: Which of its photographs to use.
        name: For the list of what the network learned from, such as "voc2007/train".
    """

    dataset: DetectionDataset
    propose_set: Callable[[], Sequence[Proposals]]
    complete: bool
    rows: Sequence[int]
    name: str = "unnamed"


@dataclass(frozen=True)
class Sample:
    """One training example.

    Args:
        pixels: (side, side, 3) uint8 RGB.
        labels: The objects, as shares of the window.
        regions: (P, 4) float64, proposals likewise.
    """

    pixels: Pixels
    labels: Labels
    regions: Floats


class SampleDrawer:
    """Draws batches: every photograph once in each epoch, each time in another order and with other changes.

    Args:
        sources: The data sets; their proposals are made here.
        side: Of the network's input, in pixels.
        batch: Photographs in each batch.
        seed: Decides, with the number of the batch, everything that is random.

    Attributes:
        proposals: Of each source's photographs.

    Raises:
        InputError: The sources have no photograph, or not as many proposals as photographs.
    """

    def __init__(self, sources: Sequence[BoxSource], side: int, batch: int, seed: int) -> None:
        self._sources = sources
        self._side, self._batch, self._seed = side, batch, seed
        self._places = [(number, row) for number, source in enumerate(sources) for row in source.rows]
        if not self._places:
            raise InputError("there is no photograph to train on")
        self.proposals = [source.propose_set() for source in sources]
        for source, found in zip(sources, self.proposals, strict=True):
            if len(found) != len(source.dataset):
                raise InputError(f"there are proposals of {len(found)} images, the data set has {len(source.dataset)}")
        self._order = lru_cache(maxsize=2)(self._order_of)  # an epoch may end inside a batch
        self._cache = ImageCache(lambda place: self._load(place))

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self._places)

    def draw(self, number: int) -> list[Sample]:
        """Return the batch of that number, the same at every call."""
        samples = []
        for count in range(number * self._batch, (number + 1) * self._batch):
            epoch, position = divmod(count, len(self._places))
            place = int(self._order(epoch)[position])
            samples.append(self._sample(place, np.random.default_rng([self._seed, 1, count])))
        return samples

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        """Return the photographs in the order of an epoch."""
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._places))

    def _load(self, place: int) -> Pixels:
        source, row = self._places[place]
        return self._sources[source].dataset.load_image(row)

    def _sample(self, place: int, rng: np.random.Generator) -> Sample:
        number, row = self._places[place]
        source = self._sources[number]
        image, truth = self._cache[place], source.dataset.ground_truth(row)
        height, width = image.shape[:2]
        window = choose_window(width, height, truth.boxes[~truth.ignore], rng)
        labels = labels_in(window, truth, complete=source.complete)
        regions = _inside(self.proposals[number][row].boxes.astype(np.float64), window)[0]
        pixels = stretch(image, window, self._side)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
            labels = Labels(mirrored(labels.objects), mirrored(labels.neutral), labels.complete)
            regions = mirrored(regions)
        return Sample(recoloured(pixels, rng), labels, regions)


def choose_window(width: int, height: int, objects: NDArray[np.float32], rng: np.random.Generator) -> Floats:
    """Return the whole photograph half of the time, else a window of 30 to 100 % of its area with an object's middle.

    The window's sides differ from the photograph's in proportion by up to 1.4.
    """
    whole = np.array([0, 0, width, height], dtype=np.float64)
    if rng.random() < 0.5:
        return whole
    centres = (objects[:, :2] + objects[:, 2:]) / 2
    for _ in range(10):
        area, stretched = rng.uniform(0.3, 1), math.exp(rng.uniform(-0.34, 0.34))
        sides = np.minimum(np.sqrt([area * stretched, area / stretched]), 1) * whole[2:]
        corner = rng.random(2) * (whole[2:] - sides)
        if len(centres) == 0 or ((centres > corner) & (centres < corner + sides)).all(axis=1).any():
            return np.concatenate([corner, corner + sides])
    return whole


def labels_in(window: Floats, truth: GroundTruth, *, complete: bool) -> Labels:
    """Return what is known of the objects in a window, as shares of it."""
    boxes = truth.boxes.astype(np.float64)
    inside, visible, kept = _inside(boxes, window, np.where(truth.ignore, 0.0, _STILL_VISIBLE))
    whole = (visible >= _STILL_AN_OBJECT) & ~truth.ignore[kept]
    return Labels(inside[whole], inside[~whole], complete)


def _inside(
    boxes: Floats, window: Floats, least_visible: Floats | float = _STILL_VISIBLE
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return what is left of boxes in a window, as shares of it; the share of their area; and which boxes those are.

    Boxes go of which less than `least_visible` is left: a crowd may reach far beyond the window and still fill it.
    """
    visible = share_inside(boxes, window[None])[:, 0]
    size = np.tile(window[2:] - window[:2], 2)
    cut = np.clip((boxes - np.tile(window[:2], 2)) / size, 0, 1)
    large = (cut[:, 2:] - cut[:, :2] >= _LEAST_SIDE).all(axis=1)
    kept = np.flatnonzero((visible >= least_visible) & large)
    return cut[kept], visible[kept], kept


def mirrored(boxes: Floats) -> Floats:
    """Return boxes given as shares, left and right exchanged."""
    return np.column_stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]])


def recoloured(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the pixels with brightness, contrast and saturation changed by up to a quarter."""
    brightness, contrast, saturation = rng.uniform(-30, 30), *rng.uniform(0.75, 1.25, 2)
    values = pixels.astype(np.float32)
    grey = values.mean(axis=2, keepdims=True)
    values = grey + saturation * (values - grey)
    values = (values - 128) * contrast + (128 + brightness)
    recoloured: Pixels = np.clip(values, 0, 255).astype(np.uint8)
    return recoloured
