"""Average precision by the rules of the PASCAL VOC challenges.

Source: VOCevaldet.m of the VOC2007 and VOC2010 development kits; Everingham et al. 2010, "The PASCAL Visual Object
Classes (VOC) Challenge", section 4.2.
"""

from __future__ import annotations

from functools import partial

from inception_rcnn.evaluation.average_precision import ELEVEN_RECALLS, area_under, eleven_points
from inception_rcnn.evaluation.pixel_matching import COUNTED_FROM_1, average_by_class, match, summed_up
from inception_rcnn.evaluation.ranking import DetectionInput, TruthInput, arrange, as_tables
from inception_rcnn.evaluation.results import EvaluationResult
from inception_rcnn.structures import InputError

YEARS = (2007, 2010)


def evaluate_voc(
    ground_truths: TruthInput,
    detections: DetectionInput,
    *,
    year: int = 2010,
    grid: str = "matlab",
    strict: bool = False,
    relaxed: bool = False,
    inclusive: bool = True,
    threads: int | None = None,
) -> EvaluationResult:
    """Return average precision as the VOC development kits compute it.

    From the best score to the worst, each detection is matched with the object of its class that it overlaps most, free
    or not: true if the IoU is 0.5 or more and the object is free; neither way if the object is difficult (`ignore`),
    any number of times; else false, even if it overlaps another free object enough. Sides count inclusive pixels. Equal
    scores stand in the order of the table, or of images and detections. Average precision is the area under the
    envelope since 2010, and the mean at eleven recalls before.

    Args:
        ground_truths: One for each image, or a table of all.
        detections: For the same images in the same order, or a table.
        year: 2007 (rules of 2007-2009) or 2010 (2010-2012).
        grid: The eleven recalls of 2007, see `eleven_points`: ``"matlab"`` as the development kit, or ``"numpy"``.
        strict: An IoU of exactly 0.5 is too little, as in py-faster-rcnn's voc_eval.py.
        relaxed: Ask of small objects what ILSVRC asks instead of 0.5.
        inclusive: Sides are one pixel longer than the difference of the file's corners.
        threads: How many; None: as many as there are processors. The result does not depend on it.

    Raises:
        InputError: The two do not fit, year or grid is unknown, or there is no object to find.

    >>> from inception_rcnn.structures import Detections, GroundTruth
    >>> truth = GroundTruth([[0, 0, 10, 10]] * 2, [0, 0], ("cat",), ignore=[False, True])
    >>> evaluate_voc([truth], [Detections([[0, 0, 10, 5]], [0.9], [0], ("cat",))], year=2007).map
    1.0
    """
    if year not in YEARS:
        raise InputError(f"year {year!r} is unknown; known: 2007 (eleven recalls), 2010 (area)")
    if grid not in ELEVEN_RECALLS:
        raise InputError(f"grid {grid!r} is unknown; known: {', '.join(ELEVEN_RECALLS)}")
    truth, found = as_tables(ground_truths, detections)
    if truth.ignored.all():
        raise InputError("ground_truths should hold at least one object that is not ignored, got none")
    order = arrange(truth, found, ties_by_image=False, threads=threads)
    matches = match(
        truth,
        found,
        order,
        frame=COUNTED_FROM_1,
        added=1.0 if inclusive else 0.0,
        relaxed=relaxed,
        only_free=False,
        strictly=strict,
    )
    average = area_under if year == 2010 else partial(eleven_points, grid=grid)
    values = average_by_class(matches, average)
    ap = [value if objects else None for value, objects in zip(values, matches.objects, strict=True)]
    return summed_up(f"voc{year}", truth, found, ap, matches)
