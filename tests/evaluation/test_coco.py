"""COCO's numbers against cases worked out by hand, and against pycocotools reading files."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inception_rcnn.datasets import CocoDataset
from inception_rcnn.evaluation import CocoResult, evaluate_coco
from inception_rcnn.evaluation.coco import STAT_NAMES
from inception_rcnn.structures import Detections, GroundTruth, InputError

COCO_MINI = Path(__file__).resolve().parents[3] / "shared" / "data" / "coco_mini"
needs_coco_mini = pytest.mark.skipif(not COCO_MINI.is_dir(), reason="the photographs of ../shared are not here")

NAMES = ("cat", "dog", "cow")


def square(position: float, side: float = 10) -> list[float]:
    """A square box; different positions do not touch."""
    return [position * 100, 0, position * 100 + side, side]


NOWHERE = square(50)


def truth(*boxes: list[float], label: int = 0, **change: Any) -> GroundTruth:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return GroundTruth(array, np.full(len(array), label), NAMES, **change)


def found(*pairs: tuple[list[float], float], label: int = 0) -> Detections:
    boxes = np.array([box for box, _ in pairs], np.float32).reshape(-1, 4)
    return Detections.ordered(boxes, [score for _, score in pairs], [label] * len(pairs), NAMES)


def average_precision(objects: GroundTruth, detections: Detections) -> float:
    return evaluate_coco([objects], [detections]).map


def at_101_recalls(*steps: tuple[int, float]) -> float:
    """Mean over the recalls 0, 0.01 ... 1: (how many of them, the precision there)."""
    return sum(count * precision for count, precision in steps) / 101


def test_a_perfect_detection() -> None:
    assert average_precision(truth(square(0)), found((square(0), 0.5))) == pytest.approx(1)


def test_nothing_found() -> None:
    result = evaluate_coco([truth(square(0))], [Detections.empty(NAMES)])
    assert (result.map, result.ap["cat"], result.detections, result.images) == (0, 0, 0, 1)
    assert result.stats["AR100"] == 0


def test_hit_miss_hit() -> None:
    value = average_precision(truth(square(0), square(1)), found((square(0), 0.9), (NOWHERE, 0.8), (square(1), 0.7)))
    assert value == pytest.approx(at_101_recalls((51, 1), (50, 2 / 3)))  # recall 0.5 with the first, 1 with the third


def test_miss_hit_and_one_object_never_found() -> None:
    value = average_precision(truth(square(0), square(1)), found((NOWHERE, 0.9), (square(0), 0.8)))
    assert value == pytest.approx(at_101_recalls((51, 1 / 2), (50, 0)))


def test_a_second_detection_of_the_same_object_is_a_miss() -> None:
    value = average_precision(truth(square(0), square(1)), found((square(0), 0.9), (square(0), 0.8), (square(1), 0.7)))
    assert value == pytest.approx(at_101_recalls((51, 1), (50, 2 / 3)))


@pytest.mark.parametrize(("height", "expected"), [(5.0, 1.0), (4.99, 0.0)])
def test_overlap_of_one_half_is_enough(height: float, expected: float) -> None:
    assert average_precision(truth(square(0)), found(([0, 0, 10, height], 0.9))) == pytest.approx(expected)


def test_overlap_is_measured_without_an_added_pixel() -> None:
    # 2 of 4 columns: 0.5 with exclusive corners, 3/5 had each side been one longer
    result = evaluate_coco([truth([0, 0, 4, 1])], [found(([0, 0, 2, 1], 0.9))])
    assert result.map == pytest.approx(1)
    assert result.stats["AP"] == pytest.approx(0.1)  # of the ten thresholds only 0.5 is reached


def test_the_wrong_class_is_a_miss_for_both() -> None:
    result = evaluate_coco(
        [truth(square(0)), truth(square(0), label=1)], [found((square(0), 0.9), label=1), Detections.empty(NAMES)]
    )
    assert (result.ap["cat"], result.ap["dog"]) == (0, 0)


def test_classes_without_objects_are_none_and_left_out() -> None:
    result = evaluate_coco(
        [truth(square(0)), truth(square(0), label=2)],
        [found((square(0), 0.9)), found((square(0), 0.9), label=1)],
    )
    assert result.ap == {"cat": pytest.approx(1), "dog": None, "cow": 0}
    assert result.map == pytest.approx(0.5)
    assert result.map == pytest.approx(result.stats["AP50"])


def test_a_detection_inside_a_crowd_does_not_count() -> None:
    crowd = truth(square(0), [1000, 0, 1200, 200], ignore=[False, True])
    inside = found(([1010, 10, 1030, 30], 0.9), ([1050, 10, 1080, 30], 0.8), (square(0), 0.7))
    assert average_precision(crowd, inside) == pytest.approx(1)
    no_crowd = truth(square(0))
    assert average_precision(no_crowd, inside) == pytest.approx(1 / 3)


def test_a_crowd_need_not_be_found() -> None:
    crowd = truth(square(0), [1000, 0, 1200, 200], ignore=[False, True])
    assert average_precision(crowd, found((square(0), 0.7))) == pytest.approx(1)


def test_a_crowd_of_another_class_excuses_nothing() -> None:
    objects = GroundTruth(
        np.array([square(0), [1000, 0, 1200, 200]], np.float32), np.array([0, 1]), NAMES, np.array([False, True])
    )
    assert average_precision(objects, found(([1010, 10, 1030, 30], 0.9), (square(0), 0.7))) == pytest.approx(1 / 2)


@pytest.mark.parametrize(("misses", "expected"), [(99, 1 / 100), (100, 0)])
def test_the_best_hundred_of_an_image_and_class_count(misses: int, expected: float) -> None:
    pairs = [(square(i + 1), 0.9) for i in range(misses)] + [(square(0), 0.1)]
    assert average_precision(truth(square(0)), found(*pairs)) == pytest.approx(expected)


def test_the_hundred_are_counted_for_each_class() -> None:
    boxes = [square(i + 1) for i in range(100)] + [square(0)]
    both = Detections.ordered(boxes, [0.9] * 100 + [0.1], [1] * 100 + [0], NAMES)
    assert evaluate_coco([truth(square(0))], [both]).ap["cat"] == pytest.approx(1)


def test_images_without_objects_can_only_lose() -> None:
    value = evaluate_coco(
        [truth(square(0)), truth()],
        [found((square(0), 0.5)), found((square(0), 0.9))],
    ).map
    assert value == pytest.approx(1 / 2)


def test_the_area_given_decides_about_size_and_not_the_box() -> None:
    box = square(0, side=100)
    by_box = evaluate_coco([truth(box)], [found((box, 0.9))]).stats
    assert (by_box["APs"], by_box["APm"], by_box["APl"]) == (None, None, pytest.approx(1))
    given = evaluate_coco([truth(box, areas=[500])], [found((box, 0.9))]).stats
    assert (given["APs"], given["APm"], given["APl"]) == (pytest.approx(1), None, None)


def test_the_twelve_numbers_of_a_small_case() -> None:
    # one small object (side 20), overlapped by 0.72: thresholds 0.5, 0.55, 0.6, 0.65 and 0.7 of ten are reached
    box = square(0, side=20)
    stats = evaluate_coco([truth(box)], [found(([0, 0, 20, 14.4], 0.9))]).stats
    half = pytest.approx(0.5)
    assert tuple(stats) == STAT_NAMES
    assert [stats[name] for name in ("AP", "AR1", "AR10", "AR100", "APs", "ARs")] == [half] * 6
    assert (stats["AP50"], stats["AP75"]) == (pytest.approx(1), 0)
    assert (stats["APm"], stats["ARl"]) == (None, None)


def test_recall_with_one_detection_an_image() -> None:
    stats = evaluate_coco([truth(square(0), square(1))], [found((square(0), 0.9), (square(1), 0.8))]).stats
    assert (stats["AR1"], stats["AR10"]) == (pytest.approx(0.5), pytest.approx(1))


def test_classes_are_matched_by_name() -> None:
    other = Detections(np.array([square(0)], np.float32), np.array([0.9], np.float32), np.array([0]), ("cow",))
    result = evaluate_coco([truth(square(0), label=2), truth(square(1))], [other, Detections.empty(NAMES)])
    assert result.ap == {"cat": 0, "dog": None, "cow": pytest.approx(1)}


@pytest.mark.parametrize(("ids", "expected"), [((1, 2), 1 / 2), ((2, 1), 1.0), (("b", "a"), 1 / 2), ((0, 0), 1 / 2)])
def test_equal_scores_stand_in_the_order_of_whole_ids_else_of_position(ids: tuple[Any, Any], expected: float) -> None:
    # in the first image the detection misses, in the second it hits, with the same score
    value = evaluate_coco(
        [truth(image_id=ids[0]), truth(square(0), image_id=ids[1])],
        [found((NOWHERE, 0.5)), found((square(0), 0.5))],
    ).map
    assert value == pytest.approx(expected)


def test_inverted_boxes_are_carried_as_coco_does() -> None:
    # of negative area: outside every size range, so ignored; inverted twice: positive area, a miss
    assert average_precision(truth(square(0)), found(([30, 5, 20, 9], 0.9), (square(0), 0.5))) == pytest.approx(1)
    assert average_precision(truth(square(0)), found(([30, 9, 20, 5], 0.9), (square(0), 0.5))) == pytest.approx(0.5)


def test_nothing_is_printed_and_nothing_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    objects, detections = truth(square(0)), found((square(0), 0.9))
    first = evaluate_coco([objects], [detections])
    assert capsys.readouterr() == ("", "")
    assert objects.boxes.tolist() == detections.boxes.tolist() == [square(0)]
    assert evaluate_coco([objects], [detections]) == first


@pytest.mark.parametrize(
    ("objects", "detections", "text"),
    [
        ([truth(square(0))], [], "one entry for each image, got 0 for 1"),
        ([], [], "at least one object"),
        ([truth()], [Detections.empty(NAMES)], "at least one object"),
        ([truth(square(0), ignore=[True])], [Detections.empty(NAMES)], "at least one object that is not ignored"),
        (
            [truth(square(0)), GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), ("cat",))],
            [Detections.empty(NAMES)] * 2,
            r"ground_truths\[1\] has other class_names",
        ),
        ([truth(square(0))], [Detections.empty(("cat", "unicorn"))], r"detections\[0\] has classes .*'unicorn'"),
        (
            [GroundTruth(np.array([square(0)], np.float32), np.array([0]), ("cat", "cat"))],
            [Detections.empty(("cat",))],
            "should differ from each other",
        ),
    ],
)
def test_wrong_arguments_are_named(objects: Any, detections: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        evaluate_coco(objects, detections)


def random_case(seed: int) -> tuple[list[GroundTruth], list[Detections]]:
    """Images with objects, crowds, areas, and detections near them with many equal scores; ids out of order."""
    random = np.random.default_rng(seed)
    objects, detections = [], []
    for image_id in random.permutation(12).tolist():
        count = int(random.integers(0, 6))
        corner, side = random.integers(0, 150, (count, 2)), random.integers(4, 130, (count, 2))
        boxes = np.hstack([corner, corner + side]).astype(np.float32)
        labels, crowd = random.integers(0, 3, count), random.random(count) < 0.2
        areas = (side.prod(axis=1) * random.uniform(0.4, 1, count)).round(1)
        objects.append(GroundTruth(boxes, labels, NAMES, crowd, areas.astype(np.float32), image_id))
        near = np.repeat(boxes, 3, axis=0) + random.integers(-9, 10, (3 * count, 4))
        wrong = np.repeat(labels, 3)
        wrong[random.random(3 * count) < 0.2] = 1
        detections.append(Detections.ordered(near, random.integers(0, 10, 3 * count) / 10, wrong, NAMES))
    return objects, detections


def by_files(objects: list[GroundTruth], detections: list[Detections], folder: Path) -> list[float]:
    """The twelve numbers as COCO's own example gets them: a truth file, a results file, loadRes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for one, many in zip(objects, detections, strict=True):
        assert one.areas is not None
        for k, (x1, y1, x2, y2) in enumerate(one.boxes.tolist()):
            entry = {"id": len(annotations) + 1, "image_id": one.image_id, "category_id": int(one.labels[k]) + 1}
            size = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": float(one.areas[k]), "iscrowd": int(one.ignore[k])}
            annotations.append(entry | size)
        for k, (x1, y1, x2, y2) in enumerate(many.boxes.tolist()):
            entry = {"image_id": one.image_id, "category_id": int(many.labels[k]) + 1, "score": float(many.scores[k])}
            results.append(entry | {"bbox": [x1, y1, x2 - x1, y2 - y1]})
    images = [{"id": one.image_id} for one in objects]
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)]
    content = {"info": {}, "images": images, "categories": categories, "annotations": annotations}
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(str(folder / "truth.json"))
        run = COCOeval(reference, reference.loadRes(str(folder / "results.json")), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(value) for value in run.stats]


