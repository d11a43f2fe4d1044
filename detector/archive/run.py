"""What an archive's run is, how it goes on, and its engine on one machine.

    begin_run --> ArchiveRun: the pieces (written down in the folder of the results), and those that have no file yet
      Photograph --search--> Searched --found_in--> FoundInPhotograph --keep_whole_pieces--> part-00000042.parquet

A piece's file is written when all of its photographs are done, so whatever is killed has to do again what it had not
written, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.archive.manifest import Manifest, drafted
from inception_rcnn.datasets.archive.shards import (
    CODE,
    RUN,
    FoundInPhotograph,
    RunDescription,
    check_no_parts,
    outdated_pieces,
    read_run,
    write_shard,
)
from inception_rcnn.datasets.archive.sources import Photograph, Piece
from inception_rcnn.datasets.archive.storage import Location
from inception_rcnn.detector.dataset_inference import describe_run
from inception_rcnn.detector.pipeline import Detector, PreparedImage
from inception_rcnn.proposals.proposer import Proposer
from inception_rcnn.proposals.search.selective_search import selective_search
from inception_rcnn.structures import ImageError, InputError, Proposals, load_image
from inception_rcnn.structures.ahead import run_ahead
from inception_rcnn.structures.jobs import as_json, code_fingerprint

Row = tuple[int, int, FoundInPhotograph]
"""Piece, place in it, what was found there."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ArchiveRun:
    """An archive, the detector that looks at it, and the folder of the results.

    Attributes:
        detector: With the settings that are asked for.
        manifest: The pieces.
        description: What the folder says of the results.
        missing: The pieces that have no file yet, or one that is older than a photograph.
        stamps: Of each piece; see `Piece`.
        failed: Photographs that could not be read, in the files that are there.
    """

    detector: Detector
    manifest: Manifest
    description: RunDescription
    missing: tuple[int, ...]
    stamps: Sequence[str]
    failed: int = 0

    @property
    def folder(self) -> Location:
        """The folder of the results."""
        return self.manifest.folder


def begin_run(source: str, pieces: Iterable[Piece], folder: str, detector: Detector) -> ArchiveRun:
    """Return the run of a detector over an archive, begun or to be gone on with.

    Args:
        source: What the archive is called.
        pieces: Its photographs; see `pieces_of`.
        folder: Of the results, a path or a URI; made if need be.
        detector: One of `load_detector` with proposals of its own, with the settings that are asked for.

    Raises:
        InputError: The folder has results of other photographs, weights, settings or code, or such that do not say of
            what; or there is no photograph.
    """
    place = Location(folder)
    if place.exists() and not place.is_folder():
        raise InputError(f"{folder} is a file; the results of an archive go into a folder")
    settings = archive_settings(detector)
    with drafted(pieces) as draft:
        asked = RunDescription(
            {"source": source, **settings, "pieces_sha256": draft.checksum},
            detector.class_names,
            "+".join(detector.weights),
            draft.pieces,
            draft.photographs,
        )
        if place.within(RUN).exists():
            read_run(place).check_same(place, asked)
        else:
            check_no_parts(place)
            draft.write(place)
            asked.write(place)
        manifest = draft.in_folder(place)
    missing, failed = outdated_pieces(place, draft.stamps)
    return ArchiveRun(
        detector=detector,
        manifest=manifest,
        description=asked,
        missing=tuple(missing),
        stamps=draft.stamps,
        failed=failed,
    )


def archive_settings(detector: Detector) -> dict[str, Any]:
    """Return everything that decides what a detector finds in a photograph, as JSON values.

    Raises:
        InputError: Its proposals are made by something that does not say how.
    """
    return as_json(describe_run(detector, detector.weights, None) | {CODE: code_fingerprint()})


@dataclass(frozen=True, eq=False)
class Searched:
    """A photograph that was read and searched, or what is wrong with it; plain values that travel between machines.

    Attributes:
        name: What the archive calls it.
        sha256: Of its bytes; None where they could not be read.
        pixels: (H, W, 3) uint8 RGB; empty where it could not be decoded.
        boxes: (N, 4) float32 of selective search, best first.
        scores: (N,) float32.
        error: What is wrong.
    """

    name: str
    sha256: str | None
    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    error: str | None = None

    def prepared(self, *, searches: bool) -> PreparedImage:
        """Return it as the detector takes it."""
        found = Proposals(self.boxes, self.scores) if searches else None
        return PreparedImage(image=self.pixels, searched=found)


