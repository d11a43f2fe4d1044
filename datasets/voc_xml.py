"""The XML that annotates one image, as PASCAL VOC and ImageNet write it.

The two differ in where pixels are counted from, so `first_pixel` is always asked for. Children are found by name:
ILSVRC's files have xmin, xmax, ymin, ymax, VOC's xmin, ymin, xmax, ymax.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # for writing; what others wrote is read by defusedxml

import defusedxml.ElementTree  # type: ignore[import-untyped]
import numpy as np
from defusedxml import DefusedXmlException

from inception_rcnn.datasets.base import AnnotatedObject, Problems
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.ground_truth import ImageSize

_LARGEST = 1e9  # an image with more pixels a side does not exist
_SLACK = 1  # pixels: tools that counted from 0 where the format counts from 1, or the other way round, are common
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class Annotation:
    """The content of one XML file, as far as detection is concerned.

    Args:
        path: The file.

    Attributes:
        path: The file.
        filename: What the file calls its image; empty if it does not say.
        size: Width and height of the image in pixels; None if the file does not say, or says 0 as some tools do.

    Raises:
        DataFormatError: There is no such file, it is not XML or no annotation, its size is no size, or it declares
            entities, with which a small file can fill the memory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = _parse(path)
        self.filename = _text(self._root, "filename")
        self.size: ImageSize = (self._side("width"), self._side("height"))

    def class_names(self) -> set[str]:
        """Return the classes of the objects."""
        return {name for element in self._root.findall("object") if (name := _text(element, "name"))}

    def objects(
        self, first_pixel: int, problems: Problems, known: Sequence[str] | None = None
    ) -> list[AnnotatedObject]:
        """Return the objects in the order of the file, their corners inclusive there and exclusive here.

        Args:
            first_pixel: What the format calls the first column and row: 1 in VOC, 0 in ILSVRC.
            problems: Takes objects that are broken: no name, no box, no area, more than one pixel outside the image, or
                a class that is not known. A box that is one pixel outside stays as it is.
            known: The classes; None if all names will do.
        """
        objects = []
        for number, element in enumerate(self._root.findall("object"), 1):
            with problems.skipping():
                objects.append(self._object(element, number, first_pixel, known))
        return objects

    def _object(self, element: Any, number: int, first_pixel: int, known: Sequence[str] | None) -> AnnotatedObject:
        name = _text(element, "name")
        place = f"object {number} ({name})" if name else f"object {number}"
        if not name:
            raise self._broken("has no name", place)
        if known is not None and name not in known:
            raise self._broken(f"its class is none of the {len(known)} classes", place)
        difficult = _text(element, "difficult") or "0"
        if difficult not in ("0", "1"):
            raise self._broken(f"difficult should be 0 or 1, got {difficult!r:.60}", place)
        return AnnotatedObject(name, self._box(element.find("bndbox"), place, first_pixel), difficult == "1")

    def _box(self, element: Any, place: str, first_pixel: int) -> tuple[float, float, float, float]:
        if element is None:
            raise self._broken("has no bndbox", place)
        texts = [_text(element, side) for side in _SIDES]
        sides = [_number(text) for text in texts]
        for name, text, side in zip(_SIDES, texts, sides, strict=True):
            if side is None:
                raise self._broken(f"{name} should be a number, got {text!r:.60}", place)
        xmin, ymin, xmax, ymax = (side - first_pixel for side in sides if side is not None)
        box = (xmin, ymin, xmax + 1, ymax + 1)
        said = " ".join(f"{name} {text}" for name, text in zip(_SIDES, texts, strict=True))
        x1, y1, x2, y2 = (np.float32(value) for value in box)  # as boxes are in this project
        if not (x2 > x1 and y2 > y1):
            raise self._broken(f"its box has no area: {said}", place)
        width, height = (_LARGEST if side is None else side for side in self.size)
        if x1 < -_SLACK or y1 < -_SLACK or x2 > width + _SLACK or y2 > height + _SLACK:
            size = " x ".join(str(side or "?") for side in self.size)
            raise self._broken(
                f"its box leaves the photograph ({size}, pixels counted from {first_pixel}): {said}", place
            )
        return box

    def _side(self, name: str) -> int | None:
        size = self._root.find("size")
        text = "" if size is None else _text(size, name)
        if not text:
            return None
        side = _number(text)
        if side is None or side < 0 or side != int(side):
            raise self._broken(f"{name} should be a whole number of pixels, got {text!r:.60}", "size")
        return int(side) or None

    def _broken(self, message: str, place: str) -> DataFormatError:
        return DataFormatError(message, path=self.path, place=place)


def annotation_text(
    filename: str, size: tuple[int, int], objects: Sequence[AnnotatedObject], first_pixel: int, *, depth: bool = True
) -> str:
    """Return the XML of one image, which `Annotation` reads back to the last digit (below 1e-8 pixels, to 0).

    Args:
        filename: Of the image.
        size: Its width and height in pixels.
        objects: With exclusive corners; a coordinate that is no whole number is written with all its digits.
        first_pixel: 1 in VOC, 0 in ILSVRC.
        depth: Write VOC's fields, `depth` of the image and `difficult` of the objects, as well.

    Raises:
        InputError: A name holds characters, or begins or ends with spaces, that XML would not give back.
    """
    root = ElementTree.Element("annotation")
    _add(root, "filename", filename)
    sides = ElementTree.SubElement(root, "size")
    for name, value in (("width", size[0]), ("height", size[1]), *((("depth", 3),) if depth else ())):
        _add(sides, name, str(value))
    for one in objects:
        element = ElementTree.SubElement(root, "object")
        _add(element, "name", one.name)
        if depth:
            _add(element, "difficult", str(int(one.ignore)))
        corners = (*(side + first_pixel for side in one.box[:2]), *(side + first_pixel - 1 for side in one.box[2:]))
        box = ElementTree.SubElement(element, "bndbox")
        for name, side in zip(_SIDES, corners, strict=True):
            _add(box, name, str(int(side)) if side == int(side) else repr(float(side)))
    ElementTree.indent(root, "\t")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _parse(path: Path) -> Any:
    """Return the root element of an annotation."""
    try:
        root = defusedxml.ElementTree.parse(path).getroot()
    except FileNotFoundError as error:
        raise DataFormatError("the annotation is missing", path=path) from error
    except OSError as error:
        raise DataFormatError(f"cannot be read: {error.strerror or error}", path=path) from error
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DataFormatError(
            f"is not valid XML: {str(error).partition(': line')[0]}; is the download complete?",
            path=path,
            place=f"line {line}, column {column + 1}",
        ) from error
    except DefusedXmlException as error:
        raise DataFormatError("declares entities, which no annotation needs; not read", path=path) from error
    except (ValueError, LookupError) as error:  # an encoding that is unknown, or not what the file says
        raise DataFormatError(f"is not valid XML: {error}", path=path) from error
    if root.tag != "annotation":
        raise DataFormatError(f"should be an <annotation> as in PASCAL VOC, got <{root.tag}>", path=path)
    return root


def _text(element: Any, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _number(text: str) -> float | None:
    """Return the number a text says, None if it is none or no pixel could have it."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < _LARGEST else None


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    if not text or text != text.strip() or not all(character.isprintable() for character in text):
        raise InputError(f"cannot write the {name} {text!r} into XML: use printable characters, no spaces around them")
    ElementTree.SubElement(parent, name).text = text
