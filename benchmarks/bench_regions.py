"""The knee: mAP against the number of regions, pooled and warped, with the time of a photograph.

    python benchmarks/bench_regions.py --root coco_mini --proposals val.safetensors
    python benchmarks/bench_regions.py --dataset voc --root voc2007 --split val --protocol voc2007 --proposals FILE
        --weights coco coco-mini --regions 50 100 200 300 500 all --powers 0 0.5 1
    python benchmarks/bench_regions.py ... --weights coco --regions 200 --cells 5 6 7 --short-sides 400 480 600

The proposals are from a file that `propose` made; near-duplicates over IoU 0.8 are left out first, as the detector
does. A region's scores do not depend on the others, so each setting looks at a photograph once, at the largest number
of regions, and the smaller numbers are the first of them. Cells and short sides other than those trained with can be
tried, because the head is convolutional. mAP@0.5 is by the set's protocol, mAP@0.75 and the mean over 0.5:0.95 by
COCO's rules; a detector's classes that the set does not label are left out. Every row is compared with one of them, on
the same drawn photographs (95 % intervals of the difference). Seconds are medians over a few photographs, measured
after the scores, without and with proposals and decoding.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import machine_line
from numpy.typing import NDArray

from inception_rcnn.backbones import read_description
from inception_rcnn.backbones.runtime import keep_freed_memory
from inception_rcnn.datasets.class_matching import class_positions, known_classes
from inception_rcnn.datasets.evaluation_set import EvaluationSet, evaluation_set_of
from inception_rcnn.detector import Detector, Ensemble, RegionScores, load_detector
from inception_rcnn.detector.checkpoints import weights_path
from inception_rcnn.detector.postprocessing import counting_all
from inception_rcnn.detector.region_classifier import classifier_of
from inception_rcnn.evaluation import Evaluation, evaluate_coco
from inception_rcnn.evaluation.bootstrap import Interval, Resampled, resample_images
from inception_rcnn.evaluation.protocols import PROTOCOL_OF_FORMAT, PROTOCOLS, evaluate_by
from inception_rcnn.proposals.stored import proposals_from_file
from inception_rcnn.structures import Detections, DetectionTable, progress_bar

# As eval_map: AP counts every detection of a photograph; only those of a class are limited.
# What is counted: everything, as evaluation wants it; suppression as the weights have it.
DEFAULT_REGIONS = 200


@dataclass(frozen=True)
class Setting:
    """What is asked for each region: whose weights, and read off how.

    Attributes:
        weights: As named on the command line.
        cells, short_side: In place of what the weights were trained with; None: as they were, or warped.
    """

    weights: str
    cells: int | None = None
    short_side: int | None = None


@dataclass(frozen=True)
class Row:
    """A line of the table: one setting, the first regions of each photograph, one power of the objectness."""

    setting: Setting
    regions: int | None
    power: float


@dataclass(frozen=True)
class Figures:
    """What a row came to; shares in [0, 1]."""

    map50: float
    map75: float
    map: float
    interval: Interval | None  # of its map50 minus that of the row all are compared with


@dataclass
class Kept:
    """The detections of one row, photograph by photograph, in the classes of the data set."""

    image: list[NDArray[np.int32]] = field(default_factory=list)
    label: list[NDArray[np.int32]] = field(default_factory=list)
    score: list[NDArray[np.float32]] = field(default_factory=list)
    box: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, row: int, found: Detections, positions: NDArray[np.int32]) -> None:
        """Take what was found in a photograph; see `restricted`."""
        kept, labels = restricted(found.labels, positions)
        self.image.append(np.full(len(kept), row, np.int32))
        self.label.append(labels)
        self.score.append(found.scores[kept])
        self.box.append(found.boxes[kept])

    def table(self) -> DetectionTable:
        """All of them."""
        parts = (np.concatenate(part) for part in (self.image, self.label, self.score, self.box))
        return DetectionTable(*parts)


def restricted(
    labels: NDArray[np.integer[Any]], positions: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Which detections are of classes that the data set labels, and these classes' positions there.

    Args:
        labels: (M,) positions in the detector's classes.
        positions: (C,) of each of these in the data set, -1 for those it does not have; see `class_positions`.
    """
    there = positions[labels]
    kept = np.flatnonzero(there >= 0)
    return kept, there[kept].astype(np.int32)


