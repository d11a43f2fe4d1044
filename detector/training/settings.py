"""How any region classifier is fine-tuned: what is lost on a region, and which regions count.

Source: Shrivastava et al. 2016, "Training region-based object detectors with online hard example mining", for hard
examples; `SgdSettings` for all else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inception_rcnn.backbones.training.distributed import ALONE, Part, Team
from inception_rcnn.backbones.training.sgd import SgdSettings
from inception_rcnn.structures import InputError


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(SgdSettings):
    """How the network is fine-tuned; see `SgdSettings` for all but the last.

    Args:
        iterations: Batches.
        learning_rate: At its height.
        new_layer_factor: The classifier's learning rate over the others'.
        momentum: Of SGD.
        weight_decay: Of weights.
        warm_up: Iterations over which the learning rate rises.
        train_from: First stage that learns.
        averaging: Decay of the running average of weights.
        clip: Largest norm of a step's gradient.
        seed: Of dropout.
        schedule: "cosine" or "paper-step".
        frozen: Further stages and layers that stay as they were.
        hard_examples: Of a batch's regions only so many count, those of the largest loss; None: all. Of regions drawn
            twice both may be among them (the paper leaves out those that overlap much).

    Raises:
        InputError: A field is of another type or a number out of range, or a name is unknown.
    """

    hard_examples: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hard_examples is not None and self.hard_examples < 1:
            raise InputError(f"hard_examples should be at least 1, got {self.hard_examples}")


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
