"""COCO's format: sparse category ids, crowds, and every way a truth file can be wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dataset_extracts import lay_out
from PIL import Image

from inception_rcnn.datasets import CocoDataset
from inception_rcnn.structures import DataFormatError, ImageError, InputError

COCO_MINI = Path(__file__).resolve().parents[3] / "shared" / "data" / "coco_mini"
needs_coco_mini = pytest.mark.skipif(not COCO_MINI.is_dir(), reason="the photographs of ../shared are not here")

Truth = dict[str, Any]


def small_truth() -> Truth:
    """Two photographs, the second without objects; category ids with gaps and out of order; one crowd."""
    return {
        "images": [
            {"id": 30, "file_name": "b.png", "width": 40, "height": 20},
            {"id": 7, "file_name": "a.png", "width": 10, "height": 15},
        ],
        "annotations": [
            {"id": 5, "image_id": 30, "category_id": 90, "bbox": [1, 2, 10, 5], "area": 33.5, "iscrowd": 0},
            {
                "id": 2,
                "image_id": 30,
                "category_id": 3,
                "bbox": [0.5, 0.25, 39.5, 19.75],
                "iscrowd": 1,
                "area": 200,
                "segmentation": {"counts": [0, 800], "size": [20, 40]},
            },
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
    }


def write(root: Path, truth: Truth, *, where: str = "val.json", photographs: str = "val") -> Path:
    """Put truth file and photographs on the disk; return the truth file."""
    (root / photographs).mkdir(parents=True, exist_ok=True)
    for image in small_truth()["images"]:
        colour = (image["id"], 0, 0)
        Image.new("RGB", (image["width"], image["height"]), colour).save(root / photographs / image["file_name"])
    path = root / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(truth), encoding="utf-8")
    return path


@pytest.mark.parametrize("where", ["val.json", "annotations/instances_val.json"])
@pytest.mark.parametrize("photographs", ["val", "images", "."])
def test_every_layout_is_found(tmp_path: Path, where: str, photographs: str) -> None:
    path = write(tmp_path, small_truth(), where=where, photographs=photographs)
    dataset = CocoDataset(tmp_path, "val")
    assert dataset.truth_path == path
    assert [dataset.path(i) for i in range(2)] == [tmp_path / photographs / name for name in ("b.png", "a.png")]


def test_photographs_of_the_split_come_before_others_of_the_same_name(tmp_path: Path) -> None:
    write(tmp_path, small_truth(), photographs="images")
    write(tmp_path, small_truth(), photographs="val")
    assert CocoDataset(str(tmp_path), "val").path(0) == tmp_path / "val" / "b.png"


def test_classes_are_in_the_order_of_their_ids_and_labels_are_positions(tmp_path: Path) -> None:
    write(tmp_path, small_truth())
    dataset = CocoDataset(tmp_path, "val")
    assert dataset.category_ids == (1, 3, 90)
    assert dataset.class_names == ("person", "car", "toothbrush")
    assert dataset.ground_truth(0).labels.tolist() == [2, 1]
    assert dataset.ground_truth(0).names() == ["toothbrush", "car"]


def test_objects_are_translated_to_corners_and_crowds_are_to_ignore(tmp_path: Path) -> None:
    write(tmp_path, small_truth())
    truth = CocoDataset(tmp_path, "val").ground_truth(0)
    assert truth.boxes.tolist() == [[1, 2, 11, 7], [0.5, 0.25, 40, 20]]
    assert truth.ignore.tolist() == [False, True]
    assert truth.areas is not None
    assert truth.areas.tolist() == [33.5, 200]
    assert (truth.image_id, truth.width, truth.height) == (30, 40, 20)


def test_images_keep_the_order_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, small_truth())
    dataset = CocoDataset(tmp_path, "val")
    assert (len(dataset), dataset.image_ids, dataset.skipped, dataset.problems) == (2, (30, 7), 0, [])
    image, truth = dataset[0]
    assert (image.shape, image[0, 0].tolist(), truth.image_id) == ((20, 40, 3), [30, 0, 0], 30)
    assert [truth.image_id for _, truth in dataset] == [30, 7]
    assert dataset[-1][1].image_id == 7
    with pytest.raises(IndexError):
        dataset[2]


def test_an_image_without_annotations_has_no_objects(tmp_path: Path) -> None:
    write(tmp_path, small_truth())
    image, truth = CocoDataset(tmp_path, "val")[1]
    assert image.shape == (15, 10, 3)
    assert (truth.boxes.shape, len(truth), truth.areas is not None) == ((0, 4), 0, True)


def test_what_may_be_left_out(tmp_path: Path) -> None:
    truth = small_truth()
    del truth["images"][0]["width"], truth["images"][0]["height"]
    for key in ("id", "area", "iscrowd"):
        del truth["annotations"][0][key]
    write(tmp_path, truth)
    objects = CocoDataset(tmp_path, "val").ground_truth(0)
    assert objects.areas is not None
    assert (objects.areas[0], objects.ignore[0], objects.width, objects.height) == (
        50,
        False,
        40,
        20,
    )  # the photograph tells its size


def test_ids_may_be_texts_and_a_byte_order_mark_may_stand_first(tmp_path: Path) -> None:
    truth = small_truth()
    truth["images"][0]["id"] = truth["annotations"][0]["image_id"] = truth["annotations"][1]["image_id"] = "b"
    path = write(tmp_path, truth)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    dataset = CocoDataset(tmp_path, "val")
    assert dataset.image_ids == ("b", 7)
    assert len(dataset.ground_truth(0)) == 2


def test_file_names_may_hold_folders(tmp_path: Path) -> None:
    truth = small_truth()
    for image in truth["images"]:
        image["file_name"] = "deep/" + image["file_name"]
    write(tmp_path, truth, photographs="images/deep")
    assert CocoDataset(tmp_path, "val").path(0) == tmp_path / "images" / "deep" / "b.png"


def test_photographs_are_opened_only_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path, small_truth())
    (tmp_path / "val" / "a.png").write_bytes(b"damaged")
    dataset = CocoDataset(tmp_path, "val")
    assert dataset[0][1].image_id == 30
    assert len(dataset.ground_truth(1)) == 0
    with pytest.raises(ImageError, match=r"a\.png"):
        dataset[1]


def test_a_photograph_of_another_size_is_refused(tmp_path: Path) -> None:
    write(tmp_path, small_truth())
    Image.new("RGB", (20, 40)).save(tmp_path / "val" / "b.png")
    with pytest.raises(DataFormatError, match=r"image 30: .*b\.png is 20 x 40 pixels, but .* say 40 x 20"):
        CocoDataset(tmp_path, "val").load_image(0)


def change(list_name: str, position: int, **fields: Any) -> Callable[[Truth], None]:
    def apply(truth: Truth) -> None:
        truth[list_name][position].update(fields)

    return apply


def drop(list_name: str, position: int, field: str) -> Callable[[Truth], None]:
    def apply(truth: Truth) -> None:
        del truth[list_name][position][field]

    return apply


def replace(list_name: str, position: int, value: Any) -> Callable[[Truth], None]:
    def apply(truth: Truth) -> None:
        truth[list_name][position] = value

    return apply


BROKEN_ANNOTATIONS: list[tuple[Callable[[Truth], None], str]] = [
    (change("annotations", 0, category_id=2), "annotation 5: category_id 2 is none of the 3 categories"),
    (change("annotations", 0, category_id=True), "annotation 5: category_id True"),
    (change("annotations", 0, category_id=[1]), r"annotation 5: category_id \[1\]"),
    (drop("annotations", 0, "category_id"), "annotation 5: category_id None"),
    (change("annotations", 0, image_id=8), "annotation 5: image_id 8 is none of the images"),
    (change("annotations", 0, image_id=None), "annotation 5: image_id None"),
    (change("annotations", 0, image_id=30.5), "annotation 5: image_id 30.5"),
    (change("annotations", 0, image_id="8"), "annotation 5: image_id '8' is none of the images"),
    (change("annotations", 0, bbox=[1, 2, 0, 5]), "annotation 5: its box has no area: x y width height are 1 2 0 5"),
    (change("annotations", 0, bbox=[1, 2, 5, -1]), "annotation 5: .* has no area"),
    (change("annotations", 0, bbox=[100, 2, 1e-9, 5]), "annotation 5: .* has no area"),
    (change("annotations", 0, bbox=[1, 2, 3]), "annotation 5: bbox should be four numbers"),
    (change("annotations", 0, bbox="1 2 3 4"), "annotation 5: bbox should be four numbers"),
    (change("annotations", 0, bbox=[1, 2, "three", 4]), "annotation 5: bbox should be four numbers"),
    (change("annotations", 0, bbox=[1, 2, True, 4]), "annotation 5: bbox should be four numbers"),
    (change("annotations", 0, bbox=[1, 2, float("nan"), 4]), "annotation 5: bbox should be four numbers"),
    (change("annotations", 0, bbox=[1, 2, float("inf"), 4]), "annotation 5: bbox should be four numbers"),
    (change("annotations", 0, bbox=[1, 2, 10**400, 4]), "annotation 5: bbox should be four numbers"),
    (drop("annotations", 0, "bbox"), "annotation 5: bbox should be four numbers"),
    (change("annotations", 0, iscrowd=2), "annotation 5: iscrowd should be 0 or 1, got 2"),
    (change("annotations", 0, area=-1), "annotation 5: area should be a number"),
    (change("annotations", 0, area="big"), "annotation 5: area should be a number"),
    (replace("annotations", 0, {"image_id": 30}), "annotation without id at position 0: category_id None"),
    (replace("annotations", 0, [1, 2]), "annotation without id at position 0: should be an object"),
]

BROKEN_IMAGES: list[tuple[Callable[[Truth], None], str]] = [
    (change("images", 0, file_name="c.png"), r"image 30: the photograph 'c\.png' is missing, looked in .*val"),
    (change("images", 0, file_name="../x.png"), "image 30: file_name .* leads out of"),
    (change("images", 0, file_name="/etc/hosts"), "image 30: file_name .* leads out of"),
    (change("images", 0, file_name=5), "image 30: file_name should be"),
    (drop("images", 0, "file_name"), "image 30: file_name should be"),
    (change("images", 0, width=-1), "image 30: width and height should be"),
    (change("images", 0, height=20.5), "image 30: width and height should be"),
    (change("images", 0, height=10**30), "image 30: width and height should be .*, to 1000000000, got"),
]

BROKEN_WHOLES: list[tuple[Callable[[Truth], None], str]] = [
    (change("categories", 1, id="one"), "category one: should be an object whose id is a whole number"),
    (replace("categories", 1, "person"), "category without id at position 1"),
    (drop("categories", 1, "name"), "category 1: name should be a text"),
    (change("categories", 1, id=[1, "one"]), "category without id at position 1: .* whose id is a whole number"),
    (change("categories", 1, id=3), "category 3: another category has the same id"),
    (change("categories", 1, name="car"), "category 3: another category has .* the name 'car'"),
    (lambda truth: truth.pop("annotations"), "should be a COCO truth: .* no annotations here"),
    (lambda truth: truth.update(images={}), "no images here"),
]


@pytest.mark.parametrize(("damage", "text"), BROKEN_ANNOTATIONS + BROKEN_IMAGES + BROKEN_WHOLES)
def test_what_is_broken_is_named_with_file_and_id(tmp_path: Path, damage: Callable[[Truth], None], text: str) -> None:
    truth = small_truth()
    damage(truth)
    path = write(tmp_path, truth)
    with pytest.raises(DataFormatError, match=text) as caught:
        CocoDataset(tmp_path, "val")
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(("damage", "text"), BROKEN_ANNOTATIONS)
def test_broken_annotations_can_be_skipped(tmp_path: Path, damage: Callable[[Truth], None], text: str) -> None:
    truth = small_truth()
    damage(truth)
    write(tmp_path, truth)
    dataset = CocoDataset(tmp_path, "val", skip_broken=True)
    assert (dataset.skipped, dataset.image_ids) == (1, (30, 7))
    assert dataset.ground_truth(0).names() == ["car"]
    with pytest.raises(DataFormatError, match=text):
        raise DataFormatError(dataset.problems[0], path="problem")


@pytest.mark.parametrize(("damage", "text"), BROKEN_IMAGES)
def test_broken_images_can_be_skipped_with_their_annotations(
    tmp_path: Path, damage: Callable[[Truth], None], text: str
) -> None:
    truth = small_truth()
    damage(truth)
    write(tmp_path, truth)
    dataset = CocoDataset(tmp_path, "val", skip_broken=True)
    assert (dataset.skipped, dataset.image_ids, len(dataset)) == (1, (7,), 1)
    assert dataset[0][0].shape == (15, 10, 3)
    assert text.split(":")[0] in dataset.problems[0]


def test_an_id_that_occurs_twice_is_named_and_the_first_stays(tmp_path: Path) -> None:
    truth = small_truth()
    truth["images"].append(copy.deepcopy(truth["images"][0]) | {"file_name": "a.png"})
    write(tmp_path, truth)
    with pytest.raises(DataFormatError, match="image 30: another image has the same id"):
        CocoDataset(tmp_path, "val")
    dataset = CocoDataset(tmp_path, "val", skip_broken=True)
    assert (dataset.image_ids, dataset.skipped, dataset.path(0).name) == ((30, 7), 1, "b.png")
    assert len(dataset.ground_truth(0)) == 2


def test_wholes_are_never_skipped(tmp_path: Path) -> None:
    for damage, text in BROKEN_WHOLES:
        truth = small_truth()
        damage(truth)
        write(tmp_path, truth)
        with pytest.raises(DataFormatError, match=text):
            CocoDataset(tmp_path, "val", skip_broken=True)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", r"val\.json, line 1, column 1: is not valid JSON"),
        (b'{"images": [\n1,\n', r"val\.json, line 3, column 1: is not valid JSON: .*download complete"),
        (
            b'{"images": [' + b"9" * 5000 + b"]}",
            r"val\.json: is not valid JSON: it holds a whole number of more than 4300",
        ),
        (b"\xff\xfe\x00", r"val\.json: is not valid JSON: .*decode"),
        (b"[" * 100_000, r"val\.json: is not valid JSON|val\.json, line"),
        (b"[]", "should be a COCO truth"),
        (b'[{"image_id": 1, "score": 0.5}]', "should be a COCO truth"),
        (b"null", "should be a COCO truth"),
    ],
)
def test_a_file_that_is_no_coco_truth_is_named(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "val.json").write_bytes(content)
    with pytest.raises(DataFormatError, match=text):
        CocoDataset(tmp_path, "val")


def test_a_missing_folder_or_truth_file_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is no folder"):
        CocoDataset(tmp_path / "nowhere", "val")
    with pytest.raises(InputError, match=r"split 'test': neither .*test\.json nor .*instances_test\.json"):
        CocoDataset(tmp_path, "test")


def test_annotations_of_coco(tmp_path: Path) -> None:
    lay_out("coco", tmp_path)
    dataset = CocoDataset(tmp_path, "val")
    assert (len(dataset.class_names), dataset.category_ids[-1], dataset.image_ids) == (80, 90, (285, 1000, 553664))
    assert dataset.category_ids[10:13] == (11, 13, 14) and dataset.class_names[79] == "toothbrush"
    truths = [truth for _, truth in dataset]
    assert [len(truth) for truth in truths] == [1, 17, 18] and sum(int(truth.ignore.sum()) for truth in truths) == 1
    assert truths[0].names() == ["bear"] and dataset.ground_truths().image_names[0] == "000000000285"
    assert dataset.ground_truths().box[0].tolist() == [1.43, 68.81, 1.43 + 584.57, 68.81 + 563.94]


@needs_coco_mini
def test_real_photographs_and_their_truth() -> None:
    dataset = CocoDataset(COCO_MINI, "val")
    truths = [dataset.ground_truth(i) for i in range(len(dataset))]
    assert (len(dataset), len(dataset.class_names), dataset.category_ids[-1], dataset.skipped) == (150, 80, 90, 0)
    assert sum(int((~truth.ignore).sum()) for truth in truths) == 1075
    assert sum(int(truth.ignore.sum()) for truth in truths) == 9
    seen = {name for truth in truths for name in truth[~truth.ignore].names()}
    assert set(dataset.class_names) - seen == {"sheep", "zebra", "skis", "carrot", "hair drier"}
    for image, truth in (dataset[0], dataset[77], dataset[149]):
        assert image.shape == (truth.height, truth.width, 3)
        assert (truth.boxes[:, 2] <= image.shape[1] + 1).all()
        assert (truth.boxes[:, 3] <= image.shape[0] + 1).all()
