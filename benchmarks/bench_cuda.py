"""What a CUDA GPU does with a photograph, stage by stage, and with six members' regions.

    python benchmarks/bench_cuda.py [--weights POOLED.safetensors] [--json FILE]
    python benchmarks/bench_cuda.py --device cpu --quick      the same code, small, where there is no GPU

Needs no data set: the photograph is scikit-image's astronaut. The six members are copies of the shipped classifier,
their weights disturbed: what they say means nothing, what they cost does. Every figure is the median of a few runs
after a first one, which is printed too where it compiles or captures something. A stage that fails says so, and the
others go on; what would begin after `--budget` seconds is left out.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from machine import machine_line
from numpy.typing import NDArray
from skimage import data
from torch.nn.functional import conv2d

from inception_rcnn.backbones import STAGES
from inception_rcnn.backbones.inference import for_inference
from inception_rcnn.backbones.runtime import Runtime, choose_runtime, keep_freed_memory, upload
from inception_rcnn.backbones.runtimes.gpu_graphs import captured
from inception_rcnn.detector import Ensemble, RegionClassifier, StageClock, load_detector
from inception_rcnn.detector.checkpoints import load_region_classifier
from inception_rcnn.detector.region_classifier import PooledClassifier
from inception_rcnn.detector.region_warp import RegionWarp
from inception_rcnn.detector.runtimes.device_warp import DeviceWarp
from inception_rcnn.proposals import selective_search
from inception_rcnn.proposals.network.checkpoints import load_multibox

WARPED = "coco-mini"
MATRIX = 8192
FROZEN = 4  # conv1, conv2, 3a, 3b: what the paper's recipe leaves as it was


@dataclass
class Table:
    """Lines of figures, printed as they come.

    Attributes:
        device: Whose queue is waited for before a clock is read.
        budget: Seconds after which no stage begins.
        repeats: Timed runs of each stage.
        figures: Milliseconds, or what the name says, by name.
    """

    device: torch.device
    budget: float
    repeats: int
    figures: dict[str, float | str] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)

    def wait(self) -> None:
        """Wait until the device has done all that was asked."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], Any]) -> float:
        """One run."""
        self.wait()
        start = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - start

    def time(self, name: str, run: Callable[[], Any], *, repeats: int | None = None) -> float:
        """Milliseconds of one run, the median after a first one."""
        first = self.seconds(run)
        median = float(np.median([self.seconds(run) for _ in range(repeats or self.repeats)]))
        note = f"   first run {1000 * first:.0f}" if first > 5 * median and first > 0.1 else ""
        self.put(name, 1000 * median, note)
        return 1000 * median

    def put(self, name: str, value: float | str, note: str = "") -> None:
        """Keep and print a figure."""
        self.figures[name] = value
        shown = f"{value:10.2f}" if isinstance(value, float) else f"{value:>10}"
        print(f"{name:<72}{shown}{note}", flush=True)

    def stage(self, run: Callable[[], None]) -> None:
        """One group of figures; what goes wrong in it is printed and does not stop the others."""
        if time.perf_counter() - self.start > self.budget:
            self.put(f"{run.__name__}: left out, the time is over", "-")
            return
        try:
            with torch.inference_mode():
                run()
        except Exception as error:  # whatever it is, the other figures are worth having
            self.put(f"{run.__name__}: {type(error).__name__}: {str(error).splitlines()[0][:150]}", "failed")


def random_boxes(count: int, width: int, height: int) -> NDArray[np.float32]:
    """Boxes inside an image, their sides from 24 pixels to the whole, as selective search finds them."""
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(np.log(24), np.log([width, height]), (count, 2)))
    corner = rng.uniform(0, 1, (count, 2)) * ([width, height] - sides)
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)


def members(first: RegionClassifier, count: int, shared: int) -> list[RegionClassifier]:
    """The classifier and copies of it whose weights differ, but for those of the first `shared` stages."""
    found = [first]
    frozen = {*STAGES[:shared], *(["conv2_reduce"] if shared > 1 else [])}
    for seed in range(1, count):
        network = copy.deepcopy(first.network)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in network.named_parameters():
            if name.split(".")[0].removeprefix("inception_") not in frozen:
                noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.data.add_(noise * parameter.data.abs().mean() * 0.05)
        found.append(RegionClassifier(network, first.description, first.runtime))
    return found


