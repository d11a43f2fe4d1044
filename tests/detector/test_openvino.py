"""Detectors that OpenVINO computes: warped ensembles, MultiBox, `load_detector`'s choice, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.detector import (
    ClassifierDescription,
    Ensemble,
    RegionClassifier,
    Runtime,
    load_detector,
    save_region_classifier,
    warp_regions,
)
from inception_rcnn.detector.checkpoints import load_region_classifier, with_activation_ranges
from inception_rcnn.detector.dataset_inference import describe_run
from inception_rcnn.proposals import MultiBox
from inception_rcnn.proposals.network.model import MultiBoxNet
from inception_rcnn.structures import CheckpointError, InputError

CPU = torch.device("cpu")
TORCH = Runtime(CPU, torch.float32, 4)
OPENVINO = Runtime(CPU, torch.float32, 4, "fp32")


@pytest.fixture
def saved(
    make_network: Callable[[int], GoogLeNet], description: ClassifierDescription, tmp_path: Path
) -> Iterator[Path]:
    """A warping classifier in a file."""
    path = tmp_path / "warped.safetensors"
    save_region_classifier(path, make_network(1), replace(description, proposal_settings={"source": "multibox"}))
    yield path


@pytest.mark.parametrize("frozen", [False, True], ids=["nothing in common", "all but the last layer in common"])
def test_a_warped_ensemble_says_what_it_says_by_torch(
    openvino: ModuleType,
    make_network: Callable[[int], GoogLeNet],
    description: ClassifierDescription,
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    spec: InputSpec,
    frozen: bool,
) -> None:
    networks = [make_network(1), make_network(2)]
    if frozen:
        networks[1] = make_network(1)
        layer = networks[1].classifier
        assert layer is not None
        with torch.no_grad():
            layer.bias.add_(torch.tensor([0.5, -0.5, 1.0, 0.0]))
    found = {}
    for runtime in (TORCH, OPENVINO):
        ensemble = Ensemble([RegionClassifier(network, description, runtime) for network in networks])
        found[runtime] = ensemble.score(photograph, boxes[:10]).probabilities
        assert len(ensemble.shared) == (11 if frozen else 0)
    np.testing.assert_allclose(found[OPENVINO], found[TORCH], atol=2e-3)
    assert np.abs(found[TORCH][0] - found[TORCH][1]).max() > 0.05, "the members differ"
    assert ensemble.probabilities(warp_regions(photograph, boxes[:0], spec)).shape == (2, 0, 4)


def test_multibox_sees_what_it_sees_by_torch(openvino: ModuleType, photograph: NDArray[np.uint8]) -> None:
    torch.manual_seed(0)
    network = MultiBoxNet(64, channels=16)
    network.fit_laterals(torch.randn(2, 3, 64, 64) * 60)
    for layer in (network.location, network.confidence):
        torch.nn.init.normal_(layer.weight, std=0.3)
    spec = InputSpec(side=64)
    images = [photograph, np.ascontiguousarray(photograph[:50])]
    views = {runtime: MultiBox(network, spec, runtime).look(images) for runtime in (TORCH, OPENVINO)}
    for by_torch, by_openvino in zip(views[TORCH], views[OPENVINO], strict=True):
        assert torch.allclose(by_openvino.boxes, by_torch.boxes, atol=1e-4)
        assert torch.allclose(by_openvino.logits, by_torch.logits, atol=1e-2)
        assert torch.allclose(by_openvino.regions, by_torch.regions, atol=1e-3 * float(by_torch.regions.abs().max()))


def test_the_boxes_of_multibox_in_bfloat16_are_computed_in_float32(
    openvino: ModuleType, photograph: NDArray[np.uint8]
) -> None:
    """An untrained network moves no prior: in bfloat16 the corners would be off by a part of a pixel."""
    network = MultiBoxNet(64, channels=16)
    for precision in ("bf16", "int8"):
        (view,) = MultiBox(network, InputSpec(side=64), replace(OPENVINO, openvino=precision)).look([photograph])
        assert torch.equal(view.boxes, network.priors)


def test_load_detector_takes_openvino_where_it_is_installed_and_faster(
    openvino: ModuleType, saved: Path, photograph: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert load_detector(saved, "cpu").ensemble.runtime.openvino == "bf16"
    exact = load_detector(saved, "cpu", runtime="openvino", precision="fp32")
    expected = load_detector(saved, "cpu", runtime="torch", precision="fp32")
    assert (exact.ensemble.runtime.openvino, expected.ensemble.runtime.openvino) == ("fp32", None)
    settings = {"score_threshold": 0.3, "max_proposals": 12}
    found, wanted = (one.with_settings(**settings)(photograph) for one in (exact, expected))
    assert len(wanted) > 0 and len(found) == len(wanted)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=5e-3)


def test_load_detector_without_it_is_torch(saved: Path) -> None:
    assert load_detector(saved, "cpu").ensemble.runtime.openvino is None


def test_what_was_found_by_openvino_is_known_as_that(openvino: ModuleType, saved: Path) -> None:
    described = [
        describe_run(load_detector(saved, "cpu", runtime=runtime, precision="fp32"), [saved], None)["arithmetic"]
        for runtime in ("torch", "openvino")
    ]
    assert described == ["torch.float32 on cpu", "fp32 by OpenVINO on cpu"]


def test_int8_of_a_warping_classifier_is_refused(openvino: ModuleType, saved: Path) -> None:
    with pytest.raises(InputError, match="int8 is for pooled detectors, and weights here warp; use bf16"):
        load_detector(saved, "cpu", runtime="openvino", precision="int8")


def test_ranges_are_kept_in_a_checkpoint_and_nothing_else_of_it_changes(saved: Path) -> None:
    before = load_region_classifier(saved, TORCH)
    ranges = {"trunk": ((-123.0, 151.5), (0.0, 3.25)), "head": ((0.0, 1e-3),)}
    with_activation_ranges(saved, ranges)
    after = load_region_classifier(saved, TORCH)
    assert after.description == replace(before.description, activation_ranges=ranges)
    assert all(map(torch.equal, before.network.state_dict().values(), after.network.state_dict().values()))


@pytest.mark.parametrize(
    "stored",
    [
        [1],
        {"trunk": 3},
        {"trunk": [[1.0]]},
        {"trunk": [[2.0, 1.0]]},
        {"trunk": [["a", "b"]]},
        {"trunk": [[0.0, None]]},
        {"trunk": [[0, 10**400]]},
        {"trunk": [[0.0, 1e39]]},
    ],
)
def test_ranges_that_are_none_are_refused(stored: object, saved: Path) -> None:
    from inception_rcnn.backbones import read_checkpoint, write_checkpoint

    checkpoint = read_checkpoint(saved, "region-classifier")
    write_checkpoint(
        saved, "region-classifier", {**checkpoint.description, "activation_ranges": stored}, checkpoint.tensors
    )
    with pytest.raises(CheckpointError, match=r"warped.safetensors: activation_ranges"):
        load_region_classifier(saved, TORCH)
