"""Detections in a self-describing file: written, read, put together, compared, checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from inception_rcnn.datasets.detections.stored import (
    StoredDetections,
    is_stored_detections,
    read_stored_detections,
    write_stored_detections,
)
from inception_rcnn.structures import DataFormatError, Detections, InputError

NAMES = ("cat", "dog", "owl")
KEY = "inception_rcnn_detections"


def found(seed: int) -> Detections:
    """Up to four detections."""
    random = np.random.default_rng(seed)
    count = int(random.integers(5))
    return Detections.ordered(
        random.normal(0, 90, (count, 4)), random.random(count), random.integers(0, 3, count), NAMES
    )


def stored(images: int = 5, first: int = 0) -> StoredDetections:
    """Two runs over some images."""
    numbers = range(first, first + images)
    return StoredDetections(
        settings={"weights": ["abc"], "limit": None},
        class_names=NAMES,
        runs=("all", "one"),
        image_ids=tuple(number if number % 2 else f"i{number}" for number in numbers),
        checksums=tuple(f"sum{number}" for number in numbers),
        found=tuple((found(number), found(number + 100)) for number in numbers),
        regions=tuple(np.full((number % 3, 4), number, np.float32) for number in numbers),
        seconds={"decode": 1.5, "network": 2.0},
    )


def plain(one: StoredDetections) -> Any:
    """Everything in it, to be compared."""
    boxes = [[(run.boxes.tolist(), run.scores.tolist(), run.labels.tolist()) for run in runs] for runs in one.found]
    regions = [regions.tolist() for regions in one.regions]
    return one.settings, one.class_names, one.runs, one.image_ids, one.checksums, boxes, regions, one.seconds


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    for images in (0, 1, 5):
        write_stored_detections(tmp_path / "a.safetensors", stored(images))
        assert plain(read_stored_detections(tmp_path / "a.safetensors")) == plain(stored(images))
    assert is_stored_detections(tmp_path / "a.safetensors")
    assert not is_stored_detections(tmp_path) and not is_stored_detections(tmp_path / "none")


def test_parts_make_the_whole() -> None:
    joined = StoredDetections.joined([stored(2), stored(0, 2), stored(3, 2)])
    assert plain(joined)[:-1] == plain(stored(5))[:-1]
    assert joined.seconds == {"decode": 4.5, "network": 6.0}


def test_a_table_has_the_labels_of_another_list_of_classes() -> None:
    one = stored()
    table = one.table(np.array([7, -1, 3], np.int32), run=1)
    expected = [
        (image, [7, -1, 3][label], float(score), box.tolist())
        for image, (_, run) in enumerate(one.found)
        for box, score, label in zip(run.boxes, run.scores, run.labels, strict=True)
        if label != 1
    ]
    rows = zip(table.image.tolist(), table.label.tolist(), table.score.tolist(), table.box.tolist(), strict=True)
    assert list(rows) == expected and len(expected) > 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"weights": ["abd"], "limit": None}}, r"made with weights = \['abc'\], now \['abd'\] is asked"),
        ({"settings": {"weights": ["abc"], "limit": None, "new": 1}}, "made with new = None, now 1 is asked"),
        ({"runs": ("all",)}, "made with runs"),
        ({"class_names": ("cat",)}, "made with classes"),
        ({"image_ids": (1, 2)}, "made from 5 other images"),
    ],
)
def test_another_run_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    stored().check_same(stored(), tmp_path)
    with pytest.raises(InputError, match=message):
        stored().check_same(replace(stored(), **change), tmp_path)


def rewritten(path: Path, arrays: dict[str, Any] | None = None, **change: Any) -> Path:
    """The file with something changed behind its back."""
    with safe_open(path, "numpy") as file:
        old = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        description = json.loads(file.metadata()[KEY])
    new = path.with_name("changed.safetensors")
    new.write_bytes(safetensors.numpy.save(old | (arrays or {}), {KEY: json.dumps(description | change)}))
    return new


@pytest.mark.parametrize(
    ("arrays", "change", "message"),
    [
        ({"scores": np.zeros(3, np.float32)}, {}, "is damaged"),
        ({"more": np.zeros(3, np.float32)}, {}, "is damaged"),
        ({}, {"format_version": 2}, "another version"),
        ({}, {"image_ids": [1]}, "is at odds with itself: 1 images, 5 checksums"),
        ({}, {"runs": ["all"]}, "is at odds with itself"),
        ({}, {"class_names": ["cat"]}, "is at odds with itself: labels should be in"),
        ({}, {"seconds": 5}, "is at odds with itself"),
    ],
)
def test_a_file_that_lies_is_refused(arrays: dict[str, Any], change: Any, message: str, tmp_path: Path) -> None:
    write_stored_detections(tmp_path / "a.safetensors", stored())
    with pytest.raises(DataFormatError, match=message):
        read_stored_detections(rewritten(tmp_path / "a.safetensors", arrays, **change))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_stored_detections(tmp_path / "none")
    (tmp_path / "text").write_text("no tensors here")
    with pytest.raises(DataFormatError, match="cannot be read as stored detections"):
        read_stored_detections(tmp_path / "text")
    (tmp_path / "plain").write_bytes(safetensors.numpy.save({"a": np.zeros(2)}))
    with pytest.raises(DataFormatError, match="is not a file of stored detections"):
        read_stored_detections(tmp_path / "plain")
    with pytest.raises(InputError, match="settings should be JSON values"):
        write_stored_detections(tmp_path / "b", replace(stored(), settings={"a": {1, 2}}))
