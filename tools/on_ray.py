"""inception-rcnn on_ray eval_map --data coco:/shared/coco --output /shared/found.safetensors

Runs `eval_map` or `propose` of a data set by several processes of a Ray cluster, which share the photographs.

Write `on_ray` before the command, and nothing else changes: the parts of the work are shared as by torchrun's
processes, what was killed is taken over by the others, and the result is that of one machine. Data, weights and
--output have to lie where all nodes see them under the same name, and this package has to be installed on each.

For photographs by the million, wherever they lie, there is `detect --engine ray`.

Examples:
  inception-rcnn on_ray --address auto eval_map --data coco:/shared/coco --output /shared/found.safetensors
  inception-rcnn on_ray propose --data coco:/shared/coco --split train --output /shared/train.safetensors
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, echo, run_command

COMMANDS: Final = ("eval_map", "propose")
TAKES_A_COMMAND: Final = True  # what follows it is that command's, options included


def main(
    command: Annotated[list[str], typer.Argument(help="The command, with its options.", show_default=False)],
    address: Annotated[str | None, typer.Option(help="Of the cluster. Default: one is started here.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: one a GPU, or one a node.")] = None,
) -> None:
    """Parse, call, print."""
    name, words = command[0].replace("-", "_"), command[1:]
    check_known("COMMAND", name, COMMANDS)
    if "--output" not in words and not any(word.startswith("--output=") for word in words):
        raise typer.BadParameter("needs --output, a file that all processes see", param_hint=name)
    first, *others = run_ranks(name, words, address, processes)
    sys.stdout.write(first.said)
    sys.stderr.write(first.errors)
    check_not_killed(name, first.status)
    for rank, one in enumerate(others, start=1):
        if one.status:
            echo(f"warning: process {rank} ended with {one.status}, the others did its part: {one.last_line}", err=True)
    if first.status:
        raise typer.Exit(first.status)


@dataclass(frozen=True)
class Ended:
    """A process that ran the command.

    Args:
        status: Its exit status; below 0: the signal that killed it.
        said: What it printed.
        errors: What it wrote to the error stream.
    """

    status: int
    said: str = ""
    errors: str = ""

    @property
    def last_line(self) -> str:
        """What it wrote last to the error stream."""
        return next(iter(self.errors.strip().splitlines()[-1:]), "it said nothing")


def check_not_killed(name: str, status: int) -> None:
    """Raise if the first process was killed: it has not said so itself.

    Raises:
        InceptionError: It was.
    """
    from inception_rcnn.structures import InceptionError

    if status < 0:
        raise InceptionError(
            f"{name} was killed by signal {-status}, as the system does when memory runs out; give the same command "
            "again, and it goes on from the parts that are done"
        )


def run_ranks(name: str, words: Sequence[str], address: str | None, processes: int | None) -> list[Ended]:
    """Run a command once on each process of a cluster, and return how each ended; the first one's results count.

    Args:
        name: Of the command.
        words: Its arguments.
        address: Of the cluster; None: one is started here, and ended afterwards.
        processes: How many; None: one a GPU, or one a node where there is none.

    Returns:
        In the order of ranks; the first alone where it failed.

    Raises:
        MissingDependencyError: Ray is not installed.
        InputError: There is no cluster at the address, or Ray cannot keep a process on it.
    """
    from inception_rcnn.detector.archive.cluster import connected, usual_processes
    from inception_rcnn.structures.jobs import LAUNCHED_VARIABLE, launched_now

    line = [sys.executable, str(Path(__file__).resolve().parent / f"{name}.py"), *words]
    with connected(address) as ray:
        count, gpus = usual_processes(ray, processes)
        variables = {"WORLD_SIZE": str(count), "LOCAL_RANK": "0", LAUNCHED_VARIABLE: launched_now()}
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=-1, scheduling_strategy="SPREAD")(_rank)
        waiting = [task.remote(line, {**variables, "RANK": str(rank)}, os.getcwd()) for rank in range(count)]
        ended = [Ended(*ray.get(waiting[0]))]
        if ended[0].status == 0:
            ended += [Ended(*one) for one in ray.get(waiting[1:])]
    return ended


def _rank(line: list[str], variables: dict[str, str], folder: str) -> tuple[int, str, str]:
    """Run the command as one of the processes; it ends when Ray ends this one."""
    import subprocess

    from inception_rcnn.structures.jobs import ENDS_WITH

    environment = {**os.environ, **variables, ENDS_WITH: str(os.getpid())}
    done = subprocess.run(line, env=environment, cwd=folder, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


if __name__ == "__main__":
    run_command(main)
