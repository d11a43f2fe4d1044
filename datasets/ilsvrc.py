"""ILSVRC DET: the detection data of the ImageNet challenges 2013 to 2017, in both its packagings.

Source: Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge"; the readme files of the ILSVRC2014
and ILSVRC2015 development kits.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from inception_rcnn.datasets.base import AnnotatedPhotographs, FolderListing
from inception_rcnn.datasets.ilsvrc_classes import DET_CLASSES
from inception_rcnn.datasets.image_lists import read_image_list
from inception_rcnn.datasets.interface import existing_folder
from inception_rcnn.datasets.voc_xml import Annotation
from inception_rcnn.structures import DataFormatError, InputError

_PARTS = ("train", "val", "test")
_PHOTOGRAPHS = ("Data/DET/{part}", "ILSVRC2014_DET_{part}", "ILSVRC2013_DET_{part}")
_TRUTHS = ("Annotations/DET/{part}", "ILSVRC2014_DET_bbox_{part}", "ILSVRC2013_DET_bbox_{part}")
_LISTS = ("ImageSets/DET", "devkit/data/det_lists", "*devkit*/data/det_lists", "data/det_lists", "det_lists")


class IlsvrcDetDataset(AnnotatedPhotographs):
    """The photographs and objects of one split of ILSVRC DET.

    The truth is read and checked at once, photographs are opened when asked for. ImageNet counts pixels from 0 and
    includes the last one: its box 0 0 9 9 is 0 0 10 10 here. `difficult`, `pose`, `subcategory` play no role. An image
    without annotation is an image without objects: negatives of the training set have none, and the test set.

    The list is ``ImageSets/DET/<split>.txt`` (2015 and later) or ``<split>.txt`` in a development kit's
    ``data/det_lists`` (2013, 2014), one image a line, with or without a number behind it; R-CNN's val1 and val2 may
    be put there too. Photographs are in ``Data/DET/{train,val,test}`` or in ``ILSVRC201x_DET_{train,val,test}``,
    annotations in ``Annotations/DET/...`` or ``ILSVRC201x_DET_bbox_...``; an id is found with the folder it names,
    with another of the training set's folders, or in the folder itself.

    Args:
        root: The folder.
        split: Name of the list: ``val``, ``train_1`` ... ``train_200``, ``train_pos_1``, ``val2``.
        skip_broken: Leave out what is broken (see Raises) and count it in `skipped`, instead of stopping at the first.

    Attributes:
        class_names: WordNet ids in the official order: label 0 is class 1. Those of ``DIR/classes.tsv`` if there is
            one, a table with the columns wnid and perhaps name, otherwise the 200.
        display_names: Their English names, in the same order.
        indices: The number behind each id where all have one and they differ, such as the official index in val.txt;
            otherwise None (in train_N.txt the number says whether class N is there).

    Raises:
        InputError: There is no such folder or list.
        DataFormatError: An annotation is no such XML; a photograph is missing; an object has no class, an unknown one,
            no area, or leaves the photograph. The text names the file and the object.
    """

    def __init__(self, root: str | os.PathLike[str], split: str, *, skip_broken: bool = False) -> None:
        folder = existing_folder(root, "Data, Annotations and ImageSets, or the ILSVRC201x_DET folders")
        super().__init__(folder, split, skip_broken=skip_broken)
        listed = _find_list(folder, split)
        table = folder / "classes.tsv"
        classes = _read_classes(table) if table.is_file() else DET_CLASSES
        known = tuple(wnid for wnid, _ in classes)
        photographs, truths = _folders(folder, split, _PHOTOGRAPHS), _folders(folder, split, _TRUTHS)
        entries = read_image_list(listed, self._broken)
        files = FolderListing()
        for image_id in entries:
            with self._broken.skipping():
                path = _find_photograph(image_id, photographs, files, listed)
                truth = _find_truth(image_id, truths, files)
                annotation = None if truth is None else Annotation(Path(truth))
                objects = [] if annotation is None else annotation.objects(0, self._broken, known)
                self._add(image_id, path, annotation, [one._replace(difficult=False) for one in objects])
        self._settle_classes(known)
        self._display_names = tuple(name for _, name in classes)
        self.indices = _indices([entries[image_id] for image_id in self.image_ids])

    @property
    def display_names(self) -> tuple[str, ...]:
        """The English names of the classes."""
        return self._display_names

    def _table_ids(self) -> Sequence[int | str]:
        return self.image_ids if self.indices is None else self.indices


def _find_list(root: Path, split: str) -> Path:
    """Return the list of a split."""
    for pattern in _LISTS:
        found = sorted(folder / f"{split}.txt" for folder in root.glob(pattern))
        for path in found:
            if path.is_file():
                return path
    looked = ", ".join(f"{pattern}/{split}.txt" for pattern in _LISTS)
    raise InputError(f"no list for split {split!r} in {root}; looked for {looked}")


def _read_classes(path: Path) -> tuple[tuple[str, str], ...]:
    """Return WordNet id and name of each class."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        classes = tuple((str(row["wnid"]).strip(), str(row.get("name") or row["wnid"]).strip()) for row in rows)
    except (UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataFormatError(f"should be a table with the columns wnid and name: {error!r}", path=path) from error
    if not classes or len({wnid for wnid, _ in classes}) < len(classes):
        raise DataFormatError("should name at least one class, and each once, in the column wnid", path=path)
    return classes


def _folders(root: Path, split: str, patterns: tuple[str, ...]) -> list[str]:
    """Return the folders in which files of the split may lie, the likeliest first."""
    own = [part for part in _PARTS if split.startswith(part)]
    folders = []
    for part in dict.fromkeys([split, *own, *_PARTS]):
        for base in (root / pattern.format(part=part) for pattern in patterns):
            if base.is_dir():
                folders += [base, *_training_folders(base)]
    folders += _training_folders(root)  # in the 2013 packaging some archives unpack beside the others
    return list(dict.fromkeys(os.fspath(folder) for folder in folders))


def _training_folders(folder: Path) -> list[Path]:
    """Return ILSVRC2013_train, ILSVRC2013_train_extra0, ILSVRC2014_DET_train_0000 and the like in a folder."""
    found = (path for path in folder.glob("ILSVRC20*train*") if "bbox" not in path.name)
    return sorted(path for path in found if path.is_dir())


def _find_photograph(image_id: str, folders: list[str], files: FolderListing, listed: Path) -> str:
    for folder in folders:
        for name in _names(image_id):
            if found := files.pictures(os.path.join(folder, name)):
                return found[0]
    looked = ", ".join(folders) if folders else "Data/DET and ILSVRC201x_DET_*, which are not there either"
    raise DataFormatError(f"its photograph {image_id}.JPEG is missing, looked in {looked}", path=listed, place=image_id)


def _find_truth(image_id: str, folders: list[str], files: FolderListing) -> str | None:
    for folder in folders:
        for name in _names(image_id):
            if files.holds(path := os.path.join(folder, f"{name}.xml")):
                return path
    return None


def _names(image_id: str) -> tuple[str, ...]:
    """Return the id, and the id without its folder, which some packagings name otherwise."""
    last = image_id.rpartition("/")[2]
    return (image_id,) if last == image_id else (image_id, last)


def _indices(numbers: list[int | None]) -> tuple[int, ...] | None:
    found = tuple(number for number in numbers if number is not None)
    whole = len(found) == len(numbers) and len(set(found)) == len(found) and min(found, default=1) >= 1
    return found if whole else None
