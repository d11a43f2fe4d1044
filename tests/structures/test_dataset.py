"""Parts of a data set, and photographs kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from inception_rcnn.structures import DataFormatError, GroundTruth, GroundTruthTable, ImageError, InputError
from inception_rcnn.structures.dataset import (
    DetectionDataset,
    ImageCache,
    Subset,
    WithRemedy,
    as_datasets,
    dataset_checksum,
    dataset_name,
    without_unreadable,
)


class Album:
    """Photographs of 300 bytes, each of one grey; remembers which were loaded."""

    def __init__(self) -> None:
        self.loaded: list[int] = []

    def load(self, index: int) -> NDArray[np.uint8]:
        self.loaded.append(index)
        return np.full((10, 10, 3), index, np.uint8)


def test_a_photograph_is_loaded_once_while_there_is_room() -> None:
    album = Album()
    images = ImageCache(album.load, limit=900)
    assert [int(images[index][0, 0, 0]) for index in (4, 7, 4, 5, 7, 4)] == [4, 7, 4, 5, 7, 4]
    assert album.loaded == [4, 7, 5]


def test_the_least_recently_used_one_is_forgotten() -> None:
    album = Album()
    images = ImageCache(album.load, limit=600)
    for index in (1, 2, 1, 3):  # 2 has to go
        images[index]
    album.loaded.clear()
    images[1], images[3]
    assert album.loaded == []
    images[2]
    assert album.loaded == [2]


def test_one_photograph_is_kept_however_small_the_limit() -> None:
    album = Album()
    images = ImageCache(album.load, limit=1)
    images[1], images[1], images[2], images[2]
    assert album.loaded == [1, 2]


def test_several_threads_read_at_once_and_keep_to_the_limit() -> None:
    album, both = Album(), Barrier(2, timeout=20)

    def load(index: int) -> NDArray[np.uint8]:
        if index < 2:
            both.wait()  # neither waits for the other to be loaded
        return album.load(index)

    images = ImageCache(load, limit=600)
    with ThreadPoolExecutor(2) as pool:
        assert [int(one[0, 0, 0]) for one in pool.map(images.__getitem__, (0, 1))] == [0, 1]
        assert [int(one[0, 0, 0]) for one in pool.map(images.__getitem__, [2, 3] * 50)] == [2, 3] * 50
    assert images._bytes == 600 and set(images._kept) == {2, 3}


class Grey:
    """Four photographs, photograph i of grey i with i objects."""

    class_names = ("cat", "dog")
    display_names = ("Cat", "Dog")
    category_ids = (7, 9)
    image_ids = ("a", "b", "c", "d")
    problems: ClassVar = ["e: is missing"]

    def __len__(self) -> int:
        return 4

    def path(self, i: int, /) -> Path:
        return Path(f"{self.image_ids[i]}.png")

    def load_image(self, i: int, /) -> NDArray[np.uint8]:
        return np.full((2, 2, 3), i, np.uint8)

    def ground_truth(self, i: int, /) -> GroundTruth:
        boxes = np.tile(np.array([[0, 0, 1, 1]], np.float32), (i, 1))
        return GroundTruth(boxes, np.full(i, i % 2), self.class_names, image_id=self.image_ids[i])

    def ground_truths(self) -> GroundTruthTable:
        return GroundTruthTable.from_ground_truths([self.ground_truth(i) for i in range(4)])


def test_a_part_of_a_set_is_a_set() -> None:
    part: DetectionDataset = Subset(Grey(), [3, 1])
    assert (len(part), part.image_ids, part.class_names) == (2, ("d", "b"), ("cat", "dog"))
    assert (part.display_names, part.category_ids, part.problems) == (("Cat", "Dog"), (7, 9), ["e: is missing"])
    assert part.path(0) == Path("d.png") and int(part.load_image(1)[0, 0, 0]) == 1
    assert len(part.ground_truth(0)) == 3
    table = part.ground_truths()
    assert table.image_ids == ("d", "b") and table.image.tolist() == [0, 0, 0, 1]
    assert Subset(part, [1]).image_ids == ("b",)


@pytest.mark.parametrize(("rows", "text"), [([4], "0..3, got 4..4"), ([-1, 2], "got -1..2"), ([1, 1], "differ")])
def test_rows_that_make_no_part_are_refused(rows: list[int], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Subset(Grey(), rows)


def test_a_mask_is_no_part_and_positions_may_be_numpy_s() -> None:
    """A mask would be taken for the positions 1 and 0."""
    with pytest.raises(InputError, match=r"rows should be whole numbers, positions .* np.flatnonzero finds them"):
        Subset(Grey(), np.array([True, False, False, False]).tolist())
    assert Subset(Grey(), np.array([3, 1])).rows == (3, 1)


class Pages(Grey, Sequence[NDArray[np.uint8]]):
    """A set that is a sequence of its photographs, as users make them."""

    def __getitem__(self, i: Any) -> Any:
        return self.load_image(i)


def test_one_set_or_several_whatever_a_set_is_itself() -> None:
    one, other = Pages(), Grey()
    assert as_datasets(one) == [one] and as_datasets(other) == [other]
    for several in ([one, other], (one, other), (each for each in (one, other))):
        assert as_datasets(several) == [one, other]
    assert as_datasets([]) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            None,
            "data should be a data set, such as open_dataset returns; a NoneType lacks image_ids, __len__, path, lo",
        ),
        ("coco", r"data\[0\] should be a data set, .*; a str lacks image_ids"),
        (Path("coco"), "data should be a data set, .*; a PosixPath lacks|a WindowsPath lacks"),
        ([Grey(), "coco"], r"data\[1\] should be a data set"),
        ([np.zeros(3)], r"data\[0\] should be a data set, .*; a ndarray lacks"),
        (
            SimpleNamespace(ground_truth=1, path=2),
            "a SimpleNamespace lacks image_ids, __len__, load_image, class_names",
        ),
    ],
)
def test_what_is_no_data_set_is_named_with_what_it_lacks(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_datasets(data)


def test_a_set_is_called_by_its_folder_if_it_has_one() -> None:
    assert dataset_name(SimpleNamespace(root=Path("data/pets"), split="val")) == "pets/val"
    assert dataset_name(SimpleNamespace(root="data/pets/", split=None)) == "pets"
    assert dataset_name(SimpleNamespace(root=object(), name="mine")) == "mine"
    assert dataset_name(SimpleNamespace()) == "data"


class Files(Grey):
    """Photographs whose files are there; what is asked for of the objects can be changed."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder, self.changes = folder, changes
        for i, text in enumerate(self.image_ids):
            self.path(i).write_text(text)

    def path(self, i: int, /) -> Path:
        return self.folder / f"{i}.png"

    def ground_truths(self) -> GroundTruthTable:
        return replace(super().ground_truths(), **self.changes)


