"""inception-rcnn propose image.jpg

Draws boxes that may hold an object, or stores those of a whole data set and says what share of its objects they cover.

Give images, folders or patterns, as to `detect`: the first boxes are drawn into pictures beside the images, those of a
folder into its sub-folder `proposals`, or all into the folder --output. Without any, a photograph that scikit-image
ships is used. An image that cannot be read is reported, and the exit status is 1.

Or give a data set: inception-rcnn propose --data coco:DIR --split val --output val.safetensors
Its proposals go to the file --output, with their settings and the checksums of the photographs. A run that was killed
goes on when it is called again. Every core works on a photograph of its own. Crowds and difficult objects do not count.
Several processes share the set: torchrun --nproc-per-node 2 tools/propose.py ..., or inception-rcnn on_ray propose ...

Boxes come from selective search, from MultiBox (a network that looks at the whole photograph), or from both, as in the
shipped detector: merged, near-duplicates left out, ordered by the score that the network gives each box.

Where a data set's files lie is on the page docs/data.md; `inception-rcnn data PATH` says what it is understood to be.

Examples:
  inception-rcnn propose photographs --recursive --output drawn
  inception-rcnn propose --data voc:VOC2007 --split test --output test.safetensors
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import bundled_photograph, echo, run_command
from inception_rcnn.tools.image_arguments import find_pictures, say_pages
from inception_rcnn.tools.scored_sets import (
    DataSet,
    Format,
    Root,
    Split,
    part_named,
    readable_photographs,
    wanted_set,
)
from inception_rcnn.tools.training_sets import Exif, Origin, SkipBroken, Strict, open_part, reading_options

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from inception_rcnn.datasets import DetectionDataset
    from inception_rcnn.datasets.base import ReadingOptions
    from inception_rcnn.evaluation import ProposalRecall
    from inception_rcnn.proposals import Proposer
    from inception_rcnn.structures import GroundTruth, Proposals

_DRAWN = 100  # boxes, unless --max-boxes says otherwise: more hide the picture


def main(
    images: Annotated[
        list[Path] | None, typer.Argument(help='Images, folders, or patterns such as "*.jpg".', show_default=False)
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Take the folders within folders too.")] = False,
    data: DataSet = None,
    dataset: Format = None,
    root: Root = None,
    split: Split = None,
    output: Annotated[
        Path | None, typer.Option(help="File for a data set's proposals, *.safetensors; folder for pictures.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the coverage, or the boxes.")] = None,
    source: Annotated[str | None, typer.Option(help="selective-search, multibox or both. Default: both.")] = None,
    weights: Annotated[str | None, typer.Option(help="Of MultiBox. Default: the shipped network.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Boxes from MultiBox. Default: 200.")] = None,
    objectness: Annotated[
        bool | None, typer.Option(help="Order all boxes by MultiBox's score, or let the sources take turns.")
    ] = None,
    crops: Annotated[bool, typer.Option("--crops", help="MultiBox looks at four windows of the image too.")] = False,
    side: Annotated[
        int | None, typer.Option(help="Of MultiBox's input, a multiple of 64. Default: as trained.")
    ] = None,
    device: Annotated[str, typer.Option(help="Of MultiBox: auto, cpu, cuda or cuda:N.")] = "auto",
    mode: Annotated[str | None, typer.Option(help="single, fast or quality. Default: fast.")] = None,
    superpixel_scale: Annotated[
        float | None, typer.Option(min=0.1, max=10, help="1: as published; 2: the paper's doubling. Default: 2.")
    ] = None,
    ranking: Annotated[str | None, typer.Option(help="Which boxes come first; random is R-CNN's order.")] = None,
    engine: Annotated[str | None, typer.Option(help="native, opencv or selectivesearch. Default: native.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random order. Default: 0.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Of the working picture. Default: 500.")] = None,
    min_side: Annotated[int | None, typer.Option(min=1, help="Shortest side there. Default: 20.")] = None,
    widened_from: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Sides from this share of it on are widened. Default: 0.65.")
    ] = None,
    duplicate_iou: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of boxes that overlap more, one stays. Default: 0.9.")
    ] = None,
    max_boxes: Annotated[int | None, typer.Option(min=1, help="Only the first N. Default: all; drawn: 100.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N images of the data set.")] = None,
    threads: Annotated[
        int | None, typer.Option("--workers", "--threads", min=1, help="Images at a time. Default: one a core.")
    ] = None,
    skip_broken: SkipBroken = False,
    strict: Strict = False,
    origin: Origin = None,
    exif: Exif = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.tools.json_results import check_json_target

    check_json_target(json_file)
    options = {
        "source": source,
        "multibox": weights,
        "top_k": top_k,
        "objectness": objectness,
        "crops": crops or None,
        "side": side,
        "mode": mode,
        "superpixel_scale": superpixel_scale,
        "ranking": ranking,
        "engine": engine,
        "seed": seed,
        "width": width,
        "min_side": min_side,
        "widened_from": widened_from,
        "duplicate_iou": duplicate_iou,
        "max_boxes": max_boxes,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if data is None and dataset is None and root is None:
        if split is not None:
            raise typer.BadParameter("a part needs its data set, --data [FORMAT:]PATH", param_hint="--split")
        drawn = {"max_boxes": _DRAWN, **given}
        _draw_all(images, output, json_file, _proposer(drawn, device), recursive=recursive, quiet=quiet)
        return
    if images:
        raise typer.BadParameter("names a data set, and no images go beside it", param_hint="--data")
    form, path = wanted_set(data, root, dataset)
    reading = reading_options(skip_broken=skip_broken, strict=strict, origin=origin, exif=exif)
    opened = readable_photographs(_open(form, path, part_named(form, path, split), reading), skip_broken=skip_broken)
    _cover_set(opened, output, json_file, _proposer(given, device), limit=limit, threads=threads, quiet=quiet)


def _cover_set(
    dataset: DetectionDataset,
    output: Path | None,
    json_file: Path | None,
    proposer: Proposer,
    *,
    limit: int | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Propose for a whole set, store, count, print."""
    import numpy as np

    from inception_rcnn.proposals.stored import propose_for_set, share_in_proposing
    from inception_rcnn.structures import progress_bar, write_json
    from inception_rcnn.structures.dataset import Subset
    from inception_rcnn.structures.jobs import Share, available_processors
    from inception_rcnn.structures.progress import StageClock

    share = Share.from_environment(os.environ)
    images = Subset(dataset, range(len(dataset) if limit is None else min(limit, len(dataset))))
    calls, clock, workers = count(), StageClock(), threads or available_processors()
    with proposer.side_by_side() as propose, progress_bar(len(images), "proposals", quiet=quiet) as bar:
        # Kernels are compiled, or found, before anything is measured.
        propose(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))

        def counted(image: NDArray[np.uint8]) -> Proposals:
            next(calls)
            return propose(image)

        how = proposer.describe()
        work: dict[str, Any] = {"bar": bar, "threads": workers, "clock": clock}
        made = (
            propose_for_set(images, counted, how, **work)
            if output is None
            else share_in_proposing(images, counted, how, output, share, **work)
        )
    if made is None:  # another process puts the parts together, and prints
        return
    proposals, computed = made.proposals, next(calls)
    truths = [images.ground_truth(index) for index in range(len(images))]
    whole = _coverage(truths, proposals)
    seconds = sum(clock.seconds.values()) / computed if computed else None
    if json_file is not None:
        write_json(json_file, _as_json(whole, proposals, seconds))
    if quiet:
        return
    boxes = sum(map(len, proposals)) / len(proposals)
    echo(f"{len(images)} images, {boxes:.1f} boxes an image" + (f", in {output}" if output else ""))
    _print_time(seconds, workers)
    _print_coverage(whole, truths, proposals)


