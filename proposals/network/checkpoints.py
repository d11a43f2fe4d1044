"""MultiBox networks to and from their self-describing files, and the one that is shipped."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from inception_rcnn.backbones import (
    InputSpec,
    googlenet,
    load_into,
    read_checkpoint,
    read_description,
    write_checkpoint,
)
from inception_rcnn.backbones.checkpoints import in_type, weights_file
from inception_rcnn.backbones.runtime import Runtime, choose_runtime
from inception_rcnn.backbones.weights import description_of
from inception_rcnn.proposals.network.model import MultiBoxNet
from inception_rcnn.proposals.network.predictor import MultiBox
from inception_rcnn.proposals.network.priors import PriorSettings, grid_priors
from inception_rcnn.structures import CheckpointError, ImageSource, InputError, Proposals, write_whole
from inception_rcnn.structures.errors import check_fields
from inception_rcnn.structures.provenance import SeenPart, seen_from_json, seen_to_json

KIND: Final = "multibox"
SHIPPED: Final = {"multibox": "multibox.safetensors"}
DEFAULT_WEIGHTS: Final = "multibox"
_MOST_CHANNELS: Final = 1024
_REMEDY: Final = "name the right one (--multibox FILE, in Python multibox=...)"


@dataclass(frozen=True)
class MultiBoxDescription:
    """What a file says of the network in it.

    Attributes:
        input_spec: What the trunk expects to see; its side is the network's.
        priors: The grids.
        channels: Of the joined maps.
        training: Data, recipe, figures.
        licence: Of the weights.
        seen: The photographs it learned from, as far as known.

    Raises:
        InputError: A field is of another type, or the channels outside 1..1024.
    """

    input_spec: InputSpec
    priors: PriorSettings
    channels: int
    training: dict[str, Any]
    licence: str
    seen: tuple[SeenPart, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= self.channels <= _MOST_CHANNELS:
            raise InputError(f"channels should lie in 1..{_MOST_CHANNELS}, got {self.channels}")

    def build(self) -> MultiBoxNet:
        """Return a network of this shape, with fresh weights."""
        return MultiBoxNet(self.input_spec.side, self.priors, self.channels)


@dataclass(frozen=True)
class MultiBoxStart:
    """What a training starts from.

    Attributes:
        description: Of the network; data, recipe and licence are yet to be said.
        state: Of the network, or of its trunk alone.
        fresh_head: Whether the state is of the trunk alone, and the priors are yet to be chosen.
    """

    description: MultiBoxDescription
    state: dict[str, Tensor]
    fresh_head: bool

    def build(self, description: MultiBoxDescription) -> MultiBoxNet:
        """Return the network of `description`, what the state lacks being drawn by torch's generator."""
        network = description.build()
        (network.trunk if self.fresh_head else network).load_state_dict(self.state)
        return network


def read_start(pretrained: str | Path, *, side: int | None = None, channels: int | None = None) -> MultiBoxStart:
    """Return what a training starts from: a trunk trained on ImageNet, or a whole MultiBox that is to go on learning.

    Args:
        pretrained: Whatever `googlenet(weights=...)` reads, or a MultiBox, a file or a shipped name.
        side: Of the input in pixels, a multiple of 64; None: the MultiBox's own, or 320.
        channels: Of the joined maps; None: the MultiBox's own, or 128.

    Raises:
        CheckpointError: The file is missing, damaged or of another kind.
        InputError: The side is no multiple of 64, the channels are out of range, or the MultiBox has others.
    """
    is_shipped = str(pretrained) in SHIPPED
    values = read_description(multibox_path(pretrained)) if is_shipped else description_of(pretrained)
    if values is None or values["kind"] != KIND:
        spec = InputSpec(side=320 if side is None else side)
        grid_priors(PriorSettings(), spec.side)  # refuses a side that they do not divide
        state = googlenet(weights=pretrained, num_classes=0).state_dict()
        described = MultiBoxDescription(spec, PriorSettings(), 128 if channels is None else channels, {}, "unstated")
        return MultiBoxStart(described, state, fresh_head=True)
    path = multibox_path(pretrained)
    checkpoint = read_checkpoint(path, KIND)
    described = _from_json(checkpoint.description, path)
    if channels not in (None, described.channels):
        raise InputError(f"{path} has {described.channels} channels, which stay as they are; got {channels}")
    if side is not None:
        described = replace(described, input_spec=replace(described.input_spec, side=side))
    network = described.build()
    load_into(network, checkpoint)
    return MultiBoxStart(described, network.state_dict(), fresh_head=False)


