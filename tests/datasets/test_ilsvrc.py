"""ILSVRC DET's format: pixels from 0, WordNet ids, both packagings, the forms of lists, images without annotation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from dataset_extracts import ILSVRC_IMAGE, lay_out
from PIL import Image

from inception_rcnn.datasets import IlsvrcDetDataset
from inception_rcnn.structures import DataFormatError, InputError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the photographs of ../shared are not here")

DOG, CAT = "n02084071", "n02121808"


def picture(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (40, 20)).save(path, "JPEG")


def truth(path: Path, *objects: tuple[str, tuple[int, int, int, int]], more: str = "") -> None:
    """Write an annotation in the order of ImageNet's: xmin, xmax, ymin, ymax; boxes as xmin ymin xmax ymax."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inner = "".join(
        f"<object><name>{name}</name>{more}<bndbox><xmin>{x1}</xmin><xmax>{x2}</xmax><ymin>{y1}</ymin><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for name, (x1, y1, x2, y2) in objects
    )
    size = "<size><width>40</width><height>20</height></size>"
    path.write_text(f"<annotation><folder>f</folder><filename>{path.stem}</filename>{size}{inner}</annotation>")


def new_layout(root: Path, part: str, image_id: str, *objects: tuple[str, tuple[int, int, int, int]]) -> None:
    """Add a photograph and its annotation as they are packed since 2015."""
    picture(root / "Data" / "DET" / part / f"{image_id}.JPEG")
    truth(root / "Annotations" / "DET" / part / f"{image_id}.xml", *objects)


def write_list(root: Path, split: str, lines: str, folder: str = "ImageSets/DET") -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / f"{split}.txt").write_text(lines)


def test_boxes_are_counted_from_0_and_made_exclusive_children_by_name(tmp_path: Path) -> None:
    new_layout(tmp_path, "val", "ILSVRC2012_val_00000001", (DOG, (0, 0, 39, 19)), (CAT, (3, 4, 3, 9)))
    write_list(tmp_path, "val", "ILSVRC2012_val_00000001 1\n")
    dataset = IlsvrcDetDataset(tmp_path, "val")
    found = dataset.ground_truth(0)
    assert found.boxes.tolist() == [[0, 0, 40, 20], [3, 4, 4, 10]]
    assert (found.names(), found.image_id, found.width, found.height) == ([DOG, CAT], "ILSVRC2012_val_00000001", 40, 20)
    assert (dataset.display_names[found.labels[0]], dataset.display_names[found.labels[1]]) == ("dog", "domestic cat")


def test_classes_are_the_200_in_official_order(tmp_path: Path) -> None:
    write_list(tmp_path, "val", "")
    dataset = IlsvrcDetDataset(tmp_path, "val")
    assert (len(dataset.class_names), len(set(dataset.class_names)), len(set(dataset.display_names))) == (200,) * 3
    assert (dataset.class_names[0], dataset.display_names[0]) == ("n02672831", "accordion")
    assert (dataset.class_names[199], dataset.display_names[199]) == ("n02391049", "zebra")
    assert all(len(name) == 9 and name[0] == "n" and name[1:].isdecimal() for name in dataset.class_names)


def test_a_table_of_classes_comes_before_ours(tmp_path: Path) -> None:
    new_layout(tmp_path, "val", "a", (CAT, (0, 0, 9, 9)))
    write_list(tmp_path, "val", "a 1\n")
    table = tmp_path / "classes.tsv"
    table.write_text(f"det_id\twnid\tname\n1\t{CAT}\tcat\n2\tn00000001\tother\n")
    dataset = IlsvrcDetDataset(tmp_path, "val")
    assert (dataset.class_names, dataset.display_names) == ((CAT, "n00000001"), ("cat", "other"))
    table.write_text("wnid\nn00000001\n")
    with pytest.raises(DataFormatError, match=rf"a\.xml, object 1 \({CAT}\): its class is none of the 1 classes"):
        IlsvrcDetDataset(tmp_path, "val")
    for wrong, text in (
        ("id\n1\n", "columns wnid and name"),
        ("wnid\n", "at least one class"),
        ("wnid\na\na\n", "once"),
    ):
        table.write_text(wrong)
        with pytest.raises(DataFormatError, match=rf"classes\.tsv: .*{text}"):
            IlsvrcDetDataset(tmp_path, "val")


