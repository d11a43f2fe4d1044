"""Several region classifiers asked about the same regions, their probabilities averaged.

Source: "Going deeper with convolutions", section 8: six networks classify every region. How they are combined is not
told there; averaging the softmax probabilities is the paper's practice in classification (section 7).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inception_rcnn.backbones import STAGES, GoogLeNet, InputSpec
from inception_rcnn.detector.region_classifier import RegionClassifier
from inception_rcnn.structures import InputError


class Ensemble:
    """One or more region classifiers that agree on classes and input.

    The leading stages that all members have in common, to the bit (they were frozen while fine-tuning from the same
    pre-trained network), are computed once.

    Args of the constructor:
        members: at least one, all on the same runtime.
    Raises:
        InputError: no members, or members that differ in classes, input or runtime.
    """

    def __init__(self, members: Sequence[RegionClassifier]) -> None:
        if not members:
            raise InputError("an ensemble needs at least one region classifier")
        first = members[0]
        for number, other in enumerate(members[1:], start=2):
            for what in ("class_names", "input_spec"):
                if getattr(other.description, what) != getattr(first.description, what):
                    raise InputError(f"weights {number} differ from the first in their {what}; they cannot be averaged")
            if other.runtime != first.runtime:
                raise InputError(f"weights {number} are on {other.runtime}, the first on {first.runtime}")
        self.members = tuple(members)
        self.runtime = first.runtime
        self.shared = shared_stages([member.network for member in members])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, without background."""
        return self.members[0].description.class_names

    @property
    def input_spec(self) -> InputSpec:
        """How regions become the members' input."""
        return self.members[0].description.input_spec

    @torch.inference_mode()
    def each(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The probabilities of every member, (members, N, C + 1), background last.

        Args:
            crops: (N, side, side, 3) uint8 RGB, from `warp_regions` with `input_spec`.
        """
        out = np.zeros((len(self.members), len(crops), len(self.class_names) + 1), dtype=np.float32)
        for start in range(0, len(crops), self.runtime.batch):
            stop = start + self.runtime.batch
            pixels = torch.from_numpy(crops[start:stop]).to(self.runtime.device)
            inputs = self.input_spec.apply(pixels, self.runtime.dtype)
            for row, logits in enumerate(self._logits(inputs)):
                out[row, start:stop] = logits.float().softmax(dim=1).cpu().numpy()
        return out

    def _logits(self, inputs: Tensor) -> list[Tensor]:
        networks = [member.network for member in self.members]
        x, rest = inputs, STAGES[0]
        if self.shared:
            x, rest = networks[0].trunk(inputs, stop=self.shared[-1]), STAGES[min(len(self.shared), len(STAGES) - 1)]
        if len(self.shared) == len(STAGES):
            return [network.classify(x) for network in networks]
        return [network.classify(network.trunk(x, start=rest)) for network in networks]


def average(each: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The mean of the members' probabilities: (members, N, C + 1) -> (N, C + 1)."""
    mean: npt.NDArray[np.float32] = each.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def shared_stages(networks: Sequence[GoogLeNet]) -> tuple[str, ...]:
    """The leading stages whose weights are equal, to the bit, in all networks."""
    states = [network.state_dict() for network in networks]
    shared: list[str] = []
    for stage in STAGES:
        names = [name for name in states[0] if _stage_of(name) == stage]
        if not all(torch.equal(states[0][name], other[name]) for other in states[1:] for name in names):
            break
        shared.append(stage)
    return tuple(shared)


def _stage_of(name: str) -> str:
    return name.split(".")[0].removeprefix("inception_").removesuffix("_reduce")
