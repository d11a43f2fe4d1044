"""How any region classifier is fine-tuned: at which rates, which layers learn, what is lost on a region.

Source: R-CNN technical report v5, section 2.3 and appendix B, for momentum; "Going deeper with convolutions", section
6, for averaged weights at inference and the stepped schedule; Shrivastava et al. 2016, "Training region-based object
detectors with online hard example mining", for hard examples. Where this differs (cosine schedule), the settings say
so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from inception_rcnn.backbones import STAGES, stages_between
from inception_rcnn.backbones.inception import stage_of
from inception_rcnn.backbones.training.loop import cosine_rate, stepped_rate
from inception_rcnn.detector.training.distributed import ALONE, Part, Team
from inception_rcnn.structures import InputError
from inception_rcnn.structures.errors import check_fields

SCHEDULES: Final = ("cosine", "paper-step")
PASSES_PER_STEP: Final = 8


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How the network is fine-tuned.

    Args:
        iterations: Batches, at least 1.
        learning_rate: At its height; rises over `warm_up` iterations, then falls along half a cosine to zero.
        new_layer_factor: The classifier's learning rate over the others' (R-CNN: 10, from a random start).
        momentum: Of SGD, in [0, 1).
        weight_decay: Of weights; biases are not decayed and learn twice as fast, as in Caffe.
        warm_up: Iterations over which the learning rate rises.
        train_from: First stage that learns; the ones before stay as they were.
        averaging: Decay of the running average of weights that is kept as the result; 0 keeps the last weights.
        clip: Largest norm of a step's gradient.
        seed: Of dropout.
        schedule: "cosine", or "paper-step": the rate falls by 4 % every 8 passes over the data, and not to zero.
        frozen: Further stages, and layers by name, that stay as they were.
        hard_examples: Of a batch's regions only so many count, those of the largest loss; None: all. Of regions drawn
            twice both may be among them (the paper leaves out those that overlap much).

    Raises:
        InputError: A field is of another type or a number out of range, or a name is unknown.
    """

    iterations: int = 2000
    learning_rate: float = 0.002
    new_layer_factor: float = 5.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: int = 50
    train_from: str = "4a"
    averaging: float = 0.998
    clip: float = 10.0
    seed: int = 0
    schedule: str = "cosine"
    frozen: tuple[str, ...] = ()
    hard_examples: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.schedule not in SCHEDULES:
            raise InputError(f"unknown schedule {self.schedule!r}; known are {', '.join(SCHEDULES)}")
        if self.hard_examples is not None and self.hard_examples < 1:
            raise InputError(f"hard_examples should be at least 1, got {self.hard_examples}")
        stages_between(self.train_from, STAGES[-1])  # refuses an unknown stage
        if self.iterations < 1:
            raise InputError(f"iterations should be at least 1, got {self.iterations}")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} should be positive and finite, got {getattr(self, name)}")
        for name in ("new_layer_factor", "weight_decay", "warm_up", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} should be 0 or more, got {getattr(self, name)}")
        for name in ("momentum", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} should be at least 0 and less than 1, got {getattr(self, name)}")

    def rate_at(self, iteration: int, batches_per_pass: int = 1) -> float:
        """Return the learning rate of that iteration, counted from 0.

        Args:
            iteration: Which.
            batches_per_pass: In how many all of the data come once, for "paper-step".
        """
        if self.schedule == "paper-step":
            return stepped_rate(self.learning_rate, iteration, PASSES_PER_STEP * batches_per_pass, self.warm_up)
        return cosine_rate(self.learning_rate, iteration, self.iterations, self.warm_up)


def class_losses(logits: Tensor, labels: Tensor, unknown: Tensor | None = None, *, smoothing: float = 0.0) -> Tensor:
    """Return the loss of each region's classes, (R,): -log of the probability of what it shows.

    On a photograph whose classes are not all labelled, a region without a labelled object may be background or one of
    the unknown classes: its loss is -log of the sum of their probabilities.

    Args:
        logits: (R, C + 1).
        labels: (R,) 0..C-1, or C for background.
        unknown: (R, C + 1) classes that are not labelled on each region's photograph; None: all are labelled.
        smoothing: Share of the wanted probability that is spread over all outputs; none of it for a region that may
            be of an unknown class.
    """
    log = logits.float().log_softmax(dim=1)
    background = logits.shape[1] - 1
    wanted = log.gather(1, labels[:, None]).squeeze(1)
    if smoothing:
        wanted = (1 - smoothing) * wanted + smoothing * log.mean(dim=1)
    if unknown is not None:
        is_open = (labels == background) & unknown.any(dim=1)
        maybe = unknown.clone()
        maybe[:, background] = True
        either = log.masked_fill(~maybe, -torch.inf).logsumexp(dim=1)
        wanted = torch.where(is_open, either, wanted)
    return -wanted


def region_weights(
    losses: Tensor, hard_examples: int | None = None, team: Team = ALONE, part: Part | None = None
) -> Tensor:
    """Return what each region counts in the loss, (R,), in the whole batch 1: equally much, or only the hardest ones.

    Args:
        losses: (R,) of the regions of this process.
        hard_examples: How many regions of the largest loss count; None: all.
        team: The processes that share the batch.
        part: Which of its regions these are; None: all.
    """
    part = part or Part(0, len(losses), len(losses))
    if hard_examples is None:
        return torch.full_like(losses, 1 / part.total)
    whole = team.whole(losses.detach(), part)
    hardest = whole.topk(min(hard_examples, part.total)).indices
    return torch.zeros_like(whole).index_fill_(0, hardest, 1 / len(hardest))[part.rows]


def part_of(name: str) -> str:
    """Return the stage or layer that a parameter of either network belongs to, as it is frozen by.

    >>> part_of("trunk.inception_4a.conv1x1.weight"), part_of("conv1.bias"), part_of("lateral.weight")
    ('4a', 'conv1', 'lateral')
    """
    return stage_of(name.removeprefix("trunk."))


def parts_of(network: nn.Module) -> tuple[str, ...]:
    """Return the stages and layers of a network that can be frozen, in their order."""
    names = (name for name, _ in network.named_parameters())
    return tuple(dict.fromkeys(part_of(name) for name in names if not name.startswith("aux_")))


def frozen_parts(settings: TrainingSettings, network: nn.Module) -> frozenset[str]:
    """Return the stages and layers of a network that stay as they are.

    Args:
        settings: Say which.
        network: Which learns.

    Raises:
        InputError: A name to freeze is no stage or layer, or nothing is left to learn.
    """
    parts = parts_of(network)
    for name in settings.frozen:
        if name not in parts:
            raise InputError(f"there is no stage {name!r} to freeze; known are {', '.join(parts)}")
    frozen = {*stages_between(STAGES[0], settings.train_from)[:-1], *settings.frozen}
    if frozen >= set(parts):
        raise InputError("all stages and layers are frozen, so that nothing would learn; freeze fewer")
    return frozenset(frozen)
