"""inception-rcnn detect image.jpg

Detects objects in photographs: prints a table, draws a picture.

Give images or folders (every file in a folder is tried). Without any, a photograph that scikit-image ships is used.
The annotated pictures go beside the images, those of a folder into its sub-folder `detections`, or all to --output.
An image that cannot be read is reported, the others are done, and the exit status is 1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import run_command

if TYPE_CHECKING:
    from inception_rcnn.detector import Detector
    from inception_rcnn.structures import Detections


def main(
    images: Annotated[list[Path] | None, typer.Argument(help="Images or folders.", show_default=False)] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="Checkpoint, or several: their probabilities are averaged. Default: the shipped model."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the annotated pictures.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for all detections, as JSON.")] = None,
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Lowest score shown. Default: the checkpoint's.")
    ] = None,
    iou_threshold: Annotated[float, typer.Option(min=0, max=1, help="Overlap at which the worse of two goes.")] = 0.3,
    max_proposals: Annotated[int | None, typer.Option(min=1, help="Classify only the first N proposals.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress.")] = False,
) -> None:
    """Parses, calls, prints."""
    from inception_rcnn.detector import keep_freed_memory, load_detector
    from inception_rcnn.structures import progress_bar, write_json

    jobs = _jobs(images, output)
    keep_freed_memory()
    detector = load_detector(weights or None, device).with_settings(
        iou_threshold=iou_threshold, max_proposals=max_proposals
    )
    if score_threshold is not None:
        detector = detector.with_settings(score_threshold=score_threshold)
    entries = []
    with progress_bar(len(jobs), "images", quiet=quiet or len(jobs) < 3) as bar:
        for source, picture in jobs:
            entries.append(_one(detector, source, picture, quiet=quiet))
            bar.advance(1)
    if json_file is not None:
        write_json(json_file, entries)
    if any("error" in entry for entry in entries):
        raise typer.Exit(1)


def _one(detector: Detector, source: Path, picture: Path, *, quiet: bool) -> dict[str, Any]:
    """Detects on one image, prints, draws, and returns its JSON entry."""
    from inception_rcnn.structures import ImageError, load_image

    entry: dict[str, Any] = {"image": str(source), "width": None, "height": None, "detections": []}
    try:
        pixels = load_image(source)
    except (ImageError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        return {**entry, "error": str(error)}
    found = detector(pixels)
    height, width = pixels.shape[:2]
    _write_picture(picture, pixels, found)
    if not quiet:
        _print_table(source, picture, found)
    return {**entry, "width": width, "height": height, "detections": found.to_records()}


def _print_table(source: Path, picture: Path, found: Detections) -> None:
    typer.echo(f"{source}: {len(found)} object{'' if len(found) == 1 else 's'}, drawn in {picture}")
    for record in found.to_records():
        corners = " ".join(f"{value:7.1f}" for value in record["box"])
        typer.echo(f"  {record['label']:<16} {record['score']:.3f}  {corners}")


def _write_picture(path: Path, pixels: Any, found: Detections) -> None:
    from io import BytesIO

    from PIL import Image

    from inception_rcnn.structures import draw_detections, write_whole

    buffer = BytesIO()
    drawn = Image.fromarray(draw_detections(pixels, found))
    if path.suffix == ".png":
        drawn.save(buffer, "PNG")
    else:
        drawn.save(buffer, "JPEG", quality=92)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def _jobs(images: list[Path] | None, output: Path | None) -> list[tuple[Path, Path]]:
    """Each image with the file its annotated picture goes to; no file is named twice."""
    from inception_rcnn.structures import InputError

    if not images:
        return [(_bundled_photograph(), (output or Path("runs")) / "astronaut-detections.png")]
    sources: list[tuple[Path, Path]] = []
    for path in images:
        if path.is_dir():
            files = sorted(entry for entry in path.iterdir() if entry.is_file())
            sources += [(file, output or path / "detections") for file in files]
        else:
            sources.append((path, output or path.parent))
    if not sources:
        raise InputError(f"no files in {', '.join(str(path) for path in images)}; give images or a folder with images")
    taken: set[Path] = set()
    jobs = []
    for source, folder in sources:
        picture = _picture_name(source, folder, taken)
        taken.add(picture)
        jobs.append((source, picture))
    return jobs


def _picture_name(source: Path, folder: Path, taken: set[Path]) -> Path:
    suffix = ".png" if source.suffix.lower() == ".png" else ".jpg"
    name = folder / f"{source.stem}-detections{suffix}"
    number = 2
    while name in taken:  # a.jpg and a.webp, or two folders' photographs in one --output
        name = folder / f"{source.stem}-detections-{number}{suffix}"
        number += 1
    return name


def _bundled_photograph() -> Path:
    import skimage

    return Path(skimage.__file__).parent / "data" / "astronaut.png"


if __name__ == "__main__":
    run_command(main)
