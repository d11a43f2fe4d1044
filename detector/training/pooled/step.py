"""Training pooled regions: photographs on the device, and one step on a batch of them.

    batch --photographs: stored uint8, mirrored, recoloured, enlarged--> trunk --RoIAlign--> head
      --softmax over classes, unknown ones left out, and smooth L1 of the offsets--> loss --> update

Source: Girshick 2015, "Fast R-CNN", section 2.3 (both losses, weight 1, offsets divided by their deviations).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones import InputSpec
from inception_rcnn.backbones.runtime import Runtime, upload
from inception_rcnn.backbones.training.distributed import ALONE, Part, Team
from inception_rcnn.backbones.training.loop import AveragedTraining, seeded
from inception_rcnn.backbones.training.patches import recoloured
from inception_rcnn.backbones.training.sgd import frozen_parts, part_of
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.pooled.sampling import INTERPOLATIONS, PooledBatch, canvas_shape
from inception_rcnn.detector.training.settings import TrainingSettings, class_losses, region_weights
from inception_rcnn.structures import InputError, progress_bar
from inception_rcnn.structures.ahead import run_ahead
from inception_rcnn.structures.dataset import ImageCache
from inception_rcnn.structures.jobs import available_processors

NEW_LAYERS = ("lateral", "mix_fine", "classifier", "regressor")


class StoredPhotographs:
    """Photographs as uint8, padded to a few shapes.

    Those that are resident live where the network computes, and nothing is read or copied after the start: 10,000 of
    VOC and COCO take 6 GB. Others are read when they are asked for, and those used last are kept in memory.

    Args:
        load: Number -> (H, W, 3) uint8 RGB, of the size said here; called by several threads.
        sizes: (height, width) of each.
        stored_side: See `canvas_shape`.
        fill: The RGB colour that becomes zero, for the padding.
        device: Where the network computes.
        resident: Whether all of them live there. None: on a GPU, unless they would take more than half of what it has
            free.
        quiet: Show no progress.

    Raises:
        InputError: A photograph is not of the size said.
    """

    def __init__(
        self,
        load: Callable[[int], NDArray[np.uint8]],
        sizes: Sequence[tuple[int, int]],
        stored_side: int,
        fill: tuple[float, float, float],
        device: torch.device,
        *,
        resident: bool | None = None,
        quiet: bool = False,
    ) -> None:
        self.sizes = np.array(sizes, np.int64).reshape(-1, 2)
        self.shapes = [canvas_shape(height, width, stored_side) for height, width in sizes]
        self._fill = np.round(fill).astype(np.uint8)
        self._device = device
        self._cache = ImageCache(load)
        self._stacks: dict[tuple[int, int], Tensor] = {}
        size = sum(3 * height * width for height, width in self.shapes)
        self.resident = _is_room_for(size, device) if resident is None else resident
        if self.resident:
            self._read_all(load, quiet)

    def read(self, images: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """Return photographs of one shape, (B, H, W, 3); None where they are resident. Threads may call it ahead."""
        if self.resident:
            return None
        return np.stack([self._canvas(self._cache[int(one)], int(one)) for one in images])

    def batch(self, images: NDArray[np.int64], read: NDArray[np.uint8] | None = None) -> Tensor:
        """Return photographs of one shape, (B, H, W, 3) uint8, on the device.

        Args:
            images: Numbers of photographs.
            read: What `read` returned for them, if it was called.
        """
        if self.resident:
            return self._stacks[self.shapes[int(images[0])]][upload(self._place[images], self._device)]
        return upload(np.asarray(self.read(images) if read is None else read), self._device)

    def _read_all(self, load: Callable[[int], NDArray[np.uint8]], quiet: bool) -> None:
        """Put all photographs on the device, those of one shape in one tensor."""
        self._place = np.zeros(len(self.shapes), np.int64)
        with progress_bar(len(self.shapes), "photographs", quiet=quiet) as bar:
            for shape in dict.fromkeys(self.shapes):
                rows = [row for row, one in enumerate(self.shapes) if one == shape]
                stack = torch.empty((len(rows), *shape, 3), dtype=torch.uint8, device=self._device)
                threads = available_processors()
                canvases = run_ahead(lambda row: self._canvas(load(row), row), rows, workers=threads, most=2 * threads)
                with closing(canvases):
                    for place, (row, canvas) in enumerate(zip(rows, canvases, strict=True)):
                        stack[place] = upload(canvas.result(), self._device)
                        self._place[row] = place
                        bar.advance(1)
                self._stacks[shape] = stack

    def _canvas(self, image: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        """Return a photograph in its padded form."""
        height, width = self.sizes[number].tolist()
        if image.shape[:2] != (height, width):
            raise InputError(
                f"photograph {number} should be {width}x{height}, and is {image.shape[1]}x{image.shape[0]}"
            )
        canvas = np.empty((*self.shapes[number], 3), np.uint8)
        canvas[:] = self._fill
        canvas[:height, :width] = image
        return canvas


def _is_room_for(size: int, device: torch.device) -> bool:
    """Return whether so many bytes are less than half of what a GPU has free; False for the CPU."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return size < free / 2


