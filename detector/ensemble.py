"""One region classifier or several asked about the same regions: an image and boxes -> scores of every member.

Members may warp or pool their regions; crops are cut once for all that warp, and each that pools looks at the image.

Source: "Going deeper with convolutions", section 8: six networks classify every region. How they are combined is not
said there; averaging the softmax probabilities is the paper's practice in classification (section 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import STAGES, GoogLeNet, InputSpec
from inception_rcnn.backbones.inception import stage_of
from inception_rcnn.detector.region_classifier import AnyClassifier, Look, PooledClassifier, RegionClassifier
from inception_rcnn.detector.region_warp import RegionWarp
from inception_rcnn.detector.runtimes.device_chain import WarpedChain
from inception_rcnn.structures import InputError, Proposals
from inception_rcnn.structures.progress import StageClock


@dataclass(frozen=True, eq=False)
class MemberScores:
    """What every member of an ensemble says of N regions.

    Attributes:
        probabilities: (members, N, C + 1) float32, background last; each region's sum to 1.
        offsets: (members, N, 4) float32, how each box should be moved (`structures.boxes.decode_boxes`), zeros of
            members that do not say it; None: none of them does.
        regresses: Of each member, whether it has offsets; empty: none has.
    """

    probabilities: NDArray[np.float32]
    offsets: NDArray[np.float32] | None = None
    regresses: tuple[bool, ...] = ()

    def averaged(self, other: MemberScores) -> MemberScores:
        """Return the mean of what the same members say of the same regions in two looks, member by member."""
        half = np.float32(0.5)
        mean = (self.probabilities + other.probabilities) * half
        if self.offsets is None or other.offsets is None:
            return replace(self, probabilities=mean)
        return replace(self, probabilities=mean, offsets=(self.offsets + other.offsets) * half)


@dataclass(frozen=True, eq=False)
class RegionScores:
    """The regions of an image and what every member of an ensemble says of them.

    Attributes:
        proposals: The N regions, with their objectness where a network looked.
        probabilities: (members, N, C + 1) float32, background last; each region's sum to 1.
        offsets: (members, N, 4) float32; see `MemberScores`.
        regresses: Of each member, whether it has offsets; empty: none has.
        size: Width and height of the image in pixels; needed where there are offsets, as boxes are cut to it.

    Raises:
        InputError: Offsets without the image's size, or without saying which members they are of.
    """

    proposals: Proposals
    probabilities: NDArray[np.float32]
    offsets: NDArray[np.float32] | None = None
    regresses: tuple[bool, ...] = ()
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.offsets is None:
            return
        if self.size is None:
            raise InputError("scores with offsets need the image's size, to cut the boxes to it")
        if len(self.regresses) != len(self.offsets) or not any(self.regresses):
            raise InputError(f"regresses should say of {len(self.offsets)} members which have offsets")

    def mean(self) -> NDArray[np.float32]:
        """Return the mean of the members' probabilities (N, C + 1)."""
        mean: NDArray[np.float32] = self.probabilities.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def mean_offsets(self) -> NDArray[np.float32] | None:
        """Return the mean of the offsets (N, 4) over the members that have them; None: none has."""
        if self.offsets is None:
            return None
        mean: NDArray[np.float32] = self.offsets[list(self.regresses)].mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def of_member(self, member: int) -> RegionScores:
        """Return the scores of one member alone."""
        one = slice(member, member + 1)
        alone = replace(self, probabilities=self.probabilities[one], offsets=None, regresses=())
        if self.offsets is None or not self.regresses[member]:
            return alone
        return replace(alone, offsets=self.offsets[one], regresses=(True,))


