"""The step every training takes, with AdamW and with momentum: rates, average, and going on to the bit."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inception_rcnn.backbones import read_checkpoint, write_checkpoint
from inception_rcnn.backbones.training.loop import AveragedTraining, TrainingRun, cosine_rate, run_training, seeded
from inception_rcnn.structures import CheckpointError, InceptionError

ADAM, SGD = ("step", "exp_avg", "exp_avg_sq"), ("momentum_buffer",)
RUN = TrainingRun(
    settings={"rate": 0.1, "mean": (104.0, 117.0), "layers": {"last": 1}},
    class_names=("cat", "dog"),
    checksums={"photographs": "a1", "pre-trained weights (--pretrained)": "b2"},
)


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
    return AveragedTraining(network, optimizer, memory=memory, averaging=averaging, clip=clip)


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
    first.save(path, RUN)
    second = start(seed=9, memory=memory)
    second.resume(path, RUN)
    assert second.iteration == 3 and equal(state_of(second), state_of(first))
    for _ in range(4):
        step(second)
    assert second.iteration == 7 and equal(state_of(second), state_of(whole))


def test_a_state_from_before_the_first_step_can_be_resumed(tmp_path: Path) -> None:
    path, first, second = tmp_path / "state.safetensors", start(0), start(1)
    first.save(path, RUN)
    second.resume(path, RUN)
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
    training.save(tmp_path / "state.safetensors", RUN)
    return tmp_path / "state.safetensors"


def test_what_a_file_gives_back_as_a_list_is_the_same_setting(saved: Path) -> None:
    start().resume(saved, replace(RUN, settings={**RUN.settings, "mean": [104.0, 117.0]}))


def test_what_is_not_known_yet_is_not_compared(saved: Path) -> None:
    """The proposals, for one, are computed after the first look at the state."""
    replace(RUN, checksums={"photographs": "a1"}).check_state(saved)
    replace(RUN, checksums={"photographs": "a1"}, class_names=RUN.class_names).check_state(saved.with_name("absent"))


NAMES = tuple("abcdefghij")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"settings": {**RUN.settings, "rate": 0.2}},
            "was made with rate = 0.1, this run has 0.2; repeat the old",
        ),
        (
            {"settings": {**RUN.settings, "layers": {"last": 2}}},
            "made with layers = {'last': 1}, this run has {'last'",
        ),
        ({"settings": {**RUN.settings, "images": 4}}, "was made with images = None, this run has 4"),
        (
            {"checksums": {"photographs": "a1", "pre-trained weights (--pretrained)": "c3"}},
            r"the pre-trained weights \(--pretrained\) have changed since it was made; .* name another output folder",
        ),
        ({"checksums": {"photographs": "b2"}}, "the photographs have changed since it was made"),
        ({"checksums": {"proposals": "a1"}}, "the proposals have changed since it was made"),
        ({"class_names": ("dog", "cat")}, "other classes: they were cat, dog; now dog, cat; name another output"),
        ({"class_names": ("cat", "cup")}, "other classes: they were dog; now cup; name another output folder"),
        ({"class_names": ("cat", "dog", "flag")}, r"2 classes, the data set has 3 \(new: flag\); name another output"),
        ({"class_names": ("cup",)}, r"2 classes, the data set has 1 \(new: cup; gone: cat, dog\)"),
    ],
)
def test_a_state_of_another_run_is_refused(saved: Path, changes: dict[str, Any], message: str) -> None:
    training, other = start(seed=1), replace(RUN, **changes)
    before = state_of(training)
    for refuse in (lambda: other.check_state(saved), lambda: training.resume(saved, other)):
        with pytest.raises(CheckpointError, match=message):
            refuse()
    assert equal(state_of(training), before) and training.iteration == 0


def test_other_classes_are_named_before_all_that_follows_from_them(saved: Path) -> None:
    """With a class more, annotations and settings differ as well, and the tensors have other shapes."""
    other = TrainingRun(settings={"rate": 1}, class_names=("cat", "dog", "flag"), checksums={"photographs": "z"})
    with pytest.raises(CheckpointError, match="new: flag"):
        other.check_state(saved)


def test_of_many_classes_the_first_that_differ_are_named(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    start().save(path, replace(RUN, class_names=NAMES))
    swapped = (*NAMES[:6], "h", "g", *NAMES[8:])
    with pytest.raises(CheckpointError, match=r"\(from class 6 on\): they were g, h, i, j; now h, g, i, j;"):
        replace(RUN, class_names=swapped).check_state(path)


@pytest.mark.parametrize("description", [{"settings": {}, "note": {}}, {"run": []}, {"run": {"settings": {}}}])
def test_a_state_that_does_not_say_what_it_is_from_is_refused(saved: Path, description: dict[str, Any]) -> None:
    good = read_checkpoint(saved, "training-state")
    write_checkpoint(saved, "training-state", {"iteration": 1, **description}, good.tensors)
    with pytest.raises(CheckpointError, match="does not say what it was made from, as states of older versions"):
        start().resume(saved, RUN)


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
        training.resume(saved, RUN)
    assert equal(state_of(training), before) and training.iteration == 0 and not training.optimizer.state


def test_the_state_of_another_optimizer_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="missing or extra"):
        start(memory=SGD).resume(saved, RUN)


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


# --- the loop


def draw(number: int) -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(number))


def run_to(end: int, path: Path, training: AveragedTraining, **options: Any) -> None:
    def one_step(batch: Tensor) -> dict[str, float]:
        return {"loss": training.update((training.network(batch) - 1).square().mean(), 0.05)}

    given = {"draw": draw, "step": one_step, "run": RUN, "save_every": 3, "title": "test", "quiet": True} | options
    run_training(training, state=path, iterations=end, **given)


def test_the_loop_ends_where_steps_by_hand_do_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    path, by_hand, whole, killed = tmp_path / "killed.safetensors", start(), start(), start()
    for _ in range(7):
        step(by_hand)
    run_to(7, tmp_path / "whole.safetensors", whole)
    assert equal(state_of(whole), state_of(by_hand)) and whole.iteration == 7

    def kill(iteration: int) -> dict[str, float]:
        if iteration == 5:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        run_to(7, path, killed, after_step=kill)
    assert read_checkpoint(path, "training-state").description["iteration"] == 3
    resumed = start(seed=9)
    run_to(7, path, resumed)
    assert equal(state_of(resumed), state_of(whole))
    assert path.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_each_batch_is_drawn_once_and_ahead_of_the_step(tmp_path: Path) -> None:
    events: list[str] = []
    ahead = threading.Event()

    def watched(number: int) -> Tensor:
        events.append(f"draw {number}")
        if number == 1:
            ahead.set()
        return draw(number)

    def stepped(batch: Tensor) -> dict[str, float]:
        assert ahead.wait(10)  # the second batch is drawn before the first step ends
        training.update((training.network(batch) - 1).square().mean(), 0.05)
        return {}

    training = start()
    run_to(4, tmp_path / "state.safetensors", training, draw=watched, step=stepped)
    assert events == [f"draw {number}" for number in range(4)]
    run_to(4, tmp_path / "state.safetensors", start())
    assert len(events) == 4  # a finished run draws nothing


def test_a_batch_that_cannot_be_drawn_ends_the_run_with_its_error(tmp_path: Path) -> None:
    def fail(number: int) -> Tensor:
        if number == 2:
            raise InceptionError("the photograph is damaged")
        return draw(number)

    training = start()
    with pytest.raises(InceptionError, match="the photograph is damaged"):
        run_to(4, tmp_path / "state.safetensors", training, draw=fail)
    assert training.iteration in (1, 2)


def test_the_state_is_saved_every_so_often_and_at_the_end_after_the_look_at_it(tmp_path: Path) -> None:
    path, seen = tmp_path / "state.safetensors", []

    def look(iteration: int) -> dict[str, float]:
        saved = read_checkpoint(path, "training-state").description["iteration"] if path.exists() else 0
        seen.append((iteration, saved))
        return {"coverage": 0.5}

    run_to(5, path, start(), after_step=look, save_every=2)
    assert seen == [(1, 0), (2, 0), (3, 2), (4, 2), (5, 4)]
    assert read_checkpoint(path, "training-state").description["iteration"] == 5


def test_the_loop_refuses_the_state_of_another_run(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    run_to(2, path, start())
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="the photographs have changed"):
        run_to(2, path, start(), run=replace(RUN, checksums={"photographs": "other"}))
    assert path.read_bytes() == before


def test_the_progress_shows_means_of_the_last_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inception_rcnn.structures.progress._SECONDS_BETWEEN_LINES", 0.0)
    losses = iter([1.0, 2.0, 6.0])
    training = start()

    def stepped(batch: Tensor) -> dict[str, float]:
        training.update((training.network(batch) - 1).square().mean(), 0.05)
        return {"loss": next(losses)}

    run_to(3, tmp_path / "state.safetensors", training, step=stepped, quiet=False)
    assert "3/3" in (printed := capsys.readouterr().err) and "loss 3.000  batches/s" in printed


def test_seeded_numbers_are_of_the_seed_alone_and_leave_the_generator_as_it_was() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = torch.rand(2)
    with seeded(7, torch.device("cpu")):
        inside = torch.rand(3)
    assert torch.equal(torch.cat([first, torch.rand(2)]), expected)
    with seeded(7, torch.device("cpu")):
        assert torch.equal(torch.rand(3), inside)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(3), inside)
