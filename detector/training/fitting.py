"""How long to train, at which rate and from which stage on, by how many photographs there are; and when to stop.

data set --split_for_validation--> photographs to learn from, and some to validate on --fitted_settings--> options of
`train_detector`, and a `RecordSettings` that stops when validation stops

The numbers suit the shipped model as the start, and batches of two photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from inception_rcnn.detector.training.fine_tuning import TrainingOptions
from inception_rcnn.detector.training.record import RecordSettings
from inception_rcnn.structures.dataset import DetectionDataset, Subset

_ONE_IN: Final = 7  # photographs are validated on
_FEWEST: Final = 30  # of fewer photographs none are kept from the training
_MOST_VALIDATED: Final = 100
_PASSES: Final = 8
_LEAST_BATCHES, _MOST_BATCHES = 150, 12_000
_LOOKS: Final = 8  # at validation, in the course of a training
_PATIENCE: Final = 3  # looks without a better one, after which it stops
_FEW: Final = 1000  # photographs, of which the early stages would learn nothing that is true of others


@dataclass(frozen=True, kw_only=True)
class FittedSettings:
    """How a data set should be trained on.

    Args:
        options: Of `train_detector`.
        record: What is written on the way, and when to stop.
        reason: In words, a line each.
    """

    options: TrainingOptions
    record: RecordSettings
    reason: tuple[str, ...]


def split_for_validation(dataset: DetectionDataset, seed: int) -> tuple[DetectionDataset, DetectionDataset | None]:
    """Return the photographs to learn from, and those to validate on: one in 7, at most 100, of each class some.

    Of fewer than 30 photographs all are learned from, and there are none to validate on. Photographs are drawn so that
    every class of which there are several keeps some on either side, the rarest classes first.

    Args:
        dataset: The photographs to train on; a part to test on is not among them.
        seed: Of the draw.
    """
    count = len(dataset)
    if count < _FEWEST:
        return dataset, None
    wanted = min(max(count // _ONE_IN, 1), _MOST_VALIDATED)
    table = dataset.ground_truths()
    order = np.random.default_rng([seed, count]).permutation(count)
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    images_of = {
        label: np.unique(table.image[(table.label == label) & ~table.ignored]) for label in np.unique(table.label)
    }
    chosen: list[int] = []
    for images in sorted(images_of.values(), key=len):
        share = len(images) * wanted // count  # none of a class of which there are but a few
        there = int(np.isin(images, chosen).sum())
        free = [row for row in images[np.argsort(rank[images])].tolist() if row not in chosen]
        chosen += free[: max(share - there, 0)]
    chosen = chosen[:wanted]
    chosen += [row for row in order.tolist() if row not in set(chosen)][: wanted - len(chosen)]
    kept = np.setdiff1d(np.arange(count), chosen)
    return Subset(dataset, kept.tolist()), Subset(dataset, sorted(chosen))


def fitted_settings(photographs: int, validated: int) -> FittedSettings:
    """Return how to train on so many photographs.

    Args:
        photographs: To learn from.
        validated: To validate on; 0: none.

    >>> fitted_settings(206, 34).options["iterations"]
    824
    >>> fitted_settings(3, 0).options["iterations"]
    150
    """
    batches = min(max(photographs * _PASSES // 2, _LEAST_BATCHES), _MOST_BATCHES)
    every = max(batches // _LOOKS, 25)
    options: TrainingOptions = {
        "iterations": batches,
        "warm_up": min(200, batches // 10),
        "averaging": 0.998 if batches >= 1500 else 0.99,
        "train_from": "3a" if photographs >= _FEW else "4a",
        "photographs": 2,
        "own_classes": True,
    }
    reason = [f"at most {batches} batches of 2 photographs ({2 * batches / photographs:.0f} passes)"]
    if photographs < _FEW:
        reason.append(f"layers before 4a stay as they are: {photographs} photographs are few")
    if validated:
        reason.append(f"validated every {every} batches on {validated} photographs kept from the training")
        reason.append(f"stops after {_PATIENCE} validations without a better one; the best network is the result")
    else:
        reason.append(f"not validated: of fewer than {_FEWEST} photographs none are kept from the training")
    record = RecordSettings(
        log_every=min(50, every), validate_every=every if validated else None, patience=_PATIENCE if validated else None
    )
    return FittedSettings(options=options, record=record, reason=tuple(reason))
