"""MultiBox ready for use: images in, proposals out; and objectness for boxes that others propose. Read this first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones import InputSpec
from inception_rcnn.backbones.inference import with_inference_trunk
from inception_rcnn.backbones.runtime import Runtime, download, upload
from inception_rcnn.backbones.runtimes.gpu_graphs import captured
from inception_rcnn.backbones.runtimes.openvino_runtime import CompiledPart, compile_part
from inception_rcnn.proposals.network.model import MultiBoxNet, MultiBoxOutput, multibox_part
from inception_rcnn.proposals.network.priors import as_pixels, as_shares, grid_priors
from inception_rcnn.structures import InputError, Proposals, load_image, nms
from inception_rcnn.structures.images import ImageSource, stretch

SOURCE_NAME = "multibox"
# Boxes looked at when near-duplicates are suppressed: five times as many as are wanted leave enough.
_CANDIDATES = 5
_LEAST_SIDE = 1e-3  # of a box, as a share of the image
# What MultiBox's own boxes are ahead of others by, as a logit. With 3 the first n boxes of the merged list cover no
# less than the first n of MultiBox alone, for n from 10 to 300, on the photographs that its training held out.
_LEAD = 3.0
# With crops: four windows, each this share of the image's sides, one in each corner.
_CROP_SHARE = 0.6


@dataclass(frozen=True)
class View:
    """What the network saw in one image.

    Attributes:
        boxes: (K, 4) float32, as shares of the image.
        logits: (K,) float32, of their confidences.
        regions: (1, C, h, w), what objectness is read from.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
    """

    boxes: Tensor
    logits: Tensor
    regions: Tensor
    width: int
    height: int


class MultiBox:
    """A trained network, ready to propose.

    Args:
        network: On any device; it is moved.
        spec: What its trunk expects to see.
        runtime: Where it computes, in which type.
        suppression_iou: Of two boxes that overlap more, the less confident one goes; 0.5 is Erhan et al.'s.
        checksum: Of the weights, to tell networks apart.
        path: The file that it was read from; None: none.

    Raises:
        InputError: Network and specification have different input sides.
    """

    def __init__(
        self,
        network: MultiBoxNet,
        spec: InputSpec,
        runtime: Runtime,
        *,
        suppression_iou: float = 0.5,
        checksum: str = "",
        path: Path | None = None,
    ) -> None:
        if spec.side != network.side:
            raise InputError(f"the network sees {network.side} px, the input specification says {spec.side}")
        self.spec = spec
        self.runtime = runtime
        self.suppression_iou = suppression_iou
        self.checksum = checksum
        self.path = path
        self.network = network.eval().to(runtime.device, runtime.dtype).to(memory_format=torch.channels_last)
        # The boxes themselves are computed in float32, whatever the network's type.
        self.network.priors = torch.from_numpy(grid_priors(network.prior_settings, network.side)).to(runtime.device)
        self._ready = with_inference_trunk(self.network)
        self._single: tuple[Tensor, Callable[[], MultiBoxOutput]] | None = None
        self._lock = threading.Lock()  # of the memory of `_single`
        self._compiled: CompiledPart | None = None
        if runtime.openvino is not None:
            # The few milliseconds that int8 would save are not worth a calibration.
            precision = "bf16" if runtime.openvino == "int8" else runtime.openvino
            self._compiled = compile_part(multibox_part(self._ready), precision)

    @contextmanager
    def one_thread_each(self) -> Iterator[None]:
        """Have each thread that starts within the block compute by itself.

        torch otherwise gives each of them a pool with a thread for every core. Alone they share the cores best, and
        the number of cores decides nothing: how many threads add up decides how sums are rounded.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @torch.inference_mode()
    def look(self, images: Sequence[NDArray[np.uint8]]) -> list[View]:
        """Return what the network sees in each of several images (H, W, 3) uint8 RGB, which may differ in size."""
        views = []
        batch = self.runtime.batch_for(self.spec.side)
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            whole = [np.array([0, 0, one.shape[1], one.shape[0]], np.float64) for one in part]
            pixels = np.stack([stretch(*each, self.spec.side) for each in zip(part, whole, strict=True)])
            output = self._seen(self.spec.apply(upload(pixels, self.runtime.device), self.runtime.dtype))
            for row, one in enumerate(part):
                regions = output.regions[row : row + 1]
                views.append(View(output.boxes[row], output.logits[row], regions, one.shape[1], one.shape[0]))
        return views

    def _seen(self, inputs: Tensor) -> MultiBoxOutput:
        """Return what the network says of a batch; one image alone, on a GPU, goes through a graph."""
        if self._compiled is not None:
            return self._ready.output(*self._compiled(inputs))
        if len(inputs) > 1 or self.runtime.device.type != "cuda":
            output: MultiBoxOutput = self._ready(inputs)
            return output
        with self._lock:
            if self._single is None:
                memory = inputs.clone(memory_format=torch.preserve_format)
                self._single = memory, captured(lambda given: self._ready(given), memory)
            memory, run = self._single
            memory.copy_(inputs)
            found = run()
            return MultiBoxOutput(*(getattr(found, one.name).clone() for one in fields(found)))

    def propose(self, image: ImageSource, *, top_k: int = 200, crops: bool = False) -> Proposals:
        """Return at most `top_k` proposals of one image, most confident first.

        Args:
            image: Whatever `load_image` reads.
            top_k: How many.
            crops: Look at four overlapping windows of the image too, closer up: five times the work.
        """
        pixels = load_image(image)
        view, *windows = self.look([pixels, *corner_crops(pixels)] if crops else [pixels])
        return self.proposals(view, top_k, windows)

    def propose_batch(self, images: Sequence[ImageSource], *, top_k: int = 200) -> list[Proposals]:
        """Return the proposals of several images, which go through the network together."""
        return [self.proposals(view, top_k) for view in self.look([load_image(image) for image in images])]

    def proposals(self, view: View, top_k: int = 200, windows: Sequence[View] = ()) -> Proposals:
        """Return the most confident boxes that the network saw in an image, near-duplicates left out.

        Args:
            view: Of the whole image.
            top_k: How many boxes at most, at least 1.
            windows: Views of its `corner_crops`; boxes that a window's border cuts are left out.
        """
        boxes, logits = [view.boxes], [view.logits]
        size = torch.tensor([view.width, view.height] * 2, device=self.runtime.device)
        corners = _corner_windows(view.width, view.height) if windows else ()
        for closer, window in zip(windows, corners, strict=True):
            corner = torch.from_numpy(np.tile(window[:2], 2)).to(self.runtime.device)
            extent = torch.from_numpy(np.tile(window[2:] - window[:2], 2)).to(self.runtime.device)
            moved = ((closer.boxes * extent + corner) / size).float()
            uncut = _uncut(closer.boxes, window, view.width, view.height)
            boxes.append(moved[uncut])
            logits.append(closer.logits[uncut])
        return self._best(torch.cat(boxes), torch.cat(logits), view.width, view.height, top_k)

    def logits(self, view: View, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how well each box fits an object as a logit (N,); higher is better.

        Args:
            view: Of the image.
            boxes: (N, 4) in pixels of the image, whoever proposed them.
        """
        return self._start_logits(view, boxes)()

    @torch.inference_mode()
    def _start_logits(self, view: View, boxes: NDArray[np.float32]) -> Callable[[], NDArray[np.float32]]:
        """Return what waits for the logits of boxes and gives them."""
        shares = upload(as_shares(boxes, view.width, view.height), self.runtime.device).float()
        return download(self.network.objectness(view.regions, [shares]))

    def objectness(self, image: NDArray[np.uint8] | View, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how likely each box fits an object, (N,) in [0, 1].

        Args:
            image: (H, W, 3) uint8 RGB, which the network then looks at; or what it saw in it before.
            boxes: (N, 4) in pixels of the image, whoever proposed them.
        """
        if not len(boxes):
            return np.zeros(0, dtype=np.float32)
        view = image if isinstance(image, View) else self.look([image])[0]
        return _sigmoid(self.logits(view, boxes))

    def rank(self, view: View, own: Proposals, *others: Proposals) -> tuple[list[Proposals], NDArray[np.float32]]:
        """Return all sources with their objectness, and scores of all boxes on one scale, for `merge_proposals`.

        The scores of others' boxes are their objectness alone, as logits; those of its own the mean of objectness and
        confidence, and a lead.

        Args:
            view: Of the image.
            own: What `proposals` gave.
            others: Of the same image.
        """
        sources = (own, *others)
        started = [self._start_logits(view, one.boxes) for one in sources]
        logits = [wait() for wait in started]
        known = [replace(one, objectness=_sigmoid(each)) for one, each in zip(sources, logits, strict=True)]
        logits[0] = np.float32(0.5) * (logits[0] + own.scores) + np.float32(_LEAD)
        return known, np.concatenate(logits)

    def _best(self, boxes: Tensor, logits: Tensor, width: int, height: int, top_k: int) -> Proposals:
        if top_k < 1:
            raise InputError(f"top_k should be at least 1, got {top_k}")
        scores, order = logits.topk(min(_CANDIDATES * top_k, len(logits)))
        table: NDArray[np.float32] = download(torch.cat([boxes[order].clamp(0, 1), scores[:, None]], dim=1))()
        chosen, confidences = np.ascontiguousarray(table[:, :4]), np.ascontiguousarray(table[:, 4])
        wide = np.flatnonzero((chosen[:, 2:] - chosen[:, :2] > _LEAST_SIDE).all(axis=1))
        chosen, confidences = chosen[wide], confidences[wide]
        kept = nms(chosen, confidences, self.suppression_iou, limit=top_k)
        return Proposals(as_pixels(chosen[kept], width, height), confidences[kept], source_names=(SOURCE_NAME,))


def corner_crops(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return four overlapping windows of an image (H, W, 3), one from each corner, for a closer look."""
    windows = _corner_windows(image.shape[1], image.shape[0])
    return [image[y1:y2, x1:x2] for x1, y1, x2, y2 in windows.tolist()]


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shares: NDArray[np.float32] = torch.from_numpy(logits).sigmoid().numpy()
    return shares


def _corner_windows(width: int, height: int) -> NDArray[np.int64]:
    """Return (4, 4) x1 y1 x2 y2 in whole pixels: one window in each corner."""
    across, down = max(1, round(width * _CROP_SHARE)), max(1, round(height * _CROP_SHARE))
    corners = [(x, y) for y in (0, height - down) for x in (0, width - across)]
    return np.array([[x, y, x + across, y + down] for x, y in corners])


def _uncut(boxes: Tensor, window: NDArray[np.int64], width: int, height: int) -> Tensor:
    """Return which boxes (K, 4), as shares of a window, keep away from those of its sides that lie inside the image."""
    inside = window != np.array([0, 0, width, height])
    margin = torch.from_numpy(np.where(inside, 0.02, -np.inf)).to(boxes)
    return (boxes[:, :2] > margin[:2]).all(dim=1) & (boxes[:, 2:] < 1 - margin[2:]).all(dim=1)
