"""The work of `detect --engine`: an archive through a detector, into Parquet, on this machine or a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from inception_rcnn.tools.cli import check_known, echo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inception_rcnn.datasets.archive.shards import FoundInPhotograph
    from inception_rcnn.detector import Detector
    from inception_rcnn.detector.archive.run import ArchiveRun, Row
    from inception_rcnn.structures.progress import ProgressBar

ENGINES: Final = ("local", "ray")
_NOT_HERE: Final = {
    "pages": "--pages",
    "limit": "--limit",
    "json_file": "--json",
    "write": "--write",
    "crops": "--crops",
    "tile": "--tile",
    "track": "--track",
}
_NAMED: Final = 5  # photographs that cannot be read; the others are counted


@dataclass(frozen=True)
class ArchiveOptions:
    """What --engine and the options beside it say.

    Args:
        engine: One of `ENGINES`.
        address: Of the Ray cluster; None: one is started here.
        detectors: How many on the cluster; None: as suits.
        per_shard: Photographs of a Parquet file.
        image_column: Of Parquet that is searched.
        id_column: Of Parquet that is searched.
    """

    engine: str
    address: str | None
    detectors: int | None
    per_shard: int
    image_column: str | None
    id_column: str | None


def check_archive(images: Sequence[str], output: str | None, given: Mapping[str, Any]) -> tuple[str, str]:
    """Return what an archive and the folder of its results are called, or refuse what does not go with --engine.

    Args:
        images: The arguments: one.
        output: The folder.
        given: All options by name.

    Raises:
        typer.BadParameter: It does not go together.
    """
    check_known("--engine", given["engine"], ENGINES)
    others = [option for name, option in _NOT_HERE.items() if given[name]]
    if others:
        raise typer.BadParameter(f"{', '.join(others)} does not go with --engine, which writes Parquet into --output")
    if len(images) != 1:
        raise typer.BadParameter(f"--engine takes one folder, list, Parquet file or URI, got {len(images)}")
    if output is None:
        raise typer.BadParameter("--engine needs --output, a folder or URI for the Parquet files")
    return as_named(images[0]), as_named(output)


def as_named(word: str) -> str:
    """Return a folder, list or file as it was named, a path as such, both without slashes at the end.

    >>> as_named("s3://bucket/photographs/"), as_named("file:///photographs"), as_named("./photographs/")
    ('s3://bucket/photographs', '/photographs', 'photographs')
    """
    from inception_rcnn.datasets.archive.storage import Location

    place = Location(word)
    if not place.is_remote:
        return str(Path(place.name))
    return word if word.endswith("//") else word.rstrip("/")


def detect_archive(
    source: str, folder: str, load: Callable[[], Detector], options: ArchiveOptions, *, workers: int | None, quiet: bool
) -> int:
    """Detect on an archive, and return how many of its photographs could not be read, by this call or an earlier one.

    Args:
        source: A folder, list, Parquet file or URI.
        folder: For the results, a path or a URI.
        load: Loads the detector; called when the archive was found.
        options: How.
        workers: Threads that work ahead, of the local engine.
        quiet: No progress, no summary.

    Raises:
        InputError: See `begin_run` and the engines.
    """
    from inception_rcnn.datasets.archive.sources import pieces_of
    from inception_rcnn.datasets.archive.storage import parquet_library
    from inception_rcnn.detector.archive import begin_run, keep_whole_pieces
    from inception_rcnn.structures import progress_bar

    parquet_library()
    pieces = pieces_of(source, options.per_shard, image_column=options.image_column, id_column=options.id_column)
    run = begin_run(source, pieces, folder, load())
    total, count = run.manifest.photographs, run.manifest.pieces
    if len(run.missing) < count and not quiet:
        broken = f"; {run.failed} of their photographs could not be read" if run.failed else ""
        echo(f"{count - len(run.missing)} of {count} parts are in {folder} already{broken}")
    started = time.perf_counter()
    with progress_bar(total, "photographs", quiet=quiet) as bar:
        bar.skip(round(total * (1 - len(run.missing) / count)))
        said = _Said(bar)
        keep_whole_pieces(run, _rows(run, options, workers), said.row)
    if not quiet:
        seconds = time.perf_counter() - started
        each = f", {seconds / said.count:.2f} s a photograph" if said.count else ""
        failed = f", {said.failed + run.failed} failed" if said.failed + run.failed else ""
        echo(f"{said.count} photographs, {said.objects} objects{each}{failed}; Parquet in {folder}", err=True)
    return said.failed + run.failed


def _rows(run: ArchiveRun, options: ArchiveOptions, workers: int | None) -> Iterator[Row]:
    """Return the engine at work; none is begun where nothing is missing."""
    if not run.missing:
        return iter(())
    if options.engine == "local":
        from inception_rcnn.detector.archive import detect_locally

        return detect_locally(run, workers=workers)
    from inception_rcnn.detector.archive.ray_engine import Cluster, detect_on_ray

    return detect_on_ray(run, Cluster(options.address, options.detectors))


class _Said:
    """Counts rows, and names the first photographs that could not be read.

    Args:
        bar: Of all photographs.
    """

    def __init__(self, bar: ProgressBar) -> None:
        self._bar = bar
        self.count = self.objects = self.failed = 0

    def row(self, row: FoundInPhotograph) -> None:
        """Count a row."""
        self.count += 1
        self.objects += len(row.scores)
        if row.error is not None:
            self.failed += 1
            if self.failed <= _NAMED:
                echo(f"error: {row.error}", err=True)
            elif self.failed == _NAMED + 1:
                echo("error: further photographs cannot be read; the column error of the results has all", err=True)
        self._bar.advance(1)
