"""Region classifiers to and from their self-describing files, and the ones that are shipped."""

from __future__ import annotations

import math
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
    read_description,
    write_checkpoint,
)
from inception_rcnn.backbones.checkpoints import in_type, weights_file
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.detector.region_classifier import ClassifierDescription, RegionClassifier
from inception_rcnn.structures import CheckpointError, InputError

KIND: Final = "region-classifier"
# Short names for what travels in the wheel; the first is used when no weights are named.
SHIPPED: Final = {"coco-mini": "coco-mini.safetensors"}
DEFAULT_WEIGHTS: Final = "coco-mini"


def save_region_classifier(
    path: str | Path, network: GoogLeNet, description: ClassifierDescription, *, dtype: torch.dtype = torch.float16
) -> None:
    """Writes the network, its numbers as `dtype`, with its description.

    Raises:
        CheckpointError: a weight is too large for `dtype`.
    """
    write_checkpoint(path, KIND, _to_json(description), in_type(network.state_dict(), dtype, path))


def load_region_classifier(weights: str | Path, runtime: Runtime) -> RegionClassifier:
    """The classifier in a file, or the shipped one of that name, ready on `runtime`.

    Raises:
        CheckpointError: missing, damaged, of another kind, or at odds with itself.
    """
    path = weights_path(weights)
    checkpoint = read_checkpoint(path, KIND)
    description = _from_json(checkpoint.description, path)
    network = googlenet(num_classes=len(description.class_names) + 1)
    load_into(network, checkpoint)
    return RegionClassifier(network, description, runtime)


def describe_region_classifier(weights: str | Path) -> ClassifierDescription:
    """What a checkpoint says of itself, read from its header alone."""
    path = weights_path(weights)
    return _from_json(read_description(path), path)


def with_score_threshold(path: str | Path, threshold: float) -> None:
    """Rewrites a checkpoint with another default score threshold; nothing else changes.

    Raises:
        CheckpointError: as `load_region_classifier`.
    """
    checkpoint = read_checkpoint(path, KIND)
    description = replace(_from_json(checkpoint.description, Path(path)), score_threshold=round(threshold, 4))
    write_checkpoint(path, KIND, _to_json(description), checkpoint.tensors)


def weights_path(weights: str | Path) -> Path:
    """The file behind a path or a shipped name.

    Raises:
        CheckpointError: neither.
    """
    return weights_file(weights, "inception_rcnn.detector", SHIPPED)


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
