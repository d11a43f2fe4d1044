"""What detections are compared with: all objects as a table, from a data set or a file, of all images or some."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from dataset_extracts import lay_out
from PIL import Image

from inception_rcnn.datasets import (
    CocoDataset,
    FolderDataset,
    IlsvrcDetDataset,
    VocDataset,
    open_dataset,
    write_coco,
    write_folder,
    write_ground_truth,
    write_ilsvrc,
    write_voc,
)
from inception_rcnn.datasets.evaluation_set import evaluation_set_of
from inception_rcnn.structures import DataFormatError, GroundTruthTable, InputError

XML = "<annotation><filename>{name}</filename><size><width>50</width><height>40</height></size>{objects}</annotation>"
OBJECT = (
    "<object><name>{0}</name><bndbox><xmin>{1}</xmin><ymin>2</ymin><xmax>30.5</xmax><ymax>20</ymax></bndbox>"
    "<difficult>{2}</difficult></object>"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three photographs: two objects, none, and one difficult object."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for name, objects in {"a": [("dog", 3.1, 0), ("cat", 1, 0)], "b": [], "c": [("dog", 9, 1)]}.items():
        Image.new("RGB", (50, 40)).save(folder / f"{name}.png")
        text = XML.format(name=name, objects="".join(OBJECT.format(*one) for one in objects))
        (folder / f"{name}.xml").write_text(text)
    return tmp_path


def rows(truth: GroundTruthTable) -> list[tuple[object, ...]]:
    """Each object with the names of its image and class."""
    return [
        (truth.image_ids[image], truth.class_names[label], *box, ignore)
        for image, label, box, ignore in zip(
            truth.image.tolist(), truth.label.tolist(), truth.box.tolist(), truth.ignored.tolist(), strict=True
        )
    ]


EXPECTED = [
    ("a", "dog", 3.1 - 1, 1.0, 30.5, 20.0, False),
    ("a", "cat", 0.0, 1.0, 30.5, 20.0, False),
    ("c", "dog", 8.0, 1.0, 30.5, 20.0, True),
]


def test_a_folder_and_voc_in_float64(root: Path) -> None:
    plain = FolderDataset(root / "plain")
    read = plain.ground_truths()
    assert rows(read) == EXPECTED and read.sizes == ((50, 40),) * 3
    assert (read.image_names, read.category_ids) == (("a", "b", "c"), (1, 2))
    write_voc(plain, root / "voc", "val")
    again = rows(VocDataset(root / "voc", "val").ground_truths())
    assert [row[:2] for row in again] == [row[:2] for row in EXPECTED]
    np.testing.assert_allclose([row[2:6] for row in again], [row[2:6] for row in EXPECTED], rtol=1e-6)


def test_ilsvrc_goes_by_the_index_behind_the_id_if_all_have_one(root: Path) -> None:
    (root / "plain" / "c.xml").unlink()
    write_ilsvrc(FolderDataset(root / "plain"), root / "ilsvrc", "val")
    listed = root / "ilsvrc" / "ImageSets" / "DET" / "val.txt"
    listed.write_text("c 5\na 40\nb 7\n")
    read = IlsvrcDetDataset(root / "ilsvrc", "val").ground_truths()
    assert (read.image_ids, read.image_names) == ((5, 40, 7), ("c", "a", "b"))
    assert [row[:2] for row in rows(read)] == [(40, "dog"), (40, "cat")]
    listed.write_text("c\na\nb\n")
    assert IlsvrcDetDataset(root / "ilsvrc", "val").ground_truths().image_ids == ("c", "a", "b")


def test_coco_has_the_numbers_of_its_file(root: Path) -> None:
    write_coco(FolderDataset(root / "plain"), root / "coco", "val")
    path = root / "coco" / "val.json"
    content = json.loads(path.read_text())
    content["annotations"][0] |= {"bbox": [0.1, 0.2, 1.7, 1.9], "area": 3.2300000001}
    content["categories"] = [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 44, "name": "owl"}]
    for entry, category in zip(content["annotations"], (90, 3, 90), strict=True):
        entry["category_id"] = category
    path.write_text(json.dumps(content))
    truth = CocoDataset(root / "coco", "val").ground_truths()
    assert (truth.category_ids, truth.class_names) == ((3, 44, 90), ("cat", "owl", "dog"))
    assert truth.box[0].tolist() == [0.1, 0.2, 0.1 + 1.7, 0.2 + 1.9]
    assert truth.area is not None and truth.area[0] == 3.2300000001
    assert (truth.ignored.tolist(), truth.label.tolist()) == ([False, False, True], [2, 0, 2])
    write_ground_truth(root / "truth.jsonl.gz", truth)
    again = evaluation_set_of("coco", None, None, root / "truth.jsonl.gz").truth
    assert again.category_ids == (3, 44, 90) and rows(again)[1:] == rows(truth)[1:]
    assert again.area is not None and again.area.tolist() == truth.area.tolist()
    np.testing.assert_allclose(again.box, truth.box, atol=1e-12)
    for entry in content["annotations"]:
        entry["category_id"] = 90
    path.write_text(json.dumps(content | {"categories": [{"id": 90, "name": "dog"}]}))
    write_ground_truth(root / "truth.jsonl", CocoDataset(root / "coco", "val").ground_truths())
    again = evaluation_set_of("coco", None, None, root / "truth.jsonl").truth
    assert (again.category_ids, again.class_names) == ((90,), ("dog",))


@pytest.mark.parametrize("format", ["coco", "voc"])
def test_a_file_made_of_a_data_set_has_all_its_classes(format: str, root: Path) -> None:
    (root / "plain" / "classes.txt").write_text("owl\ndog\nemu\ncat\nyak\n")
    {"coco": write_coco, "voc": write_voc}[format](FolderDataset(root / "plain"), root / format, "val")
    whole = open_dataset(format, root / format, "val").ground_truths()
    write_ground_truth(root / "truth.jsonl", whole)
    read = evaluation_set_of(format, None, None, root / "truth.jsonl").truth
    assert read.class_names == ("owl", "dog", "emu", "cat", "yak") == whole.class_names
    assert rows(read) == rows(whole)
    assert (read.image_ids, read.image_names, read.sizes) == (
        whole.image_ids,
        whole.image_names,
        whole.sizes,
    )


def test_broken_lists_of_classes_are_named(root: Path) -> None:
    path = root / "truth.jsonl"
    for classes in (5, [[1, "cat"], [1, "dog"]], [[1, "cat"], [2, "cat"]], [[0, "cat"]], [["1", "cat"]], [[1, 2]]):
        path.write_text(json.dumps({"id": "a", "objects": [], "classes": classes}))
        with pytest.raises(DataFormatError, match="line 1: classes should be lists of number"):
            evaluation_set_of("voc", None, None, path)
    path.write_text(json.dumps({"id": "a", "objects": [[2, "dog", 0, 0, 9, 9]], "classes": [[1, "cat"]]}))
    with pytest.raises(DataFormatError, match="line 1: has 'dog' as class 2, but there are 1 classes"):
        evaluation_set_of("voc", None, None, path)


def test_a_list_chooses_images_in_its_order(root: Path) -> None:
    listed = root / "some.txt.gz"
    listed.write_bytes(gzip.compress(b"c\na\n"))
    chosen = evaluation_set_of("folder", root / "plain", None, None, image_list=listed)
    assert chosen.truth.image_names == ("c", "a")
    assert rows(chosen.truth) == [EXPECTED[2], EXPECTED[0], EXPECTED[1]]
    assert [chosen.photographs().path(k).name for k in range(2)] == ["c.png", "a.png"]
    first = evaluation_set_of("folder", root / "plain", None, None, image_list=listed, limit=1)
    assert rows(first.truth) == [EXPECTED[2]] and len(first.photographs()) == 1


def test_the_numbers_of_a_list_are_indices_only_where_the_format_has_some_and_the_set_has_none(root: Path) -> None:
    (root / "plain" / "c.xml").unlink()
    write_ilsvrc(FolderDataset(root / "plain"), root / "ilsvrc", "val")
    (root / "ilsvrc" / "ImageSets" / "DET" / "val.txt").write_text("a\nb\nc\n")
    listed = root / "some.txt"
    for text, ids in (("c 9\na 4\n", (9, 4)), ("c 9\na 9\n", ("c", "a")), ("c 1\na -1\n", ("c", "a"))):
        listed.write_text(text)
        assert evaluation_set_of("ilsvrc", root / "ilsvrc", "val", None, image_list=listed).truth.image_ids == ids


@pytest.mark.parametrize("format", ["voc", "folder", "coco"])
@pytest.mark.parametrize("lines", ["c 1", "c  1\na -1\n", "c 9\na 4\n", "c 0\nb 1\na -1\n"])
def test_the_numbers_of_a_list_of_one_class_rename_no_image(format: str, lines: str, root: Path) -> None:
    write = {"voc": write_voc, "folder": write_folder, "coco": write_coco}[format]
    write(FolderDataset(root / "plain"), root / format, "val")
    (root / "some.txt").write_text(lines)
    chosen = evaluation_set_of(format, root / format, "val", None, image_list=root / "some.txt").truth
    assert chosen.image_ids == tuple(line[0] for line in lines.splitlines())


def test_coco_is_listed_by_name_or_by_id(root: Path) -> None:
    listed = root / "some.txt"
    write_coco(FolderDataset(root / "plain"), root / "coco", "val")
    content = json.loads((root / "coco" / "val.json").read_text())
    numbers = {image["file_name"][0]: 100 + k for k, image in enumerate(content["images"])}
    for image, name in zip(content["images"], numbers, strict=True):
        image["id"] = numbers[name]
    for entry in content["annotations"]:
        entry["image_id"] = numbers[entry["image_id"]]
    (root / "coco" / "val.json").write_text(json.dumps(content))
    listed.write_text("c 9\n100 4\n")  # by its photograph's name, and by its id
    assert evaluation_set_of("coco", root / "coco", "val", None, image_list=listed).truth.image_ids == (102, 100)


def test_a_list_names_images_that_end_in_a_number(root: Path) -> None:
    for name in ("a", "c"):
        (root / "plain" / f"{name}.xml").rename(root / "plain" / f"{name} 1.xml")
        (root / "plain" / f"{name}.png").rename(root / "plain" / f"{name} 1.png")
    listed = root / "some.txt"
    listed.write_text("c 1\nb\na 1\n")
    chosen = evaluation_set_of("folder", root / "plain", None, None, image_list=listed)
    assert chosen.truth.image_ids == ("c 1", "b", "a 1")


def test_of_two_images_of_one_name_in_two_folders_neither_is_taken(root: Path) -> None:
    write_coco(FolderDataset(root / "plain"), root / "coco", "val")
    content = json.loads((root / "coco" / "val.json").read_text())
    for image, name in zip(content["images"], ("day1/1.png", "day2/1.png", "day2/2.png"), strict=True):
        (root / "coco" / "val" / name).parent.mkdir(exist_ok=True)
        (root / "coco" / "val" / image["file_name"]).rename(root / "coco" / "val" / name)
        image["file_name"] = name
    (root / "coco" / "val.json").write_text(json.dumps(content))

    def ids(*lines: str, skip_broken: bool = False) -> tuple[int | str, ...]:
        (root / "some.txt").write_text("\n".join(lines))
        listed = root / "some.txt"
        return evaluation_set_of(
            "coco", root / "coco", "val", None, image_list=listed, skip_broken=skip_broken
        ).truth.image_ids

    assert ids("day2/1", "day1/1", "2") == ("b", "a", "c")
    assert ids("c", "a") == ("c", "a")
    with pytest.raises(DataFormatError, match=r"image 1: 2 images are called so: day1/1 \(id a\), day2/1 \(id b\)"):
        ids("2", "1")
    assert ids("2", "1", skip_broken=True) == ("c",)
    write_ground_truth(root / "truth.jsonl", CocoDataset(root / "coco", "val").ground_truths())
    read = evaluation_set_of("coco", None, None, root / "truth.jsonl").truth
    assert (read.image_ids, read.image_names) == (("a", "b", "c"), ("day1/1", "day2/1", "day2/2"))


def test_images_of_the_list_that_are_not_there_are_named_or_counted(root: Path) -> None:
    listed = root / "some.txt"
    listed.write_text("c\nx\na\na\n")
    with pytest.raises(DataFormatError, match=r"some\.txt, line 4: the id 'a' is there twice"):
        evaluation_set_of("folder", root / "plain", None, None, image_list=listed)
    chosen = evaluation_set_of("folder", root / "plain", None, None, image_list=listed, skip_broken=True)
    assert chosen.truth.image_names == ("c", "a") and len(chosen.problems) == 2
    listed.write_text("x\n")
    with pytest.raises(DataFormatError, match=r"some\.txt, image x: is none of the images .*--skip-broken"):
        evaluation_set_of("folder", root / "plain", None, None, image_list=listed)
    with pytest.raises(InputError, match="no images in plain that"):
        evaluation_set_of("folder", root / "plain", None, None, image_list=listed, skip_broken=True)


def test_one_source_of_the_truth(root: Path) -> None:
    for both in ((None, None), (root / "plain", root / "truth.jsonl")):
        with pytest.raises(InputError, match="give either --root DIR"):
            evaluation_set_of("folder", both[0], None, both[1])
    write_ground_truth(root / "truth.jsonl", FolderDataset(root / "plain").ground_truths())
    with pytest.raises(InputError, match="there are no photographs"):
        evaluation_set_of("folder", None, None, root / "truth.jsonl").photographs()


@pytest.mark.parametrize("format", ["coco", "voc", "ilsvrc"])
def test_the_table_is_what_the_images_say_one_by_one(format: str, tmp_path: Path) -> None:
    lay_out(format, tmp_path)
    dataset = open_dataset(format, tmp_path, "val")
    table = dataset.ground_truths()
    slow = GroundTruthTable.from_ground_truths([dataset.ground_truth(i) for i in range(len(dataset))])
    assert table.class_names == slow.class_names and len(table) == len(slow) > 3
    for column in ("image", "label", "ignore"):
        assert getattr(table, column).tolist() == getattr(slow, column).tolist()
    assert np.array_equal(table.box.astype(np.float32), slow.box.astype(np.float32))
    truths = [dataset.ground_truth(i) for i in range(len(dataset))]
    assert list(table.sizes) == [(truth.width, truth.height) for truth in truths]
