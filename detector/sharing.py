"""Several processes that share the images of a set, as `torchrun` starts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inception_rcnn.structures import InputError


@dataclass(frozen=True)
class Share:
    """Which of how many processes this is.

    Attributes:
        rank: From 0; 0 puts the results together.
        processes: How many there are, on all machines.
        local_rank: Which of those on this machine.

    >>> Share.from_environment({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}).has(7)
    True
    """

    rank: int = 0
    processes: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> Share:
        """Return what torchrun's RANK, WORLD_SIZE and LOCAL_RANK say; one process alone if they are not set.

        Raises:
            InputError: They are no whole numbers, or the rank is none of the processes.
        """
        try:
            share = cls(
                *(int(variables.get(*one)) for one in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")))
            )
        except ValueError as error:
            raise InputError(f"RANK, WORLD_SIZE and LOCAL_RANK should be whole numbers: {error}") from error
        if not 0 <= share.rank < share.processes:
            raise InputError(f"RANK should be in 0..{share.processes - 1} (WORLD_SIZE - 1), got {share.rank}")
        return share

    @property
    def leads(self) -> bool:
        """Whether this process puts the results together."""
        return self.rank == 0

    def has(self, part: int) -> bool:
        """Return whether a part of the work is this process's."""
        return part % self.processes == self.rank

    def device(self, asked: str, gpus: int) -> str:
        """Return the device of this process: the GPUs of a machine are dealt out, unless one is asked for by number.

        >>> Share(5, 8, 1).device("auto", gpus=4), Share(5, 8, 1).device("cpu", gpus=4), Share().device("auto", gpus=4)
        ('cuda:1', 'cpu', 'auto')
        """
        if self.processes == 1 or gpus == 0 or asked not in ("auto", "cuda"):
            return asked
        return f"cuda:{self.local_rank % gpus}"