def save_multibox(
    path: str | Path,
    state: dict[str, Tensor],
    description: MultiBoxDescription,
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a state dict, its numbers as `dtype`, with its description.

    Raises:
        CheckpointError: A weight is too large for `dtype`.
    """
    values = {
        "architecture": {"name": "multibox", "trunk": "googlenet", "channels": description.channels},
        "input_spec": description.input_spec.to_dict(),
        "priors": description.priors.to_dict(),
        "training": description.training,
        "licence": description.licence,
        "seen": seen_to_json(description.seen),
    }
    write_checkpoint(path, KIND, values, in_type(state, dtype, path))


def load_multibox(weights: str | Path, runtime: Runtime, *, side: int | None = None) -> MultiBox:
    """Return the network in a file, or the shipped one of that name, ready to propose.

    Args:
        weights: The file, or a shipped name.
        runtime: Where it computes.
        side: Of the input in pixels, a multiple of 64, if another than the network was trained with: larger sees
            smaller objects and takes longer.

    Raises:
        CheckpointError: Missing, damaged, of another kind, or at odds with itself.
        InputError: The side is no multiple of 64.
    """
    path = multibox_path(weights)
    checkpoint = read_checkpoint(path, KIND)
    description = _from_json(checkpoint.description, path)
    if side is not None:
        description = replace(description, input_spec=replace(description.input_spec, side=side))
    try:
        network = description.build()
    except InputError as error:  # a side that the grids do not divide
        if side is not None:
            raise
        raise CheckpointError(f"{path}: {error}") from error
    load_into(network, checkpoint)
    checksum = checkpoint.description["data_sha256"]
    return MultiBox(network, description.input_spec, runtime, checksum=checksum, path=path)


def multibox(
    image: ImageSource,
    *,
    top_k: int = 200,
    weights: str | Path | None = None,
    device: str = "auto",
    crops: bool = False,
    side: int | None = None,
) -> Proposals:
    """Return the boxes that MultiBox proposes for an image, most confident first, in its pixels.

    The last two networks stay in memory. For many images at once there is `load_multibox(...).propose_batch`.

    Args:
        image: Whatever `load_image` reads: a path, the bytes of a file, a PIL image, an array.
        top_k: At most so many boxes.
        weights: A file, or a shipped name; None: the shipped network.
        device: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:N".
        crops: Look at four overlapping windows of the image too, closer up: five times the work.
        side: Of the network's input in pixels, a multiple of 64; None: as it was trained. Larger finds smaller objects
            and takes longer.

    Raises:
        ImageError: The image cannot be read.
        InputError: `top_k` or `side` is out of range, or an unknown device.
        CheckpointError: The weights are missing, damaged, of another kind, or at odds with themselves.

    Source:
        Szegedy et al. 2014, "Going deeper with convolutions", section 8; Erhan et al. 2014, "Scalable Object Detection
        using Deep Neural Networks".
    """
    path = multibox_path(DEFAULT_WEIGHTS if weights is None else weights)
    stamp = path.stat()
    network = _loaded(path, stamp.st_mtime_ns, stamp.st_size, device, side)
    return network.propose(image, top_k=top_k, crops=crops)


@lru_cache(maxsize=2)
def _loaded(path: Path, changed: int, size: int, device: str, side: int | None) -> MultiBox:
    """Return the network in a file, read again when the file has changed."""
    return load_multibox(path, choose_runtime(device), side=side)


def multibox_seen(weights: str | Path) -> tuple[SeenPart, ...]:
    """Return which photographs a MultiBox learned from, as far as its file says; the header alone is read.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, or its header is at odds with itself.
    """
    path = multibox_path(weights)
    values = read_description(path)
    if values["kind"] != KIND:
        raise CheckpointError(f"{path} is of kind {values['kind']!r}; {KIND!r} is needed here")
    return _from_json(values, path).seen


def multibox_path(weights: str | Path) -> Path:
    """Return the file behind a path or a shipped name.

    Raises:
        CheckpointError: Neither.
    """
    return weights_file(weights, "inception_rcnn.proposals", SHIPPED)


def find_multibox(name: str, sha256: str | None = None, *, beside: Path | None = None) -> Path:
    """Return the file of the network that proposal settings name, once it is sure that it is that network.

    Args:
        name: A shipped name; the bare name of a file, which is looked for in `beside`; or a path.
        sha256: Of the network's data, as its file says it; None: unknown, as in settings from before it was kept.
        beside: The folder of the weights that name it; None: there are none.

    Raises:
        CheckpointError: It is missing or cannot be read, or it is another network.
    """
    if name in SHIPPED:
        path = multibox_path(name)
    else:
        path = Path(name)
        if beside is not None and path.name == name and (sha256 is not None or (beside / name).is_file()):
            path = beside / name  # and no file that has the same name elsewhere
        if not path.is_file():
            raise CheckpointError(f"no weights at {path}, the MultiBox that proposes; {_REMEDY}")
    if sha256 is not None and (found := read_description(path)["data_sha256"]) != sha256:
        raise CheckpointError(
            f"the MultiBox {name} should have data of the checksum {sha256[:12]}..., but {path} has {found[:12]}... "
            f"and is another network; {_REMEDY}"
        )
    return path


def portable_name(multibox: MultiBox) -> str:
    """Return what weights on another machine can call a network: its shipped name, or the bare name of its file.

    Raises:
        InputError: It was not read from a file.
    """
    for name in SHIPPED:
        if read_description(multibox_path(name))["data_sha256"] == multibox.checksum:
            return name
    if multibox.path is None:
        raise InputError("a MultiBox that was not read from a file has no name; save it and load it")
    return multibox.path.name


def put_beside(multibox: MultiBox, folder: Path, reserved: Collection[str] = ()) -> None:
    """Copy a network's file to where weights that name it will be, unless it is a shipped one or there already.

    Args:
        multibox: Read from a file.
        folder: Of the weights; made if need be.
        reserved: Names of files that will be written there.

    Raises:
        InputError: Its name is reserved, or there is another file of that name.
    """
    name = portable_name(multibox)
    if name in SHIPPED or multibox.path is None:
        return
    target = folder / name
    if name in reserved:
        raise InputError(f"{multibox.path} is copied to {folder}, where {name} is the name of a result; rename it")
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(target, multibox.path.read_bytes())
    elif read_description(target)["data_sha256"] != multibox.checksum:
        raise InputError(f"{multibox.path} is copied to {folder}, where another {name} lies; rename one of them")


def _from_json(values: dict[str, Any], path: Path) -> MultiBoxDescription:
    architecture = values.get("architecture")
    known = {"name": "multibox", "trunk": "googlenet"}
    if not isinstance(architecture, dict) or {**architecture, **known} != architecture:
        raise CheckpointError(f"{path}: architecture should be {known}, got {architecture}")
    channels = architecture.get("channels")
    if type(channels) is not int or not 1 <= channels <= _MOST_CHANNELS:
        raise CheckpointError(f"{path}: architecture: channels should lie in 1..{_MOST_CHANNELS}, got {channels!r}")
    for name, kind in (("input_spec", dict), ("priors", dict), ("training", dict), ("licence", str)):
        if not isinstance(values.get(name), kind):
            raise CheckpointError(f"{path}: {name} is missing or not a {kind.__name__}")
    try:
        spec, priors = InputSpec.from_dict(values["input_spec"]), PriorSettings.from_dict(values["priors"])
        seen = seen_from_json(values.get("seen"))
    except InputError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return MultiBoxDescription(spec, priors, channels, values["training"], values["licence"], seen)
