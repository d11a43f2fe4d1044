"""Fine-tuning the region classifier: which layers learn, at which rates, and the step on a batch of warped regions.

Source: R-CNN technical report v5, section 2.3 and appendix B, for batches and momentum; "Going deeper with
convolutions", section 6, for averaged weights at inference. Where this differs (cosine schedule, evened-out draws),
the settings say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones import STAGES, GoogLeNet, InputSpec, stages_between
from inception_rcnn.backbones.inception import stage_of
from inception_rcnn.backbones.runtime import Runtime, upload
from inception_rcnn.backbones.training import AveragedTraining, cosine_rate, seeded
from inception_rcnn.structures import InputError


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

    Raises:
        InputError: A number is out of range, or `train_from` is no stage.
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

    def __post_init__(self) -> None:
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

    def rate_at(self, iteration: int) -> float:
        """Return the learning rate of that iteration, counted from 0."""
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


class FineTuning:
    """A network being fine-tuned.

    Args:
        network: C + 1 outputs, in float32; it is trained in place.
        spec: How regions become its input.
        settings: How to train.
        runtime: Where; products are computed in its type, weights are kept in float32.

    Attributes:
        averaged: Optimizer, running average and state.
    """

    def __init__(self, network: GoogLeNet, spec: InputSpec, settings: TrainingSettings, runtime: Runtime) -> None:
        self.settings = settings
        self.spec = spec
        self.runtime = runtime
        self.network = network.to(runtime.device).to(memory_format=torch.channels_last)
        learning = dict(self._learning_parameters())
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in learning)
        optimizer = torch.optim.SGD(self._groups(learning), lr=settings.learning_rate, momentum=settings.momentum)
        self.averaged = AveragedTraining(
            network, optimizer, memory=("momentum_buffer",), averaging=settings.averaging, clip=settings.clip
        )

    def step(
        self, crops: NDArray[np.uint8], labels: NDArray[np.int64], unknown: NDArray[np.bool_] | None = None
    ) -> float:
        """Take one iteration on a batch, and return its mean loss.

        Args:
            crops: (B, side, side, 3) uint8 RGB.
            labels: (B,) int64, 0..C-1, or C for background.
            unknown: See `class_losses`.

        Raises:
            InceptionError: Loss or gradient is not finite; the weights are left as they were before the step.
        """
        iteration, device = self.averaged.iteration, self.runtime.device
        # Dropout is a function of seed and iteration, the same after a resume; the caller's generator is left alone.
        with seeded(self.settings.seed * 1_000_003 + iteration, device):
            logits = self._logits(torch.from_numpy(crops).to(device))
        maybe = None if unknown is None else upload(unknown, device)
        loss = class_losses(logits, torch.from_numpy(labels).to(device), maybe).mean()
        return self.averaged.update(loss, self.settings.rate_at(iteration))

    def _logits(self, pixels: Tensor) -> Tensor:
        network, first = self.network, self.settings.train_from
        network.train()
        with torch.autocast(self.runtime.device.type, torch.bfloat16, enabled=self.runtime.dtype == torch.bfloat16):
            x = self.spec.apply(pixels, self.runtime.dtype)
            if first != STAGES[0]:
                with torch.no_grad():
                    x = network.trunk(x, stop=STAGES[STAGES.index(first) - 1])
            logits: Tensor = network.classify(network.trunk(x, start=first))
        return logits.float()

    def _learning_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        frozen = set(stages_between(STAGES[0], self.settings.train_from)[:-1])
        for name, parameter in self.network.named_parameters():
            if stage_of(name) not in frozen and not name.startswith("aux_"):
                yield name, parameter

    def _groups(self, learning: dict[str, torch.nn.Parameter]) -> list[dict[str, Any]]:
        """Return the optimizer's groups, one for each parameter: rate and decay differ by layer, weight and bias."""
        groups = []
        for name, parameter in learning.items():
            bias = name.endswith("bias")
            factor = (2.0 if bias else 1.0) * (self.settings.new_layer_factor if name.startswith("classifier") else 1.0)
            decay = 0.0 if bias else self.settings.weight_decay
            groups.append({"params": [parameter], "weight_decay": decay, "factor": factor})
        return groups
