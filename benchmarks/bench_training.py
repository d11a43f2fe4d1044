"""Training a region classifier: regions a second, warped against pooled; on a GPU photographs a second.

    python benchmarks/bench_training.py [--only steps frozen draws loop] [--json FILE]

steps: whole iterations, drawing and reading included, in turns: 128 warped regions, and 128 read off the maps of two
photographs, each as `train` does it. frozen: what conv1 and conv2, which do not learn, cost of a pooled iteration, and
how large their maps would be on disk. draws: a batch of 16 photographs by one thread, which a GPU should not wait for.
loop: the whole loop, batches drawn ahead, as on a GPU with 16 photographs x 64 regions.

The photographs come with scikit-image unless --root names a data set; the boxes of those without annotations are made
up, since time does not depend on what they show. Weights are the shipped models'.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import torch
from machine import instructions, machine_line
from numpy.typing import NDArray
from speed_measures import Spread, Table, interleaved, ratio

from inception_rcnn.backbones import CAFFE_INPUT
from inception_rcnn.backbones.runtime import Runtime, choose_runtime, keep_freed_memory
from inception_rcnn.backbones.training.loop import TrainingRun
from inception_rcnn.datasets import open_dataset
from inception_rcnn.detector.region_classifier import REGION_INPUT, ClassifierDescription
from inception_rcnn.detector.region_pooling import PoolingSpec
from inception_rcnn.detector.training.initial_weights import pretrained_network, pretrained_pooled
from inception_rcnn.detector.training.pooled.sampling import PooledSamplingSettings
from inception_rcnn.detector.training.pooled.step import PooledTuning
from inception_rcnn.detector.training.pooled.trainer import PooledTrainer, PooledTrainingSettings
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.detector.training.sources import TrainingPhotographs, TrainingSource
from inception_rcnn.detector.training.warped.step import FineTuning
from inception_rcnn.detector.training.warped.trainer import AS_THEY_ARE, FineTuneSettings, WarpedTrainer
from inception_rcnn.proposals import selective_search
from inception_rcnn.structures import GroundTruth, GroundTruthTable, Proposals, load_image, progress_bar
from inception_rcnn.structures.dataset import DetectionDataset, Subset

SECTIONS = ("steps", "frozen", "draws", "loop")
BUNDLED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
REGIONS = 128  # of an iteration, in both ways
SCALES = (1.0, 1.25, 1.5)
TIMES = 16  # the bundled photographs over and over, enough of one shape for a large batch


class Bundled:
    """Photographs of scikit-image that are about as large as COCO's, sixteen times over, an object on each."""

    class_names = display_names = ("thing", "other")
    category_ids = (1, 2)
    problems: tuple[str, ...] = ()

    def __init__(self) -> None:
        folder = Path(skimage.__file__).parent / "data"
        self._paths = [folder / name for name in BUNDLED if (folder / name).is_file()] * TIMES
        self.image_ids = tuple(range(len(self._paths)))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._paths)

    def path(self, i: int) -> Path:
        """Where one is."""
        return self._paths[i]

    def load_image(self, i: int) -> NDArray[np.uint8]:
        """One of them."""
        return load_image(self._paths[i])

    def ground_truth(self, i: int) -> GroundTruth:
        """An object in its middle."""
        height, width = self.load_image(i).shape[:2]
        box = np.array([[0.25, 0.2, 0.75, 0.8]], np.float32) * np.array([width, height] * 2, np.float32)
        return GroundTruth(box, np.array([i % 2]), self.class_names, width=width, height=height)

    def ground_truths(self) -> GroundTruthTable:
        """All of them."""
        return GroundTruthTable.from_ground_truths([self.ground_truth(row) for row in range(len(self))])


