"""The training step: what learns, what stays, what is resumed to the bit, and what stops it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones import STAGES, GoogLeNet, InputSpec, read_checkpoint, write_checkpoint
from inception_rcnn.backbones.training.loop import TrainingRun
from inception_rcnn.detector import Runtime, warp_regions
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.detector.training.warped.step import FineTuning
from inception_rcnn.structures import CheckpointError, InceptionError, InputError

LABELS = np.array([0, 1, 2, 3, 3, 3], dtype=np.int64)
RUN = TrainingRun(settings={"learning_rate": 0.01}, class_names=("cat", "cup", "person"))


@pytest.fixture(scope="module")
def crops(photograph: NDArray[np.uint8], boxes: NDArray[np.float32], spec: InputSpec) -> NDArray[np.uint8]:
    """Six regions, one for each of LABELS."""
    return warp_regions(photograph, boxes[:6], spec)


@pytest.fixture
def settings() -> TrainingSettings:
    """A few iterations on the last module."""
    return TrainingSettings(iterations=20, learning_rate=0.01, warm_up=2, train_from="5b", averaging=0.9)


@pytest.fixture
def start(
    make_network: Callable[[int], GoogLeNet], spec: InputSpec, settings: TrainingSettings, cpu: Runtime
) -> Callable[..., FineTuning]:
    """Starts fine-tuning the network of a seed, with some settings changed."""

    def begin(seed: int = 1, **changes: Any) -> FineTuning:
        return FineTuning(make_network(seed), spec, replace(settings, **changes), cpu)

    return begin


def state_of(tuning: FineTuning) -> dict[str, Tensor]:
    """Weights and averages, copied."""
    weights = {name: tensor.clone() for name, tensor in tuning.network.state_dict().items()}
    return weights | {f"average.{name}": tensor.clone() for name, tensor in tuning.averaged.average.items()}


def equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    """Whether two states are the same to the bit."""
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def plain_crops() -> NDArray[np.uint8]:
    """Six regions of one colour each."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128)]
    return np.array(colours, np.uint8)[:, None, None].repeat(32, axis=1).repeat(32, axis=2)


def losses_of(settings: TrainingSettings, spec: InputSpec, runtime: Runtime) -> tuple[list[float], FineTuning]:
    """The losses of a fresh network on one batch seen again and again, without dropout's noise."""
    torch.manual_seed(1)
    tuning = FineTuning(GoogLeNet(4), spec, settings, runtime)
    tuning.network.dropout.p = 0.0
    return [tuning.step(plain_crops(), LABELS) for _ in range(settings.iterations)], tuning


@pytest.mark.parametrize(("train_from", "share"), [("5b", 0.7), ("conv1", 0.1)])
def test_the_loss_falls_on_a_batch_seen_again_and_again(
    settings: TrainingSettings, spec: InputSpec, cpu: Runtime, train_from: str, share: float
) -> None:
    losses, tuning = losses_of(replace(settings, learning_rate=0.005, train_from=train_from), spec, cpu)
    assert tuning.averaged.iteration == 20 and losses[-1] < share * losses[0] < share * 2


def test_frozen_stages_stay_and_the_others_learn(start: Callable[..., FineTuning], crops: NDArray[np.uint8]) -> None:
    tuning = start(train_from="5a")
    before = state_of(tuning)
    tuning.step(crops, LABELS)
    after = tuning.network.state_dict()
    learning = {name for name in after if name.startswith(("inception_5a.", "inception_5b.", "classifier."))}
    assert set(tuning.averaged.learning) == learning and len(learning) == 26
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) is (name not in learning), name


@pytest.mark.parametrize(
    ("train_from", "frozen"),
    [("conv1", ()), ("conv2", ("conv1.",)), ("3a", ("conv1.", "conv2.", "conv2_reduce."))],
)
def test_the_depth_of_freezing(start: Callable[..., FineTuning], train_from: str, frozen: tuple[str, ...]) -> None:
    tuning = start(train_from=train_from)
    names = set(tuning.network.state_dict())
    assert set(tuning.averaged.learning) == {name for name in names if not name.startswith(frozen)} if frozen else names
    required = {name for name, parameter in tuning.network.named_parameters() if parameter.requires_grad}
    assert required == set(tuning.averaged.learning)


def test_auxiliary_heads_do_not_learn(spec: InputSpec, settings: TrainingSettings, cpu: Runtime) -> None:
    with torch.device("meta"):
        network = GoogLeNet(4, aux_heads=True)
    tuning = FineTuning(
        network, spec, replace(settings, train_from=STAGES[0]), replace(cpu, device=torch.device("meta"))
    )
    assert len(tuning.averaged.learning) == 116 and not [
        name for name in tuning.averaged.learning if name.startswith("aux")
    ]


