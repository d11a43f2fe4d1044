"""Training a classifier: the whole loop against bare forward and backward passes of the same network.

    python benchmarks/bench_train_classifier.py [--variant paper batchnorm] [--side 224] [--batch 32] [--rounds 5]

The bare loop has one batch on the device, and does nothing but the network, its loss and the gradients. The whole loop
is `train_classifier`'s: photographs of scikit-image as JPEG files of 500 px, decoded anew each time, patches cut and
recoloured, auxiliary heads, clipping, SGD, the running average, the table. The two take turns. The whole loop is timed
while batches are drawn as fast as they are used: after as many iterations as are drawn ahead, over at least four times
as many, and with as many left to draw.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from machine import instructions, machine_line
from PIL import Image
from skimage import data
from speed_measures import Spread, Table, ratio
from torch.nn import functional

from inception_rcnn.backbones import GoogLeNet, googlenet
from inception_rcnn.backbones.runtime import Runtime, choose_runtime, keep_freed_memory
from inception_rcnn.backbones.training.classification import (
    LOG,
    SCORES,
    ClassifierTraining,
    ClassifierTrainingSettings,
    network_input,
    patch_threads,
)
from inception_rcnn.backbones.training.log import TrainingLog
from inception_rcnn.backbones.training.loop import TrainingRun, run_training
from inception_rcnn.backbones.training.patches import LabelledPhotographs, PatchSampler, PatchSettings
from inception_rcnn.structures import load_image

OUTPUTS = 1000
LONG_SIDE = 500


class DecodedAnew(LabelledPhotographs):
    """JPEG files of scikit-image's photographs, none kept in memory, as of a set that does not fit there."""

    def __init__(self, folder: Path, copies: int = 16) -> None:
        self._paths = []
        for number, image in enumerate((data.astronaut(), data.chelsea(), data.coffee(), data.rocket())):
            shown = Image.fromarray(image)
            shown.thumbnail((LONG_SIDE, LONG_SIDE))
            self._paths.append(folder / f"{number}.jpg")
            shown.save(self._paths[-1], quality=92)
        self._paths *= copies
        super().__init__(self.__getitem__, [number % OUTPUTS for number in range(len(self._paths))], "bundled")

    def __getitem__(self, number: int) -> np.ndarray:
        """One of them, read from its file."""
        return load_image(self._paths[number])


def bare(network: GoogLeNet, batch: torch.Tensor, labels: torch.Tensor, runtime: Runtime, iterations: int) -> float:
    """Seconds of an iteration that has nothing but the network, its loss, and the gradients."""
    network.train()
    start = time.perf_counter()
    for _ in range(iterations):
        network.zero_grad(set_to_none=True)
        with runtime.autocast():
            found = network(batch)
        first, *others = (functional.cross_entropy(one.float(), labels) for one in found)
        (first + 0.3 * sum(others)).backward()
    if runtime.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / iterations


def timed_iterations(asked: int, runtime: Runtime) -> int:
    """How many iterations of the whole loop are timed: many more than are drawn ahead, one more than threads."""
    return max(asked, 4 * (patch_threads(runtime) + 1))


def whole(
    training: ClassifierTraining, sampler: PatchSampler, iterations: int, folder: Path, log: TrainingLog
) -> float:
    """Seconds of an iteration of the whole loop, batches drawn ahead."""
    averaged, runtime, workers = training.averaged, training.runtime, patch_threads(training.runtime)
    ahead, first, moments = workers + 1, averaged.iteration, list[float]()

    def step(batch: object) -> dict[str, float]:
        if runtime.device.type == "cuda" and len(moments) in (ahead, ahead + iterations):
            torch.cuda.synchronize()
        moments.append(time.perf_counter())
        return training.step(batch)  # type: ignore[arg-type]

    def after_step(iteration: int) -> dict[str, float]:
        if iteration % training.settings.log_every == 0:
            losses = averaged.mean_losses()
            log.stop_clock()
            log.write(iteration, averaged.rate, losses, {})
        return {}

    run_training(
        averaged,
        sampler.draw,
        step,
        TrainingRun(settings={}),
        folder / "none.safetensors",
        iterations=first + ahead + iterations + ahead,
        save_every=10**9,
        title="whole",
        after_step=after_step,
        workers=workers,
        writes=False,
        quiet=True,
    )
    return (moments[ahead + iterations] - moments[ahead]) / iterations


def measured(variant: str, asked: argparse.Namespace, runtime: Runtime, folder: Path, table: Table) -> None:
    """Add a variant's row."""
    settings = ClassifierTrainingSettings(patches=PatchSettings(side=asked.side), batch=asked.batch)
    settings = replace(settings, training=replace(settings.training, learning_rate=1e-4, iterations=10**6))
    sampler = PatchSampler(DecodedAnew(folder), asked.batch, settings.patches)
    torch.manual_seed(0)
    networks = [googlenet(variant, num_classes=OUTPUTS, aux_heads=True) for _ in range(2)]
    training = ClassifierTraining(networks[0], settings, runtime, batches_per_pass=sampler.batches_per_pass)
    ours = networks[1].to(runtime.device).to(memory_format=torch.channels_last)
    drawn = sampler.draw(0)
    batch = network_input(ours, drawn, runtime.device)
    labels = torch.from_numpy(drawn.labels).to(runtime.device)
    bare(ours, batch, labels, runtime, 1)
    log = TrainingLog(folder / LOG, 0, per_iteration=asked.batch, scores=SCORES)
    timed = timed_iterations(asked.iterations, runtime)
    both = [
        (bare(ours, batch, labels, runtime, asked.iterations), whole(training, sampler, timed, folder, log))
        for _ in range(asked.rounds)
    ]
    alone, all_of_it = zip(*both, strict=True)
    rates = [Spread.of([asked.batch / one for one in each]) for each in (alone, all_of_it)]
    table.add(variant, *(one.text(1) for one in rates), ratio(alone, all_of_it))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure variant by variant, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", default=["paper", "batchnorm"])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--iterations", type=int, default=4, help="of the bare loop in a round, and of the whole one at least"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--json", type=Path, help="file for the record")
    asked = parser.parse_args(argv)
    keep_freed_memory()
    runtime = choose_runtime(asked.device, precision=asked.precision)
    head = (
        f"{machine_line('numpy', 'torch')}\nmultiplies with {instructions()}; {runtime}; "
        f"{torch.get_num_threads()} threads; load before: {os.getloadavg()[0]:.1f}"
    )
    print(head, flush=True)
    table = Table(
        f"Training a classifier, batches of {asked.batch} patches of {asked.side} px",
        ("variant", "bare, patches/s", "whole loop, patches/s", "share of the bare loop"),
        note=f"Median (5th-95th percentile) of {asked.rounds} rounds of {asked.iterations} iterations of the bare "
        f"loop and {timed_iterations(asked.iterations, runtime)} of the whole one.",
    )
    with tempfile.TemporaryDirectory() as folder:
        for variant in asked.variant:
            measured(variant, asked, runtime, Path(folder), table)
    print(f"\n{table.text()}", end="", flush=True)
    if asked.json:
        record = {"head": head.splitlines(), "tables": [table.record()]}
        asked.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
