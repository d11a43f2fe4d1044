"""Region classifiers to and from their self-describing files, the shipped ones among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from inception_rcnn.backbones import (
    GoogLeNet,
    InputSpec,
    load_into,
    read_checkpoint,
    read_description,
    write_checkpoint,
)
from inception_rcnn.backbones.checkpoints import in_type, weights_file
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.runtimes.recording import Ranges
from inception_rcnn.detector.heads.imagenet_head import GroupedLinear
from inception_rcnn.detector.heads.second_heads import base_file, base_of, completed, differing
from inception_rcnn.detector.region_classifier import (
    AnyClassifier,
    ClassifierDescription,
    check_description,
    classifier_of,
    shortened_threshold,
)
from inception_rcnn.detector.region_pooling import PooledNetwork, PoolingSpec
from inception_rcnn.evaluation.score_calibration import ScoreCalibration
from inception_rcnn.proposals.network.checkpoints import multibox_seen
from inception_rcnn.proposals.proposer import ProposalSettings
from inception_rcnn.structures import CheckpointError, InputError
from inception_rcnn.structures.provenance import SeenPart, joined_seen, seen_from_json, seen_lines, seen_to_json

KIND: Final = "region-classifier"
# Short names for what travels in the wheel, and the one that is used when no weights are named.
SHIPPED: Final = {
    **{
        name: f"{name}.safetensors"
        for name in ("coco", "coco-mini", "coco-second", "coco-large", "coco-coarse", "coco-nolrn", "voc2007")
    },
    # Second heads on these, for ILSVRC DET's 200 classes.
    **{
        f"ilsvrc-{name}": f"ilsvrc/{name}.safetensors"
        for name in ("det200", "mini", "second", "large", "coarse", "nolrn")
    },
}
DEFAULT_WEIGHTS: Final = "coco"
# Short names of the ensembles that travel in the wheel; see `ensemble_file`.
ENSEMBLES: Final = {"six": "six.toml", "ilsvrc-six": "ilsvrc/six.toml"}
_WITHOUT_LRN: Final = "no-lrn"  # the variant of a network that does not normalise across channels


def save_region_classifier(
    path: str | Path,
    network: GoogLeNet | PooledNetwork,
    description: ClassifierDescription,
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write the network, its numbers as `dtype`, with its description.

    Raises:
        CheckpointError: A weight is too large for `dtype`.
        InputError: The network is not what the description says.
    """
    check_description(network, description)
    write_checkpoint(path, KIND, _to_json(description), in_type(network.state_dict(), dtype, path))


def save_second_head(
    path: str | Path,
    network: GoogLeNet | PooledNetwork,
    description: ClassifierDescription,
    base: str | Path,
) -> None:
    """Write only what of the network differs from another checkpoint, as float16; see `second_heads`.

    Args:
        path: Of the file.
        network: Whose trunk, or more, is that of `base`.
        description: Of the whole classifier.
        base: A shipped name, or a file in the same folder.

    Raises:
        CheckpointError: `base` cannot be read, lies elsewhere, or a weight is too large for float16.
        InputError: The network is not what the description says, or shares nothing with `base`.
    """
    check_description(network, description)
    below = read_checkpoint(weights_path(base), KIND)
    if str(base) not in SHIPPED and Path(base).resolve().parent != Path(path).resolve().parent:
        raise CheckpointError(f"{base} should lie in the folder of {path}, because it is looked for there")
    own = differing(in_type(network.state_dict(), torch.float16, path), below)
    name = str(base) if str(base) in SHIPPED else Path(base).name
    write_checkpoint(path, KIND, {**_to_json(description), "base": base_of(below, name)}, own)


def load_region_classifier(weights: str | Path, runtime: Runtime) -> AnyClassifier:
    """Return the classifier in a file, or the shipped one of that name, ready on `runtime`.

    It warps or pools its regions as its file says.

    Raises:
        CheckpointError: Missing, damaged, of another kind, or at odds with itself.
    """
    return classifier_of(*read_region_network(weights), runtime)


