"""How a network is fine-tuned by SGD: at which rates, in which course, which of its stages learn.

Source: R-CNN technical report v5, section 2.3 and appendix B, for momentum; "Going deeper with convolutions", section
6, for averaged weights at inference and the stepped schedule. Where this differs (cosine schedule), the settings say
so.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from inception_rcnn.backbones.inception import STAGES, stage_of, stages_between
from inception_rcnn.backbones.training.loop import cosine_rate, stepped_rate
from inception_rcnn.structures import InputError
from inception_rcnn.structures.errors import check_fields

SCHEDULES: Final = ("cosine", "paper-step")
PASSES_PER_STEP: Final = 8


@dataclass(frozen=True, kw_only=True)
class SgdSettings:
    """How a network is fine-tuned.

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

    def __post_init__(self) -> None:
        check_fields(self)
        if self.schedule not in SCHEDULES:
            raise InputError(f"unknown schedule {self.schedule!r}; known are {', '.join(SCHEDULES)}")
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

    def optimizer(self, network: nn.Module, new_layers: Collection[str], *, fused: bool = False) -> torch.optim.SGD:
        """Return SGD over what learns in a network; each group of weights or biases has its `factor` of the rate.

        Args:
            network: What requires a gradient learns.
            new_layers: By their names; `new_layer_factor` counts for them.
            fused: Whether a step is one kernel, on a GPU.
        """
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                groups.setdefault((name.endswith("bias"), name.split(".")[0] in new_layers), []).append(parameter)
        described = [
            {
                "params": parameters,
                "weight_decay": 0.0 if bias else self.weight_decay,
                "factor": (2.0 if bias else 1.0) * (self.new_layer_factor if new else 1.0),
            }
            for (bias, new), parameters in groups.items()
        ]
        return torch.optim.SGD(described, lr=self.learning_rate, momentum=self.momentum, fused=fused or None)


def part_of(name: str) -> str:
    """Return the stage or layer that a parameter belongs to, as it is frozen by; of a detector's trunk likewise.

    >>> part_of("trunk.inception_4a.conv1x1.weight"), part_of("conv1.bias"), part_of("lateral.weight")
    ('4a', 'conv1', 'lateral')
    """
    return stage_of(name.removeprefix("trunk."))


def parts_of(network: nn.Module) -> tuple[str, ...]:
    """Return the stages and layers of a network that can be frozen, in their order."""
    names = (name for name, _ in network.named_parameters())
    return tuple(dict.fromkeys(part_of(name) for name in names if not name.startswith("aux_")))


def frozen_parts(settings: SgdSettings, network: nn.Module) -> frozenset[str]:
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