class Stages:
    """The groups of figures, in order of importance.

    Args:
        table: Takes them.
        runtime: Where it is all computed.
        quick: Few regions, small matrices: to see that it runs.
        pooled: Weights of a pooled classifier, if any.
    """

    def __init__(self, table: Table, runtime: Runtime, *, quick: bool, pooled: str | None) -> None:
        self.table = table
        self.runtime = runtime
        self.quick = quick
        self.pooled = pooled
        self.image = np.ascontiguousarray(data.astronaut())
        self.regions = 12 if quick else 1400
        self.boxes = random_boxes(self.regions, self.image.shape[1], self.image.shape[0])
        first = load_region_classifier(WARPED, runtime)
        assert isinstance(first, RegionClassifier)
        self.first = first

    def matrix(self) -> None:
        """The rate of a large product: what all else is measured against."""
        side = 256 if self.quick else MATRIX
        a, b = (torch.randn(side, side, device=self.runtime.device, dtype=torch.bfloat16) for _ in range(2))
        milliseconds = self.table.time(f"product of {side} x {side} bf16, ms", lambda: a @ b, repeats=10)
        self.table.put("  TFLOP/s", 2 * side**3 / milliseconds / 1e9)

    def upload(self) -> None:
        """A photograph to the device."""
        self.table.time("photograph up, ms", lambda: upload(self.image, self.runtime.device))

    def warp(self) -> None:
        """Regions cut out and stretched."""
        spec, device = self.first.description.input_spec, self.runtime.device
        pixels = upload(self.image, device)
        name = f"warp of {self.regions} regions on the device, its halved copies included, ms"
        self.table.time(name, lambda: DeviceWarp(pixels, spec, device, self.runtime.dtype).cut(self.boxes))
        name = f"warp of {self.regions} regions on the CPU's cores, ms"
        self.table.time(name, lambda: RegionWarp(self.image, spec).cut(self.boxes))
        some = self.boxes[: 4 if self.quick else 200]
        expected = spec.apply(torch.from_numpy(RegionWarp(self.image, spec).cut(some)))
        apart = (DeviceWarp(pixels, spec, device).cut(some).cpu() - expected).abs()
        self.table.put("  most they differ by, of 255", float(apart.max()))
        self.table.put("  mean they differ by, of 255", float(apart.mean()))

    def network(self) -> None:
        """One batch through the network alone: as trained, made ready, and as a graph; then stage by stage."""
        size = 2 if self.quick else 512
        side = self.first.description.input_spec.side
        x = torch.randn((size, side, side, 3), device=self.runtime.device).mul_(60).to(self.runtime.dtype)
        x = x.permute(0, 3, 1, 2)
        trained, ready = self.first.network, for_inference(self.first.network)
        self.table.time(f"network alone, {size} regions, as trained, ms", lambda: trained(x))
        self.table.time(f"network alone, {size} regions, made ready, ms", lambda: ready(x))
        expected, found = trained(x).float(), ready(x).float()
        self.table.put(
            "  most they differ by, of the largest", float((found - expected).abs().max() / expected.abs().max())
        )
        milliseconds = self.table.time(f"network alone, {size} regions, graph, ms", captured(lambda one: ready(one), x))
        self.table.put("  regions/s", size / milliseconds * 1000)
        self.table.time("  conv1 as trained, before its bias, ms", lambda: conv2d(x, trained.conv1.weight, None, 2, 3))
        self.table.time("  conv1 folded, before its bias, ms", lambda: ready._first_products(x))
        for name in STAGES:
            before = x
            self.table.time(f"  stage {name}, ms", lambda name=name, before=before: ready.stage(name, before))
            x = ready.stage(name, x)

    def tuned(self) -> None:
        """The network alone once more, with the algorithms that cuDNN finds fastest by trying."""
        size, side = 2 if self.quick else 512, self.first.description.input_spec.side
        x = torch.randn((size, side, side, 3), device=self.runtime.device).mul_(60).to(self.runtime.dtype)
        ready = for_inference(self.first.network)
        run = captured(lambda given: ready(given), x.permute(0, 3, 1, 2), tune=True)
        self.table.time(f"network alone, {size} regions, graph, tuned, ms", run)

    def one_member(self) -> None:
        """One network over all regions, warp and copies included."""
        self._ensemble(f"one member, {self.regions} regions, from pixels to probabilities, ms", [self.first])

    def six_members(self) -> None:
        """Six networks over the same regions, with and without stages in common."""
        for shared in (0, FROZEN):
            several = members(self.first, 2 if self.quick else 6, shared)
            name = f"{len(several)} members, {self.regions} regions, {shared} stages shared, ms"
            self._ensemble(name, several)

    def _ensemble(self, name: str, several: list[RegionClassifier]) -> None:
        ensemble = Ensemble(several)
        self.table.put("  (stages found to be shared)", float(len(ensemble.shared)) if len(several) > 1 else "-")
        milliseconds = self.table.time(name, lambda: ensemble.score(self.image, self.boxes))
        self.table.put("  regions/s and member", self.regions * len(several) / milliseconds * 1000)

    def pooled_parts(self) -> None:
        """The pooled classifier over one photograph, part by part."""
        if self.pooled is None:
            self.table.put("pooled classifier: no --weights", "-")
            return
        member = load_region_classifier(self.pooled, self.runtime)
        assert isinstance(member, PooledClassifier)
        boxes = self.boxes[: 10 if self.quick else 200]
        maps, corners = member._look(self.image, boxes, None)
        self.table.time("pooled: photograph up, resized, trunk, ms", lambda: member._look(self.image, boxes, None))
        self.table.time(
            f"pooled: RoIAlign and mix, {len(boxes)} regions, ms", lambda: member._ready.cells(maps, corners)
        )
        cells = member._ready.cells(maps, corners)
        mean = None if maps.mean is None else maps.mean.expand(len(cells), -1)
        self.table.time(f"pooled: head, {len(boxes)} regions, ms", lambda: member._ready.head(cells, mean))
        self.table.time("pooled: pixels and boxes to probabilities, ms", lambda: member.score(self.image, boxes))

    def whole(self) -> None:
        """One photograph from pixels to detections."""
        for name, weights in (("pooled", self.pooled), ("warped", WARPED)):
            if weights is None:
                continue
            detector = load_detector(weights, str(self.runtime.device))
            if self.quick:
                detector = detector.with_settings(max_proposals=8)
            proposals = detector.propose(self.image)
            self.table.time(
                f"{name} detector, default, without proposals, ms",
                lambda d=detector, p=proposals: d.postprocess(d.score(self.image, p)),
            )
            self.table.time(f"{name} detector, default, with proposals, ms", lambda d=detector: d(self.image))
            clock = StageClock()
            detector(self.image, clock=clock)
            for stage, seconds in clock.seconds.items():
                self.table.put(f"  {stage}, ms", 1000 * seconds)

    def multibox(self) -> None:
        """The network that proposes, and says how well boxes fit."""
        multibox = load_multibox("multibox", self.runtime)
        self.table.time("MultiBox, one look, ms", lambda: multibox.look([self.image]))
        view = multibox.look([self.image])[0]
        self.table.time("MultiBox, its proposals, ms", lambda: multibox.proposals(view))
        boxes = self.boxes[:600]
        self.table.time(f"MultiBox, objectness of {len(boxes)} boxes, ms", lambda: multibox.objectness(view, boxes))

    def stream(self) -> None:
        """Many photographs, one after the other."""
        detector = load_detector(self.pooled or WARPED, str(self.runtime.device))
        count = 3 if self.quick else 64
        if self.quick:
            detector = detector.with_settings(max_proposals=8)
        several = [np.ascontiguousarray(np.roll(self.image, 7 * shift, axis=1)) for shift in range(count)]
        list(detector.stream(several[:2]))
        seconds = self.table.seconds(lambda: list(detector.stream(several)))
        self.table.put(f"stream of {count} photographs, photographs/s", count / seconds)

    def search(self) -> None:
        """Selective search by threads."""
        for memory in ("as it is", "freed memory kept"):
            for threads in (1, 2, 4, 8, 16):
                name = f"selective search, {threads} threads, {memory}, ms"
                self.table.time(name, lambda threads=threads: selective_search(self.image, threads=threads))
            keep_freed_memory()
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        self.table.time("selective search, all threads, OpenCV on one, ms", lambda: selective_search(self.image))
        cv2.setNumThreads(before)

    def peer(self) -> None:
        """Another detector with random weights, for comparison: its time does not depend on them."""
        from torchvision.models.detection import fasterrcnn_resnet50_fpn

        sides = {"min_size": 128} if self.quick else {}
        network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, **sides).eval().to(self.runtime.device)
        x = torch.from_numpy(self.image).permute(2, 0, 1).float().div(255)
        run: Callable[[], Any] = lambda: network([x.to(self.runtime.device)])  # noqa: E731
        self.table.time("Faster R-CNN ResNet-50 FPN, fp32, random weights, ms", run, repeats=1 if self.quick else None)

    def memory(self) -> None:
        """What it took at most."""
        if self.runtime.device.type == "cuda":
            self.table.put("peak GPU memory, MB", torch.cuda.max_memory_allocated() / 2**20)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", help="of a pooled classifier; without, its stages are left out")
    parser.add_argument("--quick", action="store_true", help="few regions, small matrices: to see that it runs")
    parser.add_argument("--budget", type=float, default=75.0, help="seconds after which no stage begins")
    parser.add_argument("--json", type=Path, help="write the figures into this file, too")
    arguments = parser.parse_args()
    runtime = choose_runtime(arguments.device)
    table = Table(runtime.device, arguments.budget, 1 if arguments.quick else 5)
    print(machine_line("numpy", "torch", "torchvision"))
    if runtime.device.type == "cuda":
        print(torch.cuda.get_device_name(runtime.device))
    stages = Stages(table, runtime, quick=arguments.quick, pooled=arguments.weights)
    first = ("matrix", "upload", "warp", "network", "one_member", "six_members", "pooled_parts", "multibox", "whole")
    order = (*first, "stream", "search", "peer", "tuned", "memory")
    for name in order:
        table.stage(getattr(stages, name))
    table.put("all of it, s", time.perf_counter() - table.start)
    if arguments.json:
        arguments.json.write_text(json.dumps(table.figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
