"""Which annotation an image has, and which image an annotation is of, where the two are files of their own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from inception_rcnn.datasets.reading.finding import Finder, folded, image_ending, path_parts
from inception_rcnn.datasets.reading.headers import read_header
from inception_rcnn.datasets.voc_xml import Annotation
from inception_rcnn.structures import DataFormatError
from inception_rcnn.structures.images import IMAGE_ENDINGS


def annotation_of(image_id: str, folders: Sequence[str], files: Finder) -> tuple[str, str] | None:
    """Return the id as the data set has it, and the XML that is meant by it; None if there is none.

    Lists name images by ids, by names of files, and by paths of other computers, of the image, of the XML, or of both;
    the XML of ``cat.jpg`` is ``cat.xml`` or ``cat.jpg.xml``, in the folder or below it.

    Args:
        image_id: As a list has it.
        folders: Where the XML may lie, the likeliest first.
        files: Finds it.

    Raises:
        DataFormatError: Several may be meant.
    """
    for name in _ids(image_id):
        for folder in folders:
            for stem in (name, *(name + ending for ending in IMAGE_ENDINGS)):
                if files.holds(path := os.path.join(folder, f"{stem}.xml")):
                    return name, path
    for name in _ids(image_id):
        for folder in folders:
            reached = files.follow(folder, path_parts(f"{name}.xml"))
            if reached is not None and files.holds(reached):
                return name, reached
    parts = path_parts(f"{_ids(image_id)[-1]}.xml")
    found = files.below(folders, parts)
    if len(found) > 1:
        raise DataFormatError(
            f"{len(found)} annotations may be meant by the id: {', '.join(found[:3])}; write the folder before it",
            path=folders[0],
            place=image_id,
        )
    return (_ids(image_id)[-1], found[0]) if found else None


def photograph_of(
    annotation: Annotation,
    names: Sequence[str],
    folders: Sequence[str],
    files: Finder,
    *,
    splits: Iterable[str] = (),
) -> str:
    """Return where the image of an annotation is.

    Args:
        annotation: The annotation.
        names: What the image may be called, without ending; the likeliest first.
        folders: Where it may lie; likewise.
        files: Finds it.
        splits: Sub-folders of other parts of the data set, which are not searched.

    Raises:
        DataFormatError: There is none, or several may be meant.
    """
    for name in names:
        for folder in folders:
            if image_ending(name) and files.holds(path := os.path.join(folder, name)):
                return path
            if found := files.images(os.path.join(folder, name)):
                return _one_of(found, annotation)
    if annotation.filename:
        said = f"{annotation.folder}/{annotation.filename}" if annotation.folder else annotation.filename
        if image_ending(said) and (found := files.file(folders, said, splits=splits)):
            return _one_of(found, annotation)
    for name in names:
        parts = path_parts(name)
        endings = ("",) if image_ending(name) else IMAGE_ENDINGS
        found = [one for end in endings for one in files.below(folders, (*parts[:-1], parts[-1] + end), splits=splits)]
        if found:
            return _one_of(found, annotation)
    looked = ", ".join(folders)
    raise DataFormatError(
        f"its photograph is missing: neither {names[0]}.* nor the filename {annotation.filename!r} is in {looked}"
        f"{files.close_to(folders, annotation.filename or names[0])}",
        path=annotation.path,
    )


def owner(annotation: Annotation, candidates: Sequence[str]) -> str:
    """Return which of several images of one name, such as a.jpg and a.png, an annotation is of.

    Raises:
        DataFormatError: Neither `filename` nor width and height tell.
    """
    return _one_of(candidates, annotation)


def _one_of(found: Sequence[str], annotation: Annotation) -> str:
    """Return the image that the annotation names, or whose size it has."""
    if len(found) == 1:
        return found[0]
    last = (path_parts(annotation.filename) or ("",))[-1]
    for told in (
        [path for path in found if os.path.basename(path) == last],
        [path for path in found if folded(os.path.basename(path)) == folded(last)],
        [path for path in found if (header := read_header(path)) and annotation.size in (header[:2], header.upright)],
    ):
        if len(told) == 1:
            return told[0]
    raise DataFormatError(
        f"{len(found)} photographs may be meant: {', '.join(found[:3])}; name one in its <filename>",
        path=annotation.path,
    )


def _ids(image_id: str) -> list[str]:
    """Return what the id of an image may be: as it stands, without ending, without folders."""
    found = list(_each_id(image_id))
    words = image_id.split()
    if len(words) > 1 and words[-1].lower().endswith(".xml"):  # "images/a.jpg annotations/a.xml"
        found += _each_id(words[-1])
    return list(dict.fromkeys(found)) or [image_id]


def _each_id(image_id: str) -> Iterator[str]:
    yield image_id
    parts = path_parts(image_id)
    for k in range(len(parts)):
        whole = "/".join(parts[k:])
        yield whole
        if ending := image_ending(whole) or (".xml" if whole.lower().endswith(".xml") else ""):
            yield whole[: -len(ending)]
