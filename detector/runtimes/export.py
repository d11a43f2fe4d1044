"""What a file of weights falls into for other runtimes, each part with what a photograph gives it to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones import InputSpec, network_of, read_description
from inception_rcnn.backbones.checkpoints import GOOGLENET_KIND
from inception_rcnn.backbones.runtime import Runtime, upload
from inception_rcnn.backbones.runtimes.export import backbone_part
from inception_rcnn.backbones.runtimes.recording import Part
from inception_rcnn.detector.checkpoints import KIND, load_region_classifier, weights_path
from inception_rcnn.detector.region_classifier import PooledClassifier, RegionClassifier
from inception_rcnn.detector.region_warp import RegionWarp
from inception_rcnn.detector.runtimes.pooled_parts import HEAD, TRUNK, head_part, trunk_part
from inception_rcnn.proposals.network.checkpoints import KIND as MULTIBOX_KIND
from inception_rcnn.proposals.network.checkpoints import SHIPPED as SHIPPED_MULTIBOX
from inception_rcnn.proposals.network.checkpoints import load_multibox, multibox_path
from inception_rcnn.proposals.network.model import multibox_part
from inception_rcnn.proposals.proposer import ProposalSettings
from inception_rcnn.structures import CheckpointError, InputError
from inception_rcnn.structures.images import stretch

_CPU = Runtime(torch.device("cpu"), torch.float32, 64)
_GRID = (0.0, 0.25, 0.5)  # corners of the regions to compare with, and half the image's sides their own


@dataclass(frozen=True, eq=False)
class Exportable:
    """A part, and what it reads of a photograph.

    Attributes:
        part: To be written.
        inputs: Of the photograph.
        about: JSON values: what a program that runs the part has to know.
    """

    part: Part
    inputs: tuple[Tensor, ...]
    about: Mapping[str, Any]


def exportable_parts(
    weights: str | Path, image: NDArray[np.uint8], *, int8: bool = False, multibox: str | Path | None = None
) -> list[Exportable]:
    """Return the parts of a file of weights.

    A pooled detector has trunk and head, one that warps is a backbone; both have the MultiBox that they were trained
    with, if they were. A MultiBox has one part, and so has GoogLeNet.

    Args:
        weights: A checkpoint of any kind, GoogLeNet's published arrays (.npz), or a shipped name.
        image: (H, W, 3) uint8 RGB, to compare with.
        int8: The convolutions of trunk and head in int8.
        multibox: The MultiBox of a detector, in place of the one that its checkpoint names.

    Raises:
        CheckpointError: The file is missing, damaged, or of a kind that has no networks; or the MultiBox is missing, or
            another one than the checkpoint was trained with.
        InputError: int8 for what is not a pooled detector that was calibrated.
    """
    path = multibox_path(weights) if str(weights) in SHIPPED_MULTIBOX else weights_path(weights)
    kind = GOOGLENET_KIND if path.suffix == ".npz" else str(read_description(path)["kind"])
    if kind == KIND:
        return list(_detector_parts(path, image, multibox, int8=int8))
    if int8:
        raise InputError(f"{path} is of kind {kind!r}; only pooled detectors that are calibrated have an int8 form")
    if kind == MULTIBOX_KIND:
        return [_multibox(path, image)]
    if kind == GOOGLENET_KIND:
        return [_googlenet(path, image)]
    raise CheckpointError(f"{path} is of kind {kind!r}, which holds no network to export")


def _detector_parts(
    path: Path, image: NDArray[np.uint8], multibox: str | Path | None, *, int8: bool
) -> Iterator[Exportable]:
    classifier = load_region_classifier(path, _CPU)
    about = {"class_names": [*classifier.description.class_names, "background"]}
    if isinstance(classifier, PooledClassifier):
        yield from _pooled(classifier, image, about, int8=int8)
    elif int8:
        raise InputError(f"{path} warps its regions; only pooled detectors that are calibrated have an int8 form")
    else:
        yield _warped(classifier, image, about)
    settings = ProposalSettings.from_dict(classifier.description.proposal_settings)
    if settings.needs_multibox:
        file = settings.multibox_file(beside=path.parent) if multibox is None else multibox_path(multibox)
        yield _multibox(file, image, settings.side)


def _pooled(
    classifier: PooledClassifier, image: NDArray[np.uint8], about: Mapping[str, Any], *, int8: bool
) -> Iterator[Exportable]:
    description, network = classifier.description, classifier.network
    ranges = description.activation_ranges if int8 else {}
    if int8 and (missing := [name for name in (TRUNK, HEAD) if name not in ranges]):
        raise InputError(
            f"int8 needs calibrated weights, and the {missing[0]}'s are not; calibrate them with "
            "`inception-rcnn calibrate`"
        )
    with torch.inference_mode():
        seen, corners = classifier.enlarged(image, _regions(image))
        maps = network.maps(seen)
        coarse, fine = network.pool(maps, corners)
        mean = None if maps.mean is None else maps.mean.expand(len(coarse), -1)
    pooling = {"input": description.input_spec.to_dict(), "pooling": network.spec.to_dict()}
    yield Exportable(trunk_part(network, ranges.get(TRUNK)), (seen,), pooling)
    read = tuple(one for one in (coarse, fine, mean) if one is not None)
    yield Exportable(head_part(network, ranges.get(HEAD)), read, {**pooling, **about})


def _warped(classifier: RegionClassifier, image: NDArray[np.uint8], about: Mapping[str, Any]) -> Exportable:
    spec = classifier.description.input_spec
    crops = upload(RegionWarp(image, spec).cut(_regions(image)), _CPU.device)
    part = backbone_part(classifier.network, spec.side)
    return Exportable(part, (spec.apply(crops),), {"input": spec.to_dict(), **about})


def _multibox(path: Path, image: NDArray[np.uint8], side: int | None = None) -> Exportable:
    multibox = load_multibox(path, _CPU, side=side)
    about = {"input": multibox.spec.to_dict(), "priors": multibox.network.prior_settings.to_dict()}
    return Exportable(multibox_part(multibox.network), (_stretched(image, multibox.spec),), about)


def _googlenet(path: Path, image: NDArray[np.uint8]) -> Exportable:
    network = network_of(path)
    spec = network.input_spec
    return Exportable(backbone_part(network, spec.side), (_stretched(image, spec),), {"input": spec.to_dict()})


def _stretched(image: NDArray[np.uint8], spec: InputSpec) -> Tensor:
    whole = np.array([0, 0, image.shape[1], image.shape[0]], np.float64)
    return spec.apply(upload(stretch(image, whole, spec.side)[None], _CPU.device))


def _regions(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return boxes (9, 4) all over an image."""
    height, width = image.shape[:2]
    shares = np.array([[x, y, x + 0.5, y + 0.5] for y in _GRID for x in _GRID])
    return (shares * [width, height, width, height]).astype(np.float32)
