"""From data sets and a few words to a trained detector: `train_detector`, which `inception-rcnn train` calls.

data sets, options --> start, description, settings --> TrainingTask --train_pooled or fine_tune--> model.safetensors
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack, get_type_hints

import torch
from torch import nn

from inception_rcnn.backbones import CAFFE_INPUT, STAGES
from inception_rcnn.backbones.runtime import Runtime, choose_runtime, keep_freed_memory
from inception_rcnn.backbones.training.distributed import Team
from inception_rcnn.backbones.training.sgd import parts_of
from inception_rcnn.detector.checkpoints import read_region_network
from inception_rcnn.detector.loading import chosen_weights
from inception_rcnn.detector.region_classifier import REGION_INPUT, WAYS, ClassifierDescription
from inception_rcnn.detector.region_pooling import PooledNetwork, PoolingSpec
from inception_rcnn.detector.training.initial_weights import (
    classifier_behind,
    learned_from,
    pretrained_network,
    pretrained_pooled,
)
from inception_rcnn.detector.training.pooled.distillation import DistillationSettings
from inception_rcnn.detector.training.pooled.sampling import PooledSamplingSettings, stored_side
from inception_rcnn.detector.training.pooled.trainer import PooledTrainingSettings, train_pooled
from inception_rcnn.detector.training.record import RecordSettings
from inception_rcnn.detector.training.run import FineTuned, TrainingTask
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.detector.training.sources import TrainingSource, classes_to_train, stored_names
from inception_rcnn.detector.training.warped.sampling import SamplingSettings
from inception_rcnn.detector.training.warped.trainer import FineTuneSettings, fine_tune
from inception_rcnn.proposals import ProposalSettings, Proposer
from inception_rcnn.proposals.network.checkpoints import multibox_seen, put_beside
from inception_rcnn.proposals.stored import other_setting, proposals_from_file, propose_for_set
from inception_rcnn.structures import InputError, Proposals, progress_bar
from inception_rcnn.structures.dataset import (
    DetectionDataset,
    as_datasets,
    check_dataset,
    dataset_name,
    photographs_in_both,
)
from inception_rcnn.structures.errors import as_declared
from inception_rcnn.structures.files import check_folder
from inception_rcnn.structures.jobs import Share
from inception_rcnn.structures.provenance import SeenPart, joined_seen


class TrainingOptions(TypedDict, total=False):
    """How `train_detector` trains, where it should not be as usual.

    The schedule, of both kinds of regions (`TrainingSettings`): iterations, or minutes, into which as many are fitted;
    learning_rate, warm_up, schedule, train_from, frozen, hard_examples, averaging; head_only, which freezes all but the
    last layer for classes.

    Of warped regions: linear_batches (`FineTuneSettings`).

    Of pooled ones: photographs, regions_each, scales, cells, photometric, random_interpolation, repeat_below
    (`PooledSamplingSettings`); best, jitter, smoothing (`PooledTrainingSettings`); teacher, checkpoints whose answers
    are learned too, with teacher_share and teacher_temperature (`DistillationSettings`); short_side and fine_channels
    (`PoolingSpec`), box_regression, objectness_power; own_classes, the first data set's though the pre-trained detector
    has them and more; warm_head, which starts classes from ImageNet's outputs that are kinds of them.
    """

    iterations: int
    minutes: float
    learning_rate: float
    warm_up: int
    schedule: str
    train_from: str
    frozen: Sequence[str]
    hard_examples: int
    averaging: float
    head_only: bool
    linear_batches: int
    photographs: int
    regions_each: int
    scales: Sequence[float]
    cells: Sequence[int]
    photometric: float
    random_interpolation: bool
    repeat_below: float
    best: int
    jitter: int
    smoothing: float
    teacher: Sequence[str | Path]
    teacher_share: float
    teacher_temperature: float
    short_side: int
    fine_channels: int
    box_regression: bool
    objectness_power: float
    own_classes: bool
    warm_head: bool


_OF_SCHEDULE: Final = (
    *("iterations", "learning_rate", "warm_up", "schedule", "train_from", "frozen", "hard_examples", "averaging"),
)
_OF_POOLING: Final = ("short_side", "fine_channels")
_OF_BATCHES: Final = (
    *("photographs", "regions_each", "scales", "cells", "photometric", "random_interpolation", "repeat_below"),
)
_OF_RUN: Final = ("best", "jitter", "smoothing")
_OF_TEACHERS: Final = ("teacher", "teacher_share", "teacher_temperature")
_OF_POOL: Final = (
    *(*_OF_POOLING, *_OF_BATCHES, *_OF_RUN, *_OF_TEACHERS),
    *("box_regression", "objectness_power", "own_classes", "warm_head"),
)
_OF_WARP: Final = ("linear_batches",)
_HEAD: Final = "classifier"  # the last layer for classes


class OptionError(InputError):
    """An option that does not go with the others.

    Args:
        option: Its name.
        reason: Why, and what to do.
    """

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option} {reason}")
        self.option, self.reason = option, reason

    def __reduce__(self) -> tuple[type[OptionError], tuple[str, str]]:
        """Return what pickle needs, for worker processes."""
        return type(self), (self.option, self.reason)


def train_detector(
    data: DetectionDataset | Sequence[DetectionDataset],
    output: str | Path,
    *,
    pretrained: str | Path | None = None,
    regions: str | None = None,
    paper: bool = False,
    val: DetectionDataset | None = None,
    proposals: str | Path | Sequence[str | Path | None] | None = None,
    source: str = "both",
    multibox: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
    licence: str = "unstated",
    record: RecordSettings | None = None,
    quiet: bool = False,
    **options: Unpack[TrainingOptions],
) -> Path:
    """Fine-tune a detector on data sets, and return its file, `output`/model.safetensors, for `load_detector`.

    A run that was killed goes on where it was when the same call is made again. Processes that torchrun started train
    as one. docs/training.md tells the rest.

    Args:
        data: One data set or several, of any format; their labels are matched by name, and what one does not label is
            unknown on its photographs, neither object nor background.
        output: Folder for the result and everything needed to resume; made if need be.
        pretrained: Where to start: a region classifier, by file or shipped name, or GoogLeNet's ImageNet weights. None:
            the shipped model that does `regions`.
        regions: "pool" or "warp"; None: what the start does, and pool from GoogLeNet's own weights.
        paper: R-CNN's way: regions warped and drawn uniformly, no shaken copies.
        val: To measure the score threshold on, and to validate on; None: some photographs are held out.
        proposals: A file made by `propose` for each data set, None for one whose proposals are made in `output`; None:
            those of all are.
        source: What proposes: "selective-search", "multibox" or "both"; the result will be used with it.
        multibox: Its weights; None: the shipped network. Another file is copied into `output`, beside the result.
        device: "auto", "cpu", "cuda" or "cuda:N".
        seed: Of batches, mirroring, dropout, fresh layers, held-out images.
        licence: Of the weights, kept in the checkpoint.
        record: What is written on the way.
        quiet: Show no progress.
        options: See `TrainingOptions`; None is as usual.

    Raises:
        OptionError: An option is unknown, or does not go with the others.
        InputError: A value is out of range or of another type, there is no data set, one has none of the classes, or
            there is nothing to learn from.
        CheckpointError: Weights cannot be read, or `output` holds the state of another run.

    >>> from inception_rcnn.datasets import open_dataset
    >>> path = train_detector(open_dataset("coco", "pets", "train"), "runs/pets", minutes=30)  # doctest: +SKIP
    """
    made = trained_detector(
        data,
        output,
        pretrained=pretrained,
        regions=regions,
        paper=paper,
        val=val,
        proposals=proposals,
        source=source,
        multibox=multibox,
        device=device,
        seed=seed,
        licence=licence,
        record=record,
        quiet=quiet,
        options=options,
    )
    return made.path


def trained_detector(
    data: DetectionDataset | Sequence[DetectionDataset],
    output: str | Path,
    *,
    pretrained: str | Path | None,
    regions: str | None,
    paper: bool,
    val: DetectionDataset | None,
    proposals: str | Path | Sequence[str | Path | None] | None,
    source: str,
    multibox: str | Path | None,
    device: str,
    seed: int,
    licence: str,
    record: RecordSettings | None,
    quiet: bool,
    options: Mapping[str, Any],
) -> FineTuned:
    """Return what `train_detector` made, with its score threshold and what validation found.

    Args: see there.

    Raises:
        InputError, OptionError: See there; photographs of `val` are among those that are learned from.
    """
    given, folder = _checked(options), check_folder(as_declared("output", output, str | Path))
    seed, licence = as_declared("seed", seed, int), as_declared("licence", licence, str)
    record = RecordSettings() if record is None else as_declared("record", record, RecordSettings)
    if regions not in (None, *WAYS):
        raise OptionError("regions", f"should be {' or '.join(WAYS)}, got {regions!r}")
    pretrained, multibox = (
        as_declared(name, one, str | Path | None) for name, one in (("pretrained", pretrained), ("multibox", multibox))
    )
    weights = chosen_weights(None, "warp" if paper else regions)[0] if pretrained is None else pretrained
    described = classifier_behind(weights)
    way = _way(described, regions, given, paper=paper)
    sets = as_datasets(data)
    if not sets:
        raise InputError("there is no data set to train on; name at least one")
    if val is not None:
        check_dataset(val, "val")
        if learned := photographs_in_both(val, sets):
            raise InputError(
                f"{len(learned)} of {len(val)} photographs of val, such as {learned[0].name}, are learned from; name "
                "others, or leave val out: then some are held out"
            )
    files = _files_of(sets, proposals)
    keep_freed_memory()
    share = Share.from_environment(os.environ)
    runtime = choose_runtime(share.device(device, torch.cuda.device_count()))
    proposer = Proposer.load(ProposalSettings(source=source), runtime, multibox=multibox)
    if proposer.multibox is not None and share.leads:  # the result names it, and looks for it where it lies
        written = (f"{name}.safetensors" for name in ("model", "best", "state"))
        put_beside(proposer.multibox, folder, reserved=(*written, *stored_names(sets)))
    sources = [
        TrainingSource(dataset_name(one), one, partial(_proposals, one, proposer, file, folder / stored, quiet=quiet))
        for one, file, stored in zip(sets, files, stored_names(sets), strict=True)
    ]
    with Team.joined(share, runtime.device) as team:
        job = _Job(
            sources,
            proposer,
            weights,
            described,
            val,
            runtime,
            folder,
            licence,
            seed,
            record,
            team,
            quiet,
        )
        return _warped(job, given, paper=paper) if way == "warp" else _pooled(job, given)


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are given, as they are declared; None is as usual.

    Raises:
        OptionError: There is no such option.
        InputError: One is of another type.
    """
    known = get_type_hints(TrainingOptions)
    if unknown := sorted(set(options) - set(known)):
        raise OptionError(unknown[0], f"is no option; known are {', '.join(known)}")
    return {name: as_declared(name, one, known[name]) for name, one in options.items() if one is not None}


