"""ILSVRC DET: the detection data of the ImageNet challenges 2013 to 2017, in both its packagings.

Source: Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge"; the readme files of the ILSVRC2014
and ILSVRC2015 development kits.
"""

from __future__ import annotations

import csv
import os
import re
from functools import cache
from pathlib import Path
from typing import Unpack

from inception_rcnn.datasets.base import AnnotatedDataset, ReadingOptions, existing_folder
from inception_rcnn.datasets.image_lists import official_indices, read_image_list
from inception_rcnn.datasets.reading.finding import Finder, did_you_mean
from inception_rcnn.datasets.reading.texts import number_of
from inception_rcnn.datasets.voc_xml import SIDES, Annotation
from inception_rcnn.datasets.writing import check_class_names, new_file, put, text_ids, xml_of
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.dataset import DetectionDataset

_PARTS = ("train", "val", "test")
_IMAGES = ("Data/DET/{part}", "ILSVRC2014_DET_{part}", "ILSVRC2013_DET_{part}")
_TRUTHS = ("Annotations/DET/{part}", "ILSVRC2014_DET_bbox_{part}", "ILSVRC2013_DET_bbox_{part}")
_LISTS = ("ImageSets/DET", "devkit/data/det_lists", "*devkit*/data/det_lists", "data/det_lists", "det_lists")

# Of the training set those of 2013, by synset or "extra", have one class boxed or none; those of 2014 and val have all.
_NOT_EXHAUSTIVE = re.compile(r"(^|/)(n\d{8}/|ILSVRC2013_train_\d{8}$)")


class IlsvrcDetDataset(AnnotatedDataset):
    """The images and objects of one split of ILSVRC DET.

    The truth is read and checked at once, images are opened when asked for. ImageNet counts pixels from 0 and
    includes the last one: its box 0 0 9 9 is 0 0 10 10 here. `difficult`, `pose`, `subcategory` play no role. An image
    without annotation is an image without objects: negatives of the training set have none, and the test set. The
    training set's images of 2013, in the folders of synsets (n02086646/n02086646_7175) and the extra ones, show more
    than is boxed: their truth is not `exhaustive`.

    The list is ``ImageSets/DET/<split>.txt`` (2015 and later) or ``<split>.txt`` in a development kit's
    ``data/det_lists`` (2013, 2014), one image a line, with or without a number behind it; R-CNN's val1 and val2 may
    be put there too. Images are in ``Data/DET/{train,val,test}`` or in ``ILSVRC201x_DET_{train,val,test}``,
    annotations in ``Annotations/DET/...`` or ``ILSVRC201x_DET_bbox_...``; an id is found with the folder it names,
    with another of the training set's folders, or in the folder itself.

    Args:
        root: The folder.
        split: Name of the list: ``val``, ``train_1`` ... ``train_200``, ``train_pos_1``, ``val2``.
        options: See `ReadingOptions`.

    Attributes:
        class_names: WordNet ids in the official order: label 0 is class 1. Those of ``DIR/classes.tsv`` if there is
            one, a table with the columns wnid and perhaps name, otherwise the 200.
        display_names: Their English names, in the same order.
        indices: The number behind each id where all have one and they differ, such as the official index in val.txt;
            otherwise None (in train_N.txt the number says whether class N is there).

    Raises:
        InputError: There is no such folder or list.
        DataFormatError: An annotation is no such XML; an image is missing; an object has no class, an unknown one,
            no area, or is not in the image. The text names the file and the object.
    """

    def __init__(self, root: str | os.PathLike[str], split: str, **options: Unpack[ReadingOptions]) -> None:
        folder = existing_folder(root, "Data, Annotations and ImageSets, or the ILSVRC201x_DET folders")
        super().__init__(folder, split, format="ilsvrc", box_words=" ".join(SIDES), **options)
        self.splits = ilsvrc_parts(folder)
        listed = _find_list(folder, split)
        table = folder / "classes.tsv"
        classes = _read_classes(table) if table.is_file() else det_classes()
        known = tuple(wnid for wnid, _ in classes)
        images, truths = _folders(folder, split, _IMAGES), _folders(folder, split, _TRUTHS)
        files = Finder()
        entries = read_image_list(
            listed, self._broken, lambda name: _find_image(name, images, files) is not None, numbered=True
        )
        numbers, bare = [], []
        for image_id, number in entries.items():
            with self._broken.skipping():
                path = _find_image(image_id, images, files)
                if path is None:
                    raise _missing_image(image_id, images, listed)
                truth = _find_truth(image_id, truths, files)
                self._add_annotated(image_id, path, truth, known)
                numbers.append(number)
                bare += [image_id] if truth is None else []
        self._complete(known, display_names=[name for _, name in classes])
        self.indices = official_indices(numbers)
        if bare and self.has_truth and split.startswith("val"):  # in train, photographs without the class have none
            count = f"{len(bare)} of {number_of(len(self), 'photograph')}"
            self._note(f"{count} without annotation, the first: {bare[0]}; they count as without objects")

    def _add_annotated(self, image_id: str, path: str, truth: str | None, known: tuple[str, ...]) -> None:
        if truth is None:
            self._add(image_id, path)
            return
        annotation = Annotation(Path(truth))
        objects = [
            one._replace(ignore=False) for one in annotation.objects(self._rules.first_pixel, self._broken, known)
        ]
        self._add(image_id, path, objects, annotation.path, annotation.size)

    def _is_exhaustive(self, image_id: int | str) -> bool:
        return _NOT_EXHAUSTIVE.search(str(image_id)) is None

    def _table_ids(self) -> tuple[int | str, ...]:
        return self.image_ids if self.indices is None else self.indices