def _open(form: str, root: Path, split: str | None, reading: ReadingOptions) -> DetectionDataset:
    """Return the data set, with at least one image; what it was understood to be, and what is left out, is printed."""
    from inception_rcnn.structures import InputError

    dataset = open_part(form, root, split, **reading)
    if len(dataset) == 0:
        raise InputError(f"no images in {root}" + (f", split {split!r}" if split else ""))
    return dataset


def _proposer(given: dict[str, Any], device: str) -> Proposer:
    from inception_rcnn.proposals import ProposalSettings, Proposer

    settings = ProposalSettings(**given)
    if not settings.needs_multibox:
        return Proposer(settings)
    from inception_rcnn.backbones.runtime import choose_runtime, keep_freed_memory

    keep_freed_memory()
    return Proposer.load(settings, choose_runtime(device))


def _coverage(truths: Sequence[GroundTruth], proposals: Sequence[Proposals]) -> ProposalRecall | None:
    """Return what share of the objects is covered; None if there are no objects."""
    from inception_rcnn.evaluation import proposal_recall

    if all(truth.ignore.all() for truth in truths):
        return None
    return proposal_recall(truths, proposals)


def _as_json(coverage: ProposalRecall | None, proposals: Sequence[Proposals], seconds: float | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "images": len(proposals),
        "boxes_per_image": sum(map(len, proposals)) / len(proposals),
        "truths": 0,
        "recall": None,
        "recall_at": None,
        "average_recall": None,
        "average_best_overlap": None,
        "seconds_per_image": seconds,
    }
    if coverage is None:
        return entry
    return entry | {
        "truths": coverage.truths,
        "recall": {f"{threshold:g}": share for threshold, share in coverage.recall.items()},
        "recall_at": {str(count): share for count, share in coverage.recall_at.items()},
        "average_recall": coverage.average_recall,
        "average_best_overlap": coverage.average_best_overlap,
    }


