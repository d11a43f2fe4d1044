"""Proposals of whole data sets: computed on all cores, or taken from a file that was stored before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inception_rcnn.proposals.search.selective_search import available_processors
from inception_rcnn.proposals.stored import ImageSet, compute_stored, read_stored
from inception_rcnn.structures import InputError, ProgressBar, Proposals, sha256_of

Propose = Callable[[npt.NDArray[np.uint8]], Proposals]


class FirstImages:
    """The first images of a set, as a set.

    Args:
        images: The set.
        count: How many; None, or more than there are, for all.
    """

    def __init__(self, images: ImageSet, count: int | None = None) -> None:
        self._images = images
        self._count = len(images) if count is None else min(count, len(images))

    def __len__(self) -> int:
        """How many images."""
        return self._count

    def path(self, index: int, /) -> Path:
        """The file of an image."""
        return self._images.path(range(self._count)[index])

    def load_image(self, index: int, /) -> npt.NDArray[np.uint8]:
        """Its pixels, (H, W, 3) uint8 RGB."""
        return self._images.load_image(range(self._count)[index])


class TimedProposer:
    """A way to propose whose calls are counted, with the time from the first one's start to the last one's end.

    Args:
        propose: image -> proposals.

    >>> timed = TimedProposer(lambda image: Proposals.empty())
    >>> timed.seconds_per_image() is None, len(timed(np.zeros((4, 4, 3), np.uint8))), timed.calls
    (True, 0, 1)
    """

    def __init__(self, propose: Propose) -> None:
        self.calls = 0
        self._propose = propose
        self._lock = threading.Lock()
        self._start = self._end = 0.0

    def __call__(self, image: npt.NDArray[np.uint8]) -> Proposals:
        """The proposals of an image."""
        start = time.perf_counter()
        found = self._propose(image)
        end = time.perf_counter()
        with self._lock:
            self._start = min(self._start, start) if self.calls else start
            self._end = max(self._end, end)
            self.calls += 1
        return found

    def seconds_per_image(self) -> float | None:
        """Wall-clock time over number of images, reading all but the first included; None before the first call."""
        return (self._end - self._start) / self.calls if self.calls else None


def propose_for_images(
    images: ImageSet,
    propose: Propose,
    path: Path | None,
    settings: Mapping[str, Any],
    *,
    bar: ProgressBar,
    threads: int | None = None,
) -> Sequence[Proposals]:
    """The proposals of every image of a set, several images at a time.

    Args:
        images: The set.
        propose: image -> proposals, itself on one thread.
        path: A file to store them in, and to take from it what is there already; None to hold them only.
        settings: What the file says of how they were made.
        bar: Advanced by one an image.
        threads: Images at a time; by default one a core.

    Raises:
        InputError: The file was made with other settings or from other images.
        DataFormatError: The file is damaged.
    """
    workers = threads or available_processors()
    if path is not None:
        return compute_stored(path, images, propose, settings, bar=bar, threads=workers).proposals
    found = []
    with ThreadPoolExecutor(workers) as pool:
        for one in pool.map(lambda index: propose(images.load_image(index)), range(len(images))):
            found.append(one)
            bar.advance(1)
    return found


def proposals_from_file(path: str | Path, images: ImageSet) -> list[Proposals]:
    """The stored proposals of every image of a set, in its order, instead of a live call; the file may hold others too.

    Raises:
        InputError: An image is not in the file, or was another one when its proposals were stored.
        DataFormatError: The file is damaged, or no such file.
    """
    stored = read_stored(path)
    files = [images.path(index) for index in range(len(images))]
    found = stored.for_images([file.name for file in files])
    checksums = dict(zip(stored.names, stored.checksums, strict=True))
    for file in files:
        if sha256_of(file) != checksums[file.name]:
            raise InputError(f"{file} has changed since its proposals were stored in {path}; make them again")
    return found
