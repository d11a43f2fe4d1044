"""What both trainings of a region classifier share: what a run is known by, and what it ends with.

A run that is known by the same checksums goes on from its state; it ends with a measured score threshold in a file.
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
from inception_rcnn.detector.checkpoints import save_region_classifier, settings_of
from inception_rcnn.detector.ensemble import Ensemble
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.detector.postprocessing import DetectionSettings
from inception_rcnn.detector.region_classifier import ClassifierDescription, classifier_of
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.threshold import UNMEASURED, MeasuredThreshold, measure_threshold
from inception_rcnn.structures import Proposals
from inception_rcnn.structures.dataset import DetectionDataset

# What a run's checksums are of, as an error names it.
WEIGHTS: Final = "pre-trained weights (--pretrained)"
PHOTOGRAPHS: Final = "photographs or their annotations"
PROPOSALS: Final = "proposals (--proposals, --source)"
Propose = Callable[[NDArray[np.uint8]], Proposals]


@dataclass(frozen=True)
class FineTuned:
    """What a training leaves.

    Args:
        path: The model's file.
        threshold: Its score threshold.
    """

    path: Path
    threshold: MeasuredThreshold


def measured_and_saved(
    path: Path,
    network: GoogLeNet | PooledNetwork,
    description: ClassifierDescription,
    propose: Propose,
    images: DetectionDataset,
    runtime: Runtime,
    *,
    quiet: bool = False,
) -> FineTuned:
    """Measure the score threshold of a trained network, and write the network with it.

    Args:
        path: The model's file.
        network: Trained; it stays as it is.
        description: Of the classifier; its score threshold, and where that is from, are completed here.
        propose: What the classifier will be used with, image (H, W, 3) uint8 RGB -> proposals.
        images: Not trained on, for the score threshold.
        runtime: Where to compute.
        quiet: Show no progress.
    """
    description = replace(description, score_threshold=UNMEASURED)
    # A copy, because a classifier's network is converted to the runtime's type.
    classifier = classifier_of(copy.deepcopy(network), description, runtime)
    as_used = replace(settings_of(description), score_threshold=DetectionSettings().score_threshold)
    threshold = measure_threshold(Detector(propose, Ensemble([classifier]), as_used), images, quiet=quiet)
    summary = {**description.training, "score_threshold": threshold.origin}
    save_region_classifier(path, network, replace(description, score_threshold=threshold.value, training=summary))
    return FineTuned(path, threshold)
