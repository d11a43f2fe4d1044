"""`load_detector`: from a name or files to a detector that is ready to be called.

checkpoints --load_region_classifier--> members --> Ensemble \
            --proposal settings, MultiBox--> Proposer         --> Detector
            --thresholds, or those asked for--> settings     /
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.backbones.runtime import Runtime, choose_runtime
from inception_rcnn.detector.checkpoints import (
    DEFAULT_WEIGHTS,
    SHIPPED,
    is_ensemble_file,
    load_region_classifier,
    read_classifier_description,
    read_proposal_settings,
    weights_path,
)
from inception_rcnn.detector.ensemble import Ensemble
from inception_rcnn.detector.ensemble_file import EnsembleFile, read_ensemble_file
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.detector.postprocessing import DetectionSettings
from inception_rcnn.detector.region_classifier import WAYS, ClassifierDescription
from inception_rcnn.proposals.network.checkpoints import SHIPPED as SHIPPED_MULTIBOX
from inception_rcnn.proposals.proposer import SOURCES, ProposalSettings, Proposer
from inception_rcnn.structures import CheckpointError, InputError, Proposals
from inception_rcnn.structures.errors import as_declared

if TYPE_CHECKING:
    from inception_rcnn.proposals.network.predictor import MultiBox

Weights = str | Path | Sequence[str | Path]


def load_detector(
    weights: Weights | None = None,
    device: str = "auto",
    *,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_proposals: int | None = None,
    objectness: float | None = None,
    proposals: str | Callable[[NDArray[np.uint8]], Proposals] | None = None,
    multibox: str | Path | None = None,
    settings: DetectionSettings | None = None,
    regions: str | None = None,
    runtime: str = "auto",
    precision: str = "auto",
) -> Detector:
    """Return a detector with the given weights, ready to be called.

    Args:
        weights: A checkpoint file, a shipped name ("coco", "coco-mini"), or a list of them: an ensemble whose
            probabilities are averaged region by region. The name "six" and a file *.toml (`detector.ensemble_file`)
            stand for several with their settings. None: the shipped model.
        device: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:N".
        score_threshold: Lowest score of a detection, in [0, 1]; None: the first checkpoint's own, as for the next
            five. Where members of an ensemble differ in these, a warning names them.
        iou_threshold: Of two detections of a class that overlap more, the better stays.
        max_proposals: At most so many regions are looked at; 0: all.
        objectness: Power of the objectness by which class probabilities are multiplied, in 0..4; 0: they stand alone.
        proposals: "selective-search", "multibox", "both", or a function of images (H, W, 3) uint8 RGB.
        multibox: The network that proposes and says how likely a box fits an object, a file or a shipped name; None:
            the one that the first checkpoint names, known by its checksum, shipped or in a file beside it.
        settings: Thresholds and limits all at once, in place of the first four; what it does not say is that of
            `DetectionSettings`, not of the checkpoint.
        regions: "pool" (one look at the image, and each region read off its maps) or "warp" (each region stretched
            and looked at by itself, as the paper has it): which shipped model is loaded when no weights are named, and
            what named weights have to do. None: whatever the weights do.
        runtime: What computes the networks: "torch", "openvino" or "auto"; see `choose_runtime`.
        precision: "fp32", "bf16", "int8" or "auto"; see there.

    Raises:
        CheckpointError: A file is missing, damaged, of another kind, or at odds with itself.
        InputError: Unknown device, runtime or precision, a value out of range, checkpoints that cannot be averaged, or
            weights that contradict `regions` or are not calibrated for int8.
        MissingDependencyError: OpenVINO was asked for and is not installed.
    """
    changes: dict[str, Any] = {
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
        "max_proposals": max_proposals,
        "objectness_power": objectness,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if settings is not None and changes:
        raise InputError(f"{next(iter(changes))} is a part of settings, which was given too; leave one of the two out")
    if isinstance(proposals, str):
        proposals = proposals.replace("_", "-")  # by which the function is called
    as_declared("settings", settings, DetectionSettings | None)
    as_declared("multibox", multibox, str | Path | None)
    if proposals is not None and not isinstance(proposals, str) and not callable(proposals):
        raise InputError(f"proposals should be {', '.join(SOURCES)} or a function of images, got {proposals!r:.200}")
    if isinstance(weights, Iterator):
        weights = list(weights)
    names, together = chosen_weights(weights, regions), ensemble_of(weights)
    where = choose_runtime(device, runtime, precision)
    ensemble = Ensemble([load_region_classifier(name, where) for name in names])
    first = ensemble.members[0].description
    chosen = settings
    if chosen is None:
        if max_proposals == 0 and max_proposals is not False:
            changes["max_proposals"] = None
        changes = {**(together.settings if together else {}), **changes}
        chosen = replace(settings_of(first), **changes)
        _warn_of_differing_members(names, [one.description for one in ensemble.members], set(changes))
    proposing = [
        read_proposal_settings(name, one.description) for name, one in zip(names, ensemble.members, strict=True)
    ]
    if together is not None:
        proposing = proposing[:1]  # whoever made its file knew that members were trained on others
    propose, objectness_by = _proposer(names, proposing, where, proposals, multibox)
    files = [_wherever(name, SHIPPED) for name in names]
    network = None if multibox is None else _wherever(multibox, SHIPPED_MULTIBOX)
    again = partial(_load_again, files, proposals=proposals, multibox=network, runtime=runtime, precision=precision)
    return Detector(propose, ensemble, chosen, objectness_by, tuple(map(str, names)), again)


def _wherever(weights: str | Path, shipped: Container[str]) -> str | Path:
    """Return weights as a process that works in another folder finds them."""
    return weights if str(weights) in shipped else Path(weights).absolute()


def _load_again(names: Sequence[str | Path], device: str, **options: Any) -> Detector:
    """Load the same for a device; the settings are put in by who asks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of members that differ, which was said the first time
        return load_detector(names, device, **options)


