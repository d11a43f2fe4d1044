"""The network that a training starts from: GoogLeNet trained on ImageNet, or a region classifier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inception_rcnn.backbones import GoogLeNet, googlenet, read_checkpoint, read_description
from inception_rcnn.detector.checkpoints import KIND, SHIPPED, weights_path


@dataclass(frozen=True)
class PretrainedNetwork:
    """Where a training starts.

    Attributes:
        network: with an output for each class and background, float32.
        knows_classes: the last layer already tells these classes apart; False: it is fresh.
        origin: entries for the summary of the training: the weights' name and how they were trained, as far as known.
    """

    network: GoogLeNet
    knows_classes: bool
    origin: dict[str, Any]


def pretrained_network(weights: str | Path, class_names: tuple[str, ...]) -> PretrainedNetwork:
    """GoogLeNet with the given weights and an output for each of `class_names` and background.

    A region classifier of the same classes in the same order keeps its last layer; of any other weights all but the
    last layer is taken.

    Args:
        weights: a region classifier, as a file or by the name of a shipped one; or GoogLeNet's weights in one of the
            files that `googlenet` reads.
        class_names: of the data set to train on, in its order.
    Raises:
        InputError: a file of a kind that is not read.
        CheckpointError: the file is missing, damaged or of another network.
    """
    outputs, name = len(class_names) + 1, Path(weights).name
    is_file_of_ours = str(weights) in SHIPPED or Path(weights).suffix == ".safetensors"
    if not is_file_of_ours or read_description(weights_path(weights))["kind"] != KIND:
        return PretrainedNetwork(googlenet(weights=weights, num_classes=outputs), False, {"pretrained": name})
    checkpoint = read_checkpoint(weights_path(weights), KIND)
    described = checkpoint.description
    known = described.get("class_names") == list(class_names)
    tensors = {key: value for key, value in checkpoint.tensors.items() if known or not key.startswith("classifier.")}
    origin = {"pretrained": name, "pretrained_training": described.get("training", {})}
    return PretrainedNetwork(googlenet(weights=tensors, num_classes=outputs), known, origin)
