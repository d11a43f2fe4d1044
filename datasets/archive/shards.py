"""What was found in an archive: a folder with a Parquet file for each piece, and one that says how it was made.

    run.json                 version, settings, classes, the archive, how many pieces and photographs
    part-00000042.parquet    a row for each photograph of piece 42, in order

Columns: `image` (what the archive calls it), `sha256`, `width`, `height`, `boxes` (lists of x1, y1, x2, y2 in pixels,
x2 and y2 exclusive), `scores`, `labels` (classes by name), best first; `error` (what was wrong with the photograph,
else null), `model` and `settings` (JSON; `arithmetic` in it is that of the process which looked at the photograph). The
file's own metadata have the stamp of the piece, by which it is seen that a photograph has changed since.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.archive.storage import Location, UnreachableError, parquet_library
from inception_rcnn.structures import DataFormatError, Detections, InputError
from inception_rcnn.structures.ahead import run_ahead
from inception_rcnn.structures.jobs import as_json, check_same_settings

RUN: Final = "run.json"
CODE: Final = "code"
"""The setting that says which code found what is there."""
ARITHMETIC: Final = "arithmetic"
"""The setting that says on what kind of device, and to how many digits."""
_FORMAT: Final = "inception-rcnn archive"
_VERSION: Final = 1
_STAMP: Final = b"inception_rcnn.stamp"
_PART: Final = re.compile(r"part-\d{8}\.parquet")
_MOST_PIECES: Final = 10**7  # more files than anyone has in a folder
_ASKED_AT_ONCE: Final = 16  # parts; of a bucket, each is waited for


@dataclass(frozen=True, eq=False)
class FoundInPhotograph:
    """A row: what was found in a photograph, or what is wrong with it.

    Attributes:
        image: What the archive calls it.
        sha256: Of its bytes; None where they could not be read.
        size: Width and height in pixels; None where they are not known.
        boxes: (N, 4) float32 x1 y1 x2 y2, best first.
        scores: (N,) float32.
        labels: N names of classes.
        error: What is wrong.
        arithmetic: Of the process that looked; None: that of the run's description.
    """

    image: str
    sha256: str | None
    size: tuple[int, int] | None
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]
    error: str | None = None
    arithmetic: str | None = None

    @classmethod
    def of(cls, image: str, sha256: str, found: Detections, size: tuple[int, int]) -> FoundInPhotograph:
        """Return the row of a photograph that was looked at."""
        return cls(image, sha256, size, found.boxes, found.scores, tuple(found.names()))

    @classmethod
    def failed(cls, image: str, sha256: str | None, error: str) -> FoundInPhotograph:
        """Return the row of a photograph that could not be read."""
        return cls(image, sha256, None, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (), error)


@dataclass(frozen=True)
class RunDescription:
    """How an archive's results were or are made.

    Attributes:
        settings: JSON values that decide what is found, and where photographs are from.
        class_names: The classes that the detector knows.
        model: The weights' names.
        pieces: How many pieces there are.
        photographs: In all of them.
    """

    settings: dict[str, Any]
    class_names: tuple[str, ...]
    model: str
    pieces: int
    photographs: int

    def write(self, folder: Location) -> None:
        """Write it into the folder of the results."""
        values = {
            "format": _FORMAT,
            "version": _VERSION,
            "settings": as_json(self.settings),
            "class_names": list(self.class_names),
            "model": self.model,
            "pieces": self.pieces,
            "photographs": self.photographs,
        }
        folder.within(RUN).write(json.dumps(values, indent=2).encode() + b"\n")

    def check_same(self, folder: Location, asked: RunDescription) -> None:
        """Raise unless this, read from a folder, was made as is asked for.

        Raises:
            InputError: It is of other photographs, settings or weights; the text names one.
        """
        theirs, ours = as_json(self.settings), as_json(asked.settings)
        name, of_pieces = folder.within(RUN).name, "pieces_sha256"
        same_pieces = theirs.pop(of_pieces, None) == ours.pop(of_pieces, None)
        if theirs.pop(CODE, None) != ours.pop(CODE, None):
            raise InputError(f"{name} was begun by another version of this package; use that one, or another folder")
        check_same_settings(name, flat_settings(theirs), flat_settings(ours))
        check_same_settings(name, {"classes": list(self.class_names)}, {"classes": list(asked.class_names)})
        if not same_pieces:
            raise InputError(
                f"the photographs are not those that {folder.name} was begun with ({self.photographs} then, "
                f"{asked.photographs} now), or come in other pieces; name another folder, or a list of the new ones"
            )


def flat_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings within settings as "outer.inner", so that a difference is named shortly.

    >>> flat_settings({"proposals": {"width": 500}, "seed": 0})
    {'proposals.width': 500, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": one for key, one in flat_settings(value).items()})
        else:
            flat[name] = value
    return flat


def read_run(folder: Location) -> RunDescription:
    """Return how the results in a folder were made.

    Raises:
        InputError: There are none.
        DataFormatError: The file that says so is damaged or of another version.
    """
    file = folder.within(RUN)
    data = file.read()
    try:
        values = json.loads(data)
        if values["format"] != _FORMAT or values["version"] != _VERSION:
            raise ValueError(f"it is {values['format']!r:.60} of version {values['version']!r:.20}")
        names = tuple(map(str, values["class_names"]))
        counts = int(values["pieces"]), int(values["photographs"])
        if not 0 <= counts[0] <= _MOST_PIECES:
            raise ValueError(f"{counts[0]:.3g} pieces, and {_MOST_PIECES} are the most")
        return RunDescription(dict(values["settings"]), names, str(values["model"]), *counts)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise DataFormatError(
            f"does not say how an archive was searched ({type(error).__name__}: {error}); name another folder",
            path=file.name,
        ) from error


def shard_name(piece: int) -> str:
    """Return the name of a piece's file.

    >>> shard_name(42)
    'part-00000042.parquet'
    """
    return f"part-{piece:08d}.parquet"


def missing_pieces(folder: Location, pieces: int) -> list[int]:
    """Return which pieces have no file yet, in order."""
    there = folder.names()
    return [piece for piece in range(pieces) if shard_name(piece) not in there]


def check_no_parts(folder: Location) -> None:
    """Raise if there are parts in a folder of which nothing says how they were made.

    Raises:
        InputError: There are.
    """
    if parts := sorted(filter(_PART.fullmatch, folder.names())):
        raise InputError(
            f"{folder.name} has {parts[0]} but no {RUN}, which says how it was made; name another folder, or remove "
            f"its {len(parts)} parts"
        )


def outdated_pieces(folder: Location, stamps: Sequence[str]) -> tuple[list[int], int]:
    """Return which pieces are to be done, and how many photographs of the others could not be read.

    To be done are those that have no file, or one that is damaged or older than a photograph.

    Args:
        folder: Of the results.
        stamps: Of the pieces now.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    missing = set(missing_pieces(folder, len(stamps)))
    failed = 0
    there = (piece for piece in range(len(stamps)) if piece not in missing)

    def ask(piece: int) -> tuple[int, int | None]:
        return piece, _failed_in(folder.within(shard_name(piece)), stamps[piece])

    with closing(run_ahead(ask, there, workers=_ASKED_AT_ONCE)) as asked:
        for done in asked:
            piece, count = done.result()
            if count is None:
                missing.add(piece)
            else:
                failed += count
    return sorted(missing), failed


