"""A set of photographs with their objects, as every consumer sees it; a part of one; photographs kept in memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.errors import DataFormatError, ImageError, InputError
from inception_rcnn.structures.ground_truth import GroundTruth, GroundTruthTable
from inception_rcnn.structures.jobs import available_processors, checksums_of

_OF_PHOTOGRAPHS: Final = ("image_ids", "__len__", "path", "load_image")
_OF_OBJECTS: Final = ("class_names", "display_names", "category_ids", "problems", "ground_truth", "ground_truths")


class DetectionDataset(Protocol):
    """Photographs and the objects in them, by position: what every reader of datasets/ offers.

    Inference, training, evaluation, stored proposals and the writers take any object with these members.
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names that labels are positions in."""

    @property
    def display_names(self) -> tuple[str, ...]:
        """What people call the classes; the class names themselves unless these are codes."""

    @property
    def category_ids(self) -> tuple[int, ...]:
        """By which files of detections name the classes: COCO's own ids, elsewhere 1, 2, 3 ..."""

    @property
    def image_ids(self) -> Sequence[int | str]:
        """What the data set calls its images, in order."""

    @property
    def problems(self) -> list[str]:
        """What was left out and why, one line for each image or object."""

    def __len__(self) -> int:
        """Return the number of photographs."""

    def path(self, i: int, /) -> Path:
        """Return where photograph `i` is."""

    def load_image(self, i: int, /) -> NDArray[np.uint8]:
        """Return photograph `i` as uint8 RGB (H, W, 3), upright."""

    def ground_truth(self, i: int, /) -> GroundTruth:
        """Return the objects of photograph `i`; the photograph is not opened."""

    def ground_truths(self) -> GroundTruthTable:
        """Return the objects of all photographs in one table, in the same order; no photograph is opened."""


def check_dataset(dataset: Any, name: str = "dataset", *, objects: bool = True) -> None:
    """Raise if something is no data set.

    Args:
        dataset: Any.
        name: For the error.
        objects: Whether they are needed, beside the photographs.

    Raises:
        InputError: It lacks members of `DetectionDataset`.
    """
    needed = (*_OF_PHOTOGRAPHS, *_OF_OBJECTS) if objects else _OF_PHOTOGRAPHS
    if lacking := [member for member in needed if not hasattr(dataset, member)]:
        raise InputError(
            f"{name} should be a data set, such as open_dataset returns; a {type(dataset).__name__} lacks "
            f"{', '.join(lacking)}"
        )


def as_datasets(data: DetectionDataset | Iterable[DetectionDataset], name: str = "data") -> list[DetectionDataset]:
    """Return one data set, or several, as a list; a data set may itself be a sequence, of its photographs.

    Args:
        data: One or several.
        name: For the error.

    Raises:
        InputError: It is neither.
    """
    if any(hasattr(data, member) for member in ("ground_truth", "ground_truths")) or not isinstance(data, Iterable):
        check_dataset(data, name)
        return [data]  # type: ignore[list-item]
    sets: list[DetectionDataset] = []
    for place, one in enumerate(data):
        check_dataset(one, f"{name}[{place}]")
        sets.append(one)
    return sets


def dataset_name(dataset: DetectionDataset) -> str:
    """Return what a data set is called in messages and summaries, such as "voc2007/train".

    That is the name of its folder and the part, where it has them as `root` and `split`, as all readers do; where the
    folder lies concerns nobody. Others have their own `name`, or none.
    """
    if isinstance(dataset, Subset):
        return dataset_name(dataset.dataset)
    root, split = getattr(dataset, "root", None), getattr(dataset, "split", None)
    if not isinstance(root, str | os.PathLike):
        return str(getattr(dataset, "name", "data"))
    folder = Path(root).name or Path(root).resolve().name
    return f"{folder}/{split}" if split else folder


@dataclass(frozen=True, eq=False)
class Subset:
    """Some photographs of a data set, as a data set.

    Args:
        dataset: The set.
        rows: Positions in it, in the order wanted; each at most once.

    Raises:
        InputError: A position is no whole number, outside the set, or there twice.
    """

    dataset: DetectionDataset
    rows: Sequence[int]

    def __post_init__(self) -> None:
        rows = tuple(self.rows)
        if not all(isinstance(row, int | np.integer) and not isinstance(row, bool) for row in rows):
            raise InputError("rows should be whole numbers, positions in the set; of a mask, np.flatnonzero finds them")
        if rows and not 0 <= min(rows) <= max(rows) < len(self.dataset):
            raise InputError(f"rows should be in 0..{len(self.dataset) - 1}, got {min(rows)}..{max(rows)}")
        if len(set(rows)) != len(rows):
            raise InputError("rows should differ from each other")
        object.__setattr__(self, "rows", tuple(map(int, rows)))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the whole set, whether or not these photographs show them."""
        return self.dataset.class_names

    @property
    def display_names(self) -> tuple[str, ...]:
        """Those of the whole set."""
        return self.dataset.display_names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Those of the whole set."""
        return self.dataset.category_ids

    @property
    def image_ids(self) -> Sequence[int | str]:
        """What the set calls these images."""
        return tuple(self.dataset.image_ids[row] for row in self.rows)

    @property
    def problems(self) -> list[str]:
        """What was left out of the whole set."""
        return self.dataset.problems

    def __len__(self) -> int:
        """Return how many photographs were chosen."""
        return len(self.rows)

    def path(self, i: int, /) -> Path:
        """Return where photograph `i` of the part is."""
        return self.dataset.path(self.rows[i])

    def load_image(self, i: int, /) -> NDArray[np.uint8]:
        """Return photograph `i` of the part as uint8 RGB (H, W, 3)."""
        return self.dataset.load_image(self.rows[i])

    def ground_truth(self, i: int, /) -> GroundTruth:
        """Return the objects of photograph `i` of the part."""
        return self.dataset.ground_truth(self.rows[i])

    def ground_truths(self) -> GroundTruthTable:
        """Return the objects of the part in one table."""
        return self.dataset.ground_truths().of_images(self.rows)


