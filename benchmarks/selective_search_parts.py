"""Where the time of selective search goes, part by part, and what the least possible would be."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.proposals.search.grouping import group
from inception_rcnn.proposals.search.ranking import Segmentation, agreement_order, gather, large_enough
from inception_rcnn.proposals.search.region_features import describe_regions, pixel_texture
from inception_rcnn.proposals.search.selective_search import working_size
from inception_rcnn.proposals.search.strategies import strategy_of, to_colour_space
from inception_rcnn.proposals.search.superpixels import SIGMA, PixelGraph, fill_edges, smoothed, sort_edges, superpixels
from inception_rcnn.structures import nms, resize_image

Result = TypeVar("Result")
Bounds = dict[str, float]


class Parts:
    """Add up the seconds of named parts."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def time(self, name: str, call: Callable[[], Result]) -> Result:
        """The result of `call`, its time added to `name`."""
        start = time.perf_counter()
        result = call()
        self.seconds[name] += time.perf_counter() - start
        return result


def search_in_parts(image: NDArray[np.uint8], width: int, min_side: int, parts: Parts) -> int:
    """The number of boxes that the default call finds, on one thread, each step timed."""
    strategy = strategy_of("fast", 2.0)
    work = working_size(image.shape[1], image.shape[0], width)
    picture = parts.time("resize the picture", lambda: resize_image(image, *work))
    segmentations = []
    for space in strategy.spaces:
        converted = parts.time("colour spaces", lambda space=space: to_colour_space(picture, space))
        graph = graph_in_parts(converted, parts)
        texture = parts.time("texture of the pixels", lambda converted=converted: pixel_texture(converted))
        for k in strategy.ks:
            labels, count = parts.time(
                "superpixels from sorted edges", lambda graph=graph, k=k: superpixels(graph, k, round(k))
            )
            described = (converted, texture, graph.smooth, labels, count)
            regions = parts.time("histograms", lambda described=described: describe_regions(*described))
            trees = [
                parts.time("grouping", lambda regions=regions, one=one: group(regions, one, work[0] * work[1]))
                for one in strategy.similarities
            ]
            segmentations.append(Segmentation(regions, trees, graph.mean_weight))
    candidates = large_enough(parts.time("ranking", lambda: gather(segmentations)), *work, min_side, 0.65)
    order, scores = parts.time("ranking", lambda: agreement_order(candidates, *work))
    return len(parts.time("near-duplicates", lambda: nms(candidates.boxes[order], scores, 0.9)))


def graph_in_parts(picture: NDArray[np.uint8], parts: Parts) -> PixelGraph:
    """As `pixel_graph`, its three steps timed."""
    height, width, channels = picture.shape
    count = 4 * height * width - 3 * (height + width) + 2
    smooth = parts.time("smoothing", lambda: smoothed(picture, SIGMA))
    unsorted, edges = np.empty(count, np.uint64), np.empty(count, np.uint64)
    digits = np.zeros((3, 512), dtype=np.int64)
    total = parts.time("edge weights", lambda: fill_edges(smooth, 3.0 / channels, unsorted, digits))
    parts.time("sorting the edges", lambda: sort_edges(unsorted, digits, edges))
    return PixelGraph(edges, smooth, float(total) / count)


def bounds(pixels: int) -> Bounds:
    """Seconds for the least that must be done to two colour spaces of that many pixels, as single copies of memory."""
    keys, picture = np.zeros(2 * 4 * pixels, np.uint64), np.zeros(3 * pixels, np.uint8)
    shuffled = np.random.default_rng(0).permutation(4 * pixels).astype(np.uint64)
    return {
        "reading the pixels once": _fastest(picture.copy),
        "copying the edges three times, as a sort in three passes does": 3 * _fastest(keys.copy),
        "numpy.sort of as many keys": 2 * _fastest(lambda: np.sort(shuffled)),
    }


def _fastest(call: Callable[[], object], repetitions: int = 5) -> float:
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def where_time_goes(images: list[NDArray[np.uint8]], width: int, min_side: int) -> None:
    """Print the parts' mean times over the images, one thread, and the bounds."""
    parts = Parts()
    for image in images:
        search_in_parts(image, width, min_side, parts)
    whole = sum(parts.seconds.values())
    print(f"\n## Where the time goes: ours x2, one thread, mean of {len(images)} photographs\n")
    print("| part | ms | share |\n|---|---|---|")
    for name, seconds in sorted(parts.seconds.items(), key=lambda part: -part[1]):
        print(f"| {name} | {1000 * seconds / len(images):.1f} | {100 * seconds / whole:.0f} % |")
    print(f"| all | {1000 * whole / len(images):.1f} | |")
    sizes = [working_size(image.shape[1], image.shape[0], width) for image in images]
    for name, seconds in bounds(round(float(np.mean(np.prod(sizes, axis=1))))).items():
        print(f"| for comparison: {name} | {1000 * seconds:.1f} | |")
