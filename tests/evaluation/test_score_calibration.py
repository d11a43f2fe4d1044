"""Calibrated scores: the fit against a slow search, the order kept, and what cannot be fitted refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import FALSE, NEUTRAL, TRUE
from inception_rcnn.evaluation.results import Matches
from inception_rcnn.evaluation.score_calibration import (
    ScoreCalibration,
    fit_calibration,
    score_bins,
    threshold_for_precision,
)
from inception_rcnn.structures import InputError


def matches_of(scores: NDArray[np.float64], right: NDArray[np.bool_], neutral: int = 0) -> Matches:
    """As an evaluation would have them, one class."""
    outcome = np.concatenate([np.where(right, TRUE, FALSE), np.full(neutral, NEUTRAL)]).astype(np.int8)
    all_scores = np.concatenate([scores, np.full(neutral, 0.9)])
    count = len(outcome)
    rows = np.argsort(-all_scores, kind="stable").astype(np.int32)
    return Matches(
        outcome,
        np.full(count, -1, np.int32),
        all_scores,
        rows,
        np.array([0, count]),
        np.array([int(right.sum())]),
        np.ones(int(right.sum()), np.bool_),
    )


def drawn(slope: float, offset: float, count: int = 40_000) -> Matches:
    """Detections that are right as often as a known calibration says."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, count)
    truth = ScoreCalibration(slope, offset).apply(scores)
    return matches_of(scores, rng.random(count) < truth, neutral=500)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (1.6, -0.8), (0.5, 1.0)])
def test_the_calibration_that_made_them_is_found_again(slope: float, offset: float) -> None:
    found = fit_calibration(drawn(slope, offset))
    assert found.slope == pytest.approx(slope, abs=0.05) and found.offset == pytest.approx(offset, abs=0.05)


def test_no_neighbour_makes_what_was_seen_more_likely() -> None:
    matches = drawn(1.6, -0.8, 2000)
    found = fit_calibration(matches)

    def likelihood(slope: float, offset: float) -> float:
        total = 0.0
        for score, outcome in zip(matches.score, matches.outcome, strict=True):
            if outcome in (TRUE, FALSE):
                chance = float(ScoreCalibration(slope, offset).apply(np.array([score]))[0])
                total += np.log(chance if outcome == TRUE else 1 - chance)
        return total

    best = likelihood(found.slope, found.offset)
    for change in ((0.02, 0), (-0.02, 0), (0, 0.02), (0, -0.02)):
        assert likelihood(found.slope + change[0], found.offset + change[1]) < best


def test_half_of_those_at_a_half_are_right_afterwards() -> None:
    matches = drawn(1.6, -0.8)
    calibrated = fit_calibration(matches).apply(matches.score).astype(np.float64)
    bins = score_bins(
        Matches(
            matches.outcome,
            matches.partner,
            calibrated,
            matches.ranked,
            matches.starts,
            matches.objects,
            matches.wanted,
        ),
        np.array([0.45, 0.55]),
    )
    assert bins[0].right == pytest.approx(0.5, abs=0.03) and bins[0].mean == pytest.approx(0.5, abs=0.01)


def test_bins_count_what_is_right_or_wrong_and_nothing_else() -> None:
    matches = matches_of(np.array([0.05, 0.15, 0.18, 1.0]), np.array([False, True, False, True]), neutral=3)
    bins = score_bins(matches)
    assert [(round(one.lowest, 1), one.count, one.right) for one in bins] == [(0.0, 1, 0), (0.1, 2, 0.5), (0.9, 1, 1)]


@given(st.floats(0.05, 15), st.floats(-15, 15), st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_order_is_kept_and_the_ends_stay(slope: float, offset: float, scores: list[float]) -> None:
    calibration = ScoreCalibration(slope, offset)
    ordered = np.sort(np.array([0.0, *scores, 1.0]))
    found = calibration.apply(ordered)
    assert (np.diff(found) >= 0).all() and found[0] == 0 and found[-1] == 1


@given(st.floats(0.1, 3), st.floats(-3, 3), st.floats(0.1, 3), st.floats(-3, 3), st.floats(0.01, 0.99))
def test_one_after_the_other_is_both(s1: float, o1: float, s2: float, o2: float, score: float) -> None:
    first, second = ScoreCalibration(s1, o1), ScoreCalibration(s2, o2)
    between = first.apply(np.array([score], np.float64)).astype(np.float64)
    assume(1e-3 < between[0] < 1 - 1e-3)  # float32 holds no more of what lies closer to the ends
    in_turn = second.apply(between)
    assert float(second.after(first).apply(np.array([score]))[0]) == pytest.approx(float(in_turn[0]), abs=1e-4)


def slow_threshold(scores: list[float], right: list[bool], precision: float) -> float | None:
    """By trying every score."""
    good = [
        score
        for score in scores
        if sum(r for s, r in zip(scores, right, strict=True) if s >= score)
        >= precision * sum(s >= score for s in scores)
    ]
    return min(good, default=None)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=30), st.sampled_from([0.3, 0.5, 0.6, 1.0]))
def test_the_threshold_of_a_precision_is_the_one_that_trying_finds(
    drawn_pairs: list[tuple[int, bool]], precision: float
) -> None:
    scores, right = [tenths / 10 for tenths, _ in drawn_pairs], [one for _, one in drawn_pairs]
    found = threshold_for_precision(matches_of(np.array(scores), np.array(right, np.bool_)), precision)
    expected = slow_threshold(scores, right, precision)
    assert (found.value if found else None) == expected
    if found:
        assert found.precision >= precision and 0 <= found.recall <= 1


def test_plain_values_and_back() -> None:
    calibration = ScoreCalibration(1.5, -0.25)
    assert ScoreCalibration.from_dict(calibration.to_dict()) == calibration


@pytest.mark.parametrize(
    "values", [None, [], {}, {"slope": 1}, {"slope": True, "offset": 0}, {"slope": "1", "offset": 0}]
)
def test_damaged_values_are_refused(values: object) -> None:
    with pytest.raises(InputError, match="the numbers slope and offset"):
        ScoreCalibration.from_dict(values)


@pytest.mark.parametrize(
    ("scores", "right", "message"),
    [
        ([0.5, 0.6], [True, True], "of which 2 are right"),
        ([0.5, 0.6], [False, False], "of which 0 are right"),
        ([], [], "cannot calibrate on 0 detections"),
        ([0.005, 0.6], [True, False], "cannot calibrate on 1 detections"),
        ([0.1] * 50 + [0.9] * 50, [True] * 50 + [False] * 50, "wrong detections score as high"),
    ],
)
def test_what_cannot_be_fitted_is_refused(scores: list[float], right: list[bool], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_calibration(matches_of(np.array(scores), np.array(right, np.bool_)))


@pytest.mark.parametrize(("slope", "offset"), [(0, 0), (-1, 0), (float("nan"), 0), (1, float("inf")), (21, 0)])
def test_numbers_out_of_range_are_refused(slope: float, offset: float) -> None:
    with pytest.raises(InputError, match="slope should be above 0"):
        ScoreCalibration(slope, offset)