def test_the_checksum_of_a_set_is_of_files_and_objects_and_of_no_name(tmp_path: Path) -> None:
    one = dataset_checksum(Files(tmp_path))
    truth = Grey().ground_truths()
    (tmp_path / "moved").mkdir()
    renamed = {"image_ids": (1, 2, 3, 4), "image_names": ("e", "f", "g", "h"), "display_names": ("Katze", "Hund")}
    assert dataset_checksum(Files(tmp_path / "moved", **renamed)) == one
    others = [
        {"box": truth.box + np.eye(6, 4)},
        {"label": truth.label[::-1].copy()},
        {"ignore": np.arange(6) == 2},
        {"image": np.zeros(6, np.int32)},
        {"sizes": ((5, 5),) * 4},
        {"class_names": ("cat", "dog", "flag"), "category_ids": (1, 2, 3), "display_names": ("cat", "dog", "flag")},
    ]
    sums = {dataset_checksum(Files(tmp_path, **changes)) for changes in others}
    sums |= {dataset_checksum(Subset(Files(tmp_path), rows)) for rows in ([0, 1, 2], [1, 0, 2, 3])}
    replaced = Files(tmp_path)
    replaced.path(2).write_text("another")
    assert len(sums | {dataset_checksum(replaced), one}) == 10


def test_photographs_that_cannot_be_read_are_left_out_and_others_are_bugs() -> None:
    class Odd(Album):
        """Photographs 1 and 3 are damaged."""

        def __len__(self) -> int:
            return 5

        def load_image(self, index: int) -> NDArray[np.uint8]:
            if index in (1, 3):
                raise ImageError(f"{index} is cut off")
            return self.load(index)

    dataset: Any = Odd()
    kept, lines = without_unreadable(dataset, threads=2)
    assert isinstance(kept, Subset) and kept.rows == (0, 2, 4) and lines == ["1 is cut off", "3 is cut off"]
    whole, none = without_unreadable(kept)
    assert whole is kept and none == []
    dataset.load = {}.__getitem__
    with pytest.raises(KeyError):
        without_unreadable(dataset)


def test_what_helps_stands_behind_what_is_wrong_with_a_photograph() -> None:
    class Odd(Album):
        """Photograph 1 is damaged, 2 has another size than its annotation says."""

        def __len__(self) -> int:
            return 3

        def load_image(self, index: int) -> NDArray[np.uint8]:
            if index == 1:
                raise ImageError("1.jpg is cut off")
            if index == 2:
                raise DataFormatError("2.jpg is 3 x 3 pixels", path="2.xml", place="size")
            return self.load(index)

    dataset: Any = Odd()
    helped = WithRemedy(dataset, (2, 1, 0), "do without")
    assert helped.load_image(2).shape == (10, 10, 3)
    with pytest.raises(ImageError, match=r"^1\.jpg is cut off \(do without\)$"):
        helped.load_image(1)
    with pytest.raises(DataFormatError, match=r"^2\.xml, size: 2\.jpg is 3 x 3 pixels \(do without\)$"):
        helped.load_image(0)