def test_training_everything_reaches_the_first_layer(
    start: Callable[..., FineTuning], crops: NDArray[np.uint8]
) -> None:
    tuning = start(train_from="conv1")
    before = state_of(tuning)
    tuning.step(crops, LABELS)
    moved = {
        name for name in tuning.averaged.learning if not torch.equal(tuning.network.state_dict()[name], before[name])
    }
    assert moved == set(tuning.averaged.learning)


def test_a_step_is_sgd_as_caffe_does_it(start: Callable[..., FineTuning], crops: NDArray[np.uint8]) -> None:
    tuning = start(learning_rate=4.0, warm_up=4, weight_decay=0.1, new_layer_factor=3.0, clip=0.5, momentum=0.0)
    tuning.network.dropout.p = 0.0
    reference = copy.deepcopy(tuning.network).eval()
    pixels = torch.from_numpy(crops)
    functional.cross_entropy(reference(tuning.spec.apply(pixels)), torch.from_numpy(LABELS)).backward()
    gradients = {
        name: parameter.grad for name, parameter in reference.named_parameters() if name in tuning.averaged.learning
    }
    norm = sum(float(gradient.square().sum()) for gradient in gradients.values()) ** 0.5
    assert norm > 0.5
    tuning.step(crops, LABELS)
    for name, parameter in tuning.network.named_parameters():
        if name not in tuning.averaged.learning:
            continue
        old, slope = reference.get_parameter(name).detach(), gradients[name] * (0.5 / norm)
        rate = 3.0 if name.startswith("classifier") else 1.0  # 4, at a quarter of the warm-up
        change = -2 * rate * slope if name.endswith("bias") else -rate * (slope + 0.1 * old)
        found = parameter.detach() - old
        assert float((found - change).abs().max()) < 0.01 * float(change.abs().max()), name


def test_the_learning_rate_rises_and_falls() -> None:
    settings = TrainingSettings(iterations=100, learning_rate=0.4, warm_up=10)
    assert settings.rate_at(0) == pytest.approx(0.04)
    assert settings.rate_at(4) == pytest.approx(0.4 * 0.5 * (1 + np.cos(np.pi * 0.04)) / 2)
    assert settings.rate_at(50) == pytest.approx(0.2)
    assert settings.rate_at(75) == pytest.approx(0.4 * (1 - 2**-0.5) / 2)
    assert 0 < settings.rate_at(99) < 0.001
    assert TrainingSettings(learning_rate=0.4, warm_up=0).rate_at(0) == 0.4


def test_the_paper_s_rate_falls_by_4_percent_every_8_passes() -> None:
    settings = TrainingSettings(learning_rate=0.5, warm_up=4, schedule="paper-step", iterations=10)
    rates = [settings.rate_at(iteration, batches_per_pass=3) for iteration in range(72)]
    assert rates[:4] == [0.125, 0.25, 0.375, 0.5]
    assert rates[4:24] == [0.5] * 20  # whatever the number of iterations
    assert rates[24:] == pytest.approx([0.5 * 0.96] * 24 + [0.5 * 0.96**2] * 24)


def test_the_result_is_the_running_average(start: Callable[..., FineTuning], crops: NDArray[np.uint8]) -> None:
    tuning = start(averaging=0.3)
    learning = tuning.averaged.learning
    expected = {name: parameter.detach().clone() for name, parameter in learning.items()}
    for iteration in range(1, 6):
        tuning.step(crops, LABELS)
        decay = min(0.3, (1 + iteration) / (10 + iteration))
        expected = {name: decay * mean + (1 - decay) * learning[name].detach() for name, mean in expected.items()}
    result = tuning.averaged.result()
    for name, tensor in tuning.network.state_dict().items():
        torch.testing.assert_close(result[name], expected.get(name, tensor))
    assert not torch.equal(result["classifier.weight"], tuning.network.state_dict()["classifier.weight"])


def test_without_averaging_the_last_weights_are_the_result(
    start: Callable[..., FineTuning], crops: NDArray[np.uint8]
) -> None:
    tuning = start(averaging=0.0)
    for _ in range(3):
        tuning.step(crops, LABELS)
    assert equal(tuning.averaged.result(), dict(tuning.network.state_dict()))


