"""What is in a data set: counts for a person to read, and a sheet of photographs with their boxes to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import GroundTruth, ImageError
from inception_rcnn.structures.columns import shown_name
from inception_rcnn.structures.dataset import DetectionDataset
from inception_rcnn.structures.drawing import contact_sheet, draw_detections
from inception_rcnn.structures.images import resize_image

_SMALL, _LARGE = 32.0**2, 96.0**2  # square pixels, COCO's bounds
_MOST_BARE = 8  # classes without objects that have a line each


@dataclass(frozen=True)
class _Objects:
    """The objects of a photograph, as what is drawn has them."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def names(self) -> list[str]:
        """Return what the class of each is called."""
        return [self.class_names[label] for label in self.labels.tolist()]


def account_lines(parts: Sequence[tuple[str, DetectionDataset]]) -> Iterator[str]:
    """Yield lines that say how many objects of each class and size the parts of a data set have.

    Args:
        parts: The name of each, and the photographs.
    """
    tables = [(name, dataset.ground_truths()) for name, dataset in parts]
    names = list(dict.fromkeys(shown_name(name) for _, dataset in parts for name in dataset.display_names))
    width = max((len(name) for name in (*names, "small, below 32 x 32")), default=0)
    yield f"{'objects':{width}}" + "".join(f"{name[:10]:>12}" for name, _ in tables)
    counts = []
    for (_, dataset), (_, table) in zip(parts, tables, strict=True):
        counts.append(dict.fromkeys(map(shown_name, dataset.display_names), 0))
        for name, count in zip(dataset.display_names, np.bincount(table.label).tolist(), strict=False):
            counts[-1][shown_name(name)] += count
    bare = [name for name in names if not any(one.get(name) for one in counts)]
    folded = bare if len(bare) > _MOST_BARE else []
    for name in (name for name in names if name not in folded):
        yield f"{name:{width}}" + "".join(f"{one.get(name, '-'):>12}" for one in counts)
    sides = [table.box[:, 2:] - table.box[:, :2] for _, table in tables]
    areas = [side.prod(axis=1) for side in sides]
    if folded:
        yield f"and {len(folded)} classes without objects: {', '.join(folded[:_MOST_BARE])}, ..."
    rows = {
        "all": [len(area) for area in areas],
        "small, below 32 x 32": [int((area < _SMALL).sum()) for area in areas],
        "large, from 96 x 96": [int((area >= _LARGE).sum()) for area in areas],
        "to ignore": [int(table.ignored.sum()) for _, table in tables],
        "photographs": [len(dataset) for _, dataset in parts],
        "without objects": [
            len(dataset) - len(np.unique(table.image)) for (_, dataset), (_, table) in zip(parts, tables, strict=True)
        ],
    }
    yield ""
    for title, row in rows.items():
        yield f"{title:{width}}" + "".join(f"{number:>12}" for number in row)


def draw_sheet(
    dataset: DetectionDataset, *, columns: int = 4, rows: int = 4, side: int = 320
) -> tuple[NDArray[np.uint8], list[str]]:
    """Return a picture of photographs from all over a data set, with their boxes and classes, and which were damaged.

    Args:
        dataset: The photographs; those with objects come first.
        columns: Of the sheet.
        rows: At most.
        side: Of the square that a photograph has, in pixels.

    Returns:
        uint8 RGB (H, W, 3), and a line for each photograph that could not be read.
    """
    counts = np.bincount(dataset.ground_truths().image, minlength=len(dataset))
    full, wanted = np.flatnonzero(counts), columns * rows
    order = full if len(full) >= min(wanted, len(dataset)) else np.argsort(counts == 0, kind="stable")
    chosen = np.unique(order[np.linspace(0, len(order) - 1, min(wanted, len(order))).round().astype(int)])
    tiles, damaged = [], []
    for i in chosen.tolist():
        try:
            tiles.append(_tile(dataset.load_image(i), dataset.ground_truth(i), dataset.display_names, side))
        except (ImageError, ValueError) as error:
            damaged.append(str(error))
    return contact_sheet(tiles, columns=columns, side=side), damaged


def _tile(image: NDArray[np.uint8], truth: GroundTruth, names: tuple[str, ...], side: int) -> NDArray[np.uint8]:
    """Return a photograph with its boxes, no larger than a square."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    small = resize_image(image, max(round(width * scale), 1), max(round(height * scale), 1))
    found = _Objects(truth.boxes * np.float32(scale), np.ones(len(truth), np.float32), truth.labels, names)
    return draw_detections(small, found, scores=False)
