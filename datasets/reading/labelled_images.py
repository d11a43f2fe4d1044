"""Photographs with one class each: a folder for each class, a table of files, or ILSVRC's classification task."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from inception_rcnn.datasets.base import is_inside
from inception_rcnn.datasets.reading.headers import read_header
from inception_rcnn.datasets.voc_xml import Annotation
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.images import IMAGE_ENDINGS

TABLE: Final = "labels.tsv"
_COLUMNS: Final = ("file", "class_index")
_ILSVRC: Final = Path("Data", "CLS-LOC")
_SOLUTION: Final = "LOC_val_solution.csv"
_SOLUTION_COLUMNS: Final = ("ImageId", "PredictionString")
_LONGEST_NUMBER: Final = 10  # digits


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Photographs and their classes.

    Attributes:
        paths: Of the photographs.
        labels: For each its class, in `classes`, or, where a table names them by number, the network's output.
        classes: Names of the folders, in alphabetical order; None where a table names classes by number.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...] | None

    def __len__(self) -> int:
        """Return how many photographs there are."""
        return len(self.paths)

    def of_rows(self, rows: Sequence[int]) -> LabelledImages:
        """Return some of them, with all the classes."""
        return replace(
            self, paths=tuple(self.paths[row] for row in rows), labels=tuple(self.labels[row] for row in rows)
        )

    def readable(self) -> tuple[LabelledImages, list[str]]:
        """Return those whose files begin as photographs do, and the names of the others; pixels are not read."""
        is_whole = [read_header(path) is not None for path in self.paths]
        broken = [str(path) for path, whole in zip(self.paths, is_whole, strict=True) if not whole]
        return self.of_rows(np.flatnonzero(is_whole).tolist()) if broken else self, broken

    def held_out(self, share: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
        """Return the photographs without some that are held out, and these: the same share of each class, drawn.

        Args:
            share: In (0, 1); of a class of two photographs or more it is at least one, and never all.
            seed: Which.
        """
        labels, chosen = np.array(self.labels), []
        for label in np.unique(labels):
            own = np.random.default_rng([seed, int(label)]).permutation(np.flatnonzero(labels == label))
            chosen += own[: min(len(own) - 1, max(1, round(share * len(own))))].tolist()
        return self.of_rows(sorted(set(range(len(self))) - set(chosen))), self.of_rows(sorted(chosen))

    def outputs(self, count: int, names: Sequence[str] | None) -> tuple[int, ...]:
        """Return for each photograph the output of a network that should be the first.

        Args:
            count: Of its outputs.
            names: By which its outputs are known, as the folders are called: names, or WordNet ids. None: they are
                not known; then there should be as many folders as outputs, in the same, alphabetical order.

        Raises:
            InputError: A folder is no class of the network's, or a number is not below `count`.
        """
        if self.classes is None:
            if wrong := [(path, label) for path, label in zip(self.paths, self.labels, strict=True) if label >= count]:
                raise InputError(f"{wrong[0][0]} has class {wrong[0][1]}, and the network {count} outputs, from 0 on")
            return self.labels
        if names is None:
            if len(self.classes) != count:
                raise InputError(
                    f"there are {len(self.classes)} folders and {count} outputs without names; give one for each"
                )
            return self.labels
        known = {name: output for output, name in enumerate(names)}
        if unknown := [name for name in self.classes if name not in known]:
            raise InputError(f"folder {unknown[0]!r} is none of the network's {count} classes, {names[0]!r} ...")
        return tuple(known[self.classes[label]] for label in self.labels)


def open_labelled_images(path: str | os.PathLike[str]) -> LabelledImages:
    """Return the photographs below a folder, or those of a table; none is opened.

    Args:
        path: A folder with a folder for each class, as torchvision's ImageFolder has them, images anywhere below; a
            table with columns `file`, below the table's own folder, and `class_index`, from 0 on, separated by tabs; or
            a folder with such a table, `labels.tsv`.

    Raises:
        InputError: There is no such file or folder, or it has no photographs.
        DataFormatError: The table lacks a column, or a row names no file or class; the text has the line.
    """
    path = Path(path)
    if path.is_dir() and (path / TABLE).is_file():
        path = path / TABLE
    if path.is_file():
        return _from_table(path)
    if not path.is_dir():
        raise InputError(f"no photographs at {path}; give a folder with a folder for each class, or a table, {TABLE}")
    folders = _folders_in(path)
    found = [(file, label) for label, folder in enumerate(folders) for file in _images_below(folder)]
    if not found:
        raise InputError(f"{path} has no folders with photographs; give one for each class, or a table, {TABLE}")
    names = tuple(folder.name for folder in folders)
    return LabelledImages(tuple(file for file, _ in found), tuple(label for _, label in found), names)


def open_labelled_part(root: str | os.PathLike[str], part: str) -> LabelledImages:
    """Return the photographs of one part of a data set; none is opened.

    Args:
        root: A folder with a folder for each part, as `open_labelled_images` reads them; or ILSVRC's classification
            task as it is unpacked: Data/CLS-LOC/train with a folder for each class, and Data/CLS-LOC/val, whose classes
            are in LOC_val_solution.csv, or else in Annotations/CLS-LOC/val.
        part: Such as "train" or "val".

    Raises:
        InputError: There is no such part, or it has no photographs.
        DataFormatError: A table lacks a column, or a class cannot be told.
    """
    root = Path(root)
    folder = root / _ILSVRC / part if (root / _ILSVRC).is_dir() else root / part
    if not folder.is_dir():
        parts = sorted(one.name for one in folder.parent.glob("*") if one.is_dir() and not one.name.startswith("."))
        raise InputError(f"{root} has no part {part!r}; its folders are {', '.join(parts) or 'none'}")
    if folder.parent.name != _ILSVRC.name or any(one.is_dir() for one in folder.iterdir()):
        return open_labelled_images(folder)
    return _from_ilsvrc(root, folder)


def has_parts(root: str | os.PathLike[str], part: str = "train", other: str = "val") -> bool:
    """Return whether a folder has a part of that name, as `open_labelled_part` looks for it.

    A folder may also be that of a class which is called so: then it holds photographs, neither folders nor a table, and
    no other part lies beside it.

    Args:
        root: The folder.
        part: Such as "train".
        other: A part that would lie beside it.
    """
    folder, beside = Path(root) / part, Path(root) / other
    if (Path(root) / _ILSVRC / part).is_dir():
        return True
    return folder.is_dir() and (beside.is_dir() or (folder / TABLE).is_file() or bool(_folders_in(folder)))


def _folders_in(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))


def _from_ilsvrc(root: Path, folder: Path) -> LabelledImages:
    """Return the photographs of a folder of ILSVRC's whose classes are told elsewhere."""
    solution = root / _SOLUTION
    told = _solution(solution) if solution.is_file() else {}
    files = _images_below(folder)
    ids = [told[path.stem] if path.stem in told else _annotated_class(root, path) for path in files]
    if not files:
        raise InputError(f"{folder} has no photographs")
    classes = tuple(sorted(set(ids)))
    numbers = {name: number for number, name in enumerate(classes)}
    return LabelledImages(tuple(files), tuple(numbers[name] for name in ids), classes)


