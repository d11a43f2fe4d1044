"""How fast the detector is, where its time goes, and how fast other detectors are on the same photographs.

    python benchmarks/bench_speed.py [--root DIR --dataset voc --split val --limit 20] [--json FILE]
    python benchmarks/bench_speed.py --isa avx2        the same with AVX2 alone, by a switch of the libraries
    python benchmarks/bench_speed.py --only peers start --rounds 5
    python benchmarks/bench_speed.py --quick           a minute, few regions: to see that it runs

Sections: `stages` (each stage of a photograph, photographs/s, the network's share of the machine's measured matrix
rate), `pool` (the same regions pooled and warped), `peers` (a plain R-CNN and three detectors of torchvision, in turns
with ours), `growth` (regions, pixels, networks; each measurement in a process of its own, with its peak memory),
`start` (process start to first detection). Without --root the photographs are five that scikit-image ships. Medians
with the 5th and 95th percentile. Nothing else should run on the machine; its load is printed at the beginning.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import skimage
import torch
from machine import instructions, machine_line
from numpy.typing import NDArray
from speed_measures import Spread, Table, interleaved, matrix_rate, network_flops, ratio
from speed_ours import AVX2, Ours, in_own_process, pretend, runtimes_here
from speed_peers import FASTER_RCNN, TORCHVISION, PlainRcnn, torchvision_detector

from inception_rcnn.backbones.runtime import choose_runtime, keep_freed_memory
from inception_rcnn.datasets import open_dataset
from inception_rcnn.detector import Detector, Ensemble
from inception_rcnn.detector.checkpoints import DEFAULT_WEIGHTS
from inception_rcnn.detector.region_classifier import classifier_of
from inception_rcnn.structures import load_image, resize_image, write_picture
from inception_rcnn.structures.jobs import available_processors
from inception_rcnn.structures.progress import StageClock

BUNDLED = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
SECTIONS = ("stages", "pool", "peers", "growth", "start")
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Stages of a detector that are not its network: what remains of a photograph is network and region pooling.
OUTSIDE = ("decode", "waiting", "proposals", "objectness", "warp", "rest")
DEFAULT, WARP, PLAIN = "ours, default", "ours, warp", "plain R-CNN"


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured.

    Attributes:
        rounds: Times each photograph is done by each detector.
        regions: Regions of a photograph in `pool` and of the plain R-CNN; ours has its default where `few` is None.
        few: At most so many regions everywhere.
        growing: Numbers of regions in `growth`.
        megapixels: Sizes of photographs there.
        members: Numbers of networks there.
        starts: Processes started.
        cold: Whether one of them has no compiled kernels.
        matrix: Side of the product that measures the machine.
    """

    rounds: int = 3
    regions: int = 200
    few: int | None = None
    growing: tuple[int, ...] = (100, 200, 500, 1000, 2000, 5000)
    megapixels: tuple[float, ...] = (0.1, 0.3, 1, 3, 6, 12)
    members: tuple[int, ...] = (1, 2, 4, 6)
    starts: int = 3
    cold: bool = True
    matrix: int = 2048


QUICK = Extent(
    rounds=1, regions=8, few=8, growing=(8,), megapixels=(0.1,), members=(2,), starts=1, cold=False, matrix=256
)


