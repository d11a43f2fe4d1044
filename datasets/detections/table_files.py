"""Detections as a table, a row each: CSV for spreadsheets, Parquet for pandas, DuckDB and Spark.

Columns: image, width, height, class_name, score, x1, y1, x2, y2 (pixels, x2 and y2 exclusive), frame (of a video, from
1; else empty), track (the number of a thing that is followed; else empty).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from inception_rcnn.datasets.archive.storage import parquet_library
from inception_rcnn.structures.files import write_packed, write_whole

COLUMNS: Final = ("image", "width", "height", "class_name", "score", "x1", "y1", "x2", "y2", "frame", "track")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # with which a spreadsheet takes a text for a formula


def write_csv(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV, packed by gzip if its name ends in ``.gz``; names that a spreadsheet would compute get a quote.

    Args:
        path: The file; its folder must exist.
        entries: Photographs as `detect --json` has them.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in _rows(entries):
        table.writerow([f"'{one}" if isinstance(one, str) and one.startswith(_FORMULA) else one for one in row])
    write_packed(path, text.getvalue().encode("utf-8", "surrogateescape"))


def write_parquet(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write a Parquet file.

    Args:
        path: The file; its folder must exist.
        entries: Photographs as `detect --json` has them.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    arrow, parquet = parquet_library()
    rows = list(_rows(entries))
    kinds = [arrow.string(), arrow.int32(), arrow.int32(), arrow.string(), *[arrow.float32()] * 5, *[arrow.int32()] * 2]
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS)
    columns[0] = tuple(str(name).encode("utf-8", "replace").decode() for name in columns[0])
    arrays = [arrow.array(list(values), kind) for values, kind in zip(columns, kinds, strict=True)]
    buffer = io.BytesIO()
    parquet.write_table(arrow.Table.from_arrays(arrays, names=list(COLUMNS)), buffer)
    write_whole(path, buffer.getvalue())


def _rows(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for entry in entries:
        for one in entry["detections"]:
            of_image = entry["image"], entry["width"], entry["height"]
            yield (*of_image, one["label"], one["score"], *one["box"], entry.get("frame"), one.get("track"))
