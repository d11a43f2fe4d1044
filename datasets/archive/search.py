"""Which photographs of an archive have one thing and not another, best first: DuckDB over the Parquet of a run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inception_rcnn.datasets.archive.shards import missing_pieces, read_run, shard_name
from inception_rcnn.datasets.archive.storage import Location
from inception_rcnn.structures.errors import InputError, MissingDependencyError


@dataclass(frozen=True)
class FoundPhotograph:
    """A photograph that fits.

    Attributes:
        image: What the archive calls it.
        score: The lowest of the best scores of the classes that it should have; 1 where none is asked for.
    """

    image: str
    score: float


def search_query(
    files: Sequence[str], have: Sequence[str], lack: Sequence[str], least: float, limit: int
) -> tuple[str, list[Any]]:
    """Return the query and its values; what a user typed is among the values alone."""
    best = "list_max([s FOR s, i IN scores IF labels[i] = ? AND s >= ?])"
    wanted = ", ".join(f"{best} AS score_{place}" for place in range(len(have)))
    given = " AND ".join([f"score_{place} IS NOT NULL" for place in range(len(have))] or ["true"])
    not_there = " AND ".join([f"{best} IS NULL" for _ in lack] or ["true"])
    lowest = f"least({', '.join(f'score_{place}' for place in range(len(have)))})" if have else "1.0"
    query = (
        f"SELECT image, {lowest} AS score FROM (SELECT image{', ' if wanted else ''}{wanted} FROM read_parquet(?) "
        f"WHERE error IS NULL AND {not_there}) WHERE {given} ORDER BY score DESC, image LIMIT ?"
    )
    of_have = [value for name in have for value in (name, least)]
    of_lack = [value for name in lack for value in (name, least)]
    return query, [*of_have, list(files), *of_lack, limit]


def search_archive(
    folder: str, have: Sequence[str], lack: Sequence[str] = (), *, least: float = 0.0, limit: int = 100
) -> list[FoundPhotograph]:
    """Return the photographs that have all of some classes and none of others, best first.

    Of a run that is not finished, what is there is searched, with a warning (UserWarning).

    Args:
        folder: Of a run's results, a path.
        have: Names of classes.
        lack: Names of classes.
        least: Detections of a lower score do not count, on either side.
        limit: At most so many.

    Raises:
        InputError: A class is none of the detector's, or the folder is no run's.
        MissingDependencyError: DuckDB is not installed.
    """
    place = Location(folder)
    run = read_run(place)
    known = run.class_names
    if unknown := [name for name in (*have, *lack) if name not in known]:
        raise InputError(f"{folder} was searched for {len(known)} classes, {unknown[0]!r} is none; {_like(known)}")
    try:
        import duckdb
    except ImportError as error:
        raise MissingDependencyError(f"this needs DuckDB ({error}): pip install 'inception-rcnn[scale]'") from error
    missing = set(missing_pieces(place, run.pieces))
    files = [place.within(shard_name(piece)).name for piece in range(run.pieces) if piece not in missing]
    if not files:
        raise InputError(f"{folder} has no results yet; the same `detect --engine` again makes them")
    if missing:
        warnings.warn(
            f"{folder} lacks {len(missing)} of {run.pieces} parts, whose photographs are not searched; the same "
            "`detect --engine` again makes them",
            stacklevel=2,
        )
    query, values = search_query(files, have, lack, least, limit)
    with duckdb.connect(":memory:") as connection:
        try:
            rows = connection.execute(query, values).fetchall()
        except duckdb.Error as error:
            raise InputError(f"{folder} cannot be searched: {' '.join(str(error).split())}") from error
    return [FoundPhotograph(str(image), float(score)) for image, score in rows]


def _like(names: Sequence[str]) -> str:
    return f"such as {', '.join(names[:5])}"
