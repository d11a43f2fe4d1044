"""Scores that mean something: of the detections with a score of 0.5, half are right.

A detector's scores order its detections; how often one of a given score is right is another matter, and depends on the
training. Two numbers mend that without changing the order:

    calibrated = sigmoid(slope * logit(score) + offset)

found by logistic regression of "was it right" on the logit, over all classes of photographs that nothing was learned
from. Right is what a protocol's matching counts as right, at an IoU of 0.5.

Source: Platt 1999, "Probabilistic outputs for support vector machines"; Guo et al. 2017, "On calibration of modern
neural networks" (temperature: a slope alone).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import FALSE, TRUE
from inception_rcnn.evaluation.results import Matches
from inception_rcnn.structures import InputError

Floats = NDArray[np.float64]
_LEAST: Final = 1e-6  # of a score and of its distance from 1, so that its logit is a number
_STEEPEST: Final = 20.0
_FURTHEST: Final = 20.0
_STEPS: Final = 50


@dataclass(frozen=True)
class ScoreCalibration:
    """How scores are calibrated: the logit times `slope`, plus `offset`.

    Args:
        slope: Above 0, at most 20; the order of scores stays.
        offset: -20 to 20.

    Raises:
        InputError: A number is out of range.

    >>> ScoreCalibration(1.0, 0.0).apply(np.array([0.25, 0.5])).tolist()
    [0.25, 0.5]
    """

    slope: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.slope <= _STEEPEST or not -_FURTHEST <= self.offset <= _FURTHEST:
            raise InputError(
                f"a calibration's slope should be above 0 and at most {_STEEPEST:g}, its offset within "
                f"{_FURTHEST:g} of 0, got {self.slope} and {self.offset}"
            )

    def apply(self, scores: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return calibrated scores of any shape, in [0, 1]; 0 stays 0, and 1 stays 1."""
        values = np.asarray(scores, np.float64)
        with np.errstate(divide="ignore", over="ignore"):  # 0 and 1, and what is close to them
            logit = np.log(values) - np.log1p(-values)
            calibrated: NDArray[np.float32] = (1 / (1 + np.exp(-(self.slope * logit + self.offset)))).astype(np.float32)
        return calibrated

    def after(self, first: ScoreCalibration) -> ScoreCalibration:
        """Return the calibration that does what `first` does, and then what this one does.

        Raises:
            InputError: Its numbers are out of range.
        """
        return ScoreCalibration(self.slope * first.slope, self.slope * first.offset + self.offset)

    def to_dict(self) -> dict[str, float]:
        """Return plain values for a checkpoint's description."""
        return {"slope": self.slope, "offset": self.offset}

    @classmethod
    def from_dict(cls, values: Any) -> ScoreCalibration:
        """Return the calibration that `to_dict` described.

        Raises:
            InputError: A number is missing, no number, or out of range.
        """
        numbers: list[Any] = [values.get(name) for name in ("slope", "offset")] if isinstance(values, dict) else []
        if len(numbers) != 2 or not all(isinstance(one, int | float) and type(one) is not bool for one in numbers):
            raise InputError(f"a calibration should have the numbers slope and offset, got {values!r}")
        try:
            return cls(float(numbers[0]), float(numbers[1]))
        except OverflowError as error:  # a whole number of hundreds of digits
            raise InputError(f"a calibration's slope and offset should be finite: {error}") from error


@dataclass(frozen=True)
class ScoreBin:
    """How often the detections of similar scores are right.

    Args:
        lowest: Score from which on they belong here.
        highest: Score below which they do.
        count: How many there are.
        mean: Of their scores.
        right: The share of them that is right.
    """

    lowest: float
    highest: float
    count: int
    mean: float
    right: float


def fit_calibration(matches: Matches, *, lowest: float = 0.01) -> ScoreCalibration:
    """Return the calibration that makes "right or not" of the detections most likely.

    Args:
        matches: Of detections and ground truth; those to ignore do not count.
        lowest: Detections of smaller scores, which are many and hardly ever shown, do not count either.

    Raises:
        InputError: None is right, or none wrong, or scores do not tell which.
    """
    scores, right = _judged(matches)
    shown = scores >= lowest
    scores, right = scores[shown], right[shown]
    if right.all() or not right.any():
        raise InputError(
            f"cannot calibrate on {len(right)} detections of which {int(right.sum())} are right; use more photographs"
        )
    slope, offset = _logistic(_logits(scores), right.astype(np.float64))
    return ScoreCalibration(float(slope), float(offset))


@dataclass(frozen=True)
class PreciseThreshold:
    """A score from which on detections are right often enough.

    Args:
        value: The score.
        precision: What share of the detections from there on is right.
        recall: What share of the objects they find.
    """

    value: float
    precision: float
    recall: float