@dataclass(frozen=True)
class Material:
    """What is trained on, with its proposals."""

    dataset: DetectionDataset
    proposals: Sequence[Proposals]
    runtime: Runtime

    def warped(self, train_from: str) -> Callable[[int], Any]:
        """Iteration -> one step on 32 foreground and 96 background regions."""
        start = pretrained_network("coco-mini", self.dataset.class_names)
        tuning = FineTuning(start.network, REGION_INPUT, TrainingSettings(train_from=train_from), self.runtime)
        described = ClassifierDescription(self.dataset.class_names, REGION_INPUT)
        source = TrainingSource("bench", self.dataset, lambda: self.proposals)
        images = TrainingPhotographs([source], self.dataset.class_names, stored_side=AS_THEY_ARE)
        trainer = WarpedTrainer(images, start.network, described, FineTuneSettings(), self.runtime, quiet=True)
        return lambda iteration: trainer.step(tuning, trainer.draw(iteration))

    def pooled(
        self, photographs: int, regions: int, iterations: int = 1000, **sampling: Any
    ) -> tuple[PooledTrainer, PooledTuning]:
        """A trainer on so many photographs a batch, and a network to take steps with."""
        names, spec = self.dataset.class_names, PoolingSpec()
        start = pretrained_pooled("coco", names, spec)
        described = ClassifierDescription(names, CAFFE_INPUT, pooling=spec, box_regression=True)
        settings = PooledTrainingSettings(
            training=TrainingSettings(iterations=iterations, train_from="3a"),
            save_every=iterations,
            sampling=PooledSamplingSettings(photographs=photographs, regions=regions, photometric=0.2, **sampling),
        )
        source = TrainingSource("bench", self.dataset, lambda: self.proposals)
        images = TrainingPhotographs([source], names, stored_side=settings.sampling.stored_side, best=600)
        trainer = PooledTrainer(images, start.network, described, settings, self.runtime, quiet=True)
        return trainer, PooledTuning(start.network, settings.training, self.runtime)


