"""The loop of both trainings of a region classifier, of warped and of pooled regions.

RegionTrainer.train: a number of iterations, or as many as take a time --> draw (ahead, in threads) --> step --> record
--> state (backbones/training/loop.py), until all are done; the network then has its averaged weights.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from inception_rcnn.backbones import GoogLeNet
from inception_rcnn.backbones.checkpoints import read_description
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training.distributed import Team
from inception_rcnn.backbones.training.duration import iterations_in, iterations_within
from inception_rcnn.backbones.training.loop import AveragedTraining, NotFiniteError, TrainingRun, run_training
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.record import BEST, Record, RecordSettings
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.detector.training.sources import TrainingPhotographs
from inception_rcnn.detector.training.validation import Validation
from inception_rcnn.structures import InceptionError, InputError
from inception_rcnn.structures.ahead import run_ahead
from inception_rcnn.structures.errors import check_fields


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What decides the result of either training.

    Args:
        training: Schedule and optimizer.
        minutes: Time for the iterations. How many there are is then found by trying some, and kept in the state;
            `training.iterations` does not count. None: as many as that says.
        jitter: Shaken copies of each object among the foreground regions.
        save_every: Iterations between two saved states.

    Raises:
        InputError: A field is of another type or a number out of range.
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    minutes: float | None = None
    jitter: int = 4
    save_every: int = 50

    def __post_init__(self) -> None:
        check_fields(self)
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise InputError(f"minutes should be above 0, got {self.minutes}")
        if self.jitter < 0 or self.save_every < 1:
            raise InputError(
                f"jitter should be 0 or more and save_every at least 1, got {self.jitter} and {self.save_every}"
            )

    def check_hard_examples(self, regions: int) -> None:
        """Raise if more regions of a batch should count than it has.

        Raises:
            InputError: They should.
        """
        hard = self.training.hard_examples
        if hard is not None and hard > regions:
            raise InputError(f"hard_examples should be at most the {regions} regions of a batch, got {hard}")


class Tuning(Protocol):
    """A network being trained."""

    averaged: AveragedTraining


Network = TypeVar("Network", GoogLeNet, PooledNetwork)
AnyTuning = TypeVar("AnyTuning", bound=Tuning)
Drawn = TypeVar("Drawn")


class RegionTrainer(ABC, Generic[Network, AnyTuning, Drawn]):
    """Trains a network on labelled regions of photographs.

    Args:
        photographs: With labelled regions.
        network: Trained in place; at the end it has the averaged weights.
        settings: How to train.
        runtime: Where to compute.
        team: The processes that train together.
        quiet: Show no progress.

    Attributes:
        unit: What an iteration takes in, for messages and figures.
        best: After the training, what validation found best on the way: mAP and iteration; None without validation.
    """

    unit: ClassVar[str]

    def __init__(
        self,
        photographs: TrainingPhotographs,
        network: Network,
        settings: LoopSettings,
        runtime: Runtime,
        *,
        team: Team,
        quiet: bool,
    ) -> None:
        self.photographs, self.team = photographs, team
        self.network: Network = network
        self.runtime, self._loop, self._quiet = runtime, settings, quiet
        self.best: dict[str, float] | None = None

    @property
    @abstractmethod
    def per_iteration(self) -> int:
        """How many of `unit` an iteration takes in."""

    @property
    def kinds(self) -> int:
        """After how many iterations all that differ in their work by turns have been."""
        return 1

    @property
    def shapes(self) -> int:
        """How many shapes its tensors come in besides, drawn at random."""
        return 1

    @property
    def workers(self) -> int:
        """How many threads draw."""
        return 1

    @abstractmethod
    def tuning(self, network: Network, schedule: TrainingSettings) -> AnyTuning:
        """Return the network with what trains it."""

    @abstractmethod
    def draw(self, iteration: int) -> Drawn:
        """Return this process's part of the batch of an iteration, the same at every call.

        Any thread may do it ahead.
        """

    @abstractmethod
    def images_of(self, iteration: int) -> list[int]:
        """Return the numbers of the photographs in the batch of an iteration."""

    @abstractmethod
    def step(self, tuning: AnyTuning, drawn: Drawn) -> dict[str, float]:
        """Take one iteration on a batch, and return its losses by name."""

    def prepare(self, state: Path) -> None:
        """Do what comes before the first iteration; nothing where there is a state. The first process does it."""

    def summary(self, iterations: int) -> dict[str, Any]:
        """Return what the summary of the training should say of so many iterations."""
        return {}

    def train(
        self,
        run: TrainingRun,
        state: Path,
        record: RecordSettings | None = None,
        validation: Validation | None = None,
    ) -> int:
        """Train, from the state if there is one, and return how many iterations were done.

        Args:
            run: What decides the result; the number of iterations is added.
            state: File of the state; what there is to look at is written into its folder.
            record: What that is.
            validation: What scores the network on the way, if the record's settings ask for it.

        Raises:
            CheckpointError: The state is damaged, or of another run.
            InceptionError: A loss or a gradient is not finite, and the text names the batch, its photographs; or a
                GPU's memory does not hold a batch. State and weights on disk are from before.
        """
        run.check_state(state)  # before anything is changed
        team, minutes, iterations = self.team, self._loop.minutes, self._loop.training.iterations
        start = team.from_first(lambda: read_description(state).get("iteration", 0) if state.exists() else 0)
        if team.leads:
            self.prepare(state)
        team.spread(self.network)
        if minutes is not None:
            stored = team.from_first(lambda: iterations_in(state))
            iterations = stored or self.iterations_within(60 * minutes)
        run = replace(run, settings={**run.settings, "iterations": iterations})
        tuning = self.tuning(self.network, replace(self._loop.training, iterations=iterations))
        if minutes is not None and team.leads and not state.exists():
            tuning.averaged.save(state, run)  # another trial would find another number
        team.wait()  # all see the same state, or none
        recorded = Record(
            state.parent,
            self.network,
            record or RecordSettings(),
            start=start,
            iterations=iterations,
            unit=self.unit,
            per_iteration=self.per_iteration,
            validation=validation,
            writes=team.leads,
        )
        try:
            run_training(
                tuning.averaged,
                self.draw,
                lambda drawn: self.step(tuning, drawn),
                run,
                state,
                iterations=iterations,
                save_every=self._loop.save_every,
                title="training",
                after_step=lambda _: recorded.after_step(tuning.averaged),
                workers=self.workers,
                writes=team.leads,
                quiet=self._quiet,
                ended=lambda: recorded.has_ended(tuning.averaged),
            )
        except NotFiniteError as error:
            names = self.photographs.names(self.images_of(error.iteration))
            raise InceptionError(f"{error}. It is the batch of {names}. What is on disk is from before it") from error
        finally:
            recorded.close()
        recorded.draw()
        self.network.load_state_dict(tuning.averaged.result())
        self.best = tuning.averaged.notes.get(BEST)
        return tuning.averaged.iteration

    def iterations_within(self, seconds: float) -> int:
        """Return how many iterations take so long, by trying some on a copy of the network.

        The trial draws ahead as the training does, and takes a twenty-fifth of the time: iterations differ in their
        work, by the photographs' scale and the regions' cells.
        """
        # As if the warm-up never ended: nothing is learned that could get out of hand.
        schedule = replace(self._loop.training, iterations=10**9, warm_up=10**9)
        tuning = self.tuning(copy.deepcopy(self.network), schedule)
        with closing(run_ahead(self.draw, count(), workers=self.workers)) as batches:
            return iterations_within(
                seconds,
                lambda _: self.step(tuning, next(batches).result()),
                tuning.averaged.check,
                kinds=self.kinds,
                shapes=self.shapes,
                agreed=self.team.from_first,
            )
