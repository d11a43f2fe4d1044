"""A folder of photographs: which files count, whose truth is whose, and what is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from inception_rcnn.datasets import FolderDataset
from inception_rcnn.structures import DataFormatError, InputError

FRUIT3 = Path(__file__).resolve().parents[3] / "shared" / "data" / "fruit3"
needs_fruit3 = pytest.mark.skipif(not FRUIT3.is_dir(), reason="the photographs of ../shared are not here")


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20)).save(path)


def truth(path: Path, *names: str) -> None:
    """Write an annotation with a box 1 2 10 20 (pixels from 1) for each name."""
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>"
    objects = "".join(f"<object><name>{name}</name>{box}</object>" for name in names)
    path.write_text(f"<annotation><size><width>40</width><height>20</height></size>{objects}</annotation>")


def test_photographs_without_any_truth(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.webp", ".hidden.png", ".hidden/d.png"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a photograph")
    dataset = FolderDataset(tmp_path)
    assert (list(dataset.image_ids), dataset.class_names, dataset.has_truth) == (["a", "b", "c"], (), False)
    image, found = dataset[1]
    assert (image.shape, len(found), found.width, dataset.path(1).name) == ((20, 40, 3), 0, None, "b.PNG")


def test_truth_lies_beside_its_photograph(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.jpg")
    truth(tmp_path / "b.xml", "pear", "apple")
    dataset = FolderDataset(tmp_path)
    assert (dataset.has_truth, dataset.class_names) == (True, ("apple", "pear"))
    assert (len(dataset.ground_truth(0)), dataset.ground_truth(1).names()) == (0, ["pear", "apple"])
    assert dataset.ground_truth(1).boxes.tolist() == [[0, 1, 10, 20]] * 2


def test_splits_are_folders_and_share_their_classes(tmp_path: Path) -> None:
    for split, name in (("train", "pear"), ("test", "apple")):
        picture(tmp_path / split / "1.jpg")
        truth(tmp_path / split / "1.xml", name)
    train, test = FolderDataset(tmp_path, "train"), FolderDataset(str(tmp_path), "test")
    assert train.class_names == test.class_names == ("apple", "pear")
    assert (train.path(0), test.path(0)) == (tmp_path / "train" / "1.jpg", tmp_path / "test" / "1.jpg")
    with pytest.raises(InputError, match=r"no photographs for split 'val': there is no folder .*val; there are test"):
        FolderDataset(tmp_path, "val")


def test_a_split_that_is_not_there_is_never_another_one(tmp_path: Path) -> None:
    picture(tmp_path / "1.jpg")
    with pytest.raises(InputError, match=r"split 'val': .*; there are no folders; for the photographs in .* itself"):
        FolderDataset(tmp_path, "val")
    picture(tmp_path / "valid" / "2.jpg")
    with pytest.raises(InputError, match=r"there are valid; did you mean 'valid'\?"):
        FolderDataset(tmp_path, "val")


def test_a_list_of_classes_is_final(tmp_path: Path) -> None:
    picture(tmp_path / "test" / "1.jpg")
    truth(tmp_path / "test" / "1.xml", "pear")
    (tmp_path / "classes.txt").write_text("quince\npear\n")
    assert FolderDataset(tmp_path, "test").class_names == ("quince", "pear")
    (tmp_path / "classes.txt").write_text("quince\n")
    with pytest.raises(DataFormatError, match=r"1\.xml, object 1 \(pear\): its class is none of the 1 classes"):
        FolderDataset(tmp_path, "test")


def test_an_annotation_is_of_one_photograph(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.png"):
        picture(tmp_path / name)
    truth(tmp_path / "a.xml", "pear")
    with pytest.raises(DataFormatError, match=r"a\.xml: 2 photographs may be meant: .*a\.jpg, .*a\.png; name one"):
        FolderDataset(tmp_path)
    text = (tmp_path / "a.xml").read_text()
    (tmp_path / "a.xml").write_text(text.replace("<size>", "<filename>a.png</filename><size>"))
    dataset = FolderDataset(tmp_path)
    assert list(dataset.image_ids) == ["a.jpg", "a.png", "b"]
    assert [len(dataset.ground_truth(i)) for i in range(3)] == [0, 1, 0]
    (tmp_path / "a.xml").write_text(text)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    dataset = FolderDataset(tmp_path)  # only one has the size that the annotation gives
    assert [len(dataset.ground_truth(i)) for i in range(3)] == [1, 0, 0]


def test_a_truth_without_photograph_is_named_or_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    truth(tmp_path / "b.xml", "pear")
    with pytest.raises(DataFormatError, match=r"b\.xml: there is no photograph of that name beside it"):
        FolderDataset(tmp_path)
    assert FolderDataset(tmp_path, skip_broken=True).skipped == 1


def test_a_broken_truth_is_named_or_left_out_with_its_photograph(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.jpg")
    (tmp_path / "a.xml").write_text("<annotation>")
    with pytest.raises(DataFormatError, match=r"a\.xml, line 1, column \d+: is not valid XML"):
        FolderDataset(tmp_path)
    dataset = FolderDataset(tmp_path, skip_broken=True)
    assert (list(dataset.image_ids), dataset.skipped) == (["b"], 1)


def test_no_folder_is_the_callers_mistake_and_an_empty_one_is_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is no folder"):
        FolderDataset(tmp_path / "nowhere")
    assert len(FolderDataset(tmp_path)) == 0


@needs_fruit3
@pytest.mark.parametrize(("split", "images", "boxes"), [("train", 240, 465), ("test", 60, 117)])
def test_real_photographs_and_their_truth(split: str, images: int, boxes: int) -> None:
    dataset = FolderDataset(FRUIT3, split)
    truths = [dataset.ground_truth(i) for i in range(len(dataset))]
    assert (len(dataset), sum(map(len, truths)), dataset.skipped) == (images, boxes, 0)
    assert dataset.class_names == ("apple", "banana", "orange")
    for image, found in (dataset[0], dataset[images // 2], dataset[-1]):
        assert image.shape == (found.height, found.width, 3)
        assert (found.boxes[:, 2] <= image.shape[1]).all() and (found.boxes >= 0).all()