def threshold_for_precision(matches: Matches, precision: float) -> PreciseThreshold | None:
    """Return the lowest score from which on that share of the detections is right, all classes together.

    Args:
        matches: Of detections and ground truth.
        precision: In (0, 1].

    Returns:
        None if no score is high enough.
    """
    scores, right = _judged(matches)
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], np.cumsum(right[order])
    share = found / np.arange(1, len(found) + 1)
    # Of detections with one score either all are shown or none.
    last_of_score = np.append(scores[1:] < scores[:-1], True) if len(scores) else np.zeros(0, np.bool_)
    good = np.flatnonzero(last_of_score & (share >= precision))
    if len(good) == 0:
        return None
    place = good[-1]
    return PreciseThreshold(float(scores[place]), float(share[place]), float(found[place] / matches.objects.sum()))


@dataclass(frozen=True)
class CalibratedThreshold:
    """What makes scores mean how often they are right, and which of them to show.

    Args:
        calibration: Of the scores as they are.
        threshold: A calibrated score.
        asked: The share of what is shown that should be right.
        precise: The score from which on it is, before calibration; None if no score is high enough. The threshold is
            that of the best mean F1 then.
    """

    calibration: ScoreCalibration
    threshold: float
    asked: float
    precise: PreciseThreshold | None

    @property
    def reason(self) -> str:
        """Why it is this threshold, in words."""
        if self.precise is None:
            return f"best mean F1, since no score has a precision of {self.asked}"
        return f"precision {self.precise.precision:.3f}, recall {self.precise.recall:.3f}"


def calibrated_threshold(matches: Matches, precision: float) -> CalibratedThreshold:
    """Return the calibration of the scores, and the lowest score from which on that share of the detections is right.

    Args:
        matches: Of detections and ground truth.
        precision: In (0, 1].

    Raises:
        InputError: See `fit_calibration`.
    """
    calibration, precise = fit_calibration(matches), threshold_for_precision(matches, precision)
    raw = matches.best_f1().threshold if precise is None else precise.value
    return CalibratedThreshold(calibration, float(calibration.apply(np.array([raw]))[0]), precision, precise)


def score_bins(matches: Matches, edges: Floats | None = None) -> list[ScoreBin]:
    """Return how often detections are right, by score; bins without a detection are left out.

    Args:
        matches: Of detections and ground truth.
        edges: Of the bins, rising; None: tenths.
    """
    scores, right = _judged(matches)
    borders = np.linspace(0, 1, 11) if edges is None else edges
    found = []
    for lowest, highest in pairwise(borders):
        last = highest == borders[-1]
        inside = (scores >= lowest) & ((scores <= highest) if last else (scores < highest))
        if inside.any():
            count, mean, share = int(inside.sum()), float(scores[inside].mean()), float(right[inside].mean())
            found.append(ScoreBin(float(lowest), float(highest), count, mean, share))
    return found


def _judged(matches: Matches) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the scores of the detections that are right or wrong, and which are right."""
    judged = np.isin(matches.outcome, (TRUE, FALSE))
    return matches.score[judged], matches.outcome[judged] == TRUE


def _logits(scores: Floats) -> Floats:
    kept = np.clip(scores, _LEAST, 1 - _LEAST)
    logits: Floats = np.log(kept) - np.log1p(-kept)
    return logits


def _logistic(x: Floats, y: Floats) -> tuple[float, float]:
    """Return (slope, offset) of the logistic regression of y on x, by Newton's method from (1, 0).

    Raises:
        InputError: The scores of right and wrong detections do not differ as they should.
    """
    design = np.stack([x, np.ones_like(x)])
    weights = np.array([1.0, 0.0])
    # Hardly felt with some hundred detections; with a few that scores separate, it keeps the slope finite.
    ridge = np.diag([1e-3, 1e-3])
    for _ in range(_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(weights @ design, -40, 40)))
        gradient = design @ (y - probability) - ridge @ (weights - np.array([1.0, 0.0]))
        hessian = (design * (probability * (1 - probability))) @ design.T + ridge
        step = np.linalg.solve(hessian, gradient)
        step /= max(1.0, float(np.abs(step).max()))  # far from the solution a whole step may overshoot
        weights = weights + step
        if float(np.abs(step).max()) < 1e-9:
            break
    slope, offset = float(weights[0]), float(weights[1])
    if not 0 < slope <= _STEEPEST or abs(offset) > _FURTHEST:
        raise InputError(f"cannot calibrate: wrong detections score as high as right ones (slope {slope:.3g})")
    return slope, offset
