"""From a data set to a region classifier: pools of regions, the new layer's start, the loop, the score threshold.

fine_tune: dataset + proposals --region_pool--> RegionSampler --draw, cut_batch--> FineTuning.step
           --run_training (backbones/training.py)--> averaged weights --measured_and_saved--> model.safetensors
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.backbones import GoogLeNet
from inception_rcnn.backbones.checkpoints import tensors_checksum
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training import TrainingRun, run_training
from inception_rcnn.detector.checkpoints import save_region_classifier
from inception_rcnn.detector.region_classifier import ClassifierDescription
from inception_rcnn.detector.training.initial_weights import PretrainedNetwork, start_linear
from inception_rcnn.detector.training.region_labels import LabelledRegions, label_regions, with_truths
from inception_rcnn.detector.training.run import PHOTOGRAPHS, PROPOSALS, WEIGHTS, FineTuned, Propose, measured_and_saved
from inception_rcnn.detector.training.sampling import RegionSampler, SamplingSettings, cut_batch
from inception_rcnn.detector.training.step import FineTuning, TrainingSettings
from inception_rcnn.detector.training.threshold import UNMEASURED, split_rows
from inception_rcnn.structures import InputError, Proposals
from inception_rcnn.structures.dataset import (
    DetectionDataset,
    ImageCache,
    Subset,
    dataset_checksum,
    photograph_checksums,
)
from inception_rcnn.structures.proposals import boxes_checksum
from inception_rcnn.structures.provenance import SeenPart, joined_seen


@dataclass(frozen=True, kw_only=True)
class FineTuneSettings:
    """Everything that decides the result, besides data and pre-trained weights.

    Args:
        training: Schedule and optimizer.
        sampling: How batches are drawn.
        linear_batches: Batches whose frozen features the new layer's linear softmax is fitted to; 0: a random start.
        jitter: Shaken copies of each ground-truth box among the foreground regions.
        save_every: Iterations between two saved states.
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    linear_batches: int = 200
    jitter: int = 4
    save_every: int = 50


def fine_tune(
    dataset: DetectionDataset,
    propose_set: Callable[[], Sequence[Proposals]],
    propose: Propose,
    start: PretrainedNetwork[GoogLeNet],
    description: ClassifierDescription,
    settings: FineTuneSettings,
    runtime: Runtime,
    output: Path,
    *,
    val: DetectionDataset | None = None,
    quiet: bool = False,
) -> FineTuned:
    """Train, measure the score threshold, and return the result, `output`/model.safetensors.

    `output` also keeps `linear.safetensors` (the linear softmax on frozen features, if that is the start) and
    `state.safetensors`, from which a killed run goes on when it is called again with the same data and settings. Every
    image is read once at the start, for its checksum.

    Args:
        dataset: Images and ground truth.
        propose_set: Called for the proposals of each image, in the same order, once it is clear that the run can go on.
        propose: What the classifier will be used with, image (H, W, 3) uint8 RGB -> proposals; for the threshold.
        start: Pre-trained, with C + 1 outputs.
        description: Of the classifier; its summary of the training, what it has seen and its score threshold are
            completed here.
        settings: How to train.
        runtime: Where to compute.
        output: A folder, made if need be.
        val: Images for the score threshold; None: some are held out from `dataset`, see `held_out_rows`.
        quiet: Show no progress.

    Raises:
        InputError: Proposals, network or description do not fit the data set, or there is nothing to learn from.
        CheckpointError: `output` holds the state of another run; the text names the difference.
    """
    _check_fit(dataset, start.network, description)
    rows, images = split_rows(dataset, val, settings.training.seed)
    state = output / "state.safetensors"
    how = _how(settings, len(dataset) - len(rows))
    files = photograph_checksums(dataset)
    run = _run_of(dataset, files, start, description, how)
    run.check_state(state)  # before the proposals, which take long
    proposals = propose_set()
    if len(proposals) != len(dataset):
        raise InputError(f"there are proposals of {len(proposals)} images, the data set has {len(dataset)}")
    run = replace(run, checksums={**run.checksums, PROPOSALS: boxes_checksum(proposals)})
    summary = {**description.training, **start.origin, "images": len(rows), **how}
    part = SeenPart.of_files(str(description.training.get("data", "unnamed")), [files[row] for row in rows])
    seen = joined_seen([part], start.seen, description.seen)
    description = replace(description, score_threshold=UNMEASURED, training=summary, seen=seen)
    _train(
        Subset(dataset, rows),
        [proposals[row] for row in rows],
        start.network,
        description,
        settings,
        runtime,
        run,
        state,
        quiet=quiet,
    )
    result = output / "model.safetensors"
    return measured_and_saved(result, start.network, description, propose, images, runtime, quiet=quiet)


