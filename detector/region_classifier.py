"""One classifier of regions, and what it says of itself.

A classifier either warps (the paper's way: each region is cut out, stretched and sent through GoogLeNet) or pools (the
trunk sees the image once and each region is read off its maps; see `region_pooling.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.backbones.inference import with_inference_trunk
from inception_rcnn.backbones.runtime import Runtime, download, upload
from inception_rcnn.backbones.runtimes.recording import Ranges
from inception_rcnn.detector.heads.imagenet_head import GroupedLinear, check_groups
from inception_rcnn.detector.region_pooling import (
    PooledMaps,
    PooledNetwork,
    PoolingSpec,
    enlarged_boxes,
    pooled_input,
)
from inception_rcnn.detector.runtimes.pooled_parts import pooled_compute
from inception_rcnn.evaluation.score_calibration import ScoreCalibration
from inception_rcnn.structures import InputError, as_boxes
from inception_rcnn.structures.boxes import check_area, check_near
from inception_rcnn.structures.errors import check_fields
from inception_rcnn.structures.progress import StageClock
from inception_rcnn.structures.provenance import SeenPart

# What the ImageNet weights expect, with R-CNN's 16 px of context around a region.
REGION_INPUT: Final = InputSpec(context=16)
WAYS: Final = ("pool", "warp")  # in which regions become a network's input
_REGIONS_AT_A_TIME: Final = 512  # 49 cells of 832 numbers each: 80 MB in float32


@dataclass(frozen=True)
class ClassifierDescription:
    """What a region classifier says of itself; stored in its checkpoint.

    Attributes:
        class_names: C names; the network has C + 1 outputs, background last.
        input_spec: How pixels become its input; side and context are for regions that are warped.
        proposal_settings: The proposals it was trained on; tests should use the same (SPP-net, appendix A).
        score_threshold: Lowest score that `detect` shows by default; training measures it on held-out photographs.
        training: Free summary: data, recipe, figures.
        licence: Of the weights.
        pooling: How regions are pooled from one map; None: each is warped.
        box_regression: Whether the network says how each box should be moved, too.
        objectness_power: The power of the objectness by which class probabilities are multiplied; 0: they stand alone.
        iou_threshold: Of two detections of a class that overlap more, the better stays; moved boxes fall together
            more closely than proposals, and allow more than R-CNN's 0.3.
        max_proposals: So many regions are looked at by default; where more cost more than they bring.
        activation_ranges: Of what the convolutions of a pooled network's parts read in photographs, by the part's
            name; int8 needs them (`calibration.py`).
        output_groups: Of a network whose last layer has other outputs than the classes, ImageNet's 1000: for each of
            them the class whose probability it adds to, C for background (`imagenet_head.py`).
        seen: The photographs it learned from, and those that the MultiBox it was trained with did, as far as known.
        score_calibration: What makes a score of 0.5 mean that half of such detections are right; None: not known.
        lrn: Whether the trunk normalises across channels; see `GoogLeNet`.

    Raises:
        InputError: A field of another type, box regression without pooling, a power outside 0..4, an overlap outside
            0..1, no proposals, or other groups than classes and background.
    """

    class_names: tuple[str, ...]
    input_spec: InputSpec
    proposal_settings: dict[str, Any] = field(default_factory=dict)
    score_threshold: float = 0.1
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = "Apache-2.0"
    pooling: PoolingSpec | None = None
    box_regression: bool = False
    objectness_power: float = 1.0
    iou_threshold: float = 0.3
    max_proposals: int = 200
    activation_ranges: dict[str, Ranges] = field(default_factory=dict)
    seen: tuple[SeenPart, ...] = ()
    output_groups: tuple[int, ...] = ()
    score_calibration: ScoreCalibration | None = None
    lrn: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        check_power(self.objectness_power)
        overlap, most = self.iou_threshold, self.max_proposals
        if not 0 <= overlap <= 1:
            raise InputError(f"iou_threshold should be a number in 0..1, got {overlap!r}")
        if most < 1:
            raise InputError(f"max_proposals should be a whole number, at least 1, got {most!r}")
        if self.box_regression and self.pooling is None:
            raise InputError("box_regression needs pooled regions; a warping classifier has no box offsets")
        if self.output_groups and check_groups(self.output_groups) != len(self.class_names) + 1:
            raise InputError(
                f"output_groups should have {len(self.class_names) + 1} groups, for the classes and background, got "
                f"{check_groups(self.output_groups)}"
            )

    @property
    def regions(self) -> str:
        """How regions become the network's input: "pool" or "warp"."""
        return "warp" if self.pooling is None else "pool"