@dataclass(frozen=True, eq=False)
class DeviceBatch:
    """A batch as the step needs it, on the device.

    Attributes:
        images: (B, 3, h, w) float32, mirrored, recoloured, enlarged and preprocessed.
        sizes: (B, 2) int64, height and width of each photograph in it.
        boxes: (R, 5) float32, in its pixels.
        labels: (R,) int64.
        offsets: (R, 4) float32.
        unknown: (B, C + 1) bool, classes that are not labelled on a photograph; None: all are labelled everywhere.
        cells: Across and down each region; None: as many as the network's specification says.
        part: Which regions of a batch shared by several processes these are; None: all.
    """

    images: Tensor
    sizes: Tensor
    boxes: Tensor
    labels: Tensor
    offsets: Tensor
    unknown: Tensor | None
    cells: int | None = None
    part: Part | None = None


def to_device(
    batch: PooledBatch,
    photographs: StoredPhotographs,
    spec: InputSpec,
    device: torch.device,
    unknown: NDArray[np.bool_] | None = None,
    read: NDArray[np.uint8] | None = None,
) -> DeviceBatch:
    """Return a drawn batch as the step needs it; nothing here waits for the device.

    Args:
        batch: What was drawn.
        photographs: All of them.
        spec: How pixels become the network's input.
        device: Where to compute.
        unknown: (B, C + 1) classes that are not labelled on each of the batch's photographs.
        read: The batch's photographs, if they were read ahead; see `StoredPhotographs.read`.
    """
    sizes = photographs.sizes[batch.images]
    position = batch.boxes[:, 0].astype(np.int64)
    boxes, offsets, mirrored = batch.boxes.copy(), batch.offsets.copy(), batch.mirror[position]
    width = sizes[position, 1].astype(np.float32)
    boxes[mirrored, 1] = (width - batch.boxes[:, 3])[mirrored]
    boxes[mirrored, 3] = (width - batch.boxes[:, 1])[mirrored]
    offsets[mirrored, 0] *= -1
    columns = _columns(sizes[:, 1], batch.mirror, photographs.shapes[int(batch.images[0])][1])

    pixels = photographs.batch(batch.images, read)  # (B, H, W, 3)
    pixels = pixels.gather(2, upload(columns, device)[:, None, :, None].expand(pixels.shape))
    x = pixels.float()
    if batch.colour is not None:
        x = _recoloured(x, upload(batch.colour, device), upload(sizes, device))
    x = spec.shift(x).permute(0, 3, 1, 2)
    if batch.scale != 1:
        size = [round(side * batch.scale) for side in x.shape[2:]]
        if batch.interpolation is None:
            x = functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
        else:
            x = _enlarged(x, size, batch.interpolation, spec)
    factor = np.array([1, *[x.shape[3] / pixels.shape[2], x.shape[2] / pixels.shape[1]] * 2], np.float32)
    return DeviceBatch(
        x.contiguous(memory_format=torch.channels_last),
        upload(np.round(sizes * batch.scale).astype(np.int64), device),
        upload(boxes * factor, device),
        upload(batch.labels, device),
        upload(offsets, device),
        None if unknown is None else upload(unknown, device),
        batch.cells,
        batch.part,
    )


def _columns(widths: NDArray[np.int64], mirror: NDArray[np.bool_], canvas: int) -> NDArray[np.int64]:
    """Return (B, canvas): which column of a photograph each column shows; the padding stays on the right."""
    columns = np.tile(np.arange(canvas), (len(widths), 1))
    flipped = widths[:, None] - 1 - columns
    return np.where(mirror[:, None] & (flipped >= 0), flipped, columns)


def _enlarged(x: Tensor, size: list[int], interpolation: NDArray[np.int64], spec: InputSpec) -> Tensor:
    """Return preprocessed photographs (B, 3, H, W) at another size, each in its way of interpolation."""
    large = torch.empty((*x.shape[:2], *size), device=x.device, memory_format=torch.channels_last)
    for way in np.unique(interpolation):
        rows, mode = upload(np.flatnonzero(interpolation == way), x.device), INTERPOLATIONS[way]
        smooth = mode in ("bilinear", "bicubic")
        part = functional.interpolate(x[rows], size=size, mode=mode, align_corners=False if smooth else None)
        if mode == "bicubic":  # it overshoots what an image can show
            ends = torch.tensor([0.0, 255.0], device=x.device)[:, None].expand(2, 3)
            low, high = spec.shift(ends[:, None, None])[:, 0, 0].sort(dim=0).values[..., None, None]
            part = part.clamp(low, high)
        large[rows] = part
    return large


