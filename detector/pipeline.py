"""One image's way through the detector. Read this page first.

    path, bytes, array --load_image--> (H, W, 3) uint8 RGB
      --propose-----> Proposals: boxes (N, 4), most promising first, and objectness (N,) where MultiBox looked
      --select------> the first of them, near-duplicates left out
      --score-------> RegionScores: each region warped to 224 x 224, or pooled from one look at the image:
                      probabilities (members, N, C + 1), and box offsets where the weights have them
      --postprocess-> mean over the members x objectness, boxes moved, per-class threshold and NMS, cap --> Detections

Source: Szegedy et al. 2014, "Going deeper with convolutions", section 8; Girshick et al. 2014 (R-CNN) and 2015 (Fast
R-CNN, for regions that are pooled).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.detector.ensemble import Ensemble, RegionScores
from inception_rcnn.detector.postprocessing import DetectionSettings, postprocess
from inception_rcnn.structures import Detections, ImageSource, Proposals, load_image, nms
from inception_rcnn.structures.progress import StageClock

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


class ObjectnessNetwork(Protocol):
    """What says how likely boxes fit an object, such as a `MultiBox`."""

    checksum: str

    def objectness(self, image: Image, boxes: Boxes, /) -> NDArray[np.float32]:
        """Return (N,) in [0, 1] for boxes (N, 4) of an image (H, W, 3)."""


class Detector:
    """Images in, detections out. The parts arrive through the constructor; each can be called alone.

    Args:
        propose: Image (H, W, 3) uint8 RGB -> proposals.
        ensemble: Classifies regions.
        settings: Thresholds and limits.
        multibox: Says how likely a box fits an object where the proposals do not say it themselves (stored without,
            for example); None: then the class probabilities stand alone.
    """

    def __init__(
        self,
        propose: Callable[[Image], Proposals],
        ensemble: Ensemble,
        settings: DetectionSettings,
        multibox: ObjectnessNetwork | None = None,
    ) -> None:
        self.propose = propose
        self.ensemble = ensemble
        self.settings = settings
        self.multibox = multibox

    def __call__(self, image: ImageSource, *, clock: StageClock | None = None) -> Detections:
        """Return what is on one image.

        Args:
            image: A path, bytes, a PIL image or an array.
            clock: Adds up the seconds of each stage, if given.

        Raises:
            ImageError: The image cannot be read; the message says why.
        """
        clock = clock or StageClock()
        with clock.stage("decode"):
            pixels = load_image(image)
        scores = self.score(pixels, clock=clock)
        with clock.stage("rest"):
            return self.postprocess(scores)

    def stream(self, images: Iterable[ImageSource]) -> Iterator[Detections]:
        """Return an iterator over the detections of one image after the other, in order, as they come."""
        for image in images:
            yield self(image)

    def score(
        self, image: Image, proposals: Proposals | None = None, *, clock: StageClock | None = None
    ) -> RegionScores:
        """Return what every member says of an image's regions, with the regions.

        Args:
            image: (H, W, 3) uint8 RGB.
            proposals: Of this image, in place of the detector's own.
            clock: Adds up the seconds of each stage, if given.
        """
        clock = clock or StageClock()
        with clock.stage("proposals"):
            selected = self.select(self.propose(image) if proposals is None else proposals)
        if selected.objectness is None and self.multibox is not None and self.settings.objectness_power > 0:
            with clock.stage("objectness"):
                selected = replace(selected, objectness=self.multibox.objectness(image, selected.boxes))
        found = self.ensemble.score(image, selected.boxes, clock=clock)
        height, width = image.shape[:2]
        return RegionScores(selected, found.probabilities, found.offsets, found.regresses, (width, height))

    def select(self, proposals: Proposals) -> Proposals:
        """Return the proposals worth classifying: the first ones, near-duplicates of better-ranked ones left out."""
        most = self.settings.max_proposals
        if self.settings.duplicate_iou < 1:
            return proposals[nms(proposals.boxes, proposals.scores, self.settings.duplicate_iou, limit=most)]
        return proposals if most is None else proposals.top(most)

    def postprocess(self, scores: RegionScores) -> Detections:
        """Return detections from scored regions; see `postprocessing.py`."""
        return postprocess(scores, self.settings, self.ensemble.class_names)

    def with_settings(self, **changes: float | int | None) -> Detector:
        """Return the same detector with some settings changed, e.g. `with_settings(score_threshold=0.3)`."""
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        return Detector(self.propose, self.ensemble, settings, self.multibox)
