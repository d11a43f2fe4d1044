"""MultiBox and the merge against selective search alone: boxes an image, coverage, time.

    python benchmarks/bench_multibox.py --coco coco_mini --voc voc2007 --ilsvrc ilsvrc_mini [--weights FILE]

Coverage is recall at IoU 0.5 of all objects but crowds and difficult ones, pooled over the photographs of split val,
which the network was not trained on. The k-means centres are those of the training photographs of the COCO set.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from machine import machine_line
from numpy.typing import NDArray

from inception_rcnn.backbones.runtime import choose_runtime, keep_freed_memory
from inception_rcnn.datasets import CocoDataset, DetectionDataset, open_dataset
from inception_rcnn.evaluation import ProposalRecall, proposal_recall, recall_by_size
from inception_rcnn.proposals import MultiBox, load_multibox, merge_proposals, selective_search
from inception_rcnn.proposals.network.checkpoints import DEFAULT_WEIGHTS
from inception_rcnn.proposals.network.priors import as_pixels, as_shares, common_boxes
from inception_rcnn.structures import GroundTruth, Proposals
from inception_rcnn.structures.dataset import Subset

Image = NDArray[np.uint8]
Propose = Callable[[int], Proposals]
COUNTS = (10, 50, 100, 200, 300)
SEEDS = 3


@dataclass(frozen=True)
class Sources:
    """What is proposed for the photographs of one set, one entry a photograph.

    Attributes:
        truths: the objects.
        sizes: width and height.
        once, doubled: selective search with superpixels x1 and x2.
        own: MultiBox's 200.
        scores: of `own`'s boxes, then `doubled`'s.
    """

    truths: list[GroundTruth]
    sizes: list[tuple[int, int]]
    once: list[Proposals]
    doubled: list[Proposals]
    own: list[Proposals]
    scores: list[NDArray[np.float32]]

    @classmethod
    def of(cls, dataset: DetectionDataset, network: MultiBox) -> Sources:
        """All of a set."""
        found = cls([], [], [], [], [], [])
        for row in range(len(dataset)):
            image = dataset.load_image(row)
            found.truths.append(dataset.ground_truth(row))
            found.sizes.append((image.shape[1], image.shape[0]))
            found.once.append(selective_search(image, superpixel_scale=1.0))
            found.doubled.append(selective_search(image))
            view = network.look([image])[0]
            found.own.append(network.proposals(view))
            found.scores.append(network.rank(view, found.own[-1], found.doubled[-1])[1])
        return found

    def fixed(self, boxes: NDArray[np.float32]) -> list[Proposals]:
        """The same boxes, given as shares, for every photograph."""
        order = -np.arange(len(boxes), dtype=np.float32)
        return [Proposals(as_pixels(boxes, *size), order, (), ("fixed",)) for size in self.sizes]

    def merged(self, *, objectness: bool) -> list[Proposals]:
        """MultiBox's boxes and selective search's."""
        scores: Sequence[NDArray[np.float32] | None] = self.scores if objectness else [None] * len(self.own)
        pairs = zip(self.own, self.doubled, scores, strict=True)
        return [merge_proposals(own, doubled, scores=score) for own, doubled, score in pairs]

    def searched_in_order(self) -> list[Proposals]:
        """Selective search's boxes alone, ordered by objectness."""
        pairs = zip(self.own, self.doubled, self.scores, strict=True)
        return [merge_proposals(doubled, scores=score[len(own) :]) for own, doubled, score in pairs]


def random_boxes(count: int, seed: int) -> NDArray[np.float32]:
    """Boxes whose corners are drawn evenly, as shares."""
    drawn = np.sort(np.random.default_rng(seed).random((count, 2, 2)), axis=1)
    return drawn.reshape(count, 4).astype(np.float32)


