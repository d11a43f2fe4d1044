"""What a part of a network calls, written down; and that it is known by its content."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from inception_rcnn.backbones.runtimes.recording import Part, Port, Recording, Value, record
from inception_rcnn.structures import InputError


class Made(nn.Module):
    """A function of tensors as a module, with a weight to use."""

    def __init__(self, function: Callable[..., Tensor | Sequence[Tensor]], weight: float = 2.0) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.full((3,), weight))

    def forward(self, *inputs: Tensor) -> Tensor | Sequence[Tensor]:
        """Call it."""
        return self.function(self.weight, *inputs)


def part_of(function: Callable[..., Tensor | Sequence[Tensor]], outputs: int = 1, weight: float = 2.0) -> Part:
    """A part with one input (2, 3)."""
    return Part(
        name="part",
        module=Made(function, weight),
        example=(torch.arange(6.0).reshape(2, 3) - 2,),
        inputs=(Port("x", ("rows", None)),),
        outputs=tuple(Port(f"y{number}", ("rows", None)) for number in range(outputs)),
    )


def names(recording: Recording) -> list[str]:
    """What was called."""
    return [call.name for call in recording.calls]


def test_calls_stand_in_order_and_results_are_what_the_module_gives() -> None:
    part = part_of(lambda weight, x: functional.relu(x * weight) + 1.0)
    recording = record(part)
    assert names(recording) == ["mul", "relu", "add"]
    assert torch.equal(recording.results[0], torch.relu(part.example[0] * 2) + 1)
    product, ramp, total = recording.calls
    assert product.arguments[0] == recording.inputs[0] and isinstance(product.arguments[1], Tensor)
    assert ramp.arguments == product.results and total.arguments == (ramp.results[0], 1.0)
    assert recording.outputs == total.results


def test_what_is_made_of_weights_alone_is_a_constant() -> None:
    recording = record(part_of(lambda weight, x: x + torch.cat([weight[:1], weight[1:]]) * 3))
    assert names(recording) == ["add"]
    constant = recording.calls[0].arguments[1]
    assert torch.equal(constant, torch.full((3,), 6.0))


def test_an_operation_that_writes_into_its_argument_makes_a_new_value_of_it() -> None:
    def function(weight: Tensor, x: Tensor) -> Tensor:
        product = x * weight
        product.relu_()
        return product.add_(1.0)

    recording = record(part_of(function))
    assert names(recording) == ["mul", "relu", "add"]
    assert [call.arguments[0] for call in recording.calls[1:]] == [call.results[0] for call in recording.calls[:2]]


def test_the_example_is_not_written_over() -> None:
    part = part_of(lambda weight, x: x.relu_() * weight)
    before = part.example[0].clone()
    record(part)
    assert torch.equal(part.example[0], before)


def test_it_is_recorded_alike_within_inference_mode_and_with_its_tensors() -> None:
    part = part_of(lambda weight, x: functional.linear(x, weight.expand(3, 3), weight))
    expected = names(record(part))
    with torch.inference_mode():
        assert names(record(part)) == expected
        made_inside = replace(part, example=(part.example[0].clone(),))
    assert names(record(made_inside)) == expected == ["addmm"]


def test_several_outputs_and_values_of_their_length() -> None:
    recording = record(part_of(lambda weight, x: torch.split(x, [1, 2], dim=1), outputs=2))
    assert recording.outputs == recording.calls[0].results == (Value(1, 2), Value(2, 2))


@pytest.mark.parametrize("outputs", [0, 2])
def test_another_number_of_outputs_than_named_is_refused(outputs: int) -> None:
    with pytest.raises(InputError, match=f"part names 1 inputs and {outputs} outputs, and has 1 and 1"):
        record(part_of(lambda weight, x: x * weight, outputs))


def test_keywords_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"add.* was called with alpha"):
        record(part_of(lambda weight, x: torch.add(x, weight, alpha=2)))


def test_threads_are_as_before_even_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with pytest.raises(InputError):
        record(part_of(lambda weight, x: torch.add(x, weight, alpha=2)))
    assert counts == [1, 7]


def test_threads_are_as_before_when_two_record_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, both, first_is_over = [7], threading.Barrier(2), threading.Event()
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: counts[-1])

    def compute(weight: Tensor, x: Tensor) -> Tensor:
        with suppress(threading.BrokenBarrierError):  # the other one has to wait until this one is over
            both.wait(0.2)
        return x * weight

    def begun_second(weight: Tensor, x: Tensor) -> Tensor:
        found = compute(weight, x)
        first_is_over.wait(1)
        return found

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(record, part_of(compute))
        first.add_done_callback(lambda _: first_is_over.set())
        pool.submit(record, part_of(begun_second)).result()
    assert counts[-1] == 7


def test_the_checksum_is_of_weights_operations_and_names_alone() -> None:
    part = part_of(lambda weight, x: x * weight)
    same = part_of(lambda weight, x: x * weight)
    others = (
        part_of(lambda weight, x: x * weight, weight=2.0000002),
        part_of(lambda weight, x: x + weight),
        part_of(lambda weight, x: x * weight * 1.0),
        replace(part, name="other"),
        replace(part, inputs=(Port("z", ("rows", None)),)),
        replace(part, outputs=(Port("y0", (None, None)),)),
        replace(part, ranges=((0.0, 1.0),)),
    )
    checksums = [record(one).checksum() for one in (part, *others)]
    assert record(same).checksum() == record(part).checksum() == checksums[0]
    assert len(set(checksums)) == len(checksums)
