"""Which of a detector's classes are which of a data set's."""

from __future__ import annotations

import json

from dataset_extracts import DATA

from inception_rcnn.datasets import VOC_CLASSES
from inception_rcnn.datasets.class_matching import class_positions
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
