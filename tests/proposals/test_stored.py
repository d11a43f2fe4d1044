"""Proposals of a set in one file: computed once, resumed, checked, recomputed where a photograph changed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
from safetensors import safe_open

from inception_rcnn.proposals.stored import StoredProposals, compute_stored, read_stored, write_stored
from inception_rcnn.structures import DataFormatError, InputError, ProgressBar, Proposals, progress_bar, sha256_of

SETTINGS: dict[str, Any] = {"mode": "fast", "ks": [50, 100], "seed": 0}
COUNT = 150  # three parts: 64, 64 and 22 images
KEY = "inception_rcnn_proposals"


class Album:
    """Small "photographs": files that hold a number, pixels that show it."""

    def __init__(self, folder: Path, count: int = COUNT) -> None:
        folder.mkdir(exist_ok=True)
        self.files = [folder / f"{number:03d}.img" for number in range(count)]
        for number, file in enumerate(self.files):
            file.write_text(str(number))

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> Path:
        return self.files[index]

    def load_image(self, index: int) -> npt.NDArray[np.uint8]:
        return np.full((2, 2, 3), int(self.files[index].read_text()), np.uint8)


class Proposing:
    """Proposes n % 4 boxes for the photograph of number n; remembers which it saw; fails where it is told to."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.seen: list[int] = []
        self.fail_at = fail_at
        self._lock = threading.Lock()

    def __call__(self, image: npt.NDArray[np.uint8]) -> Proposals:
        number = int(image[0, 0, 0])
        with self._lock:
            self.seen.append(number)
        if number == self.fail_at:
            raise KeyboardInterrupt
        return expected(number)


def expected(number: int) -> Proposals:
    """What is proposed for the photograph of that number."""
    count = number % 4
    corner = np.arange(count, dtype=np.float32) + number / 8
    boxes = np.stack([corner, corner, corner + 5, corner + 6], axis=1)
    return Proposals(boxes, -corner, np.arange(count) % 2, ("here", "there"))


def same(one: Proposals, two: Proposals) -> bool:
    """Whether two are equal to the bit, names of the sources included."""
    arrays = all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("boxes", "scores", "source"))
    return arrays and one.source_names == two.source_names


def right(stored: StoredProposals, numbers: list[int]) -> bool:
    """Whether the proposals are those of photographs with these numbers, in order."""
    return len(stored) == len(numbers) and all(
        same(found, expected(number)) for found, number in zip(stored.proposals, numbers, strict=True)
    )


