"""Photographs a second through `Detector.stream`, by the number of threads that prepare them, against call by call.

    python benchmarks/bench_stream.py --folder photographs --weights coco --workers 0 1 2

Every way is timed on the same photographs, in rounds that take turns, and its detections are compared with the calls'.
Without --folder, photographs that come with scikit-image are used, read from their files.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import skimage
from machine import machine_line

from inception_rcnn import load_detector
from inception_rcnn.backbones.runtime import keep_freed_memory
from inception_rcnn.detector import Detector
from inception_rcnn.structures import Detections

BUNDLED = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")
Way = Callable[[], Iterable[Detections]]


def main() -> None:
    """Time, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--weights", nargs="*")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--count", type=int, default=16, help="photographs in a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    keep_freed_memory()
    detector = load_detector(arguments.weights or None, arguments.device)
    print(machine_line("torch"))
    print(f"{detector.ensemble.runtime}; by default {detector.workers_ahead()[0]} workers")
    files = photographs(arguments.folder, arguments.count)
    ways: dict[str, Way] = {"calls": lambda: map(detector, files)}
    for workers in arguments.workers:
        ways[f"{workers} workers"] = streamed(detector, files, workers)
    expected = [content(found) for found in ways["calls"]()]  # also loads, compiles and fills caches
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            found = list(way())
            times[name].append(time.perf_counter() - start)
            if [content(one) for one in found] != expected:
                raise SystemExit(f"{name}: other detections than call by call")
    print(f"{len(files)} photographs, the best of {arguments.rounds} rounds; all ways found the same")
    for name, seconds in times.items():
        best = min(seconds) / len(files)
        print(f"  {name:<12} {1e3 * best:7.1f} ms a photograph  {1 / best:6.2f} photographs/s")


def photographs(folder: Path | None, count: int) -> list[Path]:
    """As many files, one after the other and then from the beginning again."""
    if folder is None:
        files = [Path(skimage.__file__).parent / "data" / name for name in BUNDLED]
        files = [file for file in files if file.is_file()]
    else:
        files = sorted(file for file in folder.iterdir() if file.is_file())
    return [files[number % len(files)] for number in range(count)]


def streamed(detector: Detector, files: list[Path], workers: int) -> Way:
    """The way through a stream."""
    return lambda: detector.stream(files, workers=workers)


def content(found: Detections) -> tuple[object, ...]:
    """What was found, to the bit."""
    return found.boxes.tobytes(), found.scores.tobytes(), found.labels.tobytes()


if __name__ == "__main__":
    main()