def _files_of(
    sets: Sequence[DetectionDataset], proposals: str | Path | Sequence[str | Path | None] | None
) -> Sequence[str | Path | None]:
    """Return the file of proposals for each data set, None for those that are yet to be made.

    Raises:
        OptionError: There are more or fewer files than data sets.
        InputError: They are something else.
    """
    if proposals is None:
        return [None] * len(sets)
    files = [proposals] if isinstance(proposals, str | Path) else proposals
    checked: Sequence[str | Path | None] = as_declared("proposals", files, Sequence[str | Path | None])
    if len(checked) != len(sets):
        raise OptionError("proposals", f"should be a file for each of {len(sets)} data sets, got {len(checked)}")
    return checked


@dataclass(frozen=True)
class _Job:
    """What both ways of training need."""

    sources: Sequence[TrainingSource]
    proposer: Proposer
    weights: str | Path
    described: ClassifierDescription | None
    val: DetectionDataset | None
    runtime: Runtime
    output: Path
    licence: str
    seed: int
    record: RecordSettings
    team: Team
    quiet: bool

    def seen(self) -> tuple[SeenPart, ...]:
        """What the MultiBox that proposes learned from, as far as its file says."""
        network = self.proposer.multibox
        return () if network is None or network.path is None else multibox_seen(network.path)

    def task(self, start: Any, description: ClassifierDescription) -> TrainingTask[Any]:
        """Return what the training itself is given."""
        return TrainingTask(
            sources=self.sources,
            propose=self.proposer,
            start=start,
            description=description,
            runtime=self.runtime,
            output=self.output,
            val=self.val,
            record=self.record,
            team=self.team,
            quiet=self.quiet,
        )


