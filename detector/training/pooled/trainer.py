"""From data sets to a pooled detector: labelled regions, batches on the device, the step.

train_pooled: sources --TrainingPhotographs--> PooledSampler --draw, StoredPhotographs.read (ahead, in threads)-->
              to_device --PooledTuning.step--RegionTrainer.train (loop.py)--> averaged weights --trained (run.py)-->
              model.safetensors
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.backbones.checkpoints import tensors_checksum
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training.distributed import ALONE, Team
from inception_rcnn.detector.region_classifier import ClassifierDescription
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.loop import LoopSettings, RegionTrainer
from inception_rcnn.detector.training.pooled.distillation import DistillationSettings, Teachers
from inception_rcnn.detector.training.pooled.sampling import (
    PooledBatch,
    PooledSampler,
    PooledSamplingSettings,
    canvas_shape,
)
from inception_rcnn.detector.training.pooled.step import DeviceBatch, PooledTuning, StoredPhotographs, to_device
from inception_rcnn.detector.training.run import FineTuned, TrainingTask, trained
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.detector.training.sources import TrainingPhotographs
from inception_rcnn.structures import InputError
from inception_rcnn.structures.jobs import available_processors

Drawn = tuple[PooledBatch, NDArray[np.uint8] | None]  # a batch, and its photographs where they are read ahead


def _pooled_schedule() -> TrainingSettings:
    return TrainingSettings(warm_up=200, train_from="3a")


@dataclass(frozen=True, kw_only=True)
class PooledTrainingSettings(LoopSettings):
    """Everything that decides the result, besides data and pre-trained weights; see `LoopSettings` too.

    Args:
        sampling: How batches are drawn.
        best: Of each photograph's proposals so many, the first ones, are regions to draw from; None: all.
        smoothing: Label smoothing, see `class_losses`.
        distillation: How teachers are listened to, where there are some.

    Raises:
        InputError: A number is out of range.
    """

    training: TrainingSettings = field(default_factory=_pooled_schedule)
    sampling: PooledSamplingSettings = field(default_factory=PooledSamplingSettings)
    best: int | None = 600
    smoothing: float = 0.0
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    save_every: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.best is not None and self.best < 1:
            raise InputError(f"best should be at least 1 proposal of a photograph, got {self.best}")
        if not 0 <= self.smoothing < 1:
            raise InputError(f"smoothing should be at least 0 and less than 1, got {self.smoothing}")
        self.check_hard_examples(self.sampling.photographs * self.sampling.regions)


def train_pooled(
    task: TrainingTask[PooledNetwork], settings: PooledTrainingSettings, *, teachers: Sequence[PooledNetwork] = ()
) -> FineTuned:
    """Train, measure the score threshold, and return the result, `model.safetensors` in the task's output.

    Args:
        task: What is given.
        settings: How to train.
        teachers: Trained networks of the same classes, whose answers it learns too.

    Raises:
        InputError: As `trained`, or there are too few photographs in a batch for all processes.
        CheckpointError: As `trained`.
    """
    task.team.part(settings.sampling.photographs, "photographs")
    network = task.start.network
    how: dict[str, Any] = {
        "sampling": asdict(settings.sampling),
        "best": settings.best,
        "smoothing": settings.smoothing,
        "pooling": network.spec.to_dict(),
    }
    if teachers:
        how["distillation"] = asdict(settings.distillation)
        how["teachers"] = [tensors_checksum(one.state_dict()) for one in teachers]

    def trainer_of(photographs: TrainingPhotographs, described: ClassifierDescription) -> PooledTrainer:
        return PooledTrainer(
            photographs,
            network,
            described,
            settings,
            task.runtime,
            teachers=teachers,
            team=task.team,
            quiet=task.quiet,
        )

    return trained(
        task,
        settings,
        how,
        tensors_checksum(network.state_dict()),
        stored_side=settings.sampling.stored_side,
        best=settings.best,
        trainer_of=trainer_of,
    )


class PooledTrainer(RegionTrainer[PooledNetwork, PooledTuning, Drawn]):
    """Trains a pooled network on photographs.

    Args:
        photographs: With labelled regions.
        network: Trained in place; at the end it has the averaged weights.
        description: Of the classifier.
        settings: How to train.
        runtime: Where to compute.
        resident: See `StoredPhotographs`.
        teachers: Trained networks of the same classes, whose answers it learns too.
        team: The processes that train together.
        quiet: Show no progress.

    Attributes:
        sampler: Draws the batches.

    Raises:
        InputError: There is nothing to learn from, or too little for one batch.
    """

    unit = "photographs"

    def __init__(
        self,
        photographs: TrainingPhotographs,
        network: PooledNetwork,
        description: ClassifierDescription,
        settings: PooledTrainingSettings,
        runtime: Runtime,
        *,
        resident: bool | None = None,
        teachers: Sequence[PooledNetwork] = (),
        team: Team = ALONE,
        quiet: bool = False,
    ) -> None:
        super().__init__(photographs, network, settings, runtime, team=team, quiet=quiet)
        self._part = team.part(settings.sampling.photographs, "photographs")
        self._settings = settings
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
        self._taught = Teachers(teachers, settings.distillation, runtime).blend if teachers else None
        self._stored = StoredPhotographs(
            photographs.load, sizes, side, self._spec.fill, runtime.device, resident=resident, quiet=quiet
        )

    @property
    def per_iteration(self) -> int:
        """Photographs in a batch."""
        return self._settings.sampling.photographs

    @property
    def kinds(self) -> int:
        """How many numbers of cells take turns."""
        return len(self._settings.sampling.cells)

    @property
    def shapes(self) -> int:
        """Upright, lying and square canvases, each in every scale."""
        return 3 * len(self._settings.sampling.scales)

    @property
    def workers(self) -> int:
        """Threads that only draw need a millisecond a batch; those that read photographs should not make a GPU wait."""
        many = not self._stored.resident and self.runtime.device.type == "cuda"
        return available_processors() if many else 1

    def tuning(self, network: PooledNetwork, schedule: TrainingSettings) -> PooledTuning:
        """Return the network with what trains it."""
        return PooledTuning(
            network,
            schedule,
            self.runtime,
            smoothing=self._settings.smoothing,
            batches_per_pass=self.sampler.batches_per_pass,
            team=self.team,
            taught=self._taught,
        )

    def draw(self, iteration: int) -> Drawn:
        """Return the batch of an iteration; any thread may do it ahead."""
        batch = self.sampler.draw(iteration)
        if not self.team.alone:
            batch = batch.of_process(self._part)
        return batch, self._stored.read(batch.images)

    def images_of(self, iteration: int) -> list[int]:
        """Return the numbers of the photographs in the batch of an iteration."""
        numbers: list[int] = self.sampler.draw(iteration).images.tolist()
        return numbers

    def on_device(self, drawn: Drawn) -> DeviceBatch:
        """Return a drawn batch as the step needs it."""
        batch, read = drawn
        lacking = None if self._unknown is None else self._unknown[batch.images]
        return to_device(batch, self._stored, self._spec, self.runtime.device, lacking, read)

    def step(self, tuning: PooledTuning, drawn: Drawn) -> dict[str, float]:
        """Take one iteration on a batch, and return its losses by name."""
        return tuning.step(self.on_device(drawn))

    def summary(self, iterations: int) -> dict[str, Any]:
        """Return how many photographs were seen, and how many times all of them."""
        seen = iterations * self.per_iteration
        return {"photographs_seen": seen, "passes": round(seen / len(self.photographs), 2)}
