"""The networks' parts by torch and by OpenVINO, in each precision: time, and distance from torch in float32.

    python benchmarks/bench_runtimes.py                    # the shipped model
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 XDG_CACHE_HOME=/tmp/avx2 \\
        python benchmarks/bench_runtimes.py --precision fp32               # nearly as on a processor with AVX2 alone

All are timed in turn, round by round, so that what else the machine does meets all of them. Processor seconds are those
of all threads together; where others use the machine they say more than the wall's, if torch's threads do not spin
while they wait (OMP_WAIT_POLICY=passive). int8 needs weights that `inception-rcnn calibrate` was called for.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import instructions, machine_line
from skimage import data

from inception_rcnn.backbones.runtime import Runtime, keep_freed_memory
from inception_rcnn.backbones.runtimes.openvino_runtime import compile_part
from inception_rcnn.detector.checkpoints import DEFAULT_WEIGHTS, load_region_classifier
from inception_rcnn.detector.ensemble import Ensemble
from inception_rcnn.detector.region_classifier import PooledClassifier
from inception_rcnn.detector.region_warp import RegionWarp
from inception_rcnn.detector.runtimes.pooled_parts import HEAD, TRUNK, head_part, pooled_compute, trunk_part
from inception_rcnn.proposals.network.checkpoints import load_multibox

CPU = torch.device("cpu")
RUNTIMES = {
    "torch fp32": Runtime(CPU, torch.float32, 64),
    "torch bf16": Runtime(CPU, torch.bfloat16, 64),
    "OpenVINO fp32": Runtime(CPU, torch.float32, 64, "fp32"),
    "OpenVINO bf16": Runtime(CPU, torch.float32, 64, "bf16"),
    "OpenVINO int8": Runtime(CPU, torch.float32, 64, "int8"),
}
PHOTOGRAPH = data.coffee()[:384, :512]  # becomes 480 x 640


class Timed:
    """Calls timed in turn."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], Callable[[], Any]] = {}
        self.seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}

    def run(self, rounds: int) -> None:
        """Call each of them once for nothing, then so many times."""
        for call in self.calls.values():
            call()
        for _ in range(rounds):
            for key, call in self.calls.items():
                wall, processor = time.perf_counter(), time.process_time()
                call()
                spent = (time.perf_counter() - wall, time.process_time() - processor)
                self.seconds.setdefault(key, []).append(spent)

    def print(self) -> None:
        """The table: medians and the best wall time, and how many times faster than torch in float32."""
        head = f"{'part':<22}{'by':<15}{'wall ms':>8}{'best':>8}{'processor ms':>14}"
        print(f"{head}{'of torch fp32: wall':>21}{'best':>7}{'processor':>11}")
        for (part, by), spent in self.seconds.items():
            base = self.seconds[part, "torch fp32"]
            wall, processor = (statistics.median(column) for column in zip(*spent, strict=True))
            of_wall, of_processor = (statistics.median(column) for column in zip(*base, strict=True))
            best, of_best = min(spent)[0], min(base)[0]
            times = f"{1e3 * wall:>8.1f}{1e3 * best:>8.1f}{1e3 * processor:>14.1f}"
            ratios = f"{of_wall / wall:>20.2f}x{of_best / best:>6.2f}x{of_processor / processor:>10.2f}x"
            print(f"{part:<22}{by:<15}{times}{ratios}")


def regions(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Boxes all over the photograph."""
    rng, (height, width) = np.random.default_rng(0), PHOTOGRAPH.shape[:2]
    corner = rng.uniform(0, 0.6, (count, 2)) * [width, height]
    return np.concatenate([corner, corner + rng.uniform(0.1, 0.4, (count, 2)) * [width, height]], 1).astype(np.float32)


@torch.inference_mode()
def add_pooled(timed: Timed, name: str, classifier: PooledClassifier, count: int) -> tuple[Any, Any]:
    """Adds trunk and head of a classifier; returns what it says of the regions."""
    boxes = regions(count)
    compute = pooled_compute(classifier._ready, classifier.runtime, classifier.description.activation_ranges)
    seen, corners = classifier.enlarged(PHOTOGRAPH, boxes)
    maps = compute.maps(seen)
    coarse, fine = classifier.network.pool(maps, corners)
    mean = None if maps.mean is None else maps.mean.expand(count, -1)

    @torch.inference_mode()
    def head() -> Any:
        return compute.head(coarse, None if fine is None else fine.clone(), mean)

    timed.calls[f"trunk {seen.shape[2]}x{seen.shape[3]}", name] = torch.inference_mode()(lambda: compute.maps(seen))
    timed.calls[f"head, {count} regions", name] = head
    return classifier.score(PHOTOGRAPH, boxes)


def add_warped(timed: Timed, name: str, runtime: Runtime) -> None:
    """Adds a batch of regions through the shipped network that sees each of them warped."""
    ensemble = Ensemble([load_region_classifier("coco-mini", runtime)])
    crops = RegionWarp(PHOTOGRAPH, ensemble.input_spec).cut(regions(runtime.batch))
    timed.calls[f"warped, {runtime.batch} regions", name] = lambda: ensemble.probabilities(crops)


def start_times(classifier: PooledClassifier) -> None:
    """Prints how long trunk and head take to be compiled, and to be found again."""
    network = classifier._ready
    with tempfile.TemporaryDirectory() as folder:
        for what in ("compiled for the first time", "found in the cache"):
            start = time.perf_counter()
            for part in (trunk_part(network), head_part(network)):
                compile_part(part, "fp32", folder=Path(folder))
            print(f"trunk and head {what}: {time.perf_counter() - start:.2f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help="of a pooled detector")
    parser.add_argument("--regions", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precision", nargs="*", default=["fp32", "bf16", "int8"], help="only these")
    arguments = parser.parse_args()
    keep_freed_memory()
    print(f"{machine_line('torch', 'openvino')}, {instructions()}, load {os.getloadavg()[0]:.1f}")
    names = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "OMP_WAIT_POLICY")
    print(
        ", ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ) or "nothing in the environment"
    )
    timed, said = Timed(), {}
    for name, runtime in RUNTIMES.items():
        plain = load_region_classifier(arguments.weights, RUNTIMES["torch fp32"])
        if not isinstance(plain, PooledClassifier):
            raise SystemExit(f"{arguments.weights} pools no regions")
        if runtime.precision not in arguments.precision:
            continue
        if runtime.openvino == "int8" and not {TRUNK, HEAD} <= set(plain.description.activation_ranges):
            continue
        classifier = load_region_classifier(arguments.weights, runtime)
        assert isinstance(classifier, PooledClassifier)
        said[name] = add_pooled(timed, name, classifier, arguments.regions)
        if runtime.openvino != "int8":
            add_warped(timed, name, runtime)
            multibox = load_multibox("multibox", runtime)
            timed.calls["MultiBox, stretch too", name] = lambda multibox=multibox: multibox.look([PHOTOGRAPH])  # type: ignore[misc]
    start_times(plain)
    timed.run(arguments.rounds)
    timed.print()
    probabilities, offsets = said["torch fp32"]
    for name, (other, moves) in said.items():
        text = f"{name:<16}largest difference of a probability {np.abs(other - probabilities).max():.1e}"
        print(text if offsets is None else f"{text}, of an offset {np.abs(moves - offsets).max():.1e}")


if __name__ == "__main__":
    main()
