"""What is odd in a truth file and read all the same: boxes, EXIF, encodings, numbers as texts, classes alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inception_rcnn.datasets import CocoDataset, FolderDataset, YoloDataset
from inception_rcnn.structures import DataFormatError, InputError

STORED = (4, 2, 14, 8)  # of 40 x 20 pixels


def marked(path: Path, orientation: int = 1, size: tuple[int, int] = (40, 20)) -> None:
    """Write a photograph whose stored pixels are bright in the box `STORED`, and dark elsewhere."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[STORED[1] : STORED[3], STORED[0] : STORED[2]] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif, quality=100, subsampling=0)


def truth(root: Path, bbox: list[Any], size: tuple[Any, Any] = (40, 20), **more: Any) -> None:
    """Write COCO's truth of one photograph, val/a.jpg, with one object."""
    image = {"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1]}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": bbox} | more
    content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]}
    (root / "val.json").write_text(json.dumps(content))


def covers_the_mark(dataset: CocoDataset | YoloDataset | FolderDataset, i: int = 0) -> bool:
    image, found = dataset[i]
    x1, y1, x2, y2 = found.boxes[0].round().astype(int)
    expected = np.zeros(image.shape[:2], bool)
    expected[y1:y2, x1:x2] = True
    return np.array_equal(image[:, :, 0] > 128, expected) and image.shape[:2] == (found.height, found.width)


XYWH = [4, 2, 10, 6]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_drawn_on_the_stored_photograph_are_turned_where_the_size_tells(tmp_path: Path, orientation: int) -> None:
    marked(tmp_path / "val" / "a.jpg", orientation)
    truth(tmp_path, XYWH)
    with pytest.warns(UserWarning, match="1 photograph with boxes drawn before EXIF data turned them"):
        assert covers_the_mark(CocoDataset(tmp_path, "val"))


def test_boxes_drawn_on_the_upright_photograph_stay_without_a_word(tmp_path: Path) -> None:
    marked(tmp_path / "val" / "a.jpg", 6)  # the left column becomes the top row
    truth(tmp_path, [12, 4, 6, 10], (20, 40))
    assert covers_the_mark(CocoDataset(tmp_path, "val"))


@pytest.mark.parametrize(("orientation", "size"), [(3, (40, 20)), (2, (40, 20)), (6, (None, None)), (8, (0, 0))])
def test_where_the_size_cannot_tell_it_is_said_and_an_option_decides(
    tmp_path: Path, orientation: int, size: tuple[Any, Any]
) -> None:
    marked(tmp_path / "val" / "a.jpg", orientation)
    truth(tmp_path, XYWH, size)
    with pytest.warns(UserWarning, match=r"it cannot be told whether .*a\.jpg; read as drawn after \(--exif stored"):
        assert not covers_the_mark(CocoDataset(tmp_path, "val"))
    assert covers_the_mark(CocoDataset(tmp_path, "val", exif="stored"))
    assert not covers_the_mark(CocoDataset(tmp_path, "val", exif="upright"))
    with pytest.raises(InputError, match="exif should be 'stored' or 'upright'"):
        CocoDataset(tmp_path, "val", exif="both")


def test_photographs_that_tell_decide_for_those_that_cannot(tmp_path: Path) -> None:
    box = "<bndbox><xmin>5</xmin><ymin>3</ymin><xmax>14</xmax><ymax>8</ymax></bndbox>"
    for name, orientation in (("a", 6), ("b", 3)):
        marked(tmp_path / f"{name}.jpg", orientation)
        size = "<size><width>40</width><height>20</height></size>"
        (tmp_path / f"{name}.xml").write_text(f"<annotation>{size}<object><name>x</name>{box}</object></annotation>")
    with pytest.warns(UserWarning) as said:
        dataset = FolderDataset(tmp_path)
    assert covers_the_mark(dataset, 0) and covers_the_mark(dataset, 1)
    assert any("read as drawn before, as in the others" in str(one.message) for one in said)


def test_shares_refer_to_the_upright_photograph_unless_the_caller_knows_better(tmp_path: Path) -> None:
    marked(tmp_path / "a.jpg", 6)
    (tmp_path / "classes.txt").write_text("cat\n")
    (tmp_path / "a.txt").write_text(f"0 {15 / 20} {9 / 40} {6 / 20} {10 / 40}\n")
    with pytest.warns(UserWarning, match="it cannot be told whether"):
        assert covers_the_mark(YoloDataset(tmp_path))
    (tmp_path / "a.txt").write_text(f"0 {9 / 40} {5 / 20} {10 / 40} {6 / 20}\n")
    assert covers_the_mark(YoloDataset(tmp_path, exif="stored"))


