"""From data sets to a pooled detector: labelled regions, the loop, the score threshold.

train_pooled: sources --TrainingPhotographs--> PooledSampler --draw--> to_device --PooledTuning.step-->
              --run_training (backbones/training.py)--> averaged weights --measure_threshold--> model.safetensors
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.backbones.checkpoints import tensors_checksum
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training import TrainingRun, run_training
from inception_rcnn.detector.checkpoints import save_region_classifier
from inception_rcnn.detector.ensemble import Ensemble
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.detector.postprocessing import DetectionSettings
from inception_rcnn.detector.region_classifier import ClassifierDescription, PooledClassifier
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.pooled_sampling import (
    PooledBatch,
    PooledSampler,
    PooledSamplingSettings,
    canvas_shape,
)
from inception_rcnn.detector.training.pooled_step import PooledTuning, StoredPhotographs, to_device
from inception_rcnn.detector.training.sources import TrainingPhotographs, TrainingSource
from inception_rcnn.detector.training.step import TrainingSettings
from inception_rcnn.detector.training.threshold import UNMEASURED, MeasuredThreshold, measure_threshold
from inception_rcnn.structures import InputError, Proposals
from inception_rcnn.structures.dataset import DetectionDataset, dataset_checksum
from inception_rcnn.structures.proposals import boxes_checksum

Propose = Callable[[NDArray[np.uint8]], Proposals]


def _pooled_schedule() -> TrainingSettings:
    return TrainingSettings(learning_rate=0.01, warm_up=200, train_from="3a")


@dataclass(frozen=True, kw_only=True)
class PooledTrainingSettings:
    """Everything that decides the result, besides data and pre-trained weights.

    Args:
        training: Schedule and optimizer.
        sampling: How batches are drawn.
        jitter: Shaken copies of each object among the foreground regions.
        smoothing: Label smoothing, see `region_loss`.
        save_every: Iterations between two saved states.
    """

    training: TrainingSettings = field(default_factory=_pooled_schedule)
    sampling: PooledSamplingSettings = field(default_factory=PooledSamplingSettings)
    jitter: int = 4
    smoothing: float = 0.0
    save_every: int = 200


@dataclass(frozen=True, eq=False)
class PooledStart:
    """Where a pooled training starts.

    Args:
        network: With an output for each class and one for background, float32.
        origin: Entries for the summary of the training: the weights' name and how they were trained, as far as known.
    """

    network: PooledNetwork
    origin: dict[str, Any]


def train_pooled(
    sources: Sequence[TrainingSource],
    propose: Propose,
    start: PooledStart,
    description: ClassifierDescription,
    settings: PooledTrainingSettings,
    runtime: Runtime,
    output: Path,
    *,
    val: DetectionDataset | None = None,
    quiet: bool = False,
) -> tuple[Path, MeasuredThreshold]:
    """Train, measure the score threshold, and return the result, `output`/model.safetensors, and the threshold.

    `output` also keeps `state.safetensors`, from which a killed run goes on when it is called again with the same data
    and settings. Every photograph is read once at the start, for its checksum.

    Args:
        sources: Photographs, objects and proposals; labels of several data sets are matched by name, and a class that
            a data set does not name counts on its photographs as unknown, neither object nor background.
        propose: What the detector will be used with, image (H, W, 3) uint8 RGB -> proposals; for the threshold.
        start: Pre-trained.
        description: Of the classifier; its summary of the training and its score threshold are completed here.
        settings: How to train.
        runtime: Where to compute.
        output: A folder, made if need be.
        val: Images for the score threshold; None: it is not measured.
        quiet: Show no progress.

    Raises:
        InputError: A data set has none of the classes, or there is nothing to learn from.
        CheckpointError: `output` holds the state of another run; the text names the difference.
    """
    if start.network.num_classes != len(description.class_names):
        raise InputError(
            f"the network tells {start.network.num_classes} classes apart, the description names "
            f"{len(description.class_names)}"
        )
    state = output / "state.safetensors"
    run = _run_of(sources, start, description, settings)
    run.check_state(state)
    photographs = TrainingPhotographs(
        sources,
        description.class_names,
        stored_side=settings.sampling.stored_side,
        jitter=settings.jitter,
        seed=settings.sampling.seed,
    )
    output.mkdir(parents=True, exist_ok=True)
    seen = train_on(photographs, start.network, description, settings, runtime, run, state, quiet=quiet)
    summary = {
        **description.training,
        **start.origin,
        "data": [source.name for source in sources],
        "images": len(photographs),
        "photographs_seen": seen,
        **_how(settings),
    }
    description = replace(description, score_threshold=UNMEASURED, training=summary)
    threshold = MeasuredThreshold(UNMEASURED, "not measured: no part was named for it")
    if val is not None:
        classifier = PooledClassifier(copy.deepcopy(start.network), description, runtime)
        settings_of_use = DetectionSettings(objectness_power=description.objectness_power)
        threshold = measure_threshold(Detector(propose, Ensemble([classifier]), settings_of_use), val, quiet=quiet)
    summary = {**summary, "score_threshold": threshold.origin}
    result = output / "model.safetensors"
    save_region_classifier(
        result, start.network, replace(description, score_threshold=threshold.value, training=summary)
    )
    return result, threshold


def train_on(
    photographs: TrainingPhotographs,
    network: PooledNetwork,
    description: ClassifierDescription,
    settings: PooledTrainingSettings,
    runtime: Runtime,
    run: TrainingRun,
    state: Path,
    *,
    quiet: bool = False,
) -> int:
    """Train the network in place, from its state if there is one, and return how many photographs it has seen.

    At the end it has the averaged weights. Args: see `train_pooled`.
    """
    side, spec = settings.sampling.stored_side, description.input_spec
    sizes = [one.size for one in photographs.photographs]
    sampler = PooledSampler(
        [one.regions for one in photographs.photographs],
        [one.truths for one in photographs.photographs],
        [canvas_shape(*size, side) for size in sizes],
        len(description.class_names),
        settings.sampling,
    )
    stored = StoredPhotographs(photographs.load, sizes, side, spec.fill, runtime.device, quiet=quiet)
    unknown = photographs.unknown()
    tuning = PooledTuning(network, settings.training, runtime, smoothing=settings.smoothing)

    def step(batch: PooledBatch) -> dict[str, float]:
        lacking = None if unknown is None else unknown[batch.images]
        return tuning.step(to_device(batch, stored, spec, runtime.device, lacking))

    run_training(
        tuning.averaged,
        sampler.draw,
        step,
        run,
        state,
        iterations=settings.training.iterations,
        save_every=settings.save_every,
        title="training",
        quiet=quiet,
    )
    network.load_state_dict(tuning.averaged.result())
    return settings.training.iterations * settings.sampling.photographs


def _how(settings: PooledTrainingSettings) -> dict[str, Any]:
    """Return the settings as they stand in the state and in the summary of the training."""
    return {
        **asdict(settings.training),
        "sampling": asdict(settings.sampling),
        "jitter": settings.jitter,
        "smoothing": settings.smoothing,
    }


def _run_of(
    sources: Sequence[TrainingSource],
    start: PooledStart,
    description: ClassifierDescription,
    settings: PooledTrainingSettings,
) -> TrainingRun:
    """Return what decides the result; it reads every photograph."""
    parts = [dataset_checksum(source.dataset) for source in sources]
    boxes = [boxes_checksum(source.proposals) for source in sources]
    return TrainingRun(
        class_names=description.class_names,
        checksums={
            "pre-trained weights (--pretrained)": tensors_checksum(start.network.state_dict()),
            "photographs or their annotations": hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
            "proposals (--proposals, --source)": hashlib.sha256(json.dumps(boxes).encode()).hexdigest(),
        },
        settings={
            **_how(settings),
            "input_spec": description.input_spec.to_dict(),
            "pooling": start.network.spec.to_dict(),
            "proposal_settings": description.proposal_settings,
        },
    )
