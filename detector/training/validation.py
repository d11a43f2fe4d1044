"""A network scored while it is trained: mAP@0.5 by COCO's rules, on photographs that it does not learn from.

network, averaged --detector_as_used--> detections of each photograph, its proposals made once --evaluate_coco--> mAP,
and the score threshold that goes with it
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.backbones import GoogLeNet
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training.distributed import ALONE, Team
from inception_rcnn.detector.checkpoints import save_region_classifier
from inception_rcnn.detector.ensemble import Ensemble
from inception_rcnn.detector.loading import settings_of
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.detector.postprocessing import counting_all
from inception_rcnn.detector.region_classifier import ClassifierDescription, classifier_of
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.threshold import MeasuredThreshold, threshold_of, truth_in_classes
from inception_rcnn.evaluation import evaluate_coco
from inception_rcnn.structures import Detections, InputError, Proposals, progress_bar
from inception_rcnn.structures.dataset import DetectionDataset, Subset

MAP: Final = "mAP"  # the figure's name in tables and checkpoints
Propose = Callable[[NDArray[np.uint8]], Proposals]


def detector_as_used(
    network: GoogLeNet | PooledNetwork, description: ClassifierDescription, propose: Propose, runtime: Runtime
) -> Detector:
    """Return a network as a detector with its own settings, but for a low score threshold; the network stays as it is.

    Args:
        network: Trained, at least in part.
        description: Of the classifier.
        propose: Image (H, W, 3) uint8 RGB -> proposals.
        runtime: Where to compute.
    """
    # A copy, because a classifier's network is converted to the runtime's type.
    classifier = classifier_of(copy.deepcopy(network), description, runtime)
    settings = counting_all(settings_of(description))
    return Detector(propose, Ensemble([classifier]), settings)


@dataclass(frozen=True)
class Validated:
    """How good a network is.

    Args:
        map: Mean average precision at an IoU of 0.5, in [0, 1].
        threshold: The score threshold with the best mean F1.
    """

    map: float
    threshold: MeasuredThreshold


class Validation:
    """Scores networks on some photographs.

    Args:
        images: Not trained on.
        propose: What the detector will be used with, image (H, W, 3) uint8 RGB -> proposals.
        description: Of the classifier.
        runtime: Where to compute.
        team: The processes that share the photographs.
        quiet: Show no progress.

    Raises:
        InputError: There is no photograph, or no object of the detector's classes on them.
    """

    def __init__(
        self,
        images: DetectionDataset,
        propose: Propose,
        description: ClassifierDescription,
        runtime: Runtime,
        *,
        team: Team = ALONE,
        quiet: bool = False,
    ) -> None:
        if len(images) == 0:
            raise InputError(
                "there are no photographs to validate on: of so few none are held out; name a part with --val-split, "
                "or leave out --validate-every"
            )
        self._images, self._propose, self._description = images, propose, description
        self._runtime, self._team, self._quiet = runtime, team, quiet
        self._truth = truth_in_classes(images.ground_truths(), description.class_names)
        self._proposals: dict[int, Proposals] = {}
        if self._truth.ignored.all():
            raise InputError(
                f"there is no object of the detector's classes on the {len(images)} photographs to validate on; name "
                "another part with --val-split, or leave out --validate-every"
            )

    def score(self, network: GoogLeNet | PooledNetwork) -> Validated:
        """Return how good a network is; it stays as it is."""
        detector, found = detector_as_used(network, self._description, self._propose, self._runtime), []
        rows = range(self._team.share.rank, len(self._images), self._team.share.processes)
        with progress_bar(len(rows), "validation", quiet=self._quiet) as bar:
            for row in rows:
                found.append((row, self._detections(detector, row)))
                bar.advance(1)
        by_row = dict(pair for pairs in self._team.from_all(found) for pair in pairs)
        result = evaluate_coco(self._truth, [by_row[row] for row in range(len(self._images))])
        unmeasured = self._description.score_threshold
        best = result.kept_matches().best_f1()
        return Validated(result.map, threshold_of(best, len(self._images), unmeasured))

    def save(self, path: Path, network: GoogLeNet | PooledNetwork, found: Validated, iteration: int) -> None:
        """Write a network with what was found of it after so many iterations."""
        described = replace(
            self._description,
            score_threshold=found.threshold.value,
            training={
                **self._description.training,
                "iterations_done": iteration,
                MAP: found.map,
                "validated_on": len(self._images),
                "score_threshold": found.threshold.origin,
            },
        )
        save_region_classifier(path, network, described)

    def _detections(self, detector: Detector, row: int) -> Detections:
        image = self._images.load_image(row)
        if row not in self._proposals:
            self._proposals[row] = self._propose(image)
        return detector.postprocess(detector.score(image, self._proposals[row]))


def validation_images(images: DetectionDataset, most: int, seed: int) -> DetectionDataset:
    """Return at most so many of some photographs, drawn by the seed."""
    if len(images) <= most:
        return images
    rows = np.random.default_rng([seed, len(images)]).choice(len(images), most, replace=False)
    return Subset(images, np.sort(rows).tolist())
