"""The part of a training that is the same for every network: the loop, the step, the running average of weights, and a
state that can be resumed by the same run only.

    for each iteration:  draw (ahead, in threads) -> step: loss, update, average -> progress -> save

Source of the average: "Going deeper with convolutions", section 6 (Polyak averaging for the model used at inference).
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from inception_rcnn.backbones.checkpoints import (
    Checkpoint,
    check_tensor,
    read_checkpoint,
    read_description,
    write_checkpoint,
)
from inception_rcnn.structures import CheckpointError, InceptionError, progress_bar
from inception_rcnn.structures.ahead import run_ahead

Batch = TypeVar("Batch")

STATE_KIND: Final = "training-state"
_AFRESH: Final = "name another output folder to start afresh"
_SHOWN_NAMES: Final = 5  # of the class names in an error
_SHOWN_STEPS: Final = 50  # over which the figures beside the progress bar are averaged


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What decides the result of a training. A saved state is gone on with by the run that it is from, and no other.

    Args:
        settings: JSON values.
        class_names: What the network's outputs stand for, in order; empty where there are no classes.
        checksums: Of all that the network learns from, under the name that an error gives it, in the plural:
            ``{"pre-trained weights (--pretrained)": "3f..."}``.
    """

    settings: Mapping[str, Any]
    class_names: tuple[str, ...] = ()
    checksums: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the run as a file gives it back: lists, not tuples."""
        return dict(json.loads(json.dumps(asdict(self))))

    def check_state(self, path: Path) -> None:
        """Raise if there is a state that another run left; what this run does not know yet is not compared.

        Raises:
            CheckpointError: There is one; the text names what differs, and the remedy.
        """
        if path.exists():
            self.check_description(read_description(path), path)

    def check_description(self, description: Mapping[str, Any], path: Path) -> None:
        """Raise if a state's description is of another run. See `check_state`."""
        if description["kind"] != STATE_KIND:
            raise CheckpointError(f"{path} is of kind {description['kind']!r}; {STATE_KIND!r} is needed here")
        theirs = description.get("run")
        if not isinstance(theirs, dict) or set(theirs) != set(asdict(self)):
            raise CheckpointError(f"{path} does not say what it was made from, as states of older versions; {_AFRESH}")
        ours = self.to_dict()
        if theirs["class_names"] != ours["class_names"]:
            raise CheckpointError(f"{path} was made with {_class_change(theirs['class_names'], self.class_names)}")
        for name, checksum in self.checksums.items():
            if theirs["checksums"].get(name) != checksum:
                raise CheckpointError(
                    f"{path}: the {name} have changed since it was made; go on with the former ones, or {_AFRESH}"
                )
        for name, value in ours["settings"].items():
            if theirs["settings"].get(name) != value:
                raise CheckpointError(
                    f"{path} was made with {name} = {theirs['settings'].get(name)!r}, this run has {value!r}; "
                    f"repeat the old setting to go on, or {_AFRESH}"
                )


def _class_change(before: Sequence[str], now: Sequence[str]) -> str:
    """Return one line on class names that were added, removed, or put in another order."""
    gone, added = [one for one in before if one not in now], [one for one in now if one not in before]
    if len(before) != len(now):
        found = (("new", added), ("gone", gone))
        changes = [f"{word}: {', '.join(names[:_SHOWN_NAMES])}" for word, names in found if names]
        return f"{len(before)} classes, the data set has {len(now)} ({'; '.join(changes)}); {_AFRESH}"
    first = next(place for place, names in enumerate(zip(before, now, strict=True)) if names[0] != names[1])
    shown = slice(first, first + _SHOWN_NAMES)
    where = f" (from class {first} on)" if len(before) > _SHOWN_NAMES else ""
    return f"other classes{where}: they were {', '.join(before[shown])}; now {', '.join(now[shown])}; {_AFRESH}"