def test_objects_marked_as_difficult_count_and_subcategories_do_not(tmp_path: Path) -> None:
    picture(tmp_path / "Data/DET/train/n1/n1_7.JPEG")
    more = "<difficult>1</difficult><subcategory>n02085620</subcategory>"
    truth(tmp_path / "Annotations/DET/train/n1/n1_7.xml", (DOG, (0, 0, 9, 9)), more=more)
    write_list(tmp_path, "train", "n1/n1_7 1\n")
    found = IlsvrcDetDataset(tmp_path, "train").ground_truth(0)
    assert (found.names(), found.ignore.tolist()) == ([DOG], [False])


def test_images_without_annotation_or_without_object_have_no_objects(tmp_path: Path) -> None:
    new_layout(tmp_path, "val", "empty")
    picture(tmp_path / "Data/DET/val/bare.JPEG")
    write_list(tmp_path, "val", "empty 1\nbare 2\n")
    with pytest.warns(UserWarning, match="1 of 2 photographs without annotation, the first: bare"):
        dataset = IlsvrcDetDataset(tmp_path, "val")
    first, second = dataset.ground_truth(0), dataset.ground_truth(1)
    assert (len(first), first.width, len(second), second.width) == (0, 40, 0, None)
    assert dataset[1][0].shape == (20, 40, 3)
    assert dataset.has_truth


def test_the_test_set_has_no_truth(tmp_path: Path) -> None:
    picture(tmp_path / "Data/DET/test/ILSVRC2012_test_00000001.JPEG")
    write_list(tmp_path, "test", "ILSVRC2012_test_00000001 1\n")
    dataset = IlsvrcDetDataset(tmp_path, "test")
    assert (len(dataset), dataset.has_truth, len(dataset.ground_truth(0))) == (1, False, 0)


@pytest.mark.parametrize(
    ("lines", "indices"),
    [("b 20121\na 3\n", (20121, 3)), ("b\na\n", None), ("b 1\na\n", None), ("b 1\na -1\n", None), ("b 1\na 1\n", None)],
)
def test_forms_of_lists(tmp_path: Path, lines: str, indices: tuple[int, ...] | None) -> None:
    for image_id in "ab":
        new_layout(tmp_path, "val", image_id)
    write_list(tmp_path, "val", lines)
    dataset = IlsvrcDetDataset(tmp_path, "val")
    assert (list(dataset.image_ids), dataset.indices) == (["b", "a"], indices)


def test_lists_of_halves_and_of_classes_find_the_photographs_of_their_part(tmp_path: Path) -> None:
    new_layout(tmp_path, "val", "ILSVRC2013_val_00000910", (DOG, (0, 0, 9, 9)))
    new_layout(tmp_path, "train", "ILSVRC2014_train_0000/ILSVRC2014_train_00000001", (CAT, (0, 0, 9, 9)))
    write_list(tmp_path, "val2", "ILSVRC2013_val_00000910 3\n")
    write_list(tmp_path, "train_57", "ILSVRC2014_train_0000/ILSVRC2014_train_00000001 -1\n")
    half = IlsvrcDetDataset(tmp_path, "val2")
    assert (half.indices, half.ground_truth(0).names()) == ((3,), [DOG])
    assert IlsvrcDetDataset(tmp_path, "train_57").ground_truth(0).names() == [CAT]


def test_training_photographs_of_2013_show_more_than_is_boxed(tmp_path: Path) -> None:
    """Those of 2014 and of the validation set have all 200 classes boxed."""
    ids = {
        "n02672831/n02672831_11478": False,
        "ILSVRC2013_train/n02672831/n02672831_9": False,
        "ILSVRC2013_train_00048317": False,
        "ILSVRC2014_train_0000/ILSVRC2014_train_00000001": True,
        "ILSVRC2012_val_00000001": True,
        "ILSVRC2013_val_00000910": True,
    }
    for image_id in ids:
        new_layout(tmp_path, "train", image_id, (DOG, (1, 2, 3, 4)))
    write_list(tmp_path, "train", "".join(f"{image_id}\n" for image_id in ids))
    dataset = IlsvrcDetDataset(tmp_path, "train")
    assert [dataset.ground_truth(i).exhaustive for i in range(len(dataset))] == list(ids.values())


