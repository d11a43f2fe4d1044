"""torchvision's Faster R-CNN on GoogLeNet with a feature pyramid, fine-tuned on VOC 2007 train within a time.

    python benchmarks/faster_rcnn_voc.py --root voc2007 --output RUN --minutes 115 --weights imagenet:FILE [--ours OURS]

Like examples/faster_rcnn_fpn.py, but to an end: conv1 and conv2 stay, maps of 3b, 4e and 5b, 128 channels,
photographs of 320 px on the short side. A run that is killed goes on when it is started again. As many batches are
taken as go into the time, which has to leave some minutes for the evaluation: mAP at IoU 0.5 by VOC 2007's 11 points on
val_unseen. --ours: a detector of this package, such as one that `train --regions pool` made in the same time from the
same start, is measured by `eval_map` on the same photographs.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import count
from pathlib import Path

import numpy as np
import torch
from machine import machine_line
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from inception_rcnn.backbones import googlenet_body
from inception_rcnn.backbones.checkpoints import tensors_checksum
from inception_rcnn.backbones.runtime import Runtime, choose_runtime, drawing_threads, keep_freed_memory
from inception_rcnn.backbones.training.duration import iterations_in, iterations_within
from inception_rcnn.backbones.training.loop import AveragedTraining, TrainingRun, run_training, seeded
from inception_rcnn.backbones.training.sgd import SgdSettings
from inception_rcnn.datasets import open_dataset
from inception_rcnn.evaluation import Evaluation
from inception_rcnn.evaluation.bootstrap import resample_images
from inception_rcnn.evaluation.protocols import evaluate_by
from inception_rcnn.structures import DetectionTable, progress_bar
from inception_rcnn.structures.ahead import run_ahead
from inception_rcnn.structures.dataset import DetectionDataset, ImageCache, Subset

EVAL_MAP = Path(__file__).resolve().parent.parent / "tools" / "eval_map.py"
PROTOCOL = "voc2007"
STAGES = ("3b", "4e", "5b")
CHANNELS, HIDDEN = 128, 512
# Of the maps at 8, 16, 32 and 64 px: two sizes an octave, down to what 16 px become at a short side of 320.
SIZES = ((20, 28), (40, 57), (80, 113), (160, 226))
Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


def detector_of(classes: int, weights: str, side: int) -> FasterRCNN:
    """The network, on fresh layers from the body on; label 0 is background."""
    body = googlenet_body(out_stages=STAGES, weights=weights, frozen_until="conv2", input="imagenet")
    pyramid = BackboneWithFPN(body, body.return_layers, body.out_channels, CHANNELS)
    return FasterRCNN(
        pyramid,
        min_size=side,
        max_size=round(side * 5 / 3),
        rpn_anchor_generator=AnchorGenerator(SIZES, ((0.5, 1.0, 2.0),) * len(SIZES)),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(CHANNELS * 7**2, HIDDEN),
        box_predictor=Predictor(HIDDEN, classes + 1),
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=500,
        rpn_pre_nms_top_n_test=500,
        rpn_post_nms_top_n_test=300,
        box_batch_size_per_image=128,
        box_score_thresh=0.01,
        box_nms_thresh=0.4,
    )


class Predictor(torch.nn.Module):
    """The two last layers, whose answers are float32, as torchvision's losses and decoding want them."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.classes, self.boxes = torch.nn.Linear(features, outputs), torch.nn.Linear(features, 4 * outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and offsets of regions."""
        return self.classes(x).float(), self.boxes(x).float()


