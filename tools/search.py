"""inception-rcnn search found --have dog --lack person

Lists the photographs of an archive that have some classes and lack others, best first, and draws a sheet of them.

The archive is what `detect --engine` wrote. A photograph is as good as the worst of the best scores of the classes
that it should have. --sheet draws the first ones into a picture, read from where the archive has them.

Examples:
  inception-rcnn search found --have cat
  inception-rcnn search found --have dog --have bicycle --lack person --least 0.5 --sheet sheet.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import echo, run_command
from inception_rcnn.tools.detect_archive import as_named


def main(
    folder: Annotated[str, typer.Argument(help="What `detect --engine --output` wrote.", show_default=False)],
    have: Annotated[list[str] | None, typer.Option(help="Class that has to be there; may be repeated.")] = None,
    lack: Annotated[list[str] | None, typer.Option(help="Class that must not be there; may be repeated.")] = None,
    least: Annotated[float, typer.Option(min=0, max=1, help="Detections of a lower score do not count.")] = 0.0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many photographs.")] = 100,
    sheet: Annotated[Path | None, typer.Option(help="Picture of the first ones, *.jpg or *.png.")] = None,
    columns: Annotated[int, typer.Option(min=1, max=20, help="Of the sheet.")] = 6,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.datasets.archive.search import search_archive
    from inception_rcnn.structures.files import check_target

    if sheet is not None:
        check_target(sheet)
    found = search_archive(as_named(folder), have or [], lack or [], least=least, limit=limit)
    for one in found:
        echo(f"{one.score:.3f}  {one.image}")
    echo(f"{len(found)} photographs", err=True)
    if sheet is not None and found:
        _draw([one.image for one in found], sheet, columns)


def _draw(images: list[str], sheet: Path, columns: int) -> None:
    """Draw a sheet; a photograph that cannot be read is said, and left out."""
    from inception_rcnn.datasets.archive.storage import Location
    from inception_rcnn.structures import ImageError, InputError, load_image, write_picture
    from inception_rcnn.structures.drawing import contact_sheet

    pixels = []
    for name in images[: columns * columns]:
        try:
            pixels.append(load_image(Location(name).read()))
        except (ImageError, InputError, OSError) as error:
            echo(f"left out: {name}: {error}", err=True)
    if pixels:
        write_picture(sheet, contact_sheet(pixels, columns=min(columns, len(pixels))))
        echo(f"{len(pixels)} photographs in {sheet}", err=True)


if __name__ == "__main__":
    run_command(main)
