"""Regions in, class probabilities out: GoogLeNet with one output a class and one for background."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.structures import InputError


@dataclass(frozen=True)
class ClassifierDescription:
    """What a region classifier says of itself; stored in its checkpoint.

    Attributes:
        class_names: C names; the network has C + 1 outputs, background last.
        input_spec: how regions become its input.
        proposal_settings: the proposals it was trained on; tests should use the same (SPP-net, appendix A).
        score_threshold: what `detect` shows by default.
        training: free summary: data, recipe, figures.
        licence: of the weights.
    """

    class_names: tuple[str, ...]
    input_spec: InputSpec
    proposal_settings: dict[str, Any] = field(default_factory=dict)
    score_threshold: float = 0.5
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = "Apache-2.0"


class RegionClassifier:
    """A trained network with its description, on a device.

    Args of the constructor:
        network: C + 1 outputs.
        description: what it expects and names.
        runtime: where it computes. The network is moved and converted.
    Raises:
        InputError: the outputs do not fit the class names.
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

    @torch.inference_mode()
    def probabilities(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities (N, C + 1), rows adding up to 1, background last.

        Args:
            crops: (N, side, side, 3) uint8 RGB, from `warp_regions` with this classifier's input specification.
        """
        outputs = []
        for start in range(0, len(crops), self.runtime.batch):
            pixels = torch.from_numpy(crops[start : start + self.runtime.batch]).to(self.runtime.device)
            inputs = self.description.input_spec.apply(pixels, self.runtime.dtype)
            logits = self.network(inputs)
            outputs.append(logits.float().softmax(dim=1).cpu().numpy())
        if not outputs:
            return np.zeros((0, self.network.num_classes), dtype=np.float32)
        return np.concatenate(outputs)
