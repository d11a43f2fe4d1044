"""From data sets to a region classifier, as both trainings have it: what a run is known by, and what it ends with.

trained: sources --split_rows--> rows --TrainingPhotographs--> RegionTrainer.train (loop.py) --> averaged weights
         --measured_and_saved--> model.safetensors

A run that is known by the same checksums goes on from its state; it ends with a measured score threshold in a file.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Generic

from inception_rcnn.backbones import GoogLeNet
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training.distributed import ALONE, Team
from inception_rcnn.backbones.training.loop import TrainingRun
from inception_rcnn.backbones.training.sgd import frozen_parts
from inception_rcnn.detector.checkpoints import read_region_network, save_region_classifier
from inception_rcnn.detector.region_classifier import ClassifierDescription, check_description
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.initial_weights import PretrainedNetwork
from inception_rcnn.detector.training.loop import LoopSettings, Network, RegionTrainer
from inception_rcnn.detector.training.record import RecordSettings
from inception_rcnn.detector.training.sources import TrainingPhotographs, TrainingSource
from inception_rcnn.detector.training.threshold import MeasuredThreshold, measure_threshold, split_rows
from inception_rcnn.detector.training.validation import Propose, Validation, detector_as_used, validation_images
from inception_rcnn.structures import InputError
from inception_rcnn.structures.dataset import DetectionDataset, dataset_checksum, photograph_checksums
from inception_rcnn.structures.provenance import SeenPart, joined_seen, seen_among, seen_lines

# What a run's checksums are of, as an error names it.
WEIGHTS: Final = "pre-trained weights (--pretrained)"
PHOTOGRAPHS: Final = "photographs or their annotations"
VALIDATED: Final = "photographs to validate on (--val-split)"
PROPOSALS: Final = "proposals (--proposals, --source)"


@dataclass(frozen=True)
class FineTuned:
    """What a training leaves.

    Args:
        path: The model's file.
        threshold: Its score threshold.
        best: What validation found best on the way: mAP and iteration of `best.safetensors`; None without validation.
    """

    path: Path
    threshold: MeasuredThreshold
    best: Mapping[str, float] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingTask(Generic[Network]):
    """What a training is given.

    Args:
        sources: Photographs, objects and proposals; labels of several data sets are matched by name, and a class that
            a data set does not name counts on its photographs as unknown, neither object nor background.
        propose: What the detector will be used with, image (H, W, 3) uint8 RGB -> proposals; for the threshold.
        start: Pre-trained.
        description: Of the classifier; its summary of the training, what it has seen and its score threshold are
            completed here.
        runtime: Where to compute.
        output: A folder, made if need be.
        val: Images for the score threshold; None: some are held out from the first source, see `held_out_rows`.
        record: What is written down on the way.
        team: The processes that train together; of several, all see the output folder.
        quiet: Show no progress.
    """

    sources: Sequence[TrainingSource]
    propose: Propose
    start: PretrainedNetwork[Network]
    description: ClassifierDescription
    runtime: Runtime
    output: Path
    val: DetectionDataset | None = None
    record: RecordSettings = field(default_factory=RecordSettings)
    team: Team = ALONE
    quiet: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "quiet", self.quiet or not self.team.leads)  # one process shows progress for all


def trained(
    task: TrainingTask[Network],
    settings: LoopSettings,
    how: Mapping[str, Any],
    weights: str,
    *,
    stored_side: int,
    best: int | None,
    trainer_of: Callable[[TrainingPhotographs, ClassifierDescription], RegionTrainer[Network, Any, Any]],
) -> FineTuned:
    """Train, measure the score threshold, and return the result, `model.safetensors` in the task's output.

    The output also keeps `state.safetensors`, from which a killed run goes on when it is called again with the same
    data and settings, and what `record.py` writes. Every photograph is read once at the start, for its checksum.

    Args:
        task: What is given.
        settings: Schedule, time, states.
        how: The settings that decide the result and are not in these, as JSON values.
        weights: Checksum of the pre-trained weights.
        stored_side: See `TrainingPhotographs`.
        best: See there.
        trainer_of: Makes the trainer of photographs; the description has the summary of the training, as far as known.

    Raises:
        InputError: There is no source, one has none of the classes or other proposals, network and description do not
            fit each other, or there is nothing to learn from.
        CheckpointError: The output holds the state of another run; the text names the difference.
    """
    sources: Sequence[TrainingSource] = task.sources
    start, description, team = task.start, task.description, task.team
    if not sources:
        raise InputError("there is no data set to train on; name at least one")
    check_description(start.network, description)
    frozen_parts(settings.training, start.network)
    first, seed = sources[0].dataset, settings.training.seed
    files = team.from_first(lambda: [photograph_checksums(source.dataset) for source in sources])
    rows, images = split_rows(first, task.val, seed, seen_among(start.seen, files[0]))
    judged = images if task.val is None else task.val
    if task.val is None:
        of_judged = tuple(files[0][row] for row in sorted(set(range(len(first))).difference(rows)))
    else:
        of_judged = team.from_first(lambda: photograph_checksums(judged))
    sources = [replace(sources[0], rows=rows), *sources[1:]]
    state = task.output / "state.safetensors"
    how = {**how, "held_out": len(first) - len(rows)}
    run = team.from_first(lambda: _run_of(sources, files, description, settings, how, weights))
    if task.record.patience is not None:  # then what is seen on the way decides the result
        looks = {name: getattr(task.record, name) for name in ("patience", "validate_every", "validate_on")}
        checksums = {**run.checksums, VALIDATED: dataset_checksum(judged, of_judged)}
        run = replace(run, settings={**run.settings, **looks}, checksums=checksums)
    run.check_state(state)  # before the proposals, which take long
    seen = joined_seen(_seen(sources, files), start.seen, description.seen)
    known = seen_lines(seen, of_judged)
    for line in known if team.leads else ():
        what = "those held out" if task.val is None else "val"
        sys.stderr.write(f"note: of {what}, {line}; what is measured on them is too good\n")
    if task.record.validate_every is not None:
        _validation(task, description, images, seed)  # refuses what cannot be validated on
    with team.first_alone():  # it makes the proposals, where there are none
        photographs = TrainingPhotographs(
            sources,
            description.class_names,
            stored_side=stored_side,
            best=best,
            jitter=settings.jitter,
            seed=seed,
            quiet=task.quiet,
        )
    run = replace(run, checksums={**run.checksums, PROPOSALS: photographs.proposals_checksum})
    summary = {
        **description.training,
        **start.origin,
        "data": [source.name for source in sources],
        "images": len(photographs),
        **run.settings,
    }
    described = replace(description, training=summary, seen=seen)
    trainer = trainer_of(photographs, described)
    task.output.mkdir(parents=True, exist_ok=True)
    validation = None if task.record.validate_every is None else _validation(task, described, images, seed)
    iterations = trainer.train(run, state, task.record, validation)
    if task.record.patience is not None and trainer.best is not None:
        team.wait()  # the file is written by one process
        kept, _ = read_region_network(task.output / "best.safetensors")
        start.network.load_state_dict(kept.state_dict())
    described = replace(described, training={**summary, "iterations": iterations, **trainer.summary(iterations)})
    result = task.output / "model.safetensors"
    made = team.from_first(
        lambda: measured_and_saved(
            result, start.network, described, task.propose, images, task.runtime, known=known, quiet=task.quiet
        )
    )
    return replace(made, best=trainer.best)


def _validation(
    task: TrainingTask[Network], description: ClassifierDescription, held_out: DetectionDataset, seed: int
) -> Validation:
    """Return what scores the network on the way."""
    images = validation_images(held_out if task.val is None else task.val, task.record.validate_on, seed)
    return Validation(images, task.propose, description, task.runtime, team=task.team, quiet=task.quiet)


def _seen(sources: Sequence[TrainingSource], files: Sequence[Sequence[str]]) -> list[SeenPart]:
    """Return what is learned from; `files` are the checksums of all photographs of each source."""
    parts = []
    for source, own in zip(sources, files, strict=True):
        rows = range(len(own)) if source.rows is None else source.rows
        parts.append(SeenPart.of_files(source.name, [own[row] for row in rows]))
    return parts


def _run_of(
    sources: Sequence[TrainingSource],
    files: Sequence[Sequence[str]],
    description: ClassifierDescription,
    settings: LoopSettings,
    how: Mapping[str, Any],
    weights: str,
) -> TrainingRun:
    """Return what decides the result, the proposals excepted, and iterations to be found.

    `files` are the checksums of all photographs of each source.
    """
    parts = [dataset_checksum(source.dataset, own) for source, own in zip(sources, files, strict=True)]
    schedule = asdict(settings.training)
    if settings.minutes is not None:
        del schedule["iterations"]
    return TrainingRun(
        class_names=description.class_names,
        checksums={WEIGHTS: weights, PHOTOGRAPHS: hashlib.sha256(json.dumps(parts).encode()).hexdigest()},
        settings={
            **schedule,
            "minutes": settings.minutes,
            "jitter": settings.jitter,
            **how,
            "input_spec": description.input_spec.to_dict(),
            "proposal_settings": description.proposal_settings,
        },
    )


def measured_and_saved(
    path: Path,
    network: GoogLeNet | PooledNetwork,
    description: ClassifierDescription,
    propose: Propose,
    images: DetectionDataset,
    runtime: Runtime,
    *,
    known: Sequence[str] = (),
    quiet: bool = False,
) -> FineTuned:
    """Measure the score threshold of a trained network, and write the network with it.

    Args:
        path: The model's file.
        network: Trained; it stays as it is.
        description: Of the classifier; its score threshold stays where none can be measured, and where it is from is
            said here.
        propose: What the classifier will be used with, image (H, W, 3) uint8 RGB -> proposals.
        images: Not trained on, for the score threshold.
        runtime: Where to compute.
        known: What is to be said of images that were trained on nevertheless.
        quiet: Show no progress.
    """
    detector = detector_as_used(network, description, propose, runtime)
    threshold = measure_threshold(detector, images, unmeasured=description.score_threshold, quiet=quiet)
    summary = {**description.training, "score_threshold": "; ".join([threshold.origin, *known])}
    save_region_classifier(path, network, replace(description, score_threshold=threshold.value, training=summary))
    return FineTuned(path, threshold)
