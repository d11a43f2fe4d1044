"""Proposals of a whole data set: computed on all processors, stored in one file that says how, resumed after a kill.

The file is an array file of kind "proposals": `boxes` (N, 4) float32, `scores` (N,) float32, `source` (N,) uint8 and
perhaps `objectness` (N,) float32 of all images one after the other, and `counts` (images,) int64. Its description has
the settings, the id and the SHA-256 of every image, and a fingerprint of the code. While it is being made, finished
parts wait in a folder beside it, `<name>.parts/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import DataFormatError, InputError, ProgressBar, Proposals, sha256_of
from inception_rcnn.structures.array_file import ArrayFile, array_path, read_array_file, write_array_file
from inception_rcnn.structures.dataset import DetectionDataset, check_dataset
from inception_rcnn.structures.errors import as_declared
from inception_rcnn.structures.files import read_with_checksum
from inception_rcnn.structures.jobs import (
    PartedJob,
    Share,
    as_json,
    available_processors,
    check_same_settings,
    checksums_of,
    code_fingerprint,
    differing_setting,
    forget_parts,
    images_per_part,
    leave_parts,
)
from inception_rcnn.structures.progress import StageClock
from inception_rcnn.structures.proposals import proposals_from_arrays, proposals_to_arrays

KIND: Final = "proposals"
IMAGES_PER_PART: Final = 64
Propose = Callable[[NDArray[np.uint8]], Proposals]


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredProposals:
    """The proposals of the images of a set, and how they were made.

    Attributes:
        settings: The method and its parameters, JSON values.
        image_ids: What the data set calls the images, in order.
        checksums: SHA-256 of the image files, in the same order.
        proposals: In the same order.
        code: Fingerprint of the code that made them, see `code_fingerprint`.
    """

    settings: dict[str, Any]
    image_ids: tuple[int | str, ...]
    checksums: tuple[str, ...]
    proposals: tuple[Proposals, ...]
    code: str = ""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_ids)

    def is_of(self, image_ids: Sequence[int | str], checksums: Sequence[str]) -> bool:
        """Return whether these are the proposals of exactly these images, as they are now."""
        return self.image_ids == tuple(image_ids) and self.checksums == tuple(checksums)

    @classmethod
    def joined(cls, parts: Sequence[StoredProposals], settings: Mapping[str, Any], code: str) -> StoredProposals:
        """Return the images of all parts as one set."""
        return cls(
            settings=dict(settings),
            image_ids=tuple(image_id for part in parts for image_id in part.image_ids),
            checksums=tuple(checksum for part in parts for checksum in part.checksums),
            proposals=tuple(one for part in parts for one in part.proposals),
            code=code,
        )


def propose_for_set(
    dataset: DetectionDataset,
    propose: Propose,
    settings: Mapping[str, Any],
    path: str | Path | None = None,
    *,
    bar: ProgressBar | None = None,
    threads: int | None = None,
    clock: StageClock | None = None,
) -> StoredProposals:
    """Return the proposals of every image of a set: read from a file as far as they are there, computed otherwise.

    Images that have changed since are computed again. Parts that older code left are computed again; a finished file
    serves whatever version made it.

    Args:
        dataset: The set.
        propose: Image (H, W, 3) uint8 RGB -> proposals. It runs in several threads at once and should use one itself.
        settings: JSON values that decide what is proposed, such as `Proposer.describe()`; stored, and compared.
        path: The file, *.safetensors, to read and write; None to hold the proposals only.
        bar: Advanced by one per image.
        threads: Images at a time; None: one per processor.
        clock: Adds up the wall-clock seconds of computing, reading the images included, as the stage "proposals".

    Raises:
        InputError: The file, or its unfinished parts, were made with other settings or from other images; the settings
            are not JSON values, what comes out is no proposals, or a value is of another type.
        DataFormatError: The file is damaged.
    """
    check_dataset(dataset, objects=False)
    if threads is not None and as_declared("threads", threads, int) < 1:
        raise InputError(f"threads should be at least 1, or None, got {threads}")
    if path is None:
        return _SetJob(
            dataset, propose, as_json(settings), None, bar, threads or available_processors(), clock
        ).in_memory()
    file = Path(as_declared("path", path, str | Path))
    made = share_in_proposing(dataset, propose, settings, file, Share(), bar=bar, threads=threads, clock=clock)
    assert made is not None  # None is for processes that only help
    return made


def share_in_proposing(
    dataset: DetectionDataset,
    propose: Propose,
    settings: Mapping[str, Any],
    path: Path,
    share: Share,
    *,
    bar: ProgressBar | None = None,
    threads: int | None = None,
    clock: StageClock | None = None,
) -> StoredProposals | None:
    """Do the same as one of several processes that all see the file's folder; None in those that only help.

    Args:
        dataset: The set, the same for all.
        propose: See `propose_for_set`.
        settings: See `propose_for_set`.
        path: The file, *.safetensors.
        share: Which process this is.
        bar: Advanced by one per image.
        threads: Images at a time; None: one per processor.
        clock: See `propose_for_set`.

    Raises:
        InputError, DataFormatError: See `propose_for_set`.
    """
    check_dataset(dataset, objects=False)
    file = array_path(path)
    job = _SetJob(dataset, propose, as_json(settings), file, bar, threads or available_processors(), clock)
    return job.in_file(file, share)


def proposals_from_file(path: str | Path, dataset: DetectionDataset, *, check_images: bool = True) -> list[Proposals]:
    """Return the stored proposals of every image of a set, in its order; the file may hold other images too.

    Images are known by their id and the checksum of their file, wherever they lie.

    Args:
        path: The file.
        dataset: The set.
        check_images: Whether to read every image for its checksum; of several processes, one is enough to do it.

    Raises:
        InputError: An image is not in the file, or was another one when its proposals were stored.
        DataFormatError: The file is damaged, or there is none.
    """
    stored = read_stored_proposals(path)
    rows = {image_id: row for row, image_id in enumerate(stored.image_ids)}
    if lacking := [image_id for image_id in dataset.image_ids if image_id not in rows]:
        raise InputError(
            f"{path} lacks {len(lacking)} of {len(dataset)} images, first {lacking[0]!r}; make the proposals again"
        )
    files = [dataset.path(index) for index in range(len(dataset))] if check_images else []
    for file, image_id, checksum in zip(files, dataset.image_ids, checksums_of(files), strict=check_images):
        if checksum != stored.checksums[rows[image_id]]:
            raise InputError(f"{file} has changed since its proposals were stored in {path}; make them again")
    return [stored.proposals[rows[image_id]] for image_id in dataset.image_ids]


def other_setting(path: str | Path, settings: Mapping[str, Any]) -> str | None:
    """Return a line on the first setting in which stored proposals are not what `settings` propose; None if none is.

    Raises:
        DataFormatError: The file is damaged, or there is none.
    """
    stored, asked = read_stored_proposals(path).settings, as_json(settings)
    by_method = {"method": stored.get("method")}, {"method": asked.get("method")}  # says more than what follows from it
    if (found := differing_setting(*by_method) or differing_setting(stored, asked)) is None:
        return None
    return f"{path} was made with {found[0]} = {found[1]!r}, not {found[2]!r}"


def write_stored_proposals(path: str | Path, stored: StoredProposals) -> None:
    """Write the file, whole or not at all.

    Raises:
        InputError: The proposals have different sources, or some have objectness and others not.
    """
    arrays, source_names = proposals_to_arrays(stored.proposals)
    description = {
        "settings": stored.settings,
        "image_ids": stored.image_ids,
        "sha256": stored.checksums,
        "source_names": source_names,
        "code": stored.code,
    }
    write_array_file(path, KIND, description, arrays)


def read_stored_proposals(path: str | Path) -> StoredProposals:
    """Return the proposals in a file, checked.

    Raises:
        DataFormatError: Not such a file, damaged, or at odds with itself.
    """
    file = read_array_file(path, KIND)
    try:
        return _assembled(file)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise DataFormatError(f"is at odds with itself: {error}", path=path) from error


def _assembled(file: ArrayFile) -> StoredProposals:
    """Return the proposals of each image.

    Raises:
        InputError, KeyError, TypeError, ValueError: Description and arrays do not fit each other.
    """
    known, proposals = file.description, proposals_from_arrays(file.arrays, file.texts("source_names"))
    image_ids, checksums = file.image_ids(), file.texts("sha256")
    if not len(proposals) == len(image_ids) == len(checksums):
        raise InputError(f"{len(proposals)} counts, {len(image_ids)} images, {len(checksums)} checksums")
    return StoredProposals(
        settings=dict(known["settings"]),
        image_ids=image_ids,
        checksums=checksums,
        proposals=proposals,
        code=str(known["code"]),
    )


def _parts_folder(path: Path) -> Path:
    return path.with_name(path.name + ".parts")


class _SetJob:
    """The proposals of one set, in parts; see `propose_for_set`."""

    def __init__(
        self,
        dataset: DetectionDataset,
        propose: Propose,
        settings: dict[str, Any],
        path: Path | None,
        bar: ProgressBar | None,
        threads: int,
        clock: StageClock | None,
    ) -> None:
        self.dataset = dataset
        self.image_ids = tuple(dataset.image_ids)
        self.settings = settings
        self.threads = threads
        self.code = code_fingerprint()
        self.earlier: dict[tuple[int | str, str], Proposals] = {}  # by id and checksum, made by this code
        self._path = path
        self._propose = propose
        self._bar = bar
        self._clock = clock or StageClock()

    def in_memory(self) -> StoredProposals:
        """Compute all, and hold it only."""
        step = images_per_part(len(self.dataset), IMAGES_PER_PART)
        parts = [
            self._compute(range(start, min(start + step, len(self.dataset))))
            for start in range(0, len(self.dataset), step)
        ]
        return StoredProposals.joined(parts, self.settings, self.code)

    def in_file(self, path: Path, share: Share) -> StoredProposals | None:
        """Take what the file has, compute the rest, and write the file; None in a process that only helps."""
        if path.exists():
            stored = self._checked(read_stored_proposals(path), path)
            checksums = self._checksums(range(len(self.dataset)))
            if stored.is_of(self.image_ids, checksums):
                if not share.leads:
                    leave_parts(_parts_folder(path), share)
                    return None
                forget_parts(_parts_folder(path), share)  # a kill may have come just before
                self._advance(len(stored))
                return stored
            if stored.code == self.code:
                self._remember(stored)
        job = PartedJob(
            folder=_parts_folder(path),
            items=len(self.dataset),
            per_part=images_per_part(len(self.dataset), IMAGES_PER_PART),
            compute=self._compute,
            write=write_stored_proposals,
            read=lambda part: self._checked(read_stored_proposals(part), part),
            is_current=self._is_current,
            is_ours=self._is_ours,
            advance=self._advance,
            skip=self._skip,
        )
        parts = job.run(share)
        if parts is None:
            return None
        whole = StoredProposals.joined(list(parts), self.settings, self.code)
        write_stored_proposals(path, whole)
        job.forget(share)
        return whole

    def _checked(self, stored: StoredProposals, path: Path) -> StoredProposals:
        """Return what was read from `path` if it was made as is asked for now, from images of this set."""
        check_same_settings(path, stored.settings, self.settings)
        if not set(stored.image_ids) <= set(self.image_ids) or (
            path == self._path and len(stored) != len(self.dataset)
        ):
            raise InputError(
                f"{path} was made from {len(stored)} other images than these {len(self.dataset)}; use another file"
            )
        return stored

    def _compute(self, rows: range) -> StoredProposals:
        """Return the proposals of some images, several at a time."""

        def one(row: int) -> tuple[str, Proposals]:
            if (known := self._known(row)) is not None:
                return known
            checksum, image = self._read(row)
            made = self._propose(image)
            if not isinstance(made, Proposals):
                raise InputError(f"what proposes should return Proposals, as selective_search does, got {made!r:.200}")
            return checksum, made

        found = []
        with self._clock.stage("proposals"), ThreadPoolExecutor(self.threads) as pool:
            for one_found in pool.map(one, rows):
                found.append(one_found)
                self._advance(1)
        return StoredProposals(
            settings=self.settings,
            image_ids=tuple(self.image_ids[row] for row in rows),
            checksums=tuple(checksum for checksum, _ in found),
            proposals=tuple(proposals for _, proposals in found),
            code=self.code,
        )

    def _known(self, row: int) -> tuple[str, Proposals] | None:
        """Return the checksum of an image and what was found in it earlier, if anything was."""
        if not self.earlier:
            return None
        checksum = sha256_of(self.dataset.path(row))
        found = self.earlier.get((self.image_ids[row], checksum))
        return None if found is None else (checksum, found)

    def _read(self, row: int) -> tuple[str, NDArray[np.uint8]]:
        """Return the checksum of an image, where a file will say it, and the image that has it."""
        if self._path is None:
            return "", self.dataset.load_image(row)
        return read_with_checksum(self.dataset.path(row), lambda: self.dataset.load_image(row))

    def _is_ours(self, part: StoredProposals, rows: range) -> bool:
        """Return whether a part was made by this code from images called so."""
        return part.code == self.code and part.image_ids == self.image_ids[rows.start : rows.stop]

    def _is_current(self, part: StoredProposals, rows: range) -> bool:
        """Return whether a part was made by this code from these images."""
        if part.code != self.code:
            return False
        self._remember(part)  # the images in it that did not change need not be done again
        return part.is_of([self.image_ids[row] for row in rows], self._checksums(rows))

    def _remember(self, stored: StoredProposals) -> None:
        known = zip(stored.image_ids, stored.checksums, stored.proposals, strict=True)
        self.earlier |= {(image_id, checksum): found for image_id, checksum, found in known}

    def _checksums(self, rows: range) -> tuple[str, ...]:
        return checksums_of([self.dataset.path(row) for row in rows], self.threads)

    def _advance(self, count: int) -> None:
        if self._bar is not None:
            self._bar.advance(count)

    def _skip(self, count: int) -> None:
        if self._bar is not None:
            self._bar.skip(count)
