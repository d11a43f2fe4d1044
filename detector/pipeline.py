"""One photograph's way through the detector. Read this page first.

    path, bytes, array --load_image--> (H, W, 3) uint8 RGB
      --propose--> Proposals: boxes (N, 4)
      --warp--> (N, 224, 224, 3): each region with 16 px of context
      --classify--> (N, C + 1) probabilities, averaged over the ensemble's members
      --judge--> (N,) how likely each box fits an object, by MultiBox's network; a factor of the class probabilities
      --settle--> per-class threshold and NMS --> Detections

Source: Szegedy et al. 2014, "Going deeper with convolutions", section 8; Girshick et al. 2014 (R-CNN). The factor is
this project's addition; `DetectionSettings(weigh_by_objectness=False)` is without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from inception_rcnn.detector.ensemble import Ensemble, average
from inception_rcnn.detector.region_warp import RegionWarp
from inception_rcnn.structures import Detections, ImageSource, InputError, Proposals, load_image, nms, nms_per_class
from inception_rcnn.structures.progress import StageClock

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]
Objectness = npt.NDArray[np.float32]


class BoxJudge(Protocol):
    """Something that tells boxes which fit an object from others, such as a `MultiBox`."""

    checksum: str

    def judge(self, image: Image, boxes: Boxes, /) -> Objectness:
        """(N,) in 0..1 for each of (N, 4) boxes."""


@dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """What becomes of the scored regions.

    Attributes:
        score_threshold: lowest score of a detection.
        iou_threshold: of two detections of a class that overlap more, the better stays (R-CNN: 0.3).
        duplicate_iou: of two proposals that overlap more, only the higher-ranked is classified; 1 keeps all.
            Selective search's hierarchies find many regions several times over.
        max_proposals: at most so many regions are classified, the first ones of the ranking; None: all, as R-CNN
            did. docs/proposals.md has what further ones bring and cost.
        max_per_class: at most so many detections of one class.
        weigh_by_objectness: whether a detection's score is the class's probability times the objectness of its box,
            where the detector has something that judges boxes; without, it is the probability alone, as in R-CNN.
    """

    score_threshold: float = 0.001
    iou_threshold: float = 0.3
    duplicate_iou: float = 0.8
    max_proposals: int | None = 200
    max_per_class: int = 100
    weigh_by_objectness: bool = True

    def __post_init__(self) -> None:
        for name in ("score_threshold", "iou_threshold", "duplicate_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} should lie in 0..1, got {getattr(self, name)}")
        for name, value in (("max_proposals", self.max_proposals), ("max_per_class", self.max_per_class)):
            if value is None and name == "max_proposals":
                continue
            if value is None or value < 1:
                raise InputError(f"{name} should be at least 1, got {value}")


class Detector:
    """Photographs in, detections out. The parts arrive through the constructor; each can be called alone.

    Args of the constructor:
        propose: image (H, W, 3) uint8 RGB -> proposals.
        ensemble: classifies regions.
        settings: thresholds and limits.
        judge: says how likely each box fits an object, whatever it is; None: the class probabilities stand alone.
    """

    def __init__(
        self,
        propose: Callable[[Image], Proposals],
        ensemble: Ensemble,
        settings: DetectionSettings,
        judge: BoxJudge | None = None,
    ) -> None:
        self.propose = propose
        self.ensemble = ensemble
        self.settings = settings
        self.judge = judge

    def __call__(self, image: ImageSource, *, clock: StageClock | None = None) -> Detections:
        """What is on one photograph.

        Args:
            image: a path, bytes, a PIL image or an array.
            clock: adds up the seconds of each stage, if given.
        Raises:
            ImageError: the image cannot be read; the message says why.
        """
        clock = clock or StageClock()
        with clock.stage("decode"):
            pixels = load_image(image)
        with clock.stage("proposals"):
            boxes = self.choose(self.propose(pixels)).boxes
        probabilities = self.classify(pixels, boxes, clock)
        objectness = self.objectness(pixels, boxes, clock)
        with clock.stage("rest"):
            return self.settle(boxes, probabilities, objectness)

    def stream(self, images: Iterable[ImageSource]) -> Iterator[Detections]:
        """The detections of one photograph after the other, in order, as they come."""
        for image in images:
            yield self(image)

    def choose(self, proposals: Proposals) -> Proposals:
        """The proposals worth classifying: near-duplicates of better-ranked ones left out, then the first ones."""
        if self.settings.duplicate_iou < 1:
            proposals = proposals[nms(proposals.boxes, proposals.scores, self.settings.duplicate_iou)]
        return proposals if self.settings.max_proposals is None else proposals.top(self.settings.max_proposals)

    def classify(self, image: Image, boxes: Boxes, clock: StageClock | None = None) -> Probabilities:
        """Probabilities (N, C + 1) of the regions, background last: the mean over the ensemble's members."""
        return average(self.classify_each(image, boxes, clock))

    def classify_each(self, image: Image, boxes: Boxes, clock: StageClock | None = None) -> Probabilities:
        """Probabilities (members, N, C + 1); the pixels of one batch of regions in memory at a time."""
        clock = clock or StageClock()
        warp = RegionWarp(image, self.ensemble.input_spec)
        parts = [np.zeros((len(self.ensemble.members), 0, len(self.ensemble.class_names) + 1), dtype=np.float32)]
        for start in range(0, len(boxes), self.ensemble.runtime.batch):
            with clock.stage("warp"):
                crops = warp.cut(boxes[start : start + self.ensemble.runtime.batch])
            with clock.stage("network"):
                parts.append(self.ensemble.each(crops))
        return np.concatenate(parts, axis=1)

    def objectness(self, image: Image, boxes: Boxes, clock: StageClock | None = None) -> Objectness | None:
        """How likely each box fits an object, (N,) in 0..1; None where nothing judges it or the settings say so."""
        if self.judge is None or not self.settings.weigh_by_objectness:
            return None
        with (clock or StageClock()).stage("objectness"):
            return self.judge.judge(image, boxes)

    def settle(self, boxes: Boxes, probabilities: Probabilities, objectness: Objectness | None = None) -> Detections:
        """Detections from scored regions: score, threshold, suppression class by class, limits.

        Args:
            boxes: (N, 4).
            probabilities: (N, C + 1), background last.
            objectness: (N,) in 0..1, a factor of each box's scores; None: 1.
        """
        scores = probabilities[:, :-1]
        kept, labels, scores = nms_per_class(
            boxes,
            scores if objectness is None else scores * objectness[:, None],
            score_threshold=self.settings.score_threshold,
            iou_threshold=self.settings.iou_threshold,
            max_per_class=self.settings.max_per_class,
            max_detections=self.settings.max_per_class * len(self.ensemble.class_names),
        )
        return Detections(boxes[kept], scores, labels, self.ensemble.class_names)

    def with_settings(self, **changes: float | int | None) -> Detector:
        """The same detector with some settings changed, e.g. `with_settings(score_threshold=0.3)`."""
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        return Detector(self.propose, self.ensemble, settings, self.judge)
