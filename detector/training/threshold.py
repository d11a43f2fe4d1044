"""The score threshold of a freshly trained classifier, measured on images that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.class_matching import match_classes
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.detector.region_classifier import shortened_threshold
from inception_rcnn.evaluation import evaluate_coco
from inception_rcnn.evaluation.results import ScoreThreshold
from inception_rcnn.structures import GroundTruthTable, progress_bar
from inception_rcnn.structures.dataset import DetectionDataset, Subset

UNMEASURED: Final = 0.1  # near what was measured for the shipped model
ONE_IN: Final = 20
LEAST_HELD_OUT: Final = 10
MOST_HELD_OUT: Final = 100
LEAST_IMAGES: Final = 5 * LEAST_HELD_OUT  # of fewer, too large a part would be kept from the training


@dataclass(frozen=True)
class MeasuredThreshold:
    """A score threshold and where it is from.

    Args:
        value: In [0, 1], with four digits.
        origin: How it was found, or why it was not measured; for the user.
    """

    value: float
    origin: str


def held_out_rows(count: int, seed: int, seen: NDArray[np.bool_] | None = None) -> tuple[int, ...]:
    """Return which of `count` images to keep out of the training: one in 20, at least 10, at most 100, in order.

    Of fewer than 50 images, none. Where enough are left that the start of the training has not learned from, it is some
    of those.

    Args:
        count: How many there are.
        seed: Decides which.
        seen: (count,) which of them the start has learned from; None: none.

    >>> len(held_out_rows(49, 0)), len(held_out_rows(50, 0)), len(held_out_rows(1000, 0)), len(held_out_rows(10**5, 0))
    (0, 10, 50, 100)
    """
    if count < LEAST_IMAGES:
        return ()
    wanted = min(max(count // ONE_IN, LEAST_HELD_OUT), MOST_HELD_OUT)
    fresh = np.flatnonzero(~seen) if seen is not None else np.arange(count)
    if len(fresh) < wanted:
        fresh = np.arange(count)
    return tuple(fresh[list(_some_rows(len(fresh), wanted, seed))].tolist())


def split_rows(
    dataset: DetectionDataset, val: DetectionDataset | None, seed: int, seen: NDArray[np.bool_] | None = None
) -> tuple[tuple[int, ...], DetectionDataset]:
    """Return which rows of a data set to train on, and the images to measure the threshold on.

    Args:
        dataset: To train on.
        val: Images that are not trained on; None: some rows are held out, see `held_out_rows`.
        seed: Decides which.
        seen: (N,) which of the data set's images the start has learned from; None: none.
    """
    if val is not None:
        return tuple(range(len(dataset))), some_images(val, seed)
    held_out = held_out_rows(len(dataset), seed, seen)
    kept_out = set(held_out)
    return tuple(row for row in range(len(dataset)) if row not in kept_out), Subset(dataset, held_out)


def some_images(dataset: DetectionDataset, seed: int) -> DetectionDataset:
    """Return the images to measure with: at most 100 of a set that is not trained on."""
    return dataset if len(dataset) <= MOST_HELD_OUT else Subset(dataset, _some_rows(len(dataset), MOST_HELD_OUT, seed))


def measure_threshold(
    detector: Detector, images: DetectionDataset, *, unmeasured: float = UNMEASURED, quiet: bool = False
) -> MeasuredThreshold:
    """Return the score threshold with the best mean F1 of the detector's own detections.

    Args:
        detector: As it will be used; its threshold should be low.
        images: Not trained on. Objects of classes that the detector does not know do not count.
        unmeasured: The threshold where none can be measured, such as that of the weights it started from.
        quiet: Show no progress.
    """
    if len(images) == 0:
        return MeasuredThreshold(
            unmeasured,
            f"not measured: of fewer than {LEAST_IMAGES} images none are held out; name a part for it with --val-split",
        )
    truth = truth_in_classes(images.ground_truths(), detector.ensemble.class_names)
    if truth.ignored.all():
        return MeasuredThreshold(unmeasured, f"not measured: there is no object on the {len(images)} images held out")
    found = []
    with progress_bar(len(images), "score threshold", quiet=quiet) as bar:
        for row in range(len(images)):
            found.append(detector(images.load_image(row)))
            bar.advance(1)
    # COCO's rule of matching: of the free objects, the one that overlaps most.
    return threshold_of(evaluate_coco(truth, found).kept_matches().best_f1(), len(images), unmeasured)


def threshold_of(best: ScoreThreshold, images: int, unmeasured: float = UNMEASURED) -> MeasuredThreshold:
    """Return the score threshold that was found best on so many images; `unmeasured` if nothing was found on them."""
    if best.f1 == 0:
        return MeasuredThreshold(unmeasured, f"not measured: nothing was found on the {images} images held out")
    return MeasuredThreshold(
        shortened_threshold(best.threshold), f"best mean F1 {best.f1:.3f} on {images} images held out"
    )


def _some_rows(count: int, wanted: int, seed: int) -> tuple[int, ...]:
    rows = np.random.default_rng([seed, count]).choice(count, wanted, replace=False)
    return tuple(np.sort(rows).tolist())


def truth_in_classes(truth: GroundTruthTable, class_names: tuple[str, ...]) -> GroundTruthTable:
    """Return the objects of these classes, with labels that are positions in them."""
    match = match_classes(truth.class_names, truth.display_names, class_names)
    label = np.where(match.same, match.position, -1)[truth.label]
    rows = np.flatnonzero(label >= 0)
    return GroundTruthTable(
        class_names, truth.image_ids, truth.image[rows], label[rows], truth.box[rows], truth.ignored[rows]
    )
