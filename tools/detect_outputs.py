"""What `detect` writes besides pictures and --json: tables, annotations for other tools, cut-outs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inception_rcnn.structures import Detections

FORMATS: Final = ("csv", "parquet", "coco", "coco-set", "voc", "yolo", "cvat", "label-studio")
_FOLDERS: Final = ("voc", "yolo")

Targets = list[tuple[str, Path]]


def check_targets(given: Sequence[str]) -> Targets:
    """Return format and path of each --write, once it is sure that they can be written.

    Args:
        given: As "csv:found.csv".

    Raises:
        typer.BadParameter: A format is unknown, or none is named.
        InputError: A folder does not exist.
        MissingDependencyError: A library is missing.
    """
    from inception_rcnn.datasets.archive.storage import parquet_library
    from inception_rcnn.structures.files import check_folder, check_target

    targets: Targets = []
    for text in given:
        format, colon, path = text.partition(":")
        if format not in FORMATS or not colon or not path:
            known = ", ".join(FORMATS)
            raise typer.BadParameter(
                f"should be FORMAT:PATH, FORMAT one of {known}; got {text!r}", param_hint="--write"
            )
        (check_folder if format in _FOLDERS else check_target)(Path(path))
        if format == "parquet":
            parquet_library()
        targets.append((format, Path(path)))
    return targets


def write_results(targets: Targets, entries: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> None:
    """Write what was found in every way that was asked for; one that fails does not keep the others from it.

    Args:
        targets: Of `check_targets`.
        entries: Objects of photographs; those that could not be read are left out.
        class_names: Of the detector.

    Raises:
        InceptionError, OSError: The first that came; the others were tried.
    """
    from inception_rcnn.datasets.detections import annotation_files, table_files
    from inception_rcnn.structures import InceptionError

    read = [entry for entry in entries if "error" not in entry]
    tables = {"csv": table_files.write_csv, "parquet": table_files.write_parquet}
    writers = {
        "coco": annotation_files.write_coco_results,
        "coco-set": annotation_files.write_coco_set,
        "voc": annotation_files.write_voc_annotations,
        "yolo": annotation_files.write_yolo_labels,
        "cvat": annotation_files.write_cvat,
        "label-studio": annotation_files.write_label_studio,
    }
    failed: list[Exception] = []
    for format, path in targets:
        try:
            if format in tables:
                tables[format](path, read)
            else:
                writers[format](path, read, class_names)
        except (InceptionError, OSError) as error:
            failed.append(error)
    if failed:
        raise failed[0]


class Crops:
    """What is in the boxes of photographs, as pictures in a folder for each class.

    Args:
        folder: For all.

    Raises:
        InputError: There is a file in its place.
    """

    def __init__(self, folder: Path) -> None:
        from inception_rcnn.structures.files import check_folder

        self._folder = check_folder(folder)
        self._before: dict[str, list[Path]] = {}
        for path in folder.glob("*/*.jpg"):
            self._before.setdefault(path.stem.rpartition("-")[0], []).append(path)

    def has(self, stem: str) -> bool:
        """Return whether an earlier run left some of a photograph."""
        return stem in self._before

    def write(self, stem: str, found: Detections, image: NDArray[np.uint8]) -> None:
        """Write those of a photograph; what an earlier run cut out of it goes.

        Args:
            stem: What the photograph is called; its boxes are numbered, best first.
            found: In it.
            image: (H, W, 3) uint8 RGB.
        """
        from inception_rcnn.structures import write_picture
        from inception_rcnn.structures.drawing import is_own_picture

        for path in self._before.pop(stem, ()):
            if is_own_picture(path):
                path.unlink(missing_ok=True)
        for number, (one, crop) in enumerate(zip(found, found.crops(image), strict=True), start=1):
            if crop.size:
                write_picture(self._folder / safe_name(one.class_name) / f"{stem}-{number}.jpg", crop)


def safe_name(text: str) -> str:
    """Return a class's name as that of a folder: what could lead elsewhere becomes a dash.

    >>> safe_name("tv or monitor"), safe_name("../up")
    ('tv or monitor', '---up')
    """
    name = re.sub(r"[^\w \-()+,.]", "-", text).strip()
    return re.sub(r"^\.+", lambda dots: "-" * len(dots[0]), name) or "-"
