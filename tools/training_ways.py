"""What the command `train` hands on: its options by what they are of, and from them the two ways of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from inception_rcnn.tools.training_sets import TrainingSet

if TYPE_CHECKING:
    from torch import nn

    from inception_rcnn.backbones.runtime import Runtime
    from inception_rcnn.detector.region_classifier import ClassifierDescription
    from inception_rcnn.detector.region_pooling import PooledNetwork, PoolingSpec
    from inception_rcnn.detector.training.distributed import Team
    from inception_rcnn.detector.training.pooled.distillation import DistillationSettings
    from inception_rcnn.detector.training.record import RecordSettings
    from inception_rcnn.detector.training.run import FineTuned, TrainingTask
    from inception_rcnn.detector.training.sources import TrainingSource
    from inception_rcnn.proposals.proposer import Proposer
    from inception_rcnn.structures import Proposals
    from inception_rcnn.structures.dataset import DetectionDataset
    from inception_rcnn.structures.provenance import SeenPart

# Which options are of what.
_OF_SCHEDULE = (
    *("iterations", "learning_rate", "warm_up", "schedule", "train_from", "frozen", "hard_examples", "averaging"),
)
HEAD = "classifier"
_OF_POOLING = ("short_side", "fine_channels")
_OF_BATCHES = (
    *("photographs", "regions_each", "scales", "cells", "photometric", "random_interpolation", "repeat_below"),
)
_OF_RUN = ("best", "jitter", "smoothing")
_OF_TEACHERS = ("teacher", "teacher_share", "teacher_temperature")
OF_POOL = (
    *(*_OF_POOLING, *_OF_BATCHES, *_OF_RUN, *_OF_TEACHERS),
    *("box_regression", "objectness_power", "own_classes", "warm_head"),
)
OF_WARP = ("linear_batches",)
OF_RECORD = ("log_every", "validate_every", "validate_on", "tensorboard")


@dataclass(frozen=True)
class Job:
    """What both ways of training need; `propose_sets` are called once each, for the proposals of every image."""

    sets: Sequence[TrainingSet]
    propose_sets: Sequence[Callable[[], Sequence[Proposals]]]
    proposer: Proposer
    weights: str
    described: ClassifierDescription | None
    val: DetectionDataset | None
    runtime: Runtime
    output: Path
    licence: str
    seed: int
    record: RecordSettings
    team: Team
    quiet: bool


def _sources(job: Job) -> list[TrainingSource]:
    """Return what to train on."""
    from inception_rcnn.detector.training.sources import TrainingSource

    sets = zip(job.sets, job.propose_sets, strict=True)
    return [TrainingSource(one.name, one.dataset, propose) for one, propose in sets]


def warped_training(job: Job, given: Mapping[str, Any], *, paper: bool) -> FineTuned:
    """Fine-tune a classifier whose regions are warped."""
    from inception_rcnn.detector.region_classifier import REGION_INPUT, ClassifierDescription
    from inception_rcnn.detector.training.initial_weights import pretrained_network
    from inception_rcnn.detector.training.settings import TrainingSettings
    from inception_rcnn.detector.training.warped.sampling import SamplingSettings
    from inception_rcnn.detector.training.warped.trainer import FineTuneSettings, fine_tune

    images = job.sets[0].dataset
    start = pretrained_network(job.weights, images.class_names, seed=job.seed)
    linear_batches = given.get("linear_batches", 0 if start.knows_classes else 200)
    settings = FineTuneSettings(
        training=TrainingSettings(
            # R-CNN's 10 is meant for a random start.
            new_layer_factor=2.0 if linear_batches or start.knows_classes else 10.0,
            seed=job.seed,
            **_schedule(given, start.network),
        ),
        sampling=SamplingSettings(uniform=paper, seed=job.seed),
        minutes=given.get("minutes"),
        linear_batches=linear_batches,
        jitter=0 if paper else 4,
    )
    description = ClassifierDescription(
        class_names=images.class_names,
        input_spec=REGION_INPUT,
        proposal_settings=job.proposer.settings.to_dict(),
        licence=job.licence,
        seen=_seen_by_multibox(job.proposer),
        lrn=job.described is None or job.described.lrn,
    )
    return fine_tune(
        TrainingTask(
            sources=_sources(job),
            propose=job.proposer,
            start=start,
            description=description,
            runtime=job.runtime,
            output=job.output,
            val=job.val,
            record=job.record,
            team=job.team,
            quiet=job.quiet,
        ),
        settings,
    )


def pooled_training(job: Job, given: Mapping[str, Any]) -> FineTuned:
    """Train a classifier whose regions are read off one map."""
    from inception_rcnn.detector.region_pooling import PoolingSpec
    from inception_rcnn.detector.training.initial_weights import pretrained_pooled
    from inception_rcnn.detector.training.pooled.sampling import PooledSamplingSettings, stored_side
    from inception_rcnn.detector.training.pooled.trainer import PooledTrainingSettings, train_pooled
    from inception_rcnn.detector.training.sources import classes_to_train

    before = job.described if job.described is not None and job.described.pooling is not None else None
    known = None if before is None or "own_classes" in given else before.class_names
    names = classes_to_train([one.dataset for one in job.sets], known)
    spec = replace((before and before.pooling) or PoolingSpec(), **picked(given, _OF_POOLING))
    description = _pooled_description(job, given, before, names, spec)
    start = pretrained_pooled(
        job.weights,
        names,
        spec,
        box_regression=description.box_regression,
        seed=job.seed,
        **picked(given, ("warm_head",)),
    )
    batches = picked(given, _OF_BATCHES)
    for name, kind in (("scales", float), ("cells", int)):
        if name in batches:
            batches[name] = _numbers(name, batches[name], kind)
    if "regions_each" in batches:
        batches["regions"] = batches.pop("regions_each")
    sampling = PooledSamplingSettings(seed=job.seed, **batches)
    defaults = PooledTrainingSettings()
    settings = replace(
        defaults,
        training=replace(
            defaults.training,
            new_layer_factor=2.0 if start.knows_classes else 5.0,
            seed=job.seed,
            **_schedule(given, start.network),
        ),
        sampling=replace(sampling, stored_side=stored_side(spec.short_side, sampling.scales)),
        minutes=given.get("minutes"),
        distillation=_distillation(given),
        save_every=50 if job.runtime.device.type == "cpu" else 500,  # about as often, in minutes
        **picked(given, _OF_RUN),
    )
    if names != job.sets[0].dataset.class_names and job.team.leads:
        typer.echo(f"the {len(names)} classes of {job.weights}; --own-classes for those of {job.sets[0].name} alone")
    return train_pooled(
        TrainingTask(
            sources=_sources(job),
            propose=job.proposer,
            start=start,
            description=description,
            runtime=job.runtime,
            output=job.output,
            val=job.val,
            record=job.record,
            team=job.team,
            quiet=job.quiet,
        ),
        settings,
        teachers=_teachers(given.get("teacher", ()), names),
    )


def _distillation(given: Mapping[str, Any]) -> DistillationSettings:
    """Return how teachers are listened to.

    Raises:
        typer.BadParameter: It is said how, and there is none.
    """
    from inception_rcnn.detector.training.pooled.distillation import DistillationSettings

    options = picked(given, ("teacher_share", "teacher_temperature"))
    if options and not given.get("teacher"):
        raise typer.BadParameter(
            "is for teachers; name one with --teacher", param_hint=option_name(next(iter(options)))
        )
    return DistillationSettings(**{name.removeprefix("teacher_"): value for name, value in options.items()})


def _teachers(weights: Sequence[str], class_names: tuple[str, ...]) -> list[PooledNetwork]:
    """Return trained networks to learn from.

    Raises:
        InputError: One warps its regions, or has other classes.
    """
    from inception_rcnn.detector.checkpoints import read_region_network
    from inception_rcnn.detector.region_pooling import PooledNetwork
    from inception_rcnn.structures import InputError

    found = []
    for name in weights:
        network, description = read_region_network(name)
        if not isinstance(network, PooledNetwork):
            raise InputError(f"teacher {name} warps its regions; only pooled networks teach")
        if description.class_names != class_names:
            raise InputError(f"teacher {name} has other classes than what is trained; teachers have the same")
        found.append(network)
    return found


def _schedule(given: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    """Return what was given of schedule and optimizer, for the network that will learn."""
    from inception_rcnn.backbones import STAGES
    from inception_rcnn.detector.training.settings import parts_of

    chosen = picked(given, _OF_SCHEDULE)
    if "head_only" not in given:
        return {**chosen, "frozen": tuple(chosen.get("frozen", ()))}
    return {**chosen, "train_from": STAGES[-1], "frozen": tuple(part for part in parts_of(network) if part != HEAD)}


def _pooled_description(
    job: Job,
    given: Mapping[str, Any],
    before: ClassifierDescription | None,
    class_names: tuple[str, ...],
    spec: PoolingSpec,
) -> ClassifierDescription:
    """Return what the classifier will say of itself: as asked for, as the one it starts from, or as measured."""
    from inception_rcnn.backbones import CAFFE_INPUT
    from inception_rcnn.detector.region_classifier import ClassifierDescription

    moves = given.get("box_regression", True if before is None else before.box_regression)
    # From bench_regions: moved boxes fall together more closely than proposals.
    measured = {"objectness_power": 0.5, "iou_threshold": 0.4 if moves else 0.3, "max_proposals": 300}
    suits = measured if before is None else {name: getattr(before, name) for name in measured}
    if before is not None and before.class_names == class_names:  # what its scores mean stays about the same
        suits |= {"score_threshold": before.score_threshold, "score_calibration": before.score_calibration}
    return ClassifierDescription(
        class_names=class_names,
        input_spec=CAFFE_INPUT if job.described is None else replace(job.described.input_spec, context=0),
        proposal_settings=job.proposer.settings.to_dict(),
        licence=job.licence,
        pooling=spec,
        box_regression=moves,
        lrn=job.described is None or job.described.lrn,
        seen=_seen_by_multibox(job.proposer),
        **{**suits, **picked(given, ("objectness_power",))},
    )


def _seen_by_multibox(proposer: Proposer) -> tuple[SeenPart, ...]:
    """Return what the MultiBox that proposes learned from, as far as its file says."""
    from inception_rcnn.proposals.network.checkpoints import multibox_seen

    return multibox_seen(proposer.settings.multibox) if proposer.settings.needs_multibox else ()


def picked(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def _numbers(name: str, text: str, kind: Callable[[str], float]) -> tuple[float, ...]:
    """Return the numbers of "1,1.25,1.5".

    Raises:
        typer.BadParameter: A part is no such number.
    """
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"should be numbers with commas between them, got {text!r}", param_hint=option_name(name)
        ) from None


def option_name(name: str) -> str:
    return f"--{name.replace('_', '-')}"
