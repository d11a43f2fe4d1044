"""The pooled detector that training starts from says what it said where it was trained: two programs, one network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from inception_rcnn.backbones import CAFFE_INPUT
from inception_rcnn.backbones.feature_maps import feature_maps
from inception_rcnn.detector import ClassifierDescription, PooledClassifier, PooledNetwork, Runtime
from inception_rcnn.detector.region_pooling import pooled_input

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT.parent / "shared" / "weights"
pytestmark = pytest.mark.skipif(not WEIGHTS.is_dir(), reason="needs ../shared: the weights are no part of the project")
SCALE = 1.25


def program(name: str) -> ModuleType:
    """A file of `benchmarks/`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def network() -> PooledNetwork:
    """The file's, by our names."""
    found: PooledNetwork = program("convert_pooled_start").pooled_start(WEIGHTS / "pooled_start.safetensors")
    return found


def test_the_file_without_normalisation_is_a_network_without() -> None:
    found = program("convert_pooled_start").pooled_start(WEIGHTS / "pooled_start_nolrn.safetensors")
    assert (found.trunk.lrn, found.lateral, found.spec.image_mean) == (False, None, False)
    images = pooled_input(data.chelsea(), CAFFE_INPUT, SCALE, torch.device("cpu"))
    with torch.inference_mode():
        logits, _ = found(images, SCALE * torch.tensor([[0, 100, 20, 430, 299]], dtype=torch.float32))
    assert logits.softmax(1)[0, 15] > 0.8  # the cat


@pytest.fixture(scope="module")
def expected() -> dict[str, NDArray[np.float32]]:
    """What came out where it was trained."""
    with np.load(WEIGHTS / "pooled_start_check.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def test_its_maps_are_what_they_were(network: PooledNetwork, expected: dict[str, NDArray[np.float32]]) -> None:
    images = pooled_input(data.astronaut(), CAFFE_INPUT, SCALE, torch.device("cpu"))
    with torch.inference_mode():
        maps = feature_maps(network.trunk, images, ("3b", "4e"))
    for name, found in maps.items():
        figures = [float(found.mean()), float(found.std(correction=0))]
        np.testing.assert_allclose(figures, expected[f"map_{name}"], atol=1e-3)


def test_its_regions_are_what_they_were(network: PooledNetwork, expected: dict[str, NDArray[np.float32]]) -> None:
    names = tuple(f"class {number}" for number in range(80))
    description = ClassifierDescription(names, CAFFE_INPUT, pooling=network.spec, box_regression=True)
    classifier = PooledClassifier(network, description, Runtime(torch.device("cpu"), torch.float32, 64))
    probabilities, offsets = classifier.score(data.astronaut(), expected["boxes"], scale=SCALE)
    np.testing.assert_allclose(probabilities, expected["probabilities"], atol=1e-3)
    np.testing.assert_allclose(offsets, expected["offsets"], atol=1e-3)
    assert probabilities.max() > 0.5  # it is sure of something
