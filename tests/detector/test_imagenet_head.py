"""ImageNet's last layer as a detector's: outputs summed in groups, in torch, in files and as ONNX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from inception_rcnn.backbones import CAFFE_INPUT, GoogLeNet, InputSpec, googlenet, read_checkpoint, write_checkpoint
from inception_rcnn.datasets.ilsvrc import det_classes
from inception_rcnn.datasets.imagenet_classes import imagenet_outputs
from inception_rcnn.detector import (
    ClassifierDescription,
    Ensemble,
    PooledClassifier,
    PooledNetwork,
    PoolingSpec,
    RegionClassifier,
    Runtime,
    load_region_classifier,
    save_region_classifier,
    warp_regions,
)
from inception_rcnn.detector.heads.imagenet_head import GroupedLinear, grouped_network, grouped_outputs
from inception_rcnn.detector.training.initial_weights import pretrained_network, pretrained_pooled
from inception_rcnn.structures import CheckpointError, InputError

KIND = "region-classifier"
GROUPS = tuple([0, 1, 2, 3, 3] * 200)  # three classes and background of a thousand outputs
BARE = PoolingSpec(short_side=96, long_side=200, cells=3, fine_channels=0, image_mean=False)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GoogLeNet]:
    """Fresh weights with ImageNet's 1000 outputs that differ a lot, and their file."""
    torch.manual_seed(5)
    network, path = googlenet(), tmp_path_factory.mktemp("imagenet") / "googlenet.safetensors"
    assert network.classifier is not None
    nn.init.normal_(network.classifier.weight, std=0.3)
    write_checkpoint(path, "googlenet", {"num_classes": 1000}, network.state_dict())
    return path, network


@pytest.fixture(scope="module")
def grouped(description: ClassifierDescription) -> ClassifierDescription:
    return replace(description, output_groups=GROUPS)


# --- the layer