TRAIN_IDS = [
    ("n02672831/n02672831_11478", "ILSVRC2013_train/n02672831/n02672831_11478"),
    ("ILSVRC2013_train/n02672831/n02672831_11478", "ILSVRC2013_train/n02672831/n02672831_11478"),
    ("ILSVRC2013_train_00048317", "ILSVRC2013_train_extra4/ILSVRC2013_train_00048317"),
    ("ILSVRC2013_train_00048317", "ILSVRC2013_DET_train_extra4/ILSVRC2013_train_00048317"),
    ("ILSVRC2014_train_0000/ILSVRC2014_train_00000001", "ILSVRC2014_DET_train_0000/ILSVRC2014_train_00000001"),
    ("ILSVRC2014_train_0000/ILSVRC2014_train_00000001", "ILSVRC2014_train_0000/ILSVRC2014_train_00000001"),
]


@pytest.mark.parametrize(("image_id", "place"), TRAIN_IDS)
def test_training_photographs_are_found_with_or_without_the_folder_in_their_id(
    tmp_path: Path, image_id: str, place: str
) -> None:
    new_layout(tmp_path, "train", place, (DOG, (1, 2, 3, 4)))
    write_list(tmp_path, "train_1", f"{image_id} 1\n")
    dataset = IlsvrcDetDataset(tmp_path, "train_1")
    assert (list(dataset.image_ids), len(dataset.ground_truth(0))) == ([image_id], 1)
    assert dataset.path(0) == tmp_path / "Data" / "DET" / "train" / f"{place}.JPEG"


@pytest.mark.parametrize("kit", ["devkit", "ILSVRC2014_devkit"])
def test_the_packaging_of_2013_and_2014(tmp_path: Path, kit: str) -> None:
    picture(tmp_path / "ILSVRC2013_DET_val" / "ILSVRC2012_val_00000001.JPEG")
    truth(tmp_path / "ILSVRC2013_DET_bbox_val" / "ILSVRC2012_val_00000001.xml", (DOG, (1, 2, 3, 4)))
    write_list(tmp_path, "val", "ILSVRC2012_val_00000001 1\n", f"{kit}/data/det_lists")
    dataset = IlsvrcDetDataset(tmp_path, "val")
    assert (dataset.path(0).parent.name, len(dataset.ground_truth(0))) == ("ILSVRC2013_DET_val", 1)
    picture(tmp_path / "ILSVRC2014_DET_train" / "n02672831" / "n02672831_1.JPEG")
    truth(tmp_path / "ILSVRC2014_DET_bbox_train" / "n02672831" / "n02672831_1.xml", (CAT, (1, 2, 3, 4)))
    picture(tmp_path / "ILSVRC2013_DET_train_extra0" / "ILSVRC2013_train_00000001.JPEG")
    write_list(tmp_path, "train_pos_1", "n02672831/n02672831_1\nILSVRC2013_train_00000001\n", f"{kit}/data/det_lists")
    dataset = IlsvrcDetDataset(tmp_path, "train_pos_1")
    assert [len(dataset.ground_truth(i)) for i in range(2)] == [1, 0]


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_photographs_come_as_rgb(tmp_path: Path, mode: str) -> None:
    new_layout(tmp_path, "val", "a")
    picture(tmp_path / "Data" / "DET" / "val" / "a.JPEG", mode)
    write_list(tmp_path, "val", "a 1\n")
    image, _ = IlsvrcDetDataset(tmp_path, "val")[0]
    assert (image.shape, image.dtype) == ((20, 40, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "box", "text"),
    [
        ("n99999999", (0, 0, 9, 9), r"object 1 \(n99999999\): its class is none of the 200 classes"),
        (DOG, (41, 0, 45, 19), r"object 1 \(n02084071\): its box lies outside the photograph \(40 x 20, .* from 0\)"),
        (DOG, (-9, 0, -2, 9), r"object 1 \(n02084071\): its box lies outside"),
        (DOG, (9, 0, 8, 9), r"object 1 \(n02084071\): its box has no area"),
    ],
)
def test_a_broken_object_is_named_or_left_out(
    tmp_path: Path, name: str, box: tuple[int, int, int, int], text: str
) -> None:
    new_layout(tmp_path, "val", "a", (name, box), (CAT, (0, 0, 39, 19)))
    write_list(tmp_path, "val", "a 1\n")
    with pytest.raises(DataFormatError, match=rf"a\.xml, {text}"):
        IlsvrcDetDataset(tmp_path, "val")
    dataset = IlsvrcDetDataset(tmp_path, "val", skip_broken=True)
    assert (dataset.skipped, dataset.ground_truth(0).boxes.tolist()) == (1, [[0, 0, 40, 20]])


