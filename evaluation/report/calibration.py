"""Whether a score of 0.8 means that eight of ten such detections are true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inception_rcnn.evaluation.average_precision import FALSE, TRUE
from inception_rcnn.evaluation.results import Matches


@dataclass(frozen=True)
class ScoreBin:
    """The detections whose score is in [low, high), in the last bin [low, high].

    Attributes:
        low, high: Scores.
        count: How many detections.
        score: Their mean score; None without detections.
        precision: The share that is true; None without detections.
    """

    low: float
    high: float
    count: int
    score: float | None
    precision: float | None


@dataclass(frozen=True)
class Calibration:
    """Score and truth, bin by bin.

    Attributes:
        bins: Of equal width, from 0 to 1.
        error: Expected calibration error: the mean over detections of the distance, in their bin, between mean score
            and precision.
    """

    bins: tuple[ScoreBin, ...]
    error: float


def calibration(matches: Matches, bins: int = 10) -> Calibration | None:
    """Return how well scores tell probabilities; None if there are no detections or scores outside [0, 1].

    Detections that count neither way are left out.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    counts = (matches.outcome == TRUE) | (matches.outcome == FALSE)
    score, true = matches.score[counts], matches.outcome[counts] == TRUE
    if len(score) == 0 or score.min() < 0 or score.max() > 1:
        return None
    place = np.minimum((score * bins).astype(np.int64), bins - 1)
    number = np.bincount(place, minlength=bins)
    score_sum = np.bincount(place, weights=score, minlength=bins)
    true_sum = np.bincount(place, weights=true, minlength=bins)
    error = float(np.abs(score_sum - true_sum).sum()) / len(score)
    columns = zip(number.tolist(), score_sum.tolist(), true_sum.tolist(), strict=True)
    return Calibration(
        tuple(
            ScoreBin(k / bins, (k + 1) / bins, n, scores / n if n else None, hits / n if n else None)
            for k, (n, scores, hits) in enumerate(columns)
        ),
        error,
    )