@pytest.mark.parametrize("scale", [1.0, 40.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_softmax_of_the_logits_is_the_sum_of_the_outputs_probabilities(scale: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = GroupedLinear(16, (2, 0, 1, 0, 2, 2)).to(dtype)
    layer.weight.data *= scale
    x = torch.randn(50, 16).to(dtype)
    outputs = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double()).softmax(dim=1)
    expected = torch.stack([outputs[:, [1, 3]].sum(1), outputs[:, 2], outputs[:, [0, 4, 5]].sum(1)], dim=1)
    found = layer(x)
    assert found.dtype == torch.float32 and found.isfinite().all()
    torch.testing.assert_close(found.softmax(dim=1).double(), expected, rtol=1e-3, atol=1e-6)


def test_the_groups_are_not_stored_twice() -> None:
    assert set(GroupedLinear(4, (0, 1)).state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize("groups", [(), (1, 2), (0, 2), (-1, 0)])
def test_groups_without_an_output_are_refused(groups: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="groups should be numbered from 0 on"):
        GroupedLinear(4, groups)


def test_what_belongs_to_no_class_is_background() -> None:
    assert grouped_outputs([(1, 2), (4,)], 5) == (2, 0, 0, 2, 1)
    with pytest.raises(InputError, match="output 2 is of the classes 0 and 1"):
        grouped_outputs([(1, 2), (2,)], 5)
    with pytest.raises(InputError, match="groups should be numbered"):
        grouped_outputs([(1, 2), ()], 5)
    with pytest.raises(InputError, match="of 2 classes and background each"):
        grouped_outputs([(0, 1), (2,)], 3)


def test_ilsvrc_s_two_hundred_have_495_outputs_and_background_505() -> None:
    groups = grouped_outputs(imagenet_outputs([wnid for wnid, _ in det_classes()]), 1000)
    counts = np.bincount(groups)
    assert len(counts) == 201 and counts[200] == 505 and counts.max() == 505 and counts.min() == 1


# --- networks


def test_a_warping_classifier_sums_what_googlenet_says_of_each_region(
    imagenet: tuple[Path, GoogLeNet],
    grouped: ClassifierDescription,
    cpu: Runtime,
    spec: InputSpec,
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    path = tmp_path / "grouped.safetensors"
    save_region_classifier(path, grouped_network(imagenet[0], GROUPS), grouped, dtype=torch.float32)
    loaded = load_region_classifier(path, cpu)
    assert isinstance(loaded, RegionClassifier) and loaded.description == grouped
    crops = warp_regions(photograph, boxes[:5], spec)
    with torch.inference_mode():
        said = imagenet[1].eval()(spec.apply(torch.from_numpy(crops))).softmax(dim=1).numpy()
    expected = np.stack([said[:, np.array(GROUPS) == group].sum(axis=1) for group in range(4)], axis=1)
    assert expected.std(axis=0).max() > 0.01
    np.testing.assert_allclose(Ensemble([loaded]).probabilities(crops)[0], expected, atol=1e-4)


def test_a_pooling_classifier_reads_5b_alone(
    imagenet: tuple[Path, GoogLeNet], grouped: ClassifierDescription, cpu: Runtime, photograph: NDArray[np.uint8]
) -> None:
    network = grouped_network(imagenet[0], GROUPS, BARE)
    assert isinstance(network, PooledNetwork)
    described = replace(grouped, pooling=BARE, input_spec=CAFFE_INPUT)
    box = np.array([[10, 10, 60, 70]], np.float32)
    found, offsets = PooledClassifier(network, described, cpu).score(photograph, box)
    assert offsets is None and found.shape == (1, 4) and found.sum() == pytest.approx(1, abs=1e-5)
    plain = PooledNetwork(999, BARE, box_regression=False).eval()
    state = {f"trunk.{name}": one for name, one in imagenet[1].state_dict().items() if "classifier" not in name}
    plain.load_state_dict(
        state | {f"classifier.{name}": one for name, one in imagenet[1].classifier.state_dict().items()}
    )  # type: ignore[union-attr]
    names = tuple(f"class {number}" for number in range(999))
    all_of_them = PooledClassifier(plain, replace(described, class_names=names, output_groups=()), cpu)
    said = all_of_them.score(photograph, box)[0][0]
    expected = [said[np.array(GROUPS) == group].sum() for group in range(4)]
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_what_cannot_be_grouped(imagenet: tuple[Path, GoogLeNet]) -> None:
    with pytest.raises(InputError, match="reads 5b alone"):
        grouped_network(imagenet[0], GROUPS, PoolingSpec())
    with pytest.raises(InputError, match="groups should be those of 1000 outputs, got 3"):
        grouped_network(imagenet[0], (0, 1, 2))


# --- files


@pytest.fixture(scope="module")
def file(imagenet: tuple[Path, GoogLeNet], grouped: ClassifierDescription) -> Path:
    path = imagenet[0].with_name("grouped.safetensors")
    save_region_classifier(path, grouped_network(imagenet[0], GROUPS), grouped)
    return path


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 1, 2] * 10, "output_groups should have 4 groups, for the classes and background, got 3"),
        ([0, 1, 2, 4], "groups should be numbered from 0 on"),
        (["0"], "output_groups should be a list of whole numbers"),
        (list(GROUPS[:995]), r"classifier\.(bias|weight) has shape"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    file: Path, cpu: Runtime, tmp_path: Path, groups: list[object], message: str
) -> None:
    other, stored = tmp_path / "other.safetensors", read_checkpoint(file, KIND)
    write_checkpoint(other, KIND, {**stored.description, "output_groups": groups}, stored.tensors)
    with pytest.raises(CheckpointError, match=message):
        load_region_classifier(other, cpu)


def test_a_description_of_another_network_is_refused(
    make_network: Callable[[int], GoogLeNet], grouped: ClassifierDescription, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="output_groups are of 1000 outputs, the network's of 0"):
        save_region_classifier(tmp_path / "x.safetensors", make_network(1), grouped)


def test_a_training_takes_its_trunk_alone(file: Path, description: ClassifierDescription) -> None:
    warped = pretrained_network(file, description.class_names)
    assert not warped.knows_classes and type(warped.network.classifier) is nn.Linear
    assert warped.network.classifier.out_features == 4
    pooled = pretrained_pooled(file, description.class_names, PoolingSpec(fine_channels=8))
    assert not pooled.knows_classes and type(pooled.network.classifier) is nn.Linear
    trunk = load_region_classifier(file, Runtime(torch.device("cpu"), torch.float32, 4)).network.state_dict()
    for network in (warped.network, pooled.network.trunk):
        assert torch.equal(network.state_dict()["conv1.weight"], trunk["conv1.weight"])


@pytest.mark.usefixtures("openvino")
def test_openvino_computes_it_too(
    file: Path, cpu: Runtime, spec: InputSpec, photograph: NDArray[np.uint8], boxes: NDArray[np.float32]
) -> None:
    crops = warp_regions(photograph, boxes[:5], spec)
    ours = Ensemble([load_region_classifier(file, cpu)]).probabilities(crops)
    theirs = Ensemble([load_region_classifier(file, replace(cpu, openvino="fp32"))]).probabilities(crops)
    np.testing.assert_allclose(theirs, ours, atol=2e-3)