def test_a_resumed_run_ends_where_the_uninterrupted_one_does(
    start: Callable[..., FineTuning], crops: NDArray[np.uint8], tmp_path: Path
) -> None:
    path, batches = tmp_path / "state.safetensors", [np.roll(crops, number, axis=0) for number in range(5)]
    whole, first = start(train_from="5a"), start(train_from="5a")
    for batch in batches:
        whole.step(batch, LABELS)
    for batch in batches[:2]:
        first.step(batch, LABELS)
    first.averaged.save(path, RUN)
    torch.manual_seed(12345)  # whatever happened to torch's generator in between
    second = start(seed=2, train_from="5a")  # other weights: all of them must come from the file
    second.averaged.resume(path, RUN)
    assert second.averaged.iteration == 2 and equal(state_of(second), state_of(first))
    for batch in batches[2:]:
        second.step(batch, LABELS)
    assert equal(state_of(second), state_of(whole)) and second.averaged.iteration == whole.averaged.iteration


def test_a_state_from_before_the_first_step_can_be_resumed(start: Callable[..., FineTuning], tmp_path: Path) -> None:
    path, first, second = tmp_path / "state.safetensors", start(1), start(2)
    first.averaged.save(path, RUN)
    second.averaged.resume(path, RUN)
    assert second.averaged.iteration == 0 and equal(state_of(first), state_of(second))


@pytest.fixture
def saved(start: Callable[..., FineTuning], crops: NDArray[np.uint8], tmp_path: Path) -> Path:
    """A state after one step."""
    tuning = start()
    tuning.step(crops, LABELS)
    tuning.averaged.save(tmp_path / "state.safetensors", RUN)
    return tmp_path / "state.safetensors"


def rewritten(path: Path, description: dict[str, Any] | None = None, **tensors: Tensor | None) -> None:
    """Writes the state anew with fields of its description and tensors replaced, or (None) left out."""
    old = read_checkpoint(path, "training-state")
    fields = {name: value for name, value in (old.description | (description or {})).items() if value is not None}
    kept = {name: tensor for name, tensor in (old.tensors | tensors).items() if tensor is not None}
    write_checkpoint(path, "training-state", fields, kept)


@pytest.mark.parametrize(
    ("description", "tensors", "message"),
    [
        ({"iteration": None}, {}, "lacks 'iteration', a whole number"),
        ({"iteration": True}, {}, "lacks 'iteration', a whole number"),
        ({"run": None}, {}, "does not say what it was made from"),
        (
            {},
            {"weight.conv1.bias": None},
            "of another network: 1 tensors are missing or extra, first 'weight.conv1.bias'",
        ),
        ({}, {"average.classifier.bias": None}, "missing or extra, first 'average.classifier.bias'"),
        ({}, {"momentum_buffer.classifier.bias": None}, "missing or extra, first 'momentum_buffer.classifier.bias'"),
        ({}, {"velocity.x": torch.zeros(1)}, "missing or extra, first 'velocity.x'"),
        ({}, {"weight.classifier.bias": torch.zeros(5)}, r"weight.classifier.bias has shape \(5,\)"),
        (
            {},
            {"momentum_buffer.classifier.bias": torch.full((4,), torch.nan)},
            "momentum_buffer.classifier.bias holds values",
        ),
    ],
)
def test_a_state_that_lies_is_refused_and_changes_nothing(
    start: Callable[..., FineTuning],
    saved: Path,
    description: dict[str, Any],
    tensors: dict[str, Tensor | None],
    message: str,
) -> None:
    rewritten(saved, description, **tensors)
    tuning = start(seed=2)
    before = state_of(tuning)
    with pytest.raises(CheckpointError, match=message):
        tuning.averaged.resume(saved, RUN)
    assert equal(state_of(tuning), before) and tuning.averaged.iteration == 0


