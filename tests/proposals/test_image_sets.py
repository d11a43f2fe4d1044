"""Proposals of whole sets: on several threads, from a file, and what the file says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inception_rcnn.proposals.image_sets import (
    FirstImages,
    TimedProposer,
    proposals_from_file,
    propose_for_images,
)
from inception_rcnn.proposals.search.selective_search import available_processors
from inception_rcnn.proposals.stored import read_stored
from inception_rcnn.structures import InputError, Proposals, load_image, progress_bar


class Photographs:
    """Pictures of one pixel's height whose width is their number."""

    def __init__(self, folder: Path, widths: list[int]) -> None:
        self.paths = [folder / f"{width}.png" for width in widths]
        for path, width in zip(self.paths, widths, strict=True):
            Image.new("RGB", (width, 1)).save(path)

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, index: int, /) -> Path:
        return self.paths[index]

    def load_image(self, index: int, /) -> NDArray[np.uint8]:
        return load_image(self.paths[index])


def whole(image: NDArray[np.uint8]) -> Proposals:
    """The whole picture as the only proposal."""
    return Proposals([[0, 0, image.shape[1], image.shape[0]]], [1.0])


def widths(proposals: list[Proposals]) -> list[float]:
    return [float(one.boxes[0, 2]) for one in proposals]


@pytest.mark.parametrize("threads", [1, 3, None])
@pytest.mark.parametrize("stored", [True, False])
def test_proposals_come_in_the_order_of_the_images(threads: int | None, stored: bool, tmp_path: Path) -> None:
    images = Photographs(tmp_path, [5, 3, 9, 4, 7])
    timed = TimedProposer(whole)
    path = tmp_path / "proposals.safetensors" if stored else None
    with progress_bar(5, "proposals", quiet=True) as bar:
        found = propose_for_images(images, timed, path, {"method": "whole"}, bar=bar, threads=threads)
    assert (widths(list(found)), timed.calls, bar.done) == ([5, 3, 9, 4, 7], 5, 5)
    seconds = timed.seconds_per_image()
    assert seconds is not None and seconds > 0
    assert list(tmp_path.glob("*.safetensors")) == ([path] if stored else [])


def test_what_is_stored_is_not_computed_again(tmp_path: Path) -> None:
    images, path = Photographs(tmp_path, [5, 3]), tmp_path / "proposals.safetensors"
    for calls in (2, 0):
        timed = TimedProposer(whole)
        with progress_bar(2, "proposals", quiet=True) as bar:
            propose_for_images(images, timed, path, {"method": "whole"}, bar=bar)
        assert timed.calls == calls
    assert timed.seconds_per_image() is None
    assert read_stored(path).settings == {"method": "whole"}


def test_the_first_images_are_a_set(tmp_path: Path) -> None:
    images = Photographs(tmp_path, [5, 3, 9])
    first = FirstImages(images, 2)
    assert (len(first), first.path(-1).name, first.load_image(0).shape[1]) == (2, "3.png", 5)
    assert (len(FirstImages(images)), len(FirstImages(images, 7))) == (3, 3)
    for ask in (first.path, first.load_image):
        with pytest.raises(IndexError):
            ask(2)


def test_a_file_answers_for_any_of_its_images(tmp_path: Path) -> None:
    images, path = Photographs(tmp_path, [5, 3, 9]), tmp_path / "proposals.safetensors"
    with progress_bar(3, "proposals", quiet=True) as bar:
        propose_for_images(images, whole, path, {}, bar=bar)
    assert widths(proposals_from_file(path, images)) == [5, 3, 9]
    images.paths = images.paths[::-1][:2]
    assert widths(proposals_from_file(str(path), images)) == [9, 3]
    with pytest.raises(InputError, match=r"lack 1 of 1 images, first '4\.png'"):
        proposals_from_file(path, Photographs(tmp_path, [4]))


def test_an_image_that_has_changed_has_no_stored_proposals(tmp_path: Path) -> None:
    images, path = Photographs(tmp_path, [5, 3]), tmp_path / "proposals.safetensors"
    with progress_bar(2, "proposals", quiet=True) as bar:
        propose_for_images(images, whole, path, {}, bar=bar)
    Image.new("RGB", (3, 2)).save(tmp_path / "3.png")
    with pytest.raises(InputError, match=r"3\.png has changed since its proposals were stored"):
        proposals_from_file(path, images)


def test_there_is_at_least_one_core() -> None:
    assert available_processors() >= 1
