"""Training MultiBox: the step on a batch, the loop, the coverage of held-out photographs along the way."""

from __future__ import annotations

import copy
import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones import STAGES, InputSpec, stages_between
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training import AveragedTraining, cosine_rate
from inception_rcnn.proposals.network.checkpoints import MultiBoxDescription, save_multibox
from inception_rcnn.proposals.network.loss import Floats, Labels, LossSettings, multibox_loss, share_inside
from inception_rcnn.proposals.network.model import MultiBoxNet, MultiBoxOutput
from inception_rcnn.proposals.network.predictor import MultiBox
from inception_rcnn.proposals.network.samples import BoxSource, Sample, SampleDrawer
from inception_rcnn.structures import InputError, progress_bar, write_json
from inception_rcnn.structures.boxes import overlap_ratio

# The objectness is taught what share of an object's coverage a box is worth: none up to the first IoU, all from the
# second on, so that 0.5 lies in the middle.
_WORTHLESS, _PERFECT = 0.3, 0.7
_OWN_BOXES = 100  # of the network's own boxes, among the regions the objectness learns from
Coverage = Callable[[MultiBox], dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class MultiBoxTrainingSettings:
    """How the network is trained.

    Attributes:
        iterations: batches.
        batch: photographs of a batch.
        learning_rate: of the new layers at its height; rises over `warm_up` iterations, then falls along half a cosine.
        trunk_factor: the trunk's learning rate over the new layers'.
        head_iterations: first so many iterations train the new layers only.
        weight_decay: AdamW's.
        train_from: first stage of the trunk that learns.
        averaging: decay of the running average of weights that is kept as the result.
        clip: largest norm of a step's gradient.
        regions: per photograph, for the objectness; at most a quarter of them cover an object.
        seed: of order, windows, colours, regions.
        loss: what counts how much.
    """

    iterations: int = 4000
    batch: int = 16
    learning_rate: float = 1e-3
    trunk_factor: float = 0.1
    head_iterations: int = 150
    weight_decay: float = 0.01
    warm_up: int = 50
    train_from: str = "3a"
    averaging: float = 0.998
    clip: float = 20.0
    regions: int = 64
    seed: int = 0
    loss: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self) -> None:
        stages_between(self.train_from, STAGES[-1])  # refuses an unknown stage
        for name in ("iterations", "batch", "regions"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} should be at least 1, got {getattr(self, name)}")
        for name in ("trunk_factor", "head_iterations", "weight_decay", "warm_up", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} should be 0 or more, got {getattr(self, name)}")
        if not 0 < self.learning_rate < 1 or not 0 <= self.averaging < 1 or self.clip <= 0:
            raise InputError(
                f"learning_rate should lie in (0, 1), averaging in [0, 1), clip above 0: "
                f"{self.learning_rate}, {self.averaging}, {self.clip}"
            )


