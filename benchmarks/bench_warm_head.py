"""What a warm head is worth: the same training of pooled regions with it and without, from ImageNet's weights.

    python benchmarks/bench_warm_head.py googlenet.npz --root coco_mini --iterations 200 [--device cuda]

Printed for each seed and way: the mean loss of each tenth of the iterations, and mAP@0.5 (COCO's rules) on the part
that is not trained on. Both ways draw the same batches. Proposals are made at the start unless files of `propose` are
named; so are those of the photographs that are scored.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import machine_line

from inception_rcnn.backbones import CAFFE_INPUT
from inception_rcnn.backbones.runtime import Runtime, choose_runtime, keep_freed_memory
from inception_rcnn.datasets import open_dataset
from inception_rcnn.detector import DetectionSettings, Detector, Ensemble
from inception_rcnn.detector.region_classifier import ClassifierDescription, classifier_of
from inception_rcnn.detector.region_pooling import PoolingSpec
from inception_rcnn.detector.training.initial_weights import pretrained_pooled
from inception_rcnn.detector.training.pooled.sampling import PooledSamplingSettings, stored_side
from inception_rcnn.detector.training.pooled.step import PooledTuning
from inception_rcnn.detector.training.pooled.trainer import PooledTrainer, PooledTrainingSettings
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.detector.training.sources import TrainingPhotographs, TrainingSource
from inception_rcnn.evaluation import evaluate_coco
from inception_rcnn.proposals import ProposalSettings, Proposer
from inception_rcnn.proposals.stored import proposals_from_file
from inception_rcnn.structures import Proposals, progress_bar
from inception_rcnn.structures.dataset import DetectionDataset, Subset

POOLING = PoolingSpec()


def proposals_of(dataset: DetectionDataset, count: int, proposer: Proposer, file: Path | None) -> Sequence[Proposals]:
    """Return the proposals of the first photographs, from a file of all or made now."""
    if file is not None:
        return proposals_from_file(file, dataset)[:count]
    made = []
    with progress_bar(count, "proposals") as bar:
        for row in range(count):
            made.append(proposer(dataset.load_image(row)))
            bar.advance(1)
    return made


def trained(
    weights: Path, photographs: TrainingPhotographs, settings: PooledTrainingSettings, runtime: Runtime, *, warm: bool
) -> tuple[list[float], Ensemble]:
    """Return the loss of every iteration, and the classifier with the averaged weights."""
    names = photographs.class_names
    start = pretrained_pooled(weights, names, POOLING, warm_head=warm, seed=settings.training.seed)
    description = ClassifierDescription(names, CAFFE_INPUT, pooling=POOLING, box_regression=True)
    trainer = PooledTrainer(photographs, start.network, description, settings, runtime)
    tuning, losses = PooledTuning(start.network, settings.training, runtime), []
    with progress_bar(settings.training.iterations, "warm" if warm else "cold") as bar:
        for iteration in range(settings.training.iterations):
            losses.append(trainer.step(tuning, trainer.draw(iteration))["loss"])
            bar.advance(1)
    start.network.load_state_dict(tuning.averaged.result())
    return losses, Ensemble([classifier_of(start.network, description, runtime)])


def mean_ap(ensemble: Ensemble, proposer: Proposer, val: DetectionDataset, proposals: Sequence[Proposals]) -> float:
    """Return mAP@0.5 of a classifier on given proposals."""
    settings = DetectionSettings(objectness_power=0.5, iou_threshold=0.4, max_proposals=300, max_detections=None)
    detector, found = Detector(proposer, ensemble, settings, proposer.multibox), []
    with progress_bar(len(val), "images") as bar:
        for row in range(len(val)):
            prepared = detector.prepare(val.load_image(row), proposals[row])
            found.append(detector.postprocess(detector.score(prepared)))
            bar.advance(1)
    return evaluate_coco(val.ground_truths(), found).stats["AP50"] or 0.0


def main() -> None:
    """Train both ways with each seed, print a row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="GoogLeNet trained on ImageNet")
    parser.add_argument("--dataset", default="coco")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--val-split", default="val")
    parser.add_argument("--proposals", type=Path, help="of the part to train on")
    parser.add_argument("--val-proposals", type=Path, help="of the other part")
    parser.add_argument("--limit", type=int, help="only the first N photographs of either part")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=0.005)
    parser.add_argument("--photographs", type=int, default=2)
    parser.add_argument("--regions-each", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    runtime = choose_runtime(arguments.device)
    proposer = Proposer.load(ProposalSettings(), runtime)
    opened = [open_dataset(arguments.dataset, arguments.root, part) for part in (arguments.split, arguments.val_split)]
    train, val = (Subset(one, range(len(one))[: arguments.limit]) for one in opened)
    files = (arguments.proposals, arguments.val_proposals)
    made = [
        proposals_of(whole, len(part), proposer, file)
        for whole, part, file in zip(opened, (train, val), files, strict=True)
    ]
    print(f"{machine_line()}\n{len(train)} photographs, {len(train.class_names)} classes; scored on {len(val)}\n")
    print("| seed | warm head | mean loss of each tenth | mAP@0.5 |\n|---|---|---|---|")
    for seed in range(arguments.seeds):
        sampling = PooledSamplingSettings(photographs=arguments.photographs, regions=arguments.regions_each, seed=seed)
        sampling = replace(sampling, stored_side=stored_side(POOLING.short_side, sampling.scales))
        schedule = TrainingSettings(
            iterations=arguments.iterations,
            learning_rate=arguments.learning_rate,
            warm_up=min(200, arguments.iterations // 10),
            train_from="3a",
            averaging=1 - 10 / max(20, arguments.iterations),
            seed=seed,
        )
        settings = PooledTrainingSettings(training=schedule, sampling=sampling)
        source = TrainingSource("train", train, lambda: made[0])
        photographs = TrainingPhotographs([source], train.class_names, stored_side=sampling.stored_side, best=600)
        for warm in (False, True):
            losses, ensemble = trained(arguments.weights, photographs, settings, runtime, warm=warm)
            # On a GPU a step gives the loss of the one before it, the first one none.
            tenths = " ".join(f"{np.nanmean(part):.2f}" for part in np.array_split(np.array(losses), 10) if len(part))
            score = mean_ap(ensemble, proposer, val, made[1])
            print(f"| {seed} | {'yes' if warm else 'no'} | {tenths} | {100 * score:.2f} |", flush=True)


if __name__ == "__main__":
    main()
