"""Training GoogLeNet as a classifier, as the paper does.

    photographs --PatchSampler (ahead, in threads)--> patches --recoloured--> network with its auxiliary heads
      --cross entropy, the heads' at 0.3--> update, average --> validation on central patches --> model.safetensors

Source: "Going deeper with convolutions", sections 5 (auxiliary heads) and 6 (SGD with momentum 0.9, the rate 4 % lower
every 8 passes, Polyak averaging, patches).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from inception_rcnn.backbones.checkpoints import (
    GOOGLENET_KIND,
    in_type,
    read_description,
    tensors_checksum,
    write_checkpoint,
)
from inception_rcnn.backbones.classification import places_of
from inception_rcnn.backbones.inception import GoogLeNet
from inception_rcnn.backbones.runtime import Runtime, drawing_threads, leaves_processors, upload
from inception_rcnn.backbones.training.distributed import ALONE, Part, Team
from inception_rcnn.backbones.training.duration import iterations_in, iterations_within
from inception_rcnn.backbones.training.log import TrainingLog
from inception_rcnn.backbones.training.loop import AveragedTraining, TrainingRun, run_training, seeded
from inception_rcnn.backbones.training.patches import (
    LabelledPhotographs,
    PatchBatch,
    PatchSampler,
    PatchSettings,
    Pixels,
    central_patch,
    recoloured,
)
from inception_rcnn.backbones.training.sgd import SgdSettings, frozen_parts, part_of
from inception_rcnn.structures import InputError
from inception_rcnn.structures.ahead import in_groups, run_ahead
from inception_rcnn.structures.errors import check_fields
from inception_rcnn.structures.jobs import available_processors

LOG: Final = "log.csv"
SCORES: Final = ("top1", "top5")
_TOP: Final = 5
_SETTLING: Final = 16  # batches over which batch norm's statistics of averaged weights are taken
_AUXILIARY: Final = ("aux_4a", "aux_4d")


@dataclass(frozen=True, kw_only=True)
class ClassifierTrainingSettings:
    """How a classifier is trained.

    Args:
        training: Schedule and optimizer.
        patches: What is seen of each photograph.
        batch: Patches in each batch, at least 1.
        auxiliary: What the loss of each auxiliary head counts, if the network has them.
        minutes: Time for the iterations. How many there are is then found by trying some, and kept in the state;
            `training.iterations` does not count. None: as many as that says.
        save_every: Iterations between two saved states, at least 1.
        log_every: Iterations between two lines of log.csv, at least 1.
        validate_every: Iterations between two looks at the averaged network's accuracy, at least 1; there is one at the
            end too. None: only that.

    Raises:
        InputError: A field is of another type or a number out of range.
    """

    training: SgdSettings = field(
        default_factory=lambda: SgdSettings(
            learning_rate=0.01, weight_decay=2e-4, train_from="conv1", averaging=0.999, schedule="paper-step"
        )
    )
    patches: PatchSettings = field(default_factory=PatchSettings)
    batch: int = 32
    auxiliary: float = 0.3
    minutes: float | None = None
    save_every: int = 100
    log_every: int = 50
    validate_every: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("batch", "save_every", "log_every", "validate_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name} should be at least 1, got {getattr(self, name)}")
        if not 0 <= self.auxiliary < math.inf:
            raise InputError(f"auxiliary should be 0 or more, got {self.auxiliary}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise InputError(f"minutes should be above 0, got {self.minutes}")


@dataclass(frozen=True)
class Accuracy:
    """How often a classifier is right.

    Attributes:
        top1: Share of photographs whose class is the first, in 0..1.
        top5: Share of those whose class is among the first five.
    """

    top1: float
    top5: float


@dataclass(frozen=True)
class TrainedClassifier:
    """What a training leaves.

    Attributes:
        path: The file.
        accuracy: On the photographs for validation; None: there were none.
        iterations: How many batches it took.
    """

    path: Path
    accuracy: Accuracy | None
    iterations: int


class ClassifierTraining:
    """A classifier being trained.

    Args:
        network: With outputs, in float32; it is trained in place.
        settings: How to train.
        runtime: Where; products are computed in its type, weights are kept in float32.
        batches_per_pass: See `SgdSettings.rate_at`.
        new_layers: By their names; `new_layer_factor` counts for them.
        team: The processes that share each batch. Batch norm counts each process's part by itself.

    Attributes:
        averaged: Optimizer, running average and state.

    Raises:
        InputError: The network has no outputs, or all is frozen.
    """

    def __init__(
        self,
        network: GoogLeNet,
        settings: ClassifierTrainingSettings,
        runtime: Runtime,
        *,
        batches_per_pass: int = 1,
        new_layers: Sequence[str] = (),
        team: Team = ALONE,
    ) -> None:
        if not network.num_classes:
            raise InputError("the network should have outputs to learn; this one is a trunk")
        self.network = network.to(runtime.device).to(memory_format=torch.channels_last)
        self.settings, self.runtime, self.team = settings, runtime, team
        self.batches_per_pass = batches_per_pass
        self._frozen = frozen_parts(settings.training, network)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(part_of(name) not in self._frozen)
        fused = runtime.device.type == "cuda"
        self.averaged = AveragedTraining(
            network,
            settings.training.optimizer(network, new_layers, fused=fused),
            memory=("momentum_buffer",),
            averaging=settings.training.averaging,
            clip=settings.training.clip,
            add_up=None if team.alone else team.add_up,
        )

    def step(self, batch: PatchBatch, part: Part | None = None) -> dict[str, float]:
        """Take one iteration on a batch, and return its loss by name.

        Args:
            batch: This process's patches.
            part: Which of the whole batch these are; None: all.

        Raises:
            InputError: A GPU's memory does not hold the batch.
            InceptionError: Loss or gradient is not finite.
        """
        part = part or Part(0, len(batch.labels), len(batch.labels))
        try:
            return {"loss": self._update(batch, part)}
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{self.runtime.device} has no memory for {part.count} patches together; ask for a smaller batch"
            ) from error

    def _update(self, batch: PatchBatch, part: Part) -> float:
        iteration, device, settings = self.averaged.iteration, self.runtime.device, self.settings.training
        set_training_mode(self.network, self._frozen)
        x, labels = network_input(self.network, batch, device), upload(batch.labels, device)
        # Dropout is a function of seed and iteration, the same after a resume.
        with ExitStack() as stack:
            stack.enter_context(seeded(settings.seed * 1_000_003 + iteration, device))
            for layer in (one for one in self.network.modules() if isinstance(one, nn.Dropout)):
                stack.enter_context(self.team.dropout(layer, part))
            stack.enter_context(self.runtime.autocast())
            found = self.network(x)
        logits, *auxiliary = found if isinstance(found, tuple) else (found,)
        classes, *of_heads = (_summed_loss(one, labels) / part.total for one in (logits, *auxiliary))
        parts = {"classes": classes}
        if of_heads:
            parts["auxiliary"] = torch.stack(of_heads).sum()
        loss = classes + self.settings.auxiliary * parts.get("auxiliary", 0.0)
        return self.averaged.update(loss, settings.rate_at(iteration, self.batches_per_pass), parts)


def set_training_mode(network: GoogLeNet, frozen: frozenset[str]) -> None:
    """Set a network to training; batch norm that does not learn keeps its statistics."""
    network.train()
    for name, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm2d) and part_of(name) in frozen:
            layer.eval()


def network_input(network: GoogLeNet, batch: PatchBatch, device: torch.device) -> Tensor:
    """Return a batch of patches as a network reads them, (B, 3, S, S) on its device."""
    pixels = upload(batch.pixels, device)
    if batch.colour is not None:
        pixels = recoloured(pixels, upload(batch.colour, device))
    return network.input_spec.shift(pixels).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float(), labels, reduction="sum")


@torch.no_grad()
def settle_statistics(
    network: GoogLeNet,
    sampler: PatchSampler,
    runtime: Runtime,
    batches: int = _SETTLING,
    frozen: frozenset[str] = frozenset(),
) -> None:
    """Take batch norm's statistics anew, as means over some batches; without batch norm nothing happens.

    Those of the training are of the weights as they were on the way, not of their average.

    Args:
        network: Changed in place; it is left in evaluation mode.
        sampler: Draws the batches, the first ones.
        runtime: Where to compute.
        batches: How many.
        frozen: Stages and layers that keep theirs, as `frozen_parts` names them.
    """
    layers = [
        layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.BatchNorm2d) and part_of(name) not in frozen
    ]
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a mean over all that comes
        layer.train()
    for number in range(batches if layers else 0):
        with runtime.autocast():
            network.trunk(network_input(network, sampler.draw(number), runtime.device))
    network.eval()
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@torch.no_grad()
def measure_accuracy(
    network: GoogLeNet, photographs: LabelledPhotographs, side: int, runtime: Runtime, team: Team = ALONE
) -> Accuracy:
    """Return how often a network is right about the central patch of photographs.

    Args:
        network: In evaluation mode, where `runtime` computes.
        photographs: With their classes.
        side: Of the patches, in pixels.
        runtime: Where to compute.
        team: The processes that share the photographs.
    """
    share, places = team.share, list[int]()

    def looked_at(number: int) -> tuple[int, Pixels]:
        own, image = photographs.from_number(number)
        return own, central_patch(image, side)

    rows = range(share.rank, len(photographs), share.processes)
    drawn = run_ahead(looked_at, rows, workers=drawing_threads(runtime), most=runtime.batch)
    with closing(drawn):
        for group in in_groups(drawn, runtime.batch):
            numbers, patches = zip(*(one.result() for one in group), strict=True)
            own = np.array(numbers)
            batch = PatchBatch(np.stack(patches), None, photographs.labels[own], own)
            x = network_input(network, batch, runtime.device)
            with runtime.autocast():
                logits = network.classify(network.trunk(x)).float().cpu()
            places += places_of(logits.numpy(), batch.labels).tolist()
    found = np.concatenate([np.array(one, np.int64) for one in team.from_all(places)])
    return Accuracy(float((found < 1).mean()), float((found < _TOP).mean()))


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassifierTask:
    """What a training is given.

    Args:
        photographs: To learn from.
        val: To measure accuracy on; None: it is not measured.
        class_names: Of the outputs, if known.
        network: With outputs; trained in place, at the end it has the averaged weights.
        new_layers: Those of its layers that are fresh, by their names.
        origin: What the summary of the training says of the start and the data.
        licence: Of the weights.
        runtime: Where to compute.
        output: A folder, made if need be.
        team: The processes that train together; of several, all see the output folder.
        quiet: Show no progress.
    """

    photographs: LabelledPhotographs
    network: GoogLeNet
    runtime: Runtime
    output: Path
    val: LabelledPhotographs | None = None
    class_names: Sequence[str] | None = None
    new_layers: Sequence[str] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unstated"
    team: Team = ALONE
    quiet: bool = False


def train_classifier(task: ClassifierTask, settings: ClassifierTrainingSettings) -> TrainedClassifier:
    """Train, and write the result, `model.safetensors` in the task's output.

    The output also keeps `state.safetensors`, from which a killed run goes on when it is called again with the same
    data and settings, and the table `log.csv`.

    Args:
        task: What is given.
        settings: How to train.

    Raises:
        InputError: A photograph has a class that the network has no output for, or the auxiliary heads do not fit.
        CheckpointError: The output holds the state of another run; the text names the difference.
    """
    team, state, network = task.team, task.output / "state.safetensors", task.network
    _check(task, settings)
    run = team.from_first(lambda: _run_of(task, settings))
    run.check_state(state)
    task.output.mkdir(parents=True, exist_ok=True)
    team.spread(network)
    sampler = PatchSampler(task.photographs, settings.batch, settings.patches)
    start = team.from_first(lambda: read_description(state).get("iteration", 0) if state.exists() else 0)
    iterations = settings.training.iterations
    if settings.minutes is not None:
        stored = team.from_first(lambda: iterations_in(state))
        iterations = stored or _iterations_within(60 * settings.minutes, task, settings, sampler)
    run = replace(run, settings={**run.settings, "iterations": iterations})
    settings = replace(settings, training=replace(settings.training, iterations=iterations))
    training = _training_of(network, task, settings, sampler)
    if settings.minutes is not None and team.leads and not state.exists():
        training.averaged.save(state, run)  # another trial would find another number
    team.wait()  # all see the same state, or none
    course = _Course(task, settings, sampler, start)
    part = team.part(settings.batch, "patches")
    try:
        run_training(
            training.averaged,
            lambda iteration: sampler.draw(iteration, part.rows),
            lambda batch: training.step(batch, part),
            run,
            state,
            iterations=iterations,
            save_every=settings.save_every,
            title="training",
            after_step=lambda _: course.after_step(training.averaged),
            workers=patch_threads(task.runtime),
            writes=team.leads,
            quiet=task.quiet or not team.leads,
        )
    finally:
        course.close()
    network.load_state_dict(training.averaged.result())
    # A run that was killed after its last state has nothing left to do, and was not measured here.
    accuracy = course.accuracy or course.measured(network)
    course.settled(network)
    path = task.output / "model.safetensors"
    if team.leads:
        summary = {**task.origin, **run.settings, "images": len(task.photographs)}
        if accuracy is not None:
            summary |= {"val_top1": accuracy.top1, "val_top5": accuracy.top5}
        save_classifier(path, network, task.class_names, training=summary, licence=task.licence)
    team.wait()
    return TrainedClassifier(path, accuracy, iterations)


def patch_threads(runtime: Runtime) -> int:
    """Return how many threads cut a training's patches, which is more work than drawing a batch of regions."""
    return available_processors() if leaves_processors(runtime) else 1


