"""Size and EXIF orientation of a photograph, without its pixels."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from PIL import Image

from inception_rcnn.datasets.reading.texts import number_of
from inception_rcnn.structures.ground_truth import ImageSize
from inception_rcnn.structures.images import readable_formats

_ORIENTATION: Final = 0x0112  # the EXIF tag

Box = tuple[float, float, float, float]


class Header(NamedTuple):
    """What the beginning of a photograph's file says.

    Args:
        width: In pixels, as stored.
        height: In pixels, as stored.
        orientation: EXIF's, 1 to 8; 1 where there is none.
    """

    width: int
    height: int
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the photograph once it is turned."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


class Turns:
    """Photographs that EXIF data turn: whether the boxes in them were drawn before or after.

    Args:
        exif: What the caller says of those that do not tell, "stored" or "upright"; None: as the others, else upright.
    """

    def __init__(self, exif: str | None) -> None:
        self._exif = exif
        self._stored: list[tuple[range, Header]] = []
        self._upright = 0
        self._open: list[tuple[range, Header]] = []
        self._first = ""

    def of(self, header: Header, size: ImageSize, rows: range, path: str, *, told: bool) -> ImageSize:
        """Return the size of the upright photograph, and remember which rows of objects lie in it.

        Args:
            header: Of the photograph.
            size: Which its annotation gives, or `header` where it gives none.
            rows: Of its objects.
            path: Of the photograph.
            told: Whether the annotation gives the size.
        """
        as_stored = (header.width, header.height)
        if told and as_stored != header.upright and size in (as_stored, header.upright):
            if size == as_stored:
                self._stored.append((rows, header))
            else:
                self._upright += 1
        elif size in (as_stored, header.upright) and rows:
            self._open.append((rows, header))
            self._first = self._first or path
        else:
            return size
        return header.upright

    def turned(self) -> list[tuple[range, Header]]:
        """Return the rows of objects that were drawn on stored photographs, with the headers of these."""
        return self._stored + (self._open if self._decided == "stored" else [])

    def notes(self) -> list[str]:
        """Return what was decided, and what only the caller can know."""
        found = []
        if self._stored:
            count = number_of(len(self._stored), "photograph")
            found.append(f"{count} with boxes drawn before EXIF data turned them; the boxes were turned too")
        if self._open and self._exif is None:
            how = ", as in the others, which tell by width and height" if self._stored or self._upright else ""
            found.append(
                f"EXIF data turn {number_of(len(self._open), 'photograph')}, and it cannot be told whether the boxes "
                f"were drawn before or after, the first: {self._first}; read as drawn "
                f"{'before' if self._decided == 'stored' else 'after'}{how} (--exif stored, --exif upright, or "
                "exif='stored' decides)"
            )
        return found

    @property
    def _decided(self) -> str:
        if self._exif is not None:
            return self._exif
        return "stored" if self._stored and not self._upright else "upright"


def read_header(path: str | os.PathLike[str]) -> Header | None:
    """Return size and orientation of a photograph; None where the file is none, or damaged: who opens it will say."""
    try:
        with Image.open(path, formats=readable_formats()) as image:
            width, height = image.size
            # The orientation of a PNG may stand behind its pixels, which are not worth reading for it.
            given = image.info.get("exif") is not None if image.format == "PNG" else True
            orientation = image.getexif().get(_ORIENTATION, 1) if given else 1
            if image.format == "TIFF" and orientation in range(5, 9):  # of these Pillow gives the upright size
                width, height = height, width
        return Header(width, height, orientation if orientation in range(1, 9) else 1)
    except Exception:  # Pillow's readers raise a dozen types on damaged headers
        return None


def upright_box(box: Box, stored: Header) -> Box:
    """Return where a box lies once the stored photograph that it was drawn on is turned upright.

    Args:
        box: x1 y1 x2 y2 in pixels of the stored photograph.
        stored: Its header.

    >>> upright_box((10, 0, 30, 5), Header(100, 40, 6))  # a camera held upright: the left side becomes the top
    (35, 10, 40, 30)
    """
    x1, y1, x2, y2 = box
    width, height, orientation = stored
    if orientation in (2, 3, 7, 8):
        x1, x2 = width - x2, width - x1
    if orientation in (3, 4, 6, 7):
        y1, y2 = height - y2, height - y1
    return (y1, x1, y2, x2) if orientation >= 5 else (x1, y1, x2, y2)