def _way(described: ClassifierDescription | None, regions: str | None, given: Mapping[str, Any], *, paper: bool) -> str:
    """Return what is done with regions, "pool" or "warp".

    Raises:
        OptionError: Two options do not go together.
    """
    if paper and regions == "pool":
        raise OptionError("regions", "should not be pool where paper means warped regions; leave one of the two out")
    if paper and "hard_examples" in given:
        raise OptionError(
            "hard_examples", "does not go with paper, R-CNN's way, where all regions count; leave one of the two out"
        )
    way = "warp" if paper else regions or ("pool" if described is None else described.regions)
    for name in _OF_POOL if way == "warp" else _OF_WARP:
        if name in given and not (name == "linear_batches" and given[name] == 0):  # none, as there
            meant, here = ("pooled", "warped") if way == "warp" else ("warped", "pooled")
            raise OptionError(name, f"is for regions that are {meant}, and here they are {here}; leave it out")
    if given.get("head_only") and (others := sorted({"train_from", "frozen"} & set(given))):
        raise OptionError(others[0], "does not go with head_only, which freezes all else; leave one of the two out")
    if "minutes" in given and "iterations" in given:
        raise OptionError("minutes", "does not go with iterations, the number of batches; leave one of the two out")
    return way


def _warped(job: _Job, given: Mapping[str, Any], *, paper: bool) -> FineTuned:
    """Fine-tune a classifier whose regions are warped."""
    names = job.sources[0].dataset.class_names
    start = pretrained_network(job.weights, names, seed=job.seed)
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
        class_names=names,
        input_spec=REGION_INPUT,
        proposal_settings=job.proposer.settings.to_dict(),
        licence=job.licence,
        seen=job.seen(),
        lrn=start.network.lrn,
    )
    return fine_tune(job.task(start, description), settings)