class NotFiniteError(InceptionError):
    """A loss or the norm of a gradient is not finite.

    Args:
        what: Which of them.
        value: What it is.
        iteration: Of the step, from 0.
    """

    def __init__(self, what: str, value: float, iteration: int) -> None:
        super().__init__(f"the {what} is {value} at iteration {iteration}; lower the learning rate")
        self.iteration = iteration


class AveragedTraining:
    """A network in training, with its optimizer and the running average of what learns.

    Args:
        network: Trained in place; only what requires a gradient learns.
        optimizer: Over those parameters. Each of its groups has a `factor` of the learning rate.
        memory: What the optimizer remembers of each parameter, by its own names, such as ``("momentum_buffer",)``.
        averaging: Decay of the running average; 0 keeps the last weights.
        clip: Largest norm of a step's gradient.
        add_up: Replaces tensors by their sums over the processes that train together, each with its share of the loss;
            None: there is one.

    Attributes:
        iteration: Steps done.
        rate: Learning rate of the last step.
        learning: What learns, by name.
        average: Its running average, by name.
        notes: JSON values that belong to the state, and are there again when it is resumed.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        memory: Sequence[str],
        averaging: float,
        clip: float,
        add_up: Callable[[Sequence[Tensor]], None] | None = None,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.iteration, self.rate = 0, 0.0
        self.notes: dict[str, Any] = {}
        self._sums: dict[str, float] = {}  # of the losses since `mean_losses` was last asked, and of how many steps
        self._summed = 0
        self._last = math.nan  # the loss that was read last
        self._unread: tuple[int, tuple[str, ...], Tensor, torch.cuda.Event] | None = None
        self.learning = {name: one for name, one in network.named_parameters() if one.requires_grad}
        self.average = {name: parameter.detach().clone() for name, parameter in self.learning.items()}
        self._memory = tuple(memory)
        self._averaging = averaging
        self._clip, self._add_up = clip, add_up

    def update(self, loss: Tensor, rate: float, parts: Mapping[str, Tensor] | None = None) -> float:
        """Take one step down the loss at that learning rate, and return the loss.

        On a GPU nothing waits: loss and gradient are looked at one step later, and it is the loss of a step before
        that is returned, NaN at first.

        Args:
            loss: A number.
            rate: Of the learning.
            parts: What the loss is the sum of, by name, for `mean_losses`.

        Raises:
            NotFiniteError: Loss or gradient is not finite; the weights are left as they were, on a GPU useless.
        """
        self.rate = rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        named = {"loss": loss, **(parts or {})}
        losses = torch.stack([one.detach().float() for one in named.values()])
        if self._add_up is not None:
            self._add_up([losses, *(one.grad for one in self.learning.values() if one.grad is not None)])
        norm = torch.nn.utils.clip_grad_norm_(self.learning.values(), self._clip)
        values = torch.cat([losses, norm.float()[None]])
        if values.device.type == "cuda":
            self._read_later(tuple(named), values)
        else:
            self._read(self.iteration, tuple(named), values)
        self.optimizer.step()
        self.iteration += 1
        self._update_average()
        return self._last

    def check(self) -> None:
        """Look at what the last step on a GPU left unread.

        Raises:
            NotFiniteError: Its loss or gradient was not finite.
        """
        if self._unread is not None:
            iteration, names, values, copied = self._unread
            self._unread = None
            copied.synchronize()
            self._read(iteration, names, values)

    def mean_losses(self) -> dict[str, float]:
        """Return the mean of each loss over the steps since this was last asked, in this run or before a resume.

        Raises:
            NotFiniteError: The last step's loss or gradient was not finite.
        """
        self.check()
        means = {name: total / self._summed for name, total in self._sums.items()}
        self._sums, self._summed = {}, 0
        return means

    def _read_later(self, names: tuple[str, ...], values: Tensor) -> None:
        """Start copying a step's losses and norm to the CPU; read those of the step before."""
        host = torch.empty(len(values), pin_memory=True)
        host.copy_(values, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
        self.check()
        self._unread = (self.iteration, names, host, copied)

    def _read(self, iteration: int, names: tuple[str, ...], values: Tensor) -> None:
        """Take note of a step's losses, which are on the CPU, the norm of the gradient behind them."""
        *losses, norm = values.tolist()
        for what, value in (("loss", losses[0]), ("norm of the gradient", norm)):
            if not math.isfinite(value):
                raise NotFiniteError(what, value, iteration)
        self._last = losses[0]
        self._sums = {name: self._sums.get(name, 0.0) + one for name, one in zip(names, losses, strict=True)}
        self._summed += 1

    def result(self) -> dict[str, Tensor]:
        """Return the state dict of the averaged network, the result of the training so far."""
        return {**self.network.state_dict(), **self.average}

    def save(self, path: Path, run: TrainingRun) -> None:
        """Write everything that `resume` needs: weights, average, the optimizer's memory, iteration, losses, notes.

        Raises:
            NotFiniteError: The last step's loss or gradient was not finite; nothing is written.
        """
        self.check()
        tensors = {f"weight.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        for name, parameter in self.learning.items():
            for key, tensor in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = tensor
        losses = {"steps": self._summed, "sums": self._sums}
        description = {"iteration": self.iteration, "run": run.to_dict(), "losses": losses, "notes": self.notes}
        write_checkpoint(path, STATE_KIND, description, tensors)

    def resume(self, path: Path, run: TrainingRun) -> None:
        """Continue where `save` left off.

        Raises:
            CheckpointError: The state is damaged, or of another run or another network; the text names the first
                difference.
        """
        run.check_state(path)
        state = read_checkpoint(path, STATE_KIND)
        if type(state.description.get("iteration")) is not int:
            raise CheckpointError(f"{path}: the description lacks 'iteration', a whole number")
        parts = self._parts_of(state)
        self.network.load_state_dict(parts["weight"])
        self.average = parts["average"]
        for key in self._memory:
            for name, tensor in parts[key].items():
                self.optimizer.state[self.learning[name]][key] = tensor
        self.iteration = state.description["iteration"]
        losses = state.description.get("losses", {"steps": 0, "sums": {}})
        self._summed, self._sums = losses["steps"], dict(losses["sums"])
        self.notes = dict(state.description.get("notes", {}))

    def _parts_of(self, state: Checkpoint) -> dict[str, dict[str, Tensor]]:
        """Return the state's tensors by part, on the network's device, each checked against what it will replace."""
        wanted = {f"weight.{name}": tensor for name, tensor in self.network.state_dict().items()}
        wanted |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        if state.description["iteration"]:  # nothing is remembered before the first step
            for key in self._memory:
                like = {name: torch.zeros(()) if key == "step" else one for name, one in self.learning.items()}
                wanted |= {f"{key}.{name}": tensor.detach() for name, tensor in like.items()}
        if wrong := sorted(set(wanted) ^ set(state.tensors)):
            raise CheckpointError(
                f"{state.path} is of another network: {len(wrong)} tensors are missing or extra, first {wrong[0]!r}"
            )
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in ("weight", "average", *self._memory)}
        for name, tensor in state.tensors.items():
            check_tensor(name, tensor, wanted[name], str(state.path))
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor.to(wanted[name].device)
        return parts

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early on the average would be mostly the start; let it follow quickly at first.
        decay = min(self._averaging, (1 + self.iteration) / (10 + self.iteration))
        average = [self.average[name] for name in self.learning]
        torch._foreach_lerp_(average, [one.detach() for one in self.learning.values()], 1 - decay)


def run_training(
    training: AveragedTraining,
    draw: Callable[[int], Batch],
    step: Callable[[Batch], Mapping[str, float]],
    run: TrainingRun,
    state: Path,
    *,
    iterations: int,
    save_every: int,
    title: str,
    after_step: Callable[[int], Mapping[str, float]] | None = None,
    workers: int = 1,
    writes: bool = True,
    quiet: bool = False,
    ended: Callable[[], bool] | None = None,
) -> None:
    """Train until `iterations` steps are done, from where the state left off if there is one.

    Args:
        training: What `step` updates.
        draw: Number of an iteration -> its batch, the same at every call; called ahead, in threads.
        step: Takes one iteration on a batch; what it returns is shown, averaged over the last steps.
        run: What decides the result.
        state: File of the state, written every `save_every` iterations and at the end.
        iterations: How many in all.
        save_every: Iterations between two states.
        title: Stands before the progress.
        after_step: Called with the number of iterations done, before the state is saved; what it returns is shown, and
            stays beside the bar until it returns something else.
        workers: Threads that draw, each one iteration ahead.
        writes: Whether this process saves the state; of several, one does.
        quiet: Show no progress.
        ended: Asked before the first step and after each one whether that was enough; None: it never is.

    Raises:
        CheckpointError: The state is damaged, or of another run.
        NotFiniteError: A loss or a gradient is not finite; the state stays what it was.
    """
    if state.exists():
        training.resume(state, run)
        if ended is not None and ended():
            return
    recent: deque[Mapping[str, float]] = deque(maxlen=_SHOWN_STEPS)
    moments = deque([time.monotonic()], maxlen=_SHOWN_STEPS)
    batches = run_ahead(draw, range(training.iteration, iterations), workers=workers)
    with closing(batches), progress_bar(iterations, title, quiet=quiet) as bar:
        bar.skip(training.iteration)
        for batch in batches:
            recent.append(step(batch.result()))
            moments.append(time.monotonic())
            bar.advance(1, **_shown(recent), **{"batches/s": f"{_rate(moments):.1f}"})
            if after_step is not None:
                bar.advance(0, **{name: f"{value:.3f}" for name, value in after_step(training.iteration).items()})
            enough = ended is not None and ended()
            if training.iteration % save_every == 0 or training.iteration == iterations or enough:
                if writes:
                    training.save(state, run)
                else:
                    training.check()
            if enough:
                break


def _shown(recent: deque[Mapping[str, float]]) -> dict[str, str]:
    """Return the mean of each figure, of what is known: a GPU's first loss is not."""
    known = {name: [one[name] for one in recent if not math.isnan(one[name])] for name in recent[-1]}
    return {name: f"{sum(values) / max(1, len(values)):.3f}" for name, values in known.items()}


def _rate(moments: deque[float]) -> float:
    return (len(moments) - 1) / max(moments[-1] - moments[0], 1e-9)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Give torch's generators a seed for the time of a `with` statement, and what they were before after it.

    Args:
        seed: Whatever is drawn inside is a function of it alone.
        device: The one whose generator is used besides the CPU's.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def stepped_rate(highest: float, iteration: int, per_step: int, warm_up: int, *, factor: float = 0.96) -> float:
    """Return the learning rate of an iteration, counted from 0: a straight rise, then a step down every so often.

    Args:
        highest: Of the first step.
        iteration: Which.
        per_step: Iterations of a step, at least 1; the paper has eight passes over the data.
        warm_up: Iterations over which the rate rises; the paper has none.
        factor: Of each step's rate over the one before.

    Source: "Going deeper with convolutions", section 6 (4 % less every 8 epochs).
    """
    return highest * min(1.0, (iteration + 1) / max(1, warm_up)) * factor ** (iteration // per_step)


def cosine_rate(highest: float, iteration: int, iterations: int, warm_up: int) -> float:
    """Return the learning rate of an iteration, counted from 0: a straight rise, then half a cosine down to zero."""
    rise = min(1.0, (iteration + 1) / max(1, warm_up))
    return highest * rise * (1 + math.cos(math.pi * iteration / iterations)) / 2