class RegionClassifier:
    """A trained network that sees each region warped, with its description, on a device.

    Args:
        network: C + 1 outputs.
        description: What it expects and names.
        runtime: Where it computes. The network is moved and converted.

    Raises:
        InputError: The outputs do not fit the class names, or the description is of pooled regions.
    """

    def __init__(self, network: GoogLeNet, description: ClassifierDescription, runtime: Runtime) -> None:
        check_description(network, description)
        self.description = description
        self.runtime = runtime
        self.network = network.eval().to(runtime.device, runtime.dtype).to(memory_format=torch.channels_last)


@dataclass(frozen=True, eq=False)
class Look:
    """One look of a pooled classifier at an image.

    Attributes:
        seen: (1, 3, h, w), the image enlarged and preprocessed.
        maps: What regions are read off.
    """

    seen: torch.Tensor
    maps: PooledMaps


class PooledClassifier:
    """A trained network that sees the image once and pools each region, with its description, on a device.

    Args:
        network: C + 1 outputs.
        description: What it expects and names.
        runtime: Where it computes. The network is moved and converted.

    Raises:
        InputError: The network is not what the description says.
    """

    def __init__(self, network: PooledNetwork, description: ClassifierDescription, runtime: Runtime) -> None:
        check_description(network, description)
        self.description = description
        self.runtime = runtime
        self.network = network.eval().to(runtime.device, runtime.dtype).to(memory_format=torch.channels_last)
        self._ready = with_inference_trunk(self.network)
        self._compute = pooled_compute(self._ready, runtime, description.activation_ranges)

    @torch.inference_mode()
    def look(self, image: NDArray[np.uint8], scale: float | None = None) -> Look:
        """Return what the trunk sees of an image, before any region of it is known.

        Args:
            image: (H, W, 3) uint8 RGB.
            scale: By which the image is enlarged, in place of what the description says.

        Raises:
            InputError: Wrong shape, or a scale that is not above 0.
        """
        seen = self._input(image, scale)
        return Look(seen, self._compute.maps(seen))

    @torch.inference_mode()
    def score(
        self,
        image: NDArray[np.uint8],
        boxes: NDArray[np.float32],
        *,
        scale: float | None = None,
        look: Look | None = None,
        clock: StageClock | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return probabilities (N, C + 1), background last, and box offsets (N, 4), None without box regression.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (N, 4) x1 y1 x2 y2 in pixels of the image, with area.
            scale: By which the image is enlarged, in place of what the description says.
            look: What `look` returned for the image; None: the trunk looks now.
            clock: Adds up the seconds of trunk and head ("network") and of RoIAlign ("pooling"), if given.

        Raises:
            InputError: Wrong shapes, a box without area or far outside the image, or a scale that is not above 0.
        """
        clock, boxes = clock or StageClock(), as_boxes(boxes)
        check_area(boxes)
        check_near(boxes, image.shape[1], image.shape[0])
        outputs, regresses = len(self.description.class_names) + 1, self.description.box_regression
        if len(boxes) == 0:
            return np.zeros((0, outputs), np.float32), np.zeros((0, 4), np.float32) if regresses else None
        with clock.stage("network"):
            look = look or self.look(image, scale)
            corners, maps = self._corners(boxes, image, look.seen), look.maps
        parts = []
        for start in range(0, len(boxes), _REGIONS_AT_A_TIME):
            rows = slice(start, start + _REGIONS_AT_A_TIME)
            with clock.stage("pooling"):
                coarse, fine = self._ready.pool(maps, corners[rows])
            with clock.stage("network"):
                mean = None if maps.mean is None else maps.mean.expand(len(coarse), -1)
                logits, moves = self._compute.head(coarse, fine, mean)
                found = [logits.float().softmax(dim=1)] + ([] if moves is None else [moves.float()])
                parts.append(torch.cat(found, dim=1))
        with clock.stage("network"):  # a GPU is waited for once, here
            table = download(torch.cat(parts))()
        return np.ascontiguousarray(table[:, :outputs]), np.ascontiguousarray(table[:, outputs:]) if regresses else None

    def enlarged(
        self, image: NDArray[np.uint8], boxes: NDArray[np.float32], scale: float | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the trunk sees of an image, (1, 3, h, w), and the boxes (N, 5) in its pixels. See `score`."""
        seen = self._input(image, scale)
        return seen, self._corners(boxes, image, seen)

    def _input(self, image: NDArray[np.uint8], scale: float | None) -> torch.Tensor:
        height, width = image.shape[:2]
        factor = self.network.spec.scale_for(width, height) if scale is None else scale
        if not 0 < factor < math.inf:
            raise InputError(f"scale should be above 0, got {scale}")
        seen = pooled_input(image, self.description.input_spec, factor, self.runtime.device)
        return seen.to(self.runtime.dtype)

    def _corners(self, boxes: NDArray[np.float32], image: NDArray[np.uint8], seen: torch.Tensor) -> torch.Tensor:
        enlarged = enlarged_boxes(boxes, (image.shape[1], image.shape[0]), seen)
        return torch.nn.functional.pad(upload(enlarged, self.runtime.device), (1, 0))  # all of image 0 of the batch


AnyClassifier = RegionClassifier | PooledClassifier


def classifier_of(
    network: GoogLeNet | PooledNetwork, description: ClassifierDescription, runtime: Runtime
) -> AnyClassifier:
    """Return the classifier that goes with a network.

    Raises:
        InputError: The network is not what the description says.
    """
    if isinstance(network, PooledNetwork):
        return PooledClassifier(network, description, runtime)
    return RegionClassifier(network, description, runtime)


def check_description(network: GoogLeNet | PooledNetwork, description: ClassifierDescription) -> None:
    """Raise if a network is not what its description says.

    Raises:
        InputError: Other outputs than the class names ask for, other regions or groups of outputs, or with and without
            box regression or normalisation.
    """
    pooled = isinstance(network, PooledNetwork)
    outputs = network.num_classes + 1 if pooled else network.num_classes
    if outputs != len(description.class_names) + 1:
        raise InputError(
            f"a classifier of {len(description.class_names)} classes has one output more, for background; "
            f"this network has {outputs}"
        )
    spec = network.spec if isinstance(network, PooledNetwork) else None
    if spec != description.pooling:
        raise InputError(f"the description's pooling is {description.pooling}, the network's is {spec}")
    if (trunk := network.trunk if isinstance(network, PooledNetwork) else network).lrn != description.lrn:
        raise InputError(f"the description's lrn is {description.lrn}, the network's is {trunk.lrn}")
    last = network.classifier
    groups = last.groups if isinstance(last, GroupedLinear) else ()
    if groups != description.output_groups:
        said = len(description.output_groups)
        raise InputError(f"the description's output_groups are of {said} outputs, the network's of {len(groups)}")
    regresses = isinstance(network, PooledNetwork) and network.regressor is not None
    if regresses != description.box_regression:
        raise InputError(
            f"the description's box_regression is {description.box_regression}, the network's is {regresses}"
        )


def check_power(power: float) -> None:
    """Raise if a power of the objectness is not in 0..4.

    Raises:
        InputError: It is not.
    """
    if not 0 <= power <= 4:
        raise InputError(f"objectness_power should be a number in 0..4, got {power!r}")


def shortened_threshold(threshold: float) -> float:
    """Return the threshold with four digits, never above it as float32, which scores are: what scores it has to pass.

    >>> shortened_threshold(0.123456), shortened_threshold(3.14159e-06), shortened_threshold(0.0)
    (0.1234, 3.141e-06, 0.0)
    """
    if threshold <= 0:
        return 0.0
    digits = 3 - math.floor(math.log10(threshold))
    nearest = round(threshold, digits)
    if np.float32(nearest) <= np.float32(threshold):
        return nearest
    scale = 10.0**digits
    return round(math.floor(threshold * scale) / scale, digits)