def _print_time(seconds: float | None, workers: int) -> None:
    if seconds is None:
        echo("all were in the file already")
    elif workers == 1:
        echo(f"{seconds:.3f} s an image on one core, reading it included")
    else:
        echo(f"{seconds:.3f} s an image, reading it included, with {workers} images at a time, each on one core")


def _print_coverage(
    whole: ProposalRecall | None, truths: Sequence[GroundTruth], proposals: Sequence[Proposals]
) -> None:
    if whole is None:
        echo("no objects are known, so coverage is not either")
        return
    from inception_rcnn.evaluation import recall_by_size
    from inception_rcnn.evaluation.report.text import coverage_lines

    echo(*coverage_lines(whole, list(recall_by_size(truths, proposals).values())))


def _draw_all(
    images: list[Path] | None,
    output: Path | None,
    json_file: Path | None,
    proposer: Proposer,
    *,
    recursive: bool,
    quiet: bool,
) -> None:
    """Propose for single images and draw; an image that cannot be read is reported, and the exit status is 1."""
    from inception_rcnn.structures import load_image, progress_bar
    from inception_rcnn.structures.ahead import run_ahead
    from inception_rcnn.tools.json_results import JsonResults

    if images:
        jobs = find_pictures(images, "proposals", output, recursive=recursive)
    else:
        jobs = find_pictures(
            [bundled_photograph("astronaut.png")], "proposals", output or Path("runs"), recursive=False
        )
    results = None
    if json_file is not None:
        results = JsonResults(json_file, "proposals", proposer.describe(), [source for source, _ in jobs])
        jobs = results.left(jobs, quiet=quiet)
    failed = False

    def prepare(job: tuple[Path, Path]) -> tuple[NDArray[np.uint8], Proposals | None]:
        def read() -> NDArray[np.uint8]:
            return load_image(job[0])

        pixels = read() if results is None else results.read(str(job[0]), read)
        return pixels, proposer.search(pixels)

    with (
        closing(results) if results is not None else nullcontext(),
        progress_bar(len(jobs), "images", quiet=quiet or len(jobs) < 3) as bar,
        closing(run_ahead(prepare, jobs, workers=1)) as ready,
    ):
        for (source, picture), done in zip(jobs, ready, strict=True):
            entry = _draw(source, picture, proposer, done, quiet=quiet)
            failed |= "error" in entry
            if results is not None:
                results.add(entry)
            bar.advance(1)
        if results is not None:
            results.finish()
    if failed:
        raise typer.Exit(1)


def _draw(
    source: Path,
    picture: Path,
    proposer: Proposer,
    done: Future[tuple[NDArray[np.uint8], Proposals | None]],
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Draw the proposals of one image, best on top, and return its JSON entry."""
    from inception_rcnn.structures import ImageError, draw_boxes, write_picture

    entry: dict[str, Any] = {"image": str(source), "width": None, "height": None, "boxes": []}
    try:
        pixels, searched = done.result()
    except (ImageError, OSError) as error:
        echo(f"error: {error}", err=True)
        return {**entry, "error": str(error)}
    say_pages(source)
    found = proposer.complete(pixels, searched)
    write_picture(picture, draw_boxes(pixels, found.boxes[::-1]))
    if not quiet:
        echo(f"{source}: {len(found)} box{'' if len(found) == 1 else 'es'}, drawn in {picture}")
    return {**entry, "width": pixels.shape[1], "height": pixels.shape[0], "boxes": found.boxes.tolist()}


if __name__ == "__main__":
    run_command(main)
