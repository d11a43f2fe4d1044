"""A folder of images, with or without annotations beside them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from inception_rcnn.datasets.base import AnnotatedDataset, existing_folder
from inception_rcnn.datasets.image_lists import read_class_list
from inception_rcnn.datasets.voc import class_names_in
from inception_rcnn.datasets.voc_xml import Annotation
from inception_rcnn.datasets.writing import annotation_of, check_distinct, new_file, put, write_class_list
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.dataset import DetectionDataset
from inception_rcnn.structures.images import image_files


class FolderDataset(AnnotatedDataset):
    """The images in a folder, in alphabetical order, and the objects in the XML beside them.

    ``cat.jpg`` has its objects in ``cat.xml``, in PASCAL VOC's format (pixels counted from 1; see `VocDataset`). A
    image without annotation has no objects, and if none has one, `has_truth` is False. Sub-folders and other
    files are not looked at. An image's id is its name without ending, or with it if several share the name.

    The classes are those in ``DIR/classes.txt``, one a line, if there is such a file; otherwise all that occur in the
    annotations of ``DIR`` and the folders in it, so that all splits have the same, in alphabetical order.

    Args:
        root: The folder.
        split: Name of a folder in it; None if the images are in the folder itself. If there is no such folder but
            images in `root`, those are taken.
        skip_broken: Leave out what is broken (see Raises) and count it in `skipped`, instead of stopping at the first.

    Raises:
        InputError: There is no such folder.
        DataFormatError: An annotation is no VOC XML, or its image is missing; an object has no class, an unknown
            one, no area, or leaves the image. The text names the file and the object.
    """

    def __init__(self, root: str | os.PathLike[str], split: str | None = None, *, skip_broken: bool = False) -> None:
        top = existing_folder(root, "the images, or a folder for each split")
        super().__init__(top, split, skip_broken=skip_broken)
        self.folder, files = _find_images(top, split)
        names = top / "classes.txt"
        known = read_class_list(names) if names.is_file() else None
        truths = {path.stem: path for path in sorted(self.folder.glob("*.xml")) if not path.name.startswith(".")}
        stems = Counter(path.stem for path in files)
        for path in files:
            stem = path.stem
            with self._broken.skipping():
                image_id = path.name if stems[stem] > 1 else stem
                if stem not in truths:
                    self._add(image_id, path)
                    continue
                annotation = Annotation(truths[stem])
                objects = annotation.objects(1, self._broken, known)
                self._add(image_id, path, objects, annotation.path, annotation.size)
        for stem in sorted(truths.keys() - stems.keys()):
            with self._broken.skipping():
                raise DataFormatError("there is no photograph of that name beside it", path=truths[stem])
        self._complete(known if known is not None else self._classes())

    def _classes(self) -> tuple[str, ...]:
        if not self._names:
            return ()
        folders = {self.root, self.folder, *(path for path in self.root.iterdir() if path.is_dir())}
        return tuple(sorted({*self._names, *(name for folder in folders for name in class_names_in(folder))}))


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
    names = [dataset.path(i).name for i in range(len(dataset))]
    check_distinct([Path(name).stem for name in names])  # two images of one stem would share the annotation
    for i, name in enumerate(names):
        text = annotation_of(dataset, i, name, first_pixel=1)
        put(new / name, dataset.path(i).read_bytes())
        put((new / name).with_suffix(".xml"), text.encode())


def _find_images(root: Path, split: str | None) -> tuple[Path, list[Path]]:
    """Return the folder that is meant, and the images in it."""
    folder = root if split is None else root / split
    if folder.is_dir():
        return folder, image_files(folder)
    if files := image_files(root):
        return root, files
    raise InputError(f"no photographs for split {split!r}: there is no folder {folder}, and none are in {root} itself")
