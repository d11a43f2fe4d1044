"""YOLO: a text file for each image, a line for each object: class, centre and sides as shares of the photograph.

Source: the data formats of darknet and of Ultralytics' YOLO (data.yaml; docs.ultralytics.com/datasets/detect).
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Unpack

from inception_rcnn.datasets.base import AnnotatedDataset, ReadingOptions, existing_folder
from inception_rcnn.datasets.image_lists import read_class_list
from inception_rcnn.datasets.reading.box_rules import AnnotatedObject
from inception_rcnn.datasets.reading.finding import (
    Finder,
    did_you_mean,
    folded,
    image_ending,
    is_split_name,
    path_parts,
)
from inception_rcnn.datasets.reading.foreign import foreign_annotations, is_yolo_label
from inception_rcnn.datasets.reading.headers import read_header
from inception_rcnn.datasets.reading.texts import decode_text, number_of, read_data_yaml
from inception_rcnn.datasets.writing import check_class_names, file_names, image_size, new_file, put
from inception_rcnn.structures import DataFormatError, InputError, write_whole
from inception_rcnn.structures.dataset import DetectionDataset

_PARTS: Final = ("train", "val", "test")  # of data.yaml
_CLASS_FILES: Final = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt")
_NOT_LABELS: Final = frozenset(("classes", "train", "val", "valid", "test", "readme", "labels", "notes"))
_DATA: Final = "obj.data"
_TINY: Final = 1e-9  # of a photograph's side: what is lost when shares are written and read


class YoloDataset(AnnotatedDataset):
    """The images and objects of one part of a data set in YOLO's format.

    The labels of ``images/<split>/cat.jpg`` or ``<split>/images/cat.jpg`` are in ``labels/<split>/cat.txt`` or
    ``<split>/labels/cat.txt``, or beside the image. An image without labels has no objects. A line with more than four
    numbers is a polygon and gives the box around it. Shares refer to the photograph as EXIF data turn it.

    The parts and the classes are those in ``data.yaml``; without, the parts are folders, and the classes in
    ``classes.txt``, ``obj.names`` or ``_darknet.labels``.

    Args:
        root: The folder, or its YAML.
        split: Such as ``"train"`` or ``"val"``; None: the only part, or the images in the folder itself.
        options: See `ReadingOptions`.

    Raises:
        InputError: There is no such folder or part, or several and none is named; or the classes are not named.
        DataFormatError: A label is no such line, or its box is not in the photograph; the text names the line.
    """

    def __init__(
        self, root: str | os.PathLike[str], split: str | None = None, **options: Unpack[ReadingOptions]
    ) -> None:
        given = Path(root) if os.path.isfile(root) else None
        folder = existing_folder(given.parent if given is not None else root, "data.yaml, images and labels")
        self._files = Finder()
        table = given or yolo_yaml(folder, self._files)
        guessed: list[str] = []
        content = read_data_yaml(table, guessed.append) if table is not None else {}
        parts = yolo_parts(folder, self._files, content)
        split = _chosen(folder, split, parts)
        super().__init__(folder, split, format="yolo", box_words="x y width height", shares=True, **options)
        self._guessed += guessed
        self.splits = tuple(parts)
        self._by_name: dict[str, int] = {}
        names = self._class_names(table, content)
        images = self._images(parts.get(split or "", [os.fspath(folder)]))
        labels = {path: self._labels_of(path) for path in images}
        owners = Counter(labels.values())
        for path in images:
            with self._broken.skipping():
                if labels[path] is not None and owners[labels[path]] > 1:
                    raise self._shared(labels, path)
                self._read(path, labels[path], names, keypoints="kpt_shape" in content)
        self._complete(names)
        self._say_missing(table, content)
        self._say_unpaired(labels)

    def _shared(self, labels: dict[str, str | None], path: str) -> DataFormatError:
        """Return the error that a file of labels is of several photographs."""
        own = [os.path.basename(one) for one, found in labels.items() if found == labels[path]]
        return DataFormatError(
            f"{len(own)} photographs may be meant: {', '.join(own[:3])}; keep one of the name, or call the labels "
            f"{os.path.basename(path)}.txt",
            path=labels[path] or path,
        )

    def _say_missing(self, table: Path | None, content: dict[str, Any]) -> None:
        """Say which parts the YAML names that are not there, and another number of classes than it has names."""
        if (count := content.get("nc")) not in (None, str(len(self.class_names))):
            self._note(f"{table} says nc: {count}, and has {number_of(len(self.class_names), 'name')} of classes")
        for name, given in content.items():
            if given and is_split_name(name) and name not in self.splits:
                self._note(f"{table} names {name}: {given}, which is not there")

    def _say_unpaired(self, labels: dict[str, str | None]) -> None:
        """Say which photographs have no labels and which labels no photograph, and what else lies there."""
        bare = [path for path in self._paths if labels[path] is None]
        if bare and self.has_truth:
            count = f"{len(bare)} of {number_of(len(self), 'photograph')}"
            self._note(f"{count} without a file of labels, the first: {bare[0]}; they count as without objects")
        for line in foreign_annotations(self.root, self._files, own="yolo") if bare else ():
            self._note(line)
        inner = self._files.child(self.root, "labels")
        used = {path for path in labels.values() if path is not None}
        places = {os.path.dirname(path) for path in used} or {os.path.join(self.root, inner or "")}
        stems = {folded(_stem(path)) for path in self._files.walk(self.root) if image_ending(path)}
        beside = [os.path.join(place, name) for place in sorted(places) for name in self._files.entries(place)]
        if alone := [path for path in beside if folded(_stem(path)) not in stems and _is_label(path)]:
            self._note(f"{number_of(len(alone), 'file')} of labels without a photograph, the first: {alone[0]}")

    def _class_names(self, table: Path | None, content: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the classes.

        Raises:
            InputError: There are none.
        """
        names = content.get("names")
        if isinstance(names, dict):
            if sorted(names) != sorted(map(str, range(len(names)))):
                raise DataFormatError(
                    f"names should count from 0 without gaps, got {', '.join(list(names)[:5])}", path=table or self.root
                )
            names = [names[str(number)] for number in range(len(names))]
        if isinstance(names, list) and names:
            return self._distinct(names, table or self.root)
        for folder in (self.root, *(self.root / name for name in ("labels", "data", "obj_train_data"))):
            for name in _CLASS_FILES:
                found = self._files.child(folder, name)
                if found is not None:
                    return read_class_list(folder / found, self._guessed.append)
        raise InputError(
            f"the classes of {self.root} are not named: write data.yaml with 'names: [cat, dog]', or classes.txt with "
            "a name a line, in the order of their numbers"
        )

    def _distinct(self, names: Sequence[str], path: Path) -> tuple[str, ...]:
        again = next((name for name, count in Counter(names).items() if count > 1 or not name), None)
        if again is not None:
            raise DataFormatError(f"the class {again!r:.200} is there twice, or is empty", path=path, place="names")
        return tuple(names)

    def _images(self, places: list[str]) -> list[str]:
        """Return the images of a part in the order of their names, or of its list."""
        found: dict[str, None] = {}
        apart = self.splits if self.split is None else ()
        for place in places:
            if os.path.isdir(place):
                below = (path for path in self._files.walk(place, splits=apart) if image_ending(path))
                found.update(dict.fromkeys(below))
                continue
            for number, line in enumerate(decode_text(Path(place).read_bytes(), place).splitlines(), 1):
                if line.strip():
                    with self._broken.skipping():
                        found[self._listed(line.strip(), place, number)] = None
        return list(found)

    def _listed(self, line: str, place: str, number: int) -> str:
        """Return the image that a line of a list means."""
        folders = [self.root, Path(place).parent]
        found = self._files.file(folders, line)
        if len(found) != 1:
            near = self._files.close_to(folders, line)
            what = f"may be any of {', '.join(found[:3])}" if found else f"is missing in {self.root}{near}"
            raise DataFormatError(f"the photograph {line!r} {what}", path=place, place=f"line {number}")
        return found[0]

    def _read(self, path: str, labels: str | None, names: tuple[str, ...], *, keypoints: bool) -> None:
        """Append an image with its objects, unless a command drew it."""
        if labels is None and self._is_drawn(path):
            return
        inner = os.path.relpath(path, self.root).replace(os.sep, "/")
        stem = inner[: -len(image_ending(inner))]
        parts = [part for part in stem.split("/") if folded(part) not in ("images", folded(self.split or "images"))]
        image_id = "/".join(parts)
        if self._by_name.setdefault(image_id, len(self)) != len(self):
            image_id = inner
        header = read_header(path)
        if labels is None or header is None:
            self._add(image_id, path, (), None if labels is None else Path(labels))
            return
        size = (header.width, header.height) if self._exif == "stored" else header.upright
        objects = list(self._objects(Path(labels), names, size, keypoints=keypoints))
        self._add(image_id, path, objects, Path(labels))

    def _labels_of(self, path: str) -> str | None:
        """Return the file of labels of an image: in the folder labels for images, or beside it."""
        stem = os.path.splitext(path)[0]
        inner = os.path.relpath(stem, self.root).split(os.sep)
        for place in [k for k in reversed(range(len(inner))) if folded(inner[k]) == "images"]:
            parts = [*inner[:place], "labels", *inner[place + 1 :]]
            for ending in (".txt", f"{image_ending(path)}.txt"):
                found = self._files.follow(self.root, (*parts[:-1], parts[-1] + ending))
                if found is not None:
                    return found
        beside = self._files.child(os.path.dirname(path), f"{inner[-1]}.txt")
        if beside is not None:
            return os.path.join(os.path.dirname(path), beside)
        name = f"{inner[-1]}.txt"
        in_folder = self._files.follow(self.root, ("labels", *inner[-2:-1], name))
        return in_folder or self._files.follow(self.root, ("labels", name))

    def _objects(
        self, path: Path, names: tuple[str, ...], size: tuple[int, int], *, keypoints: bool
    ) -> Iterator[AnnotatedObject]:
        """Yield the objects in a file of labels."""
        lines = decode_text(path.read_bytes(), path, self._guessed.append).splitlines()
        for number, line in enumerate(lines, 1):
            if line.strip():
                with self._broken.skipping():
                    yield self._object(line.split(), path, number, names, size, keypoints=keypoints)

    def _object(
        self,
        words: list[str],
        path: Path,
        number: int,
        names: tuple[str, ...],
        size: tuple[int, int],
        *,
        keypoints: bool,
    ) -> AnnotatedObject:
        """Return the object of a line.

        Raises:
            DataFormatError: It is none.
        """
        place = f"line {number}"
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) < 5 or not all(map(math.isfinite, values)) or values[0] != int(values[0]):
            raise DataFormatError(
                f"should be a class number and x y width height, got {' '.join(words)!r:.80}", path=path, place=place
            )
        label = int(values[0])
        if not 0 <= label < len(names):
            raise DataFormatError(
                f"the class is {label}, and there are {len(names)}, counted from 0", path=path, place=place
            )
        shares = values[1:5] if keypoints or len(values) < 7 else _around(values[1:])
        if max(shares) > 2:
            raise DataFormatError(
                f"should have shares of the photograph, 0 to 1, got pixels: {' '.join(words[:5])}; divide by its width "
                "and height",
                path=path,
                place=f"{place} ({names[label]})",
            )
        box = _corners(shares, size)
        return AnnotatedObject(names[label], box, place=f"{place} ({names[label]})", numbers=shares)


