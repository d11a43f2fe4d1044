"""One classifier: probabilities of regions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.detector import ClassifierDescription, Ensemble, RegionClassifier, Runtime, warp_regions
from inception_rcnn.detector.region_classifier import REGION_INPUT, shortened_threshold
from inception_rcnn.structures import InputError


@pytest.fixture
def crops(photograph: NDArray[np.uint8], boxes: NDArray[np.float32], spec: InputSpec) -> NDArray[np.uint8]:
    """Six regions: more than one batch."""
    return warp_regions(photograph, boxes[:6], spec)


def test_probabilities_are_the_network_s_softmax(
    classifiers: tuple[RegionClassifier, ...], crops: NDArray[np.uint8], spec: InputSpec
) -> None:
    found = Ensemble(classifiers[:1]).probabilities(crops)[0]
    with torch.inference_mode():
        expected = classifiers[0].network(spec.apply(torch.from_numpy(crops))).softmax(dim=1).numpy()
    assert found.shape == (6, 4) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert found.std(axis=0).min() > 0.01  # the regions are told apart, or nothing would be shown


def test_no_regions_give_no_rows(classifiers: tuple[RegionClassifier, ...]) -> None:
    assert Ensemble(classifiers[:1]).probabilities(np.zeros((0, 32, 32, 3), np.uint8)).shape == (1, 0, 4)


def test_bfloat16_stays_near(
    make_network: Callable[[int], GoogLeNet], description: ClassifierDescription, crops: NDArray[np.uint8]
) -> None:
    cpu = torch.device("cpu")
    exact, rough = (
        Ensemble([RegionClassifier(make_network(1), description, Runtime(cpu, dtype, 64))]).probabilities(crops)[0]
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert rough.dtype == np.float32 and 0 < np.abs(exact - rough).max() < 0.05


def test_outputs_that_do_not_fit_the_names_are_refused(
    make_network: Callable[[int], GoogLeNet], description: ClassifierDescription, cpu: Runtime
) -> None:
    with pytest.raises(InputError, match=r"a classifier of 2 classes has one output more, for background; .* has 4"):
        RegionClassifier(make_network(1), replace(description, class_names=("cat", "cup")), cpu)


def test_regions_are_seen_as_r_cnn_saw_them() -> None:
    assert REGION_INPUT.context == 16 and REGION_INPUT.side == 224 and REGION_INPUT.fill == (123, 117, 104)


@pytest.mark.parametrize("score", [0.03, 0.09479, 0.123456, 0.99996, 1.0, 3.14159e-06])
def test_a_shortened_threshold_lets_its_own_score_pass(score: float) -> None:
    threshold = shortened_threshold(float(np.float32(score)))
    assert np.float32(threshold) <= np.float32(score) and threshold == pytest.approx(score, rel=1e-3)