def _pooled(job: _Job, given: Mapping[str, Any]) -> FineTuned:
    """Train a classifier whose regions are read off one map."""
    before = job.described if job.described is not None and job.described.pooling is not None else None
    known = None if before is None or given.get("own_classes") else before.class_names
    names = classes_to_train([one.dataset for one in job.sources], known)
    spec = replace((before and before.pooling) or PoolingSpec(), **_picked(given, _OF_POOLING))
    description = _pooled_description(job, given, before, names, spec)
    start = pretrained_pooled(
        job.weights,
        names,
        spec,
        box_regression=description.box_regression,
        seed=job.seed,
        **_picked(given, ("warm_head",)),
    )
    description = replace(description, lrn=start.network.trunk.lrn)
    if before is not None and start.knows_classes:  # what its scores mean stays about the same
        meant = before.score_threshold, before.score_calibration
        description = replace(description, score_threshold=meant[0], score_calibration=meant[1])
    defaults = PooledTrainingSettings()
    sampling = _sampling(given, job.seed)
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
        **_picked(given, _OF_RUN),
    )
    first = job.sources[0]
    if names != first.dataset.class_names and job.team.leads:
        _say(f"the {len(names)} classes of {job.weights}; own_classes (--own-classes) for those of {first.name} alone")
    teachers, seen = _teachers(given.get("teacher", ()), names)
    description = replace(description, seen=joined_seen(description.seen, seen))
    return train_pooled(job.task(start, description), settings, teachers=teachers)


