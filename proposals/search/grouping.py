"""Greedy hierarchical grouping: the most similar neighbours merge until one region is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.proposals.search.region_features import Regions
from inception_rcnn.structures.kernels import kernel


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
    """The n - 1 merges of n superpixels; merge t makes region n + t, and the last is the whole image."""

    merges: NDArray[np.int32]  # (n - 1, 2) the regions that were joined
    boxes: NDArray[np.int32]  # (n - 1, 4) x1 y1 x2 y2 of the joint region, exclusive
    sizes: NDArray[np.int32]  # (n - 1,) pixels
    similarities: NDArray[np.float32]  # (n - 1,) at which they were joined
    contours: NDArray[np.float32]  # (n - 1, 2) length and strength of the joint region's contour


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
    contacts = regions.contacts
    merges = np.empty((count - 1, 2), dtype=np.int32)
    similarities = np.empty(count - 1, dtype=np.float32)
    boxes = np.empty((2 * count - 1, 4), dtype=np.int32)
    sizes = np.empty(2 * count - 1, dtype=np.int32)
    boxes[:count], sizes[:count] = regions.boxes, regions.sizes
    contours = np.empty((2 * count - 1, 2), dtype=np.float32)
    contours[:count] = regions.contours
    merge_all(
        histograms,
        contacts.pairs,
        np.stack([contacts.lengths, contacts.strengths], axis=1),
        similarity.size,
        similarity.fill,
        image_area,
        merges,
        similarities,
        boxes,
        sizes,
        contours,
    )
    made = slice(count, None)
    return Hierarchy(merges, boxes[made], sizes[made], similarities, contours[made])


@kernel(fastmath=True)
def similarity_of(
    left: Any, right: Any, left_box: Any, right_box: Any, joint_size: Any, area: Any, use_size: bool, use_fill: bool
) -> Any:
    """Sum of the similarities of two regions: histograms that share mass, small together, filling their joint box."""
    value = np.float32(0)
    for column in range(left.size):
        value += min(left[column], right[column])
    if use_size:
        value += np.float32(1) - joint_size / area
    if use_fill:
        width = max(left_box[2], right_box[2]) - min(left_box[0], right_box[0])
        height = max(left_box[3], right_box[3]) - min(left_box[1], right_box[1])
        value += np.float32(1) - (np.float32(width * height) - joint_size) / area
    return value


@kernel
def push(values: Any, items: Any, count: int, value: Any, item: Any) -> None:
    """Add an entry to a heap of `count` entries: the largest value on top, of equal ones the smaller item.

    Only an item larger than all others may come; the arrays have room for it.
    """
    place = count
    while place > 0:
        above = (place - 1) >> 1
        if values[above] >= value:
            break
        values[place] = values[above]
        items[place] = items[above]
        place = above
    values[place] = value
    items[place] = item


@kernel
def replace_top(values: Any, items: Any, count: int, value: Any, item: Any) -> None:
    """Put an entry in the place of the top one, then where it belongs.

    With the last entry of count + 1 as the new one, this takes the top away.
    """
    place = 0
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        right = below + 1
        if right < count and (
            values[right] > values[below] or (values[right] == values[below] and items[right] < items[below])
        ):
            below = right
        if value > values[below] or (value == values[below] and item < items[below]):
            break
        values[place] = values[below]
        items[place] = items[below]
        place = below
    values[place] = value
    items[place] = item


@kernel(fastmath=True)
def merge_all(
    histograms: Any,
    neighbours: Any,
    borders: Any,
    use_size: bool,
    use_fill: bool,
    image_area: int,
    merges: Any,
    similarities: Any,
    boxes: Any,
    sizes: Any,
    contours: Any,
) -> None:
    """Grouping with a heap of neighbour pairs, from which pairs of regions already merged are dropped when met.

    A merged region takes a new number, so a pair in the heap is valid as long as neither of its regions is gone, and
    it takes the histogram row of its first part. Each region has a linked list of its contacts. `borders` are lengths
    and strengths of the contacts, `contours` of the regions; the last five arrays are written.
    """
    count, total = histograms.shape[0], boxes.shape[0]
    area = np.float32(image_area)
    row = np.arange(total).astype(np.int32)  # region -> its histogram
    gone = np.zeros(total, dtype=np.bool_)
    head = np.full(total, -1, dtype=np.int32)  # region -> its newest contact
    room = max(16, 4 * neighbours.shape[0])
    ends = np.empty((room, 2), dtype=np.int32)  # pair -> its regions
    border = np.empty((room, 2), dtype=np.float32)
    next_contact = np.empty((room, 2), dtype=np.int32)  # contact 2 * pair belongs to the first region, 2 * pair + 1 ..
    heap_value = np.empty(room, dtype=np.float32)
    heap_pair = np.empty(room, dtype=np.int32)
    pairs = 0
    in_heap = 0
    new_ends = neighbours.copy()  # at first all contacts, then those of the region just made
    new_border = borders.copy()
    new_pairs = neighbours.shape[0]
    place_of = np.full(total, -1, dtype=np.int32)  # region -> its place among the new pairs
    made = count
    while True:
        # 1. add the new pairs
        if pairs + new_pairs > room:
            room = 2 * (pairs + new_pairs)
            ends = np.concatenate((ends, np.empty((room - ends.shape[0], 2), dtype=np.int32)))
            border = np.concatenate((border, np.empty((room - border.shape[0], 2), dtype=np.float32)))
            next_contact = np.concatenate((next_contact, np.empty((room - next_contact.shape[0], 2), dtype=np.int32)))
            heap_value = np.concatenate((heap_value, np.empty(room - heap_value.size, dtype=np.float32)))
            heap_pair = np.concatenate((heap_pair, np.empty(room - heap_pair.size, dtype=np.int32)))
        for i in range(new_pairs):
            a, b = new_ends[i, 0], new_ends[i, 1]
            joint_size = np.float32(sizes[a] + sizes[b])
            value = similarity_of(
                histograms[row[a]], histograms[row[b]], boxes[a], boxes[b], joint_size, area, use_size, use_fill
            )
            for end in range(2):
                region = new_ends[i, end]
                ends[pairs, end] = region
                border[pairs, end] = new_border[i, end]
                next_contact[pairs, end] = head[region]
                head[region] = 2 * pairs + end
            push(heap_value, heap_pair, in_heap, value, np.int32(pairs))
            in_heap += 1
            pairs += 1
        if made == total:
            break
        # 2. take the best pair of which both regions still exist
        while True:
            best, value = heap_pair[0], heap_value[0]
            in_heap -= 1
            replace_top(heap_value, heap_pair, in_heap, heap_value[in_heap], heap_pair[in_heap])
            a, b = ends[best, 0], ends[best, 1]
            if not gone[a] and not gone[b]:
                break
        # 3. join the two
        merges[made - count, 0] = a
        merges[made - count, 1] = b
        similarities[made - count] = value
        gone[a] = True
        gone[b] = True
        sizes[made] = sizes[a] + sizes[b]
        for corner in range(2):
            boxes[made, corner] = min(boxes[a, corner], boxes[b, corner])
            boxes[made, corner + 2] = max(boxes[a, corner + 2], boxes[b, corner + 2])
        for part in range(2):
            contours[made, part] = contours[a, part] + contours[b, part] - np.float32(2) * border[best, part]
        row[made] = row[a]
        share = np.float32(sizes[a]) / np.float32(sizes[made])
        left, right = histograms[row[a]], histograms[row[b]]
        for column in range(left.size):
            left[column] = share * left[column] + (np.float32(1) - share) * right[column]
        # 4. its neighbours are those of both, each once, and borders on the same neighbour add up
        new_pairs = 0
        for region in (a, b):
            contact = head[region]
            while contact >= 0:
                pair, end = contact >> 1, contact & 1
                other = ends[pair, 1 - end]
                if not gone[other]:
                    place = place_of[other]
                    if place < 0 or place >= new_pairs or new_ends[place, 0] != other:
                        place = new_pairs
                        place_of[other] = place
                        if place == new_ends.shape[0]:
                            new_ends = np.concatenate((new_ends, np.empty_like(new_ends)))
                            new_border = np.concatenate((new_border, np.empty_like(new_border)))
                        new_ends[place, 0] = other
                        new_ends[place, 1] = made
                        new_border[place, 0] = 0
                        new_border[place, 1] = 0
                        new_pairs += 1
                    new_border[place, 0] += border[pair, 0]
                    new_border[place, 1] += border[pair, 1]
                contact = next_contact[pair, end]
        made += 1
