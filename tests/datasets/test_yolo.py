"""YOLO's format: every place for images and labels, shares turned to pixels, and every way a line can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inception_rcnn.datasets import YoloDataset, write_yolo
from inception_rcnn.structures import DataFormatError, InputError

YAML = "train: {train}\nval: {val}\nnames: [cat, dog]\n"
LINE = "1 0.5 0.25 0.5 0.1\n"  # of 40 x 20: 10 4 30 6


def photograph(path: Path, size: tuple[int, int] = (40, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def one(root: Path, image: str, label: str, text: str = LINE) -> None:
    photograph(root / image)
    (root / label).parent.mkdir(parents=True, exist_ok=True)
    (root / label).write_text(text)


LAYOUTS = {
    "images/train": ("images/train/a.png", "labels/train/a.txt", YAML.format(train="images/train", val="")),
    "train/images": ("train/images/a.png", "train/labels/a.txt", YAML.format(train="train/images", val="")),
    "Roboflow": ("train/images/a.png", "train/labels/a.txt", YAML.format(train="../train/images", val="")),
    "path": (
        "images/train/a.png",
        "labels/train/a.txt",
        "path: /home/me/set\n" + YAML.format(train="images/train", val=""),
    ),
    "beside": ("train/a.png", "train/a.txt", YAML.format(train="train", val="")),
    "capitals": ("Images/Train/a.PNG", "Labels/train/a.TXT", YAML.format(train="images/train", val="")),
}


@pytest.mark.parametrize(("image", "label", "yaml"), LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_found(tmp_path: Path, image: str, label: str, yaml: str) -> None:
    one(tmp_path, image, label)
    (tmp_path / "data.yaml").write_text(yaml)
    dataset = YoloDataset(tmp_path, "train")
    assert (dataset.class_names, dataset.splits, dataset.path(0)) == (("cat", "dog"), ("train",), tmp_path / image)
    truth = dataset.ground_truth(0)
    assert (truth.boxes.tolist(), truth.names(), truth.width, truth.height) == ([[10, 4, 30, 6]], ["dog"], 40, 20)
    assert YoloDataset(tmp_path / "data.yaml").ground_truth(0) == truth


def test_without_a_yaml_the_folders_are_the_parts(tmp_path: Path) -> None:
    for part in ("train", "val"):
        one(tmp_path, f"images/{part}/a.png", f"labels/{part}/a.txt")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert YoloDataset(tmp_path, "val").splits == ("train", "val")
    with pytest.raises(InputError, match="has the parts train, val; name one"):
        YoloDataset(tmp_path)
    with pytest.raises(InputError, match=r"no part 'test' in .*: there are train, val"):
        YoloDataset(tmp_path, "test")


def test_lists_of_images_as_cvat_writes_them(tmp_path: Path) -> None:
    one(tmp_path, "obj_train_data/a.png", "obj_train_data/a.txt")
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.png\n")
    assert YoloDataset(tmp_path, "train").ground_truth(0).names() == ["dog"]
    (tmp_path / "train.txt").write_text("data/obj_train_data/b.png\n")
    with pytest.raises(DataFormatError, match=r"train\.txt, line 1: the photograph .*b\.png' is missing"):
        YoloDataset(tmp_path, "train")


def test_polygons_scores_keypoints_and_empty_labels(tmp_path: Path) -> None:
    text = "0 0.25 0.2 0.75 0.2 0.5 0.3\n1 0.5 0.25 0.5 0.1 0.93\n"
    one(tmp_path, "images/a.png", "labels/a.txt", text)
    one(tmp_path, "images/b.png", "labels/b.txt", "")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    dataset = YoloDataset(tmp_path)
    np.testing.assert_allclose(dataset.ground_truth(0).boxes, [[10, 4, 30, 6]] * 2, atol=1e-5)
    assert (dataset.ground_truth(0).names(), len(dataset.ground_truth(1)), dataset.notes) == (["cat", "dog"], 0, [])
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat, dog]\nkpt_shape: [1, 2]\n")
    (tmp_path / "labels" / "a.txt").write_text("1 0.5 0.25 0.5 0.1 0.9 0.9\n")
    assert YoloDataset(tmp_path).ground_truth(0).boxes.tolist() == [[10, 4, 30, 6]]


def test_photographs_without_labels_are_counted(tmp_path: Path) -> None:
    one(tmp_path, "images/a.png", "labels/a.txt")
    photograph(tmp_path / "images" / "b.png")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.warns(UserWarning, match=r"1 of 2 photographs without a file of labels, the first: .*b\.png"):
        assert len(YoloDataset(tmp_path)) == 2


def test_labels_of_two_photographs_are_of_neither(tmp_path: Path) -> None:
    one(tmp_path, "images/a.png", "labels/a.txt")
    one(tmp_path, "images/c.png", "labels/c.txt")
    photograph(tmp_path / "images" / "a.jpg", (80, 60))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(DataFormatError, match=r"labels/a\.txt: 2 photographs may be meant: a\.jpg, a\.png"):
        YoloDataset(tmp_path)
    left = YoloDataset(tmp_path, skip_broken=True)
    assert [left.path(i).name for i in range(len(left))] == ["c.png"] and left.skipped == 2
    (tmp_path / "labels" / "a.txt").rename(tmp_path / "labels" / "a.png.txt")
    with pytest.warns(UserWarning, match="1 of 3 photographs without"):
        assert len(YoloDataset(tmp_path).ground_truth(1)) == 1  # of a.png


def test_labels_without_a_photograph_are_counted_but_not_those_of_other_parts(tmp_path: Path) -> None:
    one(tmp_path, "images/train/a.png", "labels/a.txt")
    one(tmp_path, "images/val/b.png", "labels/b.txt")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert YoloDataset(tmp_path, "train").notes == []
    (tmp_path / "labels" / "c.txt").write_text(LINE)
    with pytest.warns(UserWarning, match=r"1 file of labels without a photograph, the first: .*c\.txt"):
        YoloDataset(tmp_path, "val")


def test_a_part_of_the_yaml_that_is_not_there_is_named(tmp_path: Path) -> None:
    one(tmp_path, "train/images/a.png", "train/labels/a.txt")
    (tmp_path / "data.yaml").write_text(YAML.format(train="../train/images", val="../valid/images"))
    with pytest.warns(UserWarning, match=r"data\.yaml names val: \.\./valid/images, which is not there"):
        YoloDataset(tmp_path, "train")


def test_another_number_of_classes_than_names_is_said(tmp_path: Path) -> None:
    one(tmp_path, "train/images/a.png", "train/labels/a.txt")
    (tmp_path / "data.yaml").write_text("nc: 3\n" + YAML.format(train="train/images", val=""))
    with pytest.warns(UserWarning, match=r"data\.yaml says nc: 3, and has 2 names of classes"):
        YoloDataset(tmp_path)


def test_corners_in_the_place_of_centre_and_sides_are_told(tmp_path: Path) -> None:
    for stem, x in (("a", 0.3), ("b", 0.4), ("c", 0.45)):
        one(tmp_path, f"images/{stem}.png", f"labels/{stem}.txt", f"0 {x} 0.3 0.9 0.9\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(
        DataFormatError, match=r"3 of 3 boxes leave .* as the corners x1 y1 x2 y2: x = \(x1 \+ x2\) / 2"
    ):
        YoloDataset(tmp_path)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("2 0.5 0.5 0.1 0.1", "line 1: the class is 2, and there are 2, counted from 0"),
        ("-1 0.5 0.5 0.1 0.1", "line 1: the class is -1"),
        ("cat 0.5 0.5 0.1 0.1", "line 1: should be a class number and x y width height"),
        ("0 0.5 0.5 0.1", "line 1: should be a class number"),
        ("0 0.5 nan 0.1 0.1", "line 1: should be a class number"),
        ("0 20 10 8 4", r"line 1 \(cat\): should have shares of the photograph, 0 to 1, got pixels"),
        ("0 0.5 0.5 0 0.1", r"line 1 \(cat\): its box has no area"),
        ("0 1.5 0.5 0.1 0.1", r"line 1 \(cat\): its box lies outside the photograph \(40 x 20"),
    ],
)
def test_a_broken_line_is_named_or_left_out(tmp_path: Path, line: str, text: str) -> None:
    one(tmp_path, "images/a.png", "labels/a.txt", f"{line}\n{LINE}")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(DataFormatError, match=rf"a\.txt, {text}"):
        YoloDataset(tmp_path)
    dataset = YoloDataset(tmp_path, skip_broken=True)
    assert (dataset.skipped, dataset.ground_truth(0).names()) == (1, ["dog"])


def test_classes_must_be_named_once_and_in_order(tmp_path: Path) -> None:
    one(tmp_path, "images/a.png", "labels/a.txt")
    with pytest.raises(InputError, match=r"are not named: write data\.yaml"):
        YoloDataset(tmp_path)
    for names, text in (("[cat, cat]", "'cat' is there twice"), ("{0: cat, 2: dog}", "from 0 without gaps, got 0, 2")):
        (tmp_path / "data.yaml").write_text(f"train: images\nnames: {names}\n")
        with pytest.raises(DataFormatError, match=text):
            YoloDataset(tmp_path)


def test_parts_are_added_to_the_yaml_and_other_classes_refused(tmp_path: Path) -> None:
    one(tmp_path / "given", "images/a.png", "labels/a.txt")
    (tmp_path / "given" / "classes.txt").write_text("cat\nit's a dog\n")
    given = YoloDataset(tmp_path / "given")
    for part in ("train", "val"):
        write_yolo(given, tmp_path / "new", part)
    assert YoloDataset(tmp_path / "new", "val").splits == ("train", "val")
    assert YoloDataset(tmp_path / "new", "train").class_names == ("cat", "it's a dog")
    (tmp_path / "given" / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(InputError, match=r"data\.yaml names other classes"):
        write_yolo(YoloDataset(tmp_path / "given"), tmp_path / "new", "test")
    with pytest.raises(InputError, match="already there"):
        write_yolo(given, tmp_path / "new", "val")
