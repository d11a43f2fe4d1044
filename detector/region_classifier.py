"""GoogLeNet with one output for each class and one for background, and what it says of itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.structures import InputError

# What the ImageNet weights expect, with R-CNN's 16 px of context around a region.
REGION_INPUT: Final = InputSpec(context=16)


@dataclass(frozen=True)
class ClassifierDescription:
    """What a region classifier says of itself; stored in its checkpoint.

    Attributes:
        class_names: C names; the network has C + 1 outputs, background last.
        input_spec: How regions become its input.
        proposal_settings: The proposals it was trained on; tests should use the same (SPP-net, appendix A).
        score_threshold: Lowest score that `detect` shows by default; training measures it on held-out photographs.
        training: Free summary: data, recipe, figures.
        licence: Of the weights.
    """

    class_names: tuple[str, ...]
    input_spec: InputSpec
    proposal_settings: dict[str, Any] = field(default_factory=dict)
    score_threshold: float = 0.1
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = "Apache-2.0"


class RegionClassifier:
    """A trained network with its description, on a device.

    Args:
        network: C + 1 outputs.
        description: What it expects and names.
        runtime: Where it computes. The network is moved and converted.

    Raises:
        InputError: The outputs do not fit the class names.
    """

    def __init__(self, network: GoogLeNet, description: ClassifierDescription, runtime: Runtime) -> None:
        if network.num_classes != len(description.class_names) + 1:
            raise InputError(
                f"a classifier of {len(description.class_names)} classes has one output more, for background; "
                f"this network has {network.num_classes}"
            )
        self.description = description
        self.runtime = runtime
        self.network = network.eval().to(runtime.device, runtime.dtype).to(memory_format=torch.channels_last)


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