class Photographs:
    """Draws batches, a pass after the other, half of the photographs mirrored."""

    def __init__(self, dataset: DetectionDataset, batch: int, seed: int) -> None:
        shows = [row for row in range(len(dataset)) if (~dataset.ground_truth(row).ignore).any()]
        self.dataset, self.batch, self.seed = Subset(dataset, shows), batch, seed
        self._cache = ImageCache(self.dataset.load_image)
        self._order = lru_cache(maxsize=2)(self._order_of)

    def draw(self, iteration: int) -> Batch:
        """The batch of an iteration, the same at every call."""
        images, targets = [], []
        for place in range(iteration * self.batch, (iteration + 1) * self.batch):
            number, position = divmod(place, len(self.dataset))
            row = int(self._order(number)[position])
            rng = np.random.default_rng([self.seed, 1, place])
            truth, image = self.dataset.ground_truth(row), self._cache[row]
            boxes, labels = truth.boxes[~truth.ignore].copy(), truth.labels[~truth.ignore] + 1
            if rng.random() < 0.5:
                image = image[:, ::-1]
                boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
            images.append(as_input(image))
            targets.append({"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels.astype(np.int64))})
        return images, targets

    def _order_of(self, number: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, 2, number]).permutation(len(self.dataset))


def as_input(image: NDArray[np.uint8]) -> Tensor:
    """A photograph as torchvision's detectors take it, (3, H, W) in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def step_of(training: AveragedTraining, settings: SgdSettings, runtime: Runtime, batch: Batch) -> dict[str, float]:
    """One iteration: the sum of torchvision's four losses."""
    device, iteration = runtime.device, training.iteration
    training.network.train()
    images, targets = batch
    images = [one.to(device) for one in images]
    targets = [{name: value.to(device) for name, value in one.items()} for one in targets]
    with (
        seeded(settings.seed * 1_000_003 + iteration, device),  # which regions count is drawn
        runtime.autocast(),
    ):
        losses = training.network(images, targets)
    parts = {name.removeprefix("loss_"): one.float() for name, one in losses.items()}
    return {"loss": training.update(torch.stack(list(parts.values())).sum(), settings.rate_at(iteration), parts)}


def averaged(network: FasterRCNN, settings: SgdSettings) -> AveragedTraining:
    """What trains a network."""
    return AveragedTraining(
        network,
        settings.optimizer(network, ("rpn", "roi_heads")),
        memory=("momentum_buffer",),
        averaging=settings.averaging,
        clip=settings.clip,
    )


def train(asked: argparse.Namespace, network: FasterRCNN, photographs: Photographs, runtime: Runtime) -> None:
    """Train within the time, from the state if there is one; the network then has its averaged weights."""
    state = asked.output / "state.safetensors"
    settings = SgdSettings(
        learning_rate=asked.learning_rate,
        new_layer_factor=2.0,
        warm_up=asked.warm_up,
        weight_decay=1e-4,
        averaging=0.999,
        seed=asked.seed,
    )
    schedule = asdict(settings)
    del schedule["iterations"]
    how = {**schedule, "minutes": asked.minutes, "side": asked.side, "batch": asked.batch, "limit": asked.limit}
    checksums = {"weights at the start (--weights)": tensors_checksum(network.state_dict())}
    run = TrainingRun(settings=how, class_names=tuple(photographs.dataset.class_names), checksums=checksums)
    run.check_state(state)
    iterations = iterations_in(state) or found_iterations(asked, network, settings, photographs, runtime)
    settings = replace(settings, iterations=iterations)
    run = replace(run, settings={**how, "iterations": iterations})
    training = averaged(network, settings)
    if not state.exists():
        training.save(state, run)
    print(f"{iterations} batches of {asked.batch}: {iterations * asked.batch / len(photographs.dataset):.1f} passes")
    run_training(
        training,
        photographs.draw,
        lambda batch: step_of(training, settings, runtime, batch),
        run,
        state,
        iterations=iterations,
        save_every=100,
        title="training",
        workers=drawing_threads(runtime),
    )
    network.load_state_dict(training.result())


def found_iterations(
    asked: argparse.Namespace, network: FasterRCNN, settings: SgdSettings, photographs: Photographs, runtime: Runtime
) -> int:
    """How many iterations go into the time, by trying some on a copy."""
    still = replace(settings, iterations=10**9, warm_up=10**9)
    trial = averaged(copy.deepcopy(network), still)
    with closing(run_ahead(photographs.draw, count(), workers=drawing_threads(runtime))) as batches:
        return iterations_within(
            60 * asked.minutes, lambda _: step_of(trial, still, runtime, next(batches).result()), trial.check
        )


@torch.no_grad()
def detections_of(network: FasterRCNN, dataset: DetectionDataset, runtime: Runtime) -> DetectionTable:
    """What the detector finds on each photograph."""
    network.eval()
    rows: list[NDArray[np.float64]] = []
    images = run_ahead(dataset.load_image, range(len(dataset)), workers=drawing_threads(runtime))
    with closing(images), progress_bar(len(dataset), "detecting") as bar:
        for row, image in enumerate(images):
            with runtime.autocast():
                (found,) = network([as_input(image.result()).to(runtime.device)])
            columns = [found[name].double().cpu().numpy() for name in ("labels", "scores", "boxes")]
            rows.append(np.column_stack([np.full(len(columns[0]), row), columns[0] - 1, *columns[1:]]))
            bar.advance(1)
    table = np.concatenate(rows)
    return DetectionTable(table[:, 0].astype(np.int32), table[:, 1].astype(np.int32), table[:, 2], table[:, 3:])


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate, and print both figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="VOC 2007's folder")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights", default="coco", help="the body's start: coco, imagenet:FILE, a file")
    parser.add_argument("--minutes", type=float, default=115.0, help="for the training")
    parser.add_argument("--side", type=int, default=320, help="short side of photographs, in pixels")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=0.005, help="of the heads: twice that")
    parser.add_argument("--warm-up", type=int, default=200, help="batches in which the rate rises")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--val-split", default="val_unseen")
    parser.add_argument("--limit", type=int, help="only the first photographs of each part")
    parser.add_argument("--ours", help="a detector of this package, to be measured too")
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args(argv)
    print(machine_line("numpy", "torch", "torchvision"), flush=True)
    keep_freed_memory()
    runtime = choose_runtime(asked.device)
    sets = [open_dataset("voc", asked.root, split) for split in ("train", asked.val_split)]
    dataset, val = (Subset(one, range(min(len(one), asked.limit or len(one)))) for one in sets)
    asked.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(asked.seed)
    network = detector_of(len(dataset.class_names), asked.weights, asked.side).to(runtime.device)
    train(asked, network, Photographs(dataset, asked.batch, asked.seed), runtime)
    table, truth = detections_of(network, val, runtime), val.ground_truths()
    result = evaluate_by(PROTOCOL, truth, table)
    drawn = resample_images(Evaluation(title="", result=result, truths=truth, detections=table))
    interval, what = drawn.map_interval(), f"{asked.minutes:g} minutes from {asked.weights}"
    print(f"Faster R-CNN on GoogLeNet with FPN, {what}: mAP@0.5 {100 * np.nanmean(drawn.estimate):.2f} ", end="")
    print(f"({100 * interval.low:.1f} to {100 * interval.high:.1f}), {len(val)} photographs of {asked.val_split}")
    if asked.ours:
        words = ["--dataset", "voc", "--root", asked.root, "--split", asked.val_split, "--protocol", PROTOCOL]
        words += ["--weights", asked.ours, "--device", asked.device]
        words += [] if asked.limit is None else ["--limit", asked.limit]
        print(f"ours, {asked.ours}:", flush=True)
        sys.exit(subprocess.run([sys.executable, str(EVAL_MAP), *map(str, words)], check=False).returncode)


if __name__ == "__main__":
    main()
