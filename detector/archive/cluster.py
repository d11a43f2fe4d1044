"""A Ray cluster: joined, or started on this machine; and what it has."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from inception_rcnn.structures import InceptionError, InputError
from inception_rcnn.structures.errors import MissingDependencyError

_OURS: Final = re.compile(r"^inception_rcnn[\w.]*Error: (.*)$", flags=re.MULTILINE)


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Give Ray while it is connected to a cluster; one that is started here ends with it.

    Args:
        address: As for `ray.init`: "auto", host:port, ray://host:port; None: start one on this machine's processors.

    Raises:
        MissingDependencyError: Ray is not installed.
        InputError: There is no cluster at the address; or, of what is done within, why a process of the cluster ended.
    """
    ray = _ray()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
    if address is None:
        options |= {"include_dashboard": False}
    try:
        ray.init(address=address or "local", **options)
    except Exception as error:  # of a cluster that takes too long to start, Ray's is of no other class
        what = " ".join(str(error).split())
        raise InputError(f"there is no Ray cluster to use at {address or 'this machine'}: {what}") from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield ray
    except ray.exceptions.RayError as error:
        raise InputError(
            f"a process of the Ray cluster failed: {first_cause(error)}; the same command again goes on from there"
        ) from error
    finally:
        ray.shutdown()


def first_cause(error: BaseException) -> str:
    """Return what began an error that one of Ray's processes passed on, in a line.

    >>> first_cause(RuntimeError("the task failed\\nsomewhere"))
    'RuntimeError: the task failed'
    """
    while (inner := getattr(error, "cause", None)) is not None:
        error = inner
    if isinstance(error, InceptionError):
        return " ".join(str(error).split())
    if (ours := _OURS.search(str(error))) is not None:  # in the traceback of a process that could not begin
        return ours[1]
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"


def _ray() -> Any:
    """Return Ray, silenced: its notes and bars are for those who develop with it.

    Raises:
        MissingDependencyError: It is not installed.
    """
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError(f"this needs Ray ({error}): pip install 'inception-rcnn[scale]'") from error
    return ray


def nodes_of(ray: Any) -> list[dict[str, float]]:
    """Return what each living node with a processor has, such as CPU and GPU.

    Raises:
        InputError: There is none.
    """
    found = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not found:
        raise InputError("the Ray cluster has no node with a processor")
    return found


def usual_processes(ray: Any, processes: int | None) -> tuple[int, int]:
    """Return how many processes with a network there should be, and how many GPUs each takes.

    Args:
        ray: Connected.
        processes: As many; None: one a GPU, or one a node where there is none.
    """
    nodes = nodes_of(ray)
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    return processes or gpus or len(nodes), 1 if gpus else 0
