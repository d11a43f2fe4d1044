"""Proposals of a whole data set in one file that says how they were made; a run that is killed goes on where it was.

The file is in the safetensors format: `boxes` (N, 4) float32, `scores` (N,) float32 and `source` (N,) uint8 of all
images one after the other, `counts` (images,) int64, and a JSON description with the method's settings, this
package's version, and name and SHA-256 of every image. While it is being made, finished parts wait in a folder
beside it, `<name>.parts/`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from inception_rcnn.structures import DataFormatError, InputError, Proposals, sha256_of, write_whole
from inception_rcnn.structures.progress import ProgressBar

FORMAT_VERSION: Final = 1
IMAGES_PER_PART: Final = 64


class ImageSet(Protocol):
    """What is needed of a data set: the file behind each image, and its pixels."""

    def __len__(self) -> int:
        """How many images."""

    def path(self, index: int, /) -> Path:
        """The file of an image."""

    def load_image(self, index: int, /) -> npt.NDArray[np.uint8]:
        """Its pixels, (H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class StoredProposals:
    """Proposals by image file name, with the settings they were made with.

    Attributes:
        settings: the method and its parameters, as given to `compute_stored`.
        names: file names of the images, in order.
        checksums: SHA-256 of the image files, in the same order.
        proposals: in the same order.
    """

    settings: dict[str, Any]
    names: tuple[str, ...]
    checksums: tuple[str, ...]
    proposals: tuple[Proposals, ...]

    def __len__(self) -> int:
        """How many images."""
        return len(self.names)

    def for_images(self, names: Sequence[str]) -> list[Proposals]:
        """The proposals of the named images, in their order.

        Raises:
            InputError: an image is not in the file.
        """
        rows = {name: row for row, name in enumerate(self.names)}
        if lacking := [name for name in names if name not in rows]:
            raise InputError(f"the stored proposals lack {len(lacking)} of {len(names)} images, first {lacking[0]!r}")
        return [self.proposals[rows[name]] for name in names]


def compute_stored(
    path: str | Path,
    images: ImageSet,
    propose: Callable[[npt.NDArray[np.uint8]], Proposals],
    settings: Mapping[str, Any],
    *,
    bar: ProgressBar | None = None,
    threads: int | None = None,
) -> StoredProposals:
    """The proposals of every image of a set, read from `path` as far as they are there, computed and stored otherwise.

    Images whose files have changed since are computed again.

    Args:
        path: the file, *.safetensors.
        images: the set.
        propose: image -> proposals. It runs in several threads at once and should use one thread itself.
        settings: JSON values that describe `propose`; stored, and compared when a run is resumed.
        bar: advanced by one an image.
        threads: images at a time; by default one a core.
    Raises:
        InputError: the file, or its unfinished parts, were made with other settings or from other images; or the
            settings are not JSON values.
        DataFormatError: the file is damaged.
    """
    path = Path(path)
    settings = _as_json(settings)
    files = [images.path(index) for index in range(len(images))]
    names, checksums = tuple(file.name for file in files), tuple(sha256_of(file) for file in files)
    stored = _still_right(path, settings, names, checksums)
    if path.exists() and None not in stored:
        if bar is not None:
            bar.advance(len(images))
        return read_stored(path)

    def compute(row: int) -> Proposals:
        return propose(images.load_image(row))

    folder = path.with_name(path.name + ".parts")
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for start in range(0, len(images), IMAGES_PER_PART):
            rows = slice(start, start + IMAGES_PER_PART)
            part = folder / f"{start:08d}.safetensors"
            earlier = _still_right(part, settings, names[rows], checksums[rows])
            found = [old if one is None else one for one, old in zip(earlier, stored[rows], strict=True)]
            complete = _filled_in(found, start, compute, pool, bar)
            stored[rows] = complete
            if None in found:
                write_stored(part, StoredProposals(settings, names[rows], checksums[rows], tuple(complete)))
    write_stored(path, StoredProposals(settings, names, checksums, tuple(one for one in stored if one is not None)))
    shutil.rmtree(folder)
    return read_stored(path)


def _filled_in(
    found: Sequence[Proposals | None],
    start: int,
    compute: Callable[[int], Proposals],
    pool: ThreadPoolExecutor,
    bar: ProgressBar | None,
) -> list[Proposals]:
    """`found`, the proposals of image `start` and the following, with its gaps computed; counted on the bar."""
    computed = pool.map(compute, [row for row, one in enumerate(found, start) if one is None])
    complete = []
    for one in found:
        complete.append(next(computed) if one is None else one)
        if bar is not None:
            bar.advance(1)
    return complete


def write_stored(path: str | Path, stored: StoredProposals) -> None:
    """Writes the file, whole or not at all."""
    source_names = stored.proposals[0].source_names if stored.proposals else ("selective-search",)
    if any(one.source_names != source_names for one in stored.proposals):
        raise InputError("proposals of one file should all have the same source names")
    arrays = {
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *(one.boxes for one in stored.proposals)]),
        "scores": np.concatenate([np.zeros(0, np.float32), *(one.scores for one in stored.proposals)]),
        "source": np.concatenate([np.zeros(0, np.uint8), *(one.source for one in stored.proposals)]),
        "counts": np.array([len(one) for one in stored.proposals], dtype=np.int64),
    }
    description = {
        "format_version": FORMAT_VERSION,
        "settings": stored.settings,
        "names": stored.names,
        "sha256": stored.checksums,
        "source_names": source_names,
        "data_sha256": _digest(arrays),
    }
    write_whole(path, save(arrays, {"inception_rcnn_proposals": json.dumps(description)}))


