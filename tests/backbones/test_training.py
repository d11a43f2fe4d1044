"""The step every training takes, with AdamW and with momentum: rates, average, and going on to the bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inception_rcnn.backbones import read_checkpoint, write_checkpoint
from inception_rcnn.backbones.training import AveragedTraining, cosine_rate
from inception_rcnn.structures import CheckpointError, InceptionError

ADAM, SGD = ("step", "exp_avg", "exp_avg_sq"), ("momentum_buffer",)
SETTINGS, NOTE = {"rate": 0.1, "mean": (104.0, 117.0)}, {"data": ["a", "b"]}


def start(
    seed: int = 0, *, memory: tuple[str, ...] = ADAM, averaging: float = 0.5, clip: float = 1e6
) -> AveragedTraining:
    """A small network of which the first layer does not learn; the last one learns at double rate."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 1))
    network[0].requires_grad_(False)
    groups: list[dict[str, Any]] = [
        {"params": list(network[1].parameters()), "factor": 1.0},
        {"params": list(network[2].parameters()), "factor": 2.0},
    ]
    optimizer = torch.optim.AdamW(groups) if memory == ADAM else torch.optim.SGD(groups, momentum=0.9)
    return AveragedTraining(network, optimizer, averaging=averaging, clip=clip)


def step(training: AveragedTraining, rate: float = 0.05) -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(training.iteration))
    training.update((training.network(x) - 1).square().mean(), rate)


def state_of(training: AveragedTraining) -> dict[str, Tensor]:
    weights = {name: one.clone() for name, one in training.network.state_dict().items()}
    return weights | {f"average.{name}": one.clone() for name, one in training.average.items()}


def equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("memory", [ADAM, SGD])
def test_a_resumed_run_ends_where_the_uninterrupted_one_does(memory: tuple[str, ...], tmp_path: Path) -> None:
    path, whole, first = tmp_path / "state.safetensors", start(memory=memory), start(memory=memory)
    for _ in range(7):
        step(whole)
    for _ in range(3):
        step(first)
    first.save(path, SETTINGS, NOTE)
    second = start(seed=9, memory=memory)
    second.resume(path, SETTINGS, NOTE, memory)
    assert second.iteration == 3 and equal(state_of(second), state_of(first))
    for _ in range(4):
        step(second)
    assert second.iteration == 7 and equal(state_of(second), state_of(whole))


def test_a_state_from_before_the_first_step_can_be_resumed(tmp_path: Path) -> None:
    path, first, second = tmp_path / "state.safetensors", start(0), start(1)
    first.save(path, SETTINGS, NOTE)
    second.resume(path, SETTINGS, NOTE, ADAM)
    step(first)
    step(second)
    assert equal(state_of(first), state_of(second))


def test_only_what_requires_a_gradient_learns_and_is_averaged() -> None:
    training = start()
    before = state_of(training)
    step(training)
    names = {"1.weight", "1.bias", "2.weight", "2.bias"}
    assert set(training.learning) == set(training.average) == names
    after = training.network.state_dict()
    assert {name for name in after if not torch.equal(after[name], before[name])} == names


def test_each_group_learns_at_its_share_of_the_rate() -> None:
    """The first step of SGD is the rate times the gradient; one of no rate changes nothing."""
    training = start(memory=SGD)
    training.optimizer.param_groups[0]["factor"] = 0.0
    before = copy.deepcopy(training.network)
    step(training, rate=0.1)
    for name, parameter in training.learning.items():
        assert parameter.grad is not None
        share = 0.0 if name.startswith("1") else 0.2
        torch.testing.assert_close(parameter.detach(), before.get_parameter(name).detach() - share * parameter.grad)


