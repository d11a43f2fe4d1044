"""Several data sets brought to the classes of one detector: names matched, what a set does not label left open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from marked_set import MarkedSet
from PIL import Image

from inception_rcnn.detector.training.sources import TrainingPhotographs, TrainingSource, classes_to_train
from inception_rcnn.structures import InputError
from inception_rcnn.structures.images import resize_image
from reference.marked_objects import MARKED

COCO = ("person", "tv", "cat", "couch", "dining table", "cup")
# As VOC calls some of them; the third is none of the others' classes.
VOC_CALLS = (("cup", "diningtable"), ("cat", "sofa"), ("person", "tvmonitor"), ("rocket", "aeroplane"))
VOC = ("aeroplane", "diningtable", "sofa", "tvmonitor")


def source(dataset: MarkedSet, name: str = "set", **changes: object) -> TrainingSource:
    return replace(TrainingSource(name, dataset, dataset.propose_set), **changes)


def brought(*sources: TrainingSource, names: tuple[str, ...] = COCO, **options: object) -> TrainingPhotographs:
    return TrainingPhotographs(sources, names, **{"stored_side": 96, "jitter": 2, **options})


@pytest.fixture
def voc(tmp_path: Path) -> MarkedSet:
    """Four photographs under VOC's names."""
    names = ("chelsea", "coffee", "astronaut", "rocket")
    return MarkedSet(tmp_path / "voc", VOC, names, calls=VOC_CALLS)


@pytest.fixture
def coco(tmp_path: Path) -> MarkedSet:
    """Three photographs under COCO's names."""
    return MarkedSet(tmp_path / "coco", COCO)


def test_labels_of_voc_become_coco_s_by_name(voc: MarkedSet) -> None:
    found = brought(source(voc)).photographs
    for number, name in enumerate(("couch", "dining table", "tv")):
        regions = found[number].regions
        assert set(regions.labels.tolist()) == {COCO.index(name), len(COCO)}
        assert regions.labels[:3].tolist() == [COCO.index(name)] * 3  # the object and two shaken copies


def test_an_object_of_a_class_that_the_detector_lacks_is_neither_foreground_nor_background(voc: MarkedSet) -> None:
    rocket = brought(source(voc)).photographs[3]
    assert len(rocket.truths) == 1 and (rocket.regions.labels == len(COCO)).all()
    x1, y1, x2, y2 = rocket.truths[0]
    boxes = rocket.regions.boxes
    shared = np.clip(np.minimum(boxes[:, 2:], [x2, y2]) - np.maximum(boxes[:, :2], [x1, y1]), 0, None).prod(axis=1)
    share = shared / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    assert (share <= 0.5).all()
    known = brought(source(voc), names=(*COCO, "airplane")).photographs[3]
    assert len(known.regions) > len(rocket.regions) and len(COCO) in known.regions.labels


def test_classes_that_a_set_does_not_name_are_unknown_on_its_photographs(coco: MarkedSet, voc: MarkedSet) -> None:
    unknown = brought(source(coco), source(voc)).unknown()
    assert unknown is not None and unknown.shape == (7, len(COCO) + 1)
    assert not unknown[:3].any()
    missing = [name in ("person", "cat", "cup") for name in COCO]
    assert unknown[3:].tolist() == [[*missing, False]] * 4  # never background
    assert brought(source(coco)).unknown() is None


def test_a_kind_of_a_class_teaches_it_and_leaves_open_what_else_is_one(voc: MarkedSet) -> None:
    names = ("n04379243", "n04256520", "n03211117")  # table, sofa, tv or monitor
    photographs = brought(source(voc), names=names)
    assert [set(one.regions.labels.tolist()) for one in photographs.photographs] == [{1, 3}, {0, 3}, {2, 3}, {3}]
    unknown = photographs.unknown()
    assert unknown is not None and unknown.tolist() == [[True, False, False, False]] * 4


def test_what_may_be_of_a_narrower_class_is_left_out(tmp_path: Path) -> None:
    dataset = MarkedSet(tmp_path, ("bottle", "person"), calls=(("cup", "bottle"),), photographs=("coffee", "astronaut"))
    photographs = brought(source(dataset), names=("n04591713", "n00007846"))  # wine bottle, person
    assert [set(one.regions.labels.tolist()) for one in photographs.photographs] == [{2}, {1, 2}]
    unknown = photographs.unknown()
    assert unknown is not None and unknown[:, :2].tolist() == [[True, False]] * 2