def read_stored(path: str | Path) -> StoredProposals:
    """The proposals in a file, checked.

    Raises:
        DataFormatError: not such a file, damaged, or at odds with itself.
    """
    path = Path(path)
    try:
        with safe_open(path, "numpy") as file:
            text = (file.metadata() or {}).get("inception_rcnn_proposals")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        description = json.loads(text) if text else None
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise DataFormatError(f"cannot be read as stored proposals: {error}", path=path) from error
    if not isinstance(description, dict) or description.get("format_version") != FORMAT_VERSION:
        raise DataFormatError("is not a file of stored proposals, or of another version", path=path)
    if set(arrays) != {"boxes", "scores", "source", "counts"} or _digest(arrays) != description.get("data_sha256"):
        raise DataFormatError("is damaged: its data do not have the checksum its header names", path=path)
    try:
        return _assembled(description, arrays)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise DataFormatError(f"is at odds with itself: {error}", path=path) from error


def _assembled(description: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> StoredProposals:
    """The proposals of each image.

    Raises:
        InputError, KeyError, TypeError, ValueError: description and arrays do not fit each other.
    """
    counts = arrays["counts"]
    names, checksums = tuple(description["names"]), tuple(description["sha256"])
    if not len(counts) == len(names) == len(checksums) or counts.min(initial=0) < 0:
        raise InputError(f"{len(counts)} counts, {len(names)} names, {len(checksums)} checksums")
    if any(len(arrays[name]) != counts.sum() for name in ("boxes", "scores", "source")):
        raise InputError(f"the counts add up to {counts.sum()}, there are {len(arrays['boxes'])} boxes")
    sources = tuple(description["source_names"])
    parts = (slice(end - count, end) for end, count in zip(np.cumsum(counts), counts, strict=True))
    proposals = tuple(
        Proposals(arrays["boxes"][rows], arrays["scores"][rows], arrays["source"][rows], sources) for rows in parts
    )
    return StoredProposals(dict(description["settings"]), names, checksums, proposals)


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as a file will give them back."""
    try:
        return dict(json.loads(json.dumps(dict(settings), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise InputError(f"settings should be JSON values: {error}") from error


def _still_right(
    path: Path, settings: Mapping[str, Any], names: Sequence[str], checksums: Sequence[str]
) -> list[Proposals | None]:
    """What the file holds of each image, None where that has changed since; all None if there is no file."""
    if not path.exists():
        return [None] * len(names)
    stored = read_stored(path)
    _check_same(path, stored.settings, settings, stored.names, names)
    return [
        proposals if before == now else None
        for proposals, before, now in zip(stored.proposals, stored.checksums, checksums, strict=True)
    ]


def _check_same(
    path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any], their_names: Sequence[str], our_names: Sequence[str]
) -> None:
    for name in sorted(set(theirs) | set(ours)):
        if theirs.get(name) != ours.get(name):
            raise InputError(
                f"{path} was made with {name} = {theirs.get(name)!r}, now {ours.get(name)!r} is asked for; "
                f"use the old setting or another file"
            )
    if tuple(their_names) != tuple(our_names):
        raise InputError(
            f"{path} was made from {len(their_names)} other images than these {len(our_names)}; use another file"
        )


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
