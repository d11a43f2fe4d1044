"""inception-rcnn data photographs/pets

Says what a data set is understood to be: format, parts, photographs, objects of each class, what is odd or broken.

PATH is a folder, or COCO's JSON or YOLO's YAML; the format is told by what lies there, or named before it, as in
voc:VOC2007. Read are COCO, PASCAL VOC, YOLO, ILSVRC DET, and folders of photographs with VOC's XML beside them, in all
the places where the common tools put their files; docs/data.md has them in a table.

A sheet of photographs with their boxes goes to runs/data, to be looked at: boxes that are off by some pixels, or
turned, are seen there and nowhere else.

--list FILE writes the ids of all parts, or of those of --split, as VOC and ILSVRC DET list a part; with --most-objects
1000 only so many photographs, the first ones, as give each class 1,000 objects where it has them.

--convert FORMAT OUT writes all parts, or those of --split, in another format; photographs are copied as they are. Where
there is no part to validate on, --validation 0.1 puts a tenth of the photographs into one, drawn by --seed.

Examples:
  inception-rcnn data voc:VOC2007 --split trainval
  inception-rcnn data photographs/pets --convert yolo pets-yolo --validation 0.1
  inception-rcnn data coco:coco --split train --list some.txt --most-objects 1000
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, echo, print_problems, run_command
from inception_rcnn.tools.training_sets import Exif, Origin, SkipBroken, Strict, reading_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception_rcnn.datasets.base import AnnotatedDataset
    from inception_rcnn.structures.dataset import DetectionDataset


def main(
    path: Annotated[str, typer.Argument(help="Data set, [FORMAT:]PATH.", metavar="[FORMAT:]PATH")],
    split: Annotated[list[str] | None, typer.Option(help="Part of it; may be repeated. Default: all.")] = None,
    skip_broken: SkipBroken = False,
    strict: Strict = False,
    origin: Origin = None,
    exif: Exif = None,
    sheet: Annotated[
        Path | None, typer.Option(help="File for the sheet of photographs. Default: runs/data/NAME-PART.jpg.")
    ] = None,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Draw none.")] = False,
    convert: Annotated[
        tuple[str, Path] | None, typer.Option(help="Write it in this format into this folder.", metavar="FORMAT OUT")
    ] = None,
    list_file: Annotated[
        Path | None, typer.Option("--list", help="Write the ids of the photographs into this file.", metavar="FILE")
    ] = None,
    most_objects: Annotated[
        int | None, typer.Option(min=1, help="Only the first photographs in it, until each class has so many objects.")
    ] = None,
    drop_ignored: Annotated[
        bool,
        typer.Option("--drop-ignored", help="Leave out crowds and difficult objects, for which YOLO has no mark."),
    ] = False,
    validation: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of photographs for a new part val, where there is none.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the new part.")] = 0,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.datasets import FORMATS, named_format, open_dataset, parts_of, tell_format
    from inception_rcnn.datasets.reading.account import account_lines
    from inception_rcnn.structures.files import check_folder, check_target

    if convert is not None:
        check_known("--convert", convert[0], FORMATS)
        check_folder(convert[1])
    elif validation or drop_ignored:
        option = "--validation" if validation else "--drop-ignored"
        raise typer.BadParameter("goes with --convert, which writes the result", param_hint=option)
    if most_objects is not None and list_file is None:
        raise typer.BadParameter("goes with --list, which writes the result", param_hint="--most-objects")
    for target in filter(None, (sheet, list_file)):
        check_target(target)
    reading = reading_options(skip_broken=skip_broken, strict=strict, origin=origin, exif=exif)
    named, place = named_format(path)
    format = named or tell_format(place)
    parts: list[tuple[str, AnnotatedDataset]] = []
    for part in split or parts_of(format, place) or (None,):
        dataset = open_dataset(format, place, part, **reading)
        echo(dataset.summary)
        print_problems(dataset.problems)
        parts.append((dataset.split or "all", dataset))
    for line in ("", *account_lines(parts)):
        echo(line)
    if not no_sheet:
        for name, dataset in parts[: 1 if sheet is not None else None]:
            _draw(dataset, sheet or Path("runs", "data", f"{_name(place)}-{name}.jpg"))
    if list_file is not None:
        _list([dataset for _, dataset in parts], list_file, most_objects)
    if convert is not None:
        _convert(parts, convert[0], convert[1], validation, seed, drop_ignored=drop_ignored)


def _draw(dataset: DetectionDataset, target: Path) -> None:
    """Write a sheet of photographs, and say where it is."""
    from inception_rcnn.datasets.reading.account import draw_sheet
    from inception_rcnn.structures.drawing import write_picture

    if len(dataset) == 0:
        return
    picture, damaged = draw_sheet(dataset)
    for line in damaged:
        echo(f"not drawn: {line}", err=True)
    write_picture(target, picture)
    echo(f"sheet: {target}")


def _list(parts: Sequence[DetectionDataset], target: Path, most: int | None) -> None:
    """Write ids, one a line, of all photographs or of as many as give each class some objects."""
    import numpy as np

    from inception_rcnn.datasets.image_lists import rows_of_first_objects
    from inception_rcnn.datasets.writing import put, text_ids

    listed: dict[str, None] = {}  # a photograph may stand in several parts
    seen = np.zeros(len(parts[0].class_names), np.int64)
    objects = 0
    for dataset in parts:
        ids = text_ids(dataset)
        fresh = [row for row, name in enumerate(ids) if name not in listed]
        truth = dataset.ground_truths().of_images(fresh)
        rows = range(len(fresh)) if most is None else rows_of_first_objects(truth, most, seen)
        objects += len(truth.of_images(list(rows)))
        listed.update(dict.fromkeys(ids[fresh[row]] for row in rows))
    # The same list may be there, of a call whose conversion failed afterwards.
    put(target, "".join(f"{name}\n" for name in listed).encode())
    photographs = sum(map(len, parts))
    echo(f"wrote {target}: {len(listed)} of {photographs} photographs, with {objects} objects")


def _convert(
    parts: list[tuple[str, AnnotatedDataset]],
    format: str,
    output: Path,
    validation: float,
    seed: int,
    *,
    drop_ignored: bool,
) -> None:
    """Write the parts in another format, and say what is where."""
    from inception_rcnn.datasets import write_dataset
    from inception_rcnn.datasets.writing import WithoutIgnored, with_validation

    sets: list[tuple[str, DetectionDataset]] = [
        ("train" if name == "all" and validation else name, dataset) for name, dataset in parts
    ]
    if validation:
        sets = with_validation(sets, validation, seed)
    for name, dataset in sets:
        written: DetectionDataset = WithoutIgnored(dataset, range(len(dataset))) if drop_ignored else dataset
        write_dataset(format, written, output, name)
        dropped = len(dataset.ground_truths()) - len(written.ground_truths())
        drawn = f", drawn by seed {seed}" if validation and name == "val" else ""
        without = f", {dropped} to ignore dropped" if dropped else ""
        echo(f"wrote {name}: {len(written)} photographs{drawn}, {len(written.ground_truths())} objects{without}")
    echo(f"read it again with: inception-rcnn data {format}:{output}")


def _name(path: Path) -> str:
    return path.stem if path.is_file() else path.name or path.resolve().name


if __name__ == "__main__":
    run_command(main)
