"""Training MultiBox: the step on a batch, and from data sets to a network with its coverage along the way."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones import STAGES, InputSpec, stages_between
from inception_rcnn.backbones.checkpoints import tensors_checksum
from inception_rcnn.backbones.inception import stage_of
from inception_rcnn.backbones.runtime import Runtime, drawing_threads
from inception_rcnn.backbones.training.duration import iterations_in, iterations_within
from inception_rcnn.backbones.training.loop import AveragedTraining, TrainingRun, cosine_rate, run_training
from inception_rcnn.proposals.network.checkpoints import MultiBoxDescription, save_multibox
from inception_rcnn.proposals.network.loss import Floats, Labels, LossSettings, multibox_loss
from inception_rcnn.proposals.network.model import MultiBoxNet, MultiBoxOutput
from inception_rcnn.proposals.network.predictor import MultiBox
from inception_rcnn.proposals.network.samples import BoxSource, Sample, SampleDrawer
from inception_rcnn.structures import InputError, write_json
from inception_rcnn.structures.ahead import run_ahead
from inception_rcnn.structures.boxes import overlap_ratio, share_inside
from inception_rcnn.structures.dataset import dataset_checksum, photograph_checksums
from inception_rcnn.structures.errors import check_fields
from inception_rcnn.structures.proposals import boxes_checksum
from inception_rcnn.structures.provenance import MULTIBOX, SeenPart, joined_seen

# What the objectness learns of a box: 0 up to the first IoU with an object, 1 from the second on, and between them in
# proportion, so that an IoU of 0.5 lies in the middle.
_MISSED, _COVERED = 0.3, 0.7
_OWN_BOXES = 100  # of the network's own boxes, among the regions the objectness learns from
Coverage = Callable[[MultiBox], dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class MultiBoxTrainingSettings:
    """How the network is trained.

    Args:
        iterations: Batches, at least 1.
        batch: Photographs in each batch, at least 1.
        learning_rate: Of the new layers at its height; rises over `warm_up` iterations, then falls along half a cosine.
        trunk_factor: The trunk's learning rate over the new layers'.
        head_iterations: The first so many iterations train the new layers only.
        weight_decay: AdamW's, of weights; biases do not decay.
        warm_up: Iterations over which the learning rate rises.
        train_from: First stage of the trunk that learns.
        averaging: Decay of the running average of weights that is kept as the result.
        clip: Largest norm of a step's gradient.
        regions: Per photograph, for the objectness; at most a quarter of them cover an object.
        seed: Of order, windows, colours, regions.
        loss: What counts how much.

    Raises:
        InputError: A field is of another type or a number out of range, or `train_from` is no stage.
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
        check_fields(self)
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

    Args:
        network: In float32, trained in place.
        spec: How photographs become its input.
        settings: How to train.
        runtime: Where; products are computed in its type, weights are kept in float32.

    Attributes:
        averaged: Optimizer, running average and state.
    """

    def __init__(
        self, network: MultiBoxNet, spec: InputSpec, settings: MultiBoxTrainingSettings, runtime: Runtime
    ) -> None:
        self.network = network.to(runtime.device).to(memory_format=torch.channels_last).train()
        self.spec, self.settings, self.runtime = spec, settings, runtime
        frozen = stages_between(STAGES[0], settings.train_from)[:-1]
        for name, parameter in network.trunk.named_parameters():
            parameter.requires_grad_(stage_of(name) not in frozen)
        self.averaged = AveragedTraining(
            network,
            torch.optim.AdamW(self._groups()),
            memory=("step", "exp_avg", "exp_avg_sq"),
            averaging=settings.averaging,
            clip=settings.clip,
        )

    def step(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Take one iteration on a batch, and return the parts of the loss by name; on a GPU the sum of the last step's.

        Raises:
            InceptionError: Loss or gradient is not finite; the weights are left as they were before the step.
        """
        settings, iteration = self.settings, self.averaged.iteration
        pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples])).to(self.runtime.device)
        rng = np.random.default_rng([settings.seed, 2, iteration])
        with self.runtime.autocast():
            output = self.network(self.spec.apply(pixels, self.runtime.dtype))
            labels = [sample.labels for sample in samples]
            location, confidence = multibox_loss(output, self.network.priors, labels, settings.loss)
            objectness = self._objectness_loss(output, samples, rng)
        for group in self.averaged.optimizer.param_groups:
            if group["name"] == "trunk":
                group["factor"] = settings.trunk_factor if iteration >= settings.head_iterations else 0.0
        rate = cosine_rate(settings.learning_rate, iteration, settings.iterations, settings.warm_up)
        shown = self.averaged.update(location + confidence + objectness, rate)
        if self.runtime.device.type == "cuda":
            return {"loss": shown}  # of the step before: to read this one's parts would be to wait for them
        parts = torch.stack([location.detach(), confidence.detach(), objectness.detach()]).tolist()
        return dict(zip(("location", "confidence", "objectness"), parts, strict=True))

    def proposer(self) -> MultiBox:
        """Return the averaged network as it is now, ready to propose."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.averaged.result())
        return MultiBox(network, self.spec, self.runtime)

    def _objectness_loss(self, output: MultiBoxOutput, samples: Sequence[Sample], rng: np.random.Generator) -> Tensor:
        best = output.logits.detach().topk(min(_OWN_BOXES, output.logits.shape[1]), dim=1).indices
        found = output.boxes.detach().gather(1, best[:, :, None].expand(-1, -1, 4)).clamp(0, 1).double().cpu().numpy()
        boxes, targets = [], []
        for sample, own in zip(samples, found, strict=True):
            pool = np.concatenate([sample.regions, own[(own[:, 2:] - own[:, :2] > 0.01).all(axis=1)]])
            chosen, target = draw_regions(pool, sample.labels, self.settings.regions, rng)
            boxes.append(chosen)
            targets.append(target)
        wanted = torch.from_numpy(np.concatenate(targets)).to(output.boxes)
        if len(wanted) == 0:
            return output.logits.sum() * 0
        drawn = torch.from_numpy(np.concatenate(boxes)).to(output.boxes)
        return functional.binary_cross_entropy_with_logits(
            self.network.objectness(output.regions, list(torch.split(drawn, [len(one) for one in boxes]))), wanted
        )

    def _groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups: trunk and new layers, weights and biases (which do not decay)."""
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
    """Return (boxes, targets): `count` of a photograph's regions, and what the objectness should be of each, in [0, 1].

    At most a quarter cover an object, and half of the others overlap one by 0.1 or more, where there are so many.
    Regions mostly inside a neutral one are left out; so are, where a photograph is labelled in part, those that keep
    away from every object.

    Args:
        pool: (P, 4) as shares of the photograph.
        labels: Of the photograph.
        count: How many to draw.
        rng: Draws.
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
    return pool[rows], np.clip((overlaps[rows] - _MISSED) / (_COVERED - _MISSED), 0, 1)


def _some(rows: Any, count: int, rng: np.random.Generator) -> Any:
    return rows if len(rows) <= count else rng.choice(rows, count, replace=False)


def run_multibox_training(
    sources: Sequence[BoxSource],
    description: MultiBoxDescription,
    network: MultiBoxNet,
    settings: MultiBoxTrainingSettings,
    runtime: Runtime,
    output: Path,
    *,
    coverage: Coverage,
    fresh_head: bool = True,
    minutes: float | None = None,
    save_every: int = 100,
    cover_every: int = 500,
    quiet: bool = False,
) -> Path:
    """Train, and return the file of the result, `output`/multibox.safetensors.

    `output`/state.safetensors is written every `save_every` iterations; a run that was killed goes on from there, if it
    is called again with the same data and settings, and ends with the same result. Every photograph is read once at the
    start, for its checksum.

    Args:
        sources: What to train on; their proposals are asked for once it is clear that the run can go on.
        description: Of the result; the recipe is added to what it says of the training.
        network: With the trunk's pre-trained weights, or trained before; what `description` says was seen stays listed.
        settings: How to train.
        runtime: Where to compute.
        output: Folder for all files, made if need be.
        coverage: Says how much of held-out photographs a network covers, by name.
        fresh_head: Whether the layers behind the trunk are fresh; they are then fitted to the first photographs.
        minutes: Time for the iterations. How many there are is then found by trying some, and kept in the state; those
            of `settings` do not count. None: as many as these say.
        save_every: Iterations between two states.
        cover_every: Iterations between two looks at the coverage.
        quiet: Show no progress.

    Raises:
        InputError: There is no photograph, not as many proposals as photographs, or no time.
        CheckpointError: `output` holds the state of another run; the text names the difference.
    """
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError(f"minutes should be above 0, got {minutes}")
    state = output / "state.safetensors"
    files = [photograph_checksums(one.dataset) for one in sources]
    pretrained = tensors_checksum((network.trunk if fresh_head else network).state_dict())
    run = _run_of(sources, files, description, pretrained, settings, minutes)
    run.check_state(state)  # before the proposals, which take long
    drawer = SampleDrawer(sources, network.side, settings.batch, settings.seed)
    found = boxes_checksum([one for proposals in drawer.proposals for one in proposals])
    run = replace(run, checksums={**run.checksums, "proposals": found})
    output.mkdir(parents=True, exist_ok=True)
    if fresh_head and not state.exists():  # before the running average takes its first copy
        first = torch.from_numpy(np.stack([sample.pixels for sample in drawer.draw(0)])).to(runtime.device)
        network.to(runtime.device).fit_laterals(description.input_spec.apply(first))
    if minutes is not None:
        trial = partial(_iterations_within, drawer, network, description.input_spec, settings, runtime)
        settings = replace(settings, iterations=iterations_in(state) or trial(60 * minutes))
        run = replace(run, settings={**run.settings, "iterations": settings.iterations})
    training = MultiBoxTraining(network, description.input_spec, settings, runtime)
    if minutes is not None and not state.exists():
        training.averaged.save(state, run)  # another trial would find another number
    curve = _Curve(output / "coverage.json", coverage, training, cover_every, resumed=state.exists())
    run_training(
        training.averaged,
        drawer.draw,
        training.step,
        run,
        state,
        iterations=settings.iterations,
        save_every=save_every,
        title="MultiBox",
        after_step=curve.after_step,
        workers=drawing_threads(runtime),
        quiet=quiet,
    )
    result = output / "multibox.safetensors"
    summary = {**description.training, "images": len(drawer), "settings": asdict(settings), "coverage": curve.points}
    seen = joined_seen(
        description.seen,
        [
            SeenPart.of_files(one.name, [checksums[row] for row in one.rows], MULTIBOX)
            for one, checksums in zip(sources, files, strict=True)
        ],
    )
    save_multibox(result, training.averaged.result(), replace(description, training=summary, seen=seen))
    return result


def _run_of(
    sources: Sequence[BoxSource],
    files: Sequence[Sequence[str]],
    description: MultiBoxDescription,
    pretrained: str,
    settings: MultiBoxTrainingSettings,
    minutes: float | None,
) -> TrainingRun:
    """Return what decides the result, but for the proposals and for iterations that are yet to be found.

    `files` are the checksums of all photographs, `pretrained` is that of the weights at the start.
    """
    schedule = asdict(settings)
    if minutes is not None:
        del schedule["iterations"]
        schedule["minutes"] = minutes
    rows = [[one.complete, list(one.rows)] for one in sources]
    parts = [dataset_checksum(one.dataset, checksums) for one, checksums in zip(sources, files, strict=True)]
    return TrainingRun(
        checksums={
            "pre-trained weights (--pretrained)": pretrained,
            "photographs or their annotations": hashlib.sha256(json.dumps([parts, rows]).encode()).hexdigest(),
        },
        settings={
            **schedule,
            "data": description.training.get("data"),
            "input_spec": description.input_spec.to_dict(),
            "priors": description.priors.to_dict(),
            "channels": description.channels,
        },
    )


def _iterations_within(
    drawer: SampleDrawer,
    network: MultiBoxNet,
    spec: InputSpec,
    settings: MultiBoxTrainingSettings,
    runtime: Runtime,
    seconds: float,
) -> int:
    """Return how many iterations take so long, by trying some on a copy of the network."""
    # As if the warm-up never ended, and with a trunk that learns from the first iteration on, which takes longest.
    schedule = replace(settings, iterations=10**9, warm_up=10**9, head_iterations=0)
    training = MultiBoxTraining(copy.deepcopy(network), spec, schedule, runtime)
    with closing(run_ahead(drawer.draw, count(), workers=drawing_threads(runtime))) as batches:
        return iterations_within(seconds, lambda _: training.step(next(batches).result()), training.averaged.check)


class _Curve:
    """The coverage of held-out photographs in the course of a training, kept in a file.

    Args:
        path: The file.
        coverage: See `run_multibox_training`.
        training: Whose network is looked at.
        every: Iterations between two points; there is one at the end too.
        resumed: Whether the file is of the run that goes on.

    Attributes:
        points: By iteration.
    """

    def __init__(
        self, path: Path, coverage: Coverage, training: MultiBoxTraining, every: int, *, resumed: bool
    ) -> None:
        self._path, self._coverage, self._training, self._every = path, coverage, training, every
        self.points: list[dict[str, float]] = []
        if resumed and path.exists():
            self.points = json.loads(path.read_text(encoding="utf-8"))

    def after_step(self, iteration: int) -> dict[str, float]:
        """Return the coverage now, added to the curve, where a point is due; else nothing."""
        if iteration % self._every and iteration != self._training.settings.iterations:
            return {}
        found = self._coverage(self._training.proposer())
        # Points of later iterations are from before the state that the run went on from.
        earlier = [point for point in self.points if point["iteration"] < iteration]
        self.points = [*earlier, {"iteration": iteration, **found}]
        write_json(self._path, self.points)
        return found