def _sampling(given: Mapping[str, Any], seed: int) -> PooledSamplingSettings:
    """Return how batches of photographs are drawn."""
    batches = _picked(given, _OF_BATCHES)
    for name in ("scales", "cells"):
        if name in batches:
            batches[name] = tuple(batches[name])
    if "regions_each" in batches:
        batches["regions"] = batches.pop("regions_each")
    return PooledSamplingSettings(seed=seed, **batches)


def _distillation(given: Mapping[str, Any]) -> DistillationSettings:
    """Return how teachers are listened to.

    Raises:
        OptionError: It is said how, and there is none.
    """
    options = _picked(given, ("teacher_share", "teacher_temperature"))
    if options and not given.get("teacher"):
        raise OptionError(next(iter(options)), "is for teachers; name one as teacher")
    return DistillationSettings(**{name.removeprefix("teacher_"): value for name, value in options.items()})


def _teachers(
    weights: Sequence[str | Path], class_names: tuple[str, ...]
) -> tuple[list[PooledNetwork], tuple[SeenPart, ...]]:
    """Return trained networks to learn from, and what they learned from, which their student has seen through them.

    Raises:
        InputError: One warps its regions, or has other classes.
    """
    found, seen = [], []
    for name in weights:
        network, description = read_region_network(name)
        if not isinstance(network, PooledNetwork):
            raise InputError(f"teacher {name} warps its regions; only pooled networks teach")
        if description.class_names != class_names:
            raise InputError(f"teacher {name} has other classes than what is trained; teachers have the same")
        found.append(network)
        seen.append(learned_from(description))
    return found, joined_seen(*seen)


def _schedule(given: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    """Return what was given of schedule and optimizer, for the network that will learn."""
    chosen = _picked(given, _OF_SCHEDULE)
    if not given.get("head_only"):
        return {**chosen, "frozen": tuple(chosen.get("frozen", ()))}
    frozen = tuple(part for part in parts_of(network) if part != _HEAD)
    return {**chosen, "train_from": STAGES[-1], "frozen": frozen}


def _pooled_description(
    job: _Job,
    given: Mapping[str, Any],
    before: ClassifierDescription | None,
    class_names: tuple[str, ...],
    spec: PoolingSpec,
) -> ClassifierDescription:
    """Return what the classifier will say of itself: as asked for, as the one it starts from, or as measured."""
    moves = given.get("box_regression", True if before is None else before.box_regression)
    # From bench_regions: moved boxes fall together more closely than proposals.
    measured = {"objectness_power": 0.5, "iou_threshold": 0.4 if moves else 0.3, "max_proposals": 300}
    suits = measured if before is None else {name: getattr(before, name) for name in measured}
    return ClassifierDescription(
        class_names=class_names,
        input_spec=CAFFE_INPUT if job.described is None else replace(job.described.input_spec, context=0),
        proposal_settings=job.proposer.settings.to_dict(),
        licence=job.licence,
        pooling=spec,
        box_regression=moves,
        seen=job.seen(),
        **{**suits, **_picked(given, ("objectness_power",))},
    )


def _proposals(
    dataset: DetectionDataset, proposer: Proposer, given: str | Path | None, stored: Path, *, quiet: bool
) -> Sequence[Proposals]:
    """Return the proposals of each image from a given file, or from the one in the output folder, made if need be."""
    if given is None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar(len(dataset), "proposals", quiet=quiet) as bar, proposer.side_by_side() as propose:
            return propose_for_set(dataset, propose, proposer.describe(), stored, bar=bar).proposals
    proposals = proposals_from_file(given, dataset)
    if difference := other_setting(given, proposer.describe()):
        _say(f"note: {difference}, which the result will be used with (source, multibox)")
    return proposals


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _picked(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}