def region_pool(
    dataset: DetectionDataset, proposals: Sequence[Proposals], jitter: int, seed: int
) -> list[LabelledRegions]:
    """Return the labelled regions of every image: its ground truth, shaken copies of it, and its proposals."""
    pool = []
    for index, proposed in enumerate(proposals):
        truth = dataset.ground_truth(index)
        rng = np.random.default_rng([seed, index])
        pool.append(with_truths(label_regions(proposed.boxes, truth), truth, jitter, rng))
    return pool


def _check_fit(dataset: DetectionDataset, network: GoogLeNet, description: ClassifierDescription) -> None:
    if network.num_classes != len(dataset.class_names) + 1:
        raise InputError(
            f"the network has {network.num_classes} outputs; {len(dataset.class_names)} classes and background need "
            f"{len(dataset.class_names) + 1}"
        )
    if description.class_names != dataset.class_names:
        raise InputError("the description's class_names are not the data set's, or in another order")


def _how(settings: FineTuneSettings, held_out: int) -> dict[str, Any]:
    """Return the settings as they stand in the state and in the summary of the training."""
    return {
        **asdict(settings.training),
        "sampling": asdict(settings.sampling),
        "jitter": settings.jitter,
        "linear_batches": settings.linear_batches,
        "held_out": held_out,
    }


def _run_of(
    dataset: DetectionDataset,
    files: Sequence[str],
    start: PretrainedNetwork[GoogLeNet],
    description: ClassifierDescription,
    how: dict[str, Any],
) -> TrainingRun:
    """Return what decides the result, the proposals excepted; `files` are the checksums of all images."""
    weights = start.network.state_dict()
    known = {name: one for name, one in weights.items() if start.knows_classes or not name.startswith("classifier.")}
    return TrainingRun(
        class_names=dataset.class_names,
        checksums={WEIGHTS: tensors_checksum(known), PHOTOGRAPHS: dataset_checksum(dataset, files)},
        settings={
            **how,
            "input_spec": description.input_spec.to_dict(),
            "proposal_settings": description.proposal_settings,
        },
    )


def _train(
    dataset: DetectionDataset,
    proposals: Sequence[Proposals],
    network: GoogLeNet,
    description: ClassifierDescription,
    settings: FineTuneSettings,
    runtime: Runtime,
    run: TrainingRun,
    state: Path,
    *,
    quiet: bool,
) -> None:
    """Train the network in place, from its state if there is one; at the end it has the averaged weights."""
    spec, images = description.input_spec, ImageCache(dataset.load_image)
    pool = region_pool(dataset, proposals, settings.jitter, settings.sampling.seed)
    sampler = RegionSampler(pool, len(dataset.class_names), settings.sampling)
    state.parent.mkdir(parents=True, exist_ok=True)
    if settings.linear_batches and not state.exists():
        start_linear(network, sampler, images, spec, runtime, settings.linear_batches, quiet=quiet)
        linear = replace(description, training=_linear_summary(description.training))
        save_region_classifier(state.with_name("linear.safetensors"), network, linear)
    tuning = FineTuning(network, spec, settings.training, runtime)

    def draw(number: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        batch = sampler.draw(number)
        return cut_batch(images, batch, spec), batch.labels

    run_training(
        tuning.averaged,
        draw,
        lambda batch: {"loss": tuning.step(*batch)},
        run,
        state,
        iterations=settings.training.iterations,
        save_every=settings.save_every,
        title="fine-tuning",
        quiet=quiet,
    )
    network.load_state_dict(tuning.averaged.result())


def _linear_summary(summary: dict[str, Any]) -> dict[str, Any]:
    kept = ("data", "pretrained", "images", "sampling", "jitter", "linear_batches")
    return {"recipe": "linear softmax on frozen features", **{name: summary[name] for name in kept if name in summary}}
