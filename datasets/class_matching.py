"""Classes of a detector and of a data set that mean the same, or of which one is a kind of the other."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.ilsvrc import det_classes
from inception_rcnn.structures import Detections, GroundTruthTable, InputError

_SAME: Final = "same"  # what COCO's class is to ILSVRC's; else "wider" or "narrower"
_WIDER: Final = "wider"


@dataclass(frozen=True, eq=False)
class ClassMatch:
    """Which of a detector's classes the D classes of a data set are.

    Attributes:
        position: (D,) int32 position among the detector's classes, -1: none of them.
        same: (D,) whether it is that class; elsewhere it is a kind of it (a dining table is a table), and objects of
            other kinds are not labelled.
    """

    position: NDArray[np.int32]
    same: NDArray[np.bool_]


def class_positions(
    names: Sequence[str], class_names: Sequence[str], display_names: Sequence[str] | None = None
) -> NDArray[np.int32]:
    """Return for each of a detector's classes its position among those of a data set, -1 for those it does not have.

    Classes match by equal names, "_" being a space; failing that, by the different names that VOC, COCO and ILSVRC DET
    have for one class (class_equivalents.tsv).

    Args:
        names: The detector's classes.
        class_names: The data set's.
        display_names: What people call the data set's classes, in the same order; ILSVRC's class names are WordNet ids.

    >>> class_positions(["couch", "cat", "n02084071", "kite"], ["n02121808", "n02084071", "sofa"], ["cat", "dog", "x"])
    array([ 2,  0,  1, -1], dtype=int32)
    """
    position_of = {_plain(name): position for position, name in enumerate(display_names or ())}
    position_of |= {_plain(name): position for position, name in enumerate(class_names)}
    found = [_first(position_of, (name, *other_names(name))) for name in map(_plain, names)]
    return np.array(found, np.int32)


def match_classes(class_names: Sequence[str], display_names: Sequence[str], names: Sequence[str]) -> ClassMatch:
    """Return which of a detector's classes those of a data set are.

    Classes match as in `class_positions`; failing that, a class is matched with one that it is a kind of: COCO's
    `sports ball` has ILSVRC's `soccer ball`. Not the other way round: a bottle need not be a wine bottle.

    Args:
        class_names: The data set's classes.
        display_names: What people call them, in the same order.
        names: The detector's.

    >>> match_classes(["tvmonitor", "diningtable", "bottle"], ["", "", ""], ["n04379243", "n03211117"]).position
    array([ 1,  0, -1], dtype=int32)
    """
    by_name, by_display = (class_positions(given, names) for given in (class_names, display_names))
    position = np.where(by_name < 0, by_display, by_name)
    same = position >= 0
    position_of = {_plain(name): place for place, name in enumerate(names)}
    for row in np.flatnonzero(~same).tolist():
        given = (_plain(class_names[row]), _plain(display_names[row]))
        position[row] = _first(position_of, tuple(wider for name in given for wider in _wider_names().get(name, ())))
    return ClassMatch(position, same)


def in_classes_of(found: Detections, class_names: Sequence[str], match: ClassMatch) -> Detections:
    """Return the detections of classes that a data set has, with its labels.

    Args:
        found: With the detector's labels.
        class_names: The data set's classes.
        match: Which of the detector's classes those are.
    """
    label_of = {int(mine): label for label, mine in reversed(list(enumerate(match.position))) if mine >= 0}
    kept = found[[row for row, label in enumerate(found.labels.tolist()) if label in label_of]]
    labels = np.array([label_of[label] for label in kept.labels.tolist()], np.int64)
    return replace(kept, labels=labels, class_names=tuple(class_names))


def known_classes(names: Sequence[str], ground_truth: GroundTruthTable) -> frozenset[int]:
    """Return the positions of the ground truth's classes that a detector with these classes knows.

    Raises:
        InputError: It knows none of them.
    """
    positions = class_positions(names, ground_truth.class_names, ground_truth.display_names)
    known = frozenset(positions[positions >= 0].tolist())
    if not known:
        raise InputError(
            f"the detector's {len(names)} classes ({', '.join(names[:3])} ...) are none of the data set's "
            f"{len(ground_truth.class_names)} ({', '.join(ground_truth.class_names[:3])} ...)"
        )
    return known


def other_names(name: str) -> tuple[str, ...]:
    """Return what COCO, VOC and ILSVRC DET (WordNet id, then English name) call the class of this name.

    >>> other_names("tvmonitor"), other_names("dragon")
    (('tv', 'n03211117', 'tv or monitor'), ())
    """
    return tuple(other for other in _same_names().get(_plain(name), ()) if other != _plain(name))


def coco_classes() -> tuple[str, ...]:
    """Return COCO's 80 classes in the order of their category ids."""
    return tuple(dict.fromkeys(row["coco"] for row in _rows()))


@cache
def class_table(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of a table of classes, one of `tables/`, by the names of its columns."""
    with open(Path(__file__).with_name("tables") / name, encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _rows() -> tuple[dict[str, str], ...]:
    """Return a row for each class of COCO, or for each class of ILSVRC DET that it overlaps."""
    return class_table("class_equivalents.tsv")


@cache
def _same_names() -> dict[str, tuple[str, ...]]:
    """Return all names of one class by each of them."""
    groups: dict[str, list[str]] = {}
    english = dict(det_classes())
    for row in _rows():
        group = groups.setdefault(row["coco"], [row["coco"], row["voc"]])
        if row["coco_is"] == _SAME:
            group += [row["ilsvrc"], _plain(english.pop(row["ilsvrc"]))]
    groups |= {wnid: [wnid, _plain(name)] for wnid, name in english.items()}
    return {name: tuple(dict.fromkeys(filter(None, group))) for group in groups.values() for name in group if name}


@cache
def _wider_names() -> dict[str, tuple[str, ...]]:
    """Return by each name of a class the names of the classes that it is a kind of."""
    english, found = dict(det_classes()), dict[str, tuple[str, ...]]()
    for row in _rows():
        if row["coco_is"] and row["coco_is"] != _SAME:
            of_coco = tuple(filter(None, (row["coco"], row["voc"])))
            of_ilsvrc = (row["ilsvrc"], _plain(english[row["ilsvrc"]]))
            kind, wider = (of_ilsvrc, of_coco) if row["coco_is"] == _WIDER else (of_coco, of_ilsvrc)
            for name in kind:
                found[name] = tuple(dict.fromkeys((*found.get(name, ()), *wider)))
    return found


def _first(position_of: dict[str, int], names: Sequence[str]) -> int:
    """Return the position of the first of some names that has one, -1 if none has."""
    return next((position_of[name] for name in names if name in position_of), -1)


def _plain(name: str) -> str:
    """Return the name with spaces where some tables have underscores."""
    return name.replace("_", " ")
