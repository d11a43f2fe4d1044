"""The error tree: one base, built-in relatives, and texts that say where."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inception_rcnn import structures
from inception_rcnn.structures import (
    CheckpointError,
    DataFormatError,
    ImageError,
    InceptionError,
    InputError,
    MissingDependencyError,
)
from inception_rcnn.structures.errors import as_declared, check_fields


@pytest.mark.parametrize(
    ("kind", "relatives"),
    [
        (InputError, (InceptionError, ValueError)),
        (ImageError, (InceptionError, InputError, ValueError)),
        (DataFormatError, (InceptionError, ValueError)),
        (CheckpointError, (InceptionError, ValueError)),
        (MissingDependencyError, (InceptionError, ImportError)),
    ],
)
def test_each_error_can_be_caught_by_its_relatives(kind: type[Exception], relatives: tuple[type, ...]) -> None:
    assert all(issubclass(kind, relative) for relative in relatives)


def test_data_format_error_names_file_and_place() -> None:
    error = DataFormatError("bbox has 3 numbers", path=Path("a") / "val.json", place="annotation 7")
    assert str(error) == f"{Path('a') / 'val.json'}, annotation 7: bbox has 3 numbers"
    assert (error.message, error.path, error.place) == ("bbox has 3 numbers", str(Path("a/val.json")), "annotation 7")


def test_data_format_error_without_a_place_names_the_file() -> None:
    assert str(DataFormatError("is empty", path="val.json")) == "val.json: is empty"


def test_data_format_error_survives_the_way_back_from_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(DataFormatError("is empty", path="val.json", place="line 3")))
    assert isinstance(error, DataFormatError)
    assert str(error) == "val.json, line 3: is empty"


def test_every_exported_name_exists_and_the_list_is_sorted() -> None:
    assert list(structures.__all__) == sorted(structures.__all__)
    assert [name for name in structures.__all__ if not hasattr(structures, name)] == []


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of each kind of field one."""

    count: int = 3
    rate: float | None = 0.5
    mirror: bool = False
    name: str = "a"
    scales: tuple[float, ...] = (1.0,)
    mean: tuple[float, float] = (1.0, 2.0)
    values: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


def test_numbers_of_numpy_become_python_s() -> None:
    """So that equal settings are written alike, and can be written at all."""
    given: dict[str, Any] = {
        "count": np.int64(4),
        "rate": np.float32(0.25),
        "scales": np.array([1, 2]),
        "mirror": np.True_,
    }
    made = Settings(**given)
    assert made == Settings(count=4, rate=0.25, scales=(1, 2), mirror=True)
    assert [type(made.count), type(made.rate), type(made.scales[0]), type(made.mirror)] == [int, float, int, bool]
    assert Settings(rate=1, scales=[0.5]).scales == (0.5,) and Settings(rate=None, values={"a": 1}).rate is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 2.0}, "count should be a whole number, got 2.0"),
        ({"count": True}, "count should be a whole number, got True"),
        ({"count": None}, "count should be a whole number, got None"),
        ({"rate": "0.5"}, "rate should be a number or None, got '0.5'"),
        ({"rate": False}, "rate should be a number or None, got False"),
        ({"mirror": 1}, "mirror should be true or false, got 1"),
        ({"name": Path("a")}, "name should be a text, got .*Path"),
        ({"scales": 1.0}, "scales should be a list, got 1.0"),
        ({"scales": "12"}, "scales should be a list, got '12'"),
        ({"scales": (1, "a")}, r"scales\[1\] should be a number, got 'a'"),
        ({"values": [1]}, r"values should be dict or None, got \[1\]"),
    ],
)
def test_a_field_of_another_type_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings(**given)


def test_several_kinds_may_be_meant() -> None:
    assert as_declared("teacher", [Path("a"), "b"], Sequence[str | Path]) == (Path("a"), "b")
    with pytest.raises(InputError, match=r"teacher\[0\] should be a text or Path, got 3"):
        as_declared("teacher", [3], Sequence[str | Path])