def save_classifier(
    path: Path,
    network: GoogLeNet,
    class_names: Sequence[str] | None,
    *,
    training: Mapping[str, Any],
    licence: str = "unstated",
) -> None:
    """Write a network in float32, without its auxiliary heads, which serve training only.

    Args:
        path: Ends in .safetensors.
        network: As it is to be used.
        class_names: Of its outputs, if known.
        training: What the file says of where it is from.
        licence: Of the weights.
    """
    described = {"variant": network.variant, "lrn": network.lrn, "training": dict(training), "licence": licence}
    if class_names is not None:
        described["class_names"] = list(class_names)
    left_out = (*_AUXILIARY, "num_batches_tracked")
    kept = {name: one for name, one in network.state_dict().items() if not any(word in name for word in left_out)}
    write_checkpoint(path, GOOGLENET_KIND, described, in_type(kept, torch.float32, path))


class _Course:
    """What is written down in the course of a training: losses, rate, accuracy."""

    def __init__(
        self, task: ClassifierTask, settings: ClassifierTrainingSettings, sampler: PatchSampler, start: int
    ) -> None:
        self._task, self._settings, self._sampler = task, settings, sampler
        self.accuracy: Accuracy | None = None  # of the last iteration's network
        self._log: TrainingLog | None = None
        if task.team.leads:
            self._log = TrainingLog(task.output / LOG, start, per_iteration=settings.batch, scores=SCORES)

    def after_step(self, training: AveragedTraining) -> dict[str, float]:
        """Write what is due after a step; return what should be shown of it."""
        iteration, every = training.iteration, self._settings.validate_every
        is_last = iteration == self._settings.training.iterations
        validates = self._task.val is not None and (is_last or (every is not None and iteration % every == 0))
        if not (validates or is_last or iteration % self._settings.log_every == 0):
            return {}
        losses = training.mean_losses()
        if self._log is not None:
            self._log.stop_clock()
        scores: dict[str, float] = {}
        if validates:
            network = copy.deepcopy(self._task.network)
            network.load_state_dict(training.result())
            found = self.measured(network)
            scores = {} if found is None else asdict(found)
            self.accuracy = found if is_last else None
        if self._log is not None:
            self._log.write(iteration, training.rate, losses, scores)
        return scores

    def settled(self, network: GoogLeNet) -> GoogLeNet:
        """Return a network with averaged weights, ready to be used: its statistics are taken here."""
        if self._task.team.leads:
            frozen = frozen_parts(self._settings.training, network)
            settle_statistics(network, self._sampler, self._task.runtime, frozen=frozen)
        self._task.team.spread(network)
        return network.eval()

    def measured(self, network: GoogLeNet) -> Accuracy | None:
        """Return the accuracy of averaged weights; None: there is nothing to measure it on."""
        task = self._task
        if task.val is None:
            return None
        return measure_accuracy(self.settled(network), task.val, self._settings.patches.side, task.runtime, task.team)

    def close(self) -> None:
        """Close the table."""
        if self._log is not None:
            self._log.close()