@pytest.fixture
def album(tmp_path: Path) -> Album:
    """150 photographs."""
    return Album(tmp_path / "photographs")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to store; nothing there yet."""
    return tmp_path / "proposals.safetensors"


def test_all_images_are_computed_once_and_read_afterwards(album: Album, path: Path) -> None:
    first, second = Proposing(), Proposing()
    stored = compute_stored(path, album, first, SETTINGS)
    assert right(stored, list(range(COUNT))) and sorted(first.seen) == list(range(COUNT))
    assert stored.settings == SETTINGS and stored.names == tuple(file.name for file in album.files)
    assert stored.checksums == tuple(sha256_of(file) for file in album.files)
    assert {entry.name for entry in path.parent.iterdir()} == {"photographs", "proposals.safetensors"}
    again = compute_stored(path, album, second, SETTINGS)
    assert second.seen == [] and right(again, list(range(COUNT))) and again.settings == SETTINGS
    assert right(read_stored(path), list(range(COUNT)))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_file_does_not_depend_on_the_number_of_threads(album: Album, tmp_path: Path, threads: int) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    compute_stored(one, album, Proposing(), SETTINGS, threads=1)
    compute_stored(other, album, Proposing(), SETTINGS, threads=threads)
    assert one.read_bytes() == other.read_bytes()


def test_a_killed_run_does_not_repeat_the_parts_it_finished(album: Album, path: Path) -> None:
    killed, second = Proposing(fail_at=130), Proposing()
    with pytest.raises(KeyboardInterrupt):
        compute_stored(path, album, killed, SETTINGS, threads=1)
    assert not path.exists()
    stored = compute_stored(path, album, second, SETTINGS, threads=1)
    assert second.seen == list(range(128, COUNT)) and right(stored, list(range(COUNT)))
    assert {entry.name for entry in path.parent.iterdir()} == {"photographs", "proposals.safetensors"}


def test_a_run_killed_before_its_first_part_starts_anew(album: Album, path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        compute_stored(path, album, Proposing(fail_at=3), SETTINGS)
    assert right(compute_stored(path, album, Proposing(), SETTINGS), list(range(COUNT)))


def test_an_image_changed_while_the_run_was_down_is_computed_again(album: Album, path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        compute_stored(path, album, Proposing(fail_at=149), SETTINGS)
    album.files[70].write_text("7")
    second = Proposing()
    stored = compute_stored(path, album, second, SETTINGS, threads=1)
    numbers = [7 if number == 70 else number for number in range(COUNT)]
    assert second.seen == [7, *range(128, COUNT)] and right(stored, numbers)


def test_an_image_changed_since_is_computed_again_and_no_other(album: Album, path: Path) -> None:
    compute_stored(path, album, Proposing(), SETTINGS)
    album.files[2].write_text("9")
    album.files[140].write_text("11")
    second, third = Proposing(), Proposing()
    numbers = [9 if number == 2 else 11 if number == 140 else number for number in range(COUNT)]
    assert right(compute_stored(path, album, second, SETTINGS, threads=1), numbers) and second.seen == [9, 11]
    assert right(compute_stored(path, album, third, SETTINGS), numbers) and third.seen == []
    assert read_stored(path).checksums[2] == sha256_of(album.files[2])


def test_the_bar_counts_every_image_once(album: Album, path: Path) -> None:
    def count(proposing: Proposing) -> ProgressBar:
        with progress_bar(COUNT, "proposals", quiet=True) as bar:
            compute_stored(path, album, proposing, SETTINGS, bar=bar)
        return bar

    with pytest.raises(KeyboardInterrupt):
        count(Proposing(fail_at=100))
    assert count(Proposing()).done == COUNT  # partly from finished parts
    assert count(Proposing()).done == COUNT  # all from the file


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**SETTINGS, "mode": "single"}, "was made with mode = 'fast', now 'single' is asked for; use the old setting"),
        ({**SETTINGS, "ks": [50]}, r"was made with ks = \[50, 100\], now \[50\] is asked for"),
        ({**SETTINGS, "width": 500}, "was made with width = None, now 500 is asked for"),
        ({"mode": "fast", "ks": [50, 100]}, "was made with seed = 0, now None is asked for"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_are_refused(
    album: Album, path: Path, settings: dict[str, Any], message: str, finished: bool
) -> None:
    if finished:
        compute_stored(path, album, Proposing(), SETTINGS)
    else:
        with pytest.raises(KeyboardInterrupt):
            compute_stored(path, album, Proposing(fail_at=100), SETTINGS)
    proposing = Proposing()
    with pytest.raises(InputError, match=message):
        compute_stored(path, album, proposing, settings)
    assert proposing.seen == []


def test_settings_are_compared_as_a_file_gives_them_back(album: Album, path: Path) -> None:
    settings = {"ks": (50, 100), "mode": "fast"}
    proposing = Proposing()
    compute_stored(path, album, Proposing(), settings)
    assert compute_stored(path, album, proposing, settings).settings == {"ks": [50, 100], "mode": "fast"}
    assert proposing.seen == []


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), np.float32(1)])
def test_settings_that_no_file_can_hold_are_refused_before_any_work(album: Album, path: Path, value: object) -> None:
    proposing = Proposing()
    with pytest.raises(InputError, match="settings should be JSON values"):
        compute_stored(path, album, proposing, {"value": value})
    assert proposing.seen == [] and not path.exists()


def test_other_images_are_refused(album: Album, path: Path) -> None:
    compute_stored(path, album, Proposing(), SETTINGS)
    album.files = album.files[:-1]
    with pytest.raises(InputError, match="was made from 150 other images than these 149; use another file"):
        compute_stored(path, album, Proposing(), SETTINGS)
    album.files = [album.files[0], *album.files]
    with pytest.raises(InputError, match="was made from 150 other images than these 150"):
        compute_stored(path, album, Proposing(), SETTINGS)


def test_a_set_of_no_images_is_stored_too(path: Path) -> None:
    empty = Album(path.parent / "none", 0)
    assert len(compute_stored(path, empty, Proposing(), SETTINGS)) == 0 and len(read_stored(path)) == 0


def test_proposals_are_found_by_name(album: Album, path: Path) -> None:
    stored = compute_stored(path, album, Proposing(), SETTINGS)
    found = stored.for_images(["007.img", "003.img", "007.img"])
    assert [same(one, expected(number)) for one, number in zip(found, (7, 3, 7), strict=True)] == [True] * 3
    with pytest.raises(InputError, match=r"lack 2 of 3 images, first 'x\.img'"):
        stored.for_images(["x.img", "003.img", "y.img"])


def test_sources_of_one_file_must_have_the_same_names(path: Path) -> None:
    stored = StoredProposals({}, ("a", "b"), ("0", "1"), (expected(1), Proposals.empty(("elsewhere",))))
    with pytest.raises(InputError, match="should all have the same source names"):
        write_stored(path, stored)
    assert not path.exists()


@pytest.fixture
def small(path: Path) -> Path:
    """A good file of three images, with 1, 2 and 3 boxes."""
    numbers = (1, 2, 3)
    names, checksums = tuple(f"{n}.img" for n in numbers), tuple(f"{n:064d}" for n in numbers)
    write_stored(path, StoredProposals(SETTINGS, names, checksums, tuple(expected(n) for n in numbers)))
    return path


def rewrite(
    path: Path, describe: Callable[[dict[str, Any]], None] | None = None, digest: bool = True, **arrays: Any
) -> None:
    """Writes the file anew with its description and arrays changed; `digest`: with the checksum that fits them."""
    with safe_open(path, "numpy") as file:
        description = json.loads(file.metadata()[KEY])
        kept = {name: file.get_tensor(name) for name in file.keys()} | arrays  # noqa: SIM118 - not a dict
    kept = {name: array for name, array in kept.items() if array is not None}
    if digest:
        data = b"".join(np.ascontiguousarray(kept[name]).tobytes() for name in sorted(kept))
        description["data_sha256"] = hashlib.sha256(data).hexdigest()
    if describe is not None:
        describe(description)
    path.write_bytes(safetensors.numpy.save(kept, {KEY: json.dumps(description)}))


def test_rewriting_without_a_change_changes_nothing(small: Path) -> None:
    rewrite(small)
    assert right(read_stored(small), [1, 2, 3])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"no such file",
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: b"\xff" * 8 + data[8:],
    ],
)
def test_what_is_no_file_of_this_format_is_refused(small: Path, damage: Callable[[bytes], bytes]) -> None:
    small.write_bytes(damage(small.read_bytes()))
    with pytest.raises(DataFormatError, match=r"proposals\.safetensors: cannot be read as stored proposals"):
        read_stored(small)


def test_a_flipped_bit_is_noticed(small: Path) -> None:
    data = small.read_bytes()
    small.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    with pytest.raises(DataFormatError, match="is damaged: its data do not have the checksum"):
        read_stored(small)


def test_foreign_files_are_refused(small: Path, tmp_path: Path) -> None:
    for metadata in (None, {"format": "np"}, {KEY: "7"}):
        small.write_bytes(safetensors.numpy.save({"boxes": np.zeros(1)}, metadata))
        with pytest.raises(DataFormatError, match="is not a file of stored proposals, or of another version"):
            read_stored(small)
    small.write_bytes(safetensors.numpy.save({"boxes": np.zeros(1)}, {KEY: "{"}))
    with pytest.raises(DataFormatError, match="cannot be read as stored proposals"):
        read_stored(small)
    with pytest.raises(DataFormatError, match="cannot be read as stored proposals"):
        read_stored(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"describe": lambda d: d.update(format_version=2)}, "or of another version"),
        ({"describe": lambda d: d.pop("data_sha256")}, "do not have the checksum"),
        ({"boxes": None}, "do not have the checksum"),
        ({"extra": np.zeros(1)}, "do not have the checksum"),
        ({"scores": np.zeros(6, np.float32), "digest": False}, "do not have the checksum"),
        ({"describe": lambda d: d.pop("names")}, "is at odds with itself: 'names'"),
        ({"describe": lambda d: d.pop("settings")}, "is at odds with itself: 'settings'"),
        ({"describe": lambda d: d.update(names=7)}, "is at odds with itself"),
        ({"describe": lambda d: d.update(names=["1.img"])}, "is at odds with itself: 3 counts, 1 names, 3 checksums"),
        ({"describe": lambda d: d.update(sha256=[])}, "is at odds with itself: 3 counts, 3 names, 0 checksums"),
        ({"describe": lambda d: d.update(source_names=["here"])}, "is at odds with itself: source should be in 0..0"),
        ({"counts": np.array([1, 2, 4])}, "is at odds with itself: the counts add up to 7, there are 6 boxes"),
        ({"counts": np.array([8, 2, -4])}, "is at odds with itself"),
        ({"scores": np.zeros(5, np.float32)}, "is at odds with itself"),
        ({"scores": np.arange(6, dtype=np.float32)}, "is at odds with itself: scores should descend"),
        ({"boxes": np.full((6, 4), np.nan, np.float32)}, "is at odds with itself: .* should be finite"),
        ({"boxes": np.zeros((6, 5), np.float32)}, "is at odds with itself: .* should have shape"),
    ],
)
def test_lies_are_refused(small: Path, changes: dict[str, Any], message: str) -> None:
    rewrite(small, **changes)
    with pytest.raises(DataFormatError, match=message) as caught:
        read_stored(small)
    assert caught.value.path == str(small)


def test_a_damaged_file_stops_the_computation_instead_of_being_overwritten(album: Album, path: Path) -> None:
    compute_stored(path, album, Proposing(), SETTINGS)
    damaged = path.read_bytes()[:-5]
    path.write_bytes(damaged)
    proposing = Proposing()
    with pytest.raises(DataFormatError, match="cannot be read"):
        compute_stored(path, album, proposing, SETTINGS)
    assert path.read_bytes() == damaged and proposing.seen == []
