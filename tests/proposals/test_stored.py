"""Proposals of a set in one file: computed once, resumed, checked, recomputed where a photograph changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from album import Album
from numpy.typing import NDArray

from inception_rcnn.proposals import ProposalSettings, Proposer
from inception_rcnn.proposals.stored import (
    KIND,
    StoredProposals,
    other_setting,
    proposals_from_file,
    propose_for_set,
    read_stored_proposals,
    write_stored_proposals,
)
from inception_rcnn.structures import DataFormatError, InputError, ProgressBar, Proposals, progress_bar, sha256_of
from inception_rcnn.structures.array_file import read_array_file, write_array_file

SETTINGS: dict[str, Any] = {"mode": "fast", "ks": [50, 100], "seed": 0}
COUNT = 150  # three parts: 64, 64 and 22 images


class Proposing:
    """Proposes n % 4 boxes for the photograph of number n; remembers which it saw; fails where it is told to."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.seen: list[int] = []
        self.fail_at = fail_at
        self._lock = threading.Lock()

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
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
    return Album(tmp_path / "photographs", COUNT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to store; nothing there yet."""
    return tmp_path / "proposals.safetensors"


def test_the_file_may_be_named_by_a_text(tmp_path: Path) -> None:
    album, path = Album(tmp_path / "a", 3), tmp_path / "p.safetensors"
    stored = propose_for_set(album, Proposing(), SETTINGS, str(path))
    assert path.is_file() and propose_for_set(album, Proposing(fail_at=0), SETTINGS, path).image_ids == stored.image_ids


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"path": "p.json"}, r"files of arrays are named \*.safetensors"),
        ({"path": 5}, "path should be a text or Path, got 5"),
        ({"threads": 0}, "threads should be at least 1, or None, got 0"),
        ({"threads": 1.5}, r"threads should be a whole number, got 1\.5"),
        ({"dataset": ["coco"]}, "dataset should be a data set, .* a list lacks image_ids"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    whole: dict[str, Any] = {"dataset": Album(tmp_path / "a", 3), "propose": Proposing(fail_at=0), "settings": SETTINGS}
    with pytest.raises(InputError, match=message):
        propose_for_set(**whole | given)


@pytest.mark.parametrize("found", [None, [[0, 0, 5, 5]], np.zeros((1, 4), np.float32)])
def test_a_function_that_returns_no_proposals_is_named(tmp_path: Path, found: Any) -> None:
    with pytest.raises(InputError, match="what proposes should return Proposals, as selective_search does, got"):
        propose_for_set(Album(tmp_path / "a", 3), lambda image: found, SETTINGS, tmp_path / "p.safetensors")


def test_all_images_are_computed_once_and_read_afterwards(album: Album, path: Path) -> None:
    first, second = Proposing(), Proposing()
    stored = propose_for_set(album, first, SETTINGS, path)
    assert right(stored, list(range(COUNT))) and sorted(first.seen) == list(range(COUNT))
    assert stored.settings == SETTINGS and stored.image_ids == tuple(album.image_ids)
    assert stored.checksums == tuple(sha256_of(file) for file in album.files)
    assert {entry.name for entry in path.parent.iterdir()} == {"photographs", "proposals.safetensors"}
    again = propose_for_set(album, second, SETTINGS, path)
    assert second.seen == [] and right(again, list(range(COUNT))) and again.settings == SETTINGS
    assert right(read_stored_proposals(path), list(range(COUNT)))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_file_does_not_depend_on_the_number_of_threads(album: Album, tmp_path: Path, threads: int) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    propose_for_set(album, Proposing(), SETTINGS, one, threads=1)
    propose_for_set(album, Proposing(), SETTINGS, other, threads=threads)
    assert one.read_bytes() == other.read_bytes()


def test_a_killed_run_does_not_repeat_the_parts_it_finished(album: Album, path: Path) -> None:
    killed, second = Proposing(fail_at=130), Proposing()
    with pytest.raises(KeyboardInterrupt):
        propose_for_set(album, killed, SETTINGS, path, threads=1)
    assert not path.exists()
    stored = propose_for_set(album, second, SETTINGS, path, threads=1)
    assert second.seen == list(range(128, COUNT)) and right(stored, list(range(COUNT)))
    assert {entry.name for entry in path.parent.iterdir()} == {"photographs", "proposals.safetensors"}


def test_a_run_killed_before_its_first_part_starts_anew(album: Album, path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        propose_for_set(album, Proposing(fail_at=3), SETTINGS, path)
    assert right(propose_for_set(album, Proposing(), SETTINGS, path), list(range(COUNT)))


def test_an_image_changed_while_the_run_was_down_is_computed_again(album: Album, path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        propose_for_set(album, Proposing(fail_at=149), SETTINGS, path)
    album.files[70].write_text("7")
    second = Proposing()
    stored = propose_for_set(album, second, SETTINGS, path, threads=1)
    numbers = [7 if number == 70 else number for number in range(COUNT)]
    assert second.seen == [7, *range(128, COUNT)] and right(stored, numbers)


def test_an_image_changed_since_is_computed_again_and_no_other(album: Album, path: Path) -> None:
    propose_for_set(album, Proposing(), SETTINGS, path)
    album.files[2].write_text("9")
    album.files[140].write_text("11")
    second, third = Proposing(), Proposing()
    numbers = [9 if number == 2 else 11 if number == 140 else number for number in range(COUNT)]
    assert right(propose_for_set(album, second, SETTINGS, path, threads=1), numbers) and second.seen == [9, 11]
    assert right(propose_for_set(album, third, SETTINGS, path), numbers) and third.seen == []
    assert read_stored_proposals(path).checksums[2] == sha256_of(album.files[2])


def test_the_bar_counts_every_image_once(album: Album, path: Path) -> None:
    def count(proposing: Proposing) -> ProgressBar:
        with progress_bar(COUNT, "proposals", quiet=True) as bar:
            propose_for_set(album, proposing, SETTINGS, path, bar=bar)
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
        propose_for_set(album, Proposing(), SETTINGS, path)
    else:
        with pytest.raises(KeyboardInterrupt):
            propose_for_set(album, Proposing(fail_at=100), SETTINGS, path)
    proposing = Proposing()
    with pytest.raises(InputError, match=message):
        propose_for_set(album, proposing, settings, path)
    assert proposing.seen == []


def test_settings_are_compared_as_a_file_gives_them_back(album: Album, path: Path) -> None:
    settings = {"ks": (50, 100), "mode": "fast"}
    proposing = Proposing()
    propose_for_set(album, Proposing(), settings, path)
    assert propose_for_set(album, proposing, settings, path).settings == {"ks": [50, 100], "mode": "fast"}
    assert proposing.seen == []


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), np.float32(1)])
def test_settings_that_no_file_can_hold_are_refused_before_any_work(album: Album, path: Path, value: object) -> None:
    proposing = Proposing()
    with pytest.raises(InputError, match="settings should be JSON values"):
        propose_for_set(album, proposing, {"value": value}, path)
    assert proposing.seen == [] and not path.exists()


def test_other_images_are_refused(album: Album, path: Path) -> None:
    propose_for_set(album, Proposing(), SETTINGS, path)
    album.files = album.files[:-1]
    with pytest.raises(InputError, match="was made from 150 other images than these 149; use another file"):
        propose_for_set(album, Proposing(), SETTINGS, path)
    album.files = [album.files[0], *album.files]
    with pytest.raises(InputError, match="was made from 150 other images than these 150"):
        propose_for_set(album, Proposing(), SETTINGS, path)


def test_a_set_of_no_images_is_stored_too(path: Path) -> None:
    empty = Album(path.parent / "none", 0)
    assert len(propose_for_set(empty, Proposing(), SETTINGS, path)) == 0 and len(read_stored_proposals(path)) == 0


def test_a_file_answers_for_any_of_its_images_by_their_ids(album: Album, path: Path) -> None:
    propose_for_set(album, Proposing(), SETTINGS, path)
    album.files = [album.files[7], album.files[3]]
    found = proposals_from_file(path, album)
    assert [same(one, expected(number)) for one, number in zip(found, (7, 3), strict=True)] == [True, True]
    album.files[1].write_text("4")
    with pytest.raises(InputError, match=r"003\.img has changed since its proposals were stored"):
        proposals_from_file(str(path), album)
    assert len(proposals_from_file(path, album, check_images=False)) == 2  # another process looks at the photographs
    other = Album(path.parent / "other", 2)
    with pytest.raises(InputError, match=r"lacks 2 of 2 images, first 'other/000'"):
        proposals_from_file(path, other)


def test_images_of_equal_names_in_two_folders_are_two(album: Album, path: Path) -> None:
    """Before, a file's name alone decided: the second photograph "had changed"."""
    other = Album(path.parent / "other", 3)
    for number, file in enumerate(other.files):
        file.write_text(str(9 - number))
    album.files = [*album.files[:3], *other.files]
    assert right(propose_for_set(album, Proposing(), SETTINGS, path), [0, 1, 2, 9, 8, 7])
    found = proposals_from_file(path, album)
    assert [same(one, expected(n)) for one, n in zip(found, (0, 1, 2, 9, 8, 7), strict=True)] == [True] * 6


def test_parts_that_a_kill_at_the_very_end_left_are_removed(album: Album, path: Path) -> None:
    propose_for_set(album, Proposing(), SETTINGS, path)
    left = path.with_name(path.name + ".parts")
    left.mkdir()
    (left / "00000000.safetensors").touch()
    propose_for_set(album, Proposing(), SETTINGS, path)
    assert not left.exists()


def test_nothing_is_written_without_a_path(album: Album, path: Path) -> None:
    with progress_bar(COUNT, "proposals", quiet=True) as bar:
        stored = propose_for_set(album, Proposing(), SETTINGS, bar=bar)
    assert right(stored, list(range(COUNT))) and bar.done == COUNT
    assert [entry.name for entry in path.parent.iterdir()] == ["photographs"]


def test_parts_of_older_code_are_computed_again(album: Album, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inception_rcnn.proposals.stored.code_fingerprint", lambda: "before")
    with pytest.raises(KeyboardInterrupt):
        propose_for_set(album, Proposing(fail_at=130), SETTINGS, path)
    monkeypatch.undo()
    second = Proposing()
    assert right(propose_for_set(album, second, SETTINGS, path, threads=1), list(range(COUNT)))
    assert second.seen == list(range(COUNT))


def test_a_finished_file_of_older_code_serves_while_no_image_changed(
    album: Album, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inception_rcnn.proposals.stored.code_fingerprint", lambda: "before")
    propose_for_set(album, Proposing(), SETTINGS, path)
    monkeypatch.undo()
    second, third = Proposing(), Proposing()
    propose_for_set(album, second, SETTINGS, path)
    assert second.seen == []
    album.files[0].write_text("5")
    propose_for_set(album, third, SETTINGS, path)
    assert len(third.seen) == COUNT  # one file does not mix what two versions proposed


def test_objectness_is_stored_where_all_have_it(path: Path) -> None:
    known = Proposals([[0, 0, 5, 5], [1, 1, 5, 5]], [2, 1], objectness=np.array([0.25, 0.5], np.float32))
    ids, checksums = ("a", "b"), ("0", "1")
    write_stored_proposals(
        path, StoredProposals(settings={}, image_ids=ids, checksums=checksums, proposals=(known, known[:1]))
    )
    first, second = read_stored_proposals(path).proposals
    assert first.objectness is not None and second.objectness is not None
    assert first.objectness.tolist() == [0.25, 0.5] and second.objectness.tolist() == [0.25]
    mixed = (known, Proposals([[0, 0, 5, 5]], [1]))
    with pytest.raises(InputError, match="should all have objectness, or none of them"):
        write_stored_proposals(path, StoredProposals(settings={}, image_ids=ids, checksums=checksums, proposals=mixed))


def test_the_proposals_of_a_proposer_are_its_own(path: Path) -> None:
    proposer = Proposer(ProposalSettings(source="selective-search", width=100))
    made = proposer.describe()
    write_stored_proposals(path, StoredProposals(settings=made, image_ids=(), checksums=(), proposals=()))
    assert other_setting(path, made) is None
    wider = Proposer(ProposalSettings(source="selective-search", width=200, seed=1))
    assert other_setting(path, wider.describe()) == f"{path} was made with seed = 0, not 1"
    edges = {**made, "method": "edge boxes", "alpha": 0.65}
    write_stored_proposals(path, StoredProposals(settings=edges, image_ids=(), checksums=(), proposals=()))
    assert other_setting(path, made) == f"{path} was made with method = 'edge boxes', not 'selective-search'"


def test_sources_of_one_file_must_have_the_same_names(path: Path) -> None:
    proposals = (expected(1), Proposals.ordered([[0, 0, 9, 9]], [1], (), ("elsewhere",)))
    stored = StoredProposals(settings={}, image_ids=("a", "b"), checksums=("0", "1"), proposals=proposals)
    with pytest.raises(InputError, match="should all have the same source names"):
        write_stored_proposals(path, stored)
    assert not path.exists()


def test_an_image_without_proposals_has_no_source_and_no_objectness(path: Path) -> None:
    proposals = (Proposals.ordered([[0, 0, 9, 9]], [1], (), ("here",), [0.5]), Proposals.empty())
    write_stored_proposals(
        path, StoredProposals(settings={}, image_ids=(1, 2), checksums=("", ""), proposals=proposals)
    )
    first, second = read_stored_proposals(path).proposals
    assert (len(first), len(second), first.source_names) == (1, 0, ("here",))
    assert first.objectness is not None and first.objectness.tolist() == [0.5]


@pytest.fixture
def small(path: Path) -> Path:
    """A good file of three images, with 1, 2 and 3 boxes."""
    numbers = (1, 2, 3)
    write_stored_proposals(
        path,
        StoredProposals(
            settings=SETTINGS,
            image_ids=tuple(f"{n}.img" for n in numbers),
            checksums=tuple(f"{n:064d}" for n in numbers),
            proposals=tuple(expected(n) for n in numbers),
        ),
    )
    return path


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
    with pytest.raises(
        DataFormatError, match=r"proposals\.safetensors: is (not a safetensors file|damaged|empty|cut off)"
    ):
        read_stored_proposals(small)


@pytest.mark.parametrize(
    ("describe", "arrays", "message"),
    [
        ({"image_ids": None}, {}, "'image_ids'"),
        ({"settings": None}, {}, "'settings'"),
        ({"image_ids": 7}, {}, "is at odds with itself"),
        ({"image_ids": [[7]]}, {}, "image_ids should be whole numbers or texts"),
        ({"source_names": [None]}, {}, "source_names should be texts"),
        ({"image_ids": ["1.img"]}, {}, "3 counts, 1 images, 3 checksums"),
        ({"sha256": []}, {}, "3 counts, 3 images, 0 checksums"),
        ({"source_names": ["here"]}, {}, "source should be in 0..0"),
        ({}, {"boxes": None}, "it has the arrays counts, scores, source"),
        ({}, {"extra": np.zeros(1)}, "it has the arrays boxes, counts, extra, scores, source"),
        ({}, {"counts": np.array([1, 2, 4])}, "the counts add up to 7, there are 6 boxes"),
        ({}, {"counts": np.array([8, 2, -4])}, "counts should be whole numbers, 0 or more"),
        ({}, {"scores": np.zeros(5, np.float32)}, "is at odds with itself"),
        ({}, {"scores": np.arange(6, dtype=np.float32)}, "scores should descend"),
        ({}, {"objectness": np.full(6, 1.5, np.float32)}, "objectness"),
        ({}, {"boxes": np.full((6, 4), np.nan, np.float32)}, "should be finite"),
        ({}, {"boxes": np.zeros((6, 5), np.float32)}, "should have shape"),
    ],
)
def test_lies_are_refused(small: Path, describe: dict[str, Any], arrays: dict[str, Any], message: str) -> None:
    file = read_array_file(small, KIND)
    description = {name: value for name, value in (file.description | describe).items() if value is not None}
    kept = {name: array for name, array in (file.arrays | arrays).items() if array is not None}
    write_array_file(small, KIND, description, kept)
    with pytest.raises(DataFormatError, match=f"is at odds with itself.*{message}|{message}") as caught:
        read_stored_proposals(small)
    assert caught.value.path == str(small)


def test_a_damaged_file_stops_the_computation_instead_of_being_overwritten(album: Album, path: Path) -> None:
    propose_for_set(album, Proposing(), SETTINGS, path)
    damaged = path.read_bytes()[:-5]
    path.write_bytes(damaged)
    proposing = Proposing()
    with pytest.raises(DataFormatError, match=r"is (not|damaged)"):
        propose_for_set(album, proposing, SETTINGS, path)
    assert path.read_bytes() == damaged and proposing.seen == []
