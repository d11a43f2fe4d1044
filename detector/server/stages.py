"""One photograph taken through the detector slowly: what each stage saw, as the page shows it.

image --superpixels, propose, select, score, candidates, postprocess--> Walk --to_json--> the page, whose sliders
suppress again without asking

The stages are the pipeline's own; superpixels, which selective search makes in several colours and sizes, are made once
more for their picture.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inception_rcnn.detector.ensemble import RegionScores
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.detector.postprocessing import candidates
from inception_rcnn.detector.region_classifier import PooledClassifier
from inception_rcnn.proposals.search.selective_search import working_size
from inception_rcnn.proposals.search.superpixels import pixel_graph, superpixels
from inception_rcnn.structures import Detections, Proposals, class_colour, load_image, resize_image
from inception_rcnn.structures.images import ImageSource
from inception_rcnn.structures.progress import StageClock

LOWEST_SCORE: Final = 0.02
"""Scores below are not told unless the detector's own threshold is: they are thousands, and no slider goes there."""

_SHOWN_SIDE: Final = 1280  # of the photograph on the page, at most, in pixels
_QUALITY: Final = 85
_SEARCH_WIDTH: Final = 500  # of selective search's image
_SCALE, _SMALLEST = 200.0, 200  # of the superpixels' picture, as of one of selective search's


@dataclass(frozen=True, eq=False, kw_only=True)
class Walk:
    """What the stages saw of a photograph.

    Args:
        image: (H, W, 3) uint8 RGB.
        superpixels: (h, w) int32, numbers of superpixels, on the image as selective search works on it.
        proposals: All of them.
        scores: Of the regions that were looked at.
        boxes: (N, 4) those regions, moved.
        values: (N, C) their scores.
        found: What is shown at the detector's settings.
        seconds: By stage.
    """

    image: NDArray[np.uint8]
    superpixels: NDArray[np.int32]
    proposals: Proposals
    scores: RegionScores
    boxes: NDArray[np.float32]
    values: NDArray[np.float32]
    found: Detections
    seconds: dict[str, float]


def walk_through(
    detector: Detector, source: ImageSource, *, max_pixels: int = 200_000_000, max_bytes: int = 500_000_000
) -> Walk:
    """Return what the stages of a detector see of a photograph.

    Args:
        detector: Its settings are those of the result.
        source: Whatever `load_image` reads.
        max_pixels: See there.
        max_bytes: See there.

    Raises:
        ImageError: It cannot be read.
    """
    clock = StageClock()
    with clock.stage("reading"):
        image = load_image(source, max_pixels=max_pixels, max_bytes=max_bytes)
    with clock.stage("superpixels"):
        width, height = working_size(image.shape[1], image.shape[0], _SEARCH_WIDTH)
        labels, _ = superpixels(pixel_graph(resize_image(image, width, height)), _SCALE, _SMALLEST)
    with clock.stage("proposals"):
        proposals = detector.propose(image)
    scored = StageClock()
    scores = detector.score(image, proposals, clock=scored)
    for name in sorted(scored.seconds.keys() - {"decode"}):  # the image is read already
        clock.seconds["selection" if name == "proposals" else name] = scored.seconds[name]
    with clock.stage("suppression"):
        boxes, values = candidates(scores, detector.settings)
        found = detector.postprocess(scores)
    return Walk(
        image=image,
        superpixels=labels,
        proposals=proposals,
        scores=scores,
        boxes=boxes,
        values=values,
        found=found,
        seconds=clock.seconds,
    )


def to_json(walk: Walk, detector: Detector) -> dict[str, Any]:
    """Return what the page needs to know of a walk, as JSON values."""
    height, width = walk.image.shape[:2]
    settings, looked = detector.settings, walk.scores.proposals
    rank_of = {box.tobytes(): rank for rank, box in enumerate(walk.proposals.boxes)}
    lowest = min(LOWEST_SCORE, settings.score_threshold)
    rows, labels = np.nonzero(walk.values >= lowest)
    return {
        "width": width,
        "height": height,
        "picture": _picture(walk.image),
        "superpixels": {"picture": _outlines(walk.superpixels), "count": int(walk.superpixels.max()) + 1},
        "proposals": {
            "boxes": np.round(walk.proposals.boxes, 1).tolist(),
            "source": walk.proposals.source.tolist(),
            "sources": list(walk.proposals.source_names),
            "objectness": _rounded(walk.proposals.objectness),
        },
        "regions": {
            "rank": [rank_of.get(box.tobytes(), -1) for box in looked.boxes],
            "boxes": looked.boxes.tolist(),
            "moved": walk.boxes.tolist(),
            "objectness": _rounded(looked.objectness),
            "background": _rounded(walk.scores.mean()[:, -1]),
        },
        "scores": {
            "row": rows.tolist(),
            "label": labels.tolist(),
            "score": walk.values[rows, labels].tolist(),
            "lowest": lowest,
        },
        "settings": {
            "score_threshold": settings.score_threshold,
            "iou_threshold": settings.iou_threshold,
            "one_name_iou": settings.one_name_iou,
            "max_per_class": settings.max_per_class,
            "max_detections": settings.max_detections,
        },
        "network": describe_network(detector),
        "classes": list(detector.class_names),
        "colours": ["#" + "".join(f"{part:02x}" for part in class_colour(k)) for k in range(len(detector.class_names))],
        "detections": walk.found.to_records(),
        "seconds": {name: round(seconds, 4) for name, seconds in walk.seconds.items()},
    }


def describe_network(detector: Detector) -> dict[str, Any]:
    """Return in a few words how the networks see regions."""
    members = detector.ensemble.members
    pooled = [one for one in members if isinstance(one, PooledClassifier)]
    pooling = pooled[0].description.pooling if pooled else None
    return {
        "members": len(members),
        "regions": "pool" if pooled else "warp",
        "cells": None if pooling is None else pooling.cells,
        "short_side": None if pooling is None else pooling.short_side,
        "side": None if pooled else detector.ensemble.input_spec.side,
        "computed": str(detector.ensemble.runtime),
    }


def _rounded(values: NDArray[np.float32] | None) -> list[float] | None:
    return None if values is None else np.round(values.astype(np.float64), 4).tolist()


def _picture(image: NDArray[np.uint8]) -> str:
    """Return the photograph, upright and reduced to what a page shows, as a data URI."""
    height, width = image.shape[:2]
    scale = min(1.0, _SHOWN_SIDE / max(height, width))
    shown = resize_image(image, max(round(width * scale), 1), max(round(height * scale), 1))
    buffer = BytesIO()
    Image.fromarray(shown).save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _outlines(labels: NDArray[np.int32]) -> str:
    """Return the superpixels' outlines as a transparent picture, a data URI."""
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    pixels = np.zeros((*labels.shape, 4), np.uint8)
    pixels[edge] = (255, 214, 10, 255)
    buffer = BytesIO()
    Image.fromarray(pixels).quantize(2).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
