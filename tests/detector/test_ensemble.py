"""Several classifiers averaged region by region; what they have in common is computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import STAGES, GoogLeNet, InputSpec
from inception_rcnn.detector import ClassifierDescription, Ensemble, RegionClassifier, Runtime, warp_regions
from inception_rcnn.detector.ensemble import RegionScores, shared_stages
from inception_rcnn.structures import InputError, Proposals


@pytest.fixture(scope="module")
def crops(photograph: NDArray[np.uint8], boxes: NDArray[np.float32], spec: InputSpec) -> NDArray[np.uint8]:
    """Six regions."""
    return warp_regions(photograph, boxes[:6], spec)


def mean(each: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over the members."""
    return RegionScores(Proposals.empty(), each).mean()


def changed(network: GoogLeNet, part: str) -> GoogLeNet:
    """The network with one number of one part changed."""
    with torch.no_grad():
        network.get_parameter(part).view(-1)[0] += 0.25
    return network


def stages_run(network: GoogLeNet) -> dict[str, int]:
    """Counts, from now on, how often each stage of the network is computed."""
    counts = dict.fromkeys(STAGES, 0)
    for name in STAGES:
        part = network.get_submodule(name if name.startswith("conv") else f"inception_{name}")
        part.register_forward_hook(lambda *_, stage=name: counts.update({stage: counts[stage] + 1}))
    return counts


def test_the_members_are_averaged(classifiers: tuple[RegionClassifier, ...], crops: NDArray[np.uint8]) -> None:
    ensemble = Ensemble(classifiers)
    each = ensemble.probabilities(crops)
    alone = [Ensemble([member]).probabilities(crops)[0] for member in classifiers]
    assert ensemble.shared == () and each.shape == (2, 6, 4) and each.dtype == np.float32
    np.testing.assert_allclose(each, alone, atol=1e-6)
    np.testing.assert_allclose(mean(each), (alone[0] + alone[1]) / 2, atol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 0.05
    np.testing.assert_allclose(mean(each).sum(axis=1), 1, rtol=1e-5)


def test_a_single_member_is_itself(classifiers: tuple[RegionClassifier, ...], crops: NDArray[np.uint8]) -> None:
    ensemble = Ensemble(classifiers[:1])
    assert np.array_equal(ensemble.probabilities(crops)[0], Ensemble(classifiers[:1]).probabilities(crops)[0])
    assert ensemble.class_names == classifiers[0].description.class_names
    assert ensemble.input_spec == classifiers[0].description.input_spec


@pytest.mark.parametrize(
    ("part", "shared"),
    [
        ("conv1.weight", 0),
        ("conv2_reduce.bias", 1),
        ("conv2.weight", 1),
        ("inception_4a.conv5x5.weight", 4),
        ("inception_5b.project.bias", 10),
        ("classifier.weight", 11),
    ],
)
def test_common_stages_are_computed_once_with_the_same_result(
    make_network: Callable[[int], GoogLeNet],
    description: ClassifierDescription,
    cpu: Runtime,
    crops: NDArray[np.uint8],
    part: str,
    shared: int,
) -> None:
    networks = [make_network(1), changed(make_network(1), part)]
    members = [RegionClassifier(network, description, cpu) for network in networks]
    expected = [Ensemble([member]).probabilities(crops)[0] for member in members]
    ensemble = Ensemble(members)
    assert ensemble.shared == STAGES[:shared]
    counts = [stages_run(network) for network in ensemble._chain.networks]
    assert np.array_equal(ensemble.probabilities(crops), expected)
    for position, name in enumerate(STAGES):
        assert counts[0][name] == 1
        assert counts[1][name] == (0 if position < shared else 1)


def test_a_difference_further_up_does_not_hide_one_further_down(make_network: Callable[[int], GoogLeNet]) -> None:
    first = make_network(1)
    others = [changed(make_network(1), f"inception_{name}.conv1x1.bias") for name in ("5a", "3b")]
    assert shared_stages([first, others[0]]) == STAGES[:9]
    assert shared_stages([first, *others]) == STAGES[:3]
    assert shared_stages([first]) == STAGES


def test_stages_of_equal_weights_are_not_shared_where_one_normalises(
    classifiers: tuple[RegionClassifier, ...], crops: NDArray[np.uint8]
) -> None:
    """Both ways may be fine-tuned from the same weights, of which the first stages stay as they are."""
    plain = GoogLeNet(4, lrn=False).eval()
    plain.load_state_dict(classifiers[0].network.state_dict())
    other = RegionClassifier(plain, replace(classifiers[0].description, lrn=False), classifiers[0].runtime)
    both = Ensemble([classifiers[0], other])
    alone = [Ensemble([member]).probabilities(crops)[0] for member in both.members]
    assert both.shared == () and np.abs(alone[0] - alone[1]).max() > 0.05
    assert np.array_equal(both.probabilities(crops), alone)


def test_no_regions_give_no_rows(classifiers: tuple[RegionClassifier, ...]) -> None:
    each = Ensemble(classifiers).probabilities(np.zeros((0, 32, 32, 3), np.uint8))
    assert each.shape == (2, 0, 4) and mean(each).shape == (0, 4)


def test_the_average_is_taken_in_float64() -> None:
    each = np.array([[[1.0]], [[2**-24]], [[2**-24]]], np.float32)
    assert mean(each)[0, 0] == np.float32((1 + 2**-23) / 3)


def test_members_that_disagree_are_refused(
    make_network: Callable[[int], GoogLeNet], description: ClassifierDescription, cpu: Runtime
) -> None:
    def member(runtime: Runtime = cpu, **changes: object) -> RegionClassifier:
        return RegionClassifier(network, replace(description, **changes), runtime)

    network = make_network(1)
    with pytest.raises(InputError, match="an ensemble needs at least one"):
        Ensemble([])
    with pytest.raises(InputError, match="weights 3 differ from the first in their class_names"):
        Ensemble([member(), member(), member(class_names=("cup", "cat", "person"))])
    with pytest.raises(InputError, match="weights 2 differ from the first in their input_spec"):
        Ensemble([member(), member(input_spec=InputSpec(side=32, context=5))])
    with pytest.raises(InputError, match="weights 2 are on "):
        Ensemble([member(), member(Runtime(torch.device("cpu"), torch.float32, 9))])


def test_large_inputs_go_together_in_small_numbers(
    make_network: Callable[[int], GoogLeNet],
    description: ClassifierDescription,
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
) -> None:
    """Four regions of 224 px, or two of 280: what a batch takes does not grow with the side."""
    seen = []
    large = replace(description, input_spec=InputSpec(side=280))
    member = RegionClassifier(make_network(1), large, Runtime(torch.device("cpu"), torch.float32, 4))
    member.network.get_submodule("conv1").register_forward_hook(lambda *told: seen.append(len(told[2])))
    Ensemble([member]).score(photograph, boxes[:3])
    assert seen == [2, 1]
