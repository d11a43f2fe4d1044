"""What members that warp say of an image's regions, on a GPU as one chain of work that nothing in it waits for.

    image up, once --> halved copies --> a batch of regions cut out --> stages in common --> each member's rest
      --> probabilities (members, N, C + 1), gathered on the device --> down, once

Batches have one of a few sizes, the last one filled up, so that on CUDA all the networks' work on a batch is captured
as a graph at the first batch of its size, and then started by a single call. Where memory is short the batches are
halved, for good, and the image's regions go on from where they were. All of it runs on the CPU device too, without
graphs; its tests do so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inception_rcnn.backbones import STAGES, GoogLeNet, InputSpec
from inception_rcnn.backbones.inference import for_inference
from inception_rcnn.backbones.runtime import Runtime, download, upload
from inception_rcnn.backbones.runtimes.gpu_graphs import captured, memory_pool
from inception_rcnn.backbones.runtimes.openvino_runtime import compile_part
from inception_rcnn.backbones.runtimes.recording import Part, Port
from inception_rcnn.detector.runtimes.device_warp import DeviceWarp
from inception_rcnn.structures import InputError, check_rgb

# A batch is filled up to the next of these: little is computed for nothing, and few graphs are kept.
_SIZES = (16, 32, 64, 128, 256, 384, 512)


class WarpedChain:
    """The networks of members that warp, made ready for inference, and their way from image to probabilities.

    Args:
        networks: At least one, in evaluation, on the runtime's device and in its type.
        shared: The leading stages that all of them have in common; computed once.
        spec: How regions become their input.
        runtime: Where it all happens; its batch is the largest.
        tune: On CUDA, let cuDNN try which algorithm is fastest for each convolution, once for each batch size. The
            answers of two processes may then differ by rounding.

    Attributes:
        batch: Regions in a batch at most; less than the runtime's after memory was short.

    Raises:
        InputError: They are to be computed in int8, which they are not calibrated for.
    """

    def __init__(
        self,
        networks: Sequence[GoogLeNet],
        shared: Sequence[str],
        spec: InputSpec,
        runtime: Runtime,
        *,
        tune: bool = False,
    ) -> None:
        self.networks = tuple(for_inference(network) for network in networks)
        self.shared = tuple(shared)
        self.spec = spec
        self.runtime = runtime
        self.tune = tune
        self.batch = runtime.batch_for(spec.side)
        self._compute: Callable[[Tensor], list[Tensor]] = self._logits
        if self.networks and runtime.openvino is not None:
            if runtime.openvino == "int8":  # `calibrate`, which the compiler's error names, is for pooled ones
                raise InputError("precision int8 is for pooled detectors, and weights here warp; use bf16 or fp32")
            self._compute = compile_part(self.part(), runtime.openvino)
        self._batches: dict[int, _Batch] = {}
        self._pool = memory_pool(runtime.device)
        self._lock = threading.RLock()  # the batches' memory is used again and again

    @torch.inference_mode()
    def score(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return every network's probabilities of an image's regions: (networks, N, C + 1), background last.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (N, 4) x1 y1 x2 y2 in pixels of the image, with area.

        Raises:
            InputError: Wrong shapes, or a box without area.
            torch.OutOfMemoryError: There is no room for a single region.
        """
        check_rgb(image)
        with self._lock:
            found = self._queued(image, boxes)
            ready = download(found)
        return ready()

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Return every network's probabilities (networks, n, C + 1) float32 for their input (n, 3, side, side)."""
        return torch.stack([logits.float().softmax(dim=1) for logits in self._compute(inputs)])

    def part(self) -> Part:
        """Return what other runtimes than torch can compute: regions (n, 3, side, side) -> every network's logits."""
        return Part(
            name="warped",
            module=_Together(self._logits),
            example=(torch.zeros(2, 3, self.spec.side, self.spec.side),),
            inputs=(Port("regions", ("regions", None, None, None)),),
            outputs=tuple(Port(f"logits_{number}", ("regions", None)) for number in range(len(self.networks))),
        )

    def _logits(self, inputs: Tensor) -> list[Tensor]:
        """Return the logits (n, C + 1) of every network; the stages that all have in common run once."""
        first = self.networks[0]
        if len(self.networks) == 1:
            return [first(inputs)]
        x, rest = inputs, STAGES[0]
        if self.shared:
            x, rest = first.trunk(inputs, stop=self.shared[-1]), STAGES[min(len(self.shared), len(STAGES) - 1)]
        if len(self.shared) == len(STAGES):
            return [network.classify(x) for network in self.networks]
        return [network.classify(network.trunk(x, start=rest)) for network in self.networks]

    def _queued(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> Tensor:
        """Return the probabilities (networks, N, C + 1) on the device, where they may still be in the making."""
        warp = DeviceWarp(upload(image, self.runtime.device), self.spec, self.runtime.device, self.runtime.dtype)
        parts: list[Tensor] = []
        done = 0
        while done < len(boxes) or not parts:
            rows = boxes[done : done + self.batch]
            found = self._batch_of(warp, rows)
            if found is None:
                self._halve()
            else:
                parts.append(found)
                done += self.batch
        return torch.cat(parts, dim=1)

    def _batch_of(self, warp: DeviceWarp, boxes: NDArray[np.float32]) -> Tensor | None:
        """Return the probabilities of a batch; None if there is no room for it."""
        size = min((size for size in _SIZES if len(boxes) <= size <= self.batch), default=self.batch)
        try:
            batch = self._batches.get(size)
            if batch is None:
                batch = self._batches[size] = self._prepared(size)
            warp.cut(boxes, out=batch.inputs)
            return batch.run()[:, : len(boxes)].clone()
        except torch.OutOfMemoryError:
            if self.batch == 1:
                raise
            return None

    def _halve(self) -> None:
        """Halve the batches and free what was kept for the larger ones."""
        self.batch = max(1, self.batch // 2)
        self._batches.clear()
        self._pool = memory_pool(self.runtime.device)
        if self.runtime.device.type == "cuda":
            torch.cuda.empty_cache()

    def _prepared(self, size: int) -> _Batch:
        side, device = self.spec.side, self.runtime.device
        pixels = torch.zeros((size, side, side, 3), dtype=self.runtime.dtype, device=device).permute(0, 3, 1, 2)
        return _Batch(
            pixels, captured(lambda inputs: self.probabilities(inputs), pixels, tune=self.tune, pool=self._pool)
        )


class _Together(nn.Module):
    """What computes several networks, as a module."""

    def __init__(self, compute: Callable[[Tensor], list[Tensor]]) -> None:
        super().__init__()
        self._compute = compute

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return self._compute(inputs)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Memory for batches of one size, and the networks' work on it.

    Attributes:
        inputs: (size, 3, side, side), channels last.
        run: Computes probabilities (networks, size, C + 1) from what `inputs` holds.
    """

    inputs: Tensor
    run: Callable[[], Tensor]
