"""inception-rcnn detect image.jpg

Detects objects in photographs and videos: prints a table, draws a picture.

Give images, folders, or patterns with wildcards; of a folder, files with an image's ending are taken, without what was
drawn before, and with --recursive those of the folders within it. A list (*.txt) names one of these a line. "-" reads a
photograph from standard input, or names of files, one a line. Of a file of many pages or frames the first is looked at;
with --pages, all. Without any argument, a photograph that scikit-image ships is used.
The annotated pictures go beside the images, those of a folder into its sub-folder `detections`, or all to --output.
An image that cannot be read or drawn is reported, the others are done, and the exit status is 1.

A video (*.mp4, *.avi, *.mov, *.mkv, *.webm ...) or a camera (camera:0) is drawn into a video without sound; --track
numbers what is seen in several frames and steadies its boxes, --every 3 looks at every third frame only. Ctrl-C ends it
and keeps what was drawn.

--tile sees a large photograph in overlapping tiles, so that small objects are found; it takes as much longer as there
are tiles.

--json x.jsonl is JSON Lines: a first line with the settings, then an object for each image (path, size, detections,
checksum of the file, or what was wrong with it), written as soon as it is done. The same command again skips what is
there with its picture and cut-outs, and tries again what could not be read or has changed; with other weights or
settings it is refused. --json x.json is one list of these objects, written at the end; until then they wait as lines in
x.json.part, from which the same command goes on.

--engine local or ray is for archives: a folder with all within it, a list, Parquet with the bytes of images, or a URI
such as s3://bucket/photographs. --output is a folder or URI then, and gets Parquet files, a row a photograph; the same
command again makes those that are missing. ray spreads the work over a cluster, that of --address or one of this
machine's processors; docs/scale.md has the whole of it.

--write FORMAT:PATH, as often as wanted, writes at the end: csv, parquet, coco (results), coco-set (FiftyOne, CVAT), voc
(a folder of XML), yolo (a folder of texts), cvat, label-studio.

Examples:
  inception-rcnn detect photographs --recursive --json found.jsonl
  inception-rcnn detect street.mp4 --track --every 2
  inception-rcnn detect aerial.jpg --tile 480 --write csv:found.csv --crops cut
  inception-rcnn detect s3://bucket/photographs --engine ray --output found
  find . -name "*.jpg" | inception-rcnn detect - --no-pictures --json found.json
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import bundled_photograph, check_known, run_command
from inception_rcnn.tools.detect_outputs import Crops, check_targets
from inception_rcnn.tools.detect_run import DetectRun
from inception_rcnn.tools.detect_sources import Sources, find_sources
from inception_rcnn.tools.detector_options import MultiBoxWeights, Regions

if TYPE_CHECKING:
    from inception_rcnn.detector import Detector
    from inception_rcnn.detector.tiling import TileSettings
    from inception_rcnn.tools.json_results import JsonResults

_VIDEO, _LARGE, _FOUND, _COMPUTED = "Videos", "Large photographs", "What is found", "How it is computed"
_ARCHIVE = "Archives"


def _option(panel: str, help: str, *names: str, **rest: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **rest)


def main(
    images: Annotated[  # texts: in a path, a URI loses slashes
        list[str] | None,
        typer.Argument(
            help='Images, folders, patterns such as "*.jpg", lists, videos, camera:0, -.', show_default=False
        ),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Take the folders within folders too.")] = False,
    pages: Annotated[bool, typer.Option("--pages", help="All pages or frames of an image file.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N photographs, and frames of a video.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="Checkpoint, or several: their probabilities are averaged. Default: the shipped model."),
    ] = None,
    regions: Regions = None,
    multibox: MultiBoxWeights = None,
    output: Annotated[str | None, typer.Option(help="Folder for the annotated pictures.", metavar="<path>")] = None,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Draw none.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all detections, *.json or *.jsonl; see above.")
    ] = None,
    write: Annotated[
        list[str] | None, typer.Option(help="Write them as csv, parquet, coco ... too.", metavar="FORMAT:PATH")
    ] = None,
    crops: Annotated[Path | None, typer.Option(help="Folder for what is in the boxes, by class.")] = None,
    score_threshold: Annotated[
        float | None, _option(_FOUND, "Lowest score shown. Default: the checkpoint's.", min=0, max=1)
    ] = None,
    iou_threshold: Annotated[
        float | None,
        _option(_FOUND, "Overlap beyond which the worse of two goes. Default: the checkpoint's.", min=0, max=1),
    ] = None,
    one_name_iou: Annotated[
        float,
        _option(_FOUND, "Boxes of any class that overlap so much show the best one only; 0: all.", min=0, max=1),
    ] = 0.8,
    max_proposals: Annotated[
        int | None, _option(_FOUND, "Classify only the first N proposals; 0: all. Default: the checkpoint's.", min=0)
    ] = None,
    tile: Annotated[
        int | None, _option(_LARGE, "Side of the smallest tiles in pixels; 0: as the network sees it best.", min=0)
    ] = None,
    tile_overlap: Annotated[float, _option(_LARGE, "Of neighbouring tiles, as a share.", min=0, max=0.9)] = 0.25,
    track: Annotated[bool, _option(_VIDEO, "Number things from frame to frame, and steady boxes.", "--track")] = False,
    every: Annotated[int, _option(_VIDEO, "Look at every Nth frame; those between show its boxes.", min=1)] = 1,
    engine: Annotated[
        str | None, _option(_ARCHIVE, "local or ray: go through an archive, into Parquet; see above.")
    ] = None,
    address: Annotated[str | None, _option(_ARCHIVE, "Of the Ray cluster. Default: one is started here.")] = None,
    detectors: Annotated[
        int | None, _option(_ARCHIVE, "On the cluster. Default: one a GPU, or one a node.", min=1)
    ] = None,
    per_shard: Annotated[int, _option(_ARCHIVE, "Photographs of a Parquet file.", min=1, max=100_000)] = 512,
    image_column: Annotated[str | None, _option(_ARCHIVE, "Of Parquet: the bytes of images.")] = None,
    id_column: Annotated[str | None, _option(_ARCHIVE, "Of Parquet: what photographs are called.")] = None,
    device: Annotated[str, _option(_COMPUTED, "auto, cpu, cuda or cuda:N.")] = "auto",
    runtime: Annotated[str, _option(_COMPUTED, "auto, torch or openvino, which computes on the CPU.")] = "auto",
    precision: Annotated[str, _option(_COMPUTED, "auto, fp32, bf16 or int8 (calibrated weights, openvino).")] = "auto",
    workers: Annotated[
        int | None, _option(_COMPUTED, "Threads that read and search ahead; 0: none. Default: as suits.", min=0)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress, no summary.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.tools.json_results import check_json_target

    check_json_target(json_file)
    targets = check_targets(write or [])
    if regions is not None:
        check_known("--regions", regions, ("pool", "warp"))
    if engine is not None:
        _archive(images or [], output, engine, locals())
        return
    named, folder = [Path(word) for word in images or []], None if output is None else Path(output)
    if not named:
        named, folder = [bundled_photograph("chelsea.png")], folder or Path("runs")
    cut = None if crops is None else Crops(crops)
    sources = find_sources(named, folder, recursive=recursive, pages=pages)
    sources = Sources(sources.stills[:limit], sources.films)
    detector = _detector(locals())
    results = None if json_file is None else _results(json_file, detector, sources, locals())
    if results is not None:
        left = [still for still in sources.stills if still.name not in results.done]
        results.say_skipped(len(sources.stills) - len(left), len(sources.stills), quiet=quiet)
        sources = Sources(left, sources.films)
    run = DetectRun(
        detector,
        results,
        targets,
        tiles=_tiles(tile, tile_overlap),
        draws=not no_pictures,
        crops=cut,
        workers=workers,
        quiet=quiet,
    )
    with closing(results) if results is not None else nullcontext():
        run.all_of(sources, track=track, every=every, limit=limit)
    if run.failed:
        raise typer.Exit(1)


def _archive(images: Sequence[str], output: str | None, engine: str, given: dict[str, Any]) -> None:
    """Go through an archive."""
    from inception_rcnn.tools.detect_archive import ArchiveOptions, check_archive, detect_archive

    source, folder = check_archive(images, output, given)
    columns = given["image_column"], given["id_column"]
    options = ArchiveOptions(engine, given["address"], given["detectors"], given["per_shard"], *columns)
    failed = detect_archive(
        source, folder, lambda: _detector(given), options, workers=given["workers"], quiet=given["quiet"]
    )
    if failed:
        raise typer.Exit(1)


def _detector(given: dict[str, Any]) -> Detector:
    """Return what the options name."""
    from inception_rcnn.detector import keep_freed_memory, load_detector

    keep_freed_memory()
    names = ("regions", "runtime", "precision", "multibox", "score_threshold", "iou_threshold", "max_proposals")
    loaded = load_detector(given["weights"] or None, given["device"], **{name: given[name] for name in names})
    return loaded.with_settings(one_name_iou=given["one_name_iou"] or None)


def _tiles(side: int | None, overlap: float) -> TileSettings | None:
    """Return how photographs are cut; None: they are not."""
    from inception_rcnn.detector.tiling import TileSettings

    return None if side is None else TileSettings(side=side or None, overlap=overlap)


def _results(path: Path, detector: Detector, sources: Sources, given: dict[str, Any]) -> JsonResults:
    """Return the file of --json, with what an earlier run of the same command wrote."""
    from dataclasses import asdict

    from inception_rcnn.detector.dataset_inference import describe_run
    from inception_rcnn.tools.json_results import JsonResults

    settings = describe_run(detector, detector.weights, None)
    tiles = _tiles(given["tile"], given["tile_overlap"])
    if tiles is not None:
        settings = {**settings, "tiles": asdict(tiles)}
    still_of = {still.name: still for still in sources.stills}

    def lacks(entry: Mapping[str, Any]) -> bool:
        still = still_of.get(entry["image"])
        if still is None or "error" in entry:
            return False
        no_crops = given["cut"] is not None and entry.get("detections") and not given["cut"].has(still.stem)
        return bool(no_crops) or not (given["no_pictures"] or still.picture.exists())

    names = [still.name for still in sources.stills]
    return JsonResults(path, "detections", settings, names, [film.name for film in sources.films], lacks)


if __name__ == "__main__":
    run_command(main)
