"""From data sets to a pooled detector: labelled regions, the loop, the score threshold.

train_pooled: sources --TrainingPhotographs--> PooledSampler --draw, StoredPhotographs.read (ahead, in threads)-->
              to_device --PooledTuning.step--run_training (backbones/training.py)--> averaged weights
              --measured_and_saved (run.py)--> model.safetensors
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.backbones.checkpoints import read_description, tensors_checksum
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training import TrainingRun, run_training
from inception_rcnn.detector.region_classifier import ClassifierDescription, check_description
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.initial_weights import PretrainedNetwork
from inception_rcnn.detector.training.pooled_sampling import (
    PooledBatch,
    PooledSampler,
    PooledSamplingSettings,
    canvas_shape,
)
from inception_rcnn.detector.training.pooled_step import DeviceBatch, PooledTuning, StoredPhotographs, to_device
from inception_rcnn.detector.training.run import (
    PHOTOGRAPHS,
    PROPOSALS,
    WEIGHTS,
    FineTuned,
    Propose,
    measured_and_saved,
)
from inception_rcnn.detector.training.sources import TrainingPhotographs, TrainingSource
from inception_rcnn.detector.training.step import TrainingSettings
from inception_rcnn.detector.training.threshold import split_rows
from inception_rcnn.structures import InputError
from inception_rcnn.structures.dataset import DetectionDataset, dataset_checksum, photograph_checksums
from inception_rcnn.structures.jobs import available_processors
from inception_rcnn.structures.provenance import SeenPart, joined_seen

Drawn = tuple[PooledBatch, NDArray[np.uint8] | None]  # a batch, and its photographs where they are read ahead


def _pooled_schedule() -> TrainingSettings:
    return TrainingSettings(warm_up=200, train_from="3a")


@dataclass(frozen=True, kw_only=True)
class PooledTrainingSettings:
    """Everything that decides the result, besides data and pre-trained weights.

    Args:
        training: Schedule and optimizer.
        sampling: How batches are drawn.
        minutes: Time for the iterations. How many there are is then found by trying some, and kept in the state;
            `training.iterations` does not count. None: as many as that says.
        best: Of each photograph's proposals so many, the first ones, are regions to draw from; None: all.
        jitter: Shaken copies of each object among the foreground regions.
        smoothing: Label smoothing, see `region_loss`.
        save_every: Iterations between two saved states.

    Raises:
        InputError: A number is out of range.
    """

    training: TrainingSettings = field(default_factory=_pooled_schedule)
    sampling: PooledSamplingSettings = field(default_factory=PooledSamplingSettings)
    minutes: float | None = None
    best: int | None = 600
    jitter: int = 4
    smoothing: float = 0.0
    save_every: int = 200

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise InputError(f"minutes should be above 0, got {self.minutes}")
        if self.best is not None and self.best < 1:
            raise InputError(f"best should be at least 1 proposal of a photograph, got {self.best}")
        if self.jitter < 0 or self.save_every < 1:
            raise InputError(
                f"jitter should be 0 or more and save_every at least 1, got {self.jitter} and {self.save_every}"
            )
        if not 0 <= self.smoothing < 1:
            raise InputError(f"smoothing should be at least 0 and less than 1, got {self.smoothing}")


def train_pooled(
    sources: Sequence[TrainingSource],
    propose: Propose,
    start: PretrainedNetwork[PooledNetwork],
    description: ClassifierDescription,
    settings: PooledTrainingSettings,
    runtime: Runtime,
    output: Path,
    *,
    val: DetectionDataset | None = None,
    quiet: bool = False,
) -> FineTuned:
    """Train, measure the score threshold, and return the result, `output`/model.safetensors.

    `output` also keeps `state.safetensors`, from which a killed run goes on when it is called again with the same data
    and settings. Every photograph is read once at the start, for its checksum.

    Args:
        sources: Photographs, objects and proposals; labels of several data sets are matched by name, and a class that
            a data set does not name counts on its photographs as unknown, neither object nor background.
        propose: What the detector will be used with, image (H, W, 3) uint8 RGB -> proposals; for the threshold.
        start: Pre-trained.
        description: Of the classifier; its summary of the training, what it has seen and its score threshold are
            completed here.
        settings: How to train.
        runtime: Where to compute.
        output: A folder, made if need be.
        val: Images for the score threshold; None: some are held out from the first source, see `held_out_rows`.
        quiet: Show no progress.

    Raises:
        InputError: There is no source, one has none of the classes or other proposals, network and description do not
            fit each other, or there is nothing to learn from.
        CheckpointError: `output` holds the state of another run; the text names the difference.
    """
    if not sources:
        raise InputError("there is no data set to train on; name at least one")
    check_description(start.network, description)
    first = sources[0]
    rows, images = split_rows(first.dataset, val, settings.training.seed)
    sources = [replace(first, rows=rows), *sources[1:]]
    state = output / "state.safetensors"
    files = [photograph_checksums(source.dataset) for source in sources]
    run = _run_of(sources, files, start, description, settings, held_out=len(first.dataset) - len(rows))
    run.check_state(state)  # before the proposals, which take long
    photographs = TrainingPhotographs(
        sources,
        description.class_names,
        stored_side=settings.sampling.stored_side,
        best=settings.best,
        jitter=settings.jitter,
        seed=settings.sampling.seed,
        quiet=quiet,
    )
    run = replace(run, checksums={**run.checksums, PROPOSALS: photographs.proposals_checksum})
    trainer = PooledTrainer(photographs, start.network, description, settings, runtime, quiet=quiet)
    output.mkdir(parents=True, exist_ok=True)
    iterations = trainer.train(run, state)
    seen = iterations * settings.sampling.photographs
    summary = {
        **description.training,
        **start.origin,
        "data": [source.name for source in sources],
        "images": len(photographs),
        "photographs_seen": seen,
        "passes": round(seen / len(photographs), 2),
        **run.settings,
        "iterations": iterations,
    }
    described = replace(
        description, training=summary, seen=joined_seen(_seen(sources, files), start.seen, description.seen)
    )
    result = output / "model.safetensors"
    return measured_and_saved(result, start.network, described, propose, images, runtime, quiet=quiet)


class PooledTrainer:
    """Trains a pooled network on photographs.

    Args:
        photographs: With labelled regions.
        network: Trained in place; at the end it has the averaged weights.
        description: Of the classifier.
        settings: How to train.
        runtime: Where to compute.
        resident: See `StoredPhotographs`.
        quiet: Show no progress.

    Attributes:
        sampler: Draws the batches.

    Raises:
        InputError: There is nothing to learn from, or too little for one batch.
    """

    def __init__(
        self,
        photographs: TrainingPhotographs,
        network: PooledNetwork,
        description: ClassifierDescription,
        settings: PooledTrainingSettings,
        runtime: Runtime,
        *,
        resident: bool | None = None,
        quiet: bool = False,
    ) -> None:
        self._network, self._settings, self._runtime, self._quiet = network, settings, runtime, quiet
        self._spec, self._unknown = description.input_spec, photographs.unknown()
        side, all_of_them = settings.sampling.stored_side, photographs.photographs
        sizes = [one.size for one in all_of_them]
        self.sampler = PooledSampler(
            [one.regions for one in all_of_them],
            [one.truths for one in all_of_them],
            [canvas_shape(*size, side) for size in sizes],
            len(description.class_names),
            settings.sampling,
        )
        self._stored = StoredPhotographs(
            photographs.load, sizes, side, self._spec.fill, runtime.device, resident=resident, quiet=quiet
        )

    def train(self, run: TrainingRun, state: Path) -> int:
        """Train, from the state if there is one, and return of how many iterations the whole training is.

        Args:
            run: What decides the result; the number of iterations is added.
            state: File of the state.

        Raises:
            CheckpointError: The state is damaged, or of another run.
            InceptionError: A loss or a gradient is not finite, or a GPU's memory does not hold a batch.
        """
        settings, minutes = self._settings, self._settings.minutes
        iterations = settings.training.iterations
        if minutes is not None:
            iterations = _iterations_in(state) or self.iterations_within(60 * minutes)
        run = replace(run, settings={**run.settings, "iterations": iterations})
        tuning = self._tuning(self._network, iterations)
        if minutes is not None and not state.exists():
            tuning.averaged.save(state, run)  # another trial would find another number
        # Threads that only draw need a millisecond a batch; those that read photographs should not make a GPU wait.
        many = not self._stored.resident and self._runtime.device.type == "cuda"
        run_training(
            tuning.averaged,
            self.draw,
            lambda drawn: self.step(tuning, drawn),
            run,
            state,
            iterations=iterations,
            save_every=settings.save_every,
            title="training",
            workers=available_processors() if many else 1,
            quiet=self._quiet,
        )
        self._network.load_state_dict(tuning.averaged.result())
        return iterations

    def draw(self, iteration: int) -> Drawn:
        """Return the batch of an iteration; any thread may do it ahead."""
        batch = self.sampler.draw(iteration)
        return batch, self._stored.read(batch.images)

    def on_device(self, drawn: Drawn) -> DeviceBatch:
        """Return a drawn batch as the step needs it."""
        batch, read = drawn
        lacking = None if self._unknown is None else self._unknown[batch.images]
        return to_device(batch, self._stored, self._spec, self._runtime.device, lacking, read)

    def step(self, tuning: PooledTuning, drawn: Drawn) -> dict[str, float]:
        """Take one iteration on a batch, and return its losses by name."""
        return tuning.step(self.on_device(drawn))

    def iterations_within(self, seconds: float) -> int:
        """Return how many iterations take so long, by trying some on a copy of the network.

        The trial takes a fiftieth of the time: iterations differ in their work, by the photographs' scale and the
        regions' cells.
        """
        # As if the warm-up never ended: nothing is learned that could get out of hand.
        tuning, numbers = self._tuning(copy.deepcopy(self._network), 10**9, warm_up=10**9), count()

        def steps(least: int, until: float = 0.0) -> int:
            """Take some steps, and more until that moment; return how many."""
            taken = 0
            while taken < least or time.monotonic() < until:
                self.step(tuning, self.draw(next(numbers)))
                taken += 1
            tuning.averaged.check()  # waits for a GPU
            return taken

        kinds = max(2, len(self._settings.sampling.cells))
        steps(kinds)  # the first of a kind takes longer
        begun = time.monotonic()
        taken = steps(2 * kinds, begun + seconds / 50)
        return max(1, int(seconds * taken / (time.monotonic() - begun)))

    def _tuning(self, network: PooledNetwork, iterations: int, **changes: Any) -> PooledTuning:
        schedule = replace(self._settings.training, iterations=iterations, **changes)
        return PooledTuning(network, schedule, self._runtime, smoothing=self._settings.smoothing)


def _iterations_in(state: Path) -> int | None:
    """Return for how many iterations a state was made; None without one."""
    if not state.exists():
        return None
    run = read_description(state).get("run")
    settings = run.get("settings") if isinstance(run, dict) else None
    found = settings.get("iterations") if isinstance(settings, dict) else None
    return found if type(found) is int else None


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
    start: PretrainedNetwork[PooledNetwork],
    description: ClassifierDescription,
    settings: PooledTrainingSettings,
    *,
    held_out: int,
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
        checksums={
            WEIGHTS: tensors_checksum(start.network.state_dict()),
            PHOTOGRAPHS: hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
        },
        settings={
            **schedule,
            "minutes": settings.minutes,
            "sampling": asdict(settings.sampling),
            "best": settings.best,
            "jitter": settings.jitter,
            "smoothing": settings.smoothing,
            "held_out": held_out,
            "input_spec": description.input_spec.to_dict(),
            "pooling": start.network.spec.to_dict(),
            "proposal_settings": description.proposal_settings,
        },
    )