def _failed_in(file: Location, stamp: str) -> int | None:
    """Return how many photographs of a part could not be read; None: it is damaged, or of another stamp."""
    arrow, _ = parquet_library()
    try:
        part = file.parquet_file()
        if (part.schema_arrow.metadata or {}).get(_STAMP, b"").decode() != stamp:
            return None
        errors = part.read(columns=["error"]).column("error")
    except UnreachableError:
        raise
    except (ValueError, KeyError, arrow.ArrowException):
        return None
    except OSError as error:
        if error.errno is not None:
            raise
        return None  # Arrow's, of damaged pages
    return len(errors) - int(errors.null_count)


def write_shard(
    folder: Location, piece: int, rows: Sequence[FoundInPhotograph], run: RunDescription, stamp: str = ""
) -> None:
    """Write the file of a piece, whole or not at all.

    Args:
        folder: Of the results.
        piece: Its number.
        rows: Of its photographs, in order.
        run: How they were made.
        stamp: Of the piece; see `Piece`.

    Raises:
        OSError: The disk is full, and so on.
        MissingDependencyError: pyarrow is not installed.
    """
    arrow, parquet = parquet_library()
    counts = np.cumsum([0, *(len(row.scores) for row in rows)]).astype(np.int32)
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(row.boxes for row in rows)]).astype(np.float32)
    scores = np.concatenate([np.zeros(0, np.float32), *(row.scores for row in rows)]).astype(np.float32)
    labels = [label for row in rows for label in row.labels]

    def lists(values: Any) -> Any:
        return arrow.ListArray.from_arrays(arrow.array(counts), values)

    def repeated(texts: list[str]) -> Any:
        return arrow.array(texts, arrow.string()).dictionary_encode()

    def settings(arithmetic: str | None) -> str:
        own = {} if arithmetic is None else {ARITHMETIC: arithmetic}
        return json.dumps(as_json(run.settings | own), sort_keys=True)

    settings_by = {one: settings(one) for one in {row.arithmetic for row in rows}}
    columns = {
        "image": arrow.array([_writable(row.image) for row in rows], arrow.string()),
        "sha256": arrow.array([row.sha256 for row in rows], arrow.string()),
        "width": arrow.array([None if row.size is None else row.size[0] for row in rows], arrow.int32()),
        "height": arrow.array([None if row.size is None else row.size[1] for row in rows], arrow.int32()),
        "boxes": lists(arrow.FixedSizeListArray.from_arrays(arrow.array(boxes.reshape(-1)), 4)),
        "scores": lists(arrow.array(scores)),
        "labels": lists(arrow.array(labels, arrow.string())),
        "error": arrow.array([None if row.error is None else _writable(row.error) for row in rows], arrow.string()),
        "model": repeated([run.model] * len(rows)),
        "settings": repeated([settings_by[row.arithmetic] for row in rows]),
    }
    buffer = io.BytesIO()
    parquet.write_table(arrow.table(columns, metadata={_STAMP: stamp}), buffer, compression="zstd")
    folder.within(shard_name(piece)).write(buffer.getvalue())


