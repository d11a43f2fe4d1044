"""A second head on a trunk that is there already: a checkpoint that holds only what differs from another's.

    detector A: trunk, layers, head for 80 classes          14 MB
    detector B: "as A, but for these tensors" for 200        1 MB

The other checkpoint is named with its checksum, as a shipped name or as a file beside this one, and must be there, the
very same, when this one is loaded. It cannot itself be such a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inception_rcnn.backbones.checkpoints import Checkpoint, read_checkpoint
from inception_rcnn.structures import CheckpointError, InputError

Base = dict[str, str]


def differing(tensors: Mapping[str, Tensor], base: Checkpoint) -> dict[str, Tensor]:
    """Return those tensors that the other checkpoint does not have, to the bit, under their name.

    Args:
        tensors: Of a network, in the type in which they will be stored.
        base: The other checkpoint.

    Raises:
        InputError: It shares nothing with the network, or is itself a second head.
    """
    if base.description.get("base") is not None:
        raise InputError(f"{base.path} is itself a second head; name the checkpoint that it stands on")
    own = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in base.tensors
        or base.tensors[name].shape != tensor.shape
        or not torch.equal(base.tensors[name].to(tensor.dtype), tensor)
    }
    if len(own) == len(tensors):
        raise InputError(f"the network shares no tensor with {base.path}; save it as a checkpoint of its own")
    return own


def base_of(base: Checkpoint, name: str) -> Base:
    """Return how a second head names what it stands on: a shipped name or a file's, and the checksum of its data."""
    return {"name": name, "data_sha256": base.description["data_sha256"]}


def base_file(description: Mapping[str, Any], path: Path, shipped: Mapping[str, Path]) -> Path | None:
    """Return where the checkpoint lies that a second head stands on; None for checkpoints of their own.

    Args:
        description: Of the file at `path`.
        path: Beside which a file's name is looked for.
        shipped: Shipped names and their files.

    Raises:
        CheckpointError: It is named wrongly, or missing.
    """
    base = description.get("base")
    if base is None:
        return None
    if not isinstance(base, dict) or not all(isinstance(base.get(key), str) for key in ("name", "data_sha256")):
        raise CheckpointError(f"{path}: base should have name and data_sha256, got {base!r}")
    name = base["name"]
    if name in shipped:
        return shipped[name]
    if Path(name).name != name or not name:
        raise CheckpointError(f"{path}: base should be a shipped name or a file beside it, got {name!r}")
    if not (found := path.with_name(name)).is_file():
        raise CheckpointError(f"{path} is a second head on {name}, which should lie beside it and is not there")
    return found


def completed(checkpoint: Checkpoint, kind: str, base: Path | None) -> Checkpoint:
    """Return a second head with the tensors that it takes from what it stands on; others as they are.

    Args:
        checkpoint: As read.
        kind: Of both.
        base: See `base_file`.

    Raises:
        CheckpointError: What it stands on is damaged, of another kind, or not the one that it was made for.
    """
    if base is None:
        return checkpoint
    below = read_checkpoint(base, kind)
    wanted = checkpoint.description["base"]["data_sha256"]
    if below.description["data_sha256"] != wanted:
        raise CheckpointError(
            f"{checkpoint.path} is a second head on another {base.name}: its data have the checksum "
            f"{below.description['data_sha256'][:12]}..., {wanted[:12]}... is needed"
        )
    if below.description.get("base") is not None:
        raise CheckpointError(f"{checkpoint.path} stands on {base}, which is itself a second head")
    tensors = {**below.tensors, **checkpoint.tensors}
    return Checkpoint(checkpoint.kind, checkpoint.description, tensors, checkpoint.path)