def write_ilsvrc(dataset: DetectionDataset, root: str | os.PathLike[str], split: str) -> None:
    """Write a data set as ILSVRC DET is packed since 2015, for `IlsvrcDetDataset` to read.

    The list has the images' positions, from 1, behind their ids. The classes go to ``classes.tsv``.

    Args:
        dataset: What to write; the class names stand where ILSVRC has WordNet ids.
        root: The folder; created, or other splits are in it already.
        split: What to call the list in ``ImageSets/DET``, and the folders of images and annotations.

    Raises:
        InputError: An object is to be ignored, for which ILSVRC has no mark; or see `write_voc`.
    """
    folder = Path(root)
    listed = new_file(folder / "ImageSets" / "DET" / f"{split}.txt")
    ids = text_ids(dataset)
    for i, image_id in enumerate(ids):
        if dataset.ground_truth(i).ignore.any():
            raise InputError(
                f"image {image_id} has objects to ignore, for which ILSVRC DET has no mark; drop them first"
            )
    _write_classes(dataset, folder)
    for i, image_id in enumerate(ids):
        file = dataset.path(i)
        text = xml_of(dataset, i, Path(image_id).name, first_pixel=0, depth=False)
        put(folder / "Data" / "DET" / split / f"{image_id}{file.suffix}", file.read_bytes())
        put(folder / "Annotations" / "DET" / split / f"{image_id}.xml", text.encode())
    put(listed, "".join(f"{image_id} {number}\n" for number, image_id in enumerate(ids, 1)).encode())


@cache
def det_classes() -> tuple[tuple[str, str], ...]:
    """Return WordNet id and English name of ILSVRC DET's 200 classes in their official order: class 1 is the first.

    Source: map_det.txt of the ILSVRC2014 and ILSVRC2015 development kits.
    """
    return _read_classes(Path(__file__).with_name("tables") / "ilsvrc_det_classes.tsv")


def _write_classes(dataset: DetectionDataset, folder: Path) -> None:
    """Write ILSVRC's table of classes, if there are any."""
    check_class_names(dataset)
    names = zip(dataset.class_names, dataset.display_names, strict=True)
    rows = [f"{n}\t{wnid}\t{name}" for n, (wnid, name) in enumerate(names, 1)]
    if rows:
        put(folder / "classes.tsv", "\n".join(["det_id\twnid\tname", *rows, ""]).encode())


def _find_list(root: Path, split: str) -> Path:
    """Return the list of a split."""
    for pattern in _LISTS:
        found = sorted(folder / f"{split}.txt" for folder in root.glob(pattern))
        for path in found:
            if path.is_file():
                return path
    looked = ", ".join(f"{pattern}/{split}.txt" for pattern in _LISTS)
    near = did_you_mean(split, ilsvrc_parts(root))
    raise InputError(f"no list for split {split!r} in {root}; looked for {looked}{near}")


def ilsvrc_parts(root: Path) -> tuple[str, ...]:
    """Return the names of all lists, without train_1 ... train_200."""
    for pattern in _LISTS:
        found = sorted(path.stem for folder in root.glob(pattern) for path in folder.glob("*.txt"))
        if found:
            return tuple(dict.fromkeys(name for name in found if not name.rpartition("_")[2].isdecimal()))
    return ()


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


def _find_image(image_id: str, folders: list[str], files: Finder) -> str | None:
    """Return where the image of an id is, None if it is nowhere."""
    for folder in folders:
        for name in _names(image_id):
            if found := files.images(os.path.join(folder, name)):
                return found[0]
    return None


def _missing_image(image_id: str, folders: list[str], listed: Path) -> DataFormatError:
    looked = ", ".join(folders) if folders else "Data/DET and ILSVRC201x_DET_*, which are not there either"
    return DataFormatError(
        f"its photograph {image_id}.JPEG is missing, looked in {looked}", path=listed, place=image_id
    )


def _find_truth(image_id: str, folders: list[str], files: Finder) -> str | None:
    for folder in folders:
        for name in _names(image_id):
            if files.holds(path := os.path.join(folder, f"{name}.xml")):
                return path
    found = files.below(folders, (f"{image_id.rpartition('/')[2]}.xml",))
    return found[0] if len(found) == 1 else None


def _names(image_id: str) -> tuple[str, ...]:
    """Return the id, and the id without its folder, which some packagings name otherwise."""
    last = image_id.rpartition("/")[2]
    return (image_id,) if last == image_id else (image_id, last)
