"""Pictures with boxes on them, for looking at: drawn, named and written."""

from __future__ import annotations

import colorsys
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from inception_rcnn.structures.boxes import as_boxes
from inception_rcnn.structures.columns import rows
from inception_rcnn.structures.errors import ImageError, InputError
from inception_rcnn.structures.files import write_whole
from inception_rcnn.structures.images import check_rgb, image_files, resize_image
from inception_rcnn.structures.label_places import LabelPlaces, Rectangle

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_GOLDEN = 0.618034  # steps of the golden ratio keep the hues of neighbouring classes far apart
_ORDINARY: Colour = (66, 133, 244)
_HIGHLIGHT: Colour = (255, 196, 0)
_SMALLEST_FONT = 9  # pixels
_MARK = "drawn by inception-rcnn"  # a comment in the file, by which it is not taken for a photograph
_MARKED_WITHIN = 1024  # bytes: comments come before the pixels
_SHEET_GAP = 6  # pixels between the pictures of `contact_sheet`
# Of the sheet that `draw_ranking` makes, in pixels.
_SHEET_PICTURE, _SHEET_PANEL, _SHEET_ROW, _SHEET_MARGIN = 480, 400, 60, 16
_LONGEST_JPEG = 65_500  # pixels a side: what libjpeg writes


class Drawable(Protocol):
    """What can be drawn: `Detections`, which draw themselves and are built on this module."""

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(M, 4) x1 y1 x2 y2 in the picture's pixels."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """(M,), descending."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(M,), which choose the colours."""

    def names(self) -> list[str]:
        """Return the text of each label."""


