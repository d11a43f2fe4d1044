"""What classes are taken for, against hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
from report_cases import BIG, SMALL, case, tables

from inception_rcnn.evaluation import Evaluation
from inception_rcnn.evaluation.protocols import evaluate_by
from inception_rcnn.evaluation.report.confusion import Confusion, confusion_matrix


def confusion_of(evaluation: Evaluation, threshold: float) -> Confusion:
    """The matrix of an evaluation."""
    return confusion_matrix(evaluation.matches, evaluation.truths, evaluation.detections, threshold)


def test_confusion_counts_true_false_and_missing() -> None:
    objects = [(0, 0, BIG), (1, 1, BIG), (1, 2, SMALL), (2, 0, SMALL)]
    found = [
        (0, 0, 0.9, BIG),  # true
        (0, 0, 0.8, BIG),  # again: nothing is left there
        (1, 2, 0.7, BIG),  # class 1 called 2
        (1, 0, 0.6, BIG),  # too late: class 1 is taken
        (1, 0, 0.3, SMALL),  # below the threshold
    ]
    confusion = confusion_of(case(objects, found), threshold=0.5)
    expected = np.zeros((4, 4), int)
    expected[0, 0], expected[3, 0], expected[1, 2] = 1, 2, 1
    expected[0, 3] = expected[2, 3] = 1
    assert confusion.counts.tolist() == expected.tolist()
    assert confusion.largest(5) == [(1, 2, 1)]
    assert confusion.most_confused(2) == [1, 2]
    assert confusion.precision(0) == pytest.approx(1 / 3)
    assert (confusion.precision(1), confusion.recall(0), confusion.recall(1)) == (None, 0.5, 0)


def test_confusion_takes_the_object_overlapped_most_and_only_by_half() -> None:
    objects = [(0, 1, (0, 0, 100, 60)), (0, 2, (0, 0, 100, 90))]
    assert confusion_of(case(objects, [(0, 0, 0.9, BIG)]), threshold=0).counts[:3, 0].tolist() == [0, 0, 1]
    half, less = (0.0, 0.0, 100.0, 50.0), (0.0, 0.0, 100.0, 49.0)
    for box, expected in ((half, 1), (less, 0)):
        counts = confusion_of(case([(0, 1, BIG)], [(0, 0, 0.9, box)]), threshold=0).counts
        assert counts[1, 0] == expected


def test_what_voc_calls_a_duplicate_is_found_nowhere_even_beside_a_free_object_of_its_class() -> None:
    objects = [(0, 0, BIG), (0, 0, (0.0, 0.0, 100.0, 80.0))]
    found = [(0, 0, 0.9, BIG), (0, 0, 0.8, (0.0, 0.0, 100.0, 95.0))]
    counts = confusion_of(case(objects, found), threshold=0).counts
    assert (counts[0, 0], counts[3, 0], counts[0, 3]) == (1, 1, 1)


@pytest.mark.parametrize("seed", range(4))
def test_confusion_leaves_nothing_out_and_its_diagonal_is_what_is_true(seed: int) -> None:
    truths, found = tables(seed)
    matches = evaluate_by("ilsvrc", truths, found).kept_matches()
    confusion = confusion_matrix(matches, truths, found, 0.3)
    assert confusion.counts[:-1].sum(axis=1).tolist() == matches.objects.tolist()
    asked = found.score >= 0.3
    assert confusion.counts[:, :-1].sum(axis=0).tolist() == np.bincount(found.label[asked], minlength=5).tolist()
    assert np.trace(confusion.counts) == (matches.outcome[asked] == 1).sum()
