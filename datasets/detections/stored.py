"""What a detector found in a data set, in one file that says how: which weights, settings and photographs.

The file is in the safetensors format. `boxes` (M, 4) float32, `scores` (M,) float32 and `labels` (M,) int32 are those
of all images one after the other, in an image those of each run: first all networks averaged, then perhaps each network
alone. `counts` (images, runs) int64 says how many. `regions` (R, 4) float32 and `region_counts` (images,) int64 are the
proposals that were classified, best first. A JSON description has the settings, the names of classes and runs, ids and
SHA-256 of the images, and the seconds it took.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from inception_rcnn.structures import DataFormatError, Detections, InputError, write_whole
from inception_rcnn.structures.detections import DetectionTable

FORMAT_VERSION: Final = 1
_KEY: Final = "inception_rcnn_detections"
_ARRAYS: Final = ("boxes", "counts", "labels", "region_counts", "regions", "scores")


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredDetections:
    """What was found in the images of a set, and how.

    Attributes:
        settings: JSON values that decide what is found: checksums of the weights, thresholds, proposals, ...
        class_names: The classes the detector knows.
        runs: What is in `found` for each image: the detector's answer, then perhaps those of its networks alone.
        image_ids: What the data set calls the images.
        checksums: SHA-256 of the photographs.
        found: For each image a `Detections` for each run.
        regions: For each image the proposals that were classified, (N, 4) float32, best first.
        seconds: By stage, over all images.
    """

    settings: dict[str, Any]
    class_names: tuple[str, ...]
    runs: tuple[str, ...]
    image_ids: tuple[int | str, ...]
    checksums: tuple[str, ...]
    found: tuple[tuple[Detections, ...], ...]
    regions: tuple[NDArray[np.float32], ...]
    seconds: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_ids)

    def table(self, labels: NDArray[np.int32], run: int = 0) -> DetectionTable:
        """Return the detections of a run, images in their order.

        Args:
            labels: (C,) the position of each of the detector's classes in another list of classes; those of a class
                with -1 are left out.
            run: Which one.
        """
        found = [one[run] for one in self.found]
        table = DetectionTable.from_detections(found, self.class_names)
        label = labels[table.label]
        return DetectionTable(table.image, np.maximum(label, 0), table.score, table.box)[label >= 0]

    def check_same(self, other: StoredDetections, path: Path) -> None:
        """Return nothing if this, read from `path`, was made as `other` is asked for.

        Raises:
            InputError: A setting, the runs, the classes, or the images differ.
        """
        ours = {**other.settings, "classes": list(other.class_names), "runs": list(other.runs)}
        theirs = {**self.settings, "classes": list(self.class_names), "runs": list(self.runs)}
        for name in sorted(set(theirs) | set(ours)):
            if theirs.get(name) != ours.get(name):
                raise InputError(
                    f"{path} was made with {name} = {theirs.get(name)!r:.300}, now {ours.get(name)!r:.300} is asked "
                    "for; use the old setting or another file"
                )
        if self.image_ids != other.image_ids:
            raise InputError(f"{path} was made from {len(self)} other images than these {len(other)}; use another file")

    @classmethod
    def joined(cls, parts: Sequence[StoredDetections]) -> StoredDetections:
        """Return the images of all parts, at least one, as one set; settings are those of the first."""
        first = parts[0]
        seconds: dict[str, float] = {}
        for part in parts:
            for stage, spent in part.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
        return cls(
            settings=first.settings,
            class_names=first.class_names,
            runs=first.runs,
            image_ids=tuple(image_id for part in parts for image_id in part.image_ids),
            checksums=tuple(checksum for part in parts for checksum in part.checksums),
            found=tuple(found for part in parts for found in part.found),
            regions=tuple(regions for part in parts for regions in part.regions),
            seconds=seconds,
        )


def is_stored_detections(path: str | os.PathLike[str]) -> bool:
    """Return whether a file looks like one of stored detections; false if there is none."""
    if not Path(path).is_file():
        return False
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"  # eight bytes of length before the header: no text begins so


def write_stored_detections(path: str | os.PathLike[str], stored: StoredDetections) -> None:
    """Write the file, whole or not at all.

    Raises:
        InputError: The folder does not exist, or the settings are no JSON values.
    """
    flat = [run for found in stored.found for run in found]
    arrays: dict[str, NDArray[Any]] = {
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *(one.boxes for one in flat)]),
        "scores": np.concatenate([np.zeros(0, np.float32), *(one.scores for one in flat)]),
        "labels": np.concatenate([np.zeros(0, np.int32), *(one.labels.astype(np.int32) for one in flat)]),
        "counts": np.array([len(one) for one in flat], np.int64).reshape(len(stored), len(stored.runs)),
        "regions": np.concatenate([np.zeros((0, 4), np.float32), *stored.regions]),
        "region_counts": np.array([len(one) for one in stored.regions], np.int64),
    }
    description = {
        "format_version": FORMAT_VERSION,
        "settings": stored.settings,
        "class_names": stored.class_names,
        "runs": stored.runs,
        "image_ids": stored.image_ids,
        "sha256": stored.checksums,
        "seconds": stored.seconds,
        "data_sha256": _digest(arrays),
    }
    try:
        text = json.dumps(description, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"settings should be JSON values: {error}") from error
    write_whole(path, save(arrays, {_KEY: text}))


def read_stored_detections(path: str | os.PathLike[str]) -> StoredDetections:
    """Return the content of a file, checked.

    Raises:
        InputError: There is no such file.
        DataFormatError: It is no such file, damaged, or at odds with itself.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}")
    try:
        with safe_open(path, "numpy") as file:
            text = (file.metadata() or {}).get(_KEY)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        description = json.loads(text) if text else None
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise DataFormatError(f"cannot be read as stored detections: {error}", path=path) from error
    if not isinstance(description, dict) or description.get("format_version") != FORMAT_VERSION:
        raise DataFormatError("is not a file of stored detections, or of another version", path=path)
    if sorted(arrays) != sorted(_ARRAYS) or _digest(arrays) != description.get("data_sha256"):
        raise DataFormatError("is damaged: its data do not have the checksum its header names", path=path)
    try:
        return _assembled(description, arrays)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise DataFormatError(f"is at odds with itself: {error}", path=path) from error


