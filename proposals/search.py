"""Selective search: an image in, ranked boxes that may hold an object out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inception_rcnn.proposals.colour_spaces import to_colour_space
from inception_rcnn.proposals.graph_segmentation import PixelGraph, pixel_graph, superpixels
from inception_rcnn.proposals.grouping import (
    COLOUR_TEXTURE_SIZE_FILL,
    FILL,
    SIZE,
    TEXTURE_SIZE_FILL,
    Hierarchy,
    Similarity,
    group,
)
from inception_rcnn.proposals.ranking import RANKINGS, gather, random_order
from inception_rcnn.proposals.region_features import PixelTexture, Regions, describe_regions, pixel_texture
from inception_rcnn.structures import Proposals, load_image, resize_image

MODES = ("single", "fast", "quality")
ENGINES = ("native", "opencv", "selectivesearch")
WORKING_PIXELS = 1_500_000


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Which hierarchies are built: every colour space with every k with every similarity."""

    spaces: tuple[str, ...]
    ks: tuple[float, ...]
    similarities: tuple[Similarity, ...]


def strategy_of(mode: str, superpixel_scale: float = 1.0, ks: Sequence[float] | None = None) -> Strategy:
    """The published strategy of that name, its superpixels `superpixel_scale` times as large, or with other ks.

    Source:
        Uijlings et al., IJCV 2013, tables 4 and 5; Szegedy et al., Going deeper with convolutions, section 8.
    """
    if mode == "single":
        strategy = Strategy(spaces=("hsv",), ks=(100,), similarities=(COLOUR_TEXTURE_SIZE_FILL,))
    elif mode == "fast":
        both = (COLOUR_TEXTURE_SIZE_FILL, TEXTURE_SIZE_FILL)
        strategy = Strategy(spaces=("hsv", "lab"), ks=(50, 100), similarities=both)
    elif mode == "quality":
        strategy = Strategy(
            spaces=("hsv", "lab", "rgi", "hue", "intensity"),
            ks=(50, 100, 150, 300),
            similarities=(COLOUR_TEXTURE_SIZE_FILL, TEXTURE_SIZE_FILL, FILL, SIZE),
        )
    else:
        raise ValueError(f"mode {mode!r} is unknown; known: {', '.join(MODES)}")
    chosen = tuple(ks) if ks is not None else tuple(k * superpixel_scale for k in strategy.ks)
    return Strategy(spaces=strategy.spaces, ks=chosen, similarities=strategy.similarities)


@dataclass(frozen=True)
class _Space:
    """What all segmentations of one colour space share."""

    picture: npt.NDArray[np.uint8]
    graph: PixelGraph
    texture: PixelTexture


def build_hierarchies(
    picture: npt.NDArray[np.uint8], strategy: Strategy, threads: int | None = None
) -> list[tuple[Regions, list[Hierarchy]]]:
    """For each colour space and k, the superpixels and one hierarchy a similarity; the same for any `threads`."""
    area = picture.shape[0] * picture.shape[1]

    def prepare(space: str) -> _Space:
        converted = to_colour_space(picture, space)
        return _Space(converted, pixel_graph(converted), pixel_texture(converted))

    def build(space: _Space, k: float) -> tuple[Regions, list[Hierarchy]]:
        labels, count = superpixels(space.graph, k, int(round(k)))
        regions = describe_regions(space.picture, space.texture, labels, count)
        return regions, [group(regions, similarity, area) for similarity in strategy.similarities]

    workers = threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        spaces = list(pool.map(prepare, strategy.spaces))
        jobs = [pool.submit(build, space, k) for space in spaces for k in strategy.ks]
        return [job.result() for job in jobs]


def working_size(width: int, height: int, wanted: int) -> tuple[int, int]:
    """Width and height of the picture the search works on: `wanted` wide, unless that makes too many pixels."""
    limit = max(WORKING_PIXELS, 2 * wanted * wanted)
    scale = min(wanted / width, (limit / (width * height)) ** 0.5)
    return max(1, int(round(width * scale))), max(1, int(round(height * scale)))


def selective_search(
    image: object,
    *,
    mode: str = "fast",
    superpixel_scale: float = 2.0,
    seed: int = 0,
    engine: str = "native",
    ranking: str = "random",
    width: int = 500,
    min_side: int = 20,
    ks: Sequence[float] | None = None,
    max_boxes: int | None = None,
    threads: int | None = None,
) -> Proposals:
    """Ranked boxes that may hold an object, in pixels of `image`; at least one, none twice."""
    if ranking not in RANKINGS:
        raise ValueError(f"ranking {ranking!r} is unknown; known: {', '.join(RANKINGS)}")
    original = load_image(image)
    full_height, full_width = original.shape[:2]
    work_width, work_height = working_size(full_width, full_height, width)
    picture = resize_image(original, work_width, work_height)
    segmentations = build_hierarchies(picture, strategy_of(mode, superpixel_scale, ks), threads)
    boxes, positions = gather(segmentations)
    scores = random_order(positions, seed)
    boxes, scores = settle(boxes, scores, work_width, work_height, min_side)
    if max_boxes is not None:
        boxes, scores = boxes[:max_boxes], scores[:max_boxes]
    factor = np.array([full_width / work_width, full_height / work_height] * 2, dtype=np.float64)
    limits = np.array([full_width, full_height] * 2, dtype=np.float64)
    mapped = np.minimum(boxes * factor, limits).astype(np.float32)
    return Proposals(mapped, scores, np.zeros(len(mapped), dtype=np.uint8))


def settle(
    boxes: npt.NDArray[np.int32], scores: npt.NDArray[np.float32], width: int, height: int, min_side: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Boxes by score, descending, without those too small, then without repetitions (the first stays).

    A side as long as the picture's is always long enough, so the whole picture is never dropped.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    wide = boxes[:, 2] - boxes[:, 0] >= min(min_side, width)
    high = boxes[:, 3] - boxes[:, 1] >= min(min_side, height)
    boxes, scores = boxes[wide & high], scores[wide & high]
    if width * height < 2**31:
        corners = boxes.astype(np.int64)
        start = corners[:, 1] * width + corners[:, 0]
        end = corners[:, 3] * (width + 1) + corners[:, 2]
        _, first = np.unique(start * ((height + 1) * (width + 1)) + end, return_index=True)
    else:
        _, first = np.unique(boxes, axis=0, return_index=True)
    first.sort()
    return boxes[first], scores[first]