def some_priors(network: MultiBox, count: int, seed: int) -> NDArray[np.float32]:
    """So many of the priors, drawn evenly from each grid."""
    priors = network.network.priors.clamp(0, 1).cpu().numpy()
    sides = np.round(np.log2(np.sqrt(np.prod(priors[:, 2:] - priors[:, :2], axis=1))), 1)
    rng = np.random.default_rng(seed)
    levels = np.unique(sides)
    chosen = [rng.choice(np.flatnonzero(sides == level), -(-count // len(levels))) for level in levels]
    return priors[rng.permutation(np.concatenate(chosen))[:count]]


def kmeans_centres(dataset: CocoDataset, count: int) -> NDArray[np.float32]:
    """The most common boxes of a set's objects, as shares."""
    found = []
    for row in range(len(dataset)):
        truth = dataset.ground_truth(row)
        if truth.width is not None and truth.height is not None:
            found.append(as_shares(truth.boxes[~truth.ignore], truth.width, truth.height))
    return common_boxes(np.concatenate(found), count)


def row(name: str, truths: list[GroundTruth], drawn: Sequence[list[Proposals]]) -> str:
    """A line of the table; several drawings are averaged."""
    results = [proposal_recall(truths, given, counts=COUNTS) for given in drawn]
    sized = [recall_by_size(truths, given) for given in drawn]

    def mean(read: Callable[[ProposalRecall], float], parts: Sequence[ProposalRecall | None] = results) -> str:
        known = [read(one) for one in parts if one is not None]
        return f"{100 * np.mean(known):.1f}" if known else "-"

    cells = [mean(lambda one, count=count: one.recall_at[count]) for count in COUNTS]  # type: ignore[misc]
    cells += [mean(lambda one: one.recall[0.5])]
    cells += [
        mean(lambda one: one.recall[0.5], [each[size] for each in sized]) for size in ("small", "medium", "large")
    ]
    cells += [mean(lambda one: one.average_recall)]
    return f"| {name} | {results[0].boxes_per_image:.0f} | {' | '.join(cells)} |"


def coverage_table(name: str, dataset: DetectionDataset, network: MultiBox, centres: NDArray[np.float32]) -> None:
    """Print one set's table."""
    found = Sources.of(dataset, network)
    objects = sum(int((~truth.ignore).sum()) for truth in found.truths)
    print(f"\n## {name}: {len(dataset)} photographs, {objects} objects: recall at IoU 0.5, %\n")
    heads = [f"first {count}" for count in COUNTS]
    heads += ["all", "all, small", "all, medium", "all, large", "average recall"]
    print(f"| proposals | boxes | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 2)}")
    common = found.fixed(centres)
    lines: dict[str, list[list[Proposals]]] = {
        "selective search x1": [found.once],
        "selective search x2": [found.doubled],
        "selective search x2, by objectness": [found.searched_in_order()],
        "MultiBox": [found.own],
        "x2 + MultiBox, by objectness": [found.merged(objectness=True)],
        "x2 + MultiBox, in turns": [found.merged(objectness=False)],
        "x2 + 200 k-means centres": [[merge_proposals(*both) for both in zip(found.doubled, common, strict=True)]],
        "200 k-means centres": [common],
        "200 priors": [found.fixed(some_priors(network, 200, seed)) for seed in range(SEEDS)],
        "200 random boxes": [found.fixed(random_boxes(200, seed)) for seed in range(SEEDS)],
    }
    for label, drawn in lines.items():
        print(row(label, found.truths, drawn), flush=True)


def time_table(dataset: DetectionDataset, weights: str, device: str, number: int) -> None:
    """Print what MultiBox costs at several input sizes, one photograph at a time, and what it finds there."""
    rows = np.linspace(0, len(dataset) - 1, min(number, len(dataset))).round().astype(int).tolist()
    images, truths = [dataset.load_image(i) for i in rows], [dataset.ground_truth(i) for i in range(len(dataset))]
    runtime = choose_runtime(device)
    print(f"\n## Time an image, {len(images)} photographs, one at a time, {torch.get_num_threads()} threads\n")
    print("| what | ms, median (5th to 95th percentile) | MultiBox's recall, first 200 of all photographs, % |")
    print("|---|---|---|")
    print(f"| selective search x2 | {spread(images, selective_search)} | |", flush=True)
    print(f"| selective search x1 | {spread(images, lambda one: selective_search(one, superpixel_scale=1.0))} | |")
    for side in (256, 320, 384, 448):
        network = load_multibox(weights, runtime, side=side)
        found = [network.propose(dataset.load_image(i)) for i in range(len(dataset))]
        share = proposal_recall(truths, found, counts=(200,)).recall_at[200]
        print(f"| MultiBox, {side} px | {spread(images, network.propose)} | {100 * share:.1f} |", flush=True)
        if side == 320:
            found = [network.propose(dataset.load_image(i), crops=True) for i in range(len(dataset))]
            share = proposal_recall(truths, found, counts=(200,)).recall_at[200]
            taken = spread(images, lambda one, network=network: network.propose(one, crops=True))  # type: ignore[misc]
            print(f"| MultiBox, {side} px, with 4 crops | {taken} | {100 * share:.1f} |", flush=True)
            print(f"| objectness of 1,300 boxes, {side} px | {spread(images, scoring(network))} | |", flush=True)


def scoring(network: MultiBox) -> Callable[[Image], object]:
    """Give 1,300 random boxes of an image their scores; the look at the image is not part of it."""
    view = network.look([np.zeros((300, 400, 3), np.uint8)])[0]
    boxes = as_pixels(random_boxes(1300, 0), 400, 300)
    return lambda image: network.objectness(view, boxes)


def spread(images: list[Image], call: Callable[[Image], object]) -> str:
    """Milliseconds of a call on each image."""
    call(images[0])
    seconds = []
    for image in images:
        start = time.perf_counter()
        call(image)
        seconds.append(time.perf_counter() - start)
    low, middle, high = np.percentile(np.array(seconds) * 1000, [5, 50, 95])
    return f"{middle:.0f} ({low:.0f}-{high:.0f})"


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", type=Path, required=True, help="a data set in COCO's layout, splits train and val")
    parser.add_argument("--voc", type=Path, help="one in VOC's, split val")
    parser.add_argument("--ilsvrc", type=Path, help="one in ILSVRC DET's, split val")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help="of MultiBox; by default the shipped network")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=40, help="photographs to measure the time on")
    parser.add_argument("--limit", type=int, help="only the first photographs of each set; default: all")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    keep_freed_memory()
    selective_search(np.zeros((32, 32, 3), np.uint8))  # compiles its kernels, if need be
    print(machine_line("numpy", "numba", "torch", "torchvision"))
    runtime = choose_runtime(arguments.device)
    print(f"{runtime.device}, {runtime.dtype}")
    network = load_multibox(arguments.weights, runtime)
    centres = kmeans_centres(CocoDataset(arguments.coco, "train"), 200)
    time_table(CocoDataset(arguments.coco, "val"), arguments.weights, arguments.device, arguments.images)
    for form, root in (("coco", arguments.coco), ("voc", arguments.voc), ("ilsvrc", arguments.ilsvrc)):
        if root is not None:
            whole = open_dataset(form, root, "val", skip_broken=True)
            chosen = Subset(whole, range(min(arguments.limit or len(whole), len(whole))))
            coverage_table(root.name, chosen, network, centres)


if __name__ == "__main__":
    main()
