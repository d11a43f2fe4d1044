"""Caffe's own files, written here field by field: what is read is what was written, and damage is noticed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import GoogLeNet, googlenet
from inception_rcnn.backbones.weight_formats.caffe import caffe_layers
from inception_rcnn.backbones.weight_formats.caffemodel import read_caffemodel
from inception_rcnn.structures import CheckpointError


def varint(value: int) -> bytes:
    """A number, seven bits a byte."""
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def field(number: int, content: bytes | int) -> bytes:
    """A field of bytes, or of a number."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array: NDArray[np.float32], *, old: bool) -> bytes:
    """An array: its lengths in four fields, ones before them, or in a message."""
    if old:
        shape = (1,) * (4 - array.ndim) + array.shape
        return b"".join(field(1 + place, length) for place, length in enumerate(shape)) + field(5, array.tobytes())
    return field(5, array.tobytes()) + field(7, field(1, b"".join(varint(length) for length in array.shape)))


def caffemodel(network: GoogLeNet, *, old: bool) -> bytes:
    """A network as Caffe writes it, with layers that have no arrays and fields that are of no interest."""
    own = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    found = field(1, b"GoogleNet") + varint(7 << 3 | 5) + struct.pack("<f", 0.5)
    for ours, theirs in {**caffe_layers(aux_heads=network.aux_4a is not None), "data": "data"}.items():
        blobs = [own[f"{ours}.{kind}"] for kind in ("weight", "bias") if f"{ours}.{kind}" in own]
        number, name, arrays = (2, 4, 6) if old else (100, 1, 7)
        layer = field(name, theirs.encode()) + b"".join(field(arrays, blob(one, old=old)) for one in blobs)
        found += field(number, field(5, 4) + layer if old else layer + field(2, b"Convolution"))
    return found


@pytest.mark.parametrize("old", [True, False], ids=["before 2014", "since"])
@pytest.mark.parametrize("aux_heads", [True, False], ids=["auxiliary heads", "without"])
def test_a_network_is_read_as_it_was_written(tmp_path: Path, old: bool, aux_heads: bool) -> None:
    torch.manual_seed(0)
    network, path = GoogLeNet(4, aux_heads=aux_heads), tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(network, old=old))
    loaded = googlenet(weights=path, num_classes=4, aux_heads=aux_heads).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())


def test_numbers_one_by_one_and_of_double_precision_are_read(tmp_path: Path) -> None:
    """Both are allowed by Caffe's own description of its files."""
    path = tmp_path / "small.caffemodel"
    single = b"".join(varint(5 << 3 | 5) + struct.pack("<f", number) for number in (1.5, 2.5))
    double = field(8, struct.pack("<2d", 3.5, 4.5))
    shape = field(7, field(1, 2))
    path.write_bytes(field(100, field(1, b"fc") + field(7, single + shape) + field(7, shape + double)))
    found = read_caffemodel(path)
    assert found["fc/weight"].tolist() == [1.5, 2.5] and found["fc/bias"].tolist() == [3.5, 4.5]


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    array = field(5, struct.pack("<2f", 1, 2))
    lies = {
        "it has no layers with arrays": b"",
        "it ends in the middle of a field": field(100, field(1, b"conv"))[:-1],
        "it ends in the middle of a number": b"\xa2",
        "a number without end": b"\xff" * 11,
        "of the unknown kind 7": b"\x0f",
        r"an array of \[3\] holds 2 numbers": field(100, field(7, array + field(7, field(1, 3)))),
        "layer 'bn' has 3 arrays": field(100, field(1, b"bn") + field(7, array + field(7, field(1, 2))) * 3),
        "buffer size must be a multiple": field(100, field(7, field(5, b"\0\0\0"))),
        "invalid start byte": field(100, field(1, b"\xff") + field(7, array + field(7, field(1, 2)))),
    }
    path = tmp_path / "damaged.caffemodel"
    for message, content in lies.items():
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"damaged.caffemodel cannot be read as .caffemodel: .*{message}"):
            read_caffemodel(path)
    with pytest.raises(CheckpointError, match=r"no weights at .*absent.caffemodel"):
        read_caffemodel(tmp_path / "absent.caffemodel")
