"""Pictures with boxes on them, for looking at: drawn, named and written."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from inception_rcnn.structures.boxes import as_boxes
from inception_rcnn.structures.checks import rows
from inception_rcnn.structures.detections import Detections
from inception_rcnn.structures.errors import InputError
from inception_rcnn.structures.files import write_whole
from inception_rcnn.structures.images import check_rgb

Colour = tuple[int, int, int]

_GOLDEN = 0.618034  # steps of the golden ratio keep the hues of neighbouring classes far apart
_ORDINARY: Colour = (66, 133, 244)
_HIGHLIGHT: Colour = (255, 196, 0)


def draw_detections(
    image: NDArray[np.uint8], detections: Detections, *, line_width: int | None = None
) -> NDArray[np.uint8]:
    """Return a copy of the picture with each detection's box and a label like "dog 0.87".

    A class has the same colour in every picture. Better detections are drawn over worse ones.

    Args:
        image: uint8 RGB (H, W, 3); it is not changed.
        detections: Boxes in the picture's pixels.
        line_width: In pixels; None chooses one that suits the picture.

    Raises:
        InputError: The picture is not uint8 (H, W, 3), or the line width is below 1.
    """
    canvas, pen = _canvas(image)
    width = _line_width(line_width, image.shape)
    font = _font(image.shape)
    records = detections.to_records()
    for record, label in reversed(list(zip(records, detections.labels.tolist(), strict=True))):
        colour = class_colour(label)
        corner = _frame(pen, record["box"], colour, width, canvas.size, rim=1)
        if corner is not None:
            _tag(pen, f"{record['label']} {record['score']:.2f}", corner, colour, font, canvas.size)
    return np.array(canvas)


def draw_boxes(
    image: NDArray[np.uint8], boxes: ArrayLike, *, highlight: NDArray[Any] | Sequence[int] | None = None
) -> NDArray[np.uint8]:
    """Return a copy of the picture with thin blue boxes, and highlighted ones yellow, thicker and on top.

    Args:
        image: uint8 RGB (H, W, 3); it is not changed.
        boxes: (N, 4) in the picture's pixels, such as proposals or ground truth.
        highlight: Mask (N,) or positions of the boxes to stand out.

    Raises:
        InputError: The picture is not uint8 (H, W, 3), or the boxes or the highlight do not fit.
    """
    canvas, pen = _canvas(image)
    checked = as_boxes(boxes)
    chosen = np.zeros(len(checked), bool)
    if highlight is not None:
        chosen[rows(highlight, len(checked))] = True
    width = _line_width(None, image.shape)
    for box in checked[~chosen].tolist():
        _frame(pen, box, _ORDINARY, max(width // 2, 1), canvas.size)
    for box in checked[chosen].tolist():
        _frame(pen, box, _HIGHLIGHT, width, canvas.size)
    return np.array(canvas)


def class_colour(label: int) -> Colour:
    """Return the RGB colour, 0..255 each, in which class `label` is drawn.

    >>> class_colour(0) == class_colour(0) != class_colour(1)
    True
    """
    red, green, blue = colorsys.hsv_to_rgb((label * _GOLDEN) % 1.0, 0.85 - 0.25 * (label % 2), 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _canvas(image: NDArray[np.uint8]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    check_rgb(image)
    canvas = Image.fromarray(np.ascontiguousarray(image)).copy()
    return canvas, ImageDraw.Draw(canvas)


def _line_width(asked: int | None, shape: tuple[int, ...]) -> int:
    if asked is None:
        return max(2, round(min(shape[:2]) / 240))
    if asked < 1:
        raise InputError(f"line_width should be at least 1 pixel, got {asked}")
    return int(asked)


def _font(shape: tuple[int, ...]) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=max(11, round(min(shape[:2]) / 32)))


def _frame(
    pen: ImageDraw.ImageDraw, box: list[float], colour: Colour, width: int, size: tuple[int, int], rim: int = 0
) -> tuple[int, int] | None:
    """Draw the part of the box that is in the picture; return its upper left pixel, or None if there is none.

    A rim of black or white pixels on both sides of the line keeps it visible on a background of its own colour.
    """
    left, top = max(round(box[0]), 0), max(round(box[1]), 0)
    right, bottom = min(round(box[2]), size[0]) - 1, min(round(box[3]), size[1]) - 1  # Pillow includes the last pixel
    if right < left or bottom < top:
        return None
    stroke = min(width, (min(right - left, bottom - top) + 2) // 2)
    if rim:
        edge = (left - rim, top - rim, right + rim, bottom + rim)
        pen.rectangle(edge, outline=_ink(colour), width=stroke + 2 * rim)
    pen.rectangle((left, top, right, bottom), outline=colour, width=stroke)
    return left, top


def _tag(
    pen: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[int, int],
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """Write the text on a plate of the colour: above the corner, or below it where the picture ends, never outside."""
    x1, y1, x2, y2 = pen.textbbox((0, 0), text, font=font)
    width, height = round(x2 - x1) + 6, round(y2 - y1) + 6
    left = max(min(corner[0], size[0] - width), 0)
    top = corner[1] - height if corner[1] >= height else corner[1]
    pen.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
    pen.text((left + 3 - x1, top + 3 - y1), text, fill=_ink(colour), font=font)


def _ink(colour: Colour) -> Colour:
    """Return black or white, whichever is easier to read on the colour (luma of ITU-R BT.601)."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)


def picture_files(images: Sequence[Path], word: str, output: Path | None = None) -> list[tuple[Path, Path]]:
    """Return each image with the file its annotated picture goes to; no file is named twice.

    Args:
        images: Images, or folders, of which every regular file is taken, whatever its name, in alphabetical order.
        word: What the picture shows: `photo.webp` becomes `photo-<word>.jpg`; a PNG stays a PNG.
        output: Folder for all pictures; None puts them beside their images, those of a folder into its sub-folder
            `<word>`, so that a second call does not take them for images.

    Raises:
        InputError: There is no file in the folders.
    """
    named: dict[Path, Path] = {}  # picture: image
    for path in images:
        sources = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
        folder = output or (path / word if path.is_dir() else path.parent)
        for source in sources:
            suffix = ".png" if source.suffix.lower() == ".png" else ".jpg"
            picture, number = folder / f"{source.stem}-{word}{suffix}", 2
            while picture in named:  # a.jpg and a.webp, or two folders' photographs in one output folder
                picture, number = folder / f"{source.stem}-{word}-{number}{suffix}", number + 1
            named[picture] = source
    if not named:
        raise InputError(f"no files in {', '.join(str(path) for path in images)}; give images or a folder with images")
    return [(source, picture) for picture, source in named.items()]


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Put the picture into a file, whole or not at all; its folder is made if need be.

    Args:
        path: *.png, or anything else for JPEG.
        pixels: uint8 RGB (H, W, 3).

    Raises:
        InputError: The pixels have another shape or type.
        OSError: The file cannot be written.
    """
    check_rgb(pixels, "pixels")
    buffer = BytesIO()
    kind = "PNG" if path.suffix == ".png" else "JPEG"
    Image.fromarray(pixels).save(buffer, kind, quality=92)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())
