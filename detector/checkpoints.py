"""Region classifiers to and from their self-describing files, the shipped ones, and `load_detector`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from inception_rcnn.backbones import (
    GoogLeNet,
    InputSpec,
    googlenet,
    load_into,
    read_checkpoint,
    write_checkpoint,
)
from inception_rcnn.backbones.checkpoints import in_type, weights_file
from inception_rcnn.backbones.runtime import Runtime, choose_runtime
from inception_rcnn.detector.ensemble import Ensemble
from inception_rcnn.detector.pipeline import DetectionSettings, Detector
from inception_rcnn.detector.region_classifier import ClassifierDescription, RegionClassifier, shortened_threshold
from inception_rcnn.proposals.proposer import ProposalSettings, Proposer
from inception_rcnn.structures import CheckpointError, InputError

KIND: Final = "region-classifier"
# Short names for what travels in the wheel; the first is used when no weights are named.
SHIPPED: Final = {"coco-mini": "coco-mini.safetensors"}
DEFAULT_WEIGHTS: Final = "coco-mini"


Weights = str | Path | Sequence[str | Path]


def load_detector(
    weights: Weights | None = None, device: str = "auto", *, settings: DetectionSettings | None = None
) -> Detector:
    """Return a detector with the given weights, ready to be called.

    Args:
        weights: A checkpoint file, a shipped name ("coco-mini"), or a list of them: an ensemble whose probabilities
            are averaged region by region. None: the shipped model.
        device: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:N".
        settings: Thresholds and limits; by default the score threshold is the first checkpoint's own, and at most 100
            detections of an image are kept.

    Raises:
        CheckpointError: A file is missing, damaged, of another kind, or at odds with itself.
        InputError: Unknown device, or checkpoints that cannot be averaged.
    """
    weights = DEFAULT_WEIGHTS if weights is None else weights
    names = [weights] if isinstance(weights, str | Path) else list(weights)
    runtime = choose_runtime(device)
    ensemble = Ensemble([load_region_classifier(name, runtime) for name in names])
    description = ensemble.members[0].description
    settings = settings or DetectionSettings(score_threshold=description.score_threshold)
    try:
        proposing = ProposalSettings.from_dict(description.proposal_settings)
    except InputError as error:
        raise CheckpointError(f"{names[0]}: {error}") from error
    proposer = Proposer.load(proposing, runtime)
    return Detector(proposer, ensemble, settings, proposer.multibox)


def save_region_classifier(
    path: str | Path, network: GoogLeNet, description: ClassifierDescription, *, dtype: torch.dtype = torch.float16
) -> None:
    """Write the network, its numbers as `dtype`, with its description.

    Raises:
        CheckpointError: A weight is too large for `dtype`.
    """
    write_checkpoint(path, KIND, _to_json(description), in_type(network.state_dict(), dtype, path))


def load_region_classifier(weights: str | Path, runtime: Runtime) -> RegionClassifier:
    """Return the classifier in a file, or the shipped one of that name, ready on `runtime`.

    Raises:
        CheckpointError: Missing, damaged, of another kind, or at odds with itself.
    """
    path = weights_path(weights)
    checkpoint = read_checkpoint(path, KIND)
    description = _from_json(checkpoint.description, path)
    network = googlenet(num_classes=len(description.class_names) + 1)
    load_into(network, checkpoint)
    return RegionClassifier(network, description, runtime)


def with_score_threshold(path: str | Path, threshold: float) -> None:
    """Rewrite a checkpoint of one's own with another default score threshold; nothing else changes.

    Raises:
        CheckpointError: As `load_region_classifier`, or the file is one of the shipped ones.
    """
    if is_shipped(path):
        raise CheckpointError(f"{path} came with the package and is not rewritten; copy the file and name the copy")
    checkpoint = read_checkpoint(path, KIND)
    description = replace(
        _from_json(checkpoint.description, Path(path)), score_threshold=shortened_threshold(threshold)
    )
    write_checkpoint(path, KIND, _to_json(description), checkpoint.tensors)


def weights_path(weights: str | Path) -> Path:
    """Return the file behind a path or a shipped name.

    Raises:
        CheckpointError: Neither.
    """
    return weights_file(weights, "inception_rcnn.detector", SHIPPED)


def is_shipped(weights: str | Path) -> bool:
    """Return whether weights are a shipped name, or a path that leads to a shipped file."""
    shipped = {weights_path(name).resolve() for name in SHIPPED}
    return str(weights) in SHIPPED or Path(weights).resolve() in shipped


def _to_json(description: ClassifierDescription) -> dict[str, Any]:
    return {
        "architecture": {"name": "googlenet", "variant": "paper", "num_classes": len(description.class_names) + 1},
        "class_names": list(description.class_names),
        "input_spec": description.input_spec.to_dict(),
        "proposal_settings": description.proposal_settings,
        "score_threshold": description.score_threshold,
        "training": description.training,
        "licence": description.licence,
    }


def _from_json(values: dict[str, Any], path: Path) -> ClassifierDescription:
    names = values.get("class_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{path}: class_names should be a list of names")
    if len(set(names)) != len(names):
        raise CheckpointError(f"{path}: class_names has a name twice")
    expected = {"name": "googlenet", "variant": "paper", "num_classes": len(names) + 1}
    if values.get("architecture") != expected:
        raise CheckpointError(
            f"{path}: architecture is {values.get('architecture')}, its class names ask for {expected}"
        )
    threshold = values.get("score_threshold")
    if (
        not isinstance(threshold, int | float)
        or isinstance(threshold, bool)
        or not 0 <= threshold <= 1
        or math.isnan(threshold)
    ):
        raise CheckpointError(f"{path}: score_threshold should be a number in 0..1, got {threshold!r}")
    for name, kind in (("input_spec", dict), ("proposal_settings", dict), ("training", dict), ("licence", str)):
        if not isinstance(values.get(name), kind):
            raise CheckpointError(f"{path}: {name} is missing or not a {kind.__name__}")
    try:
        spec = InputSpec.from_dict(values["input_spec"])
    except InputError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return ClassifierDescription(
        tuple(names), spec, values["proposal_settings"], float(threshold), values["training"], values["licence"]
    )
