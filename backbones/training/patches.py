"""The patches of photographs that a classifier learns from: drawn, cut and recoloured.

    iteration --draw: photograph, window, mirroring, colours, interpolation--> cut (threads) --> (B, S, S, 3) uint8
      --recoloured (device)--> the network's input

Source: "Going deeper with convolutions", section 6: patches of 8 to 100 % of the photograph's area with sides of 3:4 to
4:3, photometric distortions (Howard 2013), and one of four ways of interpolation drawn with equal probability.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.structures import ImageError, InputError, load_image
from inception_rcnn.structures.dataset import ImageCache
from inception_rcnn.structures.errors import check_fields
from inception_rcnn.structures.images import stretch

Pixels = NDArray[np.uint8]
INTERPOLATIONS: Final = (cv2.INTER_NEAREST_EXACT, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC)
_TRIES: Final = 10  # for a window that fits
# Of the shorter side, what is looked at in validation: the paper's 224 of 256 px.
_CENTRAL: Final = 224 / 256


@dataclass(frozen=True, kw_only=True)
class PatchSettings:
    """How patches are drawn.

    Args:
        side: Of the network's input, in pixels, in 32..1024.
        least_area: The smallest patch as a share of the photograph's area, in (0, 1]; the largest is all of it.
        longest: The largest ratio of a patch's sides, 1 or more, either way.
        mirror: Whether half of the patches are mirrored.
        photometric: Strength of random saturation, contrast and brightness, 0 to 1: factors of up to 1 + strength.
        random_interpolation: Whether each patch is resized in one of four ways (nearest pixel, bilinear, area,
            bicubic), drawn with equal probability, instead of by means over what a pixel covers.
        seed: The same seed and iteration give the same batch.

    Raises:
        InputError: A field is of another type or a number out of range.
    """

    side: int = 224
    least_area: float = 0.08
    longest: float = 4 / 3
    mirror: bool = True
    photometric: float = 0.4
    random_interpolation: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if not 32 <= self.side <= 1024:
            raise InputError(f"side should lie in 32..1024 px, got {self.side}")
        if not 0 < self.least_area <= 1:
            raise InputError(f"least_area should be above 0 and at most 1, got {self.least_area}")
        if not 1 <= self.longest < math.inf:
            raise InputError(f"longest should be 1 or more, got {self.longest}")
        if not 0 <= self.photometric <= 1:
            raise InputError(f"photometric should lie in 0..1, got {self.photometric}")
        if self.seed < 0:
            raise InputError(f"seed should be 0 or more, got {self.seed}")


class LabelledPhotographs:
    """Photographs with one class each.

    Args:
        load: Number -> (H, W, 3) uint8 RGB; called by several threads. Those used last are kept in memory.
        labels: The class of each, from 0 on.
        checksum: Of all that decides what is learned from them.
        on_broken: Called once for each photograph that cannot be read, by the thread that tried; the next one then
            takes its place. None: what is wrong with it is raised.

    Raises:
        InputError: There is none.
    """

    def __init__(
        self,
        load: Callable[[int], Pixels],
        labels: Sequence[int],
        checksum: str,
        on_broken: Callable[[ImageError], None] | None = None,
    ) -> None:
        if not len(labels):
            raise InputError("there are no photographs to learn from")
        self.labels = np.asarray(labels, np.int64)
        self.checksum = checksum
        self._cache = ImageCache(load)
        self._on_broken, self._broken, self._lock = on_broken, set[int](), Lock()

    @classmethod
    def of_files(
        cls, paths: Sequence[Path], labels: Sequence[int], on_broken: Callable[[ImageError], None] | None = None
    ) -> LabelledPhotographs:
        """Return the photographs of files; none is opened.

        The checksum is of names, sizes and classes: reading all of ImageNet once more would take an hour.
        """
        digest = hashlib.sha256()
        for path, label in zip(paths, labels, strict=True):
            digest.update(f"{path.parent.name}/{path.name}\0{path.stat().st_size}\0{label}\0".encode())
        return cls(lambda number: load_image(paths[number]), labels, digest.hexdigest(), on_broken)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.labels)

    def __getitem__(self, number: int) -> Pixels:
        """Return one of them."""
        return self._cache[number]

    def from_number(self, number: int) -> tuple[int, Pixels]:
        """Return a photograph and its number: the one of that number, or the next one that can be read.

        Raises:
            ImageError: It cannot be read, and is not to be left out; or none can be.
        """
        for own in chain(range(number, len(self)), range(number)):
            if own in self._broken:
                continue
            try:
                return own, self[own]
            except ImageError as error:
                if self._on_broken is None:
                    raise
                with self._lock:
                    is_new = own not in self._broken
                    self._broken.add(own)
                if is_new:
                    self._on_broken(error)
        raise ImageError("none of the photographs can be read; give others")


@dataclass(frozen=True, eq=False)
class PatchBatch:
    """Patches to learn from.

    Attributes:
        pixels: (B, S, S, 3) uint8 RGB.
        colour: (B, 3, 4) float32, see `recoloured`; None: as they are.
        labels: (B,) int64.
        photographs: (B,) their numbers.
    """

    pixels: Pixels
    colour: NDArray[np.float32] | None
    labels: NDArray[np.int64]
    photographs: NDArray[np.int64]


class PatchSampler:
    """Draws batches: every photograph once in each pass, each time in another order and another patch of it.

    Args:
        photographs: What from.
        batch: Patches in each batch, at least 1.
        settings: How.
    """

    def __init__(self, photographs: LabelledPhotographs, batch: int, settings: PatchSettings) -> None:
        self.photographs, self.batch, self.settings = photographs, batch, settings
        self._order = lru_cache(maxsize=2)(self._order_of)  # a pass may end inside a batch

    @property
    def batches_per_pass(self) -> int:
        """In how many batches all photographs come once."""
        return -(-len(self.photographs) // self.batch)

    def numbers(self, iteration: int) -> NDArray[np.int64]:
        """Return which photographs are in the batch of an iteration."""
        places = range(iteration * self.batch, (iteration + 1) * self.batch)
        each = (divmod(place, len(self.photographs)) for place in places)
        return np.array([self._order(number)[position] for number, position in each])

    def draw(self, iteration: int, rows: slice = slice(None)) -> PatchBatch:
        """Return the batch of an iteration, or some of its rows: a pure function of seed and iteration."""
        numbers, settings = self.numbers(iteration)[rows], self.settings
        places = range(iteration * self.batch, (iteration + 1) * self.batch)[rows]
        draws = [np.random.default_rng([settings.seed, 1, place]) for place in places]
        colour = None
        if settings.photometric:
            colour = np.concatenate([colour_changes(1, settings.photometric, rng) for rng in draws])
        drawn = [self._patch(int(number), rng) for number, rng in zip(numbers, draws, strict=True)]
        numbers = np.array([number for number, _ in drawn], np.int64)
        return PatchBatch(np.stack([patch for _, patch in drawn]), colour, self.photographs.labels[numbers], numbers)

    def _patch(self, number: int, rng: np.random.Generator) -> tuple[int, Pixels]:
        """Return a patch, and the number of the photograph that it was cut from."""
        (number, image), settings = self.photographs.from_number(number), self.settings
        left, top, right, bottom = draw_window(image.shape[1], image.shape[0], settings, rng)
        mirrored, way = settings.mirror and rng.random() < 0.5, int(rng.integers(len(INTERPOLATIONS)))
        if settings.random_interpolation:
            cut, size = image[top:bottom, left:right], (settings.side, settings.side)
            patch = np.asarray(cv2.resize(cut, size, interpolation=INTERPOLATIONS[way]), np.uint8)
        else:
            patch = stretch(image, np.array([left, top, right, bottom], np.float64), settings.side)
        return number, patch[:, ::-1] if mirrored else patch

    def _order_of(self, number: int) -> NDArray[np.int64]:
        """Return the photographs in the order of a pass."""
        return np.random.default_rng([self.settings.seed, 2, number]).permutation(len(self.photographs))


def draw_window(
    width: int, height: int, settings: PatchSettings, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a patch, in whole pixels.

    Where ten draws give none that fits, as in a very long photograph, it is the largest one in the middle whose sides
    are allowed.

    Args:
        width: Of the photograph.
        height: Of the photograph.
        settings: Smallest area and largest ratio.
        rng: Draws.
    """
    spread = math.log(settings.longest)
    for _ in range(_TRIES):
        area = rng.uniform(settings.least_area, 1) * width * height
        ratio = math.exp(rng.uniform(-spread, spread))
        across, down = max(1, round(math.sqrt(area * ratio))), max(1, round(math.sqrt(area / ratio)))
        if across <= width and down <= height:
            left, top = int(rng.integers(width - across + 1)), int(rng.integers(height - down + 1))
            return left, top, left + across, top + down
    across = min(width, max(1, int(height * settings.longest)))
    down = min(height, max(1, int(width * settings.longest)))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def central_patch(image: Pixels, side: int) -> Pixels:
    """Return what validation looks at, uint8 (side, side, 3): the centre, as 224 px where the shorter side has 256."""
    height, width = image.shape[:2]
    half, middle = _CENTRAL * min(height, width) / 2, np.array([width, height] * 2) / 2
    return stretch(image, middle + np.array([-half, -half, half, half]), side)