def test_a_damaged_state_or_another_kind_of_file_is_refused(start: Callable[..., FineTuning], saved: Path) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])
    with pytest.raises(CheckpointError, match="is damaged"):
        start().averaged.resume(saved, RUN)
    write_checkpoint(saved, "googlenet", {}, {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="kind 'googlenet'; 'training-state' is needed"):
        start().averaged.resume(saved, RUN)


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_weights(
    start: Callable[..., FineTuning], crops: NDArray[np.uint8]
) -> None:
    tuning = start()
    tuning.step(crops, LABELS)
    with torch.no_grad():
        tuning.network.get_parameter("conv1.bias").fill_(1e38)  # overflows on the way
    before = state_of(tuning)
    with pytest.raises(InceptionError, match=r"the loss is (nan|inf) at iteration 1; lower the learning rate"):
        tuning.step(crops, LABELS)
    assert equal(state_of(tuning), before) and tuning.averaged.iteration == 1


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_a_gradient_that_is_not_finite_stops_the_run_and_leaves_the_weights(
    start: Callable[..., FineTuning], crops: NDArray[np.uint8], bad: float
) -> None:
    tuning = start()
    tuning.step(crops, LABELS)
    before = state_of(tuning)
    handle = tuning.network.get_parameter("classifier.bias").register_hook(lambda slope: torch.full_like(slope, bad))
    with pytest.raises(InceptionError, match=r"the norm of the gradient is (nan|inf) at iteration 1"):
        tuning.step(crops, LABELS)
    assert equal(state_of(tuning), before) and tuning.averaged.iteration == 1
    handle.remove()
    assert np.isfinite(tuning.step(crops, LABELS))  # and it can go on


def test_dropout_is_of_seed_and_iteration_and_leaves_the_caller_s_generator_alone(
    start: Callable[..., FineTuning], crops: NDArray[np.uint8]
) -> None:
    losses = []
    for _ in range(2):
        tuning = start()  # the same weights
        torch.manual_seed(11)
        before = torch.get_rng_state()
        losses.append([tuning.step(crops, LABELS), tuning.step(crops, LABELS)])
        assert torch.equal(torch.get_rng_state(), before)
    assert losses[0] == losses[1]
    first = start()
    other = FineTuning(first.network, first.spec, replace(first.settings, seed=5), first.runtime)
    assert other.step(crops, LABELS) != losses[0][0]


def test_products_in_bfloat16_leave_the_weights_in_float32(settings: TrainingSettings, spec: InputSpec) -> None:
    runtime = Runtime(torch.device("cpu"), torch.bfloat16, 4)
    losses, tuning = losses_of(replace(settings, learning_rate=0.005, train_from="conv1"), spec, runtime)
    assert losses[-1] < 0.1 * losses[0]
    assert {tensor.dtype for tensor in tuning.averaged.result().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_from": "6a"}, "unknown stage '6a'"),
        ({"iterations": 0}, "iterations should be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate should be positive and finite, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate should be positive and finite"),
        ({"clip": float("inf")}, "clip should be positive and finite"),
        ({"weight_decay": -1e-4}, "weight_decay should be 0 or more"),
        ({"new_layer_factor": -1.0}, "new_layer_factor should be 0 or more"),
        ({"warm_up": -1}, "warm_up should be 0 or more"),
        ({"seed": -1}, "seed should be 0 or more"),
        ({"momentum": 1.0}, "momentum should be at least 0 and less than 1, got 1.0"),
        ({"averaging": 1.0}, "averaging should be at least 0 and less than 1, got 1.0"),
        ({"averaging": -0.1}, "averaging should be at least 0"),
        ({"schedule": "step"}, "unknown schedule 'step'; known are cosine, paper-step"),
        ({"hard_examples": 0}, "hard_examples should be at least 1, got 0"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingSettings(**changes)


def test_a_region_that_may_show_an_unknown_class_learns_from_the_sum_of_their_probabilities(
    start: Callable[..., FineTuning], crops: NDArray[np.uint8]
) -> None:
    unknown = np.zeros((6, 4), np.bool_)
    unknown[3:5, 1] = True  # of the background, the last one is known to be none of the classes
    unknown[0, 2] = True  # an object is what it is
    tuning = start()
    tuning.network.dropout.p = 0.0
    with torch.no_grad():
        log = tuning.network.eval()(tuning.spec.apply(torch.from_numpy(crops))).log_softmax(dim=1)
    expected = -log[torch.arange(6), torch.from_numpy(LABELS)]
    expected[3:5] = -(log[3:5, 1].exp() + log[3:5, 3].exp()).log()
    assert tuning.step(crops, LABELS, unknown) == pytest.approx(float(expected.mean()), rel=1e-4)
    alone = start(hard_examples=2)
    alone.network.dropout.p = 0.0
    assert alone.step(crops, LABELS, unknown) == pytest.approx(float(expected.topk(2).values.mean()), rel=1e-4)


def test_stages_are_frozen_by_name_and_something_has_to_learn(start: Callable[..., FineTuning]) -> None:
    learning = {name.split(".")[0] for name in start(train_from="4e", frozen=("5a",)).averaged.learning}
    assert learning == {"inception_4e", "inception_5b", "classifier"}
    with pytest.raises(InputError, match=r"there is no stage 'lateral' to freeze; known are conv1, conv2, 3a"):
        start(frozen=("lateral",))
    with pytest.raises(InputError, match="all stages and layers are frozen, so that nothing would learn"):
        start(train_from="5b", frozen=("5b", "classifier"))