def _check(task: ClassifierTask, settings: ClassifierTrainingSettings) -> None:
    """Refuse what cannot end well."""
    outputs, side = task.network.num_classes, settings.patches.side
    for name, one in (("photographs", task.photographs), ("val", task.val)):
        if one is not None and not 0 <= one.labels.min() <= one.labels.max() < outputs:
            raise InputError(f"{name} should have classes 0..{outputs - 1}, one of the outputs, got {one.labels.max()}")
    if task.class_names is not None and len(task.class_names) != outputs:
        raise InputError(f"class_names should have {outputs} names, one for each output, got {len(task.class_names)}")
    if task.network.aux_4a is not None and task.network.variant == "paper" and not 223 <= side <= 270:
        raise InputError(
            f"the auxiliary heads of the variant 'paper' need patches of 223 to 270 px, got {side}; train without them "
            "(auxiliary 0), or the variant 'batchnorm', whose heads take any size"
        )
    task.team.part(settings.batch, "patches")


def _run_of(task: ClassifierTask, settings: ClassifierTrainingSettings) -> TrainingRun:
    """Return what decides the result, but for iterations that are yet to be found."""
    network, schedule = task.network, asdict(settings.training)
    if settings.minutes is not None:
        del schedule["iterations"]
    # Fresh layers are a function of the seed, which is among the settings; here they count like all else.
    checksums = {
        "weights at the start (--pretrained, --seed)": tensors_checksum(network.state_dict()),
        "photographs or their classes": task.photographs.checksum,
    }
    return TrainingRun(
        class_names=tuple(task.class_names or ()),
        checksums=checksums,
        settings={
            **schedule,
            "minutes": settings.minutes,
            "batch": settings.batch,
            "auxiliary": settings.auxiliary if network.aux_4a is not None else 0.0,
            "patches": asdict(settings.patches),
            "variant": network.variant,
        },
    )


def _training_of(
    network: GoogLeNet, task: ClassifierTask, settings: ClassifierTrainingSettings, sampler: PatchSampler
) -> ClassifierTraining:
    return ClassifierTraining(
        network,
        settings,
        task.runtime,
        batches_per_pass=sampler.batches_per_pass,
        new_layers=task.new_layers,
        team=task.team,
    )


def _iterations_within(
    seconds: float, task: ClassifierTask, settings: ClassifierTrainingSettings, sampler: PatchSampler
) -> int:
    """Return how many iterations take so long, by trying some on a copy of the network."""
    # As if the warm-up never ended: nothing is learned that could get out of hand.
    schedule = replace(settings.training, iterations=10**9, warm_up=10**9)
    training = _training_of(copy.deepcopy(task.network), task, replace(settings, training=schedule), sampler)
    part = task.team.part(settings.batch, "patches")
    with closing(run_ahead(lambda number: sampler.draw(number, part.rows), count(), workers=1)) as batches:
        return iterations_within(
            seconds,
            lambda _: training.step(next(batches).result(), part),
            training.averaged.check,
            agreed=task.team.from_first,
        )
