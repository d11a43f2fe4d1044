"""Boxes followed from frame to frame."""

from __future__ import annotations

import numpy as np
import pytest

from inception_rcnn.datasets.video import Tracker, TrackSettings
from inception_rcnn.structures import Detections, InputError

NAMES = ("cat", "dog")


def seen(*things: tuple[float, int, float]) -> Detections:
    """Detections of 40 px squares: left side, class, score."""
    boxes = [[left, 0, left + 40, 40] for left, _, _ in things]
    return Detections.ordered(
        np.reshape(boxes, (-1, 4)), [score for *_, score in things], [label for _, label, _ in things], NAMES
    )


def test_two_that_move_apart_keep_their_numbers_whatever_the_order_of_their_scores() -> None:
    tracker, left = Tracker(), []
    for step in range(10):
        _, numbers = tracker.follow(seen((100 - 5 * step, 0, 0.9 - 0.08 * step), (145 + 5 * step, 0, 0.5)))
        by_score = [100 - 5 * step, 145 + 5 * step] if 0.9 - 0.08 * step >= 0.5 else [145 + 5 * step, 100 - 5 * step]
        left.append(dict(zip(by_score, numbers.tolist(), strict=True))[100 - 5 * step])
    assert left == [1] * 10


def test_a_class_is_part_of_what_a_thing_is() -> None:
    tracker = Tracker()
    assert tracker.follow(seen((0, 0, 0.9)))[1].tolist() == [1]
    assert tracker.follow(seen((0, 1, 0.9)))[1].tolist() == [2]


def test_a_thing_comes_back_with_its_number_within_the_patience_and_not_after() -> None:
    for gone, number in ((2, 1), (3, 2)):
        tracker = Tracker(TrackSettings(patience=2))
        tracker.follow(seen((0, 0, 0.9)))
        for _ in range(gone):
            assert len(tracker.follow(seen())[1]) == 0
        assert tracker.follow(seen((0, 0, 0.9)))[1].tolist() == [number]


def test_a_box_that_trembles_is_steadied_and_without_smoothing_stays() -> None:
    rng = np.random.default_rng(0)
    places = 50 + rng.normal(0, 4, 60)
    for smoothing in (0.0, 0.8):
        tracker = Tracker(TrackSettings(smoothing=smoothing))
        shown = [tracker.follow(seen((place, 0, 0.9)))[0].boxes[0, 0] for place in places]
        moved = np.abs(np.diff(shown)).mean() / np.abs(np.diff(places)).mean()
        assert moved == pytest.approx(1, abs=1e-5) if smoothing == 0 else moved < 0.35


def test_of_two_candidates_the_one_that_overlaps_more_is_the_same_thing() -> None:
    tracker = Tracker()
    tracker.follow(seen((0, 0, 0.9)))
    _, numbers = tracker.follow(seen((15, 0, 0.9), (5, 0, 0.2)))
    assert numbers.tolist() == [2, 1]


@pytest.mark.parametrize(("name", "value"), [("iou", 0.0), ("smoothing", 1.0), ("patience", -1)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} should be"):
        TrackSettings(**{name: value})  # type: ignore[arg-type]
