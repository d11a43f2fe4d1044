"""What a training leaves to look at, besides its result: log.csv, and TensorBoard's events if asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inception_rcnn.backbones.training import AveragedTraining
from inception_rcnn.backbones.training_log import TrainingLog, check_tensorboard
from inception_rcnn.structures import InputError

LOG: Final = "log.csv"
EVENTS: Final = "tensorboard"


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """What is written down in the course of a training; nothing of it changes the result.

    Args:
        log_every: Iterations between two lines of log.csv, at least 1.
        tensorboard: Whether the same figures go to TensorBoard.

    Raises:
        InputError: A number is out of range.
        MissingDependencyError: TensorBoard is asked for, and not installed.
    """

    log_every: int = 50
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.log_every < 1:
            raise InputError(f"log_every should be at least 1 iteration, got {self.log_every}")
        if self.tensorboard:
            check_tensorboard()


class Record:
    """Writes down the course of one training.

    Args:
        output: Folder for the files.
        settings: What to write.
        start: Iteration of the state that the training goes on from; 0: from the start.
        iterations: How many there will be.
        unit: What an iteration takes in, "photographs" or "regions".
        per_iteration: How many of them.
    """

    def __init__(
        self, output: Path, settings: RecordSettings, *, start: int, iterations: int, unit: str, per_iteration: int
    ) -> None:
        self._iterations = iterations
        self._log = TrainingLog(
            output / LOG,
            start,
            every=settings.log_every,
            unit=unit,
            per_iteration=per_iteration,
            events=output / EVENTS if settings.tensorboard else None,
        )

    def after_step(self, training: AveragedTraining) -> dict[str, float]:
        """Write what is due after a step; return what should be shown of it.

        Raises:
            NotFiniteError: The last step's loss or gradient was not finite.
        """
        iteration = training.iteration
        if self._log.is_due(iteration) or iteration == self._iterations:
            self._log.write(iteration, training.rate, training.mean_losses(), {})
        return {}

    def close(self) -> None:
        """Close the files."""
        self._log.close()