def test_a_missing_photograph_is_named_or_left_out_with_its_index(tmp_path: Path) -> None:
    new_layout(tmp_path, "val", "a")
    new_layout(tmp_path, "val", "b")
    write_list(tmp_path, "val", "a 5\nb 6\n")
    (tmp_path / "Data" / "DET" / "val" / "a.JPEG").unlink()
    with pytest.raises(DataFormatError, match=r"val\.txt, a: its photograph a\.JPEG is missing, looked in .*DET/val"):
        IlsvrcDetDataset(tmp_path, "val")
    dataset = IlsvrcDetDataset(tmp_path, "val", skip_broken=True)
    assert (list(dataset.image_ids), dataset.indices, dataset.skipped) == (["b"], (6,), 1)


def test_what_is_not_there_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is no folder"):
        IlsvrcDetDataset(tmp_path / "nowhere", "val")
    with pytest.raises(InputError, match=r"no list for split 'val3' in .*; looked for ImageSets/DET/val3\.txt"):
        IlsvrcDetDataset(tmp_path, "val3")


def test_an_annotation_of_ilsvrc(tmp_path: Path) -> None:
    lay_out("ilsvrc", tmp_path)
    dataset = IlsvrcDetDataset(tmp_path, "val")
    image, found = dataset[0]
    assert (dataset.image_ids, dataset.indices, len(dataset.class_names)) == ((ILSVRC_IMAGE,), (2558,), 200)
    assert image.shape == (500, 333, 3) and found.names() == ["n00007846"] * 2 + ["n02892767"] * 2
    assert [dataset.display_names[label] for label in found.labels.tolist()] == ["person"] * 2 + ["brassiere"] * 2
    assert found.labels.tolist() == [123, 123, 30, 30] and not found.ignore.any()
    inclusive = [[199, 51, 331, 498], [0, 45, 195, 492], [212, 175, 329, 305], [75, 143, 163, 260]]
    assert (found.boxes - [0, 0, 1, 1]).tolist() == inclusive


@needs_data
@pytest.mark.parametrize(
    ("split", "images", "boxes", "classes", "bare"), [("train", 270, 619, 94, 2), ("val", 173, 418, 80, 1)]
)
def test_real_photographs_and_their_truth(split: str, images: int, boxes: int, classes: int, bare: int) -> None:
    dataset = IlsvrcDetDataset(DATA / "ilsvrc_mini", split)
    truths = [dataset.ground_truth(i) for i in range(len(dataset))]
    assert (len(dataset), sum(map(len, truths)), dataset.skipped) == (images, boxes, 0)
    assert dataset.indices == tuple(range(1, images + 1))
    assert len({name for found in truths for name in found.names()}) == classes
    assert sum(len(found) == 0 for found in truths) == bare
    assert not any(found.ignore.any() for found in truths)
    for image, found in (dataset[0], dataset[images // 2], dataset[-1]):
        assert image.shape == (found.height, found.width, 3)


@needs_data
def test_original_annotations_give_the_known_boxes(tmp_path: Path) -> None:
    reference = DATA / "ilsvrc_det_val2"
    with gzip.open(reference / "ground_truth_val2.jsonl.gz", "rt") as file:
        known = {entry["id"]: entry for entry in map(json.loads, file)}
    files = sorted((reference / "Annotations_sample").glob("*.xml"))
    (tmp_path / "ILSVRC2013_DET_bbox_val").symlink_to(reference / "Annotations_sample")
    photographs = tmp_path / "ILSVRC2013_DET_val"
    photographs.mkdir()
    for path in files:
        (photographs / f"{path.stem}.JPEG").touch()  # never opened
    write_list(tmp_path, "val2", "".join(f"{path.stem} {known[path.stem]['index']}\n" for path in files))
    dataset = IlsvrcDetDataset(tmp_path, "val2")
    assert len(dataset) == 60
    for i, image_id in enumerate(dataset.image_ids):
        entry, found = known[image_id], dataset.ground_truth(i)
        assert dataset.indices is not None and dataset.indices[i] == entry["index"]
        assert (found.width, found.height) == (entry["width"], entry["height"])
        numbers = [[label + 1, name] for label, name in zip(found.labels.tolist(), found.names(), strict=True)]
        assert numbers == [one[:2] for one in entry["objects"]]
        assert (found.boxes - [0, 0, 1, 1]).tolist() == [one[2:] for one in entry["objects"]]
