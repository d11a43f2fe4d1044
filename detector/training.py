"""Fine-tuning the region classifier: the step, the average of weights, and a state that can be resumed.

Source: R-CNN technical report v5, section 2.3 and appendix B, for batches and momentum; "Going deeper with
convolutions", section 6, for averaged weights at inference. Where this differs (cosine schedule, evened-out draws),
the settings say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones import (
    STAGES,
    Checkpoint,
    GoogLeNet,
    InputSpec,
    read_checkpoint,
    stages_between,
    write_checkpoint,
)
from inception_rcnn.backbones.checkpoint_files import check_tensor
from inception_rcnn.detector.runtime import Runtime
from inception_rcnn.structures import CheckpointError, InceptionError, InputError

STATE_KIND = "training-state"


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How the network is fine-tuned.

    Attributes:
        iterations: batches.
        learning_rate: at its height; rises over `warm_up` iterations, then falls along a half cosine to zero.
        new_layer_factor: the classifier's learning rate over the others' (R-CNN: 10, from a random start).
        momentum, weight_decay: of SGD; biases are not decayed and learn twice as fast, as in Caffe.
        train_from: first stage that learns; the ones before stay as they were.
        averaging: decay of the running average of weights that is kept as the result; 0 keeps the last weights.
        clip: largest norm of a step's gradient.
        seed: of dropout.
    Raises:
        InputError: a number is out of range, or `train_from` is no stage.
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
        """The learning rate of that iteration, counted from 0."""
        rise = min(1.0, (iteration + 1) / max(1, self.warm_up))
        return self.learning_rate * rise * (1 + math.cos(math.pi * iteration / self.iterations)) / 2


@dataclass(frozen=True)
class StepResult:
    """What one step reports: mean loss, share of foreground and of background regions classified rightly."""

    loss: float
    foreground_accuracy: float
    background_accuracy: float


class FineTuning:
    """A network being fine-tuned, with optimizer and running average.

    Args of the constructor:
        network: C + 1 outputs, in float32; it is trained in place.
        spec: how regions become its input.
        settings: how to train.
        runtime: where; products are computed in its type, weights are kept in float32.
    """

    def __init__(self, network: GoogLeNet, spec: InputSpec, settings: TrainingSettings, runtime: Runtime) -> None:
        self.settings = settings
        self.spec = spec
        self.runtime = runtime
        self.network = network.to(runtime.device).to(memory_format=torch.channels_last)
        self.iteration = 0
        self.learning = dict(self._learning_parameters())
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in self.learning)
        self.optimizer = torch.optim.SGD(self._groups(), lr=settings.learning_rate, momentum=settings.momentum)
        self.average = {name: parameter.detach().clone() for name, parameter in self.learning.items()}

    def step(self, crops: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> StepResult:
        """One iteration on a batch of regions (B, side, side, 3) with labels (B,).

        Raises:
            InceptionError: loss or gradient is not finite; the weights are left as they were before the step.
        """
        self._set_rates()
        torch.manual_seed(self.settings.seed * 1_000_003 + self.iteration)  # dropout, the same after a resume
        target = torch.from_numpy(labels).to(self.runtime.device)
        logits = self._logits(torch.from_numpy(crops).to(self.runtime.device))
        loss = functional.cross_entropy(logits, target)
        self._check_finite("loss", loss)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.learning.values(), self.settings.clip)
        self._check_finite("norm of the gradient", norm)
        self.optimizer.step()
        self.iteration += 1
        self._update_average()
        right = (logits.detach().argmax(dim=1) == target).float()
        background = target == self.network.num_classes - 1
        return StepResult(loss.item(), right[~background].mean().item(), right[background].mean().item())

    def result(self) -> dict[str, Tensor]:
        """The state dict of the averaged network, the result of the training so far."""
        return {**self.network.state_dict(), **self.average}

    def save(self, path: Path, note: dict[str, Any]) -> None:
        """Writes everything that `resume` needs: weights, average, momentum, iteration."""
        tensors = {f"weight.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        for name, parameter in self.learning.items():
            if (momentum := self.optimizer.state.get(parameter, {}).get("momentum_buffer")) is not None:
                tensors[f"momentum.{name}"] = momentum
        description = {"iteration": self.iteration, "settings": asdict(self.settings), "note": note}
        write_checkpoint(path, STATE_KIND, description, tensors)

    def resume(self, path: Path, note: dict[str, Any]) -> None:
        """Continues where `save` left off.

        Raises:
            CheckpointError: the state is damaged, or belongs to other settings or another network; names the first
                thing that differs.
        """
        state = read_checkpoint(path, STATE_KIND)
        for field, kind in (("settings", dict), ("note", dict), ("iteration", int)):
            if not isinstance(state.description.get(field), kind):
                raise CheckpointError(f"{path}: the description lacks {field!r}, a {kind.__name__}")
        for name, ours in ({**asdict(self.settings), **note}).items():
            theirs = {**state.description["settings"], **state.description["note"]}.get(name)
            if theirs != ours:
                raise CheckpointError(
                    f"{path} was made with {name} = {theirs!r}, this run has {ours!r}; "
                    f"repeat the old setting to go on, or name another output folder to start afresh"
                )
        parts = self._parts_of(state)
        self.network.load_state_dict(parts["weight"])
        self.average = parts["average"]
        for name, momentum in parts["momentum"].items():
            self.optimizer.state[self.learning[name]]["momentum_buffer"] = momentum
        self.iteration = state.description["iteration"]

    def _parts_of(self, state: Checkpoint) -> dict[str, dict[str, Tensor]]:
        """The state's tensors by part, on the device, each checked against what it will replace."""
        wanted = {f"weight.{name}": tensor for name, tensor in self.network.state_dict().items()}
        wanted |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        if any(name.startswith("momentum.") for name in state.tensors):  # none before the first step
            wanted |= {f"momentum.{name}": parameter.detach() for name, parameter in self.learning.items()}
        if wrong := sorted(set(wanted) ^ set(state.tensors)):
            raise CheckpointError(
                f"{state.path} is of another network: {len(wrong)} tensors are missing or extra, first {wrong[0]!r}"
            )
        parts: dict[str, dict[str, Tensor]] = {"weight": {}, "average": {}, "momentum": {}}
        for name, tensor in state.tensors.items():
            check_tensor(name, tensor, wanted[name], str(state.path))
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor.to(self.runtime.device)
        return parts

    def _check_finite(self, what: str, value: Tensor) -> None:
        if not bool(torch.isfinite(value)):
            raise InceptionError(f"the {what} is {value.item()} at iteration {self.iteration}; lower the learning rate")

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
            part = name.split(".")[0]
            stage = part.removeprefix("inception_").removesuffix("_reduce")
            if stage not in frozen and not part.startswith("aux_"):
                yield name, parameter

    def _groups(self) -> list[dict[str, Any]]:
        groups = []
        for name, parameter in self.learning.items():
            bias = name.endswith("bias")
            factor = (2.0 if bias else 1.0) * (self.settings.new_layer_factor if name.startswith("classifier") else 1.0)
            decay = 0.0 if bias else self.settings.weight_decay
            groups.append({"params": [parameter], "weight_decay": decay, "factor": factor})
        return groups

    def _set_rates(self) -> None:
        rate = self.settings.rate_at(self.iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early on the average would be mostly the start; let it follow quickly at first.
        decay = min(self.settings.averaging, (1 + self.iteration) / (10 + self.iteration))
        for name, parameter in self.learning.items():
            self.average[name].lerp_(parameter, 1 - decay)