def _assembled(description: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> StoredDetections:
    """Return what description and arrays say.

    Raises:
        InputError, KeyError, TypeError, ValueError: They do not fit each other.
    """
    names, runs = tuple(description["class_names"]), tuple(description["runs"])
    ids, checksums = tuple(description["image_ids"]), tuple(description["sha256"])
    counts, region_counts = arrays["counts"], arrays["region_counts"]
    if counts.shape != (len(ids), len(runs)) or not len(region_counts) == len(checksums) == len(ids):
        raise InputError(f"{len(ids)} images, {len(checksums)} checksums, counts {counts.shape}")
    if min(counts.min(initial=0), region_counts.min(initial=0)) < 0 or region_counts.sum() != len(arrays["regions"]):
        raise InputError(f"the counts add up to {region_counts.sum()}, there are {len(arrays['regions'])} regions")
    if any(len(arrays[name]) != counts.sum() for name in ("boxes", "scores", "labels")):
        raise InputError(f"the counts add up to {counts.sum()}, there are {len(arrays['boxes'])} boxes")
    parts = iter(
        Detections(arrays["boxes"][rows], arrays["scores"][rows], arrays["labels"][rows], names)
        for rows in _slices(counts.ravel())
    )
    return StoredDetections(
        settings=dict(description["settings"]),
        class_names=names,
        runs=runs,
        image_ids=ids,
        checksums=checksums,
        found=tuple(tuple(next(parts) for _ in runs) for _ in ids),
        regions=tuple(arrays["regions"][rows] for rows in _slices(region_counts)),
        seconds={stage: float(spent) for stage, spent in dict(description["seconds"]).items()},
    )


def _slices(counts: NDArray[np.int64]) -> list[slice]:
    ends = np.cumsum(counts).tolist()
    return [slice(end - count, end) for end, count in zip(ends, counts.tolist(), strict=True)]


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
