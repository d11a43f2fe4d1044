"""Which of ImageNet's outputs are kinds of which class."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from inception_rcnn import datasets
from inception_rcnn.datasets import VOC_CLASSES
from inception_rcnn.datasets.ilsvrc import det_classes
from inception_rcnn.datasets.imagenet_classes import imagenet_outputs, imagenet_synsets

FOLDER = Path(datasets.__file__).parent / "tables"
SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def table(path: Path) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


ROWS = table(FOLDER / "imagenet_classes.tsv")
COCO = list(dict.fromkeys(row["coco"] for row in table(FOLDER / "class_equivalents.tsv")))
WNIDS, ENGLISH = zip(*det_classes(), strict=True)


def test_a_thousand_synsets_in_the_order_of_their_ids() -> None:
    synsets = imagenet_synsets()
    assert len(synsets) == 1000 and list(synsets) == sorted(set(synsets))
    assert (synsets[0], ROWS[0]["name"], synsets[999]) == ("n01440764", "tench", "n15075141")


def test_every_class_of_ilsvrc_det_has_a_kind_and_none_is_under_two() -> None:
    outputs = imagenet_outputs(WNIDS)
    assert min(map(len, outputs)) == 1 and sum(map(len, outputs)) == 495 == len(set(sum(outputs, ())))
    counts = {english: len(own) for english, own in zip(ENGLISH, outputs, strict=True)}
    assert Counter(counts.values())[1] == 159
    assert [counts[name] for name in ("dog", "bird", "snake", "watercraft", "monkey")] == [118, 59, 17, 15, 13]
    assert outputs[ENGLISH.index("dog")] == tuple(range(151, 269))
    assert [ROWS[output]["name"] for output in outputs[ENGLISH.index("person")]] == [
        *("ballplayer", "groom", "scuba diver")
    ]
    assert outputs[ENGLISH.index("tie")] == (906,)  # of Windsor; COCO's has the bow tie too


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs DET's hierarchy in ../shared")
def test_the_classes_of_ilsvrc_det_are_those_of_its_hierarchy() -> None:
    theirs = table(SHARED / "data" / "ilsvrc_det_val2" / "hierarchy.tsv")
    assert [(row["wnid"], row["ilsvrc"]) for row in ROWS] == [(row["cls_wnid"], row["det_wnid"]) for row in theirs]


def test_coco_and_voc_by_their_own_names() -> None:
    outputs = dict(zip(COCO, imagenet_outputs(COCO), strict=True))
    assert {row["coco"] for row in ROWS if row["coco"]} == {name for name in COCO if outputs[name]}
    assert sum(map(bool, outputs.values())) == 63 and sum(map(len, outputs.values())) == 310
    assert outputs["kite"] == () == outputs["giraffe"]  # output 21 is a bird of that name
    assert [ROWS[output]["name"] for output in outputs["tv"]] == ["monitor", "screen", "television"]
    assert all(imagenet_outputs(VOC_CLASSES))
    for voc, coco in (("tvmonitor", "tv"), ("aeroplane", "airplane"), ("diningtable", "dining table")):
        assert imagenet_outputs([voc])[0] == outputs[coco]


def test_the_two_columns_agree_where_the_classes_are_the_same() -> None:
    """Not where they differ: ImageNet's submarine is a watercraft, and no boat."""
    same = {row["coco"]: row["ilsvrc"] for row in table(FOLDER / "class_equivalents.tsv") if row["coco_is"] == "same"}
    for coco, wnid in same.items():
        ours, theirs = (set(imagenet_outputs([name])[0]) for name in (coco, wnid))
        assert ours & theirs
        assert {ROWS[output]["coco"] for output in theirs} <= {coco, ""}
        assert {ROWS[output]["ilsvrc"] for output in ours} <= {wnid, "", "n02883205"}, coco  # the bow tie


def test_english_names_synsets_and_strangers() -> None:
    assert imagenet_outputs(["koala bear", "koala_bear", "n01882714"]) == ((105,),) * 3
    assert imagenet_outputs(["n01440764", "dragon", ""]) == ((0,), (), ())
    assert imagenet_outputs([]) == ()
