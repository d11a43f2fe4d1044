"""Weights as array files: tensors to and from .safetensors whose header says what they are. Never a pickle.

The file, its checks and its header are those of `structures/array_file.py`; each kind of checkpoint, such as
"googlenet" or "region-classifier", belongs to the module that writes it. Whatever is wrong with a file is a
`CheckpointError`.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones.rounding import expanded, rounded
from inception_rcnn.structures import CheckpointError, DataFormatError, InputError
from inception_rcnn.structures.array_file import read_array_description, read_array_file, write_array_file

GOOGLENET_KIND: Final = "googlenet"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Args:
        kind: What the tensors are, such as "googlenet".
        description: Plain JSON values.
        tensors: On the CPU, by name.
        path: Where it was read.
    """

    kind: str
    description: dict[str, Any]
    tensors: dict[str, Tensor]
    path: Path


def write_checkpoint(
    path: str | Path, kind: str, description: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write one self-describing file, whole or not at all.

    Args:
        path: Should end in .safetensors.
        kind: What a reader will ask for.
        description: JSON values; `format_version`, `kind` and `data_sha256` are added.
        tensors: As they are to be stored, types included; bfloat16 cannot be.

    Raises:
        CheckpointError: Another ending, a type that the file cannot hold, or a description that JSON cannot hold or
            that is too long.
    """
    with _checkpoint_errors():
        write_array_file(path, kind, description, {name: _to_array(name, one) for name, one in tensors.items()})


def read_description(path: str | Path) -> dict[str, Any]:
    """Return the description in a checkpoint's header, without reading a tensor.

    Raises:
        CheckpointError: Not a checkpoint of this project, damaged, or from a newer version.
    """
    with _checkpoint_errors():
        return read_array_description(path)


def read_checkpoint(path: str | Path, kind: str, *, as_stored: bool = False) -> Checkpoint:
    """Return everything in a checkpoint, its data verified against the checksum in its header.

    Args:
        path: The file.
        kind: What it should be.
        as_stored: Whether weights that were stored as int8 stay so, to be written again; else they are floating-point
            numbers.

    Raises:
        CheckpointError: As `read_description`, or another kind, or data that differ from the checksum.
    """
    with _checkpoint_errors():
        file = read_array_file(path, kind)
    tensors = {name: torch.from_numpy(array) for name, array in file.arrays.items()}
    if as_stored:
        return Checkpoint(file.kind, file.description, tensors, file.path)
    try:
        return Checkpoint(file.kind, file.description, expanded(tensors), file.path)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def tensors_checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors with their names, shapes and types, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        array = _to_array(name, tensor)
        digest.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


@contextmanager
def _checkpoint_errors() -> Iterator[None]:
    """Turn what is wrong with an array file into the error of this room."""
    try:
        yield
    except (DataFormatError, InputError) as error:
        raise CheckpointError(str(error)) from error


def _to_array(name: str, tensor: Tensor) -> NDArray[Any]:
    try:
        array: NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    except TypeError as error:
        raise CheckpointError(f"{name} holds {tensor.dtype}, which a checkpoint cannot; convert it first") from error
    return np.asarray(array, order="C")


def load_into(module: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Copy the tensors into `module`, converted to its types, after checking every name, shape and value.

    Raises:
        CheckpointError: Names or shapes differ, or a value is not a finite number.
    """
    wanted = module.state_dict()
    if wrong := sorted(set(wanted) ^ set(checkpoint.tensors)):
        raise CheckpointError(
            f"{checkpoint.path} does not fit: {len(wrong)} tensors are missing or extra, first {wrong[0]!r}"
        )
    for name, tensor in checkpoint.tensors.items():
        check_tensor(name, tensor, wanted[name], str(checkpoint.path))
    module.load_state_dict(checkpoint.tensors)


def in_type(state: Mapping[str, Tensor], dtype: torch.dtype, path: str | Path) -> dict[str, Tensor]:
    """Return the tensors as `dtype` on the CPU, to be written to `path`; as int8 they have scales beside them.

    Raises:
        CheckpointError: A value is too large for `dtype`, or not finite.
    """
    stored = torch.float32 if dtype == torch.int8 else dtype
    tensors = {name: tensor.detach().to("cpu", stored) for name, tensor in state.items()}
    _check_finite(tensors, dtype, path)
    if dtype == torch.int8:
        tensors = rounded(tensors)
        _check_finite(tensors, torch.float16, path)
    return tensors


def _check_finite(tensors: Mapping[str, Tensor], dtype: torch.dtype, path: str | Path) -> None:
    if wrong := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise CheckpointError(f"{path}: {wrong[0]} holds values that are not finite as {dtype}; nothing was written")


def weights_file(weights: str | Path, room: str, shipped: Mapping[str, str], also: Collection[str] = ()) -> Path:
    """Return the file behind a path or a shipped name.

    Args:
        weights: One or the other.
        room: The package whose folder `weights` holds the shipped files.
        shipped: Their names and file names.
        also: Further names that somebody who misspelt one may have meant.

    Raises:
        CheckpointError: Neither.
    """
    if str(weights) in shipped:
        return Path(str(resources.files(room).joinpath("weights", shipped[str(weights)])))
    path = Path(weights)
    if path.suffix in (".caffemodel", ".npz"):
        raise CheckpointError(
            f"{path} holds weights of ImageNet's classes, a start for training (train --pretrained {path}); a detector "
            "is a .safetensors file"
        )
    if not path.is_file():
        names = (*shipped, *also)
        meant = difflib.get_close_matches(str(weights), names, 1)
        hint = f"; did you mean {meant[0]}?" if meant else ""
        raise CheckpointError(
            f"no weights at {path}; give a .safetensors file or a shipped name: {', '.join(names)}{hint}"
        )
    return path


def check_tensor(name: str, tensor: Tensor, wanted: Tensor, origin: str) -> None:
    """Raise if a tensor cannot take the place of `wanted`.

    Raises:
        CheckpointError: Another shape, other numbers than floating-point where those are wanted, or one that is not
            finite in `wanted`'s type.
    """
    if tensor.shape != wanted.shape:
        raise CheckpointError(
            f"{origin}: {name} has shape {tuple(tensor.shape)}, the network needs {tuple(wanted.shape)}"
        )
    if wanted.is_floating_point() and not tensor.is_floating_point():
        raise CheckpointError(f"{origin}: {name} holds {tensor.dtype}, floating-point numbers are needed")
    if not bool(torch.isfinite(tensor.to(wanted.dtype)).all()):
        raise CheckpointError(f"{origin}: {name} holds values that are not finite")
