"""A folder of images, with or without annotations beside them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, Unpack

from inception_rcnn.datasets.base import AnnotatedDataset, ReadingOptions, existing_folder, is_inside
from inception_rcnn.datasets.image_lists import read_class_list
from inception_rcnn.datasets.reading.finding import (
    Finder,
    did_you_mean,
    folded,
    image_ending,
    is_split_name,
    path_parts,
)
from inception_rcnn.datasets.reading.foreign import foreign_annotations
from inception_rcnn.datasets.reading.pairing import owner
from inception_rcnn.datasets.voc import class_names_in
from inception_rcnn.datasets.voc_xml import SIDES, Annotation
from inception_rcnn.datasets.writing import file_names, new_file, put, write_class_list, xml_of
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.dataset import DetectionDataset

_NAMED: Final = 10
_IMAGE_FOLDERS: Final = frozenset(("images", "image", "imgs", "img", "photos", "pictures", "jpegimages"))
_ANNOTATION_FOLDERS: Final = frozenset(("annotations", "annotation", "xml", "xmls", "labels"))


class FolderDataset(AnnotatedDataset):
    """The images in a folder and the folders in it, in alphabetical order, and the objects in the XML beside them.

    ``cat.jpg`` has its objects in ``cat.xml`` or ``cat.jpg.xml``, in PASCAL VOC's format (pixels counted from 1; see
    `VocDataset`), beside it or in a folder ``annotations`` beside its own. Of two images of one name, such as a.jpg and
    a.png, `filename` in the XML says whose it is, then its width and height. An image without annotation has no
    objects, and if none has one, `has_truth` is False. Annotations of other formats are named in `notes`.
    An image's id is its name without ending, or with it if several share the name; with its folder, if that is
    one in the folder.

    The classes are those in ``DIR/classes.txt``, one a line, if there is such a file; otherwise all that occur in the
    annotations of ``DIR`` and the folders in it, so that all splits have the same, in alphabetical order.

    Args:
        root: The folder.
        split: Name of a folder in it; None if the images are in the folder itself. Folders that are called as parts of
            data sets are, such as train, are looked at only if they are named.
        options: See `ReadingOptions`.

    Raises:
        InputError: There is no such folder.
        DataFormatError: An annotation is no VOC XML, or its image is missing; an object has no class, an unknown
            one, no area, or is not in the image. The text names the file and the object.
    """

    def __init__(
        self, root: str | os.PathLike[str], split: str | None = None, **options: Unpack[ReadingOptions]
    ) -> None:
        top = existing_folder(root, "the images, or a folder for each split")
        super().__init__(top, split, format="folder", box_words=" ".join(SIDES), first_pixel=1, **options)
        self._files = Finder()
        self.splits = folder_parts(top, self._files)
        if split is None and self.splits and not any(map(image_ending, self._files.walk(top, splits=self.splits))):
            if len(self.splits) > 1:
                raise InputError(f"{top} has the parts {', '.join(self.splits)}; name one as the split")
            self.split = split = self.splits[0]
        self.folder = _folder_of(top, split, self._files)
        names = top / "classes.txt"
        known = read_class_list(names, self._guessed.append) if names.is_file() else None
        apart = () if split is not None else self.splits
        base, images = _images_below(self.folder, self._files, apart)
        truths = _truths_below([base, *_annotation_folders(top, self.folder, base, self._files)], self._files, apart)
        pairs = self._pairs(images, truths, base)
        images = [path for path in images if path in pairs or not self._is_drawn(path)]
        stems = Counter(folded(_inner(path, base, ending=False)) for path in images)
        for path in images:
            name, whole = _inner(path, base, ending=False), _inner(path, base)
            image_id = whole if stems[folded(name)] > 1 else name
            with self._broken.skipping():
                annotation = pairs.get(path)
                if isinstance(annotation, DataFormatError):
                    raise annotation
                if annotation is None:
                    self._add(image_id, path)
                    continue
                objects = annotation.objects(self._rules.first_pixel, self._broken, known, os.fspath(names))
                self._add(image_id, path, objects, annotation.path, annotation.size)
        self._complete(known if known is not None else self._classes())
        self._say_passed_over(apart)

    def _pairs(
        self, images: list[str], truths: dict[str, list[str]], base: str
    ) -> dict[str, Annotation | DataFormatError]:
        """Return the annotation of each image that has one, or what is wrong with it."""
        by_name: dict[str, list[str]] = {}
        for path in images:
            by_name.setdefault(folded(_inner(path, base, ending=False)), []).append(path)
            by_name.setdefault(folded(_inner(path, base)), []).append(path)
        pairs: dict[str, Annotation | DataFormatError] = {}
        for stem, places in sorted(truths.items(), key=lambda one: -len(one[0])):  # photo.jpg.xml before photo.xml
            meant = [path for path in by_name.get(stem, []) if path not in pairs]
            for place in places:
                with self._broken.skipping():
                    try:
                        annotation = Annotation(Path(place), self._guessed.append)
                        path = self._image_of(annotation, meant, images, pairs, base)
                    except DataFormatError as error:
                        if len(meant) != 1 or meant[0] in pairs:
                            raise
                        pairs[meant[0]] = error
                        continue
                    if path in pairs:
                        raise DataFormatError(f"{path} has another annotation", path=place)
                    pairs[path] = annotation
        return pairs

    def _image_of(
        self, annotation: Annotation, meant: list[str], images: list[str], pairs: Collection[str], base: str
    ) -> str:
        """Return the image that an annotation is of: of its name, or else the one that its `filename` names."""
        if meant:
            return owner(annotation, meant)
        last = (path_parts(annotation.filename) or ("",))[-1]
        found = [one for one in images if folded(os.path.basename(one)) == folded(last) and one not in pairs]
        if len(found) != 1:
            raise DataFormatError(
                "there is no photograph of that name beside it"
                f"{self._files.close_to([base], annotation.filename or annotation.path.name)}",
                path=annotation.path,
            )
        return found[0]

    def _classes(self) -> tuple[str, ...]:
        if not self._names:
            return ()
        return tuple(sorted({*self._names, *class_names_in(self.root, self._files)}))

    def _say_passed_over(self, apart: tuple[str, ...]) -> None:
        """Say what was not looked at: the folders of parts, and annotations of other formats."""
        if apart and len(self):
            self._note(f"photographs in {', '.join(apart)} not looked at: these are parts; name one as the split")
        if None in self._truth_paths or not len(self):
            for line in foreign_annotations(self.folder, self._files, own="voc"):
                self._note(line)


def write_folder(dataset: DetectionDataset, root: str | os.PathLike[str], split: str) -> None:
    """Write images into one folder, each with its XML beside it, for `FolderDataset` to read.

    Images keep their names, and are read back in alphabetical order. The classes go to ``classes.txt``.

    Args:
        dataset: What to write.
        root: The folder; created, or other splits are in it already.
        split: What to call the folder in it.

    Raises:
        InputError: See `write_voc`.
    """
    folder = Path(root)
    new = new_file(folder / split)
    write_class_list(dataset, folder)
    for i, name in enumerate(file_names(dataset)):
        text = xml_of(dataset, i, Path(name).name, first_pixel=1)
        put(new / name, dataset.path(i).read_bytes())
        put((new / name).with_suffix(".xml"), text.encode())


def folder_parts(root: Path, files: Finder) -> tuple[str, ...]:
    """Return the folders of photographs that are called as parts of data sets are."""
    inner = (name for name, is_folder in files.entries(root).items() if is_folder and is_split_name(name))
    return tuple(name for name in inner if any(image_ending(path) for path in files.walk(root / name)))


def _folder_of(root: Path, split: str | None, files: Finder) -> Path:
    """Return the folder that is meant.

    Raises:
        InputError: There is none.
    """
    if split is None:
        return root
    found = files.follow(root, path_parts(split)) if is_inside(split) else None
    if found is not None and os.path.isdir(found):
        return Path(found)
    names = [name for name, is_folder in files.entries(root).items() if is_folder and not name.startswith(".")]
    there = f"there are {', '.join(names[:_NAMED])}{did_you_mean(split, names)}" if names else "there are no folders"
    photographs = any(map(image_ending, files.entries(root)))
    alone = f"; for the photographs in {root} itself, name no split" if photographs else ""
    raise InputError(f"no photographs for split {split!r}: there is no folder {root / split}; {there}{alone}")


def _images_below(folder: Path, files: Finder, apart: Sequence[str]) -> tuple[str, list[str]]:
    """Return the folder that ids are relative to, and the images below it.

    That is the folder itself, or the one in it that has all the images.
    """
    found = [path for path in files.walk(folder, splits=apart) if image_ending(path)]
    base = os.fspath(folder)
    inner = {os.path.relpath(path, base).partition(os.sep)[0] for path in found}
    if len(inner) == 1 and found and folded(only := inner.pop()) in _IMAGE_FOLDERS:
        base = os.path.join(base, only)
    return base, sorted(found, key=lambda path: _inner(path, base))


def _annotation_folders(root: Path, folder: Path, base: str, files: Finder) -> list[str]:
    """Return the folders of XML beside the images' own folder, or in it."""
    found = []
    for place in dict.fromkeys((base, os.fspath(folder), os.fspath(root), os.path.dirname(base))):
        if place != os.path.dirname(base) or Path(place).resolve().is_relative_to(root.resolve()):
            for name, is_folder in files.entries(place).items():
                if is_folder and folded(name) in _ANNOTATION_FOLDERS:
                    own = files.child(os.path.join(place, name), os.path.basename(base))
                    found.append(os.path.join(place, name, own) if own else os.path.join(place, name))
    return list(dict.fromkeys(found))


def _truths_below(folders: list[str], files: Finder, apart: Sequence[str]) -> dict[str, list[str]]:
    """Return the XML files in some folders by their folded names relative to these, without ending."""
    truths: dict[str, list[str]] = {}
    seen: set[str] = set()
    for folder in reversed(folders):  # those inside the first are relative to themselves
        for path in files.walk(folder, splits=apart):
            if path.lower().endswith(".xml") and path not in seen:
                seen.add(path)
                truths.setdefault(folded(_inner(path, folder, ending=False)), []).append(path)
    return truths


def _inner(path: str, folder: str, *, ending: bool = True) -> str:
    """Return a path relative to a folder, with "/" between its parts."""
    inner = os.path.relpath(path, folder).replace(os.sep, "/")
    return inner if ending else os.path.splitext(inner)[0]
