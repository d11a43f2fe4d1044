"""A training by several processes that torchrun started: each takes its part of every batch, and all stay one network.

batch of an iteration, the same in every process --part--> own photographs or regions --loss over the number of regions
in the whole batch--> gradients --added up over the processes--> the same step in every process

PyTorch's own process groups: gloo between CPUs, NCCL between GPUs. The gradients travel in one piece, once an
iteration; DistributedDataParallel would take the mean of means over parts that may differ in size. Only the first
process writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, distributed, nn

from inception_rcnn.structures import InputError
from inception_rcnn.structures.jobs import Share

Value = TypeVar("Value")
# The first process may make proposals for hours while the others wait; of one that dies, torchrun ends the others.
_PATIENCE: Final = timedelta(days=7)


@dataclass(frozen=True)
class Part:
    """Which of a batch's items a process has: so many from one on.

    Args:
        first: Number of the first one.
        count: How many.
        total: How many the whole batch has.
    """

    first: int
    count: int
    total: int

    @property
    def rows(self) -> slice:
        """Where they are in the whole batch."""
        return slice(self.first, self.first + self.count)

    def times(self, each: int) -> Part:
        """Return the part of what these items have so many of each, such as the regions of photographs."""
        return Part(self.first * each, self.count * each, self.total * each)


class Team:
    """The processes of a training; one alone is a team too, whose methods do nothing.

    Args:
        share: Which of how many this is. Several have to `join` each other first.
    """

    def __init__(self, share: Share | None = None) -> None:
        self.share = share or Share()

    @classmethod
    @contextmanager
    def joined(cls, share: Share, device: torch.device) -> Iterator[Team]:
        """Join the other processes for the time of a `with` statement.

        Args:
            share: From torchrun's environment.
            device: Of this process.
        """
        if share.processes > 1:
            if device.type == "cuda":
                torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            distributed.init_process_group(backend, timeout=_PATIENCE)
        try:
            yield cls(share)
        finally:
            if share.processes > 1:
                distributed.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.share.leads

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.share.processes == 1

    def part(self, total: int, what: str) -> Part:
        """Return which items of a batch this process takes.

        Args:
            total: How many there are.
            what: They are, for the error.

        Raises:
            InputError: There are fewer items than processes.
        """
        rank, processes = self.share.rank, self.share.processes
        if total < processes:
            raise InputError(
                f"a batch of {total} {what} cannot be shared by {processes} processes; ask for {processes} or more"
            )
        first = total * rank // processes
        return Part(first, total * (rank + 1) // processes - first, total)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, of float32 on one device, by their sums over the processes."""
        if self.alone:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [part.view(one.shape) for part, one in zip(parts, tensors, strict=True)])

    def whole(self, values: Tensor, part: Part) -> Tensor:
        """Return the values of all items of a batch, (total,), of those of this process, (count,)."""
        if self.alone:
            return values
        everywhere = values.new_zeros(part.total)
        everywhere[part.rows] = values
        distributed.all_reduce(everywhere)
        return everywhere

    def from_first(self, make: Callable[[], Value]) -> Value:
        """Return what the first process makes; it alone is asked."""
        if self.alone:
            return make()
        box: list[Any] = [make() if self.leads else None]
        distributed.broadcast_object_list(box, src=0)
        found: Value = box[0]
        return found

    def from_all(self, value: Value) -> list[Value]:
        """Return what each process gives, in order."""
        if self.alone:
            return [value]
        found: list[Any] = [None] * self.share.processes
        distributed.all_gather_object(found, value)
        return found

    def spread(self, network: nn.Module) -> None:
        """Give the first process's weights to all."""
        if not self.alone:
            for tensor in network.state_dict().values():
                whole = tensor.contiguous()
                distributed.broadcast(whole, src=0)
                tensor.copy_(whole)

    def wait(self) -> None:
        """Wait until every process has come here."""
        self.from_first(lambda: None)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first process go through a `with` statement before the others, who find what it left in files."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    @contextmanager
    def dropout(self, layer: nn.Dropout, part: Part | None) -> Iterator[None]:
        """Make a layer drop, of this process's regions, what one process alone would of the whole batch.

        Args:
            layer: Whose input has a row a region; torch's generator is seeded alike in every process.
            part: Which regions this process has.
        """
        if self.alone or part is None or not layer.training:
            yield
            return

        def forward(x: Tensor) -> Tensor:
            kept = x.new_empty((part.total, *x.shape[1:])).bernoulli_(1 - layer.p).div_(1 - layer.p)
            return x * kept[part.rows]

        layer.forward = forward  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            del layer.forward


ALONE: Final = Team()