def _solution(path: Path) -> dict[str, str]:
    """Return the WordNet id of each photograph in Kaggle's table: before its boxes the class."""
    told: dict[str, str] = {}
    for row, line in _rows(path, _SOLUTION_COLUMNS):
        told[row["ImageId"]], *_ = row["PredictionString"].split(" ")
        if not told[row["ImageId"]]:
            raise DataFormatError(f"names no class of {row['ImageId']!r}", path=path, place=f"line {line}")
    return told


def _annotated_class(root: Path, photograph: Path) -> str:
    """Return the class of a photograph from its annotation: all its objects are of one."""
    path = root / "Annotations" / _ILSVRC.name / photograph.parent.name / f"{photograph.stem}.xml"
    if not path.is_file():
        raise InputError(f"nothing says what {photograph} shows; {root} should have {_SOLUTION}, or {path}")
    names = sorted(Annotation(path).class_names())
    if len(names) != 1:
        raise DataFormatError(f"should have objects of one class, got {', '.join(names) or 'none'}", path=path)
    return names[0]


def _images_below(folder: Path) -> list[Path]:
    files = (Path(parent, name) for parent, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(one for one in files if one.suffix.lower() in IMAGE_ENDINGS and not one.name.startswith("."))


def _rows(path: Path, columns: Sequence[str], **way: Any) -> Iterator[tuple[dict[str, str], int]]:
    """Yield the rows of a table with the number of each one's last line; of a column that a row lacks, nothing.

    Args:
        path: The table.
        columns: That it should have.
        way: Of `csv.DictReader`.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, restval="", **way)
            if missing := [name for name in columns if name not in (rows.fieldnames or ())]:
                message = f"lacks the column {missing[0]!r}; its first line should name the columns"
                raise DataFormatError(message, path=path)
            for row in rows:
                yield row, rows.line_num
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataFormatError(f"is no table in UTF-8: {error}", path=path) from error


def _from_table(path: Path) -> LabelledImages:
    rows = _rows(path, _COLUMNS, delimiter="\t", quoting=csv.QUOTE_NONE)
    entries = [_entry(row, path, line) for row, line in rows]
    if not entries:
        raise InputError(f"{path} names no photographs")
    return LabelledImages(tuple(one for one, _ in entries), tuple(label for _, label in entries), None)


def _entry(row: dict[str, str], path: Path, line: int) -> tuple[Path, int]:
    """Return the photograph and the class of a row."""
    name, number, place = row["file"], row["class_index"], f"line {line}"
    if not is_inside(name):
        raise DataFormatError(f"names no file below its folder: {name!r}", path=path, place=place)
    if not (number.isascii() and number.isdigit() and len(number) < _LONGEST_NUMBER):
        raise DataFormatError(f"class_index should be a number from 0 on, got {number!r}", path=path, place=place)
    return path.parent / name, int(number)
