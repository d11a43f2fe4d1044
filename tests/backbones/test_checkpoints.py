"""Self-describing files: what is written comes back, every lie is refused, and a failed write leaves the old file."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from inception_rcnn.backbones import Checkpoint, load_into, read_checkpoint, read_description, write_checkpoint
from inception_rcnn.backbones.checkpoints import tensors_checksum
from inception_rcnn.structures import CheckpointError
from inception_rcnn.structures.array_file import FORMAT_VERSION, METADATA_KEY

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([0.5, -1.0], dtype=torch.float16)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good file."""
    path = tmp_path / "good.safetensors"
    write_checkpoint(path, "googlenet", {"note": "ä", "classes": ["cat", "dog"]}, TENSORS)
    return path


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors' bytes of a safetensors file."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: Any, body: bytes = b"") -> bytes:
    """The file with that header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def redescribed(data: bytes, **changes: Any) -> bytes:
    """The file with fields of its description changed; None removes one."""
    header, body = split(data)
    description = json.loads(header["__metadata__"][METADATA_KEY]) | changes
    kept = {name: value for name, value in description.items() if value is not None}
    header["__metadata__"][METADATA_KEY] = json.dumps(kept)
    return joined(header, body)


def with_entry(data: bytes, name: str, **changes: Any) -> bytes:
    """The file with the header's entry of one tensor changed."""
    header, body = split(data)
    header[name] |= changes
    return joined(header, body)


def with_metadata(data: bytes, metadata: Any) -> bytes:
    """The file with other metadata."""
    header, body = split(data)
    return joined(header | {"__metadata__": metadata}, body)


def test_what_is_written_comes_back(path: Path) -> None:
    checkpoint = read_checkpoint(path, "googlenet")
    assert checkpoint.kind == "googlenet" and checkpoint.path == path
    assert checkpoint.description["note"] == "ä" and checkpoint.description["classes"] == ["cat", "dog"]
    assert set(checkpoint.tensors) == {"weight", "bias"}
    for name, tensor in TENSORS.items():
        assert checkpoint.tensors[name].dtype == tensor.dtype and torch.equal(checkpoint.tensors[name], tensor)
    assert read_description(path) == checkpoint.description


def test_the_same_content_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    write_checkpoint(again, "googlenet", {"note": "ä", "classes": ["cat", "dog"]}, TENSORS)
    assert again.read_bytes() == path.read_bytes()


def test_a_description_cannot_overrule_kind_version_and_checksum(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_checkpoint(path, "googlenet", {"kind": "x", "format_version": 99, "data_sha256": "x"}, TENSORS)
    assert read_checkpoint(path, "googlenet").description["format_version"] == FORMAT_VERSION


def test_strided_tensors_and_parameters_are_written_as_they_look(tmp_path: Path) -> None:
    path, image = tmp_path / "file.safetensors", torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    write_checkpoint(path, "googlenet", {}, {"a": image, "b": nn.Parameter(torch.ones(2)), "c": image[:, 1]})
    tensors = read_checkpoint(path, "googlenet").tensors
    assert torch.equal(tensors["a"], image) and torch.equal(tensors["c"], image[:, 1])
    assert not tensors["b"].requires_grad


@pytest.mark.parametrize(
    ("name", "kind", "description", "message"),
    [
        ("a.pth", "googlenet", {}, r"files of arrays are named \*.safetensors"),
        ("a.safetensors", "googlenet", {"loss": torch.ones(1)}, "should hold JSON values only"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(
    tmp_path: Path, name: str, kind: str, description: dict[str, Any], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    with pytest.raises(CheckpointError, match=message):
        write_checkpoint(path, kind, description, TENSORS)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(path, "googlenet", {}, {"weight": torch.zeros(1)})
    monkeypatch.undo()
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


LIES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "is empty"),
    "shorter than a length": (lambda data: data[:5], "is not a safetensors file"),
    "cut in the header": (lambda data: data[:40], "is cut off: 40 bytes, and its header alone"),
    "header length of 2^63": (lambda data: struct.pack("<Q", 2**63) + data[8:], "is not a safetensors file"),
    "header length of zero": (lambda data: struct.pack("<Q", 0) + data[8:], "is not a safetensors file"),
    "not JSON": (lambda data: joined(b"{this is no JSON}", b"1234"), "its header is not JSON"),
    "not UTF-8": (lambda data: joined(b'{"\xff\xfe": 1}'), "its header is not JSON"),
    "JSON a mile deep": (lambda data: joined(b"[" * 200_000 + b"]" * 200_000), "its header is not JSON"),
    "a list": (lambda data: joined([1, 2]), "none of inception-rcnn"),
    "metadata of another kind": (lambda data: with_metadata(data, "x"), "none of inception-rcnn"),
    "foreign safetensors": (lambda data: safetensors.torch.save(TENSORS), "none of inception-rcnn"),
    "foreign metadata": (
        lambda data: safetensors.torch.save(TENSORS, {"format": "pt"}),
        "none of inception-rcnn",
    ),
    "a pickle": (lambda data: pickle.dumps({"weight": [1.0]}), "is not a safetensors file"),
    "description not JSON": (
        lambda data: with_metadata(data, {METADATA_KEY: "{"}),
        "has a description in its header that is not JSON",
    ),
    "description a mile deep": (
        lambda data: with_metadata(data, {METADATA_KEY: "[" * 200_000 + "]" * 200_000}),
        "has a description in its header that is not JSON",
    ),
    "description a number": (lambda data: with_metadata(data, {METADATA_KEY: "7"}), "lacks 'format_version'"),
    "description no text": (lambda data: with_metadata(data, {METADATA_KEY: 7}), "that is not JSON"),
    "newer version": (
        lambda data: redescribed(data, format_version=FORMAT_VERSION + 1),
        "has format version 2, .* upgrade inception-rcnn",
    ),
    "version true": (lambda data: redescribed(data, format_version=True), "lacks 'format_version', a int"),
    "version as text": (lambda data: redescribed(data, format_version="1"), "lacks 'format_version', a int"),
    "no version": (lambda data: redescribed(data, format_version=None), "lacks 'format_version'"),
    "no kind": (lambda data: redescribed(data, kind=None), "lacks 'kind'"),
    "no checksum": (lambda data: redescribed(data, data_sha256=None), "lacks 'data_sha256'"),
}
DATA_LIES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another kind": (lambda data: redescribed(data, kind="multibox"), "kind 'multibox'; 'googlenet' is needed here"),
    "flipped bit in the data": (lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:], "do not have the checksum"),
    "cut in the data": (lambda data: data[:-1], "is damaged or cut off: "),
    "something after the data": (lambda data: data + b"\0", "do not have the checksum"),
    "another checksum": (lambda data: redescribed(data, data_sha256="0" * 64), "do not have the checksum"),
    "another shape": (lambda data: with_entry(data, "weight", shape=[2, 4]), "is damaged"),
    "offsets beyond the end": (lambda data: with_entry(data, "weight", data_offsets=[0, 10**6]), "is damaged"),
    "a type torch has not": (lambda data: with_entry(data, "bias", dtype="F4", shape=[8]), "is damaged"),
    "a type nobody has": (lambda data: with_entry(data, "bias", dtype="F99"), "is damaged"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_in_the_header_are_refused_before_the_data_are_read(path: Path, lie: str) -> None:
    change, message = LIES[lie]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message):
        read_description(path)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path, "googlenet")


@pytest.mark.parametrize("lie", DATA_LIES)
def test_lies_about_the_data_are_refused(path: Path, lie: str) -> None:
    change, message = DATA_LIES[lie]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path, "googlenet")


