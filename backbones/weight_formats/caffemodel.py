"""A .caffemodel file: a protocol buffer of layers, each with its name and its arrays. Read without Caffe.

A protocol buffer is a row of fields: a number that holds the field's own number and the kind of its value, then the
value: a number of as many bytes as it takes ("varint"), 4 or 8 bytes, or a length and so many bytes, which may be
fields again. What is not asked for is skipped, so that files of any version of Caffe are read.
Source: Caffe's caffe.proto, NetParameter, LayerParameter, V1LayerParameter and BlobProto.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import CheckpointError

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
# NetParameter's field of layers -> the layer's fields of its name and of its arrays: Caffe's since 2014, and before.
_LAYERS: Final = {100: (1, 7), 2: (4, 6)}
# BlobProto: four lengths as Caffe had them first, the numbers, then lengths in a message of their own.
_OLD_LENGTHS: Final = (1, 2, 3, 4)
_FLOATS, _SHAPE, _DOUBLES, _DIM = 5, 7, 8, 1
_LONGEST_VARINT: Final = 10  # bytes


def read_caffemodel(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .caffemodel file, as `<layer>/weight` and `<layer>/bias`.

    Raises:
        CheckpointError: The file is missing, damaged, or of layers with more than these two arrays.
    """
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"no weights at {path}: {error.strerror}; check the path") from error
    arrays: dict[str, NDArray[Any]] = {}
    try:
        for number, value in _fields(content):
            if number in _LAYERS and isinstance(value, memoryview):
                name, blobs = _layer(value, *_LAYERS[number])
                if len(blobs) > 2:
                    raise ValueError(f"layer {name!r} has {len(blobs)} arrays, 2 at most are expected")
                for kind, blob in zip(("weight", "bias"), blobs, strict=False):
                    arrays[f"{name}/{kind}"] = _without_leading_ones(blob, 1 if kind == "bias" else 2)
    except ValueError as error:  # a text that is not one, too
        raise CheckpointError(f"{path} cannot be read as .caffemodel: {error}") from error
    if not arrays:
        raise CheckpointError(f"{path} cannot be read as .caffemodel: it has no layers with arrays")
    return arrays


def _layer(message: memoryview, name_field: int, blob_field: int) -> tuple[str, list[NDArray[Any]]]:
    name, blobs = "", []
    for number, value in _fields(message):
        if number == name_field and isinstance(value, memoryview):
            name = bytes(value).decode()
        elif number == blob_field and isinstance(value, memoryview):
            blobs.append(_blob(value))
    return name, blobs


def _blob(message: memoryview) -> NDArray[Any]:
    lengths, shape, parts = dict.fromkeys(_OLD_LENGTHS, 0), None, []
    for number, value in _fields(message):
        if number in _OLD_LENGTHS and isinstance(value, int):
            lengths[number] = value
        elif number == _SHAPE and isinstance(value, memoryview):
            shape = _lengths(value)
        elif number in (_FLOATS, _DOUBLES) and isinstance(value, memoryview):  # packed, or a number at a time
            parts.append(np.frombuffer(value, "<f4" if number == _FLOATS else "<f8"))
    numbers = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    expected = list(lengths.values()) if shape is None else shape
    if math.prod(expected) != len(numbers):
        raise ValueError(f"an array of {expected} holds {len(numbers)} numbers")
    return numbers.reshape(expected)


def _lengths(message: memoryview) -> list[int]:
    found = []
    for number, value in _fields(message):
        if number == _DIM and isinstance(value, int):
            found.append(value)
        elif number == _DIM and isinstance(value, memoryview):
            place = 0
            while place < len(value):
                length, place = _varint(value, place)
                found.append(length)
    return found


def _without_leading_ones(array: NDArray[Any], dimensions: int) -> NDArray[Any]:
    """Return an array without the lengths of 1 that Caffe once put before those of biases and of linear layers."""
    while array.ndim > dimensions and array.shape[0] == 1:
        array = array[0]
    return array


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield each field's number and value."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, place = _varint(message, place)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"byte {place} begins a field of the unknown kind {kind}")
        if place + length > len(message):
            raise ValueError("it ends in the middle of a field")
        yield key >> 3, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return the number at a place, seven bits a byte, lowest first, and the place behind it."""
    value = 0
    for position in range(_LONGEST_VARINT):
        if place + position >= len(message):
            raise ValueError("it ends in the middle of a number")
        byte = message[place + position]
        value |= (byte & 127) << (7 * position)
        if byte < 128:
            return value, place + position + 1
    raise ValueError(f"byte {place} begins a number without end")
