"""What each member adds to an ensemble: mAP of each alone, of the first two, three ... together, and who disagrees.

    python benchmarks/bench_ensemble.py --root coco_mini --proposals FILE --weights a.safetensors b.safetensors ...

Every member scores the same regions of a photograph once; all rows are made from these scores. Together means as
`load_detector` does it: class probabilities averaged region by region, offsets over the members that have them. For
comparison the members' own detections are also fused (`fused`: Solovyev et al. 2021, "Weighted boxes fusion"), which
allows each its own boxes. Intervals are over photographs, 95 %, of paired differences. Disagreement: among the regions
of which either of two members is at least 30 % sure that they show an object, the share that the two name differently.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from bench_regions import Kept, counted
from machine import machine_line
from numpy.typing import NDArray

from inception_rcnn import load_detector
from inception_rcnn.backbones.runtime import keep_freed_memory
from inception_rcnn.datasets.class_matching import class_positions
from inception_rcnn.datasets.evaluation_set import EvaluationSet, evaluation_set_of
from inception_rcnn.detector import Detector, RegionScores
from inception_rcnn.evaluation import evaluate_coco
from inception_rcnn.evaluation.bootstrap import Interval, Resampled, resample_images
from inception_rcnn.evaluation.protocols import PROTOCOL_OF_FORMAT, PROTOCOLS, evaluate_by
from inception_rcnn.evaluation.results import Evaluation
from inception_rcnn.proposals.stored import proposals_from_file
from inception_rcnn.structures import Detections, progress_bar
from inception_rcnn.structures.boxes import overlap_ratio

SURE = 0.3
FUSED_IOU = 0.6
FLOOR = 0.01  # of scores that are fused; lower ones change no figure and are many


@dataclass
class Disagreement:
    """How often two members name a region differently.

    Attributes:
        regions: (members, members) of which either is sure.
        differ: (members, members) of these, those named differently.
    """

    regions: NDArray[np.int64]
    differ: NDArray[np.int64]

    @classmethod
    def between(cls, members: int) -> Disagreement:
        """None yet."""
        return cls(np.zeros((members, members), np.int64), np.zeros((members, members), np.int64))

    def add(self, probabilities: NDArray[np.float32]) -> None:
        """Count the regions of a photograph; probabilities (members, N, C + 1), background last."""
        best = probabilities.argmax(axis=2)
        sure = probabilities[:, :, :-1].max(axis=2, initial=0) >= SURE
        for one, other in itertools.combinations(range(len(best)), 2):
            either = sure[one] | sure[other]
            self.regions[one, other] += int(either.sum())
            self.differ[one, other] += int((best[one] != best[other])[either].sum())

    def share(self, one: int, other: int) -> float:
        """Of the regions of which either is sure."""
        return float(self.differ[one, other] / max(1, self.regions[one, other]))


def of_members(scores: RegionScores, members: Sequence[int]) -> RegionScores:
    """The scores as some of the members alone would have given them."""
    rows = list(members)
    regresses = tuple(scores.regresses[row] for row in rows) if scores.offsets is not None else ()
    kept = replace(scores, probabilities=scores.probabilities[rows], offsets=None, regresses=())
    if scores.offsets is None or not any(regresses):
        return kept
    return replace(kept, offsets=scores.offsets[rows], regresses=regresses)


def fused(found: Sequence[Detections], iou: float = FUSED_IOU) -> Detections:
    """Fuse the detections of several detectors, each after its own suppression.

    Class by class, best first, a box joins the fused box of its class that it overlaps most, by more than `iou`, or
    begins one; corners are the mean weighed by score, the score is the mean over all detectors, those that did not
    find it counting as 0.

    Source: Solovyev, Wang, Gabruseva 2021, "Weighted boxes fusion".
    """
    boxes = np.concatenate([one.boxes for one in found]).astype(np.float64)
    scores = np.concatenate([one.scores for one in found]).astype(np.float64)
    labels = np.concatenate([one.labels for one in found])
    made: list[tuple[NDArray[np.float64], float, int]] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        sums = np.zeros((0, 4))
        weights, counts = np.zeros(0), np.zeros(0, np.int64)
        for row in rows[np.argsort(-scores[rows], kind="stable")]:
            overlaps = overlap_ratio(boxes[row][None], sums / weights[:, None]) if len(sums) else np.zeros(0)
            if len(sums) and overlaps.max() > iou:
                place = int(overlaps.argmax())
                sums[place] += scores[row] * boxes[row]
                weights[place] += scores[row]
                counts[place] += 1
            else:
                sums = np.concatenate([sums, scores[row] * boxes[row][None]])
                weights, counts = np.append(weights, scores[row]), np.append(counts, 1)
        # The mean over those that joined, times the share of detectors that found it.
        values = weights / counts * np.minimum(counts, len(found)) / len(found)
        made += [(sums[n] / weights[n], float(values[n]), int(label)) for n in range(len(sums))]
    made.sort(key=lambda one: -one[1])
    return Detections(
        np.array([box for box, _, _ in made], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in made], np.float32),
        np.array([label for _, _, label in made], np.int64),
        found[0].class_names,
        found[0].size,
    )


@dataclass
class Run:
    """All rows of the table, and what they are made of.

    Attributes:
        rows: Detections by the row's title.
        disagreement: Of the members.
    """

    rows: dict[str, Kept]
    disagreement: Disagreement
    titles_alone: list[str] = field(default_factory=list)


def run_of(detector: Detector, chosen: EvaluationSet, regions: Sequence[object], names: Sequence[str]) -> Run:
    """Look at every photograph once, and keep the detections of every row."""
    truth, photographs = chosen.truth, chosen.photographs()
    positions = class_positions(detector.ensemble.class_names, truth.class_names, truth.display_names)
    members = len(names)
    alone = [f"{name} alone" for name in names]
    together = [f"the first {count} together" for count in range(2, members + 1)]
    titles = [*alone, *together, *(["all, fused"] if members > 1 else [])]
    run = Run({title: Kept() for title in titles}, Disagreement.between(members), alone)
    with progress_bar(len(photographs), "photographs") as bar:
        for number in range(len(photographs)):
            scores = detector.score(photographs.load_image(number), regions[number])  # type: ignore[arg-type]
            run.disagreement.add(scores.probabilities)
            each = [detector.postprocess(of_members(scores, [row])) for row in range(members)]
            found = dict(zip(alone, each, strict=True))
            for count, title in enumerate(together, start=2):
                found[title] = detector.postprocess(of_members(scores, range(count)))
            if members > 1:
                found["all, fused"] = fused([one[np.flatnonzero(one.scores >= FLOOR)] for one in each])
            for title, one in found.items():
                run.rows[title].add(number, one, positions)
            bar.advance(1)
    return run


def short_names(weights: Sequence[str]) -> list[str]:
    """What the members are called: shipped names as they are, files by their folder, or whole where that is not enough.

    >>> short_names(["coco", "six/first/model.safetensors", "six/second/model.safetensors"])
    ['coco', 'first', 'second']
    >>> short_names(["six/first.safetensors", "six/second.safetensors"])
    ['six/first.safetensors', 'six/second.safetensors']
    """
    short = [Path(name).parent.name or name for name in weights]
    return short if len(set(short)) == len(short) else list(weights)


def mean_of(parts: Sequence[Resampled]) -> Resampled:
    """The mean over several detectors, draw by draw."""
    return Resampled(
        np.mean([one.ap for one in parts], axis=0),
        np.mean([one.estimate for one in parts], axis=0),
        parts[0].is_difference,
    )


def difference(one: Resampled, other: Resampled) -> str:
    """By how many points the first is better, with its interval."""
    minus = one.minus(other)
    interval: Interval = minus.map_interval()
    return f"{100 * np.nanmean(minus.estimate):+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"


def print_table(run: Run, chosen: EvaluationSet, protocol: str, resamples: int) -> None:
    """One line a row, then the pairs."""
    truth = chosen.truth
    drawn: dict[str, Resampled] = {}
    figures: dict[str, tuple[float, float]] = {}
    for title, kept in run.rows.items():
        table = kept.table()
        strict = evaluate_coco(truth, table)
        loose = strict if protocol == "coco" else evaluate_by(protocol, truth, table)
        evaluation = Evaluation(title="", result=loose, truths=truth, detections=table)
        drawn[title] = resample_images(evaluation, resamples=resamples)
        figures[title] = (loose.map, strict.stats["AP75"] or 0.0)
    mean = mean_of([drawn[title] for title in run.titles_alone])
    best = max(run.titles_alone, key=lambda title: figures[title][0])
    print("| | mAP@0.5 | @0.75 | against the mean of the members | against the best |\n|---|---|---|---|---|")
    for title, (loose_map, strict_map) in figures.items():
        against = (difference(drawn[title], mean), "" if title == best else difference(drawn[title], drawn[best]))
        print(f"| {title} | {100 * loose_map:.2f} | {100 * strict_map:.2f} | {against[0]} | {against[1]} |")
    members = len(run.titles_alone)
    if members > 1:
        numbers = range(1, members + 1)
        print(f"\n| disagreement, % | {' | '.join(map(str, numbers))} |\n|{'---|' * (members + 1)}")
        for one in range(members):
            cells = [
                f"{100 * run.disagreement.share(one, other):.1f}" if other > one else "" for other in range(members)
            ]
            print(f"| {one + 1} | {' | '.join(cells)} |")


def main(argv: Sequence[str] | None = None) -> None:
    """Score, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="coco", help="format: coco, voc, ilsvrc, folder")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--split", default="val")
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), help="of mAP@0.5; by default the format's own")
    parser.add_argument("--proposals", type=Path, required=True, help="file made by `propose`")
    parser.add_argument("--weights", nargs="+", required=True, help="files or shipped names, in the order of addition")
    parser.add_argument("--regions", type=int, default=300, help="of each photograph, the first ones")
    parser.add_argument("--power", type=float, help="of the objectness; by default the first member's")
    parser.add_argument("--limit", type=int, help="only the first photographs")
    parser.add_argument("--resamples", type=int, default=1000, help="for the intervals")
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args(argv)
    cv2.setNumThreads(1)
    keep_freed_memory()
    chosen = evaluation_set_of(asked.dataset, asked.root, asked.split, None, limit=asked.limit)
    detector = counted(load_detector(asked.weights, asked.device, runtime="torch"))
    if asked.power is not None:
        detector = detector.with_settings(objectness_power=asked.power)
    stored = proposals_from_file(asked.proposals, chosen.photographs())
    regions = [detector.select(one).top(asked.regions) for one in stored]
    run = run_of(detector, chosen, regions, short_names(asked.weights))
    runtime = detector.ensemble.runtime
    print(f"{machine_line('numpy', 'torch', 'torchvision')}\n{runtime.device}, {runtime.dtype}")
    print(f"## {chosen.title}: {len(regions)} photographs, the first {asked.regions} regions of each\n")
    print_table(run, chosen, asked.protocol or PROTOCOL_OF_FORMAT[asked.dataset], asked.resamples)


if __name__ == "__main__":
    main()
