"""Self-describing arrays: one .safetensors file whose header says what the numbers are. Never a pickle.

Layout: the safetensors format with one metadata entry, `inception_rcnn`, that holds JSON: `format_version`, `kind`,
`data_sha256` and whatever the kind adds. Checkpoints, training states, stored proposals and stored detections are
kinds of it. Everything is checked before an array is handed out: sizes, the header's JSON, and the data's checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from inception_rcnn.structures.errors import DataFormatError, InputError
from inception_rcnn.structures.files import foreign_kind, write_whole

FORMAT_VERSION: Final = 1
METADATA_KEY: Final = "inception_rcnn"
# A network lists about 120 arrays: 20 KB. The detections of 100,000 images name each with its checksum: 10 MB.
MAX_HEADER_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """What is in a file.

    Attributes:
        kind: What its arrays are, such as `"region-classifier"` or `"proposals"`.
        description: Plain JSON values.
        arrays: By name.
        path: Where it was read.
    """

    kind: str
    description: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    path: Path

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts in the description.

        Raises:
            InputError: It is missing, or something else.
        """
        values = self._listed(name)
        if not all(isinstance(one, str) for one in values):
            raise InputError(f"{name} should be texts")
        return values

    def image_ids(self) -> tuple[int | str, ...]:
        """Return the ids of images in the description, whole numbers and texts.

        Raises:
            InputError: They are missing, or something else.
        """
        values = self._listed("image_ids")
        if not all(type(one) in (int, str) for one in values):
            raise InputError("image_ids should be whole numbers or texts")
        return values

    def _listed(self, name: str) -> tuple[Any, ...]:
        values = self.description.get(name)
        if not isinstance(values, list):
            raise InputError(f"{name!r} should be a list, got {values!r:.60}")
        return tuple(values)


def array_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of an array file; for what writes it after long work, to ask before.

    Raises:
        InputError: It does not end in .safetensors, or is a folder.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: files of arrays are named *.safetensors")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give the name of a file")
    return path


def write_array_file(
    path: str | os.PathLike[str], kind: str, description: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write one self-describing file, whole or not at all.

    Args:
        path: Should end in .safetensors.
        kind: What a reader will ask for.
        description: JSON values; `format_version`, `kind` and `data_sha256` are added.
        arrays: As they are to be stored, types included.

    Raises:
        InputError: Another ending, a folder that does not exist, an array of a type that safetensors does not have,
            or a description that JSON cannot hold or that is too long.
    """
    path = array_path(path)
    try:
        # Not `ascontiguousarray`, which gives a single number a dimension.
        plain = safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    except SafetensorError as error:
        raise InputError(f"{path}: {error}") from error
    start = 8 + _header_length(plain[:8])
    header, data = json.loads(plain[8:start]), memoryview(plain)[start:]
    own = {**description, "format_version": FORMAT_VERSION, "kind": kind, "data_sha256": _digest(data)}
    try:
        # Escaped, since names of files need not be valid Unicode.
        text = json.dumps(own, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: the description should hold JSON values only: {error}") from error
    packed = json.dumps({"__metadata__": {METADATA_KEY: text}, **header}, ensure_ascii=False).encode()
    packed += b" " * (-len(packed) % 8)  # safetensors aligns the data
    if len(packed) > MAX_HEADER_BYTES:
        raise InputError(f"{path}: the description is too long; the header may have {MAX_HEADER_BYTES} bytes")
    write_whole(path, b"".join((struct.pack("<Q", len(packed)), packed, data)))


def read_array_description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the description in a file's header, `kind` and `data_sha256` included, without reading an array.

    Raises:
        DataFormatError: Not a file of this project, damaged, from a newer version, or it cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(64)
            file.seek(0)
            head = file.read(8)
            length = _header_length(head) if len(head) == 8 else -1
            size = path.stat().st_size
            fits = 0 < length <= min(MAX_HEADER_BYTES, size - 8)
            text = file.read(length) if fits else b""
    except OSError as error:
        raise DataFormatError(f"cannot be read: {error.strerror or error}", path=path) from error
    if size == 0:
        raise DataFormatError("is empty (0 bytes); download or copy it again", path=path)
    if not fits and 0 < length <= MAX_HEADER_BYTES and start[8:9] == b"{":
        raise DataFormatError(f"is cut off: {size} bytes, and its header alone has {length}; copy it again", path=path)
    if not fits:
        reason = foreign_kind(start) or f"header of {length} bytes in {size}"
        raise DataFormatError(f"is not a safetensors file: {reason}", path=path)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: ten thousand opening brackets
        raise DataFormatError("is not a safetensors file: its header is not JSON", path=path) from error
    description = _own_description(path, header)
    if (end := 8 + length + _length_of_data(header)) > size:
        raise DataFormatError(f"is damaged or cut off: {size} bytes of {end}; download or copy it again", path=path)
    return description


def read_array_file(path: str | os.PathLike[str], kind: str) -> ArrayFile:
    """Return everything in a file, its data verified against the checksum in its header.

    Raises:
        DataFormatError: As `read_array_description`, or another kind, or data that differ from the checksum.
    """
    path = Path(path)
    description = read_array_description(path)
    if description["kind"] != kind:
        raise DataFormatError(f"is of kind {description['kind']!r}; {kind!r} is needed here", path=path)
    data = path.read_bytes()
    if _digest(memoryview(data)[8 + _header_length(data[:8]) :]) != description["data_sha256"]:
        raise DataFormatError("is damaged: its data do not have the checksum its header names", path=path)
    try:
        arrays = safetensors.numpy.load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # KeyError: a type that NumPy does not have
        raise DataFormatError(f"is damaged: {error}", path=path) from error
    return ArrayFile(kind, description, arrays, path)


def _length_of_data(header: Any) -> int:
    """Return how many bytes of arrays a header announces; 0 where it says nothing that is understood."""
    spans = [
        one.get("data_offsets") for name, one in header.items() if name != "__metadata__" and isinstance(one, dict)
    ]
    ends = [span[1] for span in spans if isinstance(span, list) and len(span) == 2 and isinstance(span[1], int)]
    return max(ends, default=0)


def _header_length(head: bytes) -> int:
    return int(struct.unpack("<Q", head)[0])


def _digest(data: memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def _own_description(path: Path, header: Any) -> dict[str, Any]:
    """Return the description in a safetensors header, its own three fields checked."""
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    if not isinstance(metadata, dict) or METADATA_KEY not in metadata:
        raise DataFormatError(
            "is a safetensors file, but none of inception-rcnn: no description in it; weights of other programs do not "
            "fit",
            path=path,
        )
    try:
        description = json.loads(metadata[METADATA_KEY])
    except (TypeError, ValueError, RecursionError) as error:
        raise DataFormatError("has a description in its header that is not JSON", path=path) from error
    for field, kind in (("format_version", int), ("kind", str), ("data_sha256", str)):
        # Exactly this type: True is an int too.
        if not isinstance(description, dict) or type(description.get(field)) is not kind:
            raise DataFormatError(f"has a description that lacks {field!r}, a {kind.__name__}", path=path)
    if description["format_version"] > FORMAT_VERSION:
        raise DataFormatError(
            f"has format version {description['format_version']}, this is inception-rcnn for up to {FORMAT_VERSION}: "
            "upgrade inception-rcnn",
            path=path,
        )
    return dict(description)