def test_display_names_are_matched_where_class_names_are_codes(tmp_path: Path) -> None:
    codes = MarkedSet(tmp_path, ("n1", "n2"), calls=(("cat", "n1"), ("cup", "n2")), display_names=("cat", "cup"))
    found = brought(source(codes)).photographs
    assert [set(one.regions.labels.tolist()) for one in found] == [{2, 6}, {5, 6}, {6}]


def test_classes_are_the_first_set_s_or_those_known_before_if_they_have_all(coco: MarkedSet, voc: MarkedSet) -> None:
    assert classes_to_train([voc, coco]) == VOC and classes_to_train([coco, voc]) == COCO
    assert classes_to_train([coco], COCO[::-1]) == COCO[::-1]
    assert classes_to_train([coco, voc], COCO) == COCO  # no airplane there
    assert classes_to_train([voc], (*COCO, "airplane")) == (*COCO, "airplane")
    assert classes_to_train([coco], ("person", "cat")) == COCO
    assert classes_to_train([voc], ("n04379243", "sofa", "tv", "airplane")) == VOC  # a table is more than they name


def test_large_photographs_are_reduced_with_their_boxes(tmp_path: Path) -> None:
    dataset = MarkedSet(tmp_path, COCO, long_side=128)
    whole, reduced = brought(source(dataset), stored_side=128), brought(source(dataset), stored_side=64)
    for number in range(3):
        one, other = whole.photographs[number], reduced.photographs[number]
        assert one.size == one.original == other.original and max(other.size) == 64
        factor = np.array([other.size[1] / one.size[1], other.size[0] / one.size[0]] * 2)
        np.testing.assert_allclose(other.truths, one.truths * factor, rtol=1e-5)
        image = dataset.load_image(number)
        assert np.array_equal(whole.load(number), image)
        height, width = other.size
        assert np.array_equal(reduced.load(number), resize_image(image, width, height))


def test_a_photograph_whose_size_is_not_annotated_is_opened_for_it(tmp_path: Path) -> None:
    one, other = MarkedSet(tmp_path, COCO), MarkedSet(tmp_path, COCO, known_sizes=False)
    sizes = [[photograph.size for photograph in brought(source(each)).photographs] for each in (one, other)]
    assert sizes[0] == sizes[1]


def test_a_photograph_of_another_size_than_annotated_is_refused(coco: MarkedSet) -> None:
    photographs = brought(source(coco))
    Image.fromarray(coco.load_image(1)).resize((50, 70)).save(coco.path(1))
    with pytest.raises(InputError, match=r"1-coffee\.png should be 96x64, as its annotation says, and is 50x70"):
        photographs.load(1)


def test_rows_best_proposals_and_shaken_copies_are_as_asked_for(coco: MarkedSet) -> None:
    some = brought(source(coco, rows=(2, 0)), best=10, jitter=0)
    assert [(one.source, one.row) for one in some.photographs] == [(0, 2), (0, 0)]
    assert all(len(one.regions) == len(one.truths) + 10 for one in some.photographs)
    first = coco.propose_set()[2].boxes[:10]
    assert np.array_equal(some.photographs[0].regions.boxes[1:], first)
    assert len(MARKED["astronaut"]) > 1 and len(some.photographs[0].truths) == 1  # the person, of all that is marked


def test_proposals_are_told_apart_by_their_checksum(coco: MarkedSet, voc: MarkedSet) -> None:
    fewer = source(coco, propose_set=lambda: coco.propose_set(30))
    checksums = {
        brought(*sources).proposals_checksum for sources in ([source(coco)], [fewer], [source(coco), source(voc)])
    }
    assert len(checksums) == 3
    assert brought(source(coco), best=5).proposals_checksum == brought(source(coco)).proposals_checksum


def test_a_set_without_any_of_the_classes_is_refused(voc: MarkedSet) -> None:
    with pytest.raises(
        InputError, match=r"other has none of the detector's 2 classes \(kite, cup \.\.\.\); its own are"
    ):
        brought(source(voc, "other"), names=("kite", "cup"))


def test_proposals_of_other_photographs_are_refused(coco: MarkedSet) -> None:
    with pytest.raises(InputError, match="few: there are proposals of 2 images, the data set has 3"):
        brought(source(coco, "few", propose_set=lambda: coco.propose_set()[:2]))
