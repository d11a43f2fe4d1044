"""Files of arrays say what they are, and hand nothing out before all of it is checked."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.array_file import array_path, read_array_description, read_array_file, write_array_file

ARRAYS = {
    "half": np.arange(6, dtype=np.float16).reshape(2, 3),
    "counts": np.array([1, 2, 3], np.int64),
    "none": np.zeros((0, 4), np.float32),
    "step": np.array(3.0, np.float32),  # without a dimension, as an optimizer counts
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    write_array_file(path, "shells", {"beach": "Øresund", "sides": [1, 2]}, ARRAYS)
    return path


def changed(path: Path, change: Any) -> Path:
    """The file with another description; its data are as they were."""
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:end])
    description = json.loads(header["__metadata__"]["inception_rcnn"])
    header["__metadata__"]["inception_rcnn"] = change(description)
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + data[end:])
    return path


def test_what_was_written_comes_back(file: Path) -> None:
    found = read_array_file(file, "shells")
    assert found.kind == "shells" and found.description["beach"] == "Øresund" and found.path == file
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype and found.arrays[name].shape == array.shape
        assert np.array_equal(found.arrays[name], array)
    assert read_array_description(file) == found.description
    assert list(found.description)[:2] == ["beach", "sides"]  # in the order they were given


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5, np.float32),
        np.zeros((2, 0, 3), np.int64),
        np.array([True, False]),
        np.arange(12.0).reshape(3, 4)[::-1, ::2],
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(3, dtype=">i4"),
    ],
    ids=["a single number", "empty", "flags", "every other column", "column by column", "big-endian"],
)
def test_arrays_of_every_layout_come_back(array: np.ndarray, tmp_path: Path) -> None:
    write_array_file(tmp_path / "a.safetensors", "shells", {}, {"a": array})
    found = read_array_file(tmp_path / "a.safetensors", "shells").arrays["a"]
    assert found.shape == array.shape and found.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(found, array)


def test_a_description_may_hold_file_names_that_are_no_unicode(tmp_path: Path) -> None:
    write_array_file(tmp_path / "a.safetensors", "shells", {"name": "caf\udce9.jpg"}, ARRAYS)
    assert read_array_description(tmp_path / "a.safetensors")["name"] == "caf\udce9.jpg"


def test_it_is_an_ordinary_safetensors_file(file: Path) -> None:
    loaded = safetensors.numpy.load_file(file)
    assert all(np.array_equal(loaded[name], array) for name, array in ARRAYS.items())


def test_the_same_content_gives_the_same_bytes(file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    write_array_file(again, "shells", {"beach": "Øresund", "sides": (1, 2)}, dict(reversed(ARRAYS.items())))
    assert again.read_bytes() == file.read_bytes()


def test_another_kind_is_refused(file: Path) -> None:
    with pytest.raises(DataFormatError, match="is of kind 'shells'; 'stones' is needed here"):
        read_array_file(file, "stones")


def test_a_changed_number_is_noticed(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataFormatError, match="is damaged: its data do not have the checksum"):
        read_array_file(file, "shells")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"PK\x03\x04" + bytes(60), "a file of PyTorch's"),
        (b"abc", "is not a safetensors file"),
        (struct.pack("<Q", 2**40) + b"{}", "is not a safetensors file"),
        (struct.pack("<Q", 4) + b"nope", "its header is not JSON"),
        (struct.pack("<Q", 20_000) + b"[" * 20_000, "its header is not JSON"),
        (struct.pack("<Q", 2**63) + b"{}", f"header of {2**63} bytes in 10"),
        (struct.pack("<Q", 2) + b"{}", "none of inception-rcnn"),
        (struct.pack("<Q", 2) + b"[]", "none of inception-rcnn"),
    ],
)
def test_other_files_are_named_for_what_they_are(content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(DataFormatError, match=text):
        read_array_file(tmp_path / "x.safetensors", "shells")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda known: "{", "not JSON"),
        (lambda known: "[]", "lacks 'format_version', a int"),
        (lambda known: json.dumps(known | {"format_version": True}), "lacks 'format_version'"),
        (lambda known: json.dumps(known | {"format_version": 99}), "format version 99.*upgrade"),
        (lambda known: json.dumps(known | {"kind": None}), "lacks 'kind', a str"),
        (lambda known: json.dumps({k: v for k, v in known.items() if k != "data_sha256"}), "lacks 'data_sha256'"),
    ],
)
def test_descriptions_that_say_too_little_are_refused(file: Path, change: Any, text: str) -> None:
    with pytest.raises(DataFormatError, match=text):
        read_array_description(changed(file, change))


def test_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="cannot be read: No such file"):
        read_array_file(tmp_path / "absent.safetensors", "shells")


def test_what_cannot_be_described_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="JSON values only"):
        write_array_file(tmp_path / "a.safetensors", "shells", {"x": float("nan")}, ARRAYS)
    with pytest.raises(InputError, match="JSON values only"):
        write_array_file(tmp_path / "a.safetensors", "shells", {"x": object()}, ARRAYS)
    with pytest.raises(InputError, match=r"a\.safetensors: .*dtype"):
        write_array_file(tmp_path / "a.safetensors", "shells", {}, {"names": np.array(["a", "b"])})
    with pytest.raises(InputError, match=r"named \*.safetensors"):
        write_array_file(tmp_path / "a.bin", "shells", {}, ARRAYS)
    assert list(tmp_path.iterdir()) == []


def test_a_place_for_a_file_can_be_asked_for_before_the_work(tmp_path: Path) -> None:
    assert array_path(str(tmp_path / "a.safetensors")) == tmp_path / "a.safetensors"
    (tmp_path / "b.safetensors").mkdir()
    for name, message in (("a.npz", r"named \*\.safetensors"), ("b.safetensors", "it is a folder")):
        with pytest.raises(InputError, match=message):
            array_path(tmp_path / name)