def read_region_network(weights: str | Path) -> tuple[GoogLeNet | PooledNetwork, ClassifierDescription]:
    """Return the network in a file, or the shipped one of that name, in float32 on the CPU, and its description.

    Raises:
        CheckpointError: As `load_region_classifier`.
    """
    path = weights_path(weights)
    checkpoint = read_checkpoint(path, KIND)
    description = _from_json(checkpoint.description, path)
    below = base_file(checkpoint.description, path, {name: weights_path(name) for name in SHIPPED})
    checkpoint = completed(checkpoint, KIND, below)
    network = network_for(description)
    load_into(network, checkpoint)
    return network, description


def read_classifier_description(weights: str | Path) -> ClassifierDescription:
    """Return what a region classifier's file says of it; the header alone is read.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, or its header is at odds with itself.
    """
    path = weights_path(weights)
    description = read_description(path)
    if description.get("kind") != KIND:
        raise CheckpointError(f"{path} is of kind {description.get('kind')!r}; {KIND!r} is needed here")
    return _from_json(description, path)


def read_proposal_settings(name: str | Path, description: ClassifierDescription) -> ProposalSettings:
    """Return which boxes a classifier was trained on.

    Args:
        name: Of its checkpoint, for errors.
        description: What it says.

    Raises:
        CheckpointError: They are not understood.
    """
    try:
        return ProposalSettings.from_dict(description.proposal_settings)
    except InputError as error:
        raise CheckpointError(f"{name}: {error}") from error


def photographs_seen(weights: str | Path, multibox: str | Path | None = None) -> tuple[SeenPart, ...]:
    """Return what a region classifier and the MultiBox it proposes with learned from, as far as their files say.

    Args:
        weights: A checkpoint or a shipped name.
        multibox: What proposes, in place of what the checkpoint names.

    Raises:
        CheckpointError: A file is missing, damaged, of another kind, or its header is at odds with itself.
    """
    description = read_classifier_description(weights)
    proposing = read_proposal_settings(weights, description)
    if not proposing.needs_multibox:
        return joined_seen(description.seen)
    file = proposing.multibox_file(beside=weights_path(weights).parent) if multibox is None else multibox
    return joined_seen(description.seen, multibox_seen(file))


def seen_warnings(weights: Sequence[str | Path], multibox: str | Path | None, checksums: Sequence[str]) -> list[str]:
    """Return a line for each network that learned from some of these photographs; of several weights it names them.

    Args:
        weights: Checkpoints or shipped names.
        multibox: What proposes, in place of what the checkpoints name.
        checksums: SHA-256 of the photographs' files, as hexadecimal digits.

    Raises:
        CheckpointError: As `photographs_seen`.
    """
    return [
        f"{line}, {name}" if len(weights) > 1 else line
        for name in weights
        for line in seen_lines(photographs_seen(name, multibox), checksums)
    ]


def network_for(description: ClassifierDescription) -> GoogLeNet | PooledNetwork:
    """Return a network with fresh weights as the description says it is."""
    classes = len(description.class_names)
    network: GoogLeNet | PooledNetwork = GoogLeNet(classes + 1, lrn=description.lrn)
    if description.pooling is not None:
        moves = description.box_regression
        network = PooledNetwork(classes, description.pooling, box_regression=moves, lrn=description.lrn)
    if description.output_groups and network.classifier is not None:
        network.classifier = GroupedLinear(network.classifier.in_features, description.output_groups)
    return network


def with_score_threshold(path: str | Path, threshold: float, origin: str) -> None:
    """Rewrite a checkpoint of one's own with another default score threshold; nothing else changes.

    Args:
        path: The checkpoint.
        threshold: A score.
        origin: How it was found, for the summary of the training.

    Raises:
        CheckpointError: As `load_region_classifier`, or the file is one of the shipped ones.
    """
    _rewrite(path, origin, score_threshold=shortened_threshold(threshold))