def _writable(text: str) -> str:
    """Return a name as Parquet can hold it: names of files need not be valid Unicode."""
    return text.encode("utf-8", "replace").decode()


def is_archive_run(folder: str) -> bool:
    """Return whether a folder has the results of an archive."""
    return Location(folder).within(RUN).exists()


def read_entries(folder: Location) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each photograph's row stands, and the row as `detect --json` has it, piece by piece.

    Raises:
        InputError: There are no such results, or some pieces are not done yet.
        DataFormatError: A file is damaged.
    """
    run = read_run(folder)
    if missing := missing_pieces(folder, run.pieces):
        raise InputError(
            f"{folder.name} lacks {len(missing)} of {run.pieces} parts, such as {shard_name(missing[0])}; the same "
            "`detect --engine` again makes them"
        )
    arrow, _ = parquet_library()
    for piece in range(run.pieces):
        file = folder.within(shard_name(piece))
        try:
            rows = file.parquet_file().read().to_pylist()
            entries = [_entry(row) for row in rows]
        except (KeyError, TypeError, ValueError, OSError, arrow.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # else it is Arrow's, of damaged pages
            raise DataFormatError(f"is damaged: {error}; remove it, and make it again", path=file.name) from error
        for number, entry in enumerate(entries, start=1):
            yield f"{shard_name(piece)}, row {number}", entry


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a photograph as `detect --json` has it."""
    found = [
        {"label": label, "score": score, "box": list(box)}
        for label, score, box in zip(row["labels"], row["scores"], row["boxes"], strict=True)
    ]
    entry = {name: row[name] for name in ("image", "sha256", "width", "height")} | {"detections": found}
    return entry if row["error"] is None else {**entry, "error": row["error"]}
