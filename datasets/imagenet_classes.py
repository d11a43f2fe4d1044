"""Which of the 1000 outputs of a network trained on ImageNet are kinds of a detector's classes.

imagenet_classes.tsv has the 1000 synsets of ILSVRC's classification task in their order, which is that of the WordNet
ids and of the outputs, and for each the class of ILSVRC DET and the one of COCO that it is a kind of.

Source: of ILSVRC DET's classes WordNet 3.0, and the twelve links that DET's own hierarchy (meta_det.mat of the
ILSVRC2014 development kit) adds to it, such as a hare to the rabbits: 495 synsets, at least one for each of the 200.
COCO's column is this project's own: 310 synsets of 63 classes. ImageNet has no giraffe, fork or skateboard, its kite is
a bird, and its only people are a ballplayer, a groom and a scuba diver.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from inception_rcnn.datasets.class_matching import class_table, other_names


def imagenet_outputs(names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Return for each of a detector's classes the outputs, in 0..999, that are kinds of it; of some there are none.

    Args:
        names: As COCO, VOC or ILSVRC DET (WordNet id or English) have them, or WordNet ids of ImageNet's synsets.

    >>> imagenet_outputs(["diningtable", "n04379243", "kite", "n01440764"])
    ((532,), (526, 532, 736), (), (0,))
    """
    outputs = _outputs_by_name()
    return tuple(
        next((outputs[one] for one in (name.replace("_", " "), *other_names(name)) if one in outputs), ())
        for name in names
    )


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """Return the WordNet ids of the 1000 outputs, in their order."""
    return tuple(row["wnid"] for row in _rows())


@cache
def imagenet_names() -> tuple[str, ...]:
    """Return the English names of the 1000 outputs, in their order; "crane" and "maillot" are there twice."""
    return tuple(row["name"] for row in _rows())


def _rows() -> tuple[dict[str, str], ...]:
    """Return a row for each of the 1000 outputs."""
    return class_table("imagenet_classes.tsv")


@cache
def _outputs_by_name() -> dict[str, tuple[int, ...]]:
    """Return the outputs by the name of a class of COCO, by the WordNet id of one of DET, and by that of a synset."""
    found: dict[str, tuple[int, ...]] = {}
    for column in ("wnid", "coco", "ilsvrc"):  # a class of DET that is a synset too has all that is under it
        of_column: dict[str, tuple[int, ...]] = {}
        for output, row in enumerate(_rows()):
            if row[column]:
                of_column[row[column]] = (*of_column.get(row[column], ()), output)
        found |= of_column
    return found
