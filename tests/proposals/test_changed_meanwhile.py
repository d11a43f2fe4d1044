"""Photographs that change or go while their proposals are made: what is stored is of the file whose checksum it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from album import Album
from numpy.typing import NDArray

from inception_rcnn.proposals.stored import IMAGES_PER_PART, StoredProposals, propose_for_set
from inception_rcnn.structures import InputError, Proposals, sha256_of


def run(album: Album, path: Path, befalls: Callable[[int], None] = lambda number: None) -> StoredProposals:
    """Propose a box as wide as the photograph's number, and let something happen when its turn has come."""

    def propose(image: NDArray[np.uint8]) -> Proposals:
        number = int(image[0, 0, 0])
        befalls(number)
        return Proposals(np.array([[0, 0, 1 + number, 1]], np.float32), np.zeros(1, np.float32))

    return propose_for_set(album, propose, {"method": "width"}, path, threads=1)


def widths(stored: StoredProposals) -> list[int]:
    return [int(one.boxes[0, 2]) - 1 for one in stored.proposals]


def test_a_photograph_replaced_while_others_of_its_part_are_searched(tmp_path: Path) -> None:
    album, path = Album(tmp_path / "album", 3), tmp_path / "boxes.safetensors"

    def replace_the_last(number: int) -> None:
        if number == 0:
            album.files[2].write_text("77")

    stored = run(album, path, replace_the_last)
    assert widths(stored) == [0, 1, 77]
    assert stored.checksums == tuple(sha256_of(file) for file in album.files)
    album.files[2].write_text("2")
    assert widths(run(album, path)) == [0, 1, 2], "what was found in the other photograph is not taken for this one's"


def test_a_photograph_replaced_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    album, path = Album(tmp_path / "album", 3), tmp_path / "boxes.safetensors"
    load, others = album.load_image, ["77"]

    def replaced_behind(index: int) -> NDArray[np.uint8]:
        image = load(index)
        if index == 1 and others:
            album.files[1].write_text(others.pop())
        return image

    monkeypatch.setattr(album, "load_image", replaced_behind)
    stored = run(album, path)
    assert widths(stored) == [0, 77, 2] and stored.checksums[1] == sha256_of(album.files[1])


def test_a_photograph_that_goes_away_ends_the_run_which_goes_on_once_it_is_back(tmp_path: Path) -> None:
    album, path = Album(tmp_path / "album", IMAGES_PER_PART + 3), tmp_path / "boxes.safetensors"
    last, seen = album.files[-1], list[int]()

    def take_the_last(number: int) -> None:
        seen.append(number)
        last.unlink(missing_ok=True)

    for _ in range(2):  # while it is away, and again
        with pytest.raises((InputError, FileNotFoundError), match=last.name):
            run(album, path, take_the_last)
        assert not path.exists()
    assert sorted(set(seen)) == list(range(len(album) - 1)), "every other photograph had its turn"
    assert max(map(seen[:IMAGES_PER_PART].count, range(IMAGES_PER_PART))) == 1
    last.write_text(last.stem)
    seen.clear()
    assert widths(run(album, path, seen.append)) == list(range(len(album)))
    assert not set(seen) & set(range(IMAGES_PER_PART)), "the part that was done is kept"
