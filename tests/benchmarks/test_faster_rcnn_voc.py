"""torchvision's detector on this body: what it learns from, a step of it, and that a killed run goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import faster_rcnn_voc
import numpy as np
import pytest
import torch
from marked_set import MarkedSet

from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training.sgd import SgdSettings

CPU = Runtime(torch.device("cpu"), torch.float32, 4)
SETTINGS = SgdSettings(iterations=2, warm_up=1, learning_rate=0.01)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MarkedSet:
    """Two photographs with objects."""
    return MarkedSet(tmp_path_factory.mktemp("set"), ("cat", "cup", "person"), ("chelsea", "coffee"))


def test_boxes_are_mirrored_with_their_photographs(dataset: MarkedSet) -> None:
    photographs = faster_rcnn_voc.Photographs(dataset, 8, 0)
    images, targets = photographs.draw(0)
    stored = [faster_rcnn_voc.as_input(dataset.load_image(row)) for row in range(2)]
    mirrored = 0
    for image, target in zip(images, targets, strict=True):
        turned = not any(torch.equal(image, one) for one in stored)
        row = next(row for row, one in enumerate(stored) if torch.equal(image.flip(2) if turned else image, one))
        truth = dataset.ground_truth(row)
        boxes = torch.from_numpy(truth.boxes[~truth.ignore]).clone()
        if turned:
            mirrored += 1
            boxes[:, [0, 2]] = image.shape[2] - boxes[:, [2, 0]]
        assert torch.allclose(target["boxes"], boxes) and target["labels"].min() >= 1
    assert 0 < mirrored < 8
    again = faster_rcnn_voc.Photographs(dataset, 8, 0).draw(0)[0]
    assert all(torch.equal(one, other) for one, other in zip(images, again, strict=True))


def test_a_step_is_the_same_when_it_is_taken_again_and_its_answers_fit(dataset: MarkedSet, tmp_path: Path) -> None:
    batch = faster_rcnn_voc.Photographs(dataset, 1, 0).draw(0)
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        network = faster_rcnn_voc.detector_of(3, "coco", 96)
        training = faster_rcnn_voc.averaged(network, replace(SETTINGS))
        losses.append(faster_rcnn_voc.step_of(training, SETTINGS, CPU, batch)["loss"])
    assert losses[0] == losses[1] > 0
    assert set(training.mean_losses()) == {"loss", "classifier", "box_reg", "objectness", "rpn_box_reg"}
    network.roi_heads.score_thresh = 0.0
    table = faster_rcnn_voc.detections_of(network, dataset, CPU)
    assert set(np.unique(table.image)) == {0, 1} and table.label.max() < 3
    for row in range(2):
        height, width = dataset.load_image(row).shape[:2]
        boxes = table.box[table.image == row]
        assert (boxes >= 0).all() and (boxes <= [width, height, width, height]).all()