def search_options(detector: Detector) -> dict[str, Any] | None:
    """Return how the detector searches a photograph; None: it does not.

    Raises:
        InputError: Its proposals are made by something else.
    """
    propose = detector.propose
    if not isinstance(propose, Proposer):
        raise InputError(f"an archive needs a detector of load_detector; this one proposes by {propose}")
    return None if propose.settings.source == "multibox" else propose.settings.search_options()


def search(photograph: Photograph, options: dict[str, Any] | None, threads: int | None = None) -> Searched:
    """Return a photograph decoded and searched, or what is wrong with it; needs no network.

    Args:
        photograph: As it lies.
        options: Of `selective_search`; None: it is not searched.
        threads: Of the search; None: all processors.
    """
    no_boxes, no_scores, no_pixels = (
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros((0, 0, 3), np.uint8),
    )
    if photograph.data is None:
        return Searched(photograph.name, None, no_pixels, no_boxes, no_scores, photograph.error)
    checksum = hashlib.sha256(photograph.data).hexdigest()
    try:
        pixels = load_image(photograph.data)
    except ImageError as error:
        message = f"{photograph.name}: {error}"
        return Searched(photograph.name, checksum, no_pixels, no_boxes, no_scores, message)
    if options is None:
        return Searched(photograph.name, checksum, pixels, no_boxes, no_scores)
    found = selective_search(pixels, threads=threads, **options)
    return Searched(photograph.name, checksum, pixels, found.boxes, found.scores)


def found_in(detector: Detector, searched: Searched, *, searches: bool) -> FoundInPhotograph:
    """Return the row of a photograph."""
    if searched.error is not None:
        return FoundInPhotograph.failed(searched.name, searched.sha256, searched.error)
    found = detector(searched.prepared(searches=searches))
    height, width = searched.pixels.shape[:2]
    return FoundInPhotograph.of(searched.name, searched.sha256 or "", found, (width, height))


def detect_locally(run: ArchiveRun, *, workers: int | None = None) -> Iterator[Row]:
    """Yield what is found in the missing pieces, by this process; the next photographs are searched meanwhile.

    Args:
        run: What is to be done.
        workers: Threads that work ahead; None: as suits this machine.
    """
    options = search_options(run.detector)
    workers, threads = run.detector.workers_ahead(workers)

    def photographs() -> Iterator[tuple[int, int, Photograph]]:
        for number in run.missing:
            for place, photograph in enumerate(run.manifest.piece(number).photographs()):
                yield number, place, photograph

    def prepare(one: tuple[int, int, Photograph]) -> tuple[int, int, Searched]:
        return one[0], one[1], search(one[2], options, threads)

    with closing(run_ahead(prepare, photographs(), workers=workers)) as ready:
        for done in ready:
            number, place, searched = done.result()
            yield number, place, found_in(run.detector, searched, searches=options is not None)


def keep_whole_pieces(
    run: ArchiveRun, rows: Iterable[Row], done: Callable[[FoundInPhotograph], None] = lambda row: None
) -> None:
    """Write each piece's file as soon as all of its photographs are done, whatever the order they come in.

    Args:
        run: What is to be done.
        rows: Of the missing pieces.
        done: Is told each row.

    Raises:
        OSError: The disk is full, and so on.
    """
    waiting: dict[int, dict[int, FoundInPhotograph]] = {}
    sizes: dict[int, int] = {}
    for number, place, row in rows:
        of_piece = waiting.setdefault(number, {})
        of_piece[place] = row
        done(row)
        if sizes.setdefault(number, len(run.manifest.piece(number))) == len(of_piece):
            in_order = [of_piece[place] for place in sorted(of_piece)]
            write_shard(run.folder, number, in_order, run.description, run.stamps[number])
            del waiting[number], sizes[number]