def steps(material: Material, rounds: int) -> Table:
    """Warped and pooled iterations in turns."""
    calls = {"warp, from 4a (default)": material.warped("4a"), "warp, from 3a": material.warped("3a")}
    for cells in (7, 5):
        trainers = [material.pooled(2, REGIONS // 2, scales=(scale,), cells=(cells,)) for scale in SCALES]
        calls[f"pool, from 3a (default), {cells} x {cells} cells"] = partial(pooled_step, trainers)
    seconds = interleaved(calls, range(len(SCALES)), rounds)
    table = Table(
        "Iterations of 128 regions",
        ("way", "seconds an iteration", "regions/s", "times the first"),
        note=f"Pooled: 2 photographs x 64, enlarged by {SCALES} in turn. Median (5th-95th percentile).",
    )
    first = seconds[next(iter(calls))]
    for name, found in seconds.items():
        # The scales differ in their work, so a round of them is one measurement.
        each, base = ([float(np.mean(part)) for part in np.array_split(one, rounds)] for one in (found, first))
        table.add(name, Spread.of(found), REGIONS / float(np.mean(found)), ratio(base, each))
    return table


def pooled_step(trainers: Sequence[tuple[PooledTrainer, PooledTuning]], iteration: int) -> None:
    """One step at the scale of that iteration."""
    trainer, tuning = trainers[iteration % len(trainers)]
    trainer.step(tuning, trainer.draw(iteration))


def frozen(material: Material, rounds: int) -> Table:
    """What the stages cost that do not learn, beside a whole iteration on the same photographs."""
    table = Table(
        "conv1 and conv2 in a pooled iteration, 2 photographs x 64 regions",
        ("enlarged by", "iteration, s", "of it conv1 and conv2, s", "share", "their map in bf16, MB a photograph"),
        note="On disk a photograph would need a map for each scale, plain and mirrored, and could not be recoloured.",
    )
    for scale in SCALES:
        trainer, tuning = material.pooled(2, REGIONS // 2, scales=(scale,))
        batch, read = trainer.draw(0)
        images = trainer.on_device((batch, read)).images
        calls = {
            "iteration": lambda number, of=(trainer, tuning): pooled_step([of], number),
            "frozen": lambda _, one=images, of=tuning: stem(of, one),
        }
        seconds = interleaved(calls, [0], rounds)
        whole, part = Spread.of(seconds["iteration"]), Spread.of(seconds["frozen"])
        cells = images.shape[2] // 8 * (images.shape[3] // 8)
        table.add(scale, whole, part, f"{100 * part.median / whole.median:.1f} %", 192 * 2 * cells / 1e6)
    return table


@torch.no_grad()
def stem(tuning: PooledTuning, images: torch.Tensor) -> None:
    """conv1 and conv2 of a batch."""
    runtime = tuning.runtime
    with runtime.autocast():
        tuning.network.trunk.trunk(images, stop="conv2")


def draws(material: Material, rounds: int) -> Table:
    """How long a thread needs for a batch as a GPU takes it."""
    trainer, _ = material.pooled(16, 64, scales=SCALES, repeat_below=0.01)
    seconds = interleaved({"draw": trainer.sampler.draw}, range(50), rounds)["draw"]
    table = Table("Drawing a batch of 16 photographs x 64 regions, one thread", ("ms a batch",))
    table.add(Spread.of([1000 * one for one in seconds]))
    return table


def loop(material: Material, rounds: int) -> Table:
    """Photographs a second through the whole loop."""
    on_gpu = material.runtime.device.type == "cuda"
    photographs, iterations = (16, 100 * rounds) if on_gpu else (2, 3 * rounds)
    warm = 54 if on_gpu else 3  # twice each of 27 shapes
    trainer, _ = material.pooled(photographs, 64, warm + iterations + 1, scales=SCALES, cells=(7, 6, 5))
    moments: list[float] = []
    step = trainer.step

    def timed(*arguments: Any) -> dict[str, float]:
        moments.append(time.perf_counter())
        return step(*arguments)

    trainer.step = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(TrainingRun(settings={}), Path(folder) / "state.safetensors")
    each = (moments[-1] - moments[warm]) / iterations
    table = Table(
        f"The loop: {photographs} photographs x 64 regions, cells 7, 6, 5 in turn, batches drawn ahead",
        ("ms an iteration", "photographs/s", "regions/s"),
        note=f"{iterations} iterations after {warm}.",
    )
    table.add(1000 * each, photographs / each, 64 * photographs / each)
    return table


def material_of(asked: argparse.Namespace) -> Material:
    """Photographs with proposals of selective search."""
    runtime = choose_runtime(asked.device, precision=asked.precision)
    if asked.root is None:
        dataset: DetectionDataset = Bundled()
        different = len(dataset) // TIMES
    else:
        chosen = open_dataset(asked.dataset, asked.root, asked.split)
        dataset = Subset(chosen, range(min(asked.limit, len(chosen))))
        different = len(dataset)
    with progress_bar(different, "proposals") as bar:
        proposals = []
        for row in range(different):
            proposals.append(selective_search(dataset.load_image(row)).top(600))
            bar.advance(1)
    return Material(dataset, proposals * (len(dataset) // different), runtime)


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="by default all; on a GPU draws and loop")
    parser.add_argument("--root", type=Path, help="a data set's folder; by default photographs of scikit-image")
    parser.add_argument("--dataset", default="coco", help="its format")
    parser.add_argument("--split", default="train")
    parser.add_argument("--limit", type=int, default=80, help="how many photographs of it")
    parser.add_argument("--rounds", type=int, default=5, help="of three iterations each")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--json", type=Path, help="file for the record")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure section by section, and print each table as it is done."""
    asked = arguments_of(argv)
    keep_freed_memory()
    material = material_of(asked)
    device, load = material.runtime.device, os.getloadavg()[0]
    card = f"; {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    where = "of scikit-image" if asked.root is None else f"of {asked.root.name}/{asked.split}"
    head = (
        f"{machine_line('numpy', 'torch', 'numba')}{card}\nmultiplies with {instructions()}; {material.runtime}; "
        f"{torch.get_num_threads()} threads; {len(material.dataset)} photographs {where}; load before: {load:.1f}"
    )
    print(head, flush=True)
    tables = []
    for section in asked.only or (("draws", "loop") if device.type == "cuda" else SECTIONS):
        tables.append(MEASURES[section](material, asked.rounds))
        print(f"\n{tables[-1].text()}", end="", flush=True)
    if asked.json:
        record = {"head": head.splitlines(), "tables": [table.record() for table in tables]}
        asked.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


MEASURES: dict[str, Callable[[Material, int], Table]] = {
    "steps": steps,
    "frozen": frozen,
    "draws": draws,
    "loop": loop,
}

if __name__ == "__main__":
    main()
