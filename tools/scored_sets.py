"""The data set that a command scores or proposes for, as options name it: --data [FORMAT:]PATH, or the older ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inception_rcnn.tools.cli import check_known, echo, print_problems

if TYPE_CHECKING:
    from inception_rcnn.datasets.evaluation_set import EvaluationSet
    from inception_rcnn.structures.dataset import DetectionDataset

DataSet = Annotated[
    str | None,
    typer.Option(help="Data set, [FORMAT:]PATH: coco, voc, yolo, ilsvrc, folder, or as it looks; see `data --help`."),
]
Format = Annotated[str | None, typer.Option(help="Its format, where PATH stands alone. Default: as it looks.")]
Root = Annotated[Path | None, typer.Option(help="The same as --data, without a format.")]
Split = Annotated[str | None, typer.Option(help="Part of it. Default: val, or the only one.")]


def named_set(data: str | None, root: Path | None, dataset: str | None) -> tuple[str | None, Path | None]:
    """Return format and path of the data set that options name; None for what they do not name.

    Args:
        data: [FORMAT:]PATH.
        root: PATH alone, the older spelling.
        dataset: The format, where none is named before the path; else it is told by what lies there.

    Raises:
        typer.BadParameter: The set is named twice, or two formats are, or one that does not exist.
        InputError: What lies there is no data set.
    """
    from inception_rcnn.datasets import FORMATS, named_format, tell_format

    if dataset is not None:
        check_known("--dataset", dataset, FORMATS)
    if data is not None and root is not None:
        raise typer.BadParameter("--root names a data set too; leave one of the two out", param_hint="--data")
    format, path = (None, root) if data is None else named_format(data)
    if format is not None and dataset not in (None, format):
        raise typer.BadParameter(f"says {dataset}, but --data begins with {format}", param_hint="--dataset")
    format = format or dataset
    return (format, None) if path is None else (format or tell_format(path), path)


def wanted_set(data: str | None, root: Path | None, dataset: str | None) -> tuple[str, Path]:
    """Return format and path as `named_set` does, for a command that cannot do without.

    Raises:
        typer.BadParameter, InputError: As there, or none is named.
    """
    format, path = named_set(data, root, dataset)
    if format is None or path is None:
        raise typer.BadParameter("name a data set, --data [FORMAT:]PATH", param_hint="--data")
    return format, path


def part_named(format: str, path: Path | None, split: str | None) -> str | None:
    """Return the part that is meant: the one that is named, or else val, or the only one."""
    from inception_rcnn.datasets import likely_part

    return split if split is not None or path is None else likely_part(format, path, "val", "valid", "validation")


def say_what_was_read(scored_set: EvaluationSet) -> None:
    """Print what a data set was understood to be, and what was left out of it."""
    say_summary(scored_set.dataset)
    print_problems(scored_set.problems)


def say_summary(dataset: DetectionDataset | None) -> None:
    """Print what a data set was understood to be, in a line, if a reader says it."""
    from inception_rcnn.structures.dataset import Subset

    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    if summary := getattr(dataset, "summary", None):
        echo(summary)


def readable_photographs(dataset: DetectionDataset, *, skip_broken: bool) -> DetectionDataset:
    """Return a data set without the photographs that cannot be read, which are named; each is read once for that.

    Args:
        dataset: For work that needs all of its photographs.
        skip_broken: Whether to do so; if not, the work stops at the first, and the error names --skip-broken.

    Raises:
        InputError: None is left.
    """
    from inception_rcnn.structures import InputError
    from inception_rcnn.structures.dataset import WithRemedy, without_unreadable

    if not skip_broken:
        return WithRemedy(dataset, range(len(dataset)), "--skip-broken leaves it out")
    kept, lines = without_unreadable(dataset)
    print_problems(lines)
    if lines and not len(kept):
        raise InputError(f"no photograph can be read; the first: {lines[0]}")
    return kept
