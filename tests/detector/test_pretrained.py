"""What a training starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inception_rcnn.backbones import GoogLeNet, googlenet, write_checkpoint
from inception_rcnn.detector import ClassifierDescription, Runtime, load_region_classifier
from inception_rcnn.detector.checkpoints import DEFAULT_WEIGHTS, save_region_classifier
from inception_rcnn.detector.pretrained import pretrained_network
from inception_rcnn.structures import CheckpointError, InputError


@pytest.fixture
def classifier(
    tmp_path: Path, make_network: Callable[[int], GoogLeNet], description: ClassifierDescription
) -> tuple[Path, GoogLeNet]:
    """A region classifier's file, in full precision, and its network."""
    network, path = make_network(3), tmp_path / "three.safetensors"
    save_region_classifier(path, network, description, dtype=torch.float32)
    return path, network


def same(first: GoogLeNet, second: GoogLeNet, *, but: str = "nothing") -> bool:
    """Whether two networks have equal weights, those of one layer aside."""
    states = first.state_dict(), second.state_dict()
    names = [name for name in states[0] if not name.startswith(but)]
    return all(torch.equal(states[0][name], states[1][name]) for name in names)


def test_a_classifier_of_the_same_classes_keeps_its_last_layer(
    classifier: tuple[Path, GoogLeNet], description: ClassifierDescription
) -> None:
    start = pretrained_network(classifier[0], description.class_names)
    assert start.knows_classes and same(start.network, classifier[1])
    assert start.origin == {"pretrained": "three.safetensors", "pretrained_training": description.training}


@pytest.mark.parametrize("names", [("cup", "cat", "person"), ("cat", "cup", "dog"), ("cat", "cup")])
def test_other_classes_or_another_order_get_a_fresh_last_layer(
    classifier: tuple[Path, GoogLeNet], names: tuple[str, ...]
) -> None:
    start = pretrained_network(str(classifier[0]), names)
    assert not start.knows_classes and start.network.num_classes == len(names) + 1
    assert same(start.network, classifier[1], but="classifier")
    layer, old = start.network.classifier, classifier[1].classifier
    assert layer is not None and old is not None
    assert not torch.equal(layer.weight[:2], old.weight[:2])


def test_googlenets_own_weights_get_a_fresh_last_layer_where_their_classes_are_not_named(tmp_path: Path) -> None:
    network, path = googlenet(num_classes=7), tmp_path / "backbone.safetensors"
    write_checkpoint(path, "googlenet", {"num_classes": 7}, network.state_dict())
    start = pretrained_network(path, ("cat", "cup"))
    assert not start.knows_classes and start.network.num_classes == 3
    assert same(start.network, network, but="classifier") and start.origin == {"pretrained": "backbone.safetensors"}


def test_the_shipped_classifier_can_be_named(cpu: Runtime) -> None:
    shipped = load_region_classifier(DEFAULT_WEIGHTS, cpu)
    start = pretrained_network(DEFAULT_WEIGHTS, shipped.description.class_names)
    assert start.knows_classes and same(start.network, shipped.network)
    assert start.origin["pretrained"] == DEFAULT_WEIGHTS
    assert start.origin["pretrained_training"] == shipped.description.training


def test_what_is_no_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights at .*missing\.safetensors"):
        pretrained_network(tmp_path / "missing.safetensors", ("cat",))
    with pytest.raises(InputError, match=r"weights\.pth: weights should be a \.npz or \.safetensors file"):
        pretrained_network(tmp_path / "weights.pth", ("cat",))
    other = tmp_path / "state.safetensors"
    write_checkpoint(other, "training-state", {}, {"x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="kind 'training-state'"):
        pretrained_network(other, ("cat",))