def first_regions(scores: RegionScores, count: int | None) -> RegionScores:
    """The scores of the first regions, as if no others had been asked for."""
    if count is None or count >= len(scores.proposals):
        return scores
    offsets = None if scores.offsets is None else scores.offsets[:, :count]
    return replace(
        scores,
        proposals=scores.proposals.top(count),
        probabilities=scores.probabilities[:, :count],
        offsets=offsets,
    )


def settings_of(
    weights: Sequence[str], pooled: Sequence[str], cells: Sequence[int], sides: Sequence[int], *, cross: bool
) -> list[Setting]:
    """All settings, those as trained first.

    Args:
        weights: All weights.
        pooled: Those of them that pool; the others have neither cells nor a short side.
        cells, sides: Beside those as trained.
        cross: Every number of cells with every short side; else one of the two is as trained.
    """
    if cross:
        axes: Iterator[tuple[int | None, int | None]] = itertools.product((None, *cells), (None, *sides))
    else:
        axes = itertools.chain([(None, None)], ((n, None) for n in cells), ((None, side) for side in sides))
    chosen = list(axes)
    return [Setting(name, *axis) for name in weights for axis in (chosen if name in pooled else [(None, None)])]


def counted(detector: Detector) -> Detector:
    """The detector with all that counts for AP."""
    threshold = counting_all(detector.settings).score_threshold
    return detector.with_settings(score_threshold=threshold, max_proposals=None, max_detections=None)


def detector_of(setting: Setting, device: str) -> Detector:
    """The detector that a setting means."""
    detector = counted(load_detector(setting.weights, device, runtime="torch"))
    if setting.cells is None and setting.short_side is None:
        return detector
    member = detector.ensemble.members[0]
    network, spec = copy.copy(member.network), member.description.pooling
    changes = {"cells": setting.cells, "short_side": setting.short_side}
    network.spec = replace(spec, **{name: value for name, value in changes.items() if value is not None})
    description = replace(member.description, pooling=network.spec)
    ensemble = Ensemble([classifier_of(network, description, member.runtime)])
    return Detector(detector.propose, ensemble, detector.settings, detector.multibox)


@dataclass(eq=False)
class Bench:
    """One run: photographs, their regions, and the detectors asked about them.

    Attributes:
        chosen: Photographs and objects.
        regions: Of each photograph, best first, near-duplicates left out.
        detectors: By setting.
        counts: Numbers of regions; None: all.
        powers: Of the objectness.
    """

    chosen: EvaluationSet
    regions: list[Any]
    detectors: dict[Setting, Detector]
    counts: list[int | None]
    powers: list[float]

    def rows(self) -> list[Row]:
        """All lines, in order."""
        return [Row(*one) for one in itertools.product(self.detectors, self.counts, self.powers)]

    def kept(self, *, quiet: bool = False) -> dict[Row, Kept]:
        """Look at every photograph once in each setting, and keep the detections of every row."""
        truth, photographs = self.chosen.truth, self.chosen.photographs()
        found = {row: Kept() for row in self.rows()}
        names = {one: detector.ensemble.class_names for one, detector in self.detectors.items()}
        positions = {
            one: class_positions(known, truth.class_names, truth.display_names) for one, known in names.items()
        }
        with progress_bar(len(photographs), "photographs", quiet=quiet) as bar:
            for number in range(len(photographs)):
                image, regions = photographs.load_image(number), self._largest(self.regions[number])
                for setting, detector in self.detectors.items():
                    scores = detector.score(image, regions)
                    for count, power in itertools.product(self.counts, self.powers):
                        one = detector.with_settings(objectness_power=power).postprocess(first_regions(scores, count))
                        found[Row(setting, count, power)].add(number, one, positions[setting])
                bar.advance(1)
        return found

    def _largest(self, regions: Any) -> Any:
        return regions if None in self.counts else regions.top(max(count for count in self.counts if count))

    def seconds(self, photographs: int) -> dict[tuple[Setting, int | None], tuple[float, float]]:
        """Median seconds of a photograph: from its regions to its detections, and from its file to its detections.

        Args:
            photographs: How many, spread over the set.
        """
        dataset = self.chosen.photographs()
        numbers = np.unique(np.linspace(0, len(dataset) - 1, photographs).astype(int)).tolist()
        taken: dict[tuple[Setting, int | None], list[tuple[float, float]]] = {}
        for number in numbers:
            for setting, detector in self.detectors.items():
                start = time.perf_counter()
                image = dataset.load_image(number)
                detector.select(detector.propose(image))
                before = time.perf_counter() - start
                for count in self.counts:
                    regions = self.regions[number] if count is None else self.regions[number].top(count)
                    start = time.perf_counter()
                    detector.postprocess(detector.score(image, regions))
                    own = time.perf_counter() - start
                    taken.setdefault((setting, count), []).append((own, before + own))
        medians = {key: np.median(np.array(pairs), axis=0).tolist() for key, pairs in taken.items()}
        return {key: (own, whole) for key, (own, whole) in medians.items()}