def with_calibrated_scores(path: str | Path, calibration: ScoreCalibration, threshold: float, origin: str) -> None:
    """Rewrite a checkpoint of one's own with calibrated scores and a threshold that suits them; nothing else changes.

    Args:
        path: The checkpoint.
        calibration: Of the scores that it gave so far.
        threshold: A calibrated score.
        origin: How it was found, for the summary of the training.

    Raises:
        CheckpointError: As `load_region_classifier`, or the file is one of the shipped ones.
        InputError: After the calibration that it has already, the numbers are out of range.
    """
    before = read_classifier_description(path).score_calibration
    both = calibration if before is None else calibration.after(before)
    _rewrite(path, origin, score_calibration=both, score_threshold=shortened_threshold(threshold))


def with_activation_ranges(path: str | Path, ranges: Mapping[str, Ranges]) -> None:
    """Rewrite a checkpoint of one's own so that it can be computed in int8; nothing else changes.

    Args:
        path: Of a pooled classifier.
        ranges: From `calibration.activation_ranges`.

    Raises:
        CheckpointError: As `load_region_classifier`, or the file is one of the shipped ones.
    """
    _rewrite(path, activation_ranges=dict(ranges))


def _rewrite(path: str | Path, origin: str | None = None, **changes: Any) -> None:
    """Change some of what a checkpoint says of itself; `origin` is of its score threshold."""
    if is_shipped(path):
        raise CheckpointError(f"{path} came with the package and is not rewritten; copy the file and name the copy")
    checkpoint = read_checkpoint(path, KIND, as_stored=True)
    description = replace(_from_json(checkpoint.description, Path(path)), **changes)
    if origin is not None:
        description = replace(description, training={**description.training, "score_threshold": origin})
    # A second head stays one.
    kept = {name: value for name, value in checkpoint.description.items() if name == "base"}
    write_checkpoint(path, KIND, {**_to_json(description), **kept}, checkpoint.tensors)


def weights_path(weights: str | Path) -> Path:
    """Return the file behind a path or a shipped name.

    Raises:
        CheckpointError: Neither, or an ensemble.
    """
    if is_ensemble_file(weights):
        raise CheckpointError(f"{weights} is an ensemble, and one network is needed here; name one of its members")
    return weights_file(weights, "inception_rcnn.detector", SHIPPED, ENSEMBLES)


def shipped_folder() -> Path:
    """Return where the shipped files lie."""
    return weights_path(DEFAULT_WEIGHTS).parent


def is_ensemble_file(weights: str | Path) -> bool:
    """Return whether weights are the short name of an ensemble or its file, told by the name alone."""
    return str(weights) in ENSEMBLES or Path(weights).suffix.lower() == ".toml"


def is_shipped(weights: str | Path) -> bool:
    """Return whether weights are a shipped name, or a path that leads to a shipped file."""
    folder = shipped_folder()
    shipped = {(folder / name).resolve() for name in (*SHIPPED.values(), *ENSEMBLES.values())}
    return str(weights) in (*SHIPPED, *ENSEMBLES) or Path(weights).resolve() in shipped


def _to_json(description: ClassifierDescription) -> dict[str, Any]:
    return {
        "architecture": _architecture(description.class_names, description.pooling, lrn=description.lrn),
        "class_names": list(description.class_names),
        "input_spec": description.input_spec.to_dict(),
        "proposal_settings": description.proposal_settings,
        "score_threshold": description.score_threshold,
        "training": description.training,
        "licence": description.licence,
        "pooling": None if description.pooling is None else description.pooling.to_dict(),
        "box_regression": description.box_regression,
        "objectness_power": description.objectness_power,
        "iou_threshold": description.iou_threshold,
        "max_proposals": description.max_proposals,
        "activation_ranges": description.activation_ranges,
        "seen": seen_to_json(description.seen),
        "output_groups": list(description.output_groups),
        "score_calibration": None if (scores := description.score_calibration) is None else scores.to_dict(),
    }


