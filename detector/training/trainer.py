"""Training a region classifier from a data set: pools of regions, the new layer's start, the loop, the result."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from inception_rcnn.backbones import GoogLeNet
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.detector.checkpoints import save_region_classifier
from inception_rcnn.detector.region_classifier import ClassifierDescription
from inception_rcnn.detector.training.initial_weights import start_linear
from inception_rcnn.detector.training.region_labels import LabelledRegions, label_regions, with_truths
from inception_rcnn.detector.training.sampling import RegionSampler, SamplingSettings, cut_batch
from inception_rcnn.detector.training.step import FineTuning, TrainingSettings
from inception_rcnn.structures import GroundTruth, InputError, Proposals
from inception_rcnn.structures.dataset import ImageCache
from inception_rcnn.structures.progress import progress_bar


class TrainingSet(Protocol):
    """What is needed of a data set."""

    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """How many images."""

    def load_image(self, index: int, /) -> npt.NDArray[np.uint8]:
        """Pixels, (H, W, 3) uint8 RGB."""

    def ground_truth(self, index: int, /) -> GroundTruth:
        """What is on it."""


@dataclass(frozen=True, kw_only=True)
class FineTuneSettings:
    """Everything that decides the result, besides data and pre-trained weights.

    Attributes:
        training: schedule and optimizer.
        sampling: how batches are drawn.
        linear_batches: batches whose frozen features the new layer's linear softmax is fitted to; 0: a random start.
        jitter: shaken copies of each ground-truth box among the foreground regions.
        save_every: iterations between two saved states.
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    linear_batches: int = 200
    jitter: int = 4
    save_every: int = 50


def region_pool(dataset: TrainingSet, proposals: Sequence[Proposals], jitter: int, seed: int) -> list[LabelledRegions]:
    """The labelled regions of every photograph: its ground truth, shaken copies of it, and its proposals."""
    pool = []
    for index, proposed in enumerate(proposals):
        truth = dataset.ground_truth(index)
        rng = np.random.default_rng([seed, index])
        pool.append(with_truths(label_regions(proposed.boxes, truth), truth, jitter, rng))
    return pool


def fine_tune(
    dataset: TrainingSet,
    proposals: Sequence[Proposals],
    network: GoogLeNet,
    description: ClassifierDescription,
    settings: FineTuneSettings,
    runtime: Runtime,
    output: Path,
    *,
    quiet: bool = False,
) -> Path:
    """Trains, and returns the file of the result, `output`/model.safetensors.

    `output` also keeps `linear.safetensors` (the linear softmax on frozen features, if that is the start) and
    `state.safetensors`, from which a killed run goes on when it is called again with the same settings.

    Args:
        dataset: photographs and ground truth.
        proposals: of each photograph, in the same order.
        network: pre-trained, with C + 1 outputs, float32.
        description: of the classifier; its summary of the training is completed here.
        settings: how.
        runtime: where.
        output: a folder, made if need be.
        quiet: no progress.
    Raises:
        InputError: proposals, network or description do not fit the data set, or there is nothing to learn from.
        CheckpointError: `output` holds the state of a run with other settings.
    """
    _check_fit(dataset, proposals, network, description)
    output.mkdir(parents=True, exist_ok=True)
    sampler = RegionSampler(
        region_pool(dataset, proposals, settings.jitter, settings.sampling.seed),
        len(dataset.class_names),
        settings.sampling,
    )
    images = ImageCache(dataset.load_image)
    note = {"sampling": asdict(settings.sampling), "jitter": settings.jitter, "linear_batches": settings.linear_batches}
    summary = {**description.training, "images": len(dataset), **asdict(settings.training), **note}
    description = replace(description, training=summary)
    state, result = output / "state.safetensors", output / "model.safetensors"
    resumed = state.exists()
    if settings.linear_batches and not resumed:
        start_linear(network, sampler, images, description.input_spec, runtime, settings.linear_batches, quiet=quiet)
        save_region_classifier(
            output / "linear.safetensors", network, replace(description, training=_linear_summary(summary))
        )
    tuning = FineTuning(network, description.input_spec, settings.training, runtime)
    if resumed:
        tuning.resume(state, note)
    _loop(tuning, sampler, images, settings, state, note, quiet=quiet)
    network.load_state_dict(tuning.result())
    save_region_classifier(result, network, description)
    return result


def _check_fit(
    dataset: TrainingSet, proposals: Sequence[Proposals], network: GoogLeNet, description: ClassifierDescription
) -> None:
    if len(proposals) != len(dataset):
        raise InputError(f"there are proposals of {len(proposals)} photographs, the data set has {len(dataset)}")
    if network.num_classes != len(dataset.class_names) + 1:
        raise InputError(
            f"the network has {network.num_classes} outputs; {len(dataset.class_names)} classes and background need "
            f"{len(dataset.class_names) + 1}"
        )
    if description.class_names != dataset.class_names:
        raise InputError("the description's class_names are not the data set's, or in another order")


def _loop(
    tuning: FineTuning,
    sampler: RegionSampler,
    images: ImageCache,
    settings: FineTuneSettings,
    state: Path,
    note: dict[str, Any],
    *,
    quiet: bool,
) -> None:
    total = settings.training.iterations
    with ThreadPoolExecutor(1) as ahead, progress_bar(total, "fine-tuning", quiet=quiet) as bar:
        bar.advance(tuning.iteration)
        batch = sampler.draw(tuning.iteration)
        crops = ahead.submit(cut_batch, images, batch, tuning.spec)
        losses: deque[float] = deque(maxlen=50)
        moments: deque[float] = deque([time.monotonic()], maxlen=20)
        while tuning.iteration < total:
            pixels, labels = crops.result(), batch.labels
            batch = sampler.draw(tuning.iteration + 1)
            crops = ahead.submit(cut_batch, images, batch, tuning.spec)
            step = tuning.step(pixels, labels)
            losses.append(step.loss)
            moments.append(time.monotonic())
            rate = (len(moments) - 1) * len(labels) / (moments[-1] - moments[0])
            bar.advance(1, **{"loss": f"{np.mean(losses):.3f}", "regions/s": f"{rate:.0f}"})
            if tuning.iteration % settings.save_every == 0 or tuning.iteration == total:
                tuning.save(state, note)


def _linear_summary(summary: dict[str, Any]) -> dict[str, Any]:
    kept = ("data", "pretrained", "images", "sampling", "jitter", "linear_batches")
    return {"recipe": "linear softmax on frozen features", **{name: summary[name] for name in kept if name in summary}}
