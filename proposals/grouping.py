"""Greedy hierarchical grouping: the most similar neighbours merge until one region is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inception_rcnn.proposals.compiled import compiled
from inception_rcnn.proposals.region_features import Regions


@dataclass(frozen=True)
class Similarity:
    """Which of the four similarities are added up; all weigh the same."""

    colour: bool = False
    texture: bool = False
    size: bool = False
    fill: bool = False


COLOUR_TEXTURE_SIZE_FILL = Similarity(colour=True, texture=True, size=True, fill=True)
TEXTURE_SIZE_FILL = Similarity(texture=True, size=True, fill=True)
FILL = Similarity(fill=True)
SIZE = Similarity(size=True)


@dataclass(frozen=True)
class Hierarchy:
    """The n - 1 merges of n superpixels; merge t makes region n + t, and the last is the whole picture."""

    merges: npt.NDArray[np.int32]  # (n - 1, 2) the regions that were joined
    boxes: npt.NDArray[np.int32]  # (n - 1, 4) x1 y1 x2 y2 of the joint region, exclusive
    sizes: npt.NDArray[np.int32]  # (n - 1,) pixels
    similarities: npt.NDArray[np.float32]  # (n - 1,) at which they were joined


def group(regions: Regions, similarity: Similarity, image_area: int) -> Hierarchy:
    """Merge the most similar pair of neighbours, again and again, until one region is left.

    Equal similarities: the pair that became neighbours first is merged first.

    Source:
        Uijlings et al., IJCV 2013, algorithm 1 and section 3.2.
    """
    count = len(regions.sizes)
    first = 0 if similarity.colour else regions.colour_columns
    last = regions.histograms.shape[1] if similarity.texture else regions.colour_columns
    histograms = regions.histograms[:, first : max(first, last)].copy()  # (n, columns), used up by the merging
    merges = np.empty((max(0, count - 1), 2), dtype=np.int32)
    boxes = np.empty((2 * count - 1, 4), dtype=np.int32)
    sizes = np.empty(2 * count - 1, dtype=np.int32)
    boxes[:count], sizes[:count] = regions.boxes, regions.sizes
    similarities = np.empty(max(0, count - 1), dtype=np.float32)
    merge_all(
        histograms, regions.neighbours, similarity.size, similarity.fill, image_area, merges, boxes, sizes, similarities
    )
    return Hierarchy(merges, boxes[count:], sizes[count:], similarities)


@compiled(
    "void(float32[:, ::1], int32[:, ::1], boolean, boolean, int64, int32[:, ::1], int32[:, ::1], int32[::1], float32[::1])",
    fastmath=True,
)
def merge_all(histograms, neighbours, use_size, use_fill, image_area, merges, boxes, sizes, similarities):  # type: ignore[no-untyped-def]
    """Grouping with a heap of neighbour pairs, from which pairs of regions already merged are dropped when met.

    A merged region takes a new number, so a pair in the heap is valid as long as neither of its regions is gone, and
    it takes the histogram row of its first part. Each region has a linked list of its contacts.
    """
    count = histograms.shape[0]
    columns = histograms.shape[1]
    total = 2 * count - 1
    row = np.empty(total, dtype=np.int32)
    gone = np.zeros(total, dtype=np.bool_)
    seen_by = np.full(total, -1, dtype=np.int32)
    head = np.full(total, -1, dtype=np.int32)  # region -> its newest contact
    for region in range(count):
        row[region] = region
    room = max(16, 4 * neighbours.shape[0])
    pair_a = np.empty(room, dtype=np.int32)
    pair_b = np.empty(room, dtype=np.int32)
    next_contact = np.empty(2 * room, dtype=np.int32)  # contact 2 * pair is pair_a's, 2 * pair + 1 is pair_b's
    heap_value = np.empty(room, dtype=np.float32)
    heap_pair = np.empty(room, dtype=np.int32)
    pairs = 0
    in_heap = 0
    area = np.float32(image_area)
    made = count
    waiting = neighbours.shape[0]
    new_neighbour = np.empty(total, dtype=np.int32)
    while True:
        # 1. add the pairs that are new: at first all contacts, then those of the region just made
        for i in range(waiting):
            if made == count:
                a = neighbours[i, 0]
                b = neighbours[i, 1]
            else:
                a = new_neighbour[i]
                b = np.int32(made - 1)
            if pairs == room:
                room *= 2
                pair_a = np.concatenate((pair_a, np.empty_like(pair_a)))
                pair_b = np.concatenate((pair_b, np.empty_like(pair_b)))
                next_contact = np.concatenate((next_contact, np.empty_like(next_contact)))
                heap_value = np.concatenate((heap_value, np.empty_like(heap_value)))
                heap_pair = np.concatenate((heap_pair, np.empty_like(heap_pair)))
            value = np.float32(0)
            left = histograms[row[a]]
            right = histograms[row[b]]
            for column in range(columns):
                value += min(left[column], right[column])
            joint = np.float32(sizes[a] + sizes[b])
            if use_size:
                value += np.float32(1) - joint / area
            if use_fill:
                box_width = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
                box_height = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
                value += np.float32(1) - (np.float32(box_width * box_height) - joint) / area
            pair_a[pairs] = a
            pair_b[pairs] = b
            next_contact[2 * pairs] = head[a]
            head[a] = 2 * pairs
            next_contact[2 * pairs + 1] = head[b]
            head[b] = 2 * pairs + 1
            # sift up; equal values: the older pair stays above
            place = in_heap
            while place > 0:
                above = (place - 1) >> 1
                if heap_value[above] >= value:
                    break
                heap_value[place] = heap_value[above]
                heap_pair[place] = heap_pair[above]
                place = above
            heap_value[place] = value
            heap_pair[place] = pairs
            in_heap += 1
            pairs += 1
        if made == total:
            break
        # 2. take the best pair of which both regions still exist
        while True:
            best_value = heap_value[0]
            best = heap_pair[0]
            in_heap -= 1
            last_value = heap_value[in_heap]
            last_pair = heap_pair[in_heap]
            place = 0
            while True:
                below = 2 * place + 1
                if below >= in_heap:
                    break
                right_one = below + 1
                if right_one < in_heap and (
                    heap_value[right_one] > heap_value[below]
                    or (heap_value[right_one] == heap_value[below] and heap_pair[right_one] < heap_pair[below])
                ):
                    below = right_one
                if last_value > heap_value[below] or (
                    last_value == heap_value[below] and last_pair < heap_pair[below]
                ):
                    break
                heap_value[place] = heap_value[below]
                heap_pair[place] = heap_pair[below]
                place = below
            heap_value[place] = last_value
            heap_pair[place] = last_pair
            a = pair_a[best]
            b = pair_b[best]
            if not gone[a] and not gone[b]:
                break
        # 3. join the two
        merge = made - count
        merges[merge, 0] = a
        merges[merge, 1] = b
        similarities[merge] = best_value
        gone[a] = True
        gone[b] = True
        sizes[made] = sizes[a] + sizes[b]
        boxes[made, 0] = min(boxes[a, 0], boxes[b, 0])
        boxes[made, 1] = min(boxes[a, 1], boxes[b, 1])
        boxes[made, 2] = max(boxes[a, 2], boxes[b, 2])
        boxes[made, 3] = max(boxes[a, 3], boxes[b, 3])
        share = np.float32(sizes[a]) / np.float32(sizes[made])
        row[made] = row[a]
        left = histograms[row[a]]
        right = histograms[row[b]]
        for column in range(columns):
            left[column] = share * left[column] + (np.float32(1) - share) * right[column]
        # 4. its neighbours are those of both, each once
        waiting = 0
        for part in range(2):
            contact = head[a] if part == 0 else head[b]
            while contact >= 0:
                other = pair_b[contact >> 1] if contact & 1 == 0 else pair_a[contact >> 1]
                if not gone[other] and seen_by[other] != made:
                    seen_by[other] = made
                    new_neighbour[waiting] = other
                    waiting += 1
                contact = next_contact[contact]
        made += 1
