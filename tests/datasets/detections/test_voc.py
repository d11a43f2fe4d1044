"""VOC's files of detections: what is read is what was written, and what is wrong is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from detection_tables import table

from inception_rcnn.datasets.detections.voc import read_voc_detections, write_voc_detections
from inception_rcnn.structures import DataFormatError, InputError

NAMES = ("cat", "big_cat", "dog")


def text(folder: Path, content: str) -> Path:
    path = folder / "comp4_cat.txt"
    path.write_text(content)
    return path


def test_voc_comes_back_class_by_class(tmp_path: Path) -> None:
    ids = ["000005", "2008_000001", "x", 17]
    write_voc_detections(tmp_path, table(), ids, NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"comp4_det_test_{name}.txt" for name in sorted(NAMES)]
    expected = table()
    read = read_voc_detections(tmp_path, ids, NAMES).detections
    order = np.argsort(expected.label, kind="stable")
    assert read.label.tolist() == expected.label[order].tolist()
    assert read.image.tolist() == expected.image[order].tolist()
    assert read.score.tolist() == expected.score[order].tolist()
    assert np.abs(read.box - expected.box[order]).max() < 1e-12


def test_voc_counts_pixels_from_1_inclusive(tmp_path: Path) -> None:
    path = text(tmp_path, "000005 0.25 1 2 10 20\n")
    found = read_voc_detections(path, ["000005"], NAMES).detections
    assert (found.box.tolist(), found.label.tolist()) == ([[0, 1, 10, 20]], [0])


def test_voc_files_are_found_by_class(tmp_path: Path) -> None:
    (tmp_path / "det_big_cat.txt.gz").write_bytes(gzip.compress(b"a 0.5 1 1 2 2\n"))
    (tmp_path / "notes.md").write_text("no results")
    assert read_voc_detections(tmp_path, ["a"], NAMES).detections.label.tolist() == [1]
    (tmp_path / "other_big_cat.txt").write_text("")
    with pytest.raises(InputError, match="two files for the class 'big_cat'"):
        read_voc_detections(tmp_path, ["a"], NAMES)
    with pytest.raises(InputError, match="holds no results"):
        read_voc_detections(tmp_path, ["a"], ("horse",))
    with pytest.raises(InputError, match="no file or folder"):
        read_voc_detections(tmp_path / "none", ["a"], NAMES)


def test_a_wrong_line_of_voc_is_named(tmp_path: Path) -> None:
    path = text(tmp_path, "a 0.5 1 1 2 2\nb 0.5 1 1 2 2\n")
    with pytest.raises(DataFormatError, match=r"comp4_cat\.txt, line 2: the image b is not in the list"):
        read_voc_detections(path, ["a"], NAMES)
    assert read_voc_detections(path, ["a"], NAMES, skip_unknown=True).dropped == 1
    with pytest.raises(DataFormatError, match="line 1: should have 6 words"):
        read_voc_detections(text(tmp_path, "a b 0.5 1 1 2 2\n"), ["a"], NAMES)
    with pytest.raises(InputError, match="without spaces"):
        write_voc_detections(tmp_path, table(), ["a b"], NAMES)


def test_no_detections_at_all(tmp_path: Path) -> None:
    assert len(read_voc_detections(text(tmp_path, ""), [7], NAMES).detections) == 0