def test_a_box_that_leaves_the_real_photograph_is_clipped_though_the_file_has_no_size(tmp_path: Path) -> None:
    marked(tmp_path / "val" / "a.jpg")
    truth(tmp_path, [30, 10, 100, 100], (0, 0))
    with pytest.warns(UserWarning, match=r"1 of 1 boxes leave .* the first: .*val\.json, annotation 1"):
        assert CocoDataset(tmp_path, "val").ground_truth(0).boxes.tolist() == [[30, 10, 40, 20]]
    with pytest.raises(DataFormatError, match=r"annotation 1: its box leaves the photograph \(40 x 20"):
        CocoDataset(tmp_path, "val", strict=True)


@pytest.mark.parametrize(
    ("bbox", "text"),
    [
        (
            [50, 2, 10, 6],
            r"annotation 1: its box lies outside the photograph \(40 x 20, .* 0\): x y width height are 50",
        ),
        (
            [0.1, 0.1, 0.5, 0.5],
            "annotation 1: its box is given in shares of the photograph, 0 to 1, where pixels belong",
        ),
        ([4, 2, 0, 6], "annotation 1: its box has no area"),
    ],
)
def test_a_box_that_is_none_is_an_error_or_left_out_and_counted(tmp_path: Path, bbox: list[float], text: str) -> None:
    marked(tmp_path / "val" / "a.jpg")
    truth(tmp_path, bbox)
    with pytest.raises(DataFormatError, match=text):
        CocoDataset(tmp_path, "val")
    dataset = CocoDataset(tmp_path, "val", skip_broken=True)
    assert (dataset.skipped, len(dataset), len(dataset.ground_truths())) == (1, 1, 0)


def test_corners_in_the_place_of_sides_are_told(tmp_path: Path) -> None:
    marked(tmp_path / "val" / "a.jpg")
    truth(tmp_path, [20, 10, 38, 19])
    content = json.loads((tmp_path / "val.json").read_text())
    content["annotations"] = [content["annotations"][0] | {"id": k, "bbox": [20, 10, 38 - k, 19]} for k in range(3)]
    (tmp_path / "val.json").write_text(json.dumps(content))
    with pytest.raises(
        DataFormatError, match="3 of 3 boxes leave their photographs as x y width height, and fit them as"
    ):
        CocoDataset(tmp_path, "val")


def test_numbers_may_be_texts_and_fields_null(tmp_path: Path) -> None:
    marked(tmp_path / "val" / "a.jpg")
    plain: dict[str, Any] = {"iscrowd": None}
    for values in (plain, {"image_id": "1"}, {"image_id": 1.0}, {"category_id": "1"}, {"category_id": 1.0}):
        truth(tmp_path, ["4", 2.0, "10.0", 6], (40.0, "20"), **values)
        found = CocoDataset(tmp_path, "val").ground_truth(0)
        assert (found.boxes.tolist(), found.width) == ([[4, 2, 14, 8]], 40)


def test_ids_that_are_texts_keep_their_own(tmp_path: Path) -> None:
    marked(tmp_path / "val" / "a.jpg")
    truth(tmp_path, XYWH)
    content = json.loads((tmp_path / "val.json").read_text())
    content["images"].append(content["images"][0] | {"id": "1", "file_name": "b.jpg"})
    content["annotations"].append(content["annotations"][0] | {"image_id": "1", "bbox": [0, 0, 9, 9]})
    marked(tmp_path / "val" / "b.jpg")
    (tmp_path / "val.json").write_text(json.dumps(content))
    dataset = CocoDataset(tmp_path, "val")
    assert [dataset.ground_truth(i).boxes.tolist() for i in range(2)] == [[[4, 2, 14, 8]], [[0, 0, 9, 9]]]