def reference_of(rows: Sequence[Row]) -> Row:
    """The row all are compared with: the first setting and power, at the default number of regions if it is there."""
    ordinary = [row for row in rows if (row.setting, row.power) == (rows[0].setting, rows[0].power)]
    return next((row for row in ordinary if row.regions == DEFAULT_REGIONS), ordinary[-1])


def figures_of(
    kept: dict[Row, Kept], chosen: EvaluationSet, protocol: str, reference: Row, resamples: int
) -> dict[Row, Figures]:
    """Score every row; without resamples there are no intervals."""
    truth, drawn = chosen.truth, dict[Row, Resampled]()
    found: dict[Row, Figures] = {}
    for row in sorted(kept, key=lambda one: one != reference):
        table = kept[row].table()
        strict = evaluate_coco(truth, table)
        loose = strict if protocol == "coco" else evaluate_by(protocol, truth, table)
        interval = None
        if resamples:
            evaluation = Evaluation(title="", result=loose, truths=truth, detections=table)
            own = resample_images(evaluation, resamples=resamples)
            drawn.setdefault(reference, own)
            interval = own.minus(drawn[reference]).map_interval()
        stats = strict.stats
        found[row] = Figures(loose.map, stats["AP75"] or 0.0, stats["AP"] or 0.0, interval)
    return found


