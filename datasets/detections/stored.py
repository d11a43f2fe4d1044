"""What a detector found in a data set, in one file that says how: which weights, settings and images.

The file is an array file of kind "detections". `boxes` (M, 4) float32, `scores` (M,) float32 and `labels` (M,) int32
are those of all images one after the other, in an image those of each run: first all networks averaged, then perhaps
each network alone. `counts` (images, runs) int64 says how many. The proposals that were classified, best first, are
`proposal_boxes`, `proposal_scores`, `proposal_source`, perhaps `proposal_objectness`, and `proposal_counts`; see
`proposals_to_arrays`. `sizes` (images, 2) int32 are the images' widths and heights, 0 where unknown; older files have
none. The description has the settings, the names of classes and runs, ids and SHA-256 of the images, and the seconds it
took.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import DataFormatError, Detections, InputError, Proposals
from inception_rcnn.structures.array_file import ArrayFile, read_array_file, write_array_file
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.jobs import check_same_settings
from inception_rcnn.structures.proposals import proposals_from_arrays, proposals_to_arrays

KIND: Final = "detections"
_OF_PROPOSALS: Final = "proposal_"


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredDetections:
    """What was found in the images of a set, and how.

    Attributes:
        settings: JSON values that decide what is found: checksums of the weights, thresholds, proposals, ...
        class_names: The classes the detector knows.
        runs: What is in `found` for each image: the detector's answer, then perhaps those of its networks alone.
        image_ids: What the data set calls the images.
        checksums: SHA-256 of the images.
        found: For each image a `Detections` for each run.
        proposals: For each image those that were classified, best first.
        seconds: By stage, over all images.
        unread: Of each photograph that could not be read its id, and what is wrong with it; nothing was found there.
    """

    settings: dict[str, Any]
    class_names: tuple[str, ...]
    runs: tuple[str, ...]
    image_ids: tuple[int | str, ...]
    checksums: tuple[str, ...]
    found: tuple[tuple[Detections, ...], ...]
    proposals: tuple[Proposals, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    unread: tuple[tuple[int | str, str], ...] = ()

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
        """Raise unless this, read from `path`, was made as `other` is asked for.

        Raises:
            InputError: A setting, the runs, the classes, or the images differ.
        """
        check_same_settings(
            path,
            {**self.settings, "classes": list(self.class_names), "runs": list(self.runs)},
            {**other.settings, "classes": list(other.class_names), "runs": list(other.runs)},
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
            proposals=tuple(proposals for part in parts for proposals in part.proposals),
            seconds=seconds,
            unread=tuple(one for part in parts for one in part.unread),
        )

    def of_images(self, rows: Sequence[int]) -> StoredDetections:
        """Return what was found in some of the images, in the order asked for."""
        ids = tuple(self.image_ids[row] for row in rows)
        return replace(
            self,
            image_ids=ids,
            checksums=tuple(self.checksums[row] for row in rows),
            found=tuple(self.found[row] for row in rows),
            proposals=tuple(self.proposals[row] for row in rows),
            unread=tuple(one for one in self.unread if one[0] in ids),
        )


def is_stored_detections(path: str | os.PathLike[str]) -> bool:
    """Return whether a file looks like an array file; false if there is none."""
    if not Path(path).is_file():
        return False
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"  # eight bytes of length before the header: no text begins so


def write_stored_detections(path: str | os.PathLike[str], stored: StoredDetections) -> None:
    """Write the file, ``*.safetensors``, whole or not at all.

    Raises:
        InputError: The folder does not exist, the name has another ending, the settings are no JSON values, an image
            has two sizes, or some images' proposals have other sources than those of the rest.
    """
    flat = [run for found in stored.found for run in found]
    proposals, source_names = proposals_to_arrays(stored.proposals)
    arrays: dict[str, NDArray[Any]] = {
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *(one.boxes for one in flat)]),
        "scores": np.concatenate([np.zeros(0, np.float32), *(one.scores for one in flat)]),
        "labels": np.concatenate([np.zeros(0, np.int32), *(one.labels.astype(np.int32) for one in flat)]),
        "counts": np.array([len(one) for one in flat], np.int64).reshape(len(stored), len(stored.runs)),
        "sizes": np.array([_common_size(found) or (0, 0) for found in stored.found], np.int32).reshape(-1, 2),
        **{_OF_PROPOSALS + name: array for name, array in proposals.items()},
    }
    description = {
        "settings": stored.settings,
        "class_names": stored.class_names,
        "runs": stored.runs,
        "image_ids": stored.image_ids,
        "sha256": stored.checksums,
        "source_names": source_names,
        "seconds": stored.seconds,
        "unread": [list(one) for one in stored.unread],
    }
    write_array_file(path, KIND, description, arrays)


def _common_size(found: Sequence[Detections]) -> tuple[int, int] | None:
    """Return the size that all runs say an image has; None if they do not know.

    Raises:
        InputError: They say different ones.
    """
    sizes = {one.size for one in found}
    if len(sizes) > 1:
        raise InputError(f"all runs over an image should know the same size of it, got {sizes}")
    return next(iter(sizes), None)


def read_stored_detections(path: str | os.PathLike[str]) -> StoredDetections:
    """Return the content of a file, checked.

    Raises:
        DataFormatError: There is no such file, or it is another one, damaged, or at odds with itself.
    """
    file = read_array_file(path, KIND)
    try:
        return _assembled(file)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise DataFormatError(f"is at odds with itself: {error}", path=path) from error


def _assembled(file: ArrayFile) -> StoredDetections:
    """Return what description and arrays say.

    Raises:
        InputError, KeyError, TypeError, ValueError: They do not fit each other.
    """
    arrays, known = file.arrays, file.description
    names, runs = file.texts("class_names"), file.texts("runs")
    ids, checksums = file.image_ids(), file.texts("sha256")
    own = {name: array for name, array in arrays.items() if not name.startswith(_OF_PROPOSALS)}
    of_proposals = {name.removeprefix(_OF_PROPOSALS): arrays[name] for name in arrays.keys() - own.keys()}
    proposals = proposals_from_arrays(of_proposals, file.texts("source_names"))
    sizes = own.pop("sizes", np.zeros((len(ids), 2), np.int32))
    if own.keys() != {"boxes", "scores", "labels", "counts"}:
        raise InputError(f"it has the arrays {', '.join(sorted(arrays))}")
    counts = own["counts"]
    if counts.shape != (len(ids), len(runs)) or not len(proposals) == len(checksums) == len(ids):
        raise InputError(
            f"{len(ids)} images, {len(checksums)} checksums, proposals of {len(proposals)}, counts {counts.shape}"
        )
    if sizes.shape != (len(ids), 2) or sizes.dtype != np.int32:
        raise InputError(f"sizes should be int32 of shape ({len(ids)}, 2), got {sizes.dtype} {sizes.shape}")
    if counts.min(initial=0) < 0 or any(len(own[name]) != counts.sum() for name in ("boxes", "scores", "labels")):
        raise InputError(f"the counts add up to {counts.sum()}, there are {len(own['boxes'])} boxes")
    slices = (slice(end - count, end) for end, count in zip(np.cumsum(counts), counts.ravel(), strict=True))
    known_sizes = [tuple(size) if any(size) else None for size in sizes.tolist() for _ in runs]
    parts = iter(
        [
            Detections(own["boxes"][rows], own["scores"][rows], own["labels"][rows], names, size)
            for rows, size in zip(slices, known_sizes, strict=True)
        ]
    )
    return StoredDetections(
        settings=dict(known["settings"]),
        class_names=names,
        runs=runs,
        image_ids=ids,
        checksums=checksums,
        found=tuple(tuple(next(parts) for _ in runs) for _ in ids),
        proposals=proposals,
        seconds={stage: float(spent) for stage, spent in dict(known["seconds"]).items()},
        unread=tuple(_unread(one) for one in known.get("unread", ())),  # older files have none
    )


def _unread(entry: Any) -> tuple[int | str, str]:
    image_id, reason = entry
    if type(image_id) not in (int, str):
        raise InputError(f"unread should name images, got {image_id!r:.60}")
    return image_id, str(reason)
