"""A detector over a small data set: what is scored, member by member, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from inception_rcnn.detector import DetectionSettings, Detector, Ensemble, RegionClassifier
from inception_rcnn.detector.set_evaluation import evaluate_set
from inception_rcnn.evaluation import CocoResult, evaluate_coco
from inception_rcnn.structures import GroundTruth, Proposals


@dataclass
class Truth:
    """The photograph and its mirror image, each with the best box of the detector's as its one object."""

    image: npt.NDArray[np.uint8]
    box: npt.NDArray[np.float32]
    label: int

    def __len__(self) -> int:
        return 2

    def load_image(self, index: int) -> npt.NDArray[np.uint8]:
        return self.image if index == 0 else np.ascontiguousarray(self.image[:, ::-1])

    def ground_truth(self, index: int) -> GroundTruth:
        names = ("cat", "cup", "person")
        height, width = self.image.shape[:2]
        labels = np.array([self.label], np.int64)
        return GroundTruth(self.box[None], labels, names, image_id=index, width=width, height=height)


def scores(result: CocoResult) -> tuple[float, dict[str, float | None]]:
    """Mean and by class."""
    return result.map, dict(result.ap)


@pytest.fixture(scope="module")
def detector(classifiers: tuple[RegionClassifier, ...], boxes: npt.NDArray[np.float32]) -> Detector:
    """Two networks, six proposals."""
    proposals = Proposals(boxes[:6], np.linspace(1, 0, 6, dtype=np.float32))
    return Detector(lambda image: proposals, Ensemble(classifiers), DetectionSettings(duplicate_iou=1.0))


@pytest.fixture(scope="module")
def dataset(detector: Detector, photograph: npt.NDArray[np.uint8]) -> Truth:
    """Two photographs."""
    best = detector(photograph)
    return Truth(photograph, best.boxes[0], int(best.labels[0]))


def test_a_set_is_scored(detector: Detector, dataset: Truth) -> None:
    (found,) = evaluate_set(detector, dataset, quiet=True)
    truths = [dataset.ground_truth(index) for index in range(2)]
    expected = evaluate_coco(truths, [detector(dataset.load_image(index)) for index in range(2)])
    assert scores(found.result) == scores(expected) and expected.map > 0
    assert set(found.seconds) == {"decode", "proposals", "warp", "network", "rest"}
    assert 0 <= found.threshold.threshold <= 1


def test_each_member_is_scored_alone_after_all_of_them(detector: Detector, dataset: Truth) -> None:
    together, *alone = evaluate_set(detector, dataset, each=True, quiet=True)
    assert scores(together.result) == scores(evaluate_set(detector, dataset, quiet=True)[0].result)
    assert len(alone) == 2
    for member, found in zip(detector.ensemble.members, alone, strict=True):
        single = Detector(detector.propose, Ensemble([member]), detector.settings)
        assert scores(found.result) == scores(evaluate_set(single, dataset, quiet=True)[0].result)


def test_each_of_one_is_one(detector: Detector, dataset: Truth) -> None:
    single = Detector(detector.propose, Ensemble(detector.ensemble.members[:1]), detector.settings)
    assert len(evaluate_set(single, dataset, each=True, quiet=True)) == 1


def test_only_so_many_images(detector: Detector, dataset: Truth) -> None:
    (found,) = evaluate_set(detector, dataset, limit=1, quiet=True)
    expected = evaluate_coco([dataset.ground_truth(0)], [detector(dataset.load_image(0))])
    assert scores(found.result) == scores(expected)


def test_proposals_that_are_given_are_used(detector: Detector, dataset: Truth) -> None:
    nothing = Detector(lambda image: Proposals.empty(), detector.ensemble, detector.settings)
    given = [detector.propose(dataset.load_image(index)) for index in range(2)]
    (found,) = evaluate_set(nothing, dataset, proposals=given, quiet=True)
    assert scores(found.result) == scores(evaluate_set(detector, dataset, quiet=True)[0].result)