@pytest.mark.parametrize("seed", range(4))
def test_the_twelve_numbers_are_those_of_pycocotools_on_files(seed: int, tmp_path: Path) -> None:
    objects, detections = random_case(seed)
    result = evaluate_coco(objects, detections)
    expected = by_files(objects, detections, tmp_path)
    assert [-1.0 if value is None else value for value in result.stats.values()] == expected
    assert 0.05 < result.map < 0.95
    assert result.map == pytest.approx(expected[1], abs=1e-12)


def test_the_result_is_a_record() -> None:
    result = evaluate_coco([truth(square(0))], [found((square(0), 0.9))])
    assert isinstance(result, CocoResult)
    with pytest.raises(AttributeError):
        result.map = 0.5  # type: ignore[misc]


@needs_coco_mini
def test_the_truth_itself_is_found_perfectly_on_real_data() -> None:
    dataset = CocoDataset(COCO_MINI, "val")
    objects = [dataset.ground_truth(i) for i in range(len(dataset))]
    perfect = [
        Detections.ordered(one.boxes, np.full(len(one), 0.5), one.labels, one.class_names)
        for one in (whole[~whole.ignore] for whole in objects)
    ]
    result = evaluate_coco(objects, perfect)
    assert (result.images, result.detections) == (150, 1075)
    assert result.map == pytest.approx(1)
    assert {name for name, value in result.ap.items() if value is None} == {
        "sheep",
        "zebra",
        "skis",
        "carrot",
        "hair drier",
    }
