"""Six in one: a pooled network learns what several others say of the same regions, the mean of their answers.

    a batch --every teacher, no gradient--> mean probabilities, mean offsets
            --the student--> loss against the labels and against the teachers

The teachers see the very pixels of the student's batch, mirrored and recoloured as they are, so nothing is stored and
no answer is out of date; each reads a region off as many cells as it learned. They also name what a photograph's
annotations leave unknown.

Source: Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network" (soft targets, temperature, the
factor of its square); Chen et al. 2017, "Learning efficient object detection models with knowledge distillation".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.pooled.step import DeviceBatch
from inception_rcnn.structures import InputError
from inception_rcnn.structures.errors import check_fields


@dataclass(frozen=True, kw_only=True)
class DistillationSettings:
    """How much a student listens to its teachers.

    Args:
        share: Of the loss that compares with the teachers; the rest compares with the labels. 0 to 1.
        temperature: By which logits are divided before they are compared: above 1, small probabilities count more.

    Raises:
        InputError: A field is of another type or a number out of range.
    """

    share: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.share <= 1 or not 0.1 <= self.temperature <= 100:
            raise InputError(
                f"share should lie in 0..1 and temperature in 0.1..100, got {self.share} and {self.temperature}"
            )


@dataclass(frozen=True, eq=False)
class Answer:
    """What the teachers say of a batch's regions.

    Attributes:
        probabilities: (R, C + 1) at the temperature of the settings, their mean.
        offsets: (R, 4), the mean of those that move boxes; None: none does.
        object: (R,) the probability that a region shows an object, whatever it is, without temperature.
    """

    probabilities: Tensor
    offsets: Tensor | None
    object: Tensor


class Teachers:
    """Trained pooled networks, which learn nothing any more.

    Args:
        networks: At least one, in float32; moved to the runtime's device.
        settings: How they are listened to.
        runtime: Where to compute.

    Raises:
        InputError: There is none.
    """

    def __init__(self, networks: Sequence[PooledNetwork], settings: DistillationSettings, runtime: Runtime) -> None:
        if not networks:
            raise InputError("distillation needs at least one teacher")
        self.settings = settings
        self._networks = [
            one.eval().requires_grad_(False).to(runtime.device).to(memory_format=torch.channels_last)
            for one in networks
        ]
        self._runtime = runtime

    @torch.no_grad()
    def answer(self, batch: DeviceBatch) -> Answer:
        """Return what they say of a batch."""
        probabilities, objects, moves = [], [], []
        with self._runtime.autocast():
            # Cells as each learned them, whatever the student's batch has.
            found = [one(batch.images, batch.boxes, batch.sizes) for one in self._networks]
        for logits, offsets in found:
            logits = logits.float()
            probabilities.append((logits / self.settings.temperature).softmax(dim=1))
            objects.append(1 - logits.softmax(dim=1)[:, -1])
            if offsets is not None:
                moves.append(offsets.float())
        return Answer(
            torch.stack(probabilities).mean(dim=0),
            torch.stack(moves).mean(dim=0) if moves else None,
            torch.stack(objects).mean(dim=0),
        )

    def blend(
        self, losses: tuple[Tensor, Tensor], logits: Tensor, offsets: Tensor | None, batch: DeviceBatch
    ) -> tuple[Tensor, Tensor]:
        """Return a student's losses on a batch: those against the labels and those against the teachers, by share.

        Args:
            losses: Of classes and offsets against the labels, each (R,).
            logits: (R, C + 1) of the student.
            offsets: (R, 4) of the student, or None.
            batch: The batch.
        """
        share = self.settings.share
        theirs = teacher_losses(logits, offsets, self.answer(batch), self.settings)
        classes, boxes = ((1 - share) * own + share * one for own, one in zip(losses, theirs, strict=True))
        return classes, boxes


def teacher_losses(
    logits: Tensor, offsets: Tensor | None, answer: Answer, settings: DistillationSettings
) -> tuple[Tensor, Tensor]:
    """Return how far a student is from its teachers in classes and in offsets, each (R,), region by region.

    Args:
        logits: (R, C + 1) of the student.
        offsets: (R, 4) of the student; None: it moves no boxes, and that loss is 0.
        answer: Of the teachers.
        settings: Their temperature; the loss of classes is 0 where the student says the same.
    """
    temperature = settings.temperature
    said = (logits.float() / temperature).log_softmax(dim=1)
    classes = functional.kl_div(said, answer.probabilities, reduction="none").sum(dim=1) * temperature**2
    if offsets is None or answer.offsets is None:
        return classes, torch.zeros_like(classes)
    apart = functional.smooth_l1_loss(offsets.float(), answer.offsets, reduction="none").sum(dim=1)
    # Offsets mean something where there is an object.
    return classes, apart * answer.object
