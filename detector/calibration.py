"""What is measured of a detector and kept in its checkpoint: the ranges that int8 divides, and what its scores mean.

Ranges are those of what the convolutions of a pooled network read in photographs; int8 divides them into 256 steps.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (ranges from data; weights by output channel as in Krishnamoorthi 2018, "Quantizing deep convolutional
networks for efficient inference").
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from inception_rcnn.backbones.runtimes.recording import Ranges
from inception_rcnn.detector.checkpoints import is_ensemble_file, with_calibrated_scores, with_score_threshold
from inception_rcnn.detector.ensemble_file import with_calibrated_ensemble, with_ensemble_threshold
from inception_rcnn.detector.region_classifier import PooledClassifier
from inception_rcnn.detector.runtimes.pooled_parts import HEAD, TRUNK
from inception_rcnn.evaluation.results import Matches
from inception_rcnn.evaluation.score_calibration import CalibratedThreshold, calibrated_threshold
from inception_rcnn.structures import InputError

SHOWN_PRECISION: Final = 0.7  # of what a person is shown, where calibrated scores decide it


def store_best_threshold(checkpoint: str | Path, matches: Matches) -> float:
    """Write the score with the best mean F1 into a checkpoint as its threshold, and return it.

    Args:
        checkpoint: One of one's own, or the file of an ensemble.
        matches: Of the detections that it alone gave.

    Raises:
        CheckpointError: See `with_score_threshold`.
    """
    best = matches.best_f1()
    if is_ensemble_file(checkpoint):
        with_ensemble_threshold(checkpoint, best.threshold)
    else:
        with_score_threshold(checkpoint, best.threshold, f"best mean F1 {best.f1:.3f}, of {_objects(matches)}")
    return best.threshold


def store_calibration(checkpoint: str | Path, matches: Matches) -> CalibratedThreshold:
    """Write into a checkpoint what makes its scores mean how often they are right, and a threshold for such scores.

    The threshold is the lowest from which on `SHOWN_PRECISION` of the detections are right.

    Args:
        checkpoint: One of one's own, or the file of an ensemble.
        matches: Of the detections that it alone gave.

    Raises:
        CheckpointError: See `with_calibrated_scores`.
        InputError: The detections do not say enough; see `fit_calibration`.
    """
    measured = calibrated_threshold(matches, SHOWN_PRECISION)
    if is_ensemble_file(checkpoint):
        with_calibrated_ensemble(checkpoint, measured.calibration, measured.threshold)
    else:
        origin = f"{measured.reason}, of {_objects(matches)}"
        with_calibrated_scores(checkpoint, measured.calibration, measured.threshold, origin)
    return measured


def _objects(matches: Matches) -> str:
    return f"{int(matches.objects.sum())} objects"


@torch.no_grad()
def activation_ranges(
    classifier: PooledClassifier, photographs: Iterable[tuple[NDArray[np.uint8], NDArray[np.float32]]]
) -> dict[str, Ranges]:
    """Return the lowest and highest number that each convolution reads, by the part's name.

    All of them: a range without the largest ten-thousandth of each photograph's numbers is further from float32.

    Args:
        classifier: Computed by torch.
        photographs: Images (H, W, 3) uint8 RGB, each with boxes (N, 4) to be classified; some dozens from a training
            set are enough.

    Raises:
        InputError: No photographs, or a classifier that OpenVINO computes.
    """
    if classifier.runtime.openvino is not None:
        raise InputError(f"ranges are read off torch's numbers; this classifier is computed in {classifier.runtime}")
    network, found = classifier.network, {TRUNK: _Ranges(), HEAD: _Ranges()}
    for image, boxes in photographs:
        seen, corners = classifier.enlarged(image, boxes)
        with found[TRUNK].of_one_photograph():
            maps = network.maps(seen)
        coarse, fine = network.pool(maps, corners)
        mean = None if maps.mean is None else maps.mean.expand(len(coarse), -1)
        with found[HEAD].of_one_photograph():
            network.head(network.join(coarse, fine), mean)
    if not found[TRUNK].limits:
        raise InputError("a calibration needs photographs, and there are none")
    return {name: tuple((low, high) for low, high in ranges.limits) for name, ranges in found.items()}


class _Ranges(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at what convolutions with a bias read, in the order of their calls."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limits: list[tuple[float, float]] = []
        self._calls = 0

    def of_one_photograph(self) -> _Ranges:
        """Begin with the first convolution again."""
        self._calls = 0
        return self

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and look at it if it is a convolution."""
        if func._schema.name == "aten::convolution" and args[2] is not None:
            low, high = (float(one) for one in args[0].aminmax())
            if self._calls == len(self.limits):
                self.limits.append((low, high))
            before = self.limits[self._calls]
            self.limits[self._calls] = (min(low, before[0]), max(high, before[1]))
            self._calls += 1
        return func(*args, **(kwargs or {}))
