"""A network scored on the way: as the whole detector would be, on photographs whose proposals are made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marked_set import MarkedSet
from numpy.typing import NDArray

from inception_rcnn.backbones import CAFFE_INPUT
from inception_rcnn.detector import ClassifierDescription, PooledNetwork, PoolingSpec, Runtime, load_detector
from inception_rcnn.detector.training.threshold import truth_in_classes
from inception_rcnn.detector.training.validation import Validation, validation_images
from inception_rcnn.evaluation import evaluate_coco
from inception_rcnn.structures import Proposals

NAMES = ("cat", "cup", "person")
SPEC = PoolingSpec(short_side=96, long_side=200, cells=3, fine_channels=8)
DESCRIPTION = ClassifierDescription(
    NAMES, CAFFE_INPUT, {"source": "selective-search"}, pooling=SPEC, box_regression=True
)
CPU = Runtime(torch.device("cpu"), torch.float32, 4)


class Proposing:
    """Proposes the objects and boxes all over a photograph, and counts how often it was asked."""

    def __init__(self, images: MarkedSet) -> None:
        self.asked = 0
        self._objects = {images.load_image(row).tobytes(): images.ground_truth(row).boxes for row in range(len(images))}

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        self.asked += 1
        corner = np.random.default_rng(image.shape[0]).uniform(0, 0.4, (15, 2))
        boxes = np.hstack([corner, corner + 0.2]) * np.tile(image.shape[1::-1], 2)
        boxes = np.vstack([boxes, self._objects[image.tobytes()]]).astype(np.float32)
        return Proposals(boxes, np.linspace(1, 0.5, len(boxes), dtype=np.float32))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> MarkedSet:
    return MarkedSet(tmp_path_factory.mktemp("photographs"), NAMES)


def network(seed: int) -> PooledNetwork:
    torch.manual_seed(seed)
    found = PooledNetwork(3, SPEC)
    torch.nn.init.normal_(found.classifier.weight, std=0.03)
    return found


def test_the_score_is_that_of_the_whole_detector_by_coco_s_own_code(images: MarkedSet, tmp_path: Path) -> None:
    propose = Proposing(images)
    validation = Validation(images, propose, DESCRIPTION, CPU, quiet=True)
    one, two = network(1), network(2)
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    first, second = validation.score(one), validation.score(two)
    assert propose.asked == 3  # once a photograph
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.state_dict().items())
    validation.save(tmp_path / "best.safetensors", one, first, 7)
    detector = load_detector(tmp_path / "best.safetensors", "cpu", runtime="torch", precision="fp32")
    assert detector.settings.score_threshold == first.threshold.value
    detector = detector.with_settings(score_threshold=0.001)
    pictures = [images.load_image(row) for row in range(3)]
    found = [detector.postprocess(detector.score(one, propose(one))) for one in pictures]
    slow = evaluate_coco(images.ground_truths(), found, engine="pycocotools")
    assert first.map == pytest.approx(slow.map, abs=1e-3) and first.map > 0  # weights were stored in half precision
    assert second.map != first.map


def test_other_names_of_a_class_are_known_and_other_classes_left_out(tmp_path: Path) -> None:
    calls: Any = (("saucer", "diningtable"),)
    images = MarkedSet(tmp_path, ("diningtable", "person", "cup"), calls=calls)
    truth = truth_in_classes(images.ground_truths(), ("cup", "dining table"))
    assert truth.class_names == ("cup", "dining table") and sorted(truth.label.tolist()) == [0, 1]
    table = images.ground_truth(1)
    for label, name in ((0, "cup"), (1, "diningtable")):
        expected = table.boxes[table.labels == images.class_names.index(name)]
        np.testing.assert_allclose(truth.box[truth.label == label], expected)


def test_photographs_are_limited_and_drawn_by_the_seed(images: MarkedSet) -> None:
    assert validation_images(images, 3, 0) is images
    drawn = [tuple(validation_images(images, 2, seed).image_ids) for seed in range(8)]
    assert all(len(one) == 2 for one in drawn) and len(set(drawn)) > 1
    assert drawn == [tuple(validation_images(images, 2, seed).image_ids) for seed in range(8)]


def test_what_nothing_is_found_with_has_a_map_of_0_and_the_usual_threshold(images: MarkedSet) -> None:
    validation = Validation(images, lambda _: Proposals.empty(), DESCRIPTION, CPU, quiet=True)
    found = validation.score(network(1))
    assert found.map == 0 and found.threshold.value == 0.1 and "nothing was found" in found.threshold.origin