def table_lines(
    figures: dict[Row, Figures],
    reference: Row,
    seconds: dict[tuple[Setting, int | None], tuple[float, float]],
    mean_regions: dict[int | None, float],
) -> list[str]:
    """The table, a line a row in the order of the settings."""
    heads = ["weights", "cells", "short side", "regions", "mean", "power", "mAP@0.5", "@0.75", "@0.5:0.95"]
    heads += ["@0.5 against *", "s, regions to detections", "s, photograph to detections"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in sorted(figures, key=lambda one: _place(one, list(figures))):
        one, setting = figures[row], row.setting
        cells = [setting.weights, setting.cells or "-", setting.short_side or "-"]
        cells += [row.regions or "all", f"{mean_regions[row.regions]:.0f}", f"{row.power:g}"]
        cells += [f"{100 * value:.2f}" for value in (one.map50, one.map75, one.map)]
        cells.append("*" if row == reference else difference_text(one, figures[reference]))
        cells += [f"{value:.3f}" for value in seconds.get((setting, row.regions), ())] or ["-", "-"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _place(row: Row, rows: Sequence[Row]) -> tuple[int, float, float]:
    """Settings as they came, then regions, then powers."""
    settings = list(dict.fromkeys(one.setting for one in rows))
    return settings.index(row.setting), row.regions or np.inf, row.power


def difference_text(one: Figures, reference: Figures) -> str:
    """By how many points a row is better, with the interval."""
    text = f"{100 * (one.map50 - reference.map50):+.2f}"
    return text if one.interval is None else f"{text} ({100 * one.interval.low:+.2f} to {100 * one.interval.high:+.2f})"


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="coco", help="format: coco, voc, ilsvrc, folder")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--split", default="val")
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), help="of mAP@0.5; by default the format's own")
    parser.add_argument("--proposals", type=Path, required=True, help="file made by `propose`")
    parser.add_argument(
        "--weights", nargs="+", default=["coco", "coco-mini"], help="files or shipped names; each by itself"
    )
    parser.add_argument("--regions", nargs="+", default=["50", "100", "200", "300", "500", "all"], help="numbers, all")
    parser.add_argument("--powers", nargs="+", type=float, default=[0.0, 1.0], help="of the objectness")
    parser.add_argument("--cells", nargs="*", type=int, default=[], help="beside those trained with")
    parser.add_argument("--short-sides", nargs="*", type=int, default=[], help="beside the one trained with")
    parser.add_argument("--cross", action="store_true", help="all cells with all short sides, not one at a time")
    parser.add_argument("--limit", type=int, help="only the first photographs")
    parser.add_argument("--resamples", type=int, default=1000, help="for the intervals; 0: none")
    parser.add_argument("--timed", type=int, default=9, help="photographs whose seconds are measured; 0: none")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="file for the record")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Score, measure, print."""
    asked = arguments_of(argv)
    cv2.setNumThreads(1)
    keep_freed_memory()
    chosen = evaluation_set_of(asked.dataset, asked.root, asked.split, None, limit=asked.limit)
    pooled = [name for name in asked.weights if read_description(weights_path(name)).get("pooling")]
    settings = settings_of(asked.weights, pooled, asked.cells, asked.short_sides, cross=asked.cross)
    detectors = {one: detector_of(one, asked.device) for one in settings}
    any_detector = next(iter(detectors.values()))
    regions = [any_detector.select(one) for one in proposals_from_file(asked.proposals, chosen.photographs())]
    counts = [None if text == "all" else int(text) for text in asked.regions]
    bench = Bench(chosen, regions, detectors, counts, asked.powers)
    kept = bench.kept(quiet=asked.quiet)
    seconds = bench.seconds(asked.timed) if asked.timed else {}
    protocol = asked.protocol or PROTOCOL_OF_FORMAT[asked.dataset]
    reference = reference_of(bench.rows())
    figures = figures_of(kept, chosen, protocol, reference, asked.resamples)
    mean_regions = {n: float(np.mean([len(one) if n is None else min(n, len(one)) for one in regions])) for n in counts}
    runtime = any_detector.ensemble.runtime
    known = len(known_classes(any_detector.ensemble.class_names, chosen.truth))
    machine = machine_line("numpy", "torch", "torchvision")
    print(f"{machine}\n{runtime.device}, {runtime.dtype}, proposals of {asked.proposals.name}\n")
    print(
        f"## {chosen.title}: {len(regions)} photographs, {int((~chosen.truth.ignored).sum())} objects, {known} classes"
    )
    print(f"\nmAP@0.5: {PROTOCOLS[protocol].title}; the others by COCO's rules\n")
    print("\n".join(table_lines(figures, reference, seconds, mean_regions)))
    if asked.json:
        _write_record(asked.json, machine, vars(asked), figures, seconds)


def _write_record(
    path: Path,
    machine: str,
    asked: dict[str, Any],
    figures: dict[Row, Figures],
    seconds: dict[tuple[Setting, int | None], tuple[float, float]],
) -> None:
    rows = []
    for row, one in figures.items():
        taken = seconds.get((row.setting, row.regions), (None, None))
        rows.append({**asdict(row), **asdict(one), "seconds": taken[0], "seconds_with_proposals": taken[1]})
    record = {"machine": machine, "asked": {name: _plain(value) for name, value in asked.items()}, "rows": rows}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


if __name__ == "__main__":
    main()
