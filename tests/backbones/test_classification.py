"""Networks and crops averaged, and counted, against the same a crop at a time."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor, nn

from inception_rcnn.backbones import (
    CAFFE_INPUT,
    CROP_COUNTS,
    Classifier,
    GoogLeNet,
    InputSpec,
    crop_accuracies,
    crop_plan,
    cut_crops,
    googlenet,
    over_crops,
    write_checkpoint,
)
from inception_rcnn.backbones.classification import places_of
from inception_rcnn.backbones.runtime import choose_runtime
from inception_rcnn.structures import InputError

CHELSEA, COFFEE = data.chelsea(), data.coffee()
CLASSES = 8


class TinyNetwork(GoogLeNet):
    """What a classifier asks of a network, made of one linear layer over 2x2 cells, so that 144 crops take no time."""

    def __init__(self, seed: int) -> None:
        nn.Module.__init__(self)
        generator = torch.Generator().manual_seed(seed)
        self.variant, self.num_classes, self.conv1 = "tiny", CLASSES, nn.Identity()
        self.classifier = nn.Linear(12, CLASSES)
        self.classifier.weight.data = torch.randn(CLASSES, 12, generator=generator) / 40
        self.sizes: list[int] = []
        self.eval()

    def trunk(self, x: Tensor, **_: str) -> Tensor:
        self.sizes.append(len(x))
        return nn.functional.adaptive_avg_pool2d(x, (2, 2)).flatten(1)

    def classify(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(x)
        return logits


def one_at_a_time(network: GoogLeNet, image: np.ndarray, count: int) -> np.ndarray:
    """Probabilities (count, classes), each crop alone through the network."""
    found = []
    for pixels in cut_pixels(image.tobytes(), image.shape, count):
        with torch.no_grad():
            found.append(network.classify(network.trunk(pixels)).softmax(1)[0].numpy())
    return np.stack(found)


@cache
def cut_pixels(content: bytes, shape: tuple[int, ...], count: int) -> list[Tensor]:
    """Each crop alone, (1, 3, 224, 224), as the tiny network expects it."""
    cut = cut_crops(np.frombuffer(content, np.uint8).reshape(shape), crop_plan(count), torch.device("cpu"))
    return [CAFFE_INPUT.shift(cut.pixels[row][None]).permute(0, 3, 1, 2) for row in cut.rows]


@pytest.mark.parametrize("count", CROP_COUNTS)
def test_probabilities_are_those_of_each_network_and_crop(count: int) -> None:
    networks = [TinyNetwork(seed) for seed in range(3)]
    classifier = Classifier(networks)
    found = classifier.probabilities([CHELSEA, COFFEE], crop_plan(count))
    for image, of_image in zip((CHELSEA, COFFEE), found, strict=True):
        assert of_image.shape == (3, count, CLASSES)
        expected = np.stack([one_at_a_time(network, image, count) for network in networks])
        np.testing.assert_allclose(of_image, expected, atol=1e-5)
        mean = classifier(image, crops=count)
        np.testing.assert_allclose(mean, expected.mean(axis=(0, 1)), atol=1e-5)
        np.testing.assert_allclose(mean.sum(), 1, atol=1e-5)


def test_crops_go_through_in_batches_and_the_same_once() -> None:
    network = TinyNetwork(0)
    classifier = Classifier([network])
    sizes = classifier._networks[0].sizes
    classifier.probabilities([CHELSEA, COFFEE], crop_plan(144))
    assert sum(sizes) == 288 and max(sizes) == 64 and len(sizes) == 5
    sizes.clear()
    classifier.probabilities([CHELSEA], crop_plan(144), resize="stretch")
    assert sum(sizes) == 48 and not network.sizes, "and the one that was given is not called"


def test_the_maximum_over_crops_and_then_the_mean_over_networks() -> None:
    probabilities = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.5, 0.5]]], np.float32)
    np.testing.assert_allclose(over_crops(probabilities), [0.55, 0.45])
    np.testing.assert_allclose(over_crops(probabilities, maximum=True), [0.75, 0.65])


def slow_share(photographs: list, models: int, count: int, most: int, maximum: bool) -> float:
    """Share of photographs whose class is among the first few, counted by sorting.

    Args:
        photographs: For each its class and, for each of seven networks, the probabilities of each crop.
        models: How many of the networks.
        count: How many crops.
        most: How many classes are looked at.
        maximum: Whether the largest of the crops counts.
    """
    right = 0
    for label, networks in photographs:
        each = [np.stack([of_crop[crop] for crop in crop_plan(count)]) for of_crop in networks[:models]]
        mean = np.mean([one.max(axis=0) if maximum else one.mean(axis=0) for one in each], axis=0)
        right += label in mean.argsort()[::-1][:most]
    return right / len(photographs)


def test_the_table_of_models_and_crops() -> None:
    """Seven models, 1, 10 and 144 crops, as in the paper."""
    networks = [TinyNetwork(seed) for seed in range(7)]
    images = (CHELSEA[:, :300], COFFEE, data.astronaut(), data.rocket())
    photographs = [(np.ascontiguousarray(image), label) for image, label in zip(images, (0, 3, 6, 2), strict=True)]
    plan, expected = crop_plan(144), []
    for image, label in photographs:
        expected.append((label, [dict(zip(plan, one_at_a_time(one, image, 144), strict=True)) for one in networks]))
    rows = crop_accuracies(Classifier(networks), photographs, CROP_COUNTS)
    assert [(row.models, row.crops, row.cost) for row in rows] == [
        *((1, 1, 1), (1, 10, 10), (1, 144, 144)),
        *((7, 1, 7), (7, 10, 70), (7, 144, 1008)),
    ]
    for row in rows:
        of_row = (row.models, row.crops)
        assert row.photographs == len(photographs)
        assert row.top1 == slow_share(expected, *of_row, 1, False)
        assert row.top5 == slow_share(expected, *of_row, 5, False)
        assert row.maximum_top1 == slow_share(expected, *of_row, 1, True)
        assert row.maximum_top5 == slow_share(expected, *of_row, 5, True)
    assert len({row.top5 for row in rows}) > 1, "or the comparison would prove little"


def test_seven_perturbed_copies_of_one_network() -> None:
    """GoogLeNet itself; of another variant among them each crop is prepared as it expects."""
    torch.manual_seed(0)
    networks = [googlenet(num_classes=4), googlenet("torchvision", num_classes=4)]
    for _ in range(5):
        networks.append(copy.deepcopy(networks[0]))
        with torch.no_grad():
            for parameter in networks[-1].parameters():
                parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    pixels = cut_crops(CHELSEA, crop_plan(1), torch.device("cpu")).pixels
    with torch.no_grad():
        each = [one(one.input_spec.shift(pixels).permute(0, 3, 1, 2)).softmax(1)[0].numpy() for one in networks]
    assert len({one.tobytes() for one in each}) == 7
    classifier = Classifier(networks)
    assert len(classifier) == 7
    np.testing.assert_allclose(classifier(CHELSEA), np.mean(each, axis=0), atol=1e-5)
    first, all_seven = crop_accuracies(classifier, [(CHELSEA, int(np.mean(each, axis=0).argmax()))], [1])
    assert all_seven.top1 == 1 and (first.models, all_seven.models) == (1, 7)


def test_what_a_file_says_of_itself_is_known(tmp_path: Path) -> None:
    path = tmp_path / "pets.safetensors"
    network = googlenet("batchnorm", num_classes=2)
    write_checkpoint(path, "googlenet", {"class_names": ["cat", "dog"]}, network.state_dict())
    loaded = Classifier.load([path, network])
    assert loaded.class_names == ("cat", "dog") and len(loaded) == 2 and loaded.num_classes == 2
    assert Classifier.load([network]).class_names is None


def test_files_that_call_their_outputs_differently_are_not_averaged(tmp_path: Path) -> None:
    state, paths = googlenet("batchnorm", num_classes=2).state_dict(), []
    for number, names in enumerate((["cat", "dog"], ["cat", "eel"])):
        paths.append(tmp_path / f"{number}.safetensors")
        write_checkpoint(paths[-1], "googlenet", {"class_names": names}, state)
    with pytest.raises(InputError, match=r"1\.safetensors calls output 1 'eel', .*0\.safetensors 'dog'; networks that"):
        Classifier.load(paths)


def test_networks_stay_as_they_were_given() -> None:
    for network in (TinyNetwork(0), googlenet(num_classes=2)):
        Classifier([network], runtime=choose_runtime("cpu", precision="bf16"))
        assert all(one.dtype == torch.float32 for one in network.state_dict().values())
    for other in (TinyNetwork(0).train(), googlenet("batchnorm", num_classes=CLASSES).train()):
        with pytest.raises(InputError, match=r"networks\[1\] is in training; call eval\(\) first"):
            Classifier([TinyNetwork(0), other])


def test_places_count_equals_in_order_and_what_is_no_number_last() -> None:
    scores = np.array([[0.2, 0.5, 0.2, 0.1]] * 4 + [[np.nan] * 4, [0.1, np.nan, np.inf, 0.3]], np.float32)
    assert places_of(scores, np.array([0, 1, 2, 3, 0, 3])).tolist() == [1, 0, 2, 3, 3, 0]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match=r"with the same number of classes, got \[\]"):
        Classifier([])
    with pytest.raises(InputError, match="a trunk, such as 'coco', has none"):
        Classifier.load(["coco"])
    with pytest.raises(InputError, match=r"got \[8, 3\]"):
        Classifier([TinyNetwork(0), googlenet(num_classes=3)])
    with pytest.raises(InputError, match="class_names should have 8 names, one for each output, got 1"):
        Classifier([TinyNetwork(0)], ["cat"])
    with pytest.raises(InputError, match="there are no photographs"):
        crop_accuracies(Classifier([TinyNetwork(0)]), [], [1])
    assert isinstance(TinyNetwork(0).input_spec, InputSpec)
