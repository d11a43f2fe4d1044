"""ILSVRC DET's rules one by one, and thousands of random cases against a slow, obvious evaluator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from inception_rcnn.evaluation import EvaluationResult, evaluate_ilsvrc
from inception_rcnn.evaluation.coco_matching import side_length
from inception_rcnn.evaluation.pixel_matching import undone
from inception_rcnn.structures import Detections, GroundTruth, InputError
from inception_rcnn.structures.boxes import undo_sum
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable
from reference.slow_ilsvrc import slow_ilsvrc

NAMES = ("cat", "dog", "cow")
NOWHERE = (900, 900, 950, 950)


def exclusive(boxes: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(boxes, np.float64).reshape(-1, 4) + np.array([0, 0, 1, 1])


def truth(
    *entries: tuple[Any, ...], ids: Sequence[int | str] = (1, 2, 3), names: tuple[str, ...] = NAMES
) -> GroundTruthTable:
    """Objects as (image, label, inclusive box)."""
    image, label = [entry[0] for entry in entries], [entry[1] for entry in entries]
    return GroundTruthTable(
        names, tuple(ids), np.array(image, int), np.array(label, int), exclusive([e[2] for e in entries])
    )


def found(*entries: tuple[Any, ...]) -> DetectionTable:
    """Detections as (image, label, score, inclusive box)."""
    return DetectionTable(
        np.array([entry[0] for entry in entries], int),
        np.array([entry[1] for entry in entries], int),
        np.array([entry[2] for entry in entries], float),
        exclusive([entry[3] for entry in entries]),
    )


def outcomes(result: EvaluationResult, name: str = "cat") -> list[int]:
    """What happened to the detections of a class, best first."""
    assert result.matches is not None
    return result.matches.outcome[result.curve(name).row].tolist()


BIG = (0, 0, 99, 99)  # 100 x 100 pixels: asks for 0.5


def test_corners_are_pixels_that_belong_to_the_box() -> None:
    # 30 of 60 columns, 1/2 with the pixel; 29/59 without
    objects = truth((0, 0, (0, 0, 59, 59)))
    half = found((0, 0, 0.9, (0, 0, 29, 59)))
    assert evaluate_ilsvrc(objects, half).map == 1
    assert evaluate_ilsvrc(objects, half, inclusive=False).map == 0


@pytest.mark.parametrize(
    ("box", "right"),
    [((14.5, 29.3, 267.8, 63.4), 522.1), ((19.6, 24.3, 31.8, 240.9), 45.0), ((26, 9.9, 313.4, 31.2), 601.8)],
)
def test_the_added_pixel_is_undone_to_the_last_bit(box: tuple[float, float, float, float], right: float) -> None:
    # the detection is half the object; in the file's numbers the overlap is 0.5, in 1 + them - 1 a bit less
    objects = truth((0, 0, (box[0], box[1], right, box[3])))
    assert evaluate_ilsvrc(objects, found((0, 0, 0.9, box)), relaxed=False).map == 1


@pytest.mark.parametrize(("rows", "expected"), [(50, 1), (49, 0)])
def test_an_overlap_equal_to_one_half_is_enough(rows: int, expected: float) -> None:
    assert evaluate_ilsvrc(truth((0, 0, BIG)), found((0, 0, 0.9, (0, 0, 99, rows - 1)))).map == expected


@pytest.mark.parametrize(("rows", "expected"), [(5, 1), (4, 0)])
def test_small_objects_ask_for_less(rows: int, expected: float) -> None:
    # 20 x 10: 200 / (30 * 20) = 1/3; 5 of 10 rows give 1/2, 4 give 2/5, 3 give less
    objects = truth((0, 0, (0, 0, 19, 9)))
    assert evaluate_ilsvrc(objects, found((0, 0, 0.9, (0, 0, 19, rows - 1))), relaxed=False).map == expected
    assert evaluate_ilsvrc(objects, found((0, 0, 0.9, (0, 0, 19, rows - 1)))).map == 1
    assert evaluate_ilsvrc(objects, found((0, 0, 0.9, (0, 0, 19, 2)))).map == 0


def test_an_overlap_equal_to_the_relaxed_threshold_is_enough() -> None:
    # 10 x 10: 100 / 400 = 1/4; a detection of 25 pixels inside
    objects = truth((0, 0, (0, 0, 9, 9)))
    assert evaluate_ilsvrc(objects, found((0, 0, 0.9, (0, 0, 4, 4)))).map == 1
    assert evaluate_ilsvrc(objects, found((0, 0, 0.9, (0, 0, 4, 3)))).map == 0


def test_an_object_that_fails_its_threshold_does_not_block_another() -> None:
    # overlaps: with the large object (0.5 asked) 0.45, with the small one (1/4 asked) 0.3 or so
    large, small = (0, 0, 99, 99), (0, 0, 9, 9)
    detection = (0, 0, 9, 29)  # 300 pixels: IoU 0.03 with the large one, 1/3 with the small one
    result = evaluate_ilsvrc(truth((0, 0, large), (0, 0, small)), found((0, 0, 0.9, detection)))
    assert result.matches is not None and result.matches.partner.tolist() == [1]
    higher = (0, 0, 9, 29)  # an object of 600 pixels asks for 0.46..., overlap 1/2 > 1/3: it is taken first
    result = evaluate_ilsvrc(truth((0, 0, (0, 0, 19, 29)), (0, 0, small)), found((0, 0, 0.9, higher)))
    assert result.matches is not None and result.matches.partner.tolist() == [0]
    failing = (0, 0, 29, 39)  # 1200 pixels: asks for 0.5; a detection of 500 has 0.4167 with it
    tiny = (0, 0, 12, 12)  # 169 pixels: asks for 0.3195; the same detection has 0.338 with it
    result = evaluate_ilsvrc(truth((0, 0, failing), (0, 0, tiny)), found((0, 0, 0.9, (0, 0, 19, 24))))
    assert result.matches is not None and result.matches.partner.tolist() == [1]


def test_the_object_overlapped_most_is_taken() -> None:
    objects = truth((0, 0, (0, 0, 99, 89)), (0, 0, BIG))
    result = evaluate_ilsvrc(objects, found((0, 0, 0.9, BIG)))
    assert result.matches is not None and result.matches.partner.tolist() == [1]


def test_of_equal_overlaps_the_first_object_is_taken() -> None:
    result = evaluate_ilsvrc(truth((0, 0, BIG), (0, 0, BIG)), found((0, 0, 0.9, BIG)))
    assert result.matches is not None and result.matches.partner.tolist() == [0]


def test_a_second_detection_is_true_if_another_free_object_will_do() -> None:
    near = (0, 0, 99, 79)
    one = evaluate_ilsvrc(truth((0, 0, BIG)), found((0, 0, 0.9, BIG), (0, 0, 0.8, BIG)))
    two = evaluate_ilsvrc(truth((0, 0, BIG), (0, 0, near)), found((0, 0, 0.9, BIG), (0, 0, 0.8, BIG)))
    assert outcomes(one) == [1, 0]
    assert outcomes(two) == [1, 1]


def test_the_better_score_chooses_first_whatever_the_order_in_the_file() -> None:
    result = evaluate_ilsvrc(truth((0, 0, BIG)), found((0, 0, 0.1, BIG), (0, 0, 0.9, (0, 0, 99, 79))))
    assert result.matches is not None and result.matches.outcome.tolist() == [0, 1]


def test_classes_and_images_do_not_mix() -> None:
    result = evaluate_ilsvrc(truth((0, 0, BIG)), found((0, 1, 0.9, BIG), (1, 0, 0.9, BIG), (0, 0, 0.1, BIG)))
    assert outcomes(result) == [0, 1]
    assert result.ap == {"cat": 0.5, "dog": None, "cow": None}


@pytest.mark.parametrize("box", [(50, 50, 40, 60), (50, 50, 60, 40), (60, 60, 50, 50), (0, 99, 99, 0)])
def test_inverted_boxes_are_kept_and_false(box: tuple[int, int, int, int]) -> None:
    result = evaluate_ilsvrc(truth((0, 0, BIG)), found((0, 0, 0.9, box), (0, 0, 0.8, BIG)))
    assert outcomes(result) == [0, 1]
    assert (result.map, result.detections) == (0.5, 2)


def test_boxes_apart_both_ways_do_not_overlap() -> None:
    # -82 times -82 pixels are 6,724, which would be an overlap of 0.506
    assert evaluate_ilsvrc(truth((0, 0, BIG)), found((0, 0, 0.9, (182, 182, 281, 281)))).map == 0


def test_every_detection_counts_and_any_score_will_do() -> None:
    many = [(0, 0, 5.0, NOWHERE)] * 299
    result = evaluate_ilsvrc(truth((0, 0, BIG)), found(*many, (0, 0, -7.5, BIG)))
    assert result.map == pytest.approx(1 / 300)


def test_scores_are_compared_in_full() -> None:
    close = found((0, 0, 0.5, NOWHERE), (0, 0, 0.5 + 1e-12, BIG))
    assert evaluate_ilsvrc(truth((0, 0, BIG)), close).map == 1


@pytest.mark.parametrize(("ids", "expected"), [((1, 2), 0.5), ((2, 1), 1.0), (("b", "a"), 0.5)])
def test_equal_scores_stand_in_the_order_of_whole_ids_else_of_position(ids: tuple[Any, Any], expected: float) -> None:
    result = evaluate_ilsvrc(truth((1, 0, BIG), ids=ids), found((1, 0, 0.5, BIG), (0, 0, 0.5, NOWHERE)))
    assert result.map == expected


def test_equal_scores_in_an_image_stand_in_the_order_of_the_file() -> None:
    objects = truth((0, 0, BIG))
    assert evaluate_ilsvrc(objects, found((0, 0, 0.5, NOWHERE), (0, 0, 0.5, BIG))).map == 0.5
    assert evaluate_ilsvrc(objects, found((0, 0, 0.5, BIG), (0, 0, 0.5, NOWHERE))).map == 1
    zeros = found((0, 0, -0.0, NOWHERE), (0, 0, 0.0, BIG))
    assert evaluate_ilsvrc(objects, zeros).map == 0.5


def test_average_precision_is_the_area_under_the_envelope() -> None:
    objects = truth((0, 0, BIG), (1, 0, BIG), (2, 0, BIG))
    ranking = found((0, 0, 0.9, NOWHERE), (0, 0, 0.8, BIG), (1, 0, 0.7, BIG), (1, 0, 0.6, NOWHERE))
    # precision at the two hits: 1/2, 2/3; the envelope lifts the first to 2/3; a third of recall is never reached
    assert evaluate_ilsvrc(objects, ranking).map == pytest.approx(2 / 3 * 2 / 3)
    curve = evaluate_ilsvrc(objects, ranking).curve("cat")
    assert curve.recall.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3])
    assert curve.precision.tolist() == pytest.approx([0, 1 / 2, 2 / 3, 1 / 2])
    assert curve.score.tolist() == [0.9, 0.8, 0.7, 0.6]


def test_blacklisted_objects_need_not_be_found_and_detections_there_count_neither_way() -> None:
    objects = truth((0, 0, BIG), (1, 0, BIG), (0, 1, BIG))
    detections = found((0, 0, 0.9, NOWHERE), (0, 0, 0.8, BIG), (1, 0, 0.7, BIG), (0, 1, 0.9, BIG))
    without = evaluate_ilsvrc(objects, detections)
    result = evaluate_ilsvrc(objects, detections, blacklist=[(1, "cat"), (77, "cat")])
    assert without.ap["cat"] == pytest.approx(2 / 3)
    assert result.ap == {"cat": 1.0, "dog": 1.0, "cow": None}
    curve = result.curve("cat")  # they stay in it, as points with unchanged counts
    assert curve.recall.tolist() == [0, 0, 1]
    assert [math.isnan(value) for value in curve.precision] == [True, True, False]


def test_partners_are_rows_of_the_whole_truth_whatever_need_not_be_found() -> None:
    objects = truth((0, 0, BIG), (1, 0, BIG), (2, 0, BIG))
    detections = found((0, 0, 0.9, BIG), (1, 0, 0.8, NOWHERE), (2, 0, 0.7, BIG))
    matches = evaluate_ilsvrc(objects, detections, blacklist=[(1, "cat")]).kept_matches()
    assert matches.partner.tolist() == [-1, -1, 2]
    assert matches.wanted.tolist() == [False, True, True]


def test_blacklisting_all_of_a_class_leaves_it_without_objects() -> None:
    objects = truth((0, 0, BIG), (0, 1, BIG))
    result = evaluate_ilsvrc(objects, found((0, 0, 0.9, BIG), (0, 1, 0.9, BIG)), blacklist=[(1, "cat")])
    assert result.ap == {"cat": None, "dog": 1.0, "cow": None}
    with pytest.raises(InputError, match="at least one object"):
        evaluate_ilsvrc(objects, found(), blacklist=[(1, "cat"), (1, "dog")])
    with pytest.raises(InputError, match="'horse'"):
        evaluate_ilsvrc(objects, found(), blacklist=[(1, "horse")])


def test_classes_without_objects() -> None:
    objects = truth((0, 1, BIG), names=("cat", "dog", "cow"))
    result = evaluate_ilsvrc(objects, found((0, 1, 0.9, BIG), (0, 0, 0.9, BIG)))
    assert result.ap == {"cat": None, "dog": 1.0, "cow": None}
    assert (result.map, result.median_ap) == (1.0, 1.0)


def test_official_means_have_0_and_nan_and_end_with_the_last_class_that_occurs() -> None:
    objects = truth((0, 1, BIG))
    silent = evaluate_ilsvrc(objects, found((0, 1, 0.9, BIG)), official_means=True)
    assert silent.ap == {"cat": 0.0, "dog": 1.0, "cow": None}
    assert (silent.map, silent.median_ap) == (0.5, 0.5)
    loud = evaluate_ilsvrc(objects, found((0, 1, 0.9, BIG), (0, 0, 0.9, BIG)), official_means=True)
    assert loud.ap["cat"] is not None and math.isnan(loud.ap["cat"])
    assert math.isnan(loud.map) and math.isnan(loud.median_ap)


def test_a_class_with_objects_and_no_detections_has_0() -> None:
    result = evaluate_ilsvrc(truth((0, 0, BIG), (0, 1, BIG)), found((0, 1, 0.9, BIG)))
    assert result.ap == {"cat": 0.0, "dog": 1.0, "cow": None}
    assert (result.map, result.median_ap) == (0.5, 0.5)


def test_objects_to_ignore_are_taken_as_not_there() -> None:
    one = GroundTruth(exclusive([BIG, NOWHERE]), [0, 0], NAMES, [False, True])
    detections = Detections(exclusive([NOWHERE, BIG]), [0.9, 0.8], [0, 0], NAMES)
    assert evaluate_ilsvrc([one], [detections]).map == 0.5


def random_case(random: np.random.Generator) -> tuple[Any, Any, Any]:
    """Few places, few scores: overlaps at the threshold, ties, duplicates, inverted boxes, empty classes."""

    def box() -> tuple[int, int, int, int]:
        x, y = random.integers(0, 4, 2) * 5
        w, h = random.integers(-1, 6, 2) * 5
        return int(x), int(y), int(x + w - 1), int(y + h - 1)

    objects = []
    for _ in range(random.integers(1, 9)):
        x1, y1, x2, y2 = box()
        objects.append((int(random.integers(3)), int(random.integers(3)), (x1, y1, max(x1, x2), max(y1, y2))))
    detections = []
    for _ in range(random.integers(0, 14)):
        near = objects[random.integers(len(objects))]
        place = near[2] if random.random() < 0.3 else box()
        label = near[1] if random.random() < 0.8 else int(random.integers(3))
        image = near[0] if random.random() < 0.8 else int(random.integers(3))
        detections.append((image, label, float(random.integers(4)), place))
    pairs = [(int(random.integers(3)), int(random.integers(3))) for _ in range(random.integers(0, 3))]
    return objects, detections, pairs


@pytest.mark.parametrize("seed", range(10))
def test_it_is_what_the_slow_evaluator_says(seed: int) -> None:
    random = np.random.default_rng(seed)
    compared = 0
    for _ in range(200):
        objects, detections, pairs = random_case(random)
        if all((image, label) in pairs for image, label, _ in objects):
            continue
        expected, ranked = slow_ilsvrc(objects, detections, 3, pairs)
        blacklist = [(image + 1, NAMES[label]) for image, label in pairs]
        result = evaluate_ilsvrc(truth(*objects), found(*detections), blacklist=blacklist, official_means=True)
        last = max(label for _, label, _ in objects)
        for label, name in enumerate(NAMES):
            assert outcomes(result, name) == ranked[label]
            if label > last:
                assert result.ap[name] is None
            else:
                assert result.ap[name] == pytest.approx(expected[label], abs=1e-12, nan_ok=True)
        compared += 1
    assert compared > 150


def test_it_is_the_same_in_any_number_of_threads() -> None:
    random = np.random.default_rng(5)
    count = 60_000  # above the number from which threads are used
    detections = DetectionTable(
        random.integers(0, 300, count),
        random.integers(0, 40, count),
        random.integers(0, 50, count) / 50,
        np.cumsum(random.integers(1, 30, (count, 4)), axis=1)[:, [0, 1, 2, 3]],
    )
    objects = GroundTruthTable(
        tuple(map(str, range(40))),
        tuple(range(300)),
        random.integers(0, 300, 2000),
        random.integers(0, 40, 2000),
        np.cumsum(random.integers(1, 30, (2000, 4)), axis=1),
    )
    one, many = (evaluate_ilsvrc(objects, detections, threads=threads) for threads in (1, 3))
    assert 0 < one.map < 1
    assert one == many


@pytest.mark.parametrize(
    ("detections", "text"),
    [
        (DetectionTable([3], [0], [0.5], [[0, 0, 1, 1]]), "image should be below 3"),
        (DetectionTable([0], [3], [0.5], [[0, 0, 1, 1]]), "label should be below 3"),
        ([], "one entry for each image, got 0 for 3"),
    ],
)
def test_wrong_arguments_are_named(detections: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        evaluate_ilsvrc(truth((0, 0, BIG)), detections)
    with pytest.raises(InputError, match="at least one object"):
        evaluate_ilsvrc(truth(), found())
    with pytest.raises(InputError, match="'horse' is none"):
        evaluate_ilsvrc(truth((0, 0, BIG)), found()).curve("horse")


def test_a_detections_corners_are_turned_back_as_undo_sum_does() -> None:
    rng = np.random.default_rng(1)
    numbers = np.concatenate([np.round(rng.uniform(-9, 600, 500), 3) + 1, rng.uniform(-9, 600, 500)])
    expected = undo_sum(numbers, 1.0).tolist()
    assert [undone(total, 1.0) for total in numbers.tolist()] == expected
    assert [side_length(total, 1.0) for total in numbers.tolist()] == expected  # COCO's kernel