def test_a_polygon_gives_its_box(tmp_path: Path) -> None:
    marked(tmp_path / "val" / "a.jpg")
    truth(tmp_path, [], segmentation=[[4, 2, 9, 2, 9, 8], [8, 3, 14, 3, 10, 5]])
    assert CocoDataset(tmp_path, "val").ground_truth(0).boxes.tolist() == [[4, 2, 14, 8]]
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((5, 3), (14, 3), (14, 8)))
    for polygon in (points, "<x1>5</x1><y1>3</y1><x2>14</x2><y2>3</y2><x3>14</x3><y3>8</y3>"):
        folder = tmp_path / f"xml{len(polygon)}"
        marked(folder / "a.jpg")
        text = f"<annotation><object><name>cat</name><polygon>{polygon}</polygon></object></annotation>"
        (folder / "a.xml").write_text(text)
        assert FolderDataset(folder).ground_truth(0).boxes.tolist() == [[4, 2, 14, 8]]


@pytest.mark.parametrize(
    ("encoding", "declared", "guessed"),
    [("utf-8", "", 0), ("gb18030", "gbk", 0), ("gb18030", "", 1), ("gb18030", "utf-8", 1), ("utf-16", "utf-16", 0)],
)
def test_xml_in_any_encoding_with_or_without_a_namespace(
    tmp_path: Path, encoding: str, declared: str, guessed: int
) -> None:
    marked(tmp_path / "a.jpg")
    box = "<bndbox><xmin>5</xmin><ymin>3</ymin><xmax>14</xmax><ymax>8</ymax></bndbox>"
    flags = "<difficult>Unspecified</difficult>"
    text = f'<annotation xmlns="http://x"><object><name>小猫咪</name>{flags}{box}</object></annotation>'
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    (tmp_path / "a.xml").write_bytes((head + text).encode(encoding))
    if guessed:
        with pytest.warns(UserWarning, match=r"1 file not in UTF-8, read as GB18030, .* the first: .*a\.xml"):
            dataset = FolderDataset(tmp_path)
    else:
        dataset = FolderDataset(tmp_path)
    assert (dataset.class_names, dataset.ground_truth(0).boxes.tolist()) == (("小猫咪",), [[4, 2, 14, 8]])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_json_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    marked(tmp_path / "val" / "a.jpg")
    truth(tmp_path, XYWH)
    text = (tmp_path / "val.json").read_text().replace('"cat"', '"小猫咪"')
    (tmp_path / "val.json").write_bytes(text.encode(encoding))
    if encoding == "gb18030":
        with pytest.warns(UserWarning, match="1 file not in UTF-8, read as GB18030"):
            assert CocoDataset(tmp_path, "val").class_names == ("小猫咪",)
    else:
        assert CocoDataset(tmp_path, "val").class_names == ("小猫咪",)


def test_classes_that_read_alike_and_repetitions_are_named(tmp_path: Path) -> None:
    marked(tmp_path / "val" / "a.jpg")
    truth(tmp_path, XYWH)
    content = json.loads((tmp_path / "val.json").read_text())
    content["categories"].append({"id": 2, "name": "Cat "})
    content["images"].append(content["images"][0] | {"id": 2})
    content["annotations"].append(content["annotations"][0])
    (tmp_path / "val.json").write_text(json.dumps(content))
    with pytest.warns(UserWarning):
        dataset = CocoDataset(tmp_path, "val")
    assert [note.partition(":")[0] for note in dataset.notes] == [
        "classes that differ only in case or spaces",
        "an object repeats another of the same class and box 1 time, the first",
        "1 photograph listed under several ids, such as a.jpg under 1 and 2",
    ]
    assert "no objects: Cat" in dataset.summary


def test_the_root_of_all_categories_is_left_out_only_if_nothing_is_of_it(tmp_path: Path) -> None:
    marked(tmp_path / "val" / "a.jpg")
    for category, count in ((1, 1), (0, 2)):
        truth(tmp_path, XYWH, category_id=category)
        content = json.loads((tmp_path / "val.json").read_text())
        content["categories"] = [{"id": 0, "name": "pets", "supercategory": "none"}]
        content["categories"] += [{"id": 1, "name": "cat", "supercategory": "pets"}]
        (tmp_path / "val.json").write_text(json.dumps(content))
        if count == 1:
            with pytest.warns(UserWarning, match="category 0, 'pets', is the root of the others and of no object"):
                assert CocoDataset(tmp_path, "val").category_ids == (1,)
        else:
            assert CocoDataset(tmp_path, "val").class_names == ("pets", "cat")