def test_a_number_without_dimensions_keeps_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_checkpoint(path, "training-state", {}, {"step": torch.tensor(3.0)})
    assert read_checkpoint(path, "training-state").tensors["step"].shape == ()


def test_a_type_that_the_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"weight holds torch\.bfloat16, which a checkpoint cannot"):
        write_checkpoint(tmp_path / "a.safetensors", "googlenet", {}, {"weight": torch.ones(2, dtype=torch.bfloat16)})
    assert not list(tmp_path.iterdir())


def test_the_checksum_of_tensors_is_of_names_shapes_types_and_numbers() -> None:
    """Not of their order, nor of how they lie in memory."""
    assert tensors_checksum(dict(reversed(TENSORS.items()))) == tensors_checksum(TENSORS)
    image = torch.rand(2, 3, 4, 5)
    assert tensors_checksum({"a": image.to(memory_format=torch.channels_last)}) == tensors_checksum({"a": image})
    others = (
        {"weight": TENSORS["weight"], "bia": TENSORS["bias"]},
        TENSORS | {"weight": TENSORS["weight"].reshape(3, 2)},
        TENSORS | {"bias": TENSORS["bias"].float()},
        TENSORS | {"bias": TENSORS["bias"] + 1},
    )
    assert len({tensors_checksum(one) for one in (TENSORS, *others)}) == 5


def test_a_header_over_the_limit_is_neither_written_nor_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inception_rcnn.structures.array_file.MAX_HEADER_BYTES", 2000)
    with pytest.raises(CheckpointError, match="the description is too long"):
        write_checkpoint(path, "googlenet", {"log": "x" * 2000}, TENSORS)
    path.write_bytes(struct.pack("<Q", 2001) + b" " * 2009)
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        read_description(path)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_description(path)


def checkpoint(**changes: Tensor | None) -> Checkpoint:
    """A checkpoint for `nn.Linear(3, 2)`, with tensors replaced, added, or (None) left out."""
    tensors = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)} | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    return Checkpoint("googlenet", {}, kept, Path("some.safetensors"))


def test_tensors_are_copied_into_the_module_s_types() -> None:
    layer = nn.Linear(3, 2)
    load_into(layer, checkpoint(weight=torch.full((2, 3), 0.25, dtype=torch.float16)))
    assert layer.weight.dtype == torch.float32 and (layer.weight == 0.25).all() and (layer.bias == 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": None}, "does not fit: 1 tensors are missing or extra, first 'bias'"),
        ({"gamma": torch.ones(1)}, "does not fit: 1 tensors are missing or extra, first 'gamma'"),
        ({"weight": torch.ones(3, 2)}, r"some.safetensors: weight has shape \(3, 2\), the network needs \(2, 3\)"),
        ({"weight": torch.ones(6)}, r"weight has shape \(6,\)"),
        ({"bias": torch.tensor([0.0, torch.nan])}, "bias holds values that are not finite"),
        ({"bias": torch.tensor([0.0, torch.inf])}, "bias holds values that are not finite"),
        ({"bias": torch.tensor([0.0, 1e300], dtype=torch.float64)}, "bias holds values that are not finite"),
        ({"bias": torch.zeros(2, dtype=torch.int16)}, "bias holds torch.int16, floating-point numbers are needed"),
        ({"bias": torch.zeros(2, dtype=torch.bool)}, "bias holds torch.bool"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_and_nothing_is_changed(
    changes: dict[str, Tensor | None], message: str
) -> None:
    layer = nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_into(layer, checkpoint(**changes))
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
