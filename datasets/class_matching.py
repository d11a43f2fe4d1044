"""Classes of a detector and of a data set that mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import GroundTruthTable, InputError

_VOC_AND_COCO: Final = (
    ("aeroplane", "airplane"),
    ("diningtable", "dining table"),
    ("motorbike", "motorcycle"),
    ("pottedplant", "potted plant"),
    ("sofa", "couch"),
    ("tvmonitor", "tv"),
)
_OTHER_NAME: Final = dict(_VOC_AND_COCO) | {theirs: ours for ours, theirs in _VOC_AND_COCO}


def class_positions(
    names: Sequence[str], class_names: Sequence[str], display_names: Sequence[str] | None = None
) -> NDArray[np.int32]:
    """Return for each of a detector's classes its position among those of a data set, -1 for those it does not have.

    Classes match by equal names, "_" being a space; failing that, by the six different names that VOC and COCO have for
    one class.

    Args:
        names: The detector's classes.
        class_names: The data set's.
        display_names: What people call the data set's classes, in the same order; ILSVRC's class names are WordNet ids.

    >>> class_positions(["couch", "cat", "n02084071", "kite"], ["n02121808", "n02084071", "sofa"], ["cat", "dog", "x"])
    array([ 2,  0,  1, -1], dtype=int32)
    """
    position_of = {_plain(name): position for position, name in enumerate(display_names or ())}
    position_of |= {_plain(name): position for position, name in enumerate(class_names)}
    found = [position_of.get(name, position_of.get(_OTHER_NAME.get(name, ""), -1)) for name in map(_plain, names)]
    return np.array(found, np.int32)


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


def _plain(name: str) -> str:
    """Return the name with spaces where some tables have underscores."""
    return name.replace("_", " ")