class Ensemble:
    """One or more region classifiers that agree on the classes, and on the input where they warp.

    The leading stages that all warping members have in common, to the bit (they were frozen while fine-tuning from the
    same pre-trained network), are computed once.

    Args:
        members: At least one, all on the same runtime.

    Attributes:
        members: As given.
        warped: Those that warp their regions.
        runtime: Of all.
        shared: The leading stages that all of `warped` have in common.

    Raises:
        InputError: No members, or members that differ in classes, runtime or, if they warp, in their input.
    """

    def __init__(self, members: Sequence[AnyClassifier]) -> None:
        if not members:
            raise InputError("an ensemble needs at least one region classifier")
        self.members = tuple(members)
        self.warped = tuple(member for member in members if isinstance(member, RegionClassifier))
        self.runtime = members[0].runtime
        _check_agreement(self.members)
        networks = [member.network for member in self.warped]
        self.shared = shared_stages(networks)
        self._chain = WarpedChain(networks, self.shared, self.input_spec, self.runtime)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the C classes, without background."""
        return self.members[0].description.class_names

    @property
    def input_spec(self) -> InputSpec:
        """How regions become the input of the members that warp; if none does, how the image becomes the first's."""
        return (*self.warped, self.members[0])[0].description.input_spec

    def look(self, image: NDArray[np.uint8]) -> tuple[Look | None, ...]:
        """Return what each member sees of an image before any region of it is known; None of those that warp.

        Args:
            image: (H, W, 3) uint8 RGB.
        """
        return tuple(member.look(image) if isinstance(member, PooledClassifier) else None for member in self.members)

    def score(
        self,
        image: NDArray[np.uint8],
        boxes: NDArray[np.float32],
        *,
        looks: Sequence[Look | None] | None = None,
        clock: StageClock | None = None,
    ) -> MemberScores:
        """Return what every member says of an image's regions.

        The regions are cut once for all members that warp; the pixels of one batch of them are in memory at a time.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (N, 4) x1 y1 x2 y2 in pixels of the image, with area.
            looks: What `look` returned for the image; None: the members look now.
            clock: Adds up the seconds of warp, pooling and network, if given.
        """
        clock = clock or StageClock()
        regresses = tuple(member.description.box_regression for member in self.members)
        scores = np.zeros((len(self.members), len(boxes), len(self.class_names) + 1), np.float32)
        offsets = np.zeros((len(self.members), len(boxes), 4), np.float32)
        if self.warped:
            places = [place for place, one in enumerate(self.members) if isinstance(one, RegionClassifier)]
            scores[places] = self._score_warped(image, boxes, clock)
        for place, (member, look) in enumerate(zip(self.members, looks or [None] * len(self.members), strict=True)):
            if isinstance(member, PooledClassifier):
                scores[place], moves = member.score(image, boxes, look=look, clock=clock)
                if moves is not None:
                    offsets[place] = moves
        return MemberScores(scores, offsets, regresses) if any(regresses) else MemberScores(scores)

    def score_mirrored(
        self, image: NDArray[np.uint8], boxes: NDArray[np.float32], *, clock: StageClock | None = None
    ) -> MemberScores:
        """Return what every member says of an image's regions when left and right are exchanged.

        Args:
            image: (H, W, 3) uint8 RGB, as it is.
            boxes: (N, 4) in its pixels, with area; offsets are for these boxes, too.
            clock: Adds up the seconds of warp, pooling and network, if given.
        """
        width = np.float32(image.shape[1])
        mirrored = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
        found = self.score(np.ascontiguousarray(image[:, ::-1]), mirrored, clock=clock)
        if found.offsets is None:
            return found
        return replace(found, offsets=found.offsets * np.array([-1, 1, 1, 1], np.float32))

    def _score_warped(
        self, image: NDArray[np.uint8], boxes: NDArray[np.float32], clock: StageClock
    ) -> NDArray[np.float32]:
        """Return the probabilities (warped members, N, C + 1), a batch of regions after the other."""
        if self.runtime.device.type == "cuda":
            with clock.stage("network"):
                return self._chain.score(image, boxes)
        warp = RegionWarp(image, self.input_spec)
        scores = np.zeros((len(self.warped), len(boxes), len(self.class_names) + 1), np.float32)
        batch = self.runtime.batch_for(self.input_spec.side)
        for start in range(0, len(boxes), batch):
            rows = slice(start, start + batch)
            with clock.stage("warp"):
                crops = warp.cut(boxes[rows])
            with clock.stage("network"):
                scores[:, rows] = self.probabilities(crops)
        return scores

    @torch.inference_mode()
    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the members that warp say of one batch of regions: (warped, N, C + 1), background last.

        Args:
            crops: (N, side, side, 3) uint8 RGB, as `region_warp.RegionWarp` cuts them with `input_spec`.
        """
        if len(crops) == 0:
            return np.zeros((len(self.warped), 0, len(self.class_names) + 1), np.float32)
        inputs = self.input_spec.apply(torch.from_numpy(crops).to(self.runtime.device), self.runtime.dtype)
        found: NDArray[np.float32] = self._chain.probabilities(inputs).cpu().numpy()
        return found


def _check_agreement(members: Sequence[AnyClassifier]) -> None:
    first = members[0]
    warping = next((member for member in members if isinstance(member, RegionClassifier)), None)
    for number, other in enumerate(members[1:], start=2):
        if other.description.class_names != first.description.class_names:
            raise InputError(f"weights {number} differ from the first in their class_names; they cannot be averaged")
        if (
            warping is not None
            and isinstance(other, RegionClassifier)
            and other.description.input_spec != warping.description.input_spec
        ):
            which = "the first" if warping is first else "the first that warp"
            raise InputError(f"weights {number} differ from {which} in their input_spec; they cannot be averaged")
        if other.runtime != first.runtime:
            raise InputError(
                f"weights {number} are on {other.runtime} in batches of {other.runtime.batch}, the first on "
                f"{first.runtime} of {first.runtime.batch}"
            )


def shared_stages(networks: Sequence[GoogLeNet]) -> tuple[str, ...]:
    """Return the leading stages that compute the same in all networks, their weights being equal to the bit.

    None, if there is no network, or if some normalise across channels and others do not, which the first stage does.
    """
    if len({network.lrn for network in networks}) != 1:
        return ()
    states = [network.state_dict() for network in networks]
    shared: list[str] = []
    for stage in STAGES:
        names = [name for name in states[0] if stage_of(name) == stage]
        if not all(torch.equal(states[0][name], other[name]) for other in states[1:] for name in names):
            break
        shared.append(stage)
    return tuple(shared)
