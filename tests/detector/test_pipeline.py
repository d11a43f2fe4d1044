"""One photograph's way through the detector, with proposals of our choice and a small ensemble."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from inception_rcnn.detector import (
    DetectionSettings,
    Detector,
    Ensemble,
    RegionClassifier,
    RegionScores,
    Runtime,
    StageClock,
)
from inception_rcnn.structures import Detections, ImageError, InputError, Proposals
from reference.slow_nms import slow_iou, slow_nms_per_class

Boxes = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def ensemble(classifiers: tuple[RegionClassifier, ...]) -> Ensemble:
    """Two networks."""
    return Ensemble(classifiers)


@pytest.fixture(scope="module")
def proposals(boxes: Boxes) -> Proposals:
    """Thirty proposals, in order."""
    return Proposals(boxes, np.linspace(1, 0, len(boxes), dtype=np.float32))


@pytest.fixture(scope="module")
def detector(ensemble: Ensemble, proposals: Proposals) -> Detector:
    """Always the same proposals; all of them are classified."""
    return Detector(lambda image: proposals, ensemble, DetectionSettings(duplicate_iou=1.0))


@pytest.fixture(scope="module")
def quick(detector: Detector) -> Detector:
    """The same, of the first eight regions only."""
    return detector.with_settings(max_proposals=8)


@pytest.fixture(scope="module")
def probabilities(detector: Detector, photograph: Pixels, boxes: Boxes) -> NDArray[np.float32]:
    """Of the thirty regions."""
    return detector.score(photograph).mean()


def scored(boxes: Boxes, probabilities: NDArray[np.float32]) -> RegionScores:
    """Regions with the probabilities of one member."""
    return RegionScores(Proposals(boxes, np.linspace(1, 0, len(boxes), dtype=np.float32)), probabilities[None])


def entries(detections: Detections) -> list[tuple[list[float], int, float]]:
    """Box, label and score of each detection, in order."""
    return list(zip(detections.boxes.tolist(), detections.labels.tolist(), detections.scores.tolist(), strict=True))


@pytest.mark.parametrize(
    ("score", "iou", "most"), [(0.01, 0.3, 100), (0.3, 0.3, 100), (0.01, 0.0, 100), (0.01, 1.0, 100), (0.05, 0.5, 3)]
)
def test_postprocessing_is_a_slow_suppression_class_by_class(
    detector: Detector, boxes: Boxes, probabilities: NDArray[np.float32], score: float, iou: float, most: int
) -> None:
    chosen = detector.with_settings(score_threshold=score, iou_threshold=iou, max_per_class=most, max_detections=None)
    found = chosen.postprocess(scored(boxes, probabilities))
    whole = boxes.astype(int).tolist()
    expected = slow_nms_per_class(whole, probabilities[:, :-1].tolist(), score, iou, most, 3 * most)
    assert entries(found) == [(boxes[row].tolist(), label, value) for row, label, value in expected]
    assert len(found) > 2 and len(set(found.labels.tolist())) > 1


def test_detections_are_postprocessed_probabilities_of_the_proposals(
    detector: Detector, photograph: Pixels, boxes: Boxes, probabilities: NDArray[np.float32]
) -> None:
    found = detector(photograph)
    assert entries(found) == entries(detector.postprocess(scored(boxes, probabilities)))
    assert found.class_names == ("cat", "cup", "person")


def test_detections_obey_threshold_order_and_overlap(detector: Detector, photograph: Pixels) -> None:
    all_of_them = detector(photograph)
    chosen = detector.with_settings(score_threshold=0.4)(photograph)
    assert 0 < len(chosen) < len(all_of_them)
    assert chosen.scores.min() >= 0.4 and (np.diff(chosen.scores) <= 0).all()
    for label in range(3):
        rows = chosen.boxes[chosen.labels == label].astype(int).tolist()
        pairs = [(one, two) for number, one in enumerate(rows) for two in rows[:number]]
        assert all(slow_iou(one, two) <= 0.3 for one, two in pairs)


def test_background_is_never_detected(detector: Detector, boxes: Boxes) -> None:
    probabilities = np.tile(np.array([0.0002, 0.0003, 0.0004, 0.9991], np.float32), (len(boxes), 1))
    assert len(detector.postprocess(scored(boxes, probabilities))) == 0


class WidthNetwork:
    """Believes in wide boxes."""

    checksum = "wide"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def objectness(self, image: Pixels, boxes: Boxes, /) -> NDArray[np.float32]:
        self.asked.append(len(boxes))
        width: NDArray[np.float32] = (boxes[:, 2] - boxes[:, 0]) / image.shape[1]
        return width


def test_scores_are_class_probabilities_times_objectness(detector: Detector, photograph: Pixels, boxes: Boxes) -> None:
    network = WidthNetwork()
    wide = Detector(detector.propose, detector.ensemble, detector.settings, network)
    wide = wide.with_settings(iou_threshold=1.0, score_threshold=0.0, max_proposals=20)
    found = wide(photograph)
    assert network.asked == [20] and len(found) == 60
    probabilities = detector.with_settings(max_proposals=20).score(photograph).mean()
    for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
        row = int(np.flatnonzero((boxes == box).all(axis=1))[0])
        expected = probabilities[row, label] * (box[2] - box[0]) / photograph.shape[1]
        assert score == pytest.approx(expected, rel=1e-5)
    alone = wide.with_settings(objectness_power=0.0)(photograph)
    assert network.asked == [20]
    assert sorted(alone.scores.tolist()) == pytest.approx(sorted(probabilities[:, :-1].ravel().tolist()))


def test_at_most_so_many_proposals_are_classified(detector: Detector, photograph: Pixels, boxes: Boxes) -> None:
    found = detector.with_settings(max_proposals=4, iou_threshold=1.0, score_threshold=0.0)(photograph)
    assert len(found) == 12 and {tuple(box) for box in found.boxes} == {tuple(box) for box in boxes[:4]}


def test_at_most_so_many_of_a_class_are_kept(detector: Detector, photograph: Pixels) -> None:
    found = detector.with_settings(max_per_class=2, iou_threshold=1.0, score_threshold=0.0)(photograph)
    assert np.bincount(found.labels).tolist() == [2, 2, 2]


def test_at_most_so_many_of_an_image_are_kept_the_best(detector: Detector, photograph: Pixels) -> None:
    every = detector.with_settings(iou_threshold=1.0, score_threshold=0.0, max_detections=None)
    whole = entries(every(photograph))
    assert len(whole) == 90
    assert entries(every.with_settings(max_detections=7)(photograph)) == whole[:7]
    assert DetectionSettings().max_detections == 100


def test_objectness_that_came_with_the_proposals_is_not_asked_for_again(
    detector: Detector, photograph: Pixels, boxes: Boxes
) -> None:
    network = WidthNetwork()
    known = Proposals(
        boxes, np.linspace(1, 0, len(boxes), dtype=np.float32), objectness=np.full(len(boxes), 0.5, np.float32)
    )
    whole = Detector(lambda image: known, detector.ensemble, detector.settings, network).with_settings(
        iou_threshold=1.0, score_threshold=0.0
    )
    without = whole.with_settings(objectness_power=0.0)(photograph)
    assert whole(photograph).scores.tolist() == pytest.approx((without.scores / 2).tolist())
    assert network.asked == []


def test_near_duplicates_of_better_proposals_are_left_out() -> None:
    rows = np.array([(0, 0, 10, 10), (50, 50, 60, 60), (0, 0, 10, 9), (0, 0, 10, 8), (50, 50, 60, 57)], np.float32)
    proposals = Proposals(rows, np.array([5, 4, 3, 2, 1], np.float32))

    def select(**settings: Any) -> list[int]:
        detector = Detector(lambda image: proposals, None, DetectionSettings(**settings))  # type: ignore[arg-type]
        chosen = detector.select(proposals)
        return [rows.tolist().index(box) for box in chosen.boxes.tolist()]

    assert select() == [0, 1, 3, 4]  # the third overlaps the first by 0.9; exactly 0.8 is kept
    assert select(duplicate_iou=1.0) == [0, 1, 2, 3, 4]
    assert select(duplicate_iou=0.5) == [0, 1]
    assert select(max_proposals=3) == [0, 1, 3]


def test_no_proposals_give_no_detections(ensemble: Ensemble, photograph: Pixels) -> None:
    found = Detector(lambda image: Proposals.empty(), ensemble, DetectionSettings())(photograph)
    assert len(found) == 0 and found.class_names == ensemble.class_names and found.boxes.shape == (0, 4)


def test_proposals_without_area_are_refused(ensemble: Ensemble, photograph: Pixels) -> None:
    bad = Proposals(np.array([(5, 5, 5, 9)], np.float32), np.ones(1, np.float32))
    with pytest.raises(InputError, match="boxes has 1 without area"):
        Detector(lambda image: bad, ensemble, DetectionSettings())(photograph)


def test_images_come_in_any_form(quick: Detector, photograph: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photograph).save(path)
    expected = entries(quick(photograph))
    assert len(expected) > 3
    for source in (path, str(path), path.read_bytes(), Image.open(path), np.asarray(Image.fromarray(photograph))):
        assert entries(quick(source)) == expected


def test_images_that_cannot_be_read_say_so(quick: Detector, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.png does not exist"):
        quick(tmp_path / "absent.png")


def test_the_clock_knows_every_stage(quick: Detector, photograph: Pixels) -> None:
    clock = StageClock()
    quick(photograph, clock=clock)
    assert list(clock.seconds) == ["decode", "proposals", "warp", "network", "rest"]
    assert all(seconds > 0 for seconds in clock.seconds.values())
    before = dict(clock.seconds)
    quick(photograph, clock=clock)
    assert all(clock.seconds[name] > seconds for name, seconds in before.items())


def test_members_are_scored_one_by_one_too(
    detector: Detector, photograph: Pixels, boxes: Boxes, probabilities: NDArray[np.float32]
) -> None:
    scores = detector.score(photograph)
    assert scores.probabilities.shape == (2, 30, 4) and scores.proposals.boxes.tolist() == boxes.tolist()
    np.testing.assert_allclose(scores.probabilities.mean(axis=0), probabilities, atol=1e-6)
    second = scores.of_member(1)
    assert np.array_equal(second.mean(), scores.probabilities[1])
    assert entries(detector.postprocess(second)) != entries(detector.postprocess(scores))


def test_the_size_of_batches_does_not_matter(
    classifiers: tuple[RegionClassifier, ...], photograph: Pixels, boxes: Boxes, probabilities: NDArray[np.float32]
) -> None:
    runtime = Runtime(torch.device("cpu"), torch.float32, 64)
    members = [RegionClassifier(one.network, one.description, runtime) for one in classifiers]
    np.testing.assert_allclose(
        Ensemble(members).score(photograph, boxes).probabilities.mean(axis=0), probabilities, atol=1e-5
    )


def test_mirrored_looks_are_averaged(detector: Detector, ensemble: Ensemble, photograph: Pixels, boxes: Boxes) -> None:
    """Of a photograph exchanged left and right, with the boxes there, the same comes out."""
    width = np.float32(photograph.shape[1])
    turned = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    seen = detector.with_settings(mirror=True).score(photograph).probabilities
    plain, exchanged = (
        ensemble.score(image, there).probabilities
        for image, there in ((photograph, boxes), (photograph[:, ::-1].copy(), turned))
    )
    np.testing.assert_allclose(seen, (plain + exchanged) / 2, atol=1e-6)
    assert np.abs(plain - exchanged).max() > 1e-3
    there = Proposals(turned, np.linspace(1, 0, len(turned), dtype=np.float32))
    same = Detector(lambda image: there, ensemble, replace(detector.settings, mirror=True))
    np.testing.assert_allclose(same.score(photograph[:, ::-1].copy()).probabilities, seen, atol=1e-5)


def test_the_same_image_gives_the_same_answer(quick: Detector, photograph: Pixels) -> None:
    assert entries(quick(photograph)) == entries(quick(photograph.copy()))


def test_settings_can_be_changed_on_a_copy(detector: Detector) -> None:
    other = detector.with_settings(score_threshold=0.9, max_proposals=5)
    assert other.settings.score_threshold == 0.9 and other.settings.max_proposals == 5
    assert other.ensemble is detector.ensemble and detector.settings.max_proposals == 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score_threshold": -0.1}, r"score_threshold should lie in 0..1, got -0.1"),
        ({"iou_threshold": 1.1}, r"iou_threshold should lie in 0..1, got 1.1"),
        ({"duplicate_iou": float("nan")}, r"duplicate_iou should lie in 0..1, got nan"),
        ({"max_proposals": 0}, "max_proposals should be a whole number, at least 1, got 0"),
        ({"max_per_class": 0}, "max_per_class should be a whole number, at least 1, got 0"),
        ({"max_per_class": None}, "max_per_class should be a whole number, got None"),
        ({"max_per_class": 2.5}, "max_per_class should be a whole number, got 2.5"),
        ({"max_detections": float("nan")}, "max_detections should be a whole number or None, got nan"),
        ({"max_proposals": True}, "max_proposals should be a whole number or None, got True"),
        ({"iou_threshold": "0.5"}, "iou_threshold should be a number, got '0.5'"),
        ({"score_threshold": True}, "score_threshold should be a number, got True"),
        ({"mirror": 1}, "mirror should be true or false, got 1"),
        ({"max_detections": 0}, "max_detections should be a whole number, at least 1, got 0"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DetectionSettings(**settings)


def test_settings_of_numpy_s_numbers_are_the_same_settings() -> None:
    given: dict[str, Any] = {"score_threshold": np.float64(0.25), "max_proposals": np.int64(5)}
    made = DetectionSettings(**given, objectness_power=np.float32(0.5), mirror=np.True_)
    assert made == DetectionSettings(score_threshold=0.25, max_proposals=5, objectness_power=0.5, mirror=True)
    assert json.loads(json.dumps(asdict(made)))["max_proposals"] == 5  # a file can hold them
