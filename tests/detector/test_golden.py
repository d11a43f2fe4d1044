"""The shipped model finds what it found when it was made the default; a broken preprocessing or class order shows here.

`benchmarks/golden_detections.py` writes the file that is compared with.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import torch

from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.detector import Detector, Ensemble, load_region_classifier
from inception_rcnn.detector.checkpoints import DEFAULT_WEIGHTS
from inception_rcnn.detector.loading import settings_of
from inception_rcnn.proposals import ProposalSettings, Proposer
from inception_rcnn.structures import Detections, load_image, pairwise_iou

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "golden_detections.json").read_text())
PIXELS, SCORE, THRESHOLD = 2.0, 0.02, 0.04


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The shipped detector in float32, whatever this processor is good at."""
    runtime = Runtime(torch.device("cpu"), torch.float32, 64)
    member = load_region_classifier(DEFAULT_WEIGHTS, runtime)
    proposer = Proposer.load(ProposalSettings.from_dict(member.description.proposal_settings), runtime)
    settings = replace(settings_of(member.description), score_threshold=THRESHOLD)
    return Detector(proposer, Ensemble([member]), settings, proposer.multibox)


def differences(found: Detections, entries: list[dict[str, Any]], threshold: float) -> list[str]:
    """What was found and is not in the file, or the other way round; near the threshold both may be."""
    left = list(zip(found.names(), found.scores.tolist(), found.boxes.tolist(), strict=True))
    lines = []
    for entry in entries:
        for one in left:
            label, score, box = one
            near = np.abs(np.array(box) - entry["box"]).max() <= PIXELS and abs(score - entry["score"]) <= SCORE
            if label == entry["class"] and near:
                left.remove(one)
                break
        else:
            if entry["score"] > threshold + SCORE:
                lines.append(f"missing: {entry}")
    return lines + [f"new: {one}" for one in left if one[1] > threshold + SCORE]


def test_the_file_is_of_the_shipped_model() -> None:
    assert GOLDEN["weights"] == DEFAULT_WEIGHTS and set(GOLDEN["photographs"]) == {"chelsea.png", "astronaut.png"}
    assert all(GOLDEN["photographs"].values())


@pytest.mark.parametrize("name", sorted(GOLDEN["photographs"]))
def test_the_shipped_model_finds_what_it_found(detector: Detector, name: str) -> None:
    found = detector(load_image(Path(skimage.__file__).parent / "data" / name))
    assert differences(found, GOLDEN["photographs"][name], THRESHOLD) == []


def test_channels_in_another_order_are_noticed(detector: Detector) -> None:
    image = load_image(Path(skimage.__file__).parent / "data" / "chelsea.png")
    right = detector.with_settings(max_proposals=40)(image)
    assert "cat" in right.names()[0]
    found = detector.with_settings(max_proposals=40)(np.ascontiguousarray(image[:, :, ::-1]))
    assert differences(found, GOLDEN["photographs"]["chelsea.png"], THRESHOLD) != []


@pytest.mark.parametrize(("rows", "columns"), [((20, 240), (80, 360)), ((30, 200), (100, 310))])
def test_a_face_that_fills_the_picture_is_a_cat_and_nothing_else(
    detector: Detector, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    image = load_image(Path(skimage.__file__).parent / "data" / "chelsea.png")
    face = np.ascontiguousarray(image[slice(*rows), slice(*columns)])
    found = detector.with_settings(score_threshold=0.2, one_name_iou=0.8)(face)
    assert found.names() == ["cat"] and found.scores[0] > 0.4
    height, width = face.shape[:2]
    assert pairwise_iou(found.boxes, [[0, 0, width, height]])[0, 0] > 0.8
    every = detector.with_settings(score_threshold=0.1)(face)
    assert {"cat", "dog"} <= set(every.names())  # so it is the one name that is shown
