"""mAP of the detector by its proposals: selective search, MultiBox, both, and the first N of them.

    python benchmarks/bench_detection.py coco_mini [--weights FILE] [--limit N]

One classifier, one data set in COCO format; every region that any of the lists holds is classified once and kept in
`runs/`, so that a run that was stopped goes on. Of each list, near-duplicates over IoU 0.8 are left out first, as the
detector does. mAP is given twice: with the class probabilities as scores, and with their product with the objectness
that MultiBox's network gives each box. Seconds are those of each list's own proposals, and of its regions at the median
time of a region, which is measured anew.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from machine import machine_line
from numpy.typing import NDArray

from inception_rcnn.backbones import read_description
from inception_rcnn.backbones.runtime import keep_freed_memory
from inception_rcnn.datasets.class_matching import class_positions
from inception_rcnn.datasets.detections.stored import StoredDetections
from inception_rcnn.datasets.evaluation_set import EvaluationSet, evaluation_set_of
from inception_rcnn.detector import DetectionSettings, Detector, RegionScores, load_detector
from inception_rcnn.detector.checkpoints import DEFAULT_WEIGHTS, weights_path
from inception_rcnn.evaluation import CocoResult, evaluate_coco, proposal_recall, recall_by_size
from inception_rcnn.proposals import selective_search
from inception_rcnn.proposals.proposer import ProposalSettings, Proposer
from inception_rcnn.structures import Proposals, progress_bar
from inception_rcnn.structures.dataset import DetectionDataset
from inception_rcnn.structures.progress import StageClock

Boxes = NDArray[np.float32]
Scores = NDArray[np.float32]  # of a region: class probabilities, then box offsets where the weights have them
X1, X2, OWN, BOTH = "selective search x1", "selective search x2", "MultiBox", "x2 + MultiBox"
FIRST = {X1: (300,), X2: (300,), OWN: (), BOTH: (50, 100, 200, 300, 500)}
TIMED = 9


@dataclass
class ScoredRegions:
    """Probabilities and box offsets of regions, each region of a photograph classified once and kept on disk.

    Attributes:
        detector: classifies.
        folder: Where one file a photograph is kept.
    """

    detector: Detector
    folder: Path

    def __call__(self, row: int, image: NDArray[np.uint8], boxes: Boxes) -> dict[bytes, Scores]:
        """What is said of each of the boxes, by the box's bytes."""
        path = self.folder / f"{row:06d}.npz"
        known = self._kept(path) if path.exists() else {}
        missing = list({box.tobytes(): box for box in boxes if box.tobytes() not in known}.values())
        if missing:
            boxes = np.stack(missing)
            said = self.detector.ensemble.score(image, boxes)
            size = (image.shape[1], image.shape[0])
            regions = Proposals(boxes, np.zeros(len(boxes), np.float32))
            mean = RegionScores(regions, said.probabilities, said.offsets, said.regresses, size)
            offsets = mean.mean_offsets()
            lines = mean.mean() if offsets is None else np.hstack([mean.mean(), offsets])
            known |= {box.tobytes(): line for box, line in zip(missing, lines, strict=True)}
            self._keep(path, known)
        return known

    def _kept(self, path: Path) -> dict[bytes, Scores]:
        with np.load(path, allow_pickle=False) as stored:
            pairs = zip(stored["boxes"], stored["scores"], strict=True)
            return {box.tobytes(): line for box, line in pairs}

    def _keep(self, path: Path, known: dict[bytes, Scores]) -> None:
        boxes = np.stack([np.frombuffer(key, np.float32) for key in known])
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".npz", delete=False) as file:
            np.savez(file, boxes=boxes, scores=np.stack(list(known.values())))
        Path(file.name).replace(path)


def proposers(detector: Detector) -> dict[str, Proposer]:
    """What each kind of list comes from; MultiBox's network is the detector's own."""
    multibox = getattr(detector.propose, "multibox", None)
    multibox = multibox or Proposer.load(ProposalSettings(), detector.ensemble.runtime).multibox
    return {
        X1: Proposer(ProposalSettings(source="selective-search", superpixel_scale=1.0)),
        X2: Proposer(ProposalSettings(source="selective-search")),
        OWN: Proposer(ProposalSettings(source="multibox"), multibox),
        BOTH: Proposer(ProposalSettings(source="both"), multibox),
    }


