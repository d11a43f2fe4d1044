"""The choice of a reader by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from inception_rcnn.datasets import (
    FORMATS,
    CocoDataset,
    FolderDataset,
    IlsvrcDetDataset,
    VocDataset,
    open_dataset,
    write_coco,
    write_folder,
    write_ilsvrc,
    write_voc,
)
from inception_rcnn.structures import DataFormatError, InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One photograph in every format's layout, in a folder named after the format."""
    (tmp_path / "plain").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "plain" / "a.png")
    plain = FolderDataset(tmp_path / "plain")
    write_coco(plain, tmp_path / "coco", "val")
    write_voc(plain, tmp_path / "voc", "val")
    write_ilsvrc(plain, tmp_path / "ilsvrc", "val")
    write_folder(plain, tmp_path / "folder", "val")
    return tmp_path


@pytest.mark.parametrize(
    ("format", "reader"),
    [("coco", CocoDataset), ("voc", VocDataset), ("ilsvrc", IlsvrcDetDataset), ("folder", FolderDataset)],
)
def test_every_format_has_its_reader(format: str, reader: type, root: Path) -> None:
    dataset = open_dataset(format, root / format, "val")
    assert type(dataset) is reader
    assert (list(dataset.image_ids), dataset.skipped, dataset.path(0).name) == (["a"], 0, "a.png")
    assert format in FORMATS


def test_the_choice_to_skip_reaches_the_reader(root: Path) -> None:
    (root / "folder" / "val" / "a.xml").write_text("<annotation>")
    with pytest.raises(DataFormatError):
        open_dataset("folder", root / "folder", "val")
    assert open_dataset("folder", root / "folder", "val", skip_broken=True).skipped == 1


def test_the_only_split_need_not_be_named(root: Path) -> None:
    assert len(open_dataset("folder", root / "folder" / "val", None)) == 1
    for format in ("coco", "voc", "ilsvrc"):
        assert open_dataset(format, root / format, None).split == "val"  # the only one


def test_an_unknown_format_is_named_with_the_known_ones(root: Path) -> None:
    with pytest.raises(InputError, match="format 'pascal' is unknown; known: coco, voc, ilsvrc, yolo, folder"):
        open_dataset("pascal", root, "val")