def write_yolo(dataset: DetectionDataset, root: str | os.PathLike[str], split: str) -> None:
    """Write a data set as Ultralytics' YOLO reads it, for `YoloDataset` to read.

    Images go to ``images/<split>``, labels to ``labels/<split>``, the classes and the part to ``data.yaml``. Boxes come
    back to far less than a hundredth of a pixel.

    Args:
        dataset: What to write.
        root: The folder; created, or other splits are in it already.
        split: train, val or test, which trainers look for; or another name.

    Raises:
        InputError: An object is to be ignored, for which YOLO has no mark; two images have one name; the classes are
            not those of the splits that are there; or see `write_voc`.
    """
    folder = Path(root)
    new = new_file(folder / "labels" / split)
    check_class_names(dataset)
    names = file_names(dataset)
    parts = _parts_with(folder, split, dataset.class_names)
    for i, name in enumerate(names):
        if dataset.ground_truth(i).ignore.any():
            raise InputError(f"image {name} has objects to ignore, for which YOLO has no mark; drop them first")
    for i, name in enumerate(names):
        truth = dataset.ground_truth(i)
        size = image_size(dataset, i, truth)
        lines = [
            f"{label} {' '.join(map(repr, _shares(box, size)))}\n"
            for label, box in zip(truth.labels.tolist(), truth.boxes.tolist(), strict=True)
        ]
        put(folder / "images" / split / name, dataset.path(i).read_bytes())
        put((new / name).with_suffix(".txt"), "".join(lines).encode())
    write_whole(folder / "data.yaml", _yaml(parts, dataset.class_names))