def colour_changes(count: int, strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return (count, 3, 4) changes of RGB: saturation, contrast and brightness, each by a drawn factor.

    Args:
        count: How many.
        strength: The factors lie between 1 / (1 + strength) and 1 + strength.
        rng: Draws.
    """
    spread = math.log1p(strength)
    saturation, contrast, brightness = np.exp(rng.uniform(-spread, spread, (3, count, 1, 1)))
    grey = np.broadcast_to(np.array([0.299, 0.587, 0.114]), (3, 3))
    matrix = (saturation * np.eye(3) + (1 - saturation) * grey) * contrast * brightness
    middle = 115.0 * (1 - contrast) * brightness  # contrast turns about a middle grey
    return np.concatenate([matrix, np.broadcast_to(middle, (count, 3, 1))], axis=2).astype(np.float32)


def recoloured(pixels: Tensor, colour: Tensor) -> Tensor:
    """Return RGB pixels (B, H, W, 3) with each photograph's change, in 0..255.

    Args:
        pixels: Of any type, in 0..255.
        colour: (B, 3, 4) float32: a matrix RGB -> RGB, and a column that is added.
    """
    changed = torch.einsum("bhwc,bdc->bhwd", pixels.float(), colour[:, :, :3]) + colour[:, None, None, :, 3]
    return changed.clamp(0, 255)
