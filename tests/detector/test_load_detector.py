"""`load_detector`: one file, several, the shipped model; and everything that is not one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import write_checkpoint
from inception_rcnn.detector import (
    ClassifierDescription,
    DetectionSettings,
    RegionClassifier,
    load_detector,
    save_region_classifier,
)
from inception_rcnn.detector.checkpoints import DEFAULT_WEIGHTS, chosen_weights
from inception_rcnn.proposals import selective_search
from inception_rcnn.proposals.proposer import Proposer
from inception_rcnn.structures import CheckpointError, InputError


@pytest.fixture(scope="module")
def save(
    classifiers: tuple[RegionClassifier, ...],
    description: ClassifierDescription,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """Saves one of the two classifiers with some of its description changed."""
    folder = tmp_path_factory.mktemp("weights")

    def write(which: int = 0, **changes: object) -> Path:
        path = folder / f"{which}-{abs(hash(repr(changes)))}.safetensors"
        save_region_classifier(path, classifiers[which].network, replace(description, **changes))
        return path

    return write


def test_one_file_makes_a_detector(save: Callable[..., Path]) -> None:
    for weights in (save(), str(save()), [save()]):
        detector = load_detector(weights, "cpu")
        assert len(detector.ensemble.members) == 1 and detector.ensemble.class_names == ("cat", "cup", "person")
        assert detector.settings == DetectionSettings(score_threshold=0.25)


def test_several_files_make_an_ensemble_with_the_first_one_s_threshold(
    save: Callable[..., Path], photograph: NDArray[np.uint8], boxes: NDArray[np.float32]
) -> None:
    paths = [save(0), save(1, score_threshold=0.75)]
    together = load_detector(paths, "cpu")
    assert together.settings.score_threshold == 0.25 and len(together.ensemble.members) == 2
    alone = [load_detector(path, "cpu").ensemble.score(photograph, boxes[:5]).probabilities[0] for path in paths]
    np.testing.assert_allclose(
        together.ensemble.score(photograph, boxes[:5]).probabilities.mean(axis=0), np.mean(alone, axis=0), atol=1e-3
    )


def test_settings_that_are_given_win(save: Callable[..., Path]) -> None:
    settings = DetectionSettings(score_threshold=0.01, iou_threshold=0.5)
    assert load_detector(save(), "cpu", settings=settings).settings == settings


def test_proposals_are_the_ones_it_was_trained_on(save: Callable[..., Path], photograph: NDArray[np.uint8]) -> None:
    detector = load_detector(save(proposal_settings={"mode": "single", "width": 90, "min_side": 8}), "cpu")
    expected = selective_search(photograph, mode="single", width=90, min_side=8, widened_from=1.0, duplicate_iou=1.0)
    assert len(expected) > 5 and np.array_equal(detector.propose(photograph).boxes, expected.boxes)


def test_where_multibox_proposes_it_has_the_objectness_too(save: Callable[..., Path]) -> None:
    assert load_detector(save(), "cpu").multibox is None
    detector = load_detector(save(proposal_settings={"source": "both"}), "cpu")
    assert isinstance(detector.propose, Proposer) and detector.multibox is detector.propose.multibox is not None


def test_the_shipped_model_is_the_default() -> None:
    detector = load_detector(device="cpu")
    assert detector.multibox is not None and detector.settings.max_detections == 100
    assert len(detector.ensemble.class_names) == 80 and detector.ensemble.runtime.device == torch.device("cpu")


def test_the_power_of_the_objectness_is_the_first_checkpoint_s(save: Callable[..., Path]) -> None:
    paths = [save(objectness_power=0.5), save(1, objectness_power=0.0)]
    assert load_detector(paths, "cpu").settings.objectness_power == 0.5
    assert load_detector(paths[1], "cpu").settings.objectness_power == 0.0
    assert load_detector(paths, "cpu", settings=DetectionSettings()).settings.objectness_power == 1.0


def test_the_shipped_model_that_warps_is_one_word_away(save: Callable[..., Path]) -> None:
    assert chosen_weights(None, "warp") == ["coco-mini"] and chosen_weights(None) == [DEFAULT_WEIGHTS]
    assert chosen_weights(save(), "warp") == [save()] and chosen_weights(["a", "b"]) == ["a", "b"]
    with pytest.raises(
        InputError, match=r"0.*\.safetensors has regions=warp, regions=pool was asked for; leave that out"
    ):
        load_detector([save(), save(1)], "cpu", regions="pool")
    with pytest.raises(InputError, match="regions should be pool or warp, got 'paper'"):
        load_detector(save(), "cpu", regions="paper")


def test_without_a_shipped_model_that_pools_one_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inception_rcnn.detector.checkpoints.DEFAULT_WEIGHTS", "coco-mini")
    monkeypatch.setattr("inception_rcnn.detector.checkpoints.SHIPPED", {"coco-mini": "coco-mini.safetensors"})
    with pytest.raises(InputError, match="no model that travels with the package has regions=pool; name weights"):
        load_detector(regions="pool")


def test_weights_that_are_none_are_refused_before_regions_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_checkpoint(path, "googlenet", {}, {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="is of kind 'googlenet'; 'region-classifier' is needed here"):
        chosen_weights(path, "warp")


@pytest.mark.parametrize("settings", [{"algorithm": "edge boxes"}, {"width": "wide"}])
def test_proposal_settings_that_are_not_understood_are_the_file_s_fault(
    save: Callable[..., Path], settings: dict[str, str]
) -> None:
    path = save(proposal_settings=settings)
    with pytest.raises(CheckpointError, match=f"{path.name}: .*proposal setting"):
        load_detector(path, "cpu")


def test_what_makes_no_detector(save: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights at"):
        load_detector(tmp_path / "absent.safetensors", "cpu")
    with pytest.raises(CheckpointError, match="no weights at"):
        load_detector("", "cpu")
    with pytest.raises(InputError, match="an ensemble needs at least one"):
        load_detector([], "cpu")
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        load_detector(save(), "gpu")
    with pytest.raises(InputError, match="weights 2 differ from the first in their class_names"):
        load_detector([save(), save(1, class_names=("cat", "dog", "person"))], "cpu")
