"""Data sets that a training command learns from, as its options name them: --data [FORMAT:]DIR --split NAME."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, Unpack, cast

import typer

from inception_rcnn.tools.cli import check_known, echo, print_problems
from inception_rcnn.tools.scored_sets import wanted_set

if TYPE_CHECKING:
    from inception_rcnn.datasets.base import ReadingOptions
    from inception_rcnn.structures.dataset import DetectionDataset

Value = TypeVar("Value")
READING: Final = ("skip_broken", "strict", "origin", "exif")


def _option(help: str, *names: str, **rest: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="Data", **rest)


SkipBroken = Annotated[bool, _option("Leave out what is broken in the data sets, and count it.", "--skip-broken")]
Strict = Annotated[bool, _option("Refuse boxes that leave their photographs, instead of clipping them.", "--strict")]
Origin = Annotated[
    int | None,
    _option("What the annotations call the first pixel: 0 or 1. Default: as the format has it.", min=0, max=1),
]
Exif = Annotated[
    str | None,
    _option("Boxes were drawn on photographs as stored, or upright, as EXIF data turn them. Default: as sizes tell."),
]


@dataclass(frozen=True)
class TrainingSet:
    """A part of a data set to train on.

    Args:
        format: Its format.
        root: Its folder.
        part: Which part; None: all of it.
        dataset: The part, opened.
    """

    format: str
    root: Path
    part: str | None
    dataset: DetectionDataset

    @property
    def name(self) -> str:
        """The folder's own name and the part: where it lies concerns nobody."""
        folder = self.root.name or self.root.resolve().name
        return f"{folder}/{self.part}" if self.part else folder


def open_sets(
    data: Sequence[str],
    root: Path | None,
    dataset: str | None,
    split: Sequence[str],
    **options: Unpack[ReadingOptions],
) -> list[TrainingSet]:
    """Return the parts of data sets to train on; what was understood of each, and left out, is printed.

    Args:
        data: [FORMAT:]PATH of each, or
        root: the path of the only one.
        dataset: Format where none is named; None: as what lies there tells.
        split: Of all, or of each; where none is named, "train", or the only part, if it is not one to test on.
        options: How they are read.

    Raises:
        typer.BadParameter: None or too many are named, one twice, a format is unknown, or the only part of a set is one
            to test on.
    """
    from inception_rcnn.datasets import likely_part, named_format

    if bool(data) == (root is not None):
        raise typer.BadParameter("name one data set with --root, or one or more with --data", param_hint="--data")
    pairs = [wanted_set(one, None, None if named_format(one)[0] else dataset) for one in data]
    pairs = pairs if root is None else [wanted_set(None, root, dataset)]
    sets: list[TrainingSet] = []
    for (format, folder), asked in zip(pairs, one_for_each("--split", split, len(pairs)), strict=True):
        part = asked or likely_part(format, folder, "train")
        if asked is None and part is not None and part.lower().startswith("test"):
            raise typer.BadParameter(
                f"{folder} has one part, {part}, which is meant to test on; --split {part} takes it all the same",
                param_hint="--split",
            )
        if any((folder.resolve(), part) == (one.root.resolve(), one.part) for one in sets):
            raise typer.BadParameter(f"{folder}, part {part}, is named twice", param_hint="--data")
        sets.append(TrainingSet(format, folder, part, open_part(format, folder, part, **options)))
    return sets


def open_part(format: str, root: Path, split: str | None, **options: Unpack[ReadingOptions]) -> DetectionDataset:
    """Return a part of a data set; what was understood of it, and left out, is printed."""
    from inception_rcnn.datasets import open_dataset

    dataset = open_dataset(format, root, split, **options)
    echo(dataset.summary)
    print_problems(dataset.problems)
    return dataset


def reading_options(**given: Any) -> ReadingOptions:
    """Return those of a command's options that say how data sets are read.

    Raises:
        typer.BadParameter: One has no such value.
    """
    if given.get("exif") is not None:
        check_known("--exif", given["exif"], ("stored", "upright"))
    options: Any = {name: given[name] for name in READING if given.get(name) is not None}
    return cast("ReadingOptions", options)


def one_for_each(option: str, values: Sequence[Value], count: int) -> list[Value | None]:
    """Return one of an option's values for each data set; None where the option was not given.

    Raises:
        typer.BadParameter: Neither one nor as many as data sets.
    """
    if len(values) not in (0, 1, count):
        raise typer.BadParameter(
            f"{len(values)} given for {count} data {'set' if count == 1 else 'sets'}; give one, or one for each",
            param_hint=option,
        )
    return list(values) if len(values) == count else [values[0] if values else None] * count