def _recoloured(x: Tensor, colour: Tensor, sizes: Tensor) -> Tensor:
    """Return RGB (B, H, W, 3) with a colour matrix and addition for each photograph, the padding as it was."""
    rows, columns = (torch.arange(length, device=x.device) for length in x.shape[1:3])
    inside = (rows[None, :, None] < sizes[:, :1, None]) & (columns[None, None, :] < sizes[:, 1:, None])
    return torch.where(inside[..., None], recoloured(x, colour), x)


def region_losses(
    logits: Tensor, offsets: Tensor | None, batch: DeviceBatch, *, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the losses of each region's classes and of its offsets, (R,) both; the latter 0 for background.

    Args:
        logits: (R, C + 1).
        offsets: (R, 4); None: no box regression, and those losses are 0.
        batch: What should come out.
        smoothing: See `class_losses`.
    """
    unknown = None if batch.unknown is None else batch.unknown[batch.boxes[:, 0].long()]
    classes = class_losses(logits, batch.labels, unknown, smoothing=smoothing)
    if offsets is None:
        return classes, torch.zeros_like(classes)
    shows_object = batch.labels != logits.shape[1] - 1
    moved = functional.smooth_l1_loss(offsets.float(), batch.offsets, reduction="none").sum(dim=1)
    return classes, moved * shows_object


Taught = Callable[[tuple[Tensor, Tensor], Tensor, Tensor | None, DeviceBatch], tuple[Tensor, Tensor]]


class PooledTuning:
    """A pooled network being trained.

    Args:
        network: In float32; it is trained in place.
        settings: How to train; `train_from` names the trunk's first stage that learns.
        runtime: Where; products are computed in its type, weights are kept in float32.
        smoothing: See `class_losses`.
        batches_per_pass: See `TrainingSettings.rate_at`.
        team: The processes that share each batch.
        taught: Changes the losses, as teachers do; see `distillation.Teachers.blend`.

    Attributes:
        averaged: Optimizer, running average and state.
    """

    def __init__(
        self,
        network: PooledNetwork,
        settings: TrainingSettings,
        runtime: Runtime,
        *,
        smoothing: float = 0.0,
        batches_per_pass: int = 1,
        team: Team = ALONE,
        taught: Taught | None = None,
    ) -> None:
        self.settings, self.runtime, self.smoothing = settings, runtime, smoothing
        self.batches_per_pass, self.team, self._taught = batches_per_pass, team, taught
        self.network = network.to(runtime.device).to(memory_format=torch.channels_last)
        frozen = frozen_parts(settings, network)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(part_of(name) not in frozen)
        self.averaged = AveragedTraining(
            network,
            settings.optimizer(network, NEW_LAYERS, fused=runtime.device.type == "cuda"),
            memory=("momentum_buffer",),
            averaging=settings.averaging,
            clip=settings.clip,
            add_up=None if team.alone else team.add_up,
        )

    def step(self, batch: DeviceBatch) -> dict[str, float]:
        """Take one iteration on a batch, and return its losses by name.

        Raises:
            InputError: A GPU's memory does not hold the batch.
            InceptionError: Loss or gradient is not finite.
        """
        try:
            return {"loss": self._update(batch)}
        except torch.OutOfMemoryError as error:
            count, _, height, width = batch.images.shape
            raise InputError(
                f"{self.runtime.device} has no memory for {count} photographs of {width}x{height} with "
                f"{len(batch.boxes)} regions together; ask for fewer photographs or regions"
            ) from error

    def _update(self, batch: DeviceBatch) -> float:
        """Take one iteration on a batch, and return its loss."""
        iteration, device = self.averaged.iteration, self.runtime.device
        self.network.train()
        # Dropout is a function of seed and iteration, the same after a resume.
        with (
            seeded(self.settings.seed * 1_000_003 + iteration, device),
            self.team.dropout(self.network.dropout, batch.part),
            self.runtime.autocast(),
        ):
            logits, offsets = self.network(batch.images, batch.boxes, batch.sizes, batch.cells)
        each = region_losses(logits, offsets, batch, smoothing=self.smoothing)
        if self._taught is not None:
            each = self._taught(each, logits, offsets, batch)
        weights = region_weights(each[0] + each[1], self.settings.hard_examples, self.team, batch.part)
        classes, moved = ((one * weights).sum() for one in each)
        parts = {"classes": classes} if offsets is None else {"classes": classes, "boxes": moved}
        return self.averaged.update(classes + moved, self.settings.rate_at(iteration, self.batches_per_pass), parts)
