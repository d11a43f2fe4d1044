"""Photographs -> classes, as in the paper: one to seven networks, 1, 10 or 144 crops, probabilities averaged.

Source: "Going deeper with convolutions", section 7, tables 2 and 3.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones.crops import Crop, crop_plan, cut_crops
from inception_rcnn.backbones.inception import ConvReLU, GoogLeNet
from inception_rcnn.backbones.inference import for_inference
from inception_rcnn.backbones.runtime import Runtime, choose_runtime
from inception_rcnn.backbones.weights import WeightSource, description_of, network_of
from inception_rcnn.structures import InputError
from inception_rcnn.structures.ahead import in_groups

# Table 3: top-5 error in percent on ILSVRC 2014's validation set, by models and crops.
PAPER_TOP5_ERRORS: Final = {
    (1, 1): 10.07,
    (1, 10): 9.15,
    (1, 144): 7.89,
    (7, 1): 8.09,
    (7, 10): 7.62,
    (7, 144): 6.67,
}
_TOP: Final = 5


class Classifier:
    """Networks that were trained on the same classes, asked together.

    Args:
        networks: One or more, in float32 and in evaluation mode. They are copied, and stay as they are.
        class_names: Of the outputs, if known.
        runtime: Where and in which type they compute; None: in float32 on the CPU.

    Raises:
        InputError: No network, one without outputs, with others than the first, or in training.
    """

    def __init__(
        self, networks: Sequence[GoogLeNet], class_names: Sequence[str] | None = None, runtime: Runtime | None = None
    ) -> None:
        outputs = [network.num_classes for network in networks]
        if not outputs or min(outputs) < 1 or len(set(outputs)) > 1:
            raise InputError(
                f"the networks should be one or more with the same number of classes, got {outputs}; "
                "a trunk, such as 'coco', has none"
            )
        if class_names is not None and len(class_names) != outputs[0]:
            raise InputError(f"class_names should have {outputs[0]} names, one for each output, got {len(class_names)}")
        if training := [number for number, network in enumerate(networks) if network.training]:
            raise InputError(f"networks[{training[0]}] is in training; call eval() first")
        self.num_classes = outputs[0]
        self.class_names = None if class_names is None else tuple(class_names)
        self.runtime = choose_runtime("cpu", precision="fp32") if runtime is None else runtime
        self._specs = [network.input_spec for network in networks]
        self._networks = [self._ready(network) for network in networks]

    @classmethod
    def load(cls, weights: Sequence[WeightSource], runtime: Runtime | None = None) -> Classifier:
        """Return the classifier of one or more weights, each of its own variant; see `googlenet` for what they may be.

        Raises:
            InputError: Weights of a trunk, or of different classes; a file of a kind that is not read.
            CheckpointError: A file is missing, damaged or not GoogLeNet's.
        """
        names = _common_names(weights)
        return cls([network_of(one) for one in weights], names, runtime)

    def __len__(self) -> int:
        """Return how many networks there are."""
        return len(self._networks)

    def __call__(self, image: NDArray[np.uint8], *, crops: int = 1, resize: str = "keep") -> NDArray[np.float32]:
        """Return the probabilities (classes,), averaged over crops and networks.

        Args:
            image: uint8 RGB (H, W, 3).
            crops: 1, 10 or 144.
            resize: "keep" or "stretch"; see `cut_crops`.

        Raises:
            InputError: One of them is something else.
        """
        return over_crops(self.probabilities([image], crop_plan(crops), resize=resize)[0])

    @torch.inference_mode()
    def probabilities(
        self, images: Sequence[NDArray[np.uint8]], plan: Sequence[Crop], *, resize: str = "keep"
    ) -> list[NDArray[np.float32]]:
        """Return for each image the probabilities (networks, crops, classes).

        Crops are cut on the device, and those of all images go through the networks in batches.

        Args:
            images: uint8 RGB (H, W, 3) each.
            plan: From `crop_plan`.
            resize: "keep" or "stretch"; see `cut_crops`.
        """
        if not images:
            return []
        cut = [cut_crops(image, plan, self.runtime.device, resize=resize) for image in images]
        pixels = torch.cat([one.pixels for one in cut])
        members = zip(self._networks, self._specs, strict=True)
        found = torch.stack([self._computed(network, spec.shift(pixels)) for network, spec in members]).cpu().numpy()
        ends = np.cumsum([len(one.pixels) for one in cut])[:-1]
        return [own[:, one.rows] for own, one in zip(np.split(found, ends, axis=1), cut, strict=True)]

    def _computed(self, network: GoogLeNet, pixels: Tensor) -> Tensor:
        """Return probabilities (N, classes) for prepared crops (N, 224, 224, 3)."""
        batches = torch.split(pixels.to(self.runtime.dtype).permute(0, 3, 1, 2), self.runtime.batch)
        return torch.cat([network.classify(network.trunk(batch)).float().softmax(dim=1) for batch in batches])

    def _ready(self, network: GoogLeNet) -> GoogLeNet:
        copied: Any = copy.deepcopy(network)
        network = copied.to(self.runtime.device, self.runtime.dtype, memory_format=torch.channels_last)
        return for_inference(network) if isinstance(network.conv1, ConvReLU) else network


def over_crops(probabilities: NDArray[np.float32], *, maximum: bool = False) -> NDArray[np.float32]:
    """Return the probabilities (classes,) of a photograph from those of its crops, averaged over the networks.

    Args:
        probabilities: (networks, crops, classes).
        maximum: Take each network's largest over the crops, which the paper tried and found worse, and not the mean;
            these do not sum to 1.
    """
    each = probabilities.max(axis=1) if maximum else probabilities.mean(axis=1)
    found: NDArray[np.float32] = each.mean(axis=0)
    return found


def places_of(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each photograph the place of its class among all, from 0; (N,).

    Of equals the first comes first. A score that is no finite number is below all others; where that of the own class
    is none, its place is the last.

    Args:
        scores: (N, C) probabilities, or logits.
        labels: (N,) the classes.

    >>> places_of(np.array([[0.2, 0.5, 0.2], [np.nan, np.nan, np.nan]], np.float32), np.array([2, 0]))
    array([2, 2])
    """
    known = np.where(np.isfinite(scores), scores, -np.inf)
    own = np.take_along_axis(known, labels[:, None], axis=1)
    is_before = (known > own) | ((known == own) & (np.arange(known.shape[1]) < labels[:, None]))
    places: NDArray[np.int64] = np.where(np.isfinite(own[:, 0]), is_before.sum(axis=1), known.shape[1] - 1)
    return places


