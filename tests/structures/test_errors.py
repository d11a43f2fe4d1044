"""The error tree: one base, built-in relatives, and texts that say where."""

from __future__ import annotations

import pickle
from pathlib import Path

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
