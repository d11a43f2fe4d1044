"""Self-describing weights: one .safetensors file whose header says what the numbers are. Never a pickle.

Layout: the safetensors format, with one metadata entry, `inception_rcnn`, holding JSON: format version, kind, the
architecture and its arguments, and what the kind adds (class names, input specification, ...). Everything is
checked before a tensor is handed out: sizes, names, shapes, types and the checksum of the data.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from inception_rcnn.structures import CheckpointError, write_whole

FORMAT_VERSION: Final = 1
METADATA_KEY: Final = "inception_rcnn"
KINDS: Final = ("googlenet", "region-classifier", "multibox", "training-state")
# A header lists about 120 tensors and some settings: 20 KB. A thousand class names add 20 KB more.
MAX_HEADER_BYTES: Final = 4 * 2**20


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds: its kind, its description (plain JSON values) and its tensors."""

    kind: str
    description: dict[str, Any]
    tensors: dict[str, Tensor]
    path: Path


def write_checkpoint(
    path: str | Path, kind: str, description: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Writes one self-describing file, whole or not at all.

    Args:
        path: should end in .safetensors.
        kind: one of `KINDS`.
        description: JSON values; `format_version`, `kind` and `data_sha256` are added.
        tensors: as they are to be stored, types included.
    Raises:
        CheckpointError: unknown kind, a name that does not end in .safetensors, or a description that JSON cannot
            hold or that is too long.
    """
    path = Path(path)
    if kind not in KINDS:
        raise CheckpointError(f"unknown checkpoint kind {kind!r}; known are {', '.join(KINDS)}")
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: checkpoints are named *.safetensors")
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    plain = safetensors.torch.save(ready)
    digest = hashlib.sha256(plain[8 + _header_length(plain[:8]) :]).hexdigest()
    header = {**description, "format_version": FORMAT_VERSION, "kind": kind, "data_sha256": digest}
    try:
        metadata = {METADATA_KEY: json.dumps(header, ensure_ascii=False, sort_keys=True)}
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the description should hold JSON values only: {error}") from error
    data = safetensors.torch.save(ready, metadata)
    if _header_length(data[:8]) > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path}: the description is too long; the header may have {MAX_HEADER_BYTES} bytes")
    write_whole(path, data)


def read_description(path: str | Path) -> dict[str, Any]:
    """The description in a checkpoint's header, without reading a tensor.

    Raises:
        CheckpointError: not a checkpoint of this project, damaged, or from a newer version.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(8)
            length = _header_length(head) if len(head) == 8 else -1
            size = path.stat().st_size
            if not 0 < length <= min(MAX_HEADER_BYTES, size - 8):
                raise CheckpointError(f"{path} is not a safetensors file (header of {length} bytes in {size})")
            header = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # RecursionError: ten thousand opening brackets
        raise CheckpointError(f"{path} is not a safetensors file: its header is not JSON") from error
    return _own_description(path, header)


def read_checkpoint(path: str | Path, kind: str) -> Checkpoint:
    """Everything in a checkpoint, its data verified against the checksum in its header.

    Raises:
        CheckpointError: as `read_description`, or another kind, or data that differ from the checksum.
    """
    path = Path(path)
    description = read_description(path)
    if description["kind"] != kind:
        raise CheckpointError(f"{path} is a checkpoint of kind {description['kind']!r}; {kind!r} is needed here")
    data = path.read_bytes()
    start = 8 + _header_length(data[:8])
    if hashlib.sha256(memoryview(data)[start:]).hexdigest() != description["data_sha256"]:
        raise CheckpointError(f"{path} is damaged: its data do not have the checksum its header names; fetch it again")
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that torch does not have
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return Checkpoint(kind, description, tensors, path)


def load_into(module: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Copies the tensors into `module`, converted to its types, after checking every name, shape and value.

    Raises:
        CheckpointError: names or shapes differ, or a value is not a finite number.
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
    """The tensors as `dtype` on the CPU, to be written to `path`.

    Raises:
        CheckpointError: a value is too large for `dtype`, or not finite.
    """
    tensors = {name: tensor.detach().to("cpu", dtype) for name, tensor in state.items()}
    if wrong := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise CheckpointError(f"{path}: {wrong[0]} holds values that are not finite as {dtype}; nothing was written")
    return tensors


def weights_file(weights: str | Path, room: str, shipped: Mapping[str, str]) -> Path:
    """The file behind a path or a shipped name.

    Args:
        weights: one or the other.
        room: the package whose folder `weights` holds the shipped files.
        shipped: their names and file names.
    Raises:
        CheckpointError: neither.
    """
    if str(weights) in shipped:
        return Path(str(resources.files(room).joinpath("weights", shipped[str(weights)])))
    path = Path(weights)
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; give a .safetensors file or a shipped name: {', '.join(shipped)}")
    return path


def check_tensor(name: str, tensor: Tensor, wanted: Tensor, origin: str) -> None:
    """Refuses a tensor that cannot take the place of `wanted`.

    Raises:
        CheckpointError: another shape, no floating-point numbers, or one that is not finite in `wanted`'s type.
    """
    if tensor.shape != wanted.shape:
        raise CheckpointError(
            f"{origin}: {name} has shape {tuple(tensor.shape)}, the network needs {tuple(wanted.shape)}"
        )
    if not tensor.is_floating_point():
        raise CheckpointError(f"{origin}: {name} holds {tensor.dtype}, floating-point numbers are needed")
    if not bool(torch.isfinite(tensor.to(wanted.dtype)).all()):
        raise CheckpointError(f"{origin}: {name} holds values that are not finite")


def _header_length(head: bytes) -> int:
    return int(struct.unpack("<Q", head)[0])


def _own_description(path: Path, header: Any) -> dict[str, Any]:
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    if not isinstance(metadata, dict) or METADATA_KEY not in metadata:
        raise CheckpointError(
            f"{path} is a safetensors file, but not a checkpoint of inception-rcnn: no description in it"
        )
    try:
        description = json.loads(metadata[METADATA_KEY])
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the description in the header is not JSON") from error
    for field, kind in (("format_version", int), ("kind", str), ("data_sha256", str)):
        # Exactly this type: True is an int too.
        if not isinstance(description, dict) or type(description.get(field)) is not kind:
            raise CheckpointError(f"{path}: the description in the header lacks {field!r}, a {kind.__name__}")
    if description["format_version"] > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {description['format_version']}, this is inception-rcnn for up to "
            f"{FORMAT_VERSION}: upgrade inception-rcnn"
        )
    if description["kind"] not in KINDS:
        raise CheckpointError(f"{path} is of unknown kind {description['kind']!r}; known are {', '.join(KINDS)}")
    return dict(description)
