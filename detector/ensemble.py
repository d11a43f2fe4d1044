"""One region classifier or several asked about the same regions: an image and boxes -> scores of every member.

Source: "Going deeper with convolutions", section 8: six networks classify every region. How they are combined is not
said there; averaging the softmax probabilities is the paper's practice in classification (section 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones import STAGES, GoogLeNet, InputSpec
from inception_rcnn.detector.region_classifier import RegionClassifier
from inception_rcnn.detector.region_warp import RegionWarp
from inception_rcnn.structures import InputError, Proposals
from inception_rcnn.structures.progress import StageClock


@dataclass(frozen=True, eq=False)
class RegionScores:
    """The regions of an image and what every member of an ensemble says of them.

    Attributes:
        proposals: The N regions, with their objectness where a network looked.
        probabilities: (members, N, C + 1) float32, background last; each region's sum to 1.
    """

    proposals: Proposals
    probabilities: NDArray[np.float32]

    def mean(self) -> NDArray[np.float32]:
        """Return the mean of the members' probabilities (N, C + 1)."""
        mean: NDArray[np.float32] = self.probabilities.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def of_member(self, member: int) -> RegionScores:
        """Return the scores of one member alone."""
        return replace(self, probabilities=self.probabilities[member : member + 1])


class Ensemble:
    """One or more region classifiers that agree on classes and input.

    The leading stages that all members have in common, to the bit (they were frozen while fine-tuning from the same
    pre-trained network), are computed once.

    Args:
        members: At least one, all on the same runtime.

    Raises:
        InputError: No members, or members that differ in classes, input or runtime.
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
        """The names of the C classes, without background."""
        return self.members[0].description.class_names

    @property
    def input_spec(self) -> InputSpec:
        """How regions become the members' input."""
        return self.members[0].description.input_spec

    def score(
        self, image: NDArray[np.uint8], boxes: NDArray[np.float32], *, clock: StageClock | None = None
    ) -> NDArray[np.float32]:
        """Return the probabilities (members, N, C + 1) of an image's regions, background last.

        The regions are cut once for all members; the pixels of one batch of them are in memory at a time.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (N, 4) x1 y1 x2 y2 in pixels of the image, with area.
            clock: Adds up the seconds of warp and network, if given.
        """
        clock = clock or StageClock()
        warp = RegionWarp(image, self.input_spec)
        scores = np.zeros((len(self.members), len(boxes), len(self.class_names) + 1), np.float32)
        for start in range(0, len(boxes), self.runtime.batch):
            rows = slice(start, start + self.runtime.batch)
            with clock.stage("warp"):
                crops = warp.cut(boxes[rows])
            with clock.stage("network"):
                scores[:, rows] = self.probabilities(crops)
        return scores

    @torch.inference_mode()
    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities (members, N, C + 1) of one batch of regions, background last.

        Args:
            crops: (N, side, side, 3) uint8 RGB, as `region_warp.RegionWarp` cuts them with `input_spec`.
        """
        if len(crops) == 0:
            return np.zeros((len(self.members), 0, len(self.class_names) + 1), np.float32)
        inputs = self.input_spec.apply(torch.from_numpy(crops).to(self.runtime.device), self.runtime.dtype)
        return np.stack([logits.float().softmax(dim=1).cpu().numpy() for logits in self._logits(inputs)])

    def _logits(self, inputs: Tensor) -> list[Tensor]:
        """Return every member's logits (N, C + 1); the stages that all have in common run once."""
        networks = [member.network for member in self.members]
        if len(networks) == 1:
            return [networks[0](inputs)]
        x, rest = inputs, STAGES[0]
        if self.shared:
            x, rest = networks[0].trunk(inputs, stop=self.shared[-1]), STAGES[min(len(self.shared), len(STAGES) - 1)]
        if len(self.shared) == len(STAGES):
            return [network.classify(x) for network in networks]
        return [network.classify(network.trunk(x, start=rest)) for network in networks]


def shared_stages(networks: Sequence[GoogLeNet]) -> tuple[str, ...]:
    """Return the leading stages whose weights are equal, to the bit, in all networks."""
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
