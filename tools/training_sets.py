"""Data sets that a training command learns from, as its options name them: --data [FORMAT:]DIR --split NAME."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from inception_rcnn.tools.cli import check_known, print_problems

if TYPE_CHECKING:
    from inception_rcnn.structures.dataset import DetectionDataset

Value = TypeVar("Value")


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
    data: Sequence[str], root: Path | None, dataset: str, split: Sequence[str], *, skip_broken: bool
) -> list[TrainingSet]:
    """Return the parts of data sets to train on; what is left out of them is printed.

    Raises:
        typer.BadParameter: None or too many are named, one twice, or a format is unknown.
    """
    if bool(data) == (root is not None):
        raise typer.BadParameter("name one data set with --root, or one or more with --data", param_hint="--data")
    pairs = [(dataset, root)] if root is not None else [_format_and_folder(text, dataset) for text in data]
    sets: list[TrainingSet] = []
    for (format, folder), asked in zip(pairs, one_for_each("--split", split, len(pairs)), strict=True):
        part = asked or (None if format == "folder" else "train")
        if any((folder.resolve(), part) == (one.root.resolve(), one.part) for one in sets):
            raise typer.BadParameter(f"{folder}, part {part}, is named twice", param_hint="--data")
        sets.append(TrainingSet(format, folder, part, open_part(format, folder, part, skip_broken=skip_broken)))
    return sets


def _format_and_folder(text: str, dataset: str) -> tuple[str, Path]:
    """Return format and folder of "coco:photographs/coco", or of a folder alone in the format `dataset`."""
    format, colon, folder = text.partition(":")
    return (format, Path(folder)) if colon else (dataset, Path(text))


def open_part(format: str, root: Path, split: str | None, *, skip_broken: bool) -> DetectionDataset:
    """Return a part of a data set; what is left out is printed."""
    from inception_rcnn.datasets import FORMATS, open_dataset

    check_known("--dataset", format, FORMATS)
    dataset = open_dataset(format, root, split, skip_broken=skip_broken)
    print_problems(dataset.problems)
    return dataset


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
