"""One image's way through the detector. Read this page first.

    path, bytes, array --load_image--> (H, W, 3) uint8 RGB
      --propose-----> Proposals: boxes (N, 4), most promising first, and objectness (N,) where MultiBox looked
      --select------> the first of them, near-duplicates left out
      --score-------> RegionScores: each region warped to 224 x 224, probabilities (members, N, C + 1)
      --postprocess-> mean over the members x objectness, per-class threshold and NMS, cap --> Detections

Source: Szegedy et al. 2014, "Going deeper with convolutions", section 8; Girshick et al. 2014 (R-CNN). The objectness
as a factor is this project's addition; `DetectionSettings(weigh_by_objectness=False)` is without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.detector.ensemble import Ensemble, RegionScores
from inception_rcnn.structures import Detections, ImageSource, InputError, Proposals, load_image, nms, nms_per_class
from inception_rcnn.structures.progress import StageClock

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


class ObjectnessNetwork(Protocol):
    """What says how likely boxes fit an object, such as a `MultiBox`."""

    checksum: str

    def objectness(self, image: Image, boxes: Boxes, /) -> NDArray[np.float32]:
        """Return (N,) in [0, 1] for boxes (N, 4) of an image (H, W, 3)."""


@dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """What becomes of the scored regions.

    Attributes:
        score_threshold: Lowest score of a detection.
        iou_threshold: Of two detections of a class that overlap more, the better stays (R-CNN: 0.3).
        duplicate_iou: Of two proposals that overlap more, only the higher-ranked is classified; 1 keeps all.
            Selective search's hierarchies find many regions several times over.
        max_proposals: At most so many regions are classified, the first ones of the ranking; None: all, as R-CNN
            did. docs/proposals.md has what further ones bring and cost.
        max_per_class: At most so many detections of one class.
        max_detections: At most so many detections of one image, the best of all classes; None: no such limit, as in
            evaluation, which keeps `max_per_class` of each class.
        weigh_by_objectness: Whether a detection's score is the class's probability times the objectness of its box,
            where a network looked at it; without, it is the probability alone, as in R-CNN.

    Raises:
        InputError: A threshold is outside [0, 1], or a limit is no whole number or below 1.
    """

    score_threshold: float = 0.001
    iou_threshold: float = 0.3
    duplicate_iou: float = 0.8
    max_proposals: int | None = 200
    max_per_class: int = 100
    max_detections: int | None = 100
    weigh_by_objectness: bool = True

    def __post_init__(self) -> None:
        for name in ("score_threshold", "iou_threshold", "duplicate_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} should lie in 0..1, got {getattr(self, name)}")
        for name, optional in (("max_proposals", True), ("max_per_class", False), ("max_detections", True)):
            value = getattr(self, name)
            if value is None and optional:
                continue
            if not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name} should be a whole number, at least 1, got {value}")


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
        """Return the probabilities of an image's regions by every member, with the regions.

        Args:
            image: (H, W, 3) uint8 RGB.
            proposals: Of this image, in place of the detector's own.
            clock: Adds up the seconds of each stage, if given.
        """
        clock = clock or StageClock()
        with clock.stage("proposals"):
            selected = self.select(self.propose(image) if proposals is None else proposals)
        if selected.objectness is None and self.multibox is not None and self.settings.weigh_by_objectness:
            with clock.stage("objectness"):
                selected = replace(selected, objectness=self.multibox.objectness(image, selected.boxes))
        return RegionScores(selected, self.ensemble.score(image, selected.boxes, clock=clock))

    def select(self, proposals: Proposals) -> Proposals:
        """Return the proposals worth classifying: the first ones, near-duplicates of better-ranked ones left out."""
        most = self.settings.max_proposals
        if self.settings.duplicate_iou < 1:
            return proposals[nms(proposals.boxes, proposals.scores, self.settings.duplicate_iou, limit=most)]
        return proposals if most is None else proposals.top(most)

    def postprocess(self, scores: RegionScores) -> Detections:
        """Return detections from scored regions: mean of the members, objectness, threshold, NMS by class, limits."""
        regions, probabilities = scores.proposals, scores.mean()[:, :-1]
        weighed = self.settings.weigh_by_objectness and regions.objectness is not None
        kept, labels, values = nms_per_class(
            regions.boxes,
            probabilities * regions.objectness[:, None] if weighed else probabilities,  # type: ignore[index]
            score_threshold=self.settings.score_threshold,
            iou_threshold=self.settings.iou_threshold,
            max_per_class=self.settings.max_per_class,
            max_detections=self.settings.max_detections,
        )
        return Detections(regions.boxes[kept], values, labels, self.ensemble.class_names)

    def with_settings(self, **changes: float | int | None) -> Detector:
        """Return the same detector with some settings changed, e.g. `with_settings(score_threshold=0.3)`."""
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        return Detector(self.propose, self.ensemble, settings, self.multibox)
