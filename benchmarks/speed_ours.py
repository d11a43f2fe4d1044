"""The detectors that the speed benchmark measures, and single measurements in a process of their own."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import peak_memory
from numpy.typing import NDArray

from inception_rcnn.backbones import runtime as runtimes
from inception_rcnn.detector import Detector, Ensemble, load_detector
from inception_rcnn.detector.region_classifier import AnyClassifier, classifier_of
from inception_rcnn.structures.progress import StageClock

Boxes = NDArray[np.float32]
FROZEN = ("conv1", "conv2", "inception_3a", "inception_3b")  # what the paper's recipe leaves as it was
AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sse4.1,+sse4.2,+ssse3,+xsave",
}


@dataclass(frozen=True)
class Ours:
    """A detector of ours, as it can be named to another process.

    Attributes:
        weights: A file or a shipped name.
        members: Networks; those beyond the first are copies with other numbers.
        shared: Whether their first stages are the same.
        runtime: What computes: "torch", "openvino".
        regions: At most so many; None: the detector's default.
    """

    weights: str
    members: int = 1
    shared: bool = False
    runtime: str = "torch"
    regions: int | None = None

    def load(self) -> Detector:
        """The detector, ready."""
        pretend()
        detector = load_detector(self.weights, runtime=self.runtime)
        if self.members > 1:
            members = disturbed_copies(detector.ensemble.members[0], self.members, shared=self.shared)
            detector = Detector(detector.propose, Ensemble(members), detector.settings, detector.multibox)
        return detector if self.regions is None else detector.with_settings(max_proposals=self.regions)


def runtimes_here() -> tuple[str, ...]:
    """What can compute the networks on this machine."""
    return ("torch", "openvino") if runtimes.openvino_is_installed() else ("torch",)


def pretend() -> None:
    """In a process that was started with `AVX2`, make the choice of precision see no more than that."""
    if os.environ.get("ATEN_CPU_CAPABILITY") == AVX2["ATEN_CPU_CAPABILITY"]:
        runtimes.cpu_has_fast_bfloat16 = lambda: False


def disturbed_copies(first: AnyClassifier, count: int, *, shared: bool) -> list[AnyClassifier]:
    """A classifier and copies whose numbers differ, all of them or those behind the first stages.

    What they say means nothing; what they cost is what as many trained networks cost.
    """
    members = [first]
    for seed in range(1, count):
        network, noise = copy.deepcopy(first.network), torch.Generator().manual_seed(seed)
        for name, parameter in network.named_parameters():
            if not (shared and name.removeprefix("trunk.").startswith(FROZEN)):
                factor = 1 + 0.05 * torch.randn(parameter.shape, generator=noise)
                parameter.data.mul_(factor.to(parameter))
        members.append(classifier_of(network, first.description, first.runtime))
    return members


def random_boxes(count: int, width: int, height: int) -> Boxes:
    """Boxes inside an image, their sides from 24 pixels to the whole."""
    draw = np.random.default_rng(0)
    sides = np.exp(draw.uniform(np.log(24), np.log([width, height]), (count, 2)))
    corner = draw.uniform(0, 1, (count, 2)) * ([width, height] - sides)
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)


def in_own_process(what: str, ours: Ours | None = None, **values: Any) -> dict[str, Any]:
    """Return what one of `MEASUREMENTS` finds in a process of its own, with `process_mb`, its peak memory."""
    request = json.dumps([what, None if ours is None else asdict(ours), values])
    command = [sys.executable, str(Path(__file__).resolve()), request]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def regions_of_a_photograph(ours: Ours, photograph: str, regions: int, repeats: int) -> dict[str, Any]:
    """Seconds of the regions alone, the least of some runs: drawn boxes, since no photograph has so many proposals."""
    from inception_rcnn.structures import load_image

    detector, image = ours.load(), load_image(photograph)
    boxes, before = random_boxes(regions, image.shape[1], image.shape[0]), peak_memory()
    detector.ensemble.score(image, boxes[:8])
    return {"seconds": _least(lambda: detector.ensemble.score(image, boxes), repeats), "loaded_mb": before}


def whole_photograph(ours: Ours, photograph: str, repeats: int) -> dict[str, Any]:
    """Seconds of a photograph from its file to its detections, by stage too; the least of some runs."""
    detector = ours.load()
    before = peak_memory()
    runs = []
    for _ in range(repeats + 1):
        clock, start = StageClock(), time.perf_counter()
        detector(photograph, clock=clock)
        runs.append((time.perf_counter() - start, clock.seconds))
    seconds, stages = min(runs[1:], key=lambda run: run[0])
    return {"seconds": seconds, "stages": stages, "loaded_mb": before}


def first_detection(ours: Ours, photograph: str) -> dict[str, Any]:
    """When the package was imported, the detector loaded, and the first photograph done, by the wall clock."""
    imported = time.time()
    detector = ours.load()
    loaded = time.time()
    detector(photograph)
    return {"imported": imported, "loaded": loaded, "done": time.time()}


def peer_first_detection(_: Ours, photograph: str, name: str) -> dict[str, Any]:
    """The same of a detector of torchvision; no file of weights is read."""
    from speed_peers import torchvision_detector

    from inception_rcnn.structures import load_image

    imported = time.time()
    detect = torchvision_detector(name)
    loaded = time.time()
    detect(load_image(photograph))
    return {"imported": imported, "loaded": loaded, "done": time.time()}


MEASUREMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "regions": regions_of_a_photograph,
    "photograph": whole_photograph,
    "first": first_detection,
    "peer-first": peer_first_detection,
}


def _least(run: Callable[[], Any], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


def main() -> None:
    """Do what the command line's JSON asks for, and print what was found."""
    what, ours, values = json.loads(sys.argv[1])
    runtimes.keep_freed_memory()
    found = MEASUREMENTS[what](None if ours is None else Ours(**ours), **values)
    print(json.dumps({**found, "process_mb": peak_memory()}))


if __name__ == "__main__":
    main()
