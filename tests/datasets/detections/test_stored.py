"""Detections in a self-describing file: written, read, put together, compared, checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inception_rcnn.datasets.detections.stored import (
    StoredDetections,
    is_stored_detections,
    read_stored_detections,
    write_stored_detections,
)
from inception_rcnn.structures import DataFormatError, Detections, InputError, Proposals
from inception_rcnn.structures.array_file import read_array_file, write_array_file

NAMES = ("cat", "dog", "owl")


def found(seed: int) -> Detections:
    """Up to four detections."""
    random = np.random.default_rng(seed)
    count = int(random.integers(5))
    return Detections.ordered(
        random.normal(0, 90, (count, 4)),
        random.random(count),
        random.integers(0, 3, count),
        NAMES,
        None if seed % 100 == 1 else (200 + seed % 100, 50),
    )


def proposed(seed: int) -> Proposals:
    """Up to two proposals from two sources."""
    random = np.random.default_rng(seed)
    count = seed % 3
    return Proposals.ordered(
        random.normal(0, 90, (count, 4)),
        random.random(count),
        random.integers(0, 2, count),
        ("selective-search", "multibox"),
        random.random(count),
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
        proposals=tuple(proposed(number) for number in numbers),
        seconds={"decode": 1.5, "network": 2.0},
    )


def plain(one: StoredDetections) -> Any:
    """Everything in it, to be compared."""
    proposals = [part for part in one.proposals if len(part)]
    assert {part.source_names for part in proposals} <= {("selective-search", "multibox")}
    return one.settings, one.class_names, one.runs, one.image_ids, one.checksums, one.found, proposals, one.seconds


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    for images in (0, 1, 5):
        write_stored_detections(tmp_path / "a.safetensors", stored(images))
        assert plain(read_stored_detections(tmp_path / "a.safetensors")) == plain(stored(images))
    assert is_stored_detections(tmp_path / "a.safetensors")
    assert not is_stored_detections(tmp_path) and not is_stored_detections(tmp_path / "none")


def test_older_files_do_not_know_sizes_and_an_image_has_one(tmp_path: Path) -> None:
    write_stored_detections(tmp_path / "a.safetensors", stored())
    file = read_array_file(tmp_path / "a.safetensors", "detections")
    old = {name: array for name, array in file.arrays.items() if name != "sizes"}
    write_array_file(tmp_path / "b.safetensors", "detections", file.description, old)
    read = read_stored_detections(tmp_path / "b.safetensors")
    assert read.found == tuple(tuple(replace(run, size=None) for run in runs) for runs in stored().found)
    assert {run.size for runs in read.found for run in runs} == {None}
    two = replace(stored(1), found=((found(2), found(3)),))
    with pytest.raises(InputError, match=r"should know the same size of it, got \{"):
        write_stored_detections(tmp_path / "c.safetensors", two)


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


@pytest.mark.parametrize(
    ("arrays", "change", "message"),
    [
        ({"scores": np.zeros(3, np.float32)}, {}, "is at odds with itself: the counts add up to"),
        ({"more": np.zeros(3, np.float32)}, {}, "is at odds with itself: it has the arrays"),
        ({"proposal_scores": np.zeros(3, np.float32)}, {}, "is at odds with itself: the counts add up to"),
        ({"proposal_counts": np.zeros(5, np.float32)}, {}, "is at odds with itself: counts should be whole numbers"),
        ({"sizes": np.ones((4, 2), np.int32)}, {}, "is at odds with itself: sizes should be int32 of shape"),
        ({"sizes": np.full((5, 2), -1, np.int32)}, {}, "is at odds with itself: size should be the image's width"),
        ({}, {"image_ids": [1]}, "is at odds with itself: 1 images, 5 checksums"),
        ({}, {"runs": ["all"]}, "is at odds with itself"),
        ({}, {"class_names": ["cat"]}, "is at odds with itself: labels should be in"),
        ({}, {"seconds": 5}, "is at odds with itself"),
        ({}, {"source_names": []}, "is at odds with itself: source_names"),
        ({}, {"source_names": [1, 2]}, "is at odds with itself: source_names should be texts"),
        ({}, {"image_ids": [1, 2, 3, 4, [5]]}, "is at odds with itself: image_ids should be whole numbers or texts"),
        ({}, {"image_ids": "abcde"}, "is at odds with itself: 'image_ids' should be a list, got 'abcde'"),
        ({}, {"class_names": ["cat", "dog", None]}, "is at odds with itself: class_names should be texts"),
        ({}, {"unread": [[{}, "is damaged"]]}, "is at odds with itself: unread should name images"),
    ],
)
def test_a_file_that_lies_is_refused(arrays: dict[str, Any], change: Any, message: str, tmp_path: Path) -> None:
    write_stored_detections(tmp_path / "a.safetensors", stored())
    file = read_array_file(tmp_path / "a.safetensors", "detections")
    write_array_file(tmp_path / "b.safetensors", "detections", file.description | change, file.arrays | arrays)
    with pytest.raises(DataFormatError, match=message):
        read_stored_detections(tmp_path / "b.safetensors")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_stored_detections(path, stored())
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DataFormatError, match="is damaged"):
        read_stored_detections(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="cannot be read: No such file"):
        read_stored_detections(tmp_path / "none")
    (tmp_path / "text").write_text("no tensors here")
    with pytest.raises(DataFormatError, match="is not a safetensors file"):
        read_stored_detections(tmp_path / "text")
    write_array_file(tmp_path / "a.safetensors", "proposals", {}, {})
    with pytest.raises(DataFormatError, match="is of kind 'proposals'; 'detections' is needed"):
        read_stored_detections(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="should hold JSON values only"):
        write_stored_detections(tmp_path / "b.safetensors", replace(stored(), settings={"a": {1, 2}}))


def test_proposals_without_objectness_and_images_without_proposals(tmp_path: Path) -> None:
    one = Proposals.ordered([[0, 0, 9, 9], [1, 1, 5, 5]], [0.25, 0.75])
    held = replace(stored(2), proposals=(one, Proposals.empty(("other",))))
    write_stored_detections(tmp_path / "a.safetensors", held)
    read = read_stored_detections(tmp_path / "a.safetensors").proposals
    assert [len(part) for part in read] == [2, 0] and read[0].objectness is None
    assert (read[0].scores.tolist(), read[0].source_names) == ([0.75, 0.25], ("selective-search",))
