"""Which of a detector's classes are which of a data set's."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from dataset_extracts import DATA

from inception_rcnn import datasets
from inception_rcnn.datasets import VOC_CLASSES
from inception_rcnn.datasets.class_matching import class_positions, match_classes, other_names
from inception_rcnn.datasets.ilsvrc import det_classes

DIFFERENT = {
    "airplane": "aeroplane",
    "dining table": "diningtable",
    "motorcycle": "motorbike",
    "potted plant": "pottedplant",
    "couch": "sofa",
    "tv": "tvmonitor",
}


def test_the_six_names_that_voc_and_coco_have_for_the_same() -> None:
    coco, voc = list(DIFFERENT), list(DIFFERENT.values())
    assert class_positions(coco, VOC_CLASSES).tolist() == [VOC_CLASSES.index(name) for name in voc]
    assert class_positions(voc, coco).tolist() == [0, 1, 2, 3, 4, 5]


def test_an_equal_name_goes_before_another_name_for_the_same() -> None:
    assert class_positions(["sofa", "couch"], ["couch", "sofa"]).tolist() == [1, 0]


def test_underscores_are_spaces_and_unknown_names_are_marked() -> None:
    assert class_positions(["traffic light", "kite"], ["n1", "n2"], ["cup", "traffic_light"]).tolist() == [1, -1]
    assert class_positions(["", "kite"], ["cat"]).tolist() == [-1, -1]


def test_ilsvrc_is_known_by_id_and_by_name() -> None:
    wnids, names = zip(*det_classes(), strict=True)
    assert class_positions(wnids, wnids, names).tolist() == class_positions(names, wnids, names).tolist()
    assert class_positions(names, wnids, names).tolist() == list(range(200))


def test_coco_knows_all_of_voc() -> None:
    categories = json.loads((DATA / "coco_val2017.json").read_text())["categories"]
    known = class_positions([category["name"] for category in categories], VOC_CLASSES)
    assert sorted(known[known >= 0].tolist()) == list(range(20))


# --- COCO, VOC and ILSVRC DET

COCO = [category["name"] for category in json.loads((DATA / "coco_val2017.json").read_text())["categories"]]
WNIDS, ENGLISH = zip(*det_classes(), strict=True)
FILE = Path(datasets.__file__).with_name("tables") / "class_equivalents.tsv"
TABLE = list(csv.DictReader(FILE.read_text(encoding="utf-8").splitlines(), delimiter="\t"))


def test_the_table_names_classes_that_exist_each_of_coco_s_in_its_place() -> None:
    assert list(dict.fromkeys(row["coco"] for row in TABLE)) == COCO
    assert {row["voc"] for row in TABLE} == {"", *VOC_CLASSES}
    english = dict(det_classes()) | {"": ""}
    assert all(english[row["ilsvrc"]] == row["ilsvrc_name"] for row in TABLE)
    assert {(row["ilsvrc"] == "", row["coco_is"]) for row in TABLE} == {
        *((True, ""), (False, "same"), (False, "wider"), (False, "narrower"))
    }


def test_no_class_is_twice_in_the_table_and_equal_names_are_the_same_class() -> None:
    theirs = [row["ilsvrc"] for row in TABLE if row["ilsvrc"]]
    assert len(set(theirs)) == len(theirs)
    same = {row["coco"]: row["ilsvrc_name"] for row in TABLE if row["coco_is"] == "same"}
    assert len(same) == sum(row["coco_is"] == "same" for row in TABLE)
    for name in set(COCO) & set(ENGLISH):
        assert same[name] == name
    for row in TABLE:
        assert row["voc"] == "" or DIFFERENT.get(row["coco"], row["coco"]) == row["voc"]


@pytest.mark.parametrize(
    ("coco", "voc", "english"),
    [
        ("tv", "tvmonitor", "tv or monitor"),
        ("couch", "sofa", "sofa"),
        ("cat", "cat", "domestic cat"),
        ("cow", "cow", "cattle"),
        ("boat", "boat", "watercraft"),
        ("cup", None, "cup or mug"),
        ("mouse", None, "computer mouse"),
        ("hair drier", None, "hair dryer"),
    ],
)
def test_one_class_under_three_names(coco: str, voc: str | None, english: str) -> None:
    position = ENGLISH.index(english)
    for name in (coco, voc) if voc else (coco,):
        assert class_positions([name], WNIDS, ENGLISH).tolist() == [position]
        assert class_positions([WNIDS[position], english], [name]).tolist() == [0, 0]
        match = match_classes([name], [name], WNIDS)
        assert match.position.tolist() == [position] and match.same.all()


def test_how_many_of_each_set_are_the_same() -> None:
    assert (class_positions(COCO, WNIDS, ENGLISH) >= 0).sum() == 41
    unknown = [name for name in VOC_CLASSES if class_positions([name], WNIDS, ENGLISH)[0] < 0]
    assert unknown == ["bottle", "diningtable", "pottedplant"]
    # VOC's twenty teach ILSVRC's 200: a dining table is a table, a bottle need not be of wine.
    match = match_classes(VOC_CLASSES, VOC_CLASSES, WNIDS)
    assert match.same.sum() == 17 and not match.same[VOC_CLASSES.index("diningtable")]
    assert match.position[VOC_CLASSES.index("diningtable")] == ENGLISH.index("table")
    assert [VOC_CLASSES[row] for row in range(20) if match.position[row] < 0] == ["bottle", "pottedplant"]


def test_a_class_may_be_a_kind_of_the_detector_s_but_not_the_other_way_round() -> None:
    match = match_classes(WNIDS, ENGLISH, COCO)
    kinds = {
        english: COCO[place]
        for english, place, same in zip(ENGLISH, match.position, match.same, strict=True)
        if place >= 0 and not same
    }
    balls = ("baseball", "basketball", "croquet ball", "golf ball", "ping-pong ball")
    balls += ("rugby ball", "soccer ball", "tennis ball", "volleyball")
    assert kinds == {ball: "sports ball" for ball in balls} | {
        "bow tie": "tie",
        "digital clock": "clock",
        "hamburger": "sandwich",
        "water bottle": "bottle",
        "wine bottle": "bottle",
    }
    assert match.position[ENGLISH.index("table")] == match.position[ENGLISH.index("racket")] == -1
    assert match.same.sum() == 41
    assert (class_positions(["bottle", "table"], ["wine bottle", "dining table"]) == -1).all()


def test_a_kind_comes_after_the_class_itself() -> None:
    both = match_classes(["sports ball", "soccer ball"], ["", ""], ["soccer ball", "sports ball"])
    assert both.position.tolist() == [1, 0] and both.same.all()


def test_false_friends_stay_apart() -> None:
    assert other_names("kite") == ()  # COCO's flies on a string, ImageNet's is a bird
    assert other_names("bow") == ("n02879718",) and other_names("bow_tie") == ("n02883205",)
    assert "n04591157" in other_names("tie") and "n02883205" not in other_names("tie")