def _proposer(
    names: Sequence[str | Path],
    proposing: Sequence[ProposalSettings],
    runtime: Runtime,
    proposals: str | Callable[[NDArray[np.uint8]], Proposals] | None,
    multibox: str | Path | None,
) -> tuple[Callable[[NDArray[np.uint8]], Proposals], MultiBox | None]:
    """Return what proposes, as the first checkpoint says or as asked for, and the network that knows the objectness.

    Args:
        names: Of the checkpoints.
        proposing: What each was trained on.
        runtime: Where the network computes.
        proposals: See `load_detector`.
        multibox: See there.

    Raises:
        CheckpointError: The network cannot be read, or is not the one that the checkpoint means.
        InputError: An unknown source, or one that needs no network where one is named.
    """
    # Boxes of one's own have the objectness that the classifier's scores are made with.
    source = proposals if isinstance(proposals, str) else "multibox" if proposals is not None and multibox else None
    settings = [one if source is None else replace(one, source=source) for one in proposing]
    if not callable(proposals):
        _warn_of_other_proposals(names, settings, multibox)
    try:
        proposer = Proposer.load(settings[0], runtime, beside=weights_path(names[0]).parent, multibox=multibox)
    except CheckpointError as error:
        raise CheckpointError(f"{names[0]}: {error}") from error
    return proposals if callable(proposals) else proposer, proposer.multibox


def _warn_of_other_proposals(
    names: Sequence[str | Path], proposing: Sequence[ProposalSettings], multibox: str | Path | None
) -> None:
    """Say which members of an ensemble were trained on other proposals than the first; all get the first one's."""
    if multibox is not None:  # for all, whichever they name
        proposing = [replace(one, multibox="", multibox_sha256=None) for one in proposing]
    found = [(name, one.difference(proposing[0])) for name, one in zip(names, proposing, strict=False)]
    others = [f"{name} has {apart[0]} = {apart[1]!r}, not {apart[2]!r}" for name, apart in found if apart is not None]
    if others:
        warnings.warn(
            f"the proposals of {names[0]} are taken for all members, and some were trained on others: "
            f"{'; '.join(others)}",
            stacklevel=4,
        )


def _warn_of_differing_members(
    names: Sequence[str | Path], descriptions: Sequence[ClassifierDescription], given: set[str]
) -> None:
    """Say which members of an ensemble would be used otherwise alone; the first one's settings are taken for all."""
    for field in ("iou_threshold", "objectness_power", "max_proposals"):
        values = [getattr(one, field) for one in descriptions]
        others = [f"{name} has {value}" for name, value in zip(names, values, strict=True) if value != values[0]]
        if others and field not in given:
            warnings.warn(
                f"{field} = {values[0]} of {names[0]} is taken for all members; {', '.join(others)}", stacklevel=3
            )


def settings_of(description: ClassifierDescription) -> DetectionSettings:
    """Return the settings that suit a classifier, as its checkpoint says."""
    return DetectionSettings(
        score_threshold=description.score_threshold,
        objectness_power=description.objectness_power,
        iou_threshold=description.iou_threshold,
        max_proposals=description.max_proposals,
        calibration=description.score_calibration,
    )


def ensemble_of(weights: Weights | None) -> EnsembleFile | None:
    """Return what the file of an ensemble says, if weights are one, alone or the only one of a list.

    Raises:
        CheckpointError: See `read_ensemble_file`.
        InputError: It stands beside other weights.
    """
    given = [weights] if isinstance(weights, str | Path) else weights if isinstance(weights, list | tuple) else []
    found = [one for one in given if isinstance(one, str | Path) and is_ensemble_file(one)]
    if not found:
        return None
    if len(given) > 1:
        members = ", ".join(map(str, read_ensemble_file(found[0]).members))
        raise InputError(f"{found[0]} is an ensemble already; name its members beside the others: {members}")
    return read_ensemble_file(found[0])


def chosen_weights(weights: Weights | None, regions: str | None = None) -> list[str | Path]:
    """Return the weights to load, as given, or else the shipped ones that do with regions what is asked for.

    Args:
        weights: One, several or None; see `load_detector`. In place of an ensemble's file stand its members.
        regions: "pool", "warp" or None: as the weights do.

    Raises:
        CheckpointError: Weights cannot be read.
        InputError: `regions` is something else, named weights contradict it, or no shipped ones do it.
    """
    if regions is not None and regions not in WAYS:
        raise InputError(f"regions should be pool or warp, got {regions!r}")
    if weights is None:
        for shipped in (DEFAULT_WEIGHTS, *SHIPPED):
            if regions is None or read_classifier_description(shipped).regions == regions:
                return [shipped]
        raise InputError(f"no model that travels with the package has regions={regions}; name weights that have")
    given = [weights] if isinstance(weights, str | Path) or not isinstance(weights, Iterable) else list(weights)
    names = list(as_declared("weights", given, Sequence[str | Path]))
    if (together := ensemble_of(names)) is not None:
        names = list(together.members)
    for name in names:
        if regions is not None and (found := read_classifier_description(name).regions) != regions:
            raise InputError(
                f"{name} has regions={found}, regions={regions} was asked for; leave that out, or name other weights"
            )
    return names
