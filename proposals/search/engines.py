"""Two public implementations of selective search behind our call, their faults corrected at the door.

They are here to compare with. Both see the same working image, colour spaces and ks as our own; neither says at
which step a box arose, so the position from the top is taken from the boxes' areas, largest first.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.proposals.search.ranking import Candidates
from inception_rcnn.proposals.search.strategies import Strategy, to_colour_space
from inception_rcnn.proposals.search.superpixels import SIGMA
from inception_rcnn.structures import MissingDependencyError


def opencv_candidates(image: NDArray[np.uint8], strategy: Strategy) -> Candidates:
    """Return the boxes of cv2.ximgproc's selective search with our colour spaces, ks and smallest sizes.

    OpenCV's presets are not used: their hue fills 18 of 25 bins, their smallest superpixel has 100 pixels whatever k,
    and their order begins with the smallest boxes and changes from call to call.

    Raises:
        MissingDependencyError: This cv2 has no ximgproc.
    """
    segmentation = _ximgproc_segmentation()
    search = segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[:, :, ::-1]))
    search.clearImages()
    search.clearGraphSegmentations()
    search.clearStrategies()
    for space in strategy.spaces:
        search.addImage(_three_channels(to_colour_space(image, space)))
    for k in strategy.ks:
        search.addGraphSegmentation(segmentation.createGraphSegmentation(SIGMA, k, round(k)))
    for similarity in strategy.similarities:
        cues = []
        if similarity.colour:
            cues.append(segmentation.createSelectiveSearchSegmentationStrategyColor())
        if similarity.texture:
            cues.append(segmentation.createSelectiveSearchSegmentationStrategyTexture())
        if similarity.size:
            cues.append(segmentation.createSelectiveSearchSegmentationStrategySize())
        if similarity.fill:
            cues.append(segmentation.createSelectiveSearchSegmentationStrategyFill())
        search.addStrategy(segmentation.createSelectiveSearchSegmentationStrategyMultiple(*cues))
    found = np.asarray(search.process(), dtype=np.int32).reshape(-1, 4)
    return _by_area(np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1))


def selectivesearch_candidates(image: NDArray[np.uint8], strategy: Strategy) -> Candidates:
    """Return the boxes of the package selectivesearch, run once for each colour space and k.

    Its rectangles are one pixel short on both sides, which is corrected; its own similarity, in which colour and
    texture hardly count, is not, so the strategy's similarities are not used.

    Raises:
        MissingDependencyError: The package is not installed.
    """
    try:
        from selectivesearch import selective_search as search
    except ImportError as error:
        raise MissingDependencyError(
            "engine 'selectivesearch' needs the package of that name: pip install selectivesearch"
        ) from error
    found = []
    for space in strategy.spaces:
        converted = _three_channels(to_colour_space(image, space))
        for k in strategy.ks:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scikit-image's, about a float image that selectivesearch hands it
                _, regions = search(converted, scale=k, sigma=SIGMA, min_size=round(k))
            found += [region["rect"] for region in regions]
    rects = np.asarray(found, dtype=np.int32).reshape(-1, 4)  # x, y, width - 1, height - 1
    return _by_area(np.concatenate([rects[:, :2], rects[:, :2] + rects[:, 2:] + 1], axis=1))


def _ximgproc_segmentation() -> Any:
    import cv2

    if not hasattr(cv2, "ximgproc"):
        raise MissingDependencyError(
            f"engine 'opencv' needs cv2.ximgproc, which this OpenCV {cv2.__version__} has not. It comes with another"
            " wheel, which takes the place of this one: pip uninstall opencv-python && pip install"
            " opencv-contrib-python"
        )
    return cv2.ximgproc.segmentation


def _three_channels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)


def _by_area(boxes: NDArray[np.int32]) -> Candidates:
    """Candidates sorted by corners, then positioned by area; their contours are not known, so all alike."""
    boxes = boxes[np.lexsort(boxes.T[::-1])]
    areas = (boxes[:, 2] - boxes[:, 0]).astype(np.int64) * (boxes[:, 3] - boxes[:, 1])
    positions = np.empty(len(boxes), dtype=np.float32)
    positions[np.argsort(-areas, kind="stable")] = np.arange(1, len(boxes) + 1)
    return Candidates(boxes, positions, np.ones(len(boxes), dtype=np.float32))