@dataclass(eq=False)
class Bench:
    """What all sections need.

    Attributes:
        photographs: Files.
        weights: Of the default detector, and of the warping one.
        extent: How much is measured.
        runtimes: What computes ours, see `runtimes_here`.
    """

    photographs: list[Path]
    weights: tuple[str, str]
    extent: Extent
    runtimes: tuple[str, ...]

    @cached_property
    def ours(self) -> dict[str, Ours]:
        """The detectors of ours, by what the tables call them."""
        found = {}
        for runtime in self.runtimes:
            for name, weights in zip((DEFAULT, WARP), self.weights, strict=True):
                found[called(name, runtime)] = Ours(weights, runtime=runtime, regions=self.extent.few)
        return found

    @cached_property
    def loaded(self) -> dict[str, Detector]:
        """The same, loaded."""
        return {name: one.load() for name, one in self.ours.items()}

    @cached_property
    def images(self) -> list[NDArray[np.uint8]]:
        """The photographs' pixels."""
        return [load_image(path) for path in self.photographs]

    @cached_property
    def rates(self) -> dict[str, float]:
        """FLOP/s of the machine, by precision."""
        names = {detector.ensemble.runtime.precision for detector in self.loaded.values()}
        return {name: matrix_rate(TYPES[name], side=self.extent.matrix) for name in names}

    def stages(self) -> list[Table]:
        """Where a photograph's time goes."""
        most = max(self.extent.members)
        several = {f"{name}, {most} networks": replace(one, members=most) for name, one in self.ours.items()}
        parts = Table(
            "Stages of a photograph",
            ("detector", "stage", "ms", "share"),
            note="What runs beside something else is counted in full, so shares may come to more than 100 %.",
        )
        whole = Table(
            "A photograph, and the network's share of the machine's matrix rate",
            (
                *("detector", "s, file to detections", "photographs/s, one by one", "in a stream", "precision"),
                *("GFLOP of the network", "s of the network", "GFLOP/s", "machine's GFLOP/s", "share"),
            ),
            note="The network is all but decoding, proposals, objectness, cutting regions and suppression; its pooling "
            "of regions is in its seconds, and no product. The machine's rate: the best of a matrix product and a 3x3 "
            "convolution in torch, in that precision.",
        )
        for name, one in (self.ours | several).items():
            # several networks are held only while they are measured
            detector = self.loaded[name] if name in self.loaded else one.load()
            clocks = self._clocks(detector, 1 if one.members > 1 else self.extent.rounds)
            total = Spread.of([seconds for seconds, _ in clocks])
            for stage in dict.fromkeys(stage for _, clock in clocks for stage in clock):
                own = Spread.of([1000 * clock.get(stage, 0.0) for _, clock in clocks])
                parts.add(name, stage, own, f"{own.median / total.median / 10:.0f} %")
            streamed = None if one.members > 1 else self._streamed(detector)
            whole.add(
                name, total, 1 / total.median, streamed, *self._rate_cells(detector, [clock for _, clock in clocks])
            )
        return [parts, whole]

    def _clocks(self, detector: Detector, rounds: int) -> list[tuple[float, dict[str, float]]]:
        """Seconds of each photograph in each round, and those of its stages."""
        detector(self.photographs[0])
        clocks = []
        for _, path in itertools.product(range(rounds), self.photographs):
            clock, start = StageClock(), time.perf_counter()
            detector(path, clock=clock)
            clocks.append((time.perf_counter() - start, clock.seconds))
        return clocks

    def _streamed(self, detector: Detector) -> float:
        """Photographs/s of `Detector.stream`."""
        paths = self.photographs * self.extent.rounds
        start = time.perf_counter()
        done = sum(1 for _ in detector.stream(paths))
        return done / (time.perf_counter() - start)

    def _rate_cells(self, detector: Detector, clocks: Sequence[dict[str, float]]) -> tuple[Any, ...]:
        """Precision, the network's work and seconds, its rate, the machine's, and the share."""
        ensemble = detector.ensemble
        work = [
            len(ensemble.members) * network_flops(ensemble.members[0].description, *image.shape[1::-1], regions)
            for image, regions in zip(self.images, self._counts(detector), strict=True)
        ]
        seconds = [in_network(clock) for clock in clocks]
        precision = ensemble.runtime.precision
        done, machine = len(clocks) * float(np.mean(work)) / sum(seconds), self.rates[precision]
        share = f"{100 * done / machine:.0f} %"
        return precision, float(np.mean(work)) / 1e9, Spread.of(seconds), done / 1e9, machine / 1e9, share

    def _counts(self, detector: Detector) -> list[int]:
        """How many regions of each photograph are scored."""
        return [len(detector.select(detector.propose(image))) for image in self.images]

    def regions(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same regions for everyone: the first of the default detector's proposals."""
        detector = self.loaded[DEFAULT].with_settings(max_proposals=self.extent.regions)
        return detector.select(detector.propose(image)).boxes

    def pool(self) -> list[Table]:
        """The same regions pooled and warped, in the same precision: the network and the pooling of regions alone."""
        heads = ("runtime", "precision", "regions", "s, warped", "s, pooled", "times faster", "s, cutting", "with it")
        table = Table("Regions pooled against warped, network and region pooling alone", heads)
        boxes = [self.regions(image) for image in self.images]
        if self.loaded[DEFAULT].ensemble.members[0].description.pooling is None:
            table.note = f"{self.weights[0]} warps too: nothing to compare."
            return [table]
        count = round(float(np.mean([len(one) for one in boxes])))
        for runtime in self.runtimes:
            pair = [self.loaded[called(name, runtime)] for name in (WARP, DEFAULT)]
            own = pair[0].ensemble.runtime.precision
            for precision in dict.fromkeys((own, "fp32")):
                rounds = self.extent.rounds if precision == own else 1
                cells = self._pool_cells([in_precision(detector, precision) for detector in pair], boxes, rounds)
                table.add(runtime, precision, count, *cells)
        return [table]

    def _pool_cells(
        self, pair: Sequence[Detector], boxes: Sequence[NDArray[np.float32]], rounds: int
    ) -> tuple[Any, ...]:
        """Seconds of warped and pooled regions and their ratio, without and with cutting."""
        found: tuple[list[dict[str, float]], ...] = ([], [])
        for detector in pair:
            detector.ensemble.score(self.images[0], boxes[0])
        for _, number in itertools.product(range(rounds), range(len(self.images))):
            for detector, clocks in zip(pair, found, strict=True):
                clock = StageClock()
                detector.ensemble.score(self.images[number], boxes[number], clock=clock)
                clocks.append(clock.seconds)
        own = [[in_network(clock) for clock in clocks] for clocks in found]
        whole = [[sum(clock.values()) for clock in clocks] for clocks in found]
        cut = Spread.of([clock.get("warp", 0.0) for clock in found[0]])
        return Spread.of(own[0]), Spread.of(own[1]), ratio(*own), cut, ratio(*whole)

    def peers(self) -> list[Table]:
        """Other detectors on the same photographs, in turns with ours."""
        numbers = list(range(len(self.images)))
        plain, boxes = PlainRcnn(), [self.regions(image) for image in self.images]
        calls: dict[str, Callable[[int], Any]] = {
            name: (lambda number, detector=detector: detector(self.images[number]))  # type: ignore[misc]
            for name, detector in self.loaded.items()
        }
        calls[PLAIN] = lambda number: plain(self.images[number], boxes[number])
        for name in TORCHVISION:
            detect = torchvision_detector(name)
            calls[name] = lambda number, detect=detect: detect(self.images[number])  # type: ignore[misc]
        seconds = interleaved(calls, numbers, self.extent.rounds)
        table = Table(
            "Against other detectors, pixels to detections",
            ("detector", "s a photograph", "photographs/s", f"times faster than {FASTER_RCNN}", f"than {DEFAULT}"),
            note=f"Ratios are of pairs measured one after the other. {PLAIN}: Pillow crops, torchvision's GoogLeNet in "
            f"eager float32 and its NMS, {self.extent.regions} regions at most, which it is given: no proposals are in "
            "its time. The detectors of torchvision: float32, random weights, frozen BatchNorm, nothing to suppress.",
        )
        for name, taken in seconds.items():
            ratios = (ratio(seconds[other], taken) for other in (FASTER_RCNN, DEFAULT))
            table.add(name, Spread.of(taken), 1 / float(np.median(taken)), *ratios)
        return [table, self._plain_parts(plain, boxes)]

    def _plain_parts(self, plain: PlainRcnn, boxes: Sequence[NDArray[np.float32]]) -> Table:
        """Regions/s of the plain R-CNN and of ours that warps."""
        heads = ("R-CNN", "regions/s", "times the plain one", "ms a region: cut", "network", "rest")
        table = Table("Warped regions, proposals left out", heads)
        warps = {called(WARP, runtime): self.loaded[called(WARP, runtime)] for runtime in self.runtimes}
        cost = {name: np.zeros(3) for name in (PLAIN, *warps)}
        for _, number in itertools.product(range(self.extent.rounds), range(len(self.images))):
            image, some = self.images[number], boxes[number]
            ticks = [time.perf_counter()]
            crops = plain.crops(image, some)
            ticks.append(time.perf_counter())
            probabilities = plain.probabilities(crops)
            ticks.append(time.perf_counter())
            plain.suppressed(some, probabilities)
            ticks.append(time.perf_counter())
            cost[PLAIN] += np.diff(ticks) / len(some)
            for name, warp in warps.items():
                clock = StageClock()
                start = time.perf_counter()
                warp.ensemble.score(image, some, clock=clock)
                whole = time.perf_counter() - start
                cut, network = clock.seconds.get("warp", 0.0), in_network(clock.seconds)
                cost[name] += np.array([cut, network, whole - cut - network]) / len(some)
        measured = self.extent.rounds * len(self.images)
        for name, parts in cost.items():
            ms = (1000 * parts / measured).tolist()
            table.add(name, 1000 / sum(ms), cost[PLAIN].sum() / parts.sum(), *ms)
        return table

    def growth(self) -> list[Table]:
        """What more regions, more pixels and more networks cost."""
        return [self._by_regions(), self._by_pixels(), self._by_members()]

    def _by_regions(self) -> Table:
        heads = ("regions", "detector", "s", "ms a region", "peak MB of the process", "before")
        table = Table("Growth with regions", heads, note="Regions alone, without proposals; drawn boxes.")
        for regions, (name, one) in itertools.product(self.extent.growing, self.ours.items()):
            repeats = 1 if regions >= 500 else 3
            values = {"photograph": str(self.photographs[0]), "regions": regions, "repeats": repeats}
            found = in_own_process("regions", one, **values)
            seconds, memory = found["seconds"], (found["process_mb"], found["loaded_mb"])
            table.add(regions, name, seconds, 1000 * seconds / regions, *memory)
        return table

    def _by_pixels(self) -> Table:
        heads = ("megapixels", "detector", "s", "where", "peak MB of the process", "before")
        note = "A JPEG file to its detections; one photograph, enlarged or reduced. Stages of 5 ms and more."
        table = Table("Growth with pixels", heads, note=note)
        with tempfile.TemporaryDirectory() as folder:
            for megapixels, (name, one) in itertools.product(self.extent.megapixels, self.ours.items()):
                path = resized_photograph(self.images[0], megapixels, Path(folder))
                found = in_own_process("photograph", one, photograph=str(path), repeats=2)
                where = ", ".join(f"{stage} {ms:.0f}" for stage, s in found["stages"].items() if (ms := 1000 * s) >= 5)
                table.add(f"{megapixels:g}", name, found["seconds"], where, found["process_mb"], found["loaded_mb"])
        return table

    def _by_members(self) -> Table:
        heads = ("networks", "detector", "s, first stages shared", "s, nothing shared", "peak MB, nothing shared")
        note = "A photograph with its proposals. Shared: conv1 to 3b, as fine-tuning leaves them."
        table = Table("Growth with networks", heads, note=note)
        for members, (name, one) in itertools.product(self.extent.members, self.ours.items()):
            shared, apart = (
                in_own_process(
                    "photograph",
                    replace(one, members=members, shared=same),
                    photograph=str(self.photographs[0]),
                    repeats=1,
                )
                for same in (True, False)
            )
            table.add(members, name, shared["seconds"], apart["seconds"], apart["process_mb"])
        return table

    def start(self) -> list[Table]:
        """Process start to the first detection."""
        heads = ("detector", "kernels", "s to the first detection", "imports", "loading", "photograph", "peak MB")
        note = f"{FASTER_RCNN} reads no file of weights."
        table = Table("Process start to first detection", heads, note=note)
        asked: list[tuple[str, str, Ours | None, dict[str, str]]]
        asked = [("first", name, one, {}) for name, one in self.ours.items()]
        for what, name, one, values in [*asked, ("peer-first", FASTER_RCNN, None, {"name": FASTER_RCNN})]:
            table.add(
                name, "-" if one is None else "compiled before", *self._starts(what, one, self.extent.starts, values)
            )
        if self.extent.cold:
            with tempfile.TemporaryDirectory() as folder:
                empty = {"NUMBA_CACHE_DIR": folder, "XDG_CACHE_HOME": folder}
                with patch.dict(os.environ, empty):
                    table.add(DEFAULT, "none, the first start ever", *self._starts("first", self.ours[DEFAULT], 1, {}))
        return [table]

    def _starts(self, what: str, one: Ours | None, count: int, values: dict[str, str]) -> tuple[Any, ...]:
        """Cells of some starts."""
        parts, memory = [], 0.0
        for _ in range(count):
            began = time.time()
            found = in_own_process(what, one, photograph=str(self.photographs[0]), **values)
            ticks = [began, found["imported"], found["loaded"], found["done"]]
            parts.append([*np.diff(ticks).tolist(), ticks[3] - began])
            memory = max(memory, found["process_mb"])
        imports, loading, photograph, whole = (Spread.of(column) for column in zip(*parts, strict=True))
        return whole, imports, loading, photograph, memory


def called(name: str, runtime: str) -> str:
    """What the tables call a detector of ours: by torch alone, or with what `pip install inception-rcnn[cpu]` adds."""
    return name if runtime == "torch" else f"{name}, [cpu]"


def in_network(seconds: dict[str, float]) -> float:
    """The seconds of a photograph's stages that are the network's: all but those `OUTSIDE`."""
    return sum(taken for stage, taken in seconds.items() if stage not in OUTSIDE)


def in_precision(detector: Detector, precision: str) -> Detector:
    """The same detector with its network in another precision, by the same runtime."""
    member = detector.ensemble.members[0]
    if member.runtime.precision == precision:
        return detector
    engine = "torch" if member.runtime.openvino is None else "openvino"
    runtime = choose_runtime(str(member.runtime.device), engine, precision)
    ensemble = Ensemble([classifier_of(copy.deepcopy(member.network), member.description, runtime)])
    return Detector(detector.propose, ensemble, detector.settings, detector.multibox)


def resized_photograph(image: NDArray[np.uint8], megapixels: float, folder: Path) -> Path:
    """A JPEG of the photograph with about so many pixels, written once."""
    path = folder / f"{megapixels:g}.jpg"
    if not path.exists():
        factor = (megapixels * 1e6 / (image.shape[0] * image.shape[1])) ** 0.5
        write_picture(path, resize_image(image, round(image.shape[1] * factor), round(image.shape[0] * factor)))
    return path


def photographs_of(root: Path | None, dataset: str, split: str, limit: int) -> list[Path]:
    """The files: those of a data set, spread over it, or some that scikit-image ships."""
    if root is None:
        return [Path(skimage.__file__).parent / "data" / name for name in BUNDLED[:limit]]
    chosen = open_dataset(dataset, root, split)
    rows = np.unique(np.linspace(0, len(chosen) - 1, limit).astype(int)).tolist()
    return [chosen.path(row) for row in rows]


def described(asked: argparse.Namespace, bench: Bench) -> str:
    """The lines that every result begins with."""
    machine = machine_line("numpy", "torch", "torchvision", "numba", "opencv-python", "scikit-image")
    has = instructions()
    if asked.isa == "avx2":
        has = f"AVX2 alone by a switch of the libraries ({torch.backends.cpu.get_cpu_capability()}); it has {has}"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    where = "of scikit-image" if asked.root is None else f"of {asked.root.name}/{asked.split}"
    lines = [
        machine,
        f"multiplies with {has}; {available_processors()} processors and {torch.get_num_threads()} threads",
    ]
    lines += [f"{len(bench.photographs)} photographs {where}, {bench.extent.rounds} rounds; load before: {load:.1f}"]
    return "\n".join([*lines, f"default: {bench.weights[0]}; warp: {bench.weights[1]}"])


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--root", type=Path, help="a data set's folder; by default photographs of scikit-image")
    parser.add_argument("--dataset", default="coco", help="its format")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=5, help="how many photographs")
    parser.add_argument("--rounds", type=int, help="times each is done by each detector; default 3")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help="of the default detector")
    parser.add_argument("--warp-weights", default="coco-mini", help="of the one that warps")
    parser.add_argument("--runtimes", nargs="+", choices=("torch", "openvino"), help="of ours; default: all there are")
    parser.add_argument("--threads", type=int, help="processors to use; default: all that this process may")
    parser.add_argument("--isa", choices=("native", "avx2"), default="native", help="avx2: nothing above it")
    parser.add_argument("--quick", action="store_true", help="a minute: one photograph, few regions")
    parser.add_argument("--json", type=Path, help="file for the record")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure section by section, and print each table as it is done."""
    asked = arguments_of(argv)
    if asked.isa == "avx2" and any(os.environ.get(name) != value for name, value in AVX2.items()):
        # The libraries read this when they are loaded, so the process begins again.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | AVX2)
    pretend()
    if asked.threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.threads])
        torch.set_num_threads(asked.threads)
    cv2.setNumThreads(1)
    keep_freed_memory()
    extent = QUICK if asked.quick else Extent()
    extent = replace(extent, rounds=asked.rounds or extent.rounds)
    photographs = photographs_of(asked.root, asked.dataset, asked.split, 1 if asked.quick else asked.limit)
    bench = Bench(photographs, (asked.weights, asked.warp_weights), extent, tuple(asked.runtimes or runtimes_here()))
    head = described(asked, bench)
    print(head, flush=True)
    tables: list[Table] = []
    for section in asked.only:
        for table in getattr(bench, section)():
            print(f"\n{table.text()}", end="", flush=True)
            tables.append(table)
    if asked.json:
        record = {"head": head.splitlines(), "tables": [table.record() for table in tables]}
        asked.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