def yolo_yaml(folder: Path, files: Finder) -> Path | None:
    """Return the YAML of a data set's folder, None if there is none with parts and names."""
    names = [name for name in files.entries(folder) if name.lower().endswith((".yaml", ".yml"))]
    for name in sorted(names, key=lambda one: (not one.lower().startswith("data"), one)):
        try:
            content = read_data_yaml(folder / name)
        except (DataFormatError, InputError):
            continue
        if "names" in content and (any(part in content for part in _PARTS) or "path" in content):
            return folder / name
    return None


def yolo_parts(folder: Path, files: Finder, content: dict[str, Any] | None = None) -> dict[str, list[str]]:
    """Return the folders and lists of images of each part."""
    if content is None:
        table = yolo_yaml(folder, files)
        content = read_data_yaml(table) if table is not None else {}
    parts: dict[str, list[str]] = {}
    for name, given in content.items():
        if given is None or not (is_split_name(name) or str(given).startswith("images/")):
            continue
        for text in [given] if isinstance(given, str) else given:
            if (found := _place_of(text, content.get("path"), folder, files)) is not None:
                parts.setdefault(name, []).append(found)
    return parts or _folders_of_parts(folder, files)


def _place_of(text: str, base: object, folder: Path, files: Finder) -> str | None:
    """Return the folder or list that a line of data.yaml means, in the data set's folder; None if it is not there."""
    bases = [*path_parts(base)] if isinstance(base, str) else []
    whole = (*bases, *path_parts(text))
    for k in range(len(whole)):
        found = files.follow(folder, whole[k:])
        if found is not None:
            return found
    return None