class MultiBoxTraining:
    """A MultiBox network being trained.

    Args of the constructor:
        network: in float32, trained in place.
        spec: how photographs become its input.
        settings: how to train.
        runtime: where; products are computed in its type, weights are kept in float32.
    """

    def __init__(
        self, network: MultiBoxNet, spec: InputSpec, settings: MultiBoxTrainingSettings, runtime: Runtime
    ) -> None:
        self.network = network.to(runtime.device).to(memory_format=torch.channels_last).train()
        self.spec, self.settings, self.runtime = spec, settings, runtime
        frozen = stages_between(STAGES[0], settings.train_from)[:-1]
        for name, parameter in network.trunk.named_parameters():
            stage = name.split(".")[0].removeprefix("inception_").removesuffix("_reduce")
            parameter.requires_grad_(stage not in frozen)
        self.training = AveragedTraining(
            network, torch.optim.AdamW(self._groups()), averaging=settings.averaging, clip=settings.clip
        )

    def step(self, samples: Sequence[Sample]) -> dict[str, float]:
        """One iteration; the parts of the loss.

        Raises:
            InceptionError: loss or gradient is not finite; the weights are left as they were before the step.
        """
        settings, iteration = self.settings, self.training.iteration
        pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples])).to(self.runtime.device)
        rng = np.random.default_rng([settings.seed, 2, iteration])
        fast = self.runtime.dtype == torch.bfloat16
        with torch.autocast(self.runtime.device.type, torch.bfloat16, enabled=fast):
            output = self.network(self.spec.apply(pixels, self.runtime.dtype))
            labels = [sample.labels for sample in samples]
            location, confidence = multibox_loss(output, self.network.priors, labels, settings.loss)
            objectness = self._objectness_loss(output, samples, rng)
        for group in self.training.optimizer.param_groups:
            if group["name"] == "trunk":
                group["factor"] = settings.trunk_factor if iteration >= settings.head_iterations else 0.0
        rate = cosine_rate(settings.learning_rate, iteration, settings.iterations, settings.warm_up)
        self.training.update(location + confidence + objectness, rate)
        return {"location": location.item(), "confidence": confidence.item(), "objectness": objectness.item()}

    def proposer(self) -> MultiBox:
        """The averaged network as it is now, ready to propose."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.training.result())
        return MultiBox(network, self.spec, self.runtime)

    def _objectness_loss(self, output: MultiBoxOutput, samples: Sequence[Sample], rng: np.random.Generator) -> Tensor:
        boxes, targets = [], []
        for number, sample in enumerate(samples):
            best = output.logits[number].detach().topk(min(_OWN_BOXES, output.logits.shape[1])).indices
            own = output.boxes[number].detach()[best].clamp(0, 1).double().cpu().numpy()
            pool = np.concatenate([sample.regions, own[(own[:, 2:] - own[:, :2] > 0.01).all(axis=1)]])
            chosen, target = draw_regions(pool, sample.labels, self.settings.regions, rng)
            boxes.append(torch.from_numpy(chosen).to(output.boxes))
            targets.append(torch.from_numpy(target).to(output.boxes))
        wanted = torch.cat(targets)
        if len(wanted) == 0:
            return output.logits.sum() * 0
        return functional.binary_cross_entropy_with_logits(self.network.objectness(output.regions, boxes), wanted)

    def _groups(self) -> list[dict[str, Any]]:
        """Trunk and new layers, weights and biases (which do not decay)."""
        groups = []
        for trunk in (True, False):
            for bias in (True, False):
                parameters = [
                    one
                    for name, one in self.network.named_parameters()
                    if one.requires_grad and name.startswith("trunk.") == trunk and name.endswith("bias") == bias
                ]
                decay = 0.0 if bias else self.settings.weight_decay
                groups.append(
                    {
                        "params": parameters,
                        "weight_decay": decay,
                        "factor": 1.0,
                        "name": "trunk" if trunk else "new",
                    }
                )
        return [group for group in groups if group["params"]]


def draw_regions(pool: Floats, labels: Labels, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(boxes, targets): `count` of a photograph's regions, at most a quarter covering an object, and their worth.

    Half of the others overlap an object by 0.1 or more, where there are so many. Regions mostly inside a neutral one
    are left out; so are, where a photograph is labelled in part, those that keep away from every object.

    Args:
        pool: (P, 4) as shares.
        labels: of the photograph.
        count: how many to draw.
        rng: decides.
    """
    overlaps = np.zeros(len(pool))
    if len(labels.objects) and len(pool):
        overlaps = overlap_ratio(labels.objects[:, None], pool[None]).max(axis=0)
    usable = np.ones(len(pool), dtype=np.bool_) if labels.complete else overlaps >= 0.1
    if len(labels.neutral):
        usable &= ~(share_inside(pool, labels.neutral) >= 0.5).any(axis=1) | (overlaps >= 0.5)
    good, near, far = (
        np.flatnonzero(usable & chosen)
        for chosen in (overlaps >= 0.5, (overlaps < 0.5) & (overlaps >= 0.1), overlaps < 0.1)
    )
    first = _some(good, count // 4, rng)
    second = _some(near, (count - len(first)) // 2, rng)
    rows = np.concatenate([first, second, _some(far, count - len(first) - len(second), rng)])
    return pool[rows], np.clip((overlaps[rows] - _WORTHLESS) / (_PERFECT - _WORTHLESS), 0, 1)


def _some(rows: Any, count: int, rng: np.random.Generator) -> Any:
    return rows if len(rows) <= count else rng.choice(rows, count, replace=False)


def train_multibox(
    sources: Sequence[BoxSource],
    description: MultiBoxDescription,
    network: MultiBoxNet,
    settings: MultiBoxTrainingSettings,
    runtime: Runtime,
    output: Path,
    *,
    coverage: Coverage,
    save_every: int = 100,
    cover_every: int = 500,
    quiet: bool = False,
) -> Path:
    """Trains, and returns the file of the result, `output`/multibox.safetensors.

    `output`/state.safetensors is written every `save_every` iterations; a run that was killed goes on from there and
    ends with the same result.

    Args:
        sources: what to train on.
        description: of the result; the recipe is added to what it says of the training.
        network: with the trunk's pre-trained weights.
        settings: how to train.
        runtime: where.
        output: folder for all files.
        coverage: tells how much of held-out photographs a network covers, by name.
        save_every: iterations.
        cover_every: iterations.
        quiet: no progress.
    """
    drawer = SampleDrawer(sources, network.side, settings.batch, settings.seed)
    state = output / "state.safetensors"
    note = {"data": description.training.get("data"), "images": len(drawer), "input": description.input_spec.to_dict()}
    output.mkdir(parents=True, exist_ok=True)
    if not state.exists():  # before the running average takes its first copy
        first = torch.from_numpy(np.stack([sample.pixels for sample in drawer.draw(0)])).to(runtime.device)
        network.to(runtime.device).fit_laterals(description.input_spec.apply(first))
    training = MultiBoxTraining(network, description.input_spec, settings, runtime)
    if state.exists():
        training.training.resume(state, asdict(settings), note, ("step", "exp_avg", "exp_avg_sq"))
    save = partial(training.training.save, state, asdict(settings), note)
    curve = _Curve(output / "coverage.json", coverage, cover_every, training.training.iteration)
    _loop(training, drawer, save, curve, save_every=save_every, quiet=quiet)
    result = output / "multibox.safetensors"
    summary = {**description.training, "images": len(drawer), "settings": asdict(settings), "coverage": curve.points}
    save_multibox(result, training.training.result(), replace(description, training=summary))
    return result


class _Curve:
    """The coverage of held-out photographs in the course of a training, kept in a file."""

    def __init__(self, path: Path, coverage: Coverage, every: int, iteration: int) -> None:
        self._path, self._coverage, self._every = path, coverage, every
        self.points: list[dict[str, float]] = []
        if iteration and path.exists():  # of the run that goes on, up to the state it goes on from
            earlier = json.loads(path.read_text(encoding="utf-8"))
            self.points = [point for point in earlier if point["iteration"] <= iteration]

    def due(self, iteration: int) -> bool:
        """Whether a point is wanted at that iteration."""
        return iteration % self._every == 0

    def add(self, iteration: int, network: MultiBox) -> dict[str, float]:
        """The coverage now, added to the curve."""
        found = self._coverage(network)
        self.points.append({"iteration": iteration, **found})
        write_json(self._path, self.points)
        return found


def _loop(
    training: MultiBoxTraining,
    drawer: SampleDrawer,
    save: Callable[[], None],
    curve: _Curve,
    *,
    save_every: int,
    quiet: bool,
) -> None:
    total, done = training.settings.iterations, training.training
    recent: deque[list[float]] = deque(maxlen=100)
    with ThreadPoolExecutor(1) as ahead, progress_bar(total, "MultiBox", quiet=quiet) as bar:
        bar.advance(done.iteration)
        samples = ahead.submit(drawer.draw, done.iteration)
        while done.iteration < total:
            batch = samples.result()
            samples = ahead.submit(drawer.draw, done.iteration + 1)
            parts = training.step(batch)
            recent.append(list(parts.values()))
            means = dict(zip(parts, np.mean(recent, axis=0), strict=True))
            bar.advance(1, **{name: f"{value:.3f}" for name, value in means.items()})
            last = done.iteration == total
            if last or curve.due(done.iteration):
                found = curve.add(done.iteration, training.proposer())
                bar.advance(0, **{name: f"{value:.3f}" for name, value in found.items()})
            if last or done.iteration % save_every == 0:
                save()
