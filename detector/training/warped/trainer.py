"""From data sets to a region classifier of warped regions: batches of crops, the new layer's start, the step.

fine_tune: sources --TrainingPhotographs--> RegionSampler --draw, cut_batch (ahead)--> FineTuning.step
           --RegionTrainer.train (loop.py)--> averaged weights --trained (run.py)--> model.safetensors
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.backbones import GoogLeNet
from inception_rcnn.backbones.checkpoints import tensors_checksum
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training.distributed import ALONE, Team
from inception_rcnn.detector.checkpoints import save_region_classifier
from inception_rcnn.detector.region_classifier import ClassifierDescription
from inception_rcnn.detector.training.initial_weights import start_linear
from inception_rcnn.detector.training.loop import LoopSettings, RegionTrainer
from inception_rcnn.detector.training.run import FineTuned, TrainingTask, trained
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.detector.training.sources import TrainingPhotographs
from inception_rcnn.detector.training.warped.sampling import Batch, RegionSampler, SamplingSettings, cut_batch
from inception_rcnn.detector.training.warped.step import FineTuning
from inception_rcnn.structures.dataset import ImageCache

AS_THEY_ARE: Final = 2**31  # long side beyond which photographs are reduced: none is
Drawn = tuple[Batch, NDArray[np.uint8]]  # a batch, and its crops


@dataclass(frozen=True, kw_only=True)
class FineTuneSettings(LoopSettings):
    """Everything that decides the result, besides data and pre-trained weights; see `LoopSettings` too.

    Args:
        sampling: How batches are drawn.
        linear_batches: Batches whose frozen features the new layer's linear softmax is fitted to; 0: a random start.
    """

    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    linear_batches: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_hard_examples(self.sampling.foreground + self.sampling.background)


def fine_tune(task: TrainingTask[GoogLeNet], settings: FineTuneSettings) -> FineTuned:
    """Train, measure the score threshold, and return the result, `model.safetensors` in the task's output.

    The output also keeps `linear.safetensors`, the linear softmax on frozen features, if that is the start.

    Args:
        task: What is given.
        settings: How to train.

    Raises:
        InputError: As `trained`, or there are too few regions in a batch for all processes.
        CheckpointError: As `trained`.
    """
    task.team.part(settings.sampling.foreground + settings.sampling.background, "regions")
    network, knows = task.start.network, task.start.knows_classes
    weights = network.state_dict()
    known = {name: one for name, one in weights.items() if knows or not name.startswith("classifier.")}
    return trained(
        task,
        settings,
        {"sampling": asdict(settings.sampling), "linear_batches": settings.linear_batches},
        tensors_checksum(known),
        stored_side=AS_THEY_ARE,
        best=None,
        trainer_of=lambda photographs, described: WarpedTrainer(
            photographs, network, described, settings, task.runtime, team=task.team, quiet=task.quiet
        ),
    )


class WarpedTrainer(RegionTrainer[GoogLeNet, FineTuning, Drawn]):
    """Trains a network on regions that are warped, each by itself.

    Args:
        photographs: With labelled regions.
        network: Trained in place; at the end it has the averaged weights.
        description: Of the classifier, with the summary of the training.
        settings: How to train.
        runtime: Where to compute.
        team: The processes that train together.
        quiet: Show no progress.

    Attributes:
        sampler: Draws the batches.

    Raises:
        InputError: There is nothing to learn from.
    """

    unit = "regions"

    def __init__(
        self,
        photographs: TrainingPhotographs,
        network: GoogLeNet,
        description: ClassifierDescription,
        settings: FineTuneSettings,
        runtime: Runtime,
        *,
        team: Team = ALONE,
        quiet: bool = False,
    ) -> None:
        super().__init__(photographs, network, settings, runtime, team=team, quiet=quiet)
        self._settings, self._description = settings, description
        self._regions = [one.regions for one in photographs.photographs]
        self._unknown = photographs.unknown()
        self._images = ImageCache(photographs.load)
        self.sampler = RegionSampler(self._regions, len(description.class_names), settings.sampling)
        self._part = team.part(self.per_iteration, "regions")

    @property
    def per_iteration(self) -> int:
        """Regions in a batch."""
        return self._settings.sampling.foreground + self._settings.sampling.background

    def prepare(self, state: Path) -> None:
        """Give the last layer its linear start, unless it was trained already."""
        if not self._settings.linear_batches or state.exists():
            return
        start_linear(
            self.network,
            self._fully_labelled(),
            self._images,
            self._description.input_spec,
            self.runtime,
            self._settings.linear_batches,
            quiet=self._quiet,
        )
        linear = replace(self._description, training=_linear_summary(self._description.training))
        save_region_classifier(state.with_name("linear.safetensors"), self.network, linear)

    def tuning(self, network: GoogLeNet, schedule: TrainingSettings) -> FineTuning:
        """Return the network with what trains it."""
        per_pass = self.sampler.batches_per_pass
        return FineTuning(
            network, self._description.input_spec, schedule, self.runtime, batches_per_pass=per_pass, team=self.team
        )

    def draw(self, iteration: int) -> Drawn:
        """Return the batch of an iteration; any thread may do it ahead."""
        batch = self.sampler.draw(iteration).rows(self._part.rows)
        return batch, cut_batch(self._images, batch, self._description.input_spec)

    def images_of(self, iteration: int) -> list[int]:
        """Return the numbers of the photographs in the batch of an iteration."""
        numbers: list[int] = self.sampler.draw(iteration).images.tolist()
        return numbers

    def step(self, tuning: FineTuning, drawn: Drawn) -> dict[str, float]:
        """Take one iteration on a batch, and return its loss by name."""
        batch, crops = drawn
        unknown = None if self._unknown is None else self._unknown[batch.images]
        return {"loss": tuning.step(crops, batch.labels, unknown, self._part)}

    def _fully_labelled(self) -> RegionSampler:
        """Return what draws from photographs with all classes labelled, among which are those of the first data set.

        A linear softmax cannot be told that a region may be one of several things.
        """
        if self._unknown is None:
            return self.sampler
        lacks = [bool(row.any()) for row in self._unknown]
        nothing = np.zeros(0, np.int64)
        regions = [
            replace(one, boxes=one.boxes[:0], labels=nothing, objects=nothing, overlap=one.overlap[:0]) if less else one
            for one, less in zip(self._regions, lacks, strict=True)
        ]
        return RegionSampler(regions, self.sampler.num_classes, self._settings.sampling)


def _linear_summary(summary: dict[str, Any]) -> dict[str, Any]:
    kept = ("data", "pretrained", "images", "sampling", "jitter", "linear_batches")
    return {"recipe": "linear softmax on frozen features", **{name: summary[name] for name in kept if name in summary}}
