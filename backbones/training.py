"""The part of a training that is the same for every network: the step, the running average of weights, and a state
that can be resumed.

Source of the average: "Going deeper with convolutions", section 6 (Polyak averaging for the model used at inference).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from inception_rcnn.backbones.checkpoints import Checkpoint, check_tensor, read_checkpoint, write_checkpoint
from inception_rcnn.structures import CheckpointError, InceptionError

STATE_KIND: Final = "training-state"


class AveragedTraining:
    """A network in training, with its optimizer and the running average of what learns.

    Args of the constructor:
        network: trained in place; only what requires a gradient learns.
        optimizer: over those parameters. Each of its groups has a `factor` of the learning rate.
        averaging: decay of the running average; 0 keeps the last weights.
        clip: largest norm of a step's gradient.

    Attributes:
        iteration: steps done.
        learning: what learns, by name.
        average: its running average, by name.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, *, averaging: float, clip: float) -> None:
        self.network = network
        self.optimizer = optimizer
        self.iteration = 0
        self.learning = {name: one for name, one in network.named_parameters() if one.requires_grad}
        self.average = {name: parameter.detach().clone() for name, parameter in self.learning.items()}
        self._averaging = averaging
        self._clip = clip

    def update(self, loss: Tensor, rate: float) -> None:
        """One step down the loss at that learning rate.

        Raises:
            InceptionError: loss or gradient is not finite; the weights are left as they were.
        """
        self._check_finite("loss", loss)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.learning.values(), self._clip)
        self._check_finite("norm of the gradient", norm)
        self.optimizer.step()
        self.iteration += 1
        self._update_average()

    def result(self) -> dict[str, Tensor]:
        """The state dict of the averaged network, the result of the training so far."""
        return {**self.network.state_dict(), **self.average}

    def save(self, path: Path, settings: Mapping[str, Any], note: Mapping[str, Any]) -> None:
        """Writes everything that `resume` needs: weights, average, the optimizer's memory, iteration."""
        tensors = {f"weight.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        for name, parameter in self.learning.items():
            for key, tensor in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = tensor
        description = {"iteration": self.iteration, "settings": dict(settings), "note": dict(note)}
        write_checkpoint(path, STATE_KIND, description, tensors)

    def resume(self, path: Path, settings: Mapping[str, Any], note: Mapping[str, Any], memory: Sequence[str]) -> None:
        """Continues where `save` left off.

        Args:
            path: the state.
            settings: of this run; those of the state must be the same.
            note: likewise, about the data.
            memory: what the optimizer remembers of each parameter, in its own words ("momentum_buffer").
        Raises:
            CheckpointError: the state is damaged, or belongs to other settings or another network; names the first
                thing that differs.
        """
        state = read_checkpoint(path, STATE_KIND)
        _check_same_run(state, settings, note)
        parts = self._parts_of(state, memory)
        self.network.load_state_dict(parts["weight"])
        self.average = parts["average"]
        for key in memory:
            for name, tensor in parts[key].items():
                self.optimizer.state[self.learning[name]][key] = tensor
        self.iteration = state.description["iteration"]

    def _parts_of(self, state: Checkpoint, memory: Sequence[str]) -> dict[str, dict[str, Tensor]]:
        """The state's tensors by part, on the network's device, each checked against what it will replace."""
        wanted = {f"weight.{name}": tensor for name, tensor in self.network.state_dict().items()}
        wanted |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        if state.description["iteration"]:  # nothing is remembered before the first step
            for key in memory:
                like = {name: torch.zeros(()) if key == "step" else one for name, one in self.learning.items()}
                wanted |= {f"{key}.{name}": tensor.detach() for name, tensor in like.items()}
        if wrong := sorted(set(wanted) ^ set(state.tensors)):
            raise CheckpointError(
                f"{state.path} is of another network: {len(wrong)} tensors are missing or extra, first {wrong[0]!r}"
            )
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in ("weight", "average", *memory)}
        for name, tensor in state.tensors.items():
            check_tensor(name, tensor, wanted[name], str(state.path))
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor.to(wanted[name].device)
        return parts

    def _check_finite(self, what: str, value: Tensor) -> None:
        if not bool(torch.isfinite(value)):
            raise InceptionError(f"the {what} is {value.item()} at iteration {self.iteration}; lower the learning rate")

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early on the average would be mostly the start; let it follow quickly at first.
        decay = min(self._averaging, (1 + self.iteration) / (10 + self.iteration))
        for name, parameter in self.learning.items():
            self.average[name].lerp_(parameter, 1 - decay)


def cosine_rate(highest: float, iteration: int, iterations: int, warm_up: int) -> float:
    """The learning rate of an iteration, counted from 0: a straight rise, then half a cosine down to zero."""
    rise = min(1.0, (iteration + 1) / max(1, warm_up))
    return highest * rise * (1 + math.cos(math.pi * iteration / iterations)) / 2


def _check_same_run(state: Checkpoint, settings: Mapping[str, Any], note: Mapping[str, Any]) -> None:
    for field, kind in (("settings", dict), ("note", dict), ("iteration", int)):
        if not isinstance(state.description.get(field), kind):
            raise CheckpointError(f"{state.path}: the description lacks {field!r}, a {kind.__name__}")
    theirs = {**state.description["settings"], **state.description["note"]}
    for name, ours in json.loads(json.dumps({**settings, **note})).items():  # as they come back: lists, not tuples
        if theirs.get(name) != ours:
            raise CheckpointError(
                f"{state.path} was made with {name} = {theirs.get(name)!r}, this run has {ours!r}; "
                f"repeat the old setting to go on, or name another output folder to start afresh"
            )
