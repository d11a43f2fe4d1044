"""A network's part, run once, and what it called written down: what other runtimes than torch are given.

The networks here take the same way whatever their input shows, and are made of some twenty operations. Written down
they can be translated (`onnx_graph.py`), and known by their content: operations and weights.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from inception_rcnn.structures import InputError

# Lowest and highest of what each convolution with a bias reads, in the order of the calls. Those without a bias (the
# sums of the response normalisation) stay in floating point.
Ranges = tuple[tuple[float, float], ...]
# The number of torch's threads is the process's: of two that record at a time one would take the other's 1 for it.
_RECORDING = threading.Lock()


@dataclass(frozen=True)
class Port:
    """An input or an output of a part.

    Args:
        name: By which other runtimes know it.
        axes: A name for each dimension that may have any length; None for those that stay as in the example.
    """

    name: str
    axes: tuple[str | None, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """A network, or a piece of one, that can be computed by something else than torch.

    Args:
        name: Such as "trunk"; files are called so.
        module: In float32, on the CPU, in evaluation mode. It takes and returns tensors, and its way does not depend
            on their values.
        example: Inputs to run it once with.
        inputs: One for each of them.
        outputs: One for each tensor that it returns.
        ranges: Of what its convolutions read, to make them in int8; None: they are made in floating point.
    """

    name: str
    module: nn.Module
    example: tuple[Tensor, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    ranges: Ranges | None = None


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the inputs, by number, and how long it is.

    Attributes:
        number: Its own.
        length: Of its first dimension, in the example.
    """

    number: int
    length: int


@dataclass(frozen=True, eq=False)
class Call:
    """One operation as it was called.

    Attributes:
        name: torch's, without the underscore of those that write into their argument.
        arguments: As given; a tensor that depends on the inputs is a `Value`, any other a constant.
        results: What it returned.
    """

    name: str
    arguments: tuple[Any, ...]
    results: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Recording:
    """What a part did with its example.

    Attributes:
        part: Which was run.
        calls: What it called, in order.
        inputs: One for each input.
        outputs: One for each output.
        results: The outputs for the example.
    """

    part: Part
    calls: tuple[Call, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value | Tensor, ...]
    results: tuple[Tensor, ...]

    def checksum(self) -> str:
        """Return the SHA-256 of all that decides what the part computes: operations, their arguments, weights."""
        digest = hashlib.sha256()
        part = self.part
        fixed = [
            [size if axis is None else axis for size, axis in zip(one.shape, port.axes, strict=True)]
            for one, port in zip(part.example, part.inputs, strict=True)
        ]
        digest.update(repr((part.name, part.inputs, fixed, part.outputs, part.ranges, self.inputs)).encode())
        for call in self.calls:
            digest.update(f"{call.name} {call.results}\0".encode())
            _add(digest, call.arguments)
        _add(digest, self.outputs)
        return digest.hexdigest()


def record(part: Part) -> Recording:
    """Return what a part calls.

    Raises:
        InputError: It has another number of inputs or outputs than it names.
    """
    # In inference mode torch shows other operations; the example is kept from those that write into it.
    with _one_thread(), torch.inference_mode(False), torch.no_grad():
        example = [one.clone() for one in part.example]
        recorder = _Recorder(example)
        with recorder:
            results = tuple(flat(part.module(*example)))
    if len(part.example) != len(part.inputs) or len(results) != len(part.outputs):
        raise InputError(
            f"{part.name} names {len(part.inputs)} inputs and {len(part.outputs)} outputs, "
            f"and has {len(part.example)} and {len(results)}"
        )
    return Recording(part, tuple(recorder.calls), recorder.inputs, recorder.replaced(results), results)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute on one thread: on so small an input several wait for each other longer than they work."""
    with _RECORDING:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operation that depends on the inputs; what is made of constants alone is a constant."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self._count = 0
        # By the tensor's id; the tensors are kept, or another one could be given the id.
        self._known: dict[int, tuple[Tensor, Value]] = {}
        self.inputs = tuple(self._name(one) for one in inputs)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and write it down."""
        arguments = self.replaced(args)
        results = func(*args, **(kwargs or {}))
        if any(isinstance(one, Value) for one in flat(arguments)):
            name = str(func._schema.name).removeprefix("aten::")
            if kwargs:
                raise InputError(f"torch's operation {name} was called with {', '.join(kwargs)}, which is not recorded")
            made = [one for one in flat(results) if isinstance(one, Tensor)]
            self.calls.append(Call(name.rstrip("_"), arguments, tuple(self._name(one) for one in made)))
        return results

    def replaced(self, argument: Any) -> Any:
        """Return an argument, or many, with values in place of the tensors that depend on the inputs."""
        if isinstance(argument, list | tuple):
            return tuple(self.replaced(one) for one in argument)
        known = self._known.get(id(argument)) if isinstance(argument, Tensor) else None
        return argument if known is None else known[1]

    def _name(self, tensor: Tensor) -> Value:
        # An operation that writes into its argument returns it: from then on the tensor stands for the new value.
        value = Value(self._count, len(tensor))
        self._count += 1
        self._known[id(tensor)] = (tensor, value)
        return value


def flat(values: Any) -> list[Any]:
    """Return what is in lists and tuples within each other, in order."""
    if isinstance(values, list | tuple):
        return [one for each in values for one in flat(each)]
    return [values]


def _add(digest: Any, values: Any) -> None:
    for one in flat(values):
        if isinstance(one, Tensor):
            array = one.detach().contiguous().numpy()
            digest.update(f"{array.dtype.str} {array.shape}\0".encode())
            digest.update(array.data)
        else:
            digest.update(f"{one!r}\0".encode())
    digest.update(b"\0")