@dataclass(frozen=True, eq=False)
class WithRemedy(Subset):
    """Some photographs of a data set, whose errors say what helps where one cannot be read.

    Args:
        remedy: To be put behind what is wrong, such as "--skip-broken leaves it out".
    """

    remedy: str

    def load_image(self, i: int, /) -> NDArray[np.uint8]:
        """Return photograph `i` of the part as uint8 RGB (H, W, 3).

        Raises:
            ImageError, DataFormatError: As the set does, with the remedy.
        """
        try:
            return super().load_image(i)
        except ImageError as error:
            raise ImageError(f"{error} ({self.remedy})") from error
        except DataFormatError as error:
            message = f"{error.message} ({self.remedy})"
            raise DataFormatError(message, path=error.path, place=error.place) from error


def without_unreadable(dataset: DetectionDataset, threads: int | None = None) -> tuple[DetectionDataset, list[str]]:
    """Return a data set without the photographs that cannot be read, and of each of these what is wrong with it.

    Every photograph is decoded once, several at a time; that takes a hundredth of a second each.

    Args:
        dataset: Any.
        threads: How many at a time; None: one per processor.
    """

    def fault(row: int) -> str | None:
        try:
            dataset.load_image(row)
        except (ImageError, DataFormatError) as error:
            return str(error)
        return None

    with ThreadPoolExecutor(threads or available_processors()) as pool:
        faults = list(pool.map(fault, range(len(dataset))))
    lines = [one for one in faults if one is not None]
    if not lines:
        return dataset, []
    return Subset(dataset, [row for row, one in enumerate(faults) if one is None]), lines


def photographs_in_both(dataset: DetectionDataset, others: Iterable[DetectionDataset]) -> list[Path]:
    """Return the photographs of a data set whose files are in others too, by path; no file is read.

    Args:
        dataset: Such as a part to validate on.
        others: Such as the parts that are learned from.
    """
    known = {os.path.abspath(other.path(row)) for other in others for row in range(len(other))}
    paths = [dataset.path(row) for row in range(len(dataset))]
    return [path for path in paths if os.path.abspath(path) in known]


def photograph_checksums(dataset: DetectionDataset) -> tuple[str, ...]:
    """Return the SHA-256 of each photograph's file as 64 hexadecimal digits; every file is read, several at a time.

    Raises:
        OSError: A file cannot be read.
    """
    return checksums_of([dataset.path(row) for row in range(len(dataset))])


def dataset_checksum(dataset: DetectionDataset, photographs: Sequence[str] | None = None) -> str:
    """Return the SHA-256 over all photographs' files and the objects in them, as 64 hexadecimal digits.

    What a training learns from: names and ids do not count, a photograph replaced under its name does.

    Args:
        dataset: The photographs, in an order that counts.
        photographs: What `photograph_checksums` returned for it; None: every file is read.

    Raises:
        OSError: A file cannot be read.
    """
    truth = dataset.ground_truths()
    files = photograph_checksums(dataset) if photographs is None else photographs
    digest = hashlib.sha256(json.dumps([len(truth.class_names), list(files), truth.sizes]).encode())
    for column, kind in ((truth.image, "<i8"), (truth.label, "<i8"), (truth.box, "<f8"), (truth.ignored, "u1")):
        digest.update(np.ascontiguousarray(column, kind).tobytes())
    return digest.hexdigest()


class ImageCache:
    """Photographs by number, for any thread; the least recently used ones are forgotten beyond `limit` bytes.

    Args:
        load: Number -> (H, W, 3) uint8.
        limit: Bytes of pixels to keep. Batches are drawn over all photographs; without this each would be decoded
            again for every region drawn from it.
    """

    def __init__(self, load: Callable[[int], NDArray[np.uint8]], limit: int = 2 * 2**30) -> None:
        self._load = load
        self._limit = limit
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Return the photograph of that number."""
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        image = self._load(index)  # by several threads at a time, now and then the same photograph
        with self._lock:
            if index not in self._kept:
                self._kept[index] = image
                self._bytes += image.nbytes
            while self._bytes > self._limit and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return image
