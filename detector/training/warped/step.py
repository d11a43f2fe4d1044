"""One step on a batch of warped regions.

Source: R-CNN technical report v5, section 2.3 and appendix B.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones import STAGES, GoogLeNet, InputSpec
from inception_rcnn.backbones.runtime import Runtime, upload
from inception_rcnn.backbones.training.distributed import ALONE, Part, Team
from inception_rcnn.backbones.training.loop import AveragedTraining, seeded
from inception_rcnn.backbones.training.sgd import frozen_parts, part_of
from inception_rcnn.detector.training.settings import TrainingSettings, class_losses, region_weights


class FineTuning:
    """A network being fine-tuned.

    Args:
        network: C + 1 outputs, in float32; it is trained in place.
        spec: How regions become its input.
        settings: How to train.
        runtime: Where; products are computed in its type, weights are kept in float32.
        batches_per_pass: See `TrainingSettings.rate_at`.
        team: The processes that share each batch.

    Attributes:
        averaged: Optimizer, running average and state.
    """

    def __init__(
        self,
        network: GoogLeNet,
        spec: InputSpec,
        settings: TrainingSettings,
        runtime: Runtime,
        *,
        batches_per_pass: int = 1,
        team: Team = ALONE,
    ) -> None:
        self.settings, self.batches_per_pass, self.team = settings, batches_per_pass, team
        self.spec = spec
        self.runtime = runtime
        self.network = network.to(runtime.device).to(memory_format=torch.channels_last)
        frozen = frozen_parts(settings, network)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(part_of(name) not in frozen and not name.startswith("aux_"))
        self.averaged = AveragedTraining(
            network,
            settings.optimizer(network, ("classifier",)),
            memory=("momentum_buffer",),
            averaging=settings.averaging,
            clip=settings.clip,
            add_up=None if team.alone else team.add_up,
        )

    def step(
        self,
        crops: NDArray[np.uint8],
        labels: NDArray[np.int64],
        unknown: NDArray[np.bool_] | None = None,
        part: Part | None = None,
    ) -> float:
        """Take one iteration on a batch, and return its mean loss.

        Args:
            crops: (B, side, side, 3) uint8 RGB, of this process's regions.
            labels: (B,) int64, 0..C-1, or C for background.
            unknown: See `class_losses`.
            part: Which of the batch's regions these are; None: all.

        Raises:
            InceptionError: Loss or gradient is not finite; the weights are left as they were before the step.
        """
        iteration, device = self.averaged.iteration, self.runtime.device
        self.network.train()
        # Dropout is a function of seed and iteration, the same after a resume; the caller's generator is left alone.
        with (
            seeded(self.settings.seed * 1_000_003 + iteration, device),
            self.team.dropout(self.network.dropout, part),
        ):
            logits = self._logits(torch.from_numpy(crops).to(device))
        maybe = None if unknown is None else upload(unknown, device)
        losses = class_losses(logits, torch.from_numpy(labels).to(device), maybe)
        loss = (losses * region_weights(losses, self.settings.hard_examples, self.team, part)).sum()
        return self.averaged.update(loss, self.settings.rate_at(iteration, self.batches_per_pass))

    def _logits(self, pixels: Tensor) -> Tensor:
        network, first = self.network, self.settings.train_from
        with self.runtime.autocast():
            x = self.spec.apply(pixels, self.runtime.dtype)
            if first != STAGES[0]:
                with torch.no_grad():
                    x = network.trunk(x, stop=STAGES[STAGES.index(first) - 1])
            logits: Tensor = network.classify(network.trunk(x, start=first))
        return logits.float()