@dataclass(frozen=True, eq=False)
class CaptionedBoxes:
    """Boxes to be drawn with texts of their own, in place of class names.

    Args:
        boxes: (M, 4) x1 y1 x2 y2 in the picture's pixels.
        scores: (M,), descending.
        labels: (M,), which decide the colours.
        texts: As many.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    texts: Sequence[str]

    def names(self) -> list[str]:
        """Return the text of each box."""
        return list(self.texts)


def draw_detections(
    image: NDArray[np.uint8], detections: Drawable, *, line_width: int | None = None, scores: bool = True
) -> NDArray[np.uint8]:
    """Return a copy of the picture with each detection's box and a label like "dog 0.87".

    A class has the same colour in every picture. Better boxes are drawn over worse ones, labels over all boxes. A label
    touches its box, covers no other label and stays in the picture (`LabelPlaces` says where). One that has no place
    there is written smaller, then without the score; if that has no place either, the box stays without a label.

    Args:
        image: uint8 RGB (H, W, 3); it is not changed.
        detections: Boxes in the picture's pixels.
        line_width: In pixels; None chooses one that suits the picture.
        scores: Write them behind the names.

    Raises:
        InputError: The picture is not uint8 (H, W, 3), or the line width is below 1.
    """
    canvas, pen = _canvas(image)
    width = _line_width(line_width, image.shape)
    columns = (detections.boxes.tolist(), detections.labels.tolist(), detections.names(), detections.scores.tolist())
    seen = [
        (part, class_colour(label), name, score)
        for box, label, name, score in zip(*columns, strict=True)
        if (part := _visible(box, canvas.size)) is not None
    ]
    for box, colour, _, _ in reversed(seen):
        _frame(pen, box, colour, width, rim=1)
    writing, places = _Writing(image.shape), LabelPlaces(canvas.size)
    for box, colour, name, score in seen:
        plates = writing.plates(name, score if scores else None)
        placed = places.place(box, [plate.size for plate in plates])
        if placed is not None:
            plates[placed[0]].draw(pen, placed[1:], colour)
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
    styles = ((~chosen, _ORDINARY, max(width // 2, 1)), (chosen, _HIGHLIGHT, width))
    for which, colour, thickness in styles:
        for box in checked[which].tolist():
            if (seen := _visible(box, canvas.size)) is not None:
                _frame(pen, seen, colour, thickness)
    return np.array(canvas)


def draw_ranking(image: NDArray[np.uint8], names: Sequence[str], scores: Sequence[float]) -> NDArray[np.uint8]:
    """Return a sheet: the picture, at most 480 px large, and beside it a bar for each class, in the order given.

    Args:
        image: uint8 RGB (H, W, 3); it is not changed.
        names: Of the classes; one that is too long for its line is cut.
        scores: As many, in 0..1: shares of the bars' length.

    Raises:
        InputError: The picture is not uint8 (H, W, 3), or there are not as many names as scores, or a score is outside.
    """
    if len(names) != len(scores) or not all(0 <= score <= 1 for score in scores):
        raise InputError(f"scores should be in 0..1, one for each of {len(names)} names, got {list(scores)}")
    picture, _ = _canvas(image)
    picture.thumbnail((_SHEET_PICTURE, _SHEET_PICTURE))
    height = max(picture.height, _SHEET_ROW * len(names) + 2 * _SHEET_MARGIN)
    sheet = Image.new("RGB", (picture.width + _SHEET_PANEL, height), "white")
    sheet.paste(picture)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    left, right = picture.width + _SHEET_MARGIN, sheet.width - _SHEET_MARGIN
    for row, (name, score) in enumerate(zip(names, scores, strict=True)):
        top, share = _SHEET_MARGIN + row * _SHEET_ROW, f"{100 * score:.1f} %"
        room = right - left - pen.textlength(share, font) - _SHEET_MARGIN
        pen.text((left, top), _shortened(name, font, room), fill="black", font=font)
        pen.text((right, top), share, fill="black", font=font, anchor="ra")
        pen.rectangle((left, top + 28, right, top + 40), fill=(232, 232, 232))
        if (end := left + round(score * (right - left))) > left:
            pen.rectangle((left, top + 28, end, top + 40), fill=_ORDINARY)
    return np.array(sheet)


def _shortened(name: str, font: Font, room: float) -> str:
    """Return a name in one line, as much of it as there is room for."""
    name = " ".join(name.split())
    if font.getlength(name) <= room:
        return name
    while name and font.getlength(f"{name}...") > room:
        name = name[:-1]
    return f"{name.rstrip()}..."


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


def _visible(box: list[float], size: tuple[int, int]) -> Rectangle | None:
    """Return the part of a box that is in the picture, in whole pixels; None if there is none."""
    x1, y1 = max(round(box[0]), 0), max(round(box[1]), 0)
    x2, y2 = min(round(box[2]), size[0]), min(round(box[3]), size[1])
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def _frame(pen: ImageDraw.ImageDraw, box: Rectangle, colour: Colour, width: int, rim: int = 0) -> None:
    """Draw a box.

    A rim of black or white pixels on both sides of the line keeps it visible on a background of its own colour.
    """
    left, top, right, bottom = box[0], box[1], box[2] - 1, box[3] - 1  # Pillow includes the last pixel
    stroke = min(width, (min(right - left, bottom - top) + 2) // 2)
    if rim:
        edge = (left - rim, top - rim, right + rim, bottom + rim)
        pen.rectangle(edge, outline=_ink(colour), width=stroke + 2 * rim)
    pen.rectangle((left, top, right, bottom), outline=colour, width=stroke)


@dataclass(frozen=True)
class _Plate:
    """A label's text in one size, with a margin around it."""

    text: str
    font: Font
    margin: int

    @property
    def _extent(self) -> tuple[int, int, int, int]:
        x1, y1, x2, y2 = self.font.getbbox(self.text)
        return math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        x1, y1, x2, y2 = self._extent
        return x2 - x1 + 2 * self.margin, y2 - y1 + 2 * self.margin

    def draw(self, pen: ImageDraw.ImageDraw, corner: tuple[int, int], colour: Colour) -> None:
        """Write the text on a plate of the colour whose left and top pixel is the corner."""
        (left, top), (width, height), (x1, y1, _, _) = corner, self.size, self._extent
        pen.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
        pen.text((left + self.margin - x1, top + self.margin - y1), self.text, fill=_ink(colour), font=self.font)