@dataclass
class Collected:
    """What all lists of all photographs gave.

    Attributes:
        regions: by list, the regions that were classified, of each photograph.
        found: Of each photograph, its detections by list, by class probability and then times objectness.
        clock: seconds of each kind of proposals.
    """

    regions: dict[str, list[Proposals]] = field(default_factory=dict)
    found: list[tuple[object, ...]] = field(default_factory=list)
    clock: StageClock = field(default_factory=StageClock)

    def add(self, image: NDArray[np.uint8], row: int, parts: dict[str, Proposer], scored: ScoredRegions) -> None:
        """All lists of one photograph."""
        detector, lists = scored.detector, dict[str, Proposals]()
        for name, propose in parts.items():
            with self.clock.stage(name):
                everything = detector.select(propose(image))
            lists |= {f"{name}, first {count}": everything.top(count) for count in FIRST[name]}
            lists[name] = everything
        known = scored(row, image, np.concatenate([one.boxes for one in lists.values()]))
        found = []
        for name, one in lists.items():
            self.regions.setdefault(name, []).append(one)
            lines = np.stack([known[box.tobytes()] for box in one.boxes])
            probabilities, offsets = np.split(lines, [len(detector.ensemble.class_names) + 1], axis=1)
            if one.objectness is None and detector.multibox is not None:
                one = replace(one, objectness=detector.multibox.objectness(image, one.boxes))
            scores = RegionScores(one, probabilities[None])
            if offsets.size:
                size = (image.shape[1], image.shape[0])
                scores = replace(scores, offsets=offsets[None], regresses=(True,), size=size)
            found.append(detector.with_settings(objectness_power=0.0).postprocess(scores))
            found.append(detector.postprocess(scores))
        self.found.append(tuple(found))


def evaluated(found: Collected, detector: Detector, chosen: EvaluationSet) -> list[CocoResult]:
    """The score of each list."""
    stored = StoredDetections(
        settings={},
        class_names=detector.ensemble.class_names,
        runs=tuple(f"{name}, {by}" for name in found.regions for by in ("by class", "times objectness")),
        image_ids=tuple(chosen.truth.image_ids),
        checksums=("",) * len(found.found),
        found=tuple(found.found),  # type: ignore[arg-type]
        proposals=(),
    )
    labels = class_positions(stored.class_names, chosen.truth.class_names, chosen.truth.display_names)
    return [evaluate_coco(chosen.truth, stored.table(labels, run)) for run in range(len(stored.runs))]


def time_of_a_region(detector: Detector, dataset: DetectionDataset, regions: Sequence[Proposals]) -> float:
    """Seconds, the median of some photographs."""
    taken = []
    for row in np.linspace(0, len(regions) - 1, min(len(regions), TIMED)).astype(int).tolist():
        image, boxes = dataset.load_image(row), regions[row].boxes
        start = time.perf_counter()
        detector.ensemble.score(image, boxes)
        taken.append((time.perf_counter() - start) / len(boxes))
    return float(np.median(taken))


def print_table(found: Collected, detector: Detector, chosen: EvaluationSet, per_region: float) -> None:
    """One line a list."""
    images = len(found.found)
    print(f"\n## {chosen.title}: {images} photographs, {int((~chosen.truth.ignored).sum())} objects\n")
    print(f"{1000 * per_region:.1f} ms a region, median of {min(images, TIMED)} photographs\n")
    heads = ["regions", "recall", "small", "medium", "large", "mAP@0.5 by class", "times objectness", "mAP@0.5:0.95"]
    heads += ["best mean F1", "at score"]
    print(f"| proposals | {' | '.join(heads)} | s an image |\n|{'---|' * (len(heads) + 2)}")
    scores = evaluated(found, detector, chosen)
    for (name, regions), plain, one in zip(found.regions.items(), scores[::2], scores[1::2], strict=True):
        recall, sized = proposal_recall(chosen.truth, regions), recall_by_size(chosen.truth, regions)
        shares = [recall, *(sized[size] for size in ("small", "medium", "large"))]
        cells = [f"{recall.boxes_per_image:.0f}", *("-" if r is None else f"{100 * r.recall[0.5]:.1f}" for r in shares)]
        cells += [f"{100 * plain.map:.2f}", f"{100 * one.map:.2f}", f"{100 * (one.stats['AP'] or 0):.2f}"]
        best = one.kept_matches().best_f1()
        cells += [f"{best.f1:.3f}", f"{best.threshold:.3f}"]
        seconds = found.clock.seconds[name.partition(",")[0]] / images + per_region * recall.boxes_per_image
        print(f"| {name} | {' | '.join(cells)} | {seconds:.2f} |")


def main() -> None:
    """Classify what is not known yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a data set in COCO's layout, split val")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help="by default the shipped model")
    parser.add_argument("--limit", type=int, help="only the first photographs")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    keep_freed_memory()
    selective_search(np.zeros((32, 32, 3), np.uint8))  # compiles its kernels, if need be
    detector = load_detector(
        arguments.weights, arguments.device, settings=DetectionSettings(max_proposals=None, max_detections=None)
    )
    checksum = read_description(weights_path(arguments.weights))["data_sha256"]
    folder = Path("runs", "bench_detection", checksum[:16], arguments.root.name)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = evaluation_set_of("coco", arguments.root, "val", None, limit=arguments.limit)
    dataset, found = chosen.photographs(), Collected()
    scored, parts = ScoredRegions(detector, folder), proposers(detector)
    with progress_bar(len(dataset), "photographs") as bar:
        for row in range(len(dataset)):
            found.add(dataset.load_image(row), row, parts, scored)
            bar.advance(1)
    runtime = detector.ensemble.runtime
    print(machine_line("numpy", "torch", "torchvision"))
    print(f"{runtime.device}, {runtime.dtype}; weights {arguments.weights}, checksum {checksum[:16]}")
    print_table(found, detector, chosen, time_of_a_region(detector, dataset, found.regions[f"{BOTH}, first 300"]))


if __name__ == "__main__":
    main()
