"""inception-rcnn eval_classification imagenet/val --weights imagenet:bvlc_googlenet.caffemodel --crops 144

Measures a classifier as the paper does: top-1 and top-5 by models and crops.

The data: a folder with a folder for each class (torchvision's ImageFolder; for the ImageNet weights they are called by
WordNet ids, and may be some of the 1000), or a table, labels.tsv, with columns `file` and `class_index`. --split names
a part of a folder that has several, such as val; ILSVRC's own, Data/CLS-LOC/val, is one.
--weights once or more, up to the paper's seven: the table has the first alone and all together. --crops 144 looks at
each photograph once, and has the rows for 1 and 10, which are among the 144, as well. The cost is forward passes for a
photograph. Beside the mean over the crops stands the maximum, which the paper tried and found worse.

Examples:
  inception-rcnn eval_classification imagenet/val --crops 144
  inception-rcnn eval_classification photographs --split val --weights runs/classifier/model.safetensors
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, echo, print_problems, run_command
from inception_rcnn.tools.detector_options import Device

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inception_rcnn.backbones import Classifier, CropAccuracy


def main(
    data: Annotated[Path, typer.Argument(help="Folder with a folder for each class, or a table, labels.tsv.")],
    split: Annotated[
        str | None, typer.Option(help="Part of the folder, such as val; also of ILSVRC's task. Default: all of it.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="GoogLeNet with outputs, or several. Default: imagenet.", show_default=False),
    ] = None,
    crops: Annotated[str, typer.Option(help="The most of each photograph: 1, 10 or 144.")] = "10",
    resize: Annotated[str, typer.Option(help="keep (the paper's) or stretch (to a square first, as BVLC's).")] = "keep",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many photographs, evenly spread.")] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.backbones.classification import Classifier, crop_accuracies
    from inception_rcnn.backbones.crops import CROP_COUNTS, RESIZES
    from inception_rcnn.backbones.runtime import choose_runtime, drawing_threads, keep_freed_memory
    from inception_rcnn.datasets import open_labelled_images, open_labelled_part

    check_known("--crops", crops, [str(count) for count in CROP_COUNTS])
    check_known("--resize", resize, RESIZES)
    photographs = open_labelled_images(data) if split is None else open_labelled_part(data, split)
    keep_freed_memory()
    runtime = choose_runtime(device, precision=precision)
    classifier = Classifier.load(weights or ["imagenet"], runtime)
    outputs = photographs.outputs(classifier.num_classes, _keys(classifier))
    count = min(limit or len(outputs), len(outputs))
    chosen = [number * len(outputs) // count for number in range(count)]
    jobs = [(photographs.paths[number], outputs[number]) for number in chosen]
    counts = [number for number in CROP_COUNTS if number <= int(crops)]
    problems: list[str] = []
    start = time.perf_counter()
    loaded = _loaded(jobs, problems, drawing_threads(runtime), quiet=quiet)
    rows = crop_accuracies(classifier, loaded, counts, resize=resize)
    seconds = time.perf_counter() - start
    print_problems(problems)
    of = f"{rows[0].photographs} of {len(outputs)} photographs"
    echo(f"{of}, {classifier.num_classes} classes; photographs resized: {resize}; {runtime}")
    _print_rows(rows)
    echo(f"{seconds:.0f} s, {1000 * seconds / rows[0].photographs:.0f} ms a photograph for all rows")


def _keys(classifier: Classifier) -> Sequence[str] | None:
    """By what folders know the outputs: the names that the weights have, ImageNet's WordNet ids, or nothing."""
    from inception_rcnn.datasets.imagenet_classes import imagenet_synsets

    if classifier.class_names is not None:
        return classifier.class_names
    return imagenet_synsets() if len(imagenet_synsets()) == classifier.num_classes else None


def _loaded(
    jobs: Sequence[tuple[Path, int]], problems: list[str], workers: int, *, quiet: bool
) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Yield images with their classes, read ahead; those that cannot be read are noted and left out."""
    from inception_rcnn.structures import ImageError, load_image, progress_bar
    from inception_rcnn.structures.ahead import run_ahead

    images = run_ahead(load_image, (path for path, _ in jobs), workers=workers)
    with progress_bar(len(jobs), "photographs", quiet=quiet) as bar:
        for done, (_, output) in zip(images, jobs, strict=True):
            try:
                yield done.result(), output
            except ImageError as error:
                problems.append(str(error))
            bar.advance(1)


def _print_rows(rows: Sequence[CropAccuracy]) -> None:
    from inception_rcnn.backbones.classification import PAPER_TOP5_ERRORS

    echo("               mean over crops          maximum over crops   the paper, ILSVRC 2014 val")
    echo("models crops  cost  top-1  top-5  error    top-1  top-5  error    top-5 error")
    for row in rows:
        paper = PAPER_TOP5_ERRORS.get((row.models, row.crops))
        mean = (100 * row.top1, 100 * row.top5, 100 - 100 * row.top5)
        largest = (100 * row.maximum_top1, 100 * row.maximum_top5, 100 - 100 * row.maximum_top5)
        figures = "    ".join(" ".join(f"{value:6.2f}" for value in part) for part in (mean, largest))
        echo(f"{row.models:6} {row.crops:5} {row.cost:5} {figures}    {'' if paper is None else f'{paper:6.2f}'}")


if __name__ == "__main__":
    run_command(main)