def _folders_of_parts(folder: Path, files: Finder) -> dict[str, list[str]]:
    """Return the parts of a data set without data.yaml: images/train or train/images, or a list train.txt."""
    parts: dict[str, list[str]] = {}
    images = files.child(folder, "images")
    for top in (folder / images,) if images is not None else ():
        for name, is_folder in files.entries(top).items():
            if is_folder and is_split_name(name):
                parts[name] = [os.path.join(top, name)]
    for name, is_folder in files.entries(folder).items():
        stem, ending = os.path.splitext(name)
        if is_folder and is_split_name(name) and any(image_ending(one) for one in files.walk(folder / name)):
            inner = files.child(folder / name, "images")
            parts.setdefault(name, [os.path.join(folder, name, inner) if inner else os.path.join(folder, name)])
        elif not is_folder and ending == ".txt" and is_split_name(stem) and not is_yolo_label(folder / name):
            parts.setdefault(stem, [os.path.join(folder, name)])
    return parts


def _chosen(folder: Path, split: str | None, parts: dict[str, list[str]]) -> str | None:
    """Return the name of the part that is meant.

    Raises:
        InputError: It is not there, or several are and none is named.
    """
    if split is None:
        if len(parts) > 1:
            raise InputError(f"{folder} has the parts {', '.join(parts)}; name one as the split")
        return next(iter(parts), None)
    if split not in parts:
        there = f"there are {', '.join(parts)}{did_you_mean(split, list(parts))}" if parts else "it has no parts"
        raise InputError(f"no part {split!r} in {folder}: {there}")
    return split


def has_yolo_labels(folder: Path, files: Finder) -> bool:
    """Return whether there are files of YOLO's labels in a folder that has images, or in folders below it."""
    tried = 0
    for path in files.walk(folder):
        stem, ending = os.path.splitext(os.path.basename(path))
        if ending.lower() == ".txt" and folded(stem) not in _NOT_LABELS:
            if is_yolo_label(path):
                return True
            tried += os.path.getsize(path) > 0
            if tried > 20:
                break
    return False


def _stem(path: str) -> str:
    """Return what an image and its labels, a.txt or a.jpg.txt, have in common."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return stem.removesuffix(image_ending(stem))


def _is_label(path: str) -> bool:
    """Return whether a file has YOLO's labels, and not the names of classes or a list of images."""
    stem, ending = os.path.splitext(os.path.basename(path))
    return ending.lower() == ".txt" and folded(stem) not in _NOT_LABELS and is_yolo_label(path)


def _corners(shares: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return a box in pixels; what rounding moved over the edge of the photograph is moved back."""
    x, y, width, height = shares
    ends = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    snapped = [0.0 if abs(end) < _TINY else 1.0 if abs(end - 1) < _TINY else end for end in ends]
    x1, y1, x2, y2 = (end * size[k % 2] for k, end in enumerate(snapped))
    return (x1, y1, x2, y2)


def _shares(box: Sequence[float], size: tuple[int, int]) -> list[float]:
    """Return centre and sides of a box as shares of the photograph."""
    x1, y1, x2, y2 = box
    width, height = size
    return [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]


def _around(values: Sequence[float]) -> list[float]:
    """Return centre and sides of the box around a polygon, x1 y1 x2 y2 ...; a score behind the last is passed over."""
    xs, ys = values[: len(values) // 2 * 2 : 2], values[1 : len(values) // 2 * 2 : 2]
    x1, y1, x2, y2 = min(xs), min(ys), max(xs), max(ys)
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def _parts_with(folder: Path, split: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the parts in data.yaml with one more.

    Raises:
        InputError: Its classes are others.
    """
    table = folder / "data.yaml"
    content = read_data_yaml(table) if table.is_file() else {}
    known = content.get("names", list(names))
    if list(known.values() if isinstance(known, dict) else known or []) != list(names):
        raise InputError(f"{table} names other classes; write to another folder")
    kept = {key: value for key, value in content.items() if key not in ("path", "names", "nc")}
    return {**kept, split: f"images/{split}"}


def _yaml(parts: dict[str, str], names: Sequence[str]) -> str:
    """Return the text of data.yaml."""
    import yaml  # as in `read_data_yaml`

    content = {"path": ".", **parts, "names": dict(enumerate(names))}
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
