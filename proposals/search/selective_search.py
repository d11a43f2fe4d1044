"""Selective search: an image in, ranked boxes that may hold an object out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.proposals.search.grouping import group
from inception_rcnn.proposals.search.ranking import (
    RANKINGS,
    Candidates,
    Segmentation,
    agreement_order,
    gather,
    large_enough,
    random_order,
)
from inception_rcnn.proposals.search.region_features import PixelTexture, describe_regions, pixel_texture
from inception_rcnn.proposals.search.strategies import Strategy, strategy_of, to_colour_space
from inception_rcnn.proposals.search.superpixels import PixelGraph, pixel_graph, superpixels
from inception_rcnn.structures import InputError, Proposals, load_image, nms, resize_image
from inception_rcnn.structures.images import ImageSource
from inception_rcnn.structures.jobs import available_processors

ENGINES = ("native", "opencv", "selectivesearch")
WORKING_PIXELS = 1_500_000
LONGEST_SIDE = 2000  # of the image the search works on, in pixels: a strip has tens of thousands of regions otherwise
_WIDEST = 4096


def selective_search(
    image: ImageSource,
    *,
    mode: str = "fast",
    superpixel_scale: float = 2.0,
    seed: int = 0,
    engine: str = "native",
    ranking: str = "agreement",
    width: int = 500,
    min_side: int = 20,
    widened_from: float = 0.65,
    duplicate_iou: float = 0.9,
    ks: Sequence[float] | None = None,
    max_boxes: int | None = None,
    threads: int | None = None,
) -> Proposals:
    """Return boxes that may hold an object, most promising first: at least one, none twice, in pixels of `image`.

    The image is resized to `width`, cut into superpixels in several colour spaces and at several scales, and each
    cut is grouped, most similar neighbours first, until one region is left; every region on the way gives a box. The
    same arguments give the same boxes, whatever the number of threads.

    Args:
        image: Whatever `load_image` reads: a path, the bytes of a file, a PIL image, an array.
        mode: "single" (1 hierarchy), "fast" (8, as R-CNN used it) or "quality" (80).
        superpixel_scale: Multiplies k and the smallest size of the superpixels. 1 is R-CNN's setting; 2 is the
            doubling of Going deeper with convolutions, which gives about half the boxes.
        seed: Of the random numbers in ranking "random" (and in engine "opencv", which has its own).
        engine: "native"; or one of the public implementations with its faults corrected, for comparison: "opencv"
            (opencv-contrib-python) or "selectivesearch".
        ranking: "agreement": what several hierarchies found, has a strong contour and differs from the boxes before
            it stands first. "random": R-CNN's order.
        width: Of the image the search works on, in pixels, at most 4096; smaller ones are enlarged. Up to 500, high
            ones are made smaller still, so that the longer side has no more than 2,000 pixels, and the whole no more
            than 1.5 million.
        min_side: Shortest side of a box in the working image, in pixels; boxes with a shorter one are left out. A
            side as long as the image's is always long enough.
        widened_from: Sides from this share of `min_side` on are widened to it instead, in (0, 1]; 1 widens none, as in
            R-CNN.
        duplicate_iou: Of boxes that overlap more, only the first one stays; 1 leaves out exact repetitions only, as
            R-CNN did.
        ks: Superpixel scales (each also the smallest size), taken as they are, in place of the mode's.
        max_boxes: Cut after so many boxes.
        threads: How many; None: all processors this process may use.

    Raises:
        InputError: An option is unknown or out of range.
        ImageError: The image cannot be read.
        MissingDependencyError: The engine's library is not installed.

    Source:
        Uijlings et al., Selective Search for Object Recognition, IJCV 2013; its settings in R-CNN (Girshick et al.,
        CVPR 2014); superpixels doubled: Szegedy et al., Going deeper with convolutions, section 8.

    >>> image = np.zeros((300, 500, 3), np.uint8)
    >>> image[100:200, 150:300] = 255
    >>> selective_search(image).top(2).boxes.tolist()
    [[150.0, 100.0, 300.0, 200.0], [0.0, 0.0, 500.0, 300.0]]
    """
    strategy = strategy_of(mode, superpixel_scale, ks)
    _check(engine, "engine", ENGINES)
    _check(ranking, "ranking", RANKINGS)
    for name, value in (("width", width), ("min_side", min_side), ("max_boxes", max_boxes), ("threads", threads)):
        if value is not None and value < 1:
            raise InputError(f"{name} should be at least 1, got {value}")
    if width > _WIDEST:
        raise InputError(f"width should be at most {_WIDEST}, got {width}; larger ones take gigabytes of memory")
    if not (0 <= duplicate_iou <= 1 and 0 < widened_from <= 1):
        raise InputError(
            f"duplicate_iou should lie in [0, 1], widened_from in (0, 1], got {duplicate_iou} and {widened_from}"
        )
    original = load_image(image)
    full_height, full_width = original.shape[:2]
    work_width, work_height = working_size(full_width, full_height, width)
    working = resize_image(original, work_width, work_height)
    found = _candidates(working, strategy, engine, threads)
    candidates = large_enough(found, work_width, work_height, min_side, widened_from)
    if ranking == "random":
        order, scores = random_order(candidates, seed)
    else:
        order, scores = agreement_order(candidates, work_width, work_height)
    if duplicate_iou < 1:
        apart = nms(candidates.boxes[order], scores, duplicate_iou, limit=max_boxes)
        order, scores = order[apart], scores[apart]
    kept = slice(0, max_boxes)
    return Proposals(_map_back(candidates.boxes[order[kept]], working, original), scores[kept])


def working_size(width: int, height: int, wanted: int) -> tuple[int, int]:
    """Return width and height of the image the search works on.

    It is `wanted` wide, unless that makes too many pixels or, of a strip, a side longer than 2,000 of them.
    """
    limit, longest = max(WORKING_PIXELS, 2 * wanted * wanted), max(LONGEST_SIDE, wanted)
    scale = min(wanted / width, longest / max(width, height), (limit / (width * height)) ** 0.5)
    return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True)
class _Space:
    """What all segmentations of one colour space share."""

    image: NDArray[np.uint8]
    graph: Future[PixelGraph]
    texture: Future[PixelTexture]


def build_hierarchies(image: NDArray[np.uint8], strategy: Strategy, threads: int | None = None) -> list[Segmentation]:
    """Return the superpixels and hierarchies of each colour space and k, in that order, for any number of threads.

    Args:
        image: (H, W, 3) uint8 RGB, taken as it is.
        strategy: Colour spaces, ks and similarities.
        threads: How many; None: all processors this process may use.
    """
    area = image.shape[0] * image.shape[1]

    def build(space: _Space, k: float) -> Segmentation:
        graph = space.graph.result()
        labels, count = superpixels(graph, k, round(k))
        regions = describe_regions(space.image, space.texture.result(), graph.smooth, labels, count)
        trees = [group(regions, similarity, area) for similarity in strategy.similarities]
        return Segmentation(regions, trees, graph.mean_weight)

    # a large image's graphs take hundreds of megabytes each, so they are not all kept at once
    step = len(strategy.spaces) if area <= WORKING_PIXELS else 1
    done: list[Segmentation] = []
    with ThreadPoolExecutor(threads or available_processors()) as pool:
        for first in range(0, len(strategy.spaces), step):
            images = [to_colour_space(image, space) for space in strategy.spaces[first : first + step]]
            # Graphs take longest and everything waits for them, so they come first. A job may wait for one before it
            # in the queue: that one has been started.
            graphs = [pool.submit(pixel_graph, one) for one in images]
            textures = [pool.submit(pixel_texture, one) for one in images]
            spaces = [_Space(*parts) for parts in zip(images, graphs, textures, strict=True)]
            jobs = [pool.submit(build, space, k) for space in spaces for k in strategy.ks]
            done += [job.result() for job in jobs]
    return done


def _candidates(image: NDArray[np.uint8], strategy: Strategy, engine: str, threads: int | None) -> Candidates:
    if engine == "native":
        return gather(build_hierarchies(image, strategy, threads))
    from inception_rcnn.proposals.search import engines

    if engine == "opencv":
        return engines.opencv_candidates(image, strategy)
    return engines.selectivesearch_candidates(image, strategy)


def _map_back(boxes: NDArray[np.int32], working: NDArray[np.uint8], original: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return boxes of the working image in pixels of the original, inside it."""
    size = np.array([original.shape[1], original.shape[0]] * 2, dtype=np.float64)
    scale = size / np.array([working.shape[1], working.shape[0]] * 2, dtype=np.float64)
    return np.minimum(boxes * scale, size).astype(np.float32)


def _check(value: str, name: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"{name} {value!r} is unknown; known: {', '.join(known)}")