def test_the_gradient_is_cut_to_its_largest_norm() -> None:
    loose, tight = start(memory=SGD), start(memory=SGD, clip=1e-3)
    before = copy.deepcopy(loose.network)
    for training in (loose, tight):
        step(training, rate=1.0)

    def moved(training: AveragedTraining) -> Tensor:
        changes = []
        for name, parameter in training.learning.items():
            factor = 1 if name.startswith("1") else 2
            changes.append((parameter.detach() - before.get_parameter(name).detach()).flatten() / factor)
        return torch.cat(changes)

    assert float(moved(loose).norm()) > 0.1
    torch.testing.assert_close(moved(tight), moved(loose) * 1e-3 / moved(loose).norm(), rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("averaging", [0.3, 0.9])
def test_the_result_is_the_running_average(averaging: float) -> None:
    training = start(averaging=averaging)
    expected = {name: one.detach().clone() for name, one in training.learning.items()}
    for iteration in range(1, 6):
        step(training)
        decay = min(averaging, (1 + iteration) / (10 + iteration))
        for name, one in training.learning.items():
            expected[name] = decay * expected[name] + (1 - decay) * one.detach()
    result = training.result()
    for name, tensor in training.network.state_dict().items():
        torch.testing.assert_close(result[name], expected.get(name, tensor))
    assert not torch.equal(result["2.weight"], training.network.state_dict()["2.weight"])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A state after one step."""
    training = start()
    step(training)
    training.save(tmp_path / "state.safetensors", SETTINGS, NOTE)
    return tmp_path / "state.safetensors"


def test_what_a_file_gives_back_as_a_list_is_the_same_setting(saved: Path) -> None:
    start().resume(saved, SETTINGS | {"mean": [104.0, 117.0]}, {"data": ("a", "b")}, ADAM)


@pytest.mark.parametrize(
    ("settings", "note", "message"),
    [
        (SETTINGS | {"rate": 0.2}, NOTE, "was made with rate = 0.1, this run has 0.2; repeat the old setting"),
        (SETTINGS, NOTE | {"data": ["a"]}, r"was made with data = \['a', 'b'\], this run has \['a'\]"),
        (SETTINGS, NOTE | {"images": 4}, "was made with images = None, this run has 4"),
    ],
)
def test_a_state_of_another_run_is_refused(
    saved: Path, settings: dict[str, Any], note: dict[str, Any], message: str
) -> None:
    training = start(seed=1)
    before = state_of(training)
    with pytest.raises(CheckpointError, match=message):
        training.resume(saved, settings, note, ADAM)
    assert equal(state_of(training), before) and training.iteration == 0


def without(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {key: one for key, one in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("exp_avg.2.bias"), "of another network: 1 tensors are missing or extra, first 'exp_avg.2.bias'"),
        (without("step.1.weight"), "missing or extra, first 'step.1.weight'"),
        (without("average.1.bias"), "missing or extra, first 'average.1.bias'"),
        (without("weight.0.bias"), "missing or extra, first 'weight.0.bias'"),
        (lambda tensors: tensors | {"step.2.bias": torch.ones(1)}, r"step.2.bias has shape \(1,\)"),
        (lambda tensors: tensors | {"exp_avg_sq.2.bias": torch.tensor([torch.nan])}, "exp_avg_sq.2.bias holds values"),
    ],
)
def test_a_state_that_lies_is_refused_and_changes_nothing(
    saved: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str
) -> None:
    good = read_checkpoint(saved, "training-state")
    write_checkpoint(saved, "training-state", good.description, change(dict(good.tensors)))
    training = start(seed=1)
    before = state_of(training)
    with pytest.raises(CheckpointError, match=message):
        training.resume(saved, SETTINGS, NOTE, ADAM)
    assert equal(state_of(training), before) and training.iteration == 0 and not training.optimizer.state


def test_the_state_of_another_optimizer_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="missing or extra"):
        start(memory=SGD).resume(saved, SETTINGS, NOTE, SGD)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_stops_the_run_and_leaves_the_weights(bad: float) -> None:
    training = start()
    step(training)
    before = state_of(training)
    last = training.learning["2.bias"]
    with pytest.raises(InceptionError, match=r"the loss is (nan|inf) at iteration 1; lower the learning rate"):
        training.update(last.sum() * bad, 0.1)
    handle = last.register_hook(lambda slope: slope * bad)
    with pytest.raises(InceptionError, match=r"the norm of the gradient is (nan|inf) at iteration 1"):
        step(training)
    handle.remove()
    assert equal(state_of(training), before) and training.iteration == 1
    step(training)
    assert training.iteration == 2


def test_the_rate_rises_straight_and_falls_along_half_a_cosine() -> None:
    rates = [cosine_rate(0.4, iteration, 100, 10) for iteration in range(100)]
    assert rates[0] == pytest.approx(0.04) and rates[50] == pytest.approx(0.2)
    assert rates[75] == pytest.approx(0.4 * (1 - 2**-0.5) / 2)
    assert np.argmax(rates) == 9 and (np.diff(rates[9:]) < 0).all() and 0 < rates[99] < 0.001
    assert cosine_rate(0.4, 0, 100, 0) == 0.4
