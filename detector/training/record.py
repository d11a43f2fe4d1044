"""What a training leaves to look at, besides its result.

log.csv, the best network on the way, TensorBoard's events if asked for, and at the end the curves of all that.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inception_rcnn.backbones import GoogLeNet
from inception_rcnn.backbones.training.log import TrainingLog, check_tensorboard
from inception_rcnn.backbones.training.loop import AveragedTraining
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.curves import write_curves
from inception_rcnn.detector.training.validation import MAP, Validation
from inception_rcnn.structures import InputError
from inception_rcnn.structures.errors import check_fields

LOG: Final = "log.csv"
CURVES: Final = "curves.svg"
EVENTS: Final = "tensorboard"
BEST: Final = "best"  # of the state's notes


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """What is written down in the course of a training.

    Args:
        log_every: Iterations between two lines of log.csv, at least 1.
        validate_every: Iterations between two looks at the averaged network's mAP, at least 1; there is one at the end
            too, and the best network is kept in best.safetensors. None: none.
        validate_on: On so many photographs at most.
        tensorboard: Whether the same figures go to TensorBoard.
        patience: After so many looks without a better mAP the training ends, and the best network is its result, not
            the last. None: it goes on to its end. This alone changes the result.

    Raises:
        InputError: A field is of another type or a number out of range.
        MissingDependencyError: TensorBoard is asked for, and not installed.
    """

    log_every: int = 50
    validate_every: int | None = None
    validate_on: int = 100
    tensorboard: bool = False
    patience: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("log_every", "validate_every", "validate_on", "patience"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name} should be at least 1, got {getattr(self, name)}")
        if self.patience is not None and self.validate_every is None:
            raise InputError("patience goes with validate_every, which says when there is a look at mAP")
        if self.tensorboard:
            check_tensorboard()


class Record:
    """Writes down the course of one training.

    Args:
        output: Folder for the files.
        network: The one that is trained.
        settings: What to write.
        start: Iteration of the state that the training goes on from; 0: from the start.
        iterations: How many there will be.
        unit: What an iteration takes in, "photographs" or "regions".
        per_iteration: How many of them.
        validation: What scores the network, if the settings ask for it.
        writes: Whether this process writes; of several that train together, one does, and all validate.
    """

    def __init__(
        self,
        output: Path,
        network: GoogLeNet | PooledNetwork,
        settings: RecordSettings,
        *,
        start: int,
        iterations: int,
        unit: str,
        per_iteration: int,
        validation: Validation | None = None,
        writes: bool = True,
    ) -> None:
        self._output, self._network, self._iterations = output, network, iterations
        self._validation, self._validate_every = validation, settings.validate_every
        self._patience = settings.patience
        self._log: TrainingLog | None = None
        self._log_every = settings.log_every
        if writes:
            self._log = TrainingLog(
                output / LOG,
                start,
                unit=unit,
                per_iteration=per_iteration,
                scores=(MAP,),
                events=output / EVENTS if settings.tensorboard else None,
            )

    def after_step(self, training: AveragedTraining) -> dict[str, float]:
        """Write what is due after a step; return what should be shown of it.

        Raises:
            NotFiniteError: The last step's loss or gradient was not finite.
        """
        iteration = training.iteration
        is_last, every = iteration == self._iterations, self._validate_every
        validates = self._validation is not None and every is not None and (iteration % every == 0 or is_last)
        if not (validates or is_last or iteration % self._log_every == 0):
            return {}
        losses = training.mean_losses()
        if self._log is not None:
            self._log.stop_clock()
        scores = {MAP: self._validate(self._validation, training)} if validates and self._validation else {}
        if self._log is not None:
            self._log.write(iteration, training.rate, losses, scores)
        return scores

    def _validate(self, validation: Validation, training: AveragedTraining) -> float:
        """Return the averaged network's mAP; keep the network if none was better before.

        What was best belongs to the state: a run that goes on from it forgets what came behind, and finds it again.
        """
        network = copy.deepcopy(self._network)
        network.load_state_dict(training.result())
        found = validation.score(network)
        if BEST not in training.notes or found.map > training.notes[BEST][MAP]:
            if self._log is not None:
                validation.save(self._output / "best.safetensors", network, found, training.iteration)
            training.notes[BEST] = {MAP: found.map, "iteration": training.iteration}
        return found.map

    def has_ended(self, training: AveragedTraining) -> bool:
        """Return whether too many looks came after the best one."""
        if self._patience is None or self._validate_every is None or BEST not in training.notes:
            return False
        since: int = training.iteration - int(training.notes[BEST]["iteration"])
        return since >= self._patience * self._validate_every

    def draw(self) -> None:
        """Draw the curves of what was written; nothing where an older version wrote no table."""
        if self._log is not None and (self._output / LOG).exists():
            write_curves(self._output / LOG, self._output / CURVES)

    def close(self) -> None:
        """Close the files."""
        if self._log is not None:
            self._log.close()