@dataclass(frozen=True, kw_only=True)
class CropAccuracy:
    """A row of the table of models and crops.

    Attributes:
        models: How many networks.
        crops: How many crops of each photograph.
        photographs: How many.
        top1: Share of photographs whose class is the first, in 0..1, crops averaged.
        top5: Share of those whose class is among the first five.
        maximum_top1: As `top1`, with the maximum over the crops.
        maximum_top5: As `top5`, with the maximum over the crops.
    """

    models: int
    crops: int
    photographs: int
    top1: float
    top5: float
    maximum_top1: float
    maximum_top5: float

    @property
    def cost(self) -> int:
        """Forward passes for a photograph."""
        return self.models * self.crops


def crop_accuracies(
    classifier: Classifier,
    photographs: Iterable[tuple[NDArray[np.uint8], int]],
    crops: Sequence[int],
    *,
    resize: str = "keep",
) -> list[CropAccuracy]:
    """Return the table: for one network, the first, and for all of them, a row for each number of crops.

    Each photograph is looked at once; fewer crops are some of the most.

    Args:
        classifier: Its networks.
        photographs: Images, uint8 RGB (H, W, 3), with their classes.
        crops: Of `CROP_COUNTS`.
        resize: "keep" or "stretch"; see `cut_crops`.

    Raises:
        InputError: There are no photographs, or an argument is out of range.
    """
    plan = crop_plan(max(crops))
    parts = {count: [plan.index(one) for one in crop_plan(count)] for count in sorted(set(crops))}
    rows = [(models, count) for models in sorted({1, len(classifier)}) for count in parts]
    places: list[list[tuple[int, int]]] = []
    for group in in_groups(photographs, max(1, classifier.runtime.batch // len(plan))):  # whose crops fill a batch
        images, labels = zip(*group, strict=True)
        for found, label in zip(classifier.probabilities(images, plan, resize=resize), labels, strict=True):
            kept = [found[:models, parts[count]] for models, count in rows]
            places.append([_places(one, label) for one in kept])
    if not places:
        raise InputError("there are no photographs to measure accuracy on")
    shares = [(np.array(places) < most).mean(axis=0) for most in (1, _TOP)]
    return [
        CropAccuracy(
            models=models,
            crops=count,
            photographs=len(places),
            top1=float(shares[0][row, 0]),
            top5=float(shares[1][row, 0]),
            maximum_top1=float(shares[0][row, 1]),
            maximum_top5=float(shares[1][row, 1]),
        )
        for row, (models, count) in enumerate(rows)
    ]


def _places(probabilities: NDArray[np.float32], label: int) -> tuple[int, int]:
    """Return the place of a class by the mean over the crops, and by their maximum."""
    both = np.stack([over_crops(probabilities, maximum=maximum) for maximum in (False, True)])
    mean, maximum = places_of(both, np.array([label, label])).tolist()
    return mean, maximum


def _common_names(weights: Sequence[WeightSource]) -> tuple[str, ...] | None:
    """Return the names of the outputs, which all files that have some should share.

    Raises:
        InputError: Two files call an output differently.
    """
    named = [(one, names) for one in weights if (names := _class_names(one)) is not None]
    for other, names in named[1:]:
        first, known = named[0]
        for output, (wanted, found) in enumerate(zip(known, names, strict=False)):
            if wanted != found:
                raise InputError(
                    f"{other} calls output {output} {found!r}, {first} {wanted!r}; networks that are averaged should "
                    "know the same classes in the same order"
                )
    return named[0][1] if named else None


def _class_names(weights: WeightSource) -> tuple[str, ...] | None:
    """Return the names of the outputs that a file of this package has; None: it has none, or is of another kind."""
    names = (description_of(weights) or {}).get("class_names")
    return tuple(map(str, names)) if isinstance(names, list) else None
