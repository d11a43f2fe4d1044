"""inception-rcnn compare first.json second.json --dataset coco --root shared/coco --split val

Says which of two detectors is better on the same photographs, by how much, how sure that is, and where.

FIRST and SECOND are what the detectors found: ILSVRC's text, VOC's files (a folder of *_<class>.txt, or one), COCO's
results JSON, plain or .gz, or a file of `eval_map --output`. With --ground-truth no photograph is needed:
inception-rcnn compare a.txt b.txt --dataset ilsvrc --ground-truth val2.jsonl.gz

The difference is that of mAP at IoU 0.5, second minus first. Its interval comes from drawing the photographs anew, for
both detectors alike. In a photograph they differ by the number of mistakes: false detections and objects not found,
each detector at the score that gives its best mean F1 over the classes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import run_command

if TYPE_CHECKING:
    from inception_rcnn.datasets.evaluation_set import EvaluationSet
    from inception_rcnn.evaluation.comparison import ClassDifference, Comparison
    from inception_rcnn.evaluation.report.inputs import ReportInput

_SHOWN = 8  # classes and photographs on either side


def main(
    first: Annotated[Path, typer.Argument(help="Detections.")],
    second: Annotated[Path, typer.Argument(help="Detections of the other detector.")],
    dataset: Annotated[str, typer.Option(help="Format: ilsvrc, voc, coco or folder.")] = "coco",
    root: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    split: Annotated[str | None, typer.Option(help="Part of it. Default: val; a plain folder may have none.")] = None,
    ground_truth: Annotated[Path | None, typer.Option(help="File of the objects, instead of --root.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Default: ilsvrc, coco, or voc2010 for voc and folder.")] = None,
    image_list: Annotated[Path | None, typer.Option(help="Only these images: a file with one a line.")] = None,
    blacklist: Annotated[Path | None, typer.Option(help="ILSVRC's pairs of image and class not evaluated.")] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what is broken or of other images, and count it.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the comparison, as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for a page with both side by side.")] = None,
) -> None:
    """Parses, calls, prints."""
    from inception_rcnn.datasets import FORMATS, read_blacklist
    from inception_rcnn.datasets.evaluation_set import evaluation_set_of
    from inception_rcnn.evaluation.comparison import compare
    from inception_rcnn.evaluation.protocols import PROTOCOL_OF_FORMAT, PROTOCOLS
    from inception_rcnn.structures import write_json

    _check_known("--dataset", dataset, FORMATS)
    protocol = protocol or PROTOCOL_OF_FORMAT[dataset]
    _check_known("--protocol", protocol, PROTOCOLS)
    part = split or (None if dataset == "folder" else "val")
    truth = evaluation_set_of(dataset, root, part, ground_truth, image_list=image_list, skip_broken=skip_broken)
    for problem in truth.problems:
        typer.echo(f"left out: {problem}", err=True)
    pairs = () if blacklist is None else read_blacklist(blacklist)
    names = (first.name, second.name) if first.name != second.name else (str(first), str(second))
    reports = [
        _evaluated(path, name, dataset, truth, protocol, pairs, skip_broken=skip_broken)
        for path, name in zip((first, second), names, strict=True)
    ]
    comparison = compare(*reports)
    _print(comparison, names, protocol, truth)
    if json_file is not None:
        write_json(
            json_file, {"first": str(first), "second": str(second), "protocol": protocol, **comparison.to_dict()}
        )
    if report is not None:
        _write_page(report, comparison, reports)


def _check_known(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise typer.BadParameter(f"{value!r} is unknown; known: {', '.join(known)}", param_hint=option)


def _evaluated(
    path: Path,
    name: str,
    form: str,
    truth: EvaluationSet,
    protocol: str,
    blacklist: Sequence[tuple[int, str]],
    *,
    skip_broken: bool,
) -> ReportInput:
    from inception_rcnn.datasets.detections import read_detections
    from inception_rcnn.evaluation.protocols import evaluate_by
    from inception_rcnn.evaluation.report.inputs import ReportInput

    read = read_detections(path, truth.truth, form, skip_unknown=skip_broken)
    if read.dropped:
        typer.echo(f"left out of {name}: {read.dropped} detections of images that are not in the set", err=True)
    return ReportInput(
        title=name,
        result=evaluate_by(protocol, truth.truth, read.detections, blacklist=blacklist),
        class_names=truth.truth.display_names,
        image_names=truth.truth.image_names,
        truths=truth.truth,
        detections=read.detections,
        photographs=None if truth.dataset is None else truth.photographs().load_image,
        settings={"ground truth": truth.title},
    )


def _print(comparison: Comparison, names: tuple[str, str], protocol: str, truth: EvaluationSet) -> None:
    for word, name, value, interval in zip(
        ("first", "second"), names, comparison.maps, comparison.map_intervals, strict=True
    ):
        low, high = 100 * interval.low, 100 * interval.high
        typer.echo(f"{word + ':':<7} mAP@0.5 {100 * value:.2f} (95 % interval {low:.2f} to {high:.2f})  {name}")
    low, high = 100 * comparison.interval.low, 100 * comparison.interval.high
    typer.echo(
        f"second minus first: {100 * comparison.difference:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}) "
        f"on {len(truth.truth.image_names)} images, by the rules of {protocol}"
    )
    typer.echo(f"the second is better in {100 * comparison.better_in:.0f} % of the draws of photographs")
    won, lost, equal = (comparison.won_by(detector) for detector in (2, 1, 0))
    typer.echo(f"classes: {len(won)} won by the second, {len(lost)} by the first, {len(equal)} equal (*: surely)")
    for word, classes in (("second", won), ("first", lost)):
        if classes:
            typer.echo(f"  by the {word}: {', '.join(_class_words(one) for one in classes[:_SHOWN])}")
    _print_photographs(comparison)


def _class_words(one: ClassDifference) -> str:
    return f"{one.name} {100 * one.difference:+.1f}{'*' if one.is_sure else ''}"


def _print_photographs(comparison: Comparison) -> None:
    typer.echo(f"photographs with unequally many mistakes: {len(comparison.photographs)}")
    for word, detector in (("second", 2), ("first", 1)):
        shown = comparison.photographs_won_by(detector)[:_SHOWN]
        if shown:
            typer.echo(f"  fewer by the {word}:")
        for one in shown:
            counts = " -> ".join(
                f"{false} false {missed} missed" for false, missed in zip(one.false, one.missed, strict=True)
            )
            typer.echo(f"    {one.name}: {counts}")


def _write_page(folder: Path, comparison: Comparison, reports: Sequence[ReportInput]) -> None:
    from dataclasses import replace

    from inception_rcnn.evaluation import analyse_errors
    from inception_rcnn.evaluation.report.comparison_page import write_comparison

    first, second = (replace(one, errors=analyse_errors(one.truths, one.detections)) for one in reports)
    typer.echo(f"report: {write_comparison(folder, comparison, first, second)}")


if __name__ == "__main__":
    run_command(main)
