"""inception-rcnn detect image.jpg

Detects objects in photographs: prints a table, draws a picture.

Give images, folders, or patterns with wildcards; of a folder, files with an image's ending are taken, without what was
drawn before, and with --recursive those of the folders within it. Of a file of many pages or frames the first is looked
at. Without any, a photograph that scikit-image ships is used.
The annotated pictures go beside the images, those of a folder into its sub-folder `detections`, or all to --output.
An image that cannot be read or drawn is reported, the others are done, and the exit status is 1.

--json x.jsonl is JSON Lines: a first line with the settings, then an object for each image (path, size, detections,
checksum of the file, or what was wrong with it), written as soon as it is done. The same command again skips what is
there, pictures included, and tries again what could not be read or has changed; with other weights or settings it is
refused. --json x.json is one list of these objects, written at the end; until then they wait as lines in x.json.part,
from which the same command goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import bundled_photograph, check_known, run_command
from inception_rcnn.tools.image_arguments import find_pictures, say_pages

if TYPE_CHECKING:
    from concurrent.futures import Future

    from inception_rcnn.detector import Detector
    from inception_rcnn.detector.pipeline import PreparedImage
    from inception_rcnn.structures import Detections
    from inception_rcnn.tools.json_results import JsonResults


def main(
    images: Annotated[
        list[Path] | None, typer.Argument(help='Images, folders, or patterns such as "*.jpg".', show_default=False)
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Take the folders within folders too.")] = False,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="Checkpoint, or several: their probabilities are averaged. Default: the shipped model."),
    ] = None,
    regions: Annotated[
        str | None, typer.Option(help="pool or warp (the paper's way): which shipped model. Default: as the weights.")
    ] = None,
    multibox: Annotated[
        str | None, typer.Option(help="MultiBox that proposes. Default: the one the checkpoint names, beside it.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the annotated pictures.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all detections, *.json or *.jsonl; see above.")
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Lowest score shown. Default: the checkpoint's.")
    ] = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Overlap beyond which the worse of two goes. Default: the checkpoint's."),
    ] = None,
    one_name_iou: Annotated[
        float,
        typer.Option(min=0, max=1, help="Boxes of any class that overlap so much show the best one only; 0: all."),
    ] = 0.8,
    max_proposals: Annotated[
        int | None, typer.Option(min=0, help="Classify only the first N proposals; 0: all. Default: the checkpoint's.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    runtime: Annotated[str, typer.Option(help="auto, torch or openvino, which computes on the CPU.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8 (calibrated weights, openvino).")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.detector import keep_freed_memory, load_detector
    from inception_rcnn.tools.json_results import check_json_target

    check_json_target(json_file)
    if not images:
        images, output = [bundled_photograph("chelsea.png")], output or Path("runs")
    jobs = find_pictures(images, "detections", output, recursive=recursive)
    if regions is not None:
        check_known("--regions", regions, ("pool", "warp"))
    keep_freed_memory()
    detector = load_detector(
        weights or None,
        device,
        regions=regions,
        runtime=runtime,
        precision=precision,
        multibox=multibox,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_proposals=max_proposals,
    ).with_settings(one_name_iou=one_name_iou or None)
    results = None if json_file is None else _results(json_file, detector, [source for source, _ in jobs])
    if results is not None:
        jobs = results.left(jobs, quiet=quiet)
    failed = _detect_all(detector, jobs, results, quiet=quiet)
    if failed:
        raise typer.Exit(1)


def _results(path: Path, detector: Detector, images: Sequence[Path]) -> JsonResults:
    """Return the file of --json, with what an earlier run of the same command wrote."""
    from inception_rcnn.detector.dataset_inference import describe_run
    from inception_rcnn.tools.json_results import JsonResults

    return JsonResults(path, "detections", describe_run(detector, detector.weights, None), images)


def _detect_all(
    detector: Detector, jobs: Sequence[tuple[Path, Path]], results: JsonResults | None, *, quiet: bool
) -> bool:
    """Detect on all images, and return whether one of them could not be read or drawn."""
    from inception_rcnn.structures import progress_bar

    failed = False
    with (
        closing(results) if results is not None else nullcontext(),
        progress_bar(len(jobs), "images", quiet=quiet or len(jobs) < 3) as bar,
        closing(detector.prepare_ahead(source for source, _ in jobs)) as ready,
    ):
        for (source, picture), done in zip(jobs, ready, strict=True):
            entry = _one(detector, source, picture, done, quiet=quiet)
            failed |= "error" in entry
            if results is not None:
                results.add(entry)
            bar.advance(1)
        if results is not None:
            results.finish()
    return failed


def _one(
    detector: Detector, source: Path, picture: Path, done: Future[PreparedImage], *, quiet: bool
) -> dict[str, Any]:
    """Detect on one image, print, draw, and return its JSON entry."""
    from inception_rcnn.structures import ImageError, draw_detections, write_picture

    entry: dict[str, Any] = {"image": str(source), "width": None, "height": None, "detections": []}
    try:
        prepared = done.result()
    except (ImageError, OSError) as error:
        return _failed(entry, error)
    say_pages(source)
    found, pixels = detector(prepared), prepared.image
    height, width = pixels.shape[:2]
    try:
        write_picture(picture, draw_detections(pixels, found))
    except ImageError as error:
        return _failed(entry, error)
    if not quiet:
        _print_table(source, picture, found)
    return {**entry, "width": width, "height": height, "detections": found.to_records()}


def _failed(entry: dict[str, Any], error: Exception) -> dict[str, Any]:
    """Report what is wrong with an image, and return its JSON entry."""
    typer.echo(f"error: {error}", err=True)
    return {**entry, "error": str(error)}


def _print_table(source: Path, picture: Path, found: Detections) -> None:
    typer.echo(f"{source}: {len(found)} object{'' if len(found) == 1 else 's'}, drawn in {picture}")
    for record in found.to_records():
        corners = " ".join(f"{value:7.1f}" for value in record["box"])
        typer.echo(f"  {record['label']:<16} {record['score']:.3f}  {corners}")


if __name__ == "__main__":
    run_command(main)
