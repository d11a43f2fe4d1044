"""A data set of photographs that come with scikit-image, with the objects marked on them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inception_rcnn.structures import GroundTruth, GroundTruthTable, Proposals, load_image
from reference.marked_objects import MARKED, marked


@dataclass
class MarkedSet:
    """Photographs in files of a folder, reduced, with those of their marked objects that are of its classes.

    Args:
        folder: Where the files are written.
        class_names: Names of `MARKED`, or others instead of them.
        photographs: Of `MARKED`.
        long_side: In pixels.
        calls: What the set calls a marked object instead of its name there.
        display_names: What people call the classes.
        known_sizes: Whether the annotations have the photographs' sizes.
    """

    folder: Path
    class_names: tuple[str, ...] = ("cat", "cup", "person")
    photographs: Sequence[str] = ("chelsea", "coffee", "astronaut")
    long_side: int = 96
    calls: tuple[tuple[str, str], ...] = ()
    display_names: tuple[str, ...] = ()
    known_sizes: bool = True

    def __post_init__(self) -> None:
        self.display_names = self.display_names or self.class_names
        self.category_ids = tuple(range(1, len(self.class_names) + 1))
        self.problems: list[str] = []
        self.image_ids = [f"{number}-{name}" for number, name in enumerate(self.photographs)]
        self.folder.mkdir(parents=True, exist_ok=True)
        for row, name in enumerate(self.photographs):
            pixels, _ = marked(name)
            Image.fromarray(pixels).resize(self._size(row)).save(self.path(row))

    def _size(self, row: int) -> tuple[int, int]:
        height, width = marked(self.photographs[row])[0].shape[:2]
        factor = self.long_side / max(height, width)
        return round(width * factor), round(height * factor)

    def __len__(self) -> int:
        return len(self.photographs)

    def path(self, i: int) -> Path:
        return self.folder / f"{self.image_ids[i]}.png"

    def load_image(self, i: int) -> NDArray[np.uint8]:
        return load_image(self.path(i))

    def ground_truth(self, i: int) -> GroundTruth:
        name, (width, height) = self.photographs[i], self._size(i)
        calls = dict(self.calls)
        found = {calls.get(one, one): box for one, box in MARKED[name].items()}
        found = {one: box for one, box in found.items() if one in self.class_names}
        rows, columns = marked(name)[0].shape[:2]
        scale = np.array([width / columns, height / rows] * 2)
        return GroundTruth(
            (np.array(list(found.values())).reshape(-1, 4) * scale).astype(np.float32),
            np.array([self.class_names.index(one) for one in found], np.int64),
            self.class_names,
            image_id=self.image_ids[i],
            width=width if self.known_sizes else None,
            height=height if self.known_sizes else None,
        )

    def ground_truths(self) -> GroundTruthTable:
        return GroundTruthTable.from_ground_truths([self.ground_truth(row) for row in range(len(self))])

    def propose_set(self, count: int = 40) -> list[Proposals]:
        """Boxes anywhere on each photograph, the same at every call."""
        found = []
        for row in range(len(self)):
            rng, size = np.random.default_rng(row), np.array(self._size(row))
            corner = rng.uniform(0, 0.7, (count, 2))
            boxes = np.hstack([corner, corner + rng.uniform(0.1, 0.3, (count, 2))]) * np.tile(size, 2)
            found.append(Proposals(boxes.astype(np.float32), np.linspace(1, 0, count, dtype=np.float32)))
        return found
