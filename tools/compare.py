"""inception-rcnn compare first.json second.json --data coco:coco --split val

Says which of two detectors is better on the same photographs, by how much, how sure that is, and where.

FIRST and SECOND are what the detectors found: ILSVRC's text, VOC's files (a folder of *_<class>.txt, or one), COCO's
results JSON, plain or .gz, or a file of `eval_map --output`. With --ground-truth no photograph is needed:
inception-rcnn compare a.txt b.txt --dataset ilsvrc --ground-truth val2.jsonl.gz

The difference is that of mAP at IoU 0.5, second minus first. Its interval comes from drawing the photographs with
replacement, for both detectors alike. In a photograph they differ by the number of mistakes: false detections and
objects not found, each detector at the score that gives its best mean F1 over the classes.

Examples:
  inception-rcnn compare before.safetensors after.safetensors --data photographs/mine --split test --report page
  inception-rcnn compare a.json b.json --data coco:coco --split val --json difference.json
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, echo, run_command
from inception_rcnn.tools.scored_sets import (
    DataSet,
    Format,
    Root,
    Split,
    named_set,
    part_named,
    say_what_was_read,
)
from inception_rcnn.tools.training_sets import Exif, Origin, Strict, reading_options


def main(
    first: Annotated[Path, typer.Argument(help="Detections.")],
    second: Annotated[Path, typer.Argument(help="Detections of the other detector.")],
    data: DataSet = None,
    dataset: Format = None,
    root: Root = None,
    split: Split = None,
    ground_truth: Annotated[
        Path | None,
        typer.Option(help="File of the objects, of --write-ground-truth or COCO's JSON, instead of --data."),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="Default: ilsvrc, coco, or voc2010 for voc and folder.")] = None,
    image_list: Annotated[Path | None, typer.Option(help="Only these images: a file with one a line.")] = None,
    blacklist: Annotated[Path | None, typer.Option(help="ILSVRC's pairs of image and class not evaluated.")] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what is broken or of other images, and count it.")
    ] = False,
    strict: Strict = False,
    origin: Origin = None,
    exif: Exif = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the comparison, as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for a page with both side by side.")] = None,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.datasets import read_blacklist
    from inception_rcnn.datasets.detections import read_detections
    from inception_rcnn.datasets.evaluation_set import evaluation_set_of
    from inception_rcnn.evaluation import compare
    from inception_rcnn.evaluation.protocols import PROTOCOL_OF_FORMAT, PROTOCOLS
    from inception_rcnn.evaluation.report.inputs import ReportInput, evaluated
    from inception_rcnn.evaluation.report.text import comparison_lines
    from inception_rcnn.structures import write_json
    from inception_rcnn.structures.files import check_target

    if json_file is not None:
        check_target(json_file)
    form, root = named_set(data, root, dataset)
    dataset = form or "coco"
    protocol = protocol or PROTOCOL_OF_FORMAT[dataset]
    check_known("--protocol", protocol, PROTOCOLS)
    part = part_named(dataset, root, split)
    reading = reading_options(skip_broken=skip_broken, strict=strict, origin=origin, exif=exif)
    scored_set = evaluation_set_of(dataset, root, part, ground_truth, image_list=image_list, **reading)
    say_what_was_read(scored_set)
    pairs = () if blacklist is None else read_blacklist(blacklist)

    def evaluation_of(path: Path, name: str) -> ReportInput:
        read = read_detections(path, scored_set.truth, dataset, skip_unknown=skip_broken)
        for note in read.notes:
            echo(f"warning: {note}", err=True)
        if read.dropped:
            echo(f"left out of {name}: {read.dropped} detections of images that are not in the set", err=True)
        return evaluated(
            read.detections,
            scored_set.truth,
            protocol,
            title=name,
            blacklist=pairs,
            photographs=None if scored_set.dataset is None else scored_set.dataset.load_image,
            settings={"ground truth": scored_set.title},
        )

    names = (first.name, second.name) if first.name != second.name else (str(first), str(second))
    one, other = evaluation_of(first, names[0]), evaluation_of(second, names[1])
    comparison = compare(one, other)
    echo(*comparison_lines(comparison, one, other))
    if json_file is not None:
        figures = {"first": str(first), "second": str(second), "protocol": protocol, **comparison.to_dict()}
        write_json(json_file, figures)
    if report is not None:
        from inception_rcnn.evaluation.report import write_comparison

        echo(f"report: {write_comparison(report, comparison, one, other)}")


if __name__ == "__main__":
    run_command(main)
