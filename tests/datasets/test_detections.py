"""Detections in any format, told apart by what the file is."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inception_rcnn.datasets.detections import detection_format, known_classes, read_detections, write_detections
from inception_rcnn.datasets.detections.stored import StoredDetections, write_stored_detections
from inception_rcnn.structures import (
    DataFormatError,
    Detections,
    DetectionTable,
    GroundTruthTable,
    InputError,
    Proposals,
)

NAMES = ("sofa", "cat", "owl")


def truth(*ids: int | str) -> GroundTruthTable:
    """Images without objects."""
    none = np.zeros(0, int)
    return GroundTruthTable(NAMES, ids, none, none, np.zeros((0, 4)), category_ids=(3, 8, 20))


def found(*image: int) -> DetectionTable:
    count = len(image)
    box = np.arange(4 * count).reshape(-1, 4) % 7 + np.array([0, 0, 9.25, 9])
    return DetectionTable(np.array(image), np.arange(count) % 3, np.linspace(0.9, 0.1, count), box)


def keep(path: Path, *ids: int | str) -> None:
    """A stored file with one detection in each image: of the class "couch", 0.5."""
    one = Detections.ordered([[1, 2, 3, 4]], [0.5], [1], ("dog", "couch"))
    written = path.with_name("written.safetensors")
    write_stored_detections(
        written,
        StoredDetections(
            settings={},
            class_names=("dog", "couch"),
            runs=("",),
            image_ids=ids,
            checksums=("",) * len(ids),
            found=((one,),) * len(ids),
            proposals=(Proposals.empty(),) * len(ids),
        ),
    )
    written.rename(path)  # what a file is shows inside, whatever its name


def plain(table: DetectionTable) -> list[tuple[Any, ...]]:
    """The rows, sorted: VOC's files are by class."""
    columns = (table.image.tolist(), table.label.tolist(), table.score.tolist(), map(tuple, table.box.tolist()))
    return sorted(zip(*columns, strict=True))


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("ilsvrc", "a.txt"),
        ("ilsvrc", "a.txt.gz"),
        ("voc", "folder"),
        ("folder", "other"),
        ("coco", "a.json"),
        ("coco", "a.json.gz"),
    ],
)
def test_every_format_comes_back(format: str, name: str, tmp_path: Path) -> None:
    write_detections(tmp_path / name, found(2, 0, 1, 1, 0), truth(7, 40, 5), format)
    read = read_detections(tmp_path / name, truth(7, 40, 5), format)
    assert plain(read.detections) == plain(found(2, 0, 1, 1, 0)) and read.known is None


def test_formats_are_told_apart(tmp_path: Path) -> None:
    keep(tmp_path / "kept", 1)
    (tmp_path / "list").write_text("\ufeff \n [1]", encoding="utf-8")
    (tmp_path / "packed").write_bytes(gzip.compress(b"[]"))
    (tmp_path / "damaged").write_bytes(gzip.compress(b"[]")[:8])
    (tmp_path / "text").write_text("1 2 3")
    (tmp_path / "empty").write_text("")
    names = ("kept", "list", "packed", "text")
    formats = {name: detection_format(tmp_path / name, "ilsvrc", NAMES) for name in names}
    assert formats == {"kept": "stored", "list": "coco", "packed": "coco", "text": "ilsvrc"}
    assert detection_format(tmp_path, "coco", NAMES) == "voc"
    for name in ("damaged", "empty", "none"):
        assert detection_format(tmp_path / name, "coco", NAMES) == "coco"
        assert detection_format(tmp_path / name, "folder", NAMES) == "voc"


@pytest.mark.parametrize("usual", ["coco", "ilsvrc", "folder", "voc"])
@pytest.mark.parametrize("name", ["comp4_det_val_cat.txt", "found_cat.txt.gz"])
def test_a_text_named_after_a_class_is_read_as_voc_writes_it(name: str, usual: str, tmp_path: Path) -> None:
    text = b"7 0.5 1 2 10 20\n"
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert detection_format(tmp_path / name, usual, NAMES) == "voc"
    read = read_detections(tmp_path / name, truth(40, 7), usual).detections
    assert (read.image.tolist(), read.label.tolist(), read.box.tolist()) == ([1], [1], [[0, 1, 10, 20]])
    (tmp_path / "found_dogs.txt").write_text("7 1 0.5 1 2 10 20\n")
    if usual in ("ilsvrc", "coco"):
        assert detection_format(tmp_path / "found_dogs.txt", usual, NAMES) == usual


WRONG: dict[str, Callable[[Path], Any]] = {
    "a.txt, line 2: the image 40 is": lambda path: write_detections(
        path / "a.txt", found(0, 1), truth(7, 40), "ilsvrc"
    ),
    "a.txt/comp4_det_test_cat.txt, line 1: the image 40 is": lambda path: write_detections(
        path / "a.txt", found(0, 1), truth(7, 40), "voc"
    ),
    "a.txt, detection 2: the image 40 is": lambda path: write_detections(
        path / "a.txt", found(0, 1), truth(7, 40), "coco"
    ),
    "a.txt: the image 40 is": lambda path: keep(path / "a.txt", 7, 40),
}


@pytest.mark.parametrize("message", WRONG)
def test_detections_of_other_images_are_named_or_counted(message: str, tmp_path: Path) -> None:
    WRONG[message](tmp_path)
    with pytest.raises(DataFormatError, match=f"{message} not in the list of images .--skip-broken"):
        read_detections(tmp_path / "a.txt", truth(7), "ilsvrc")
    read = read_detections(tmp_path / "a.txt", truth(7), "ilsvrc", skip_unknown=True)
    assert (read.dropped, read.detections.image.tolist()) == (1, [0])


def test_stored_detections_are_matched_by_image_and_class(tmp_path: Path) -> None:
    keep(tmp_path / "a", "x", 40)
    read = read_detections(tmp_path / "a", truth(40, "x"), "voc")
    assert (read.detections.image.tolist(), read.detections.label.tolist()) == ([1, 0], [0, 0])
    assert read.known == {0}
    with pytest.raises(InputError, match="lacks 2 of the 3 images, such as 5; --image-list"):
        read_detections(tmp_path / "a", truth(5, "x", 7), "voc")


def test_a_detector_of_none_of_the_classes_is_refused() -> None:
    assert known_classes(["couch", "owl"], truth(1)) == {0, 2}
    assert known_classes(["meow"], replace(truth(1), display_names=("sofa", "meow", "owl"))) == {1}
    with pytest.raises(InputError, match=r"the detector's 1 classes .dog .* none of the data set's 3 .sofa, cat, owl"):
        known_classes(["dog"], truth(1))
