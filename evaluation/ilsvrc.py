"""Average precision by the rules of the ImageNet detection challenge (ILSVRC DET).

Source: eval_detection.m, the same in the ILSVRC2014 and ILSVRC2015 development kits; Russakovsky et al. 2015, "ImageNet
Large Scale Visual Recognition Challenge", section 5.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import NEUTRAL, area_under
from inception_rcnn.evaluation.pixel_matching import COUNTED_FROM_0, average_by_class, match, summed_up
from inception_rcnn.evaluation.ranking import DetectionInput, TruthInput, arrange, as_tables
from inception_rcnn.evaluation.results import EvaluationResult, Matches
from inception_rcnn.structures import InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable


def evaluate_ilsvrc(
    ground_truths: TruthInput,
    detections: DetectionInput,
    *,
    blacklist: Iterable[tuple[int | str, str]] = (),
    official_means: bool = False,
    relaxed: bool = True,
    inclusive: bool = True,
    threads: int | None = None,
) -> EvaluationResult:
    """Return average precision as ILSVRC DET's official code computes it.

    In each image and class, from the best score to the worst, a detection takes the object it overlaps most among those
    that are free and whose own threshold it reaches: min(0.5, wh / ((w + 10)(h + 10))). Sides count inclusive pixels.
    All detections count, however many and of whatever shape; inverted boxes are false. Equal scores stand in the order
    of the images' ids (of their positions, where ids are no whole numbers), in an image in their own order. Objects
    with `ignore` set, which ILSVRC does not know, are taken as not there.

    Args:
        ground_truths: One for each image, or a table of all.
        detections: For the same images in the same order, or a table.
        blacklist: Pairs of image id and class name: the objects there need not be found, the detections there count
            neither way. Pairs of images that are not in the set are passed over.
        official_means: Give classes without objects what the official code gives them: 0 without detections, else NaN,
            which makes the mean NaN; only classes behind the last one with objects get None. If not, None for all.
        relaxed: Lower thresholds for small objects; if not, 0.5 for all.
        inclusive: Sides are one pixel longer than the difference of the file's corners.
        threads: How many; None: as many as there are processors. The result does not depend on it.

    Raises:
        InputError: The two do not fit, the blacklist names an unknown class, or there is no object to find.

    >>> from inception_rcnn.structures import Detections, GroundTruth
    >>> truth = GroundTruth([[0, 0, 10, 10]], [0], ("n02084071", "n02121808"))  # 10 x 10: 100 / 400 is enough
    >>> found = Detections([[0, 0, 10, 4]], [0.9], [0], ("n02084071", "n02121808"))
    >>> evaluate_ilsvrc([truth], [found]).ap
    {'n02084071': 1.0, 'n02121808': None}
    """
    truth, found = as_tables(ground_truths, detections)
    known = int(truth.label.max(where=~truth.ignored, initial=-1)) + 1
    pairs = _pairs(blacklist, truth)
    wanted = ~truth.ignored & ~np.isin(_pair(truth, truth), pairs)
    if not wanted.any():
        raise InputError("ground_truths should hold at least one object that is not ignored, got none")
    sought = _selected(truth, wanted)
    order = arrange(sought, found, ties_by_image=True, threads=threads)
    added = 1.0 if inclusive else 0.0
    matches = match(
        sought, found, order, frame=COUNTED_FROM_0, added=added, relaxed=relaxed, only_free=True, strictly=False
    )
    in_all = np.append(np.flatnonzero(wanted), -1).astype(np.int32)  # rows of `sought` as rows of `truth`
    matches = replace(matches, partner=in_all[matches.partner], wanted=wanted)
    if len(pairs):
        matches = _neutral(matches, np.isin(_pair(truth, found), pairs))
    ap = _official(matches, known) if official_means else _plain(matches)
    return summed_up("ilsvrc", truth, found, ap, matches)


def _plain(matches: Matches) -> list[float | None]:
    values = average_by_class(matches, area_under)
    return [value if objects else None for value, objects in zip(values, matches.objects, strict=True)]


def _official(matches: Matches, known: int) -> list[float | None]:
    """Return what the official code has for each class up to the last that occurs in the ground truth."""
    values = average_by_class(matches, area_under)
    return [value if label < known else None for label, value in enumerate(values)]


def _neutral(matches: Matches, chosen: NDArray[np.bool_]) -> Matches:
    """Return the matches with the chosen detections counting neither way."""
    return replace(
        matches,
        outcome=np.where(chosen, np.int8(NEUTRAL), matches.outcome),
        partner=np.where(chosen, np.int32(-1), matches.partner),
    )


def _pair(truth: GroundTruthTable, table: GroundTruthTable | DetectionTable) -> NDArray[np.int64]:
    """Return one number for image and class of each row."""
    return table.label.astype(np.int64) * len(truth.image_ids) + table.image


def _pairs(blacklist: Iterable[tuple[int | str, str]], truth: GroundTruthTable) -> NDArray[np.int64]:
    """Return the same number for each pair of the blacklist whose image is there."""
    image_of = {image_id: position for position, image_id in enumerate(truth.image_ids)}
    label_of = {name: label for label, name in enumerate(truth.class_names)}
    pairs = []
    for image_id, name in blacklist:
        if name not in label_of:
            raise InputError(f"the blacklist names the class {name!r}, which the ground truth does not know")
        if image_id in image_of:
            pairs.append(label_of[name] * len(truth.image_ids) + image_of[image_id])
    return np.array(pairs, np.int64)


def _selected(truth: GroundTruthTable, wanted: NDArray[np.bool_]) -> GroundTruthTable:
    """Return the truth with the wanted objects only."""
    if wanted.all():
        return truth
    area = None if truth.area is None else truth.area[wanted]
    return replace(
        truth,
        image=truth.image[wanted],
        label=truth.label[wanted],
        box=truth.box[wanted],
        ignore=truth.ignored[wanted],
        area=area,
    )