class _Writing:
    """The fonts of one picture, from the one that suits its size down to the smallest that can be read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        wanted = max(11, round(min(shape[:2]) / 32))
        sizes = sorted({wanted, max(round(0.75 * wanted), _SMALLEST_FONT), _SMALLEST_FONT}, reverse=True)
        self._fonts = [(ImageFont.load_default(size=size), max(2, size // 5)) for size in sizes]

    def plates(self, name: str, score: float | None) -> list[_Plate]:
        """Return how a label may look, the best first: with its score ever smaller, then the name alone, smallest.

        Without a score it is the name ever smaller.

        It is one line, whatever the name: Pillow measures one, and writes as many as there are.
        """
        name = " ".join(name.split())
        text = name if score is None else f"{name} {score:.2f}"
        whole = [_Plate(text, font, margin) for font, margin in self._fonts]
        return [*whole, _Plate(name, *self._fonts[-1])]


def _ink(colour: Colour) -> Colour:
    """Return black or white, whichever is easier to read on the colour (luma of ITU-R BT.601)."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)


def picture_files(images: Sequence[Path], word: str, output: Path | None = None) -> list[tuple[Path, Path]]:
    """Return each image with the file its annotated picture goes to; no file is named twice.

    Args:
        images: Images, or folders, of which the images are taken in the order of their names: files with the ending of
            one that are not hidden and that `write_picture` did not write.
        word: What the picture shows: `photo.webp` becomes `photo-<word>.jpg`; a PNG stays a PNG.
        output: Folder for all pictures; None puts them beside their images, those of a folder into its sub-folder
            `<word>`.

    Raises:
        InputError: There is no image in the folders.
    """
    named: dict[Path, Path] = {}  # picture: image
    for path in images:
        sources = photographs_in(path) if path.is_dir() else [path]
        folder = output or (path / word if path.is_dir() else path.parent)
        for source in sources:
            suffix = ".png" if source.suffix.lower() == ".png" else ".jpg"
            picture, number = folder / f"{source.stem}-{word}{suffix}", 2
            while picture in named:  # a.jpg and a.webp, or two folders' photographs in one output folder
                picture, number = folder / f"{source.stem}-{word}-{number}{suffix}", number + 1
            named[picture] = source
    if not named:
        raise InputError(f"no images in {', '.join(str(path) for path in images)}; give images or a folder with images")
    return [(source, picture) for picture, source in named.items()]


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Put the picture into a file, whole or not at all; its folder is made if need be.

    Args:
        path: *.png, or anything else for JPEG.
        pixels: uint8 RGB (H, W, 3).

    Raises:
        ImageError: A side is longer than JPEG allows.
        InputError: The pixels have another shape or type.
        OSError: The file cannot be written.
    """
    check_rgb(pixels, "pixels")
    buffer = BytesIO()
    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    height, width = pixels.shape[:2]
    if kind == "JPEG" and max(height, width) > _LONGEST_JPEG:
        raise ImageError(f"{path} cannot be a JPEG: {width} x {height} pixels, at most {_LONGEST_JPEG} a side")
    if kind == "PNG":
        mark = PngInfo()
        mark.add_text("Comment", _MARK)
        Image.fromarray(pixels).save(buffer, kind, pnginfo=mark)
    else:
        Image.fromarray(pixels).save(buffer, kind, quality=92, comment=_MARK)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def photographs_in(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the images in a folder, as `image_files` does, without the pictures that `write_picture` wrote.

    Raises:
        OSError: The folder cannot be read.
    """
    return [path for path in image_files(folder) if not is_own_picture(path)]


def contact_sheet(images: Sequence[NDArray[np.uint8]], *, columns: int = 6, side: int = 320) -> NDArray[np.uint8]:
    """Return a picture of several, in lines, each as large as fits a square; on white.

    Args:
        images: (H, W, 3) uint8 RGB each.
        columns: In a line.
        side: Of the square, in pixels; smaller images stay as they are.

    Returns:
        uint8 RGB (H, W, 3).
    """
    lines, cell = max(-(-len(images) // columns), 1), side + _SHEET_GAP
    sheet = np.full((lines * cell + _SHEET_GAP, columns * cell + _SHEET_GAP, 3), 255, np.uint8)
    for number, image in enumerate(images):
        scale = min(side / max(image.shape[:2]), 1.0)
        height, width = (max(round(length * scale), 1) for length in image.shape[:2])
        small = image if scale == 1 else resize_image(image, width, height)
        top, left = (_SHEET_GAP + cell * k for k in divmod(number, columns))
        sheet[top : top + height, left : left + width] = small
    return sheet


def is_own_picture(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a picture that `write_picture` wrote; false for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return _MARK.encode() in file.read(_MARKED_WITHIN)
    except OSError:
        return False
