"""Intervals over images against data sets that were really drawn, rebuilt and evaluated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from inception_rcnn.evaluation import Evaluation, EvaluationResult, evaluate_coco, evaluate_ilsvrc, evaluate_voc
from inception_rcnn.evaluation.bootstrap import Interval, Resampled, drawn_images, resample_images
from inception_rcnn.structures import InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

Evaluator = Callable[[GroundTruthTable, DetectionTable], EvaluationResult]
PROTOCOLS: dict[str, Evaluator] = {
    "ilsvrc": evaluate_ilsvrc,
    "voc2007": lambda truths, found: evaluate_voc(truths, found, year=2007),
    "voc2010": evaluate_voc,
    "coco": evaluate_coco,
}
NAMES = ("cat", "dog", "cow", "rare", "nowhere")


def drawn_from(result: EvaluationResult, truths: GroundTruthTable, found: DetectionTable, **options: int) -> Resampled:
    """The draws of an evaluation."""
    return resample_images(Evaluation(title="", result=result, truths=truths, detections=found), **options)


def random_case(seed: int, images: int = 7) -> tuple[GroundTruthTable, DetectionTable]:
    """Objects, some to ignore, and detections near them and elsewhere; many scores are equal, not within an image."""
    random = np.random.default_rng(seed)
    count = int(random.integers(8, 20))
    corners = random.integers(0, 60, (count, 2))
    box = np.hstack([corners, corners + random.integers(8, 40, (count, 2))]).astype(float)
    label = np.where(random.random(count) < 0.1, 3, random.integers(0, 3, count))
    image = random.integers(0, images, count)
    truths = GroundTruthTable(NAMES, tuple(range(10, 10 + images)), image, label, box, random.random(count) < 0.15)
    near = random.integers(0, count, 40)
    moved = box[near] + random.integers(-6, 7, (40, 4))
    score = np.empty(40)
    for position in range(images):
        here = image[near] == position
        score[here] = random.permutation(40)[: here.sum()] / 40
    wrong = np.where(random.random(40) < 0.2, random.integers(0, 5, 40), label[near])
    return truths, DetectionTable(image[near], wrong, score, moved)


def rebuilt(
    truths: GroundTruthTable, found: DetectionTable, times: NDArray[np.int64]
) -> tuple[GroundTruthTable, DetectionTable]:
    """The data set in which each image is there so many times, its copies next to each other."""
    source = np.repeat(np.arange(len(times)), times)
    objects = [np.flatnonzero(truths.image == image) for image in source]
    rows = [np.flatnonzero(found.image == image) for image in source]
    home = np.repeat(np.arange(len(source)), [len(part) for part in objects])
    where = np.repeat(np.arange(len(source)), [len(part) for part in rows])
    object_row, row = np.concatenate(objects), np.concatenate(rows)
    order = np.argsort(row, kind="stable")  # VOC: equal scores in the order of the file
    new_truths = GroundTruthTable(
        truths.class_names,
        tuple(range(len(source))),
        home,
        truths.label[object_row],
        truths.box[object_row],
        truths.ignored[object_row],
    )
    row = row[order]
    return new_truths, DetectionTable(where[order], found.label[row], found.score[row], found.box[row])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_draw_scores_as_the_data_set_rebuilt_from_it(protocol: str) -> None:
    evaluate = PROTOCOLS[protocol]
    compared = 0
    for seed in range(12):
        truths, found = random_case(seed)
        drawn = drawn_from(evaluate(truths, found), truths, found, resamples=8, seed=seed)
        for row, times in zip(drawn.ap, drawn_images(7, 8, seed), strict=True):
            expected = evaluate(*rebuilt(truths, found, times))
            values = [np.nan if value is None else value for value in expected.ap.values()]
            np.testing.assert_allclose(row, values, rtol=0, atol=1e-12)
            assert np.nanmean(row) == pytest.approx(expected.map, abs=1e-12)
            compared += 1
    assert compared == 96


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_estimate_is_the_evaluators(protocol: str) -> None:
    truths, found = random_case(3, images=30)
    result = PROTOCOLS[protocol](truths, found)
    drawn = drawn_from(result, truths, found, resamples=50)
    values = [np.nan if value is None else value for value in result.ap.values()]
    np.testing.assert_allclose(drawn.estimate, values, atol=1e-12)
    assert result.map in drawn.map_interval()


def test_objects_on_the_blacklist_are_not_to_be_found_in_any_draw() -> None:
    truths, found = random_case(5, images=4)
    pairs = {
        (truths.image_ids[image], NAMES[label]) for image, label in zip(truths.image[:6], truths.label[:6], strict=True)
    }
    result = evaluate_ilsvrc(truths, found, blacklist=pairs)
    drawn = drawn_from(result, truths, found, resamples=6, seed=1)
    listed = [(truths.image_ids[i], NAMES[k]) in pairs for i, k in zip(truths.image, truths.label, strict=True)]
    for row, times in zip(drawn.ap, drawn_images(4, 6, 1), strict=True):
        wanted = ~np.array(listed) & ~truths.ignored
        objects = np.bincount(truths.label[wanted], weights=times[truths.image[wanted]], minlength=len(NAMES))
        assert np.isnan(row).tolist() == (objects == 0).tolist()
    assert result.map in drawn.map_interval()


def test_the_same_seed_gives_the_same_draws_and_another_seed_others() -> None:
    truths, found = random_case(1, images=30)
    result = evaluate_voc(truths, found)
    first, again, other = (drawn_from(result, truths, found, resamples=20, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.ap, again.ap)
    assert not np.array_equal(first.map, other.map)


def test_as_many_images_are_drawn_as_there_are_and_all_of_them_can_be() -> None:
    drawn = np.stack(list(drawn_images(5, 200, 0)))
    assert (drawn.sum(axis=1) == 5).all()
    assert (drawn.mean(axis=0) > 0.8).all()


def test_a_detector_does_not_differ_from_itself() -> None:
    truths, found = random_case(2, images=20)
    drawn = drawn_from(evaluate_voc(truths, found), truths, found, resamples=30)
    assert drawn.minus(drawn).map_interval() == Interval(0.0, 0.0)


def test_the_difference_is_taken_draw_by_draw() -> None:
    truths, found = random_case(4, images=40)
    worse = found[found.score < 0.7]
    better_draws = drawn_from(evaluate_voc(truths, found), truths, found, resamples=200)
    worse_draws = drawn_from(evaluate_voc(truths, worse), truths, worse, resamples=200)
    difference = better_draws.minus(worse_draws)
    np.testing.assert_allclose(difference.map, better_draws.map - worse_draws.map, atol=1e-12)
    paired, alone = difference.map_interval(), better_draws.map_interval()
    assert np.nanmean(difference.estimate) in paired
    assert paired.low >= -1
    assert alone.low >= 0


def test_an_interval_spans_the_middle_of_the_draws_around_the_estimate() -> None:
    draws = np.linspace(0.3, 0.7, 101)[:, None]
    for estimate, low, high in ((0.5, 0.32, 0.68), (0.4, 0.22, 0.58), (0.1, 0.0, 0.28), (0.9, 0.72, 1.0)):
        drawn = Resampled(draws, np.array([estimate]))
        for interval in (drawn.map_interval(0.9), drawn.class_intervals(0.9)[0]):
            assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def test_a_class_without_objects_has_no_interval_and_draws_without_it_do_not_count() -> None:
    ap = np.array([[0.2, np.nan], [0.4, np.nan], [np.nan, np.nan]])
    drawn = Resampled(ap, np.array([0.3, np.nan]))
    assert drawn.map.tolist() == [0.2, 0.4]
    known, unknown = drawn.class_intervals()
    assert 0.3 in known
    assert np.isnan(unknown.low)
    assert np.isnan(unknown.high)


def test_what_cannot_be_drawn_is_said() -> None:
    truths, found = random_case(0)
    result = evaluate_voc(truths, found)
    with pytest.raises(InputError, match="resamples should be at least 1, got 0"):
        drawn_from(result, truths, found, resamples=0)
    with pytest.raises(InputError, match="engine='native'"):
        drawn_from(evaluate_coco(truths, found, engine="pycocotools"), truths, found)