def _architecture(class_names: Sequence[str], pooling: PoolingSpec | None, *, lrn: bool) -> dict[str, Any]:
    name = "googlenet" if pooling is None else "googlenet-pooled"
    return {"name": name, "variant": "paper" if lrn else _WITHOUT_LRN, "num_classes": len(class_names) + 1}


def _from_json(values: dict[str, Any], path: Path) -> ClassifierDescription:
    names = values.get("class_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{path}: class_names should be a list of names")
    if len(set(names)) != len(names):
        raise CheckpointError(f"{path}: class_names has a name twice")
    pooling = _pooling_from_json(values, path)
    architecture = values.get("architecture")
    lrn = not isinstance(architecture, dict) or architecture.get("variant") != _WITHOUT_LRN
    expected = _architecture(names, pooling, lrn=lrn)
    if architecture != expected:
        raise CheckpointError(f"{path}: architecture is {architecture}, its class names ask for {expected}")
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
        return ClassifierDescription(
            class_names=tuple(names),
            input_spec=InputSpec.from_dict(values["input_spec"]),
            proposal_settings=values["proposal_settings"],
            score_threshold=float(threshold),
            training=values["training"],
            licence=values["licence"],
            pooling=pooling,
            box_regression=_flag(values, "box_regression"),
            objectness_power=values.get("objectness_power", 1.0),
            iou_threshold=values.get("iou_threshold", 0.3),
            max_proposals=values.get("max_proposals", 200),
            activation_ranges=_ranges_from_json(values.get("activation_ranges", {})),
            seen=seen_from_json(values.get("seen")),
            output_groups=_groups_from_json(values.get("output_groups", [])),
            lrn=lrn,
            score_calibration=None
            if (stored := values.get("score_calibration")) is None
            else ScoreCalibration.from_dict(stored),
        )
    except InputError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _pooling_from_json(values: dict[str, Any], path: Path) -> PoolingSpec | None:
    """Return how regions are pooled; None where they are warped, as in all files that do not say it."""
    stored = values.get("pooling")
    if stored is None:
        return None
    if not isinstance(stored, dict):
        raise CheckpointError(f"{path}: pooling should be a dict or null, got {stored!r}")
    try:
        return PoolingSpec.from_dict(stored)
    except InputError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _groups_from_json(stored: Any) -> tuple[int, ...]:
    """Return the group of each output; none in files of networks whose outputs are their classes."""
    if not isinstance(stored, list) or not all(type(one) is int for one in stored):
        raise InputError(f"output_groups should be a list of whole numbers, got {stored!r}")
    return tuple(stored)


def _ranges_from_json(stored: Any) -> dict[str, Ranges]:
    """Return what each part's convolutions read, by the part's name; empty in files that were not calibrated."""
    if not isinstance(stored, dict) or not all(isinstance(pairs, list) for pairs in stored.values()):
        raise InputError(f"activation_ranges should be lists by name, got {stored!r}")
    for name, pairs in stored.items():
        if wrong := [pair for pair in pairs if not _is_range(pair)]:
            raise InputError(f"activation_ranges of {name} should be pairs of numbers, low and high, got {wrong[0]!r}")
    return {name: tuple((float(low), float(high)) for low, high in pairs) for name, pairs in stored.items()}


def _is_range(pair: Any) -> bool:
    numbers = isinstance(pair, list) and all(isinstance(one, int | float) and abs(one) < 1e30 for one in pair)
    return numbers and len(pair) == 2 and pair[0] <= pair[1]


def _flag(values: dict[str, Any], name: str) -> bool:
    """Return a yes or no; files from before it was stored mean no."""
    value = values.get(name, False)
    if type(value) is not bool:
        raise InputError(f"{name} should be true or false, got {value!r}")
    return value
