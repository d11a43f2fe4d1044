"""The XML that annotates one image, as PASCAL VOC and ImageNet write it.

The two differ in where pixels are counted from, so `first_pixel` is always asked for. Children are found by name:
ILSVRC's files have xmin, xmax, ymin, ymax, VOC's xmin, ymin, xmax, ymax.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # for writing; what others wrote is read by defusedxml

import defusedxml.ElementTree  # type: ignore[import-untyped]
from defusedxml import DefusedXmlException

from inception_rcnn.datasets.base import Problems
from inception_rcnn.datasets.reading.box_rules import AnnotatedObject
from inception_rcnn.datasets.reading.texts import decode_text
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.ground_truth import ImageSize

_MOST_BYTES = 2**24  # of an annotation: 150,000 objects, which take 10 seconds and 400 MB to be read
_LARGEST = 1e9  # an image with more pixels a side does not exist
SIDES = ("xmin", "ymin", "xmax", "ymax")
_DIFFICULT = {"0": False, "1": True, "false": False, "true": True, "unspecified": False, "": False}
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_ENCODING = re.compile(rb"^\s*<\?xml[^>]*encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_OTHERS = {  # the root elements of other tools' XML, which is not read
    "annotations": "CVAT's own XML; export the task as 'PASCAL VOC 1.1' or 'COCO 1.0'",
    "dataset": "dlib's or another tool's own XML; export as PASCAL VOC or COCO",
}


class Annotation:
    """The content of one XML file, as far as detection is concerned.

    Args:
        path: The file.

        say: Is told the file if its encoding was guessed.

    Attributes:
        path: The file.
        filename: What the file calls its image; empty if it does not say.
        folder: In which folder it says the image is; empty if it does not say.
        size: Width and height of the image in pixels; None if the file does not say, or says 0 as some tools do.

    Raises:
        DataFormatError: There is no such file, it is too long, not XML or no annotation, its size is no size, or it
            declares entities, with which a small file can fill the memory.
    """

    def __init__(self, path: Path, say: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._root = _parse(path, say)
        self.filename = _text(self._root, "filename")
        self.folder = _text(self._root, "folder")
        self.size: ImageSize = (self._side("width"), self._side("height"))

    def class_names(self) -> set[str]:
        """Return the classes of the objects."""
        return {name for element in self._root.findall("object") if (name := _text(element, "name"))}

    def objects(
        self, first_pixel: int, problems: Problems, known: Sequence[str] | None = None, named_by: str = "the list"
    ) -> list[AnnotatedObject]:
        """Return the objects in the order of the file, their corners inclusive there and exclusive here.

        Args:
            first_pixel: What the format calls the first column and row: 1 in VOC, 0 in ILSVRC.
            problems: Takes objects that are broken: no name, no box, or a class that is not known.
            known: The classes; None if all names will do.
            named_by: The file that has the classes, for the error.
        """
        objects = []
        if self._root.find("object") is None and self._root.find(".//bndbox") is not None:
            with problems.skipping():
                raise self._broken("has a bndbox that is in no <object> of the <annotation>", "line 1")
        for number, element in enumerate(self._root.findall("object"), 1):
            if _text(element, "deleted") == "1":  # LabelMe keeps what was erased
                continue
            with problems.skipping():
                objects.append(self._object(element, number, first_pixel, known, named_by))
        return objects

    def _object(
        self, element: Any, number: int, first_pixel: int, known: Sequence[str] | None, named_by: str
    ) -> AnnotatedObject:
        name = _text(element, "name")
        place = f"object {number} ({name})" if name else f"object {number}"
        if not name:
            raise self._broken("has no name", place)
        if known is not None and name not in known:
            raise self._broken(
                f"its class is none of the {len(known)} classes in {named_by}; add it there, or remove that file", place
            )
        difficult = _DIFFICULT.get(_text(element, "difficult").lower())
        if difficult is None:
            raise self._broken(f"difficult should be 0 or 1, got {_text(element, 'difficult')!r:.60}", place)
        sides = self._sides(element, place)
        xmin, ymin, xmax, ymax = (side - first_pixel for side in sides)
        return AnnotatedObject(name, (xmin, ymin, xmax + 1, ymax + 1), difficult, place=place, numbers=sides)

    def _sides(self, element: Any, place: str) -> tuple[float, ...]:
        """Return xmin ymin xmax ymax of an object, or of its polygon's corners."""
        box = element.find("bndbox")
        if box is None and (polygon := element.find("polygon")) is not None:
            return self._around(polygon, place)
        if box is None:
            turned = element.find("robndbox") is not None
            raise self._broken("has no bndbox" + (", but a turned box, which is not read" if turned else ""), place)
        texts = [_text(box, side) for side in SIDES]
        sides = [_number(text) for text in texts]
        for name, text, side in zip(SIDES, texts, sides, strict=True):
            if side is None:
                raise self._broken(f"{name} should be a number, got {text!r:.60}", place)
        return tuple(side for side in sides if side is not None)

    def _around(self, polygon: Any, place: str) -> tuple[float, ...]:
        """Return xmin ymin xmax ymax of the corners of a polygon: <pt><x/><y/></pt> ..., or <x1/><y1/><x2/><y2/> ..."""
        columns = []
        for axis in "xy":
            own = [child.text for child in polygon if re.fullmatch(rf"{axis}\d+", str(child.tag))]
            values = [
                _number((text or "").strip()) for text in own or [_text(pt, axis) for pt in polygon.findall("pt")]
            ]
            columns.append([value for value in values if value is not None])
            if not values or None in values:
                raise self._broken(f"the corners of its polygon should be numbers, two or more in {axis}", place)
        return (min(columns[0]), min(columns[1]), max(columns[0]), max(columns[1]))

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
        for name, side in zip(SIDES, corners, strict=True):
            _add(box, name, str(int(side)) if side == int(side) else repr(float(side)))
    ElementTree.indent(root, "\t")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _parse(path: Path, say: Callable[[str], None] | None) -> Any:
    """Return the root element of an annotation, its names without namespaces."""
    try:
        if (length := path.stat().st_size) > _MOST_BYTES:
            message = f"has {length} bytes, and {_MOST_BYTES} are the most for the annotation of one photograph"
            raise DataFormatError(message, path=path)
        data = path.read_bytes()
        try:
            root = defusedxml.ElementTree.fromstring(data)
        except (ElementTree.ParseError, ValueError, LookupError):
            text = _decoded(data, path, say)
            if text is None:
                raise
            root = defusedxml.ElementTree.fromstring(text)
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
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    if root.tag != "annotation":
        which = f": {_OTHERS[root.tag]}" if root.tag in _OTHERS else ""
        raise DataFormatError(f"should be an <annotation> as in PASCAL VOC, got <{root.tag}>{which}", path=path)
    return root


def _decoded(data: bytes, path: Path, say: Callable[[str], None] | None) -> str | None:
    """Return the text of XML in an encoding that the parser does not have or expect; None if that is not so."""
    declared = _ENCODING.match(data)
    try:
        if declared is not None and declared[1].lower() not in (b"utf-8", b"utf8"):
            text = data.decode(declared[1].decode())
        else:
            data.decode("utf-8")  # the encoding is right, and the XML is not
            return None
    except LookupError:
        return None
    except UnicodeDecodeError:
        try:
            text = decode_text(data, path, say)
        except DataFormatError:
            return None
    return _DECLARATION.sub("", text)


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
