"""An archive on a Ray cluster, by Ray Data: searching on any processor, detectors where there is a GPU or many cores.

    names of photographs --task: read, decode, search--> Searched --actor: networks--> rows --driver--> Parquet

Ray starts again what was on a worker or a node that died. The driver has names and finished rows of a wave alone, and
goes through the archive in waves, so that what Ray keeps of a run does not grow with the archive. Nothing is fetched by
the workers but the photographs: this package has to be installed on every node, and the weights have to lie there, both
the same; an actor compares what it has with what was asked for.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from inception_rcnn.datasets.archive.shards import ARITHMETIC, CODE, FoundInPhotograph, flat_settings
from inception_rcnn.datasets.archive.sources import Piece
from inception_rcnn.detector.archive.cluster import connected, nodes_of, usual_processes
from inception_rcnn.detector.archive.run import (
    ArchiveRun,
    Row,
    Searched,
    archive_settings,
    found_in,
    search,
    search_options,
)
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.structures import InputError
from inception_rcnn.structures.jobs import differing_setting

PER_TASK: Final = 16  # photographs that a task reads and searches: some seconds of work
PHOTOGRAPHS_PER_WAVE: Final = 131_072  # or those of one piece
_OF_A_NODE: Final = (ARITHMETIC, "activation_ranges")  # settings that follow from the device


@dataclass(frozen=True)
class Cluster:
    """How much of a Ray cluster detectors take.

    Attributes:
        address: Of the cluster, as for `ray.init`; None: one is started on this machine, and ended afterwards.
        detectors: How many; None: one a GPU, or one a node where there is none.
    """

    address: str | None = None
    detectors: int | None = None


def detect_on_ray(run: ArchiveRun, cluster: Cluster) -> Iterator[Row]:
    """Yield what is found in the missing pieces, in the order in which the cluster does them.

    Args:
        run: What is to be done. Its detector is loaded again by each actor, for a GPU where it is given one.
        cluster: Where.

    Raises:
        MissingDependencyError: Ray is not installed.
        InputError: There is no cluster at the address; a node has other weights or another version of this package; or
            a process failed for good.
    """
    with connected(cluster.address) as ray:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = False
        context.raise_original_map_exception = True
        share = _share(ray, cluster)
        for tasks in waves(run):
            yield from _wave(ray, run, tasks, share)


def waves(run: ArchiveRun) -> Iterator[list[dict[str, Any]]]:
    """Yield the tasks of some pieces after those of others, each with the names of its photographs."""
    tasks: list[dict[str, Any]] = []
    photographs = 0
    for number in run.missing:
        piece = run.manifest.piece(number)
        if tasks and photographs + len(piece) > PHOTOGRAPHS_PER_WAVE:
            yield tasks
            tasks, photographs = [], 0
        photographs += len(piece)
        if piece.parquet is not None:  # each task would read the row group from its beginning
            tasks.append({"piece": number, "start": 0, "names": json.dumps(piece.to_dict())})
            continue
        for start in range(0, len(piece), PER_TASK):
            some = Piece(piece.files[start : start + PER_TASK])
            tasks.append({"piece": number, "start": start, "names": json.dumps(some.to_dict())})
    if tasks:
        yield tasks


@dataclass(frozen=True)
class _Share:
    """What each detector takes of the cluster."""

    detectors: int
    processors: float
    gpus: int
    threads: int


def _share(ray: Any, cluster: Cluster) -> _Share:
    """Return how many detectors there will be, and what each takes.

    Of a node's processors that is half in all where detectors compute on them, and one each beside a GPU; but never
    all: photographs would wait to be searched for ever.
    """
    nodes = nodes_of(ray)
    detectors, gpus = usual_processes(ray, cluster.detectors)
    least = int(min(node["CPU"] for node in nodes))
    per_node = max(1, -(-detectors // len(nodes)))
    taken = min(per_node if gpus else max(1, least // 2), least - 1)
    each = taken // per_node if taken >= per_node else taken / per_node
    # Where detectors compute on the CPU, a node's processors are theirs while nothing waits to be searched.
    return _Share(detectors, each, gpus, max(1, least // per_node))


def _wave(ray: Any, run: ArchiveRun, tasks: list[dict[str, Any]], share: _Share) -> Iterator[Row]:
    """Yield the rows of some pieces."""
    options = search_options(run.detector)
    searched = ray.data.from_items(tasks, override_num_blocks=len(tasks)).flat_map(
        # Options that differ keep Ray from joining both steps into the detectors' processes.
        _SearchTask(options),
        num_cpus=1,
        max_calls=1000,
    )
    found = searched.map(
        _DetectActor,
        fn_constructor_args=(
            run.detector,
            archive_settings(run.detector),
            options is not None,
            share.threads,
            bool(share.gpus),
        ),
        compute=ray.data.ActorPoolStrategy(size=share.detectors),
        num_cpus=share.processors,
        num_gpus=share.gpus or None,
    )
    for row in found.iter_rows():
        yield int(row["piece"]), int(row["place"]), _row_of(row["found"])


class _SearchTask:
    """Reads and searches some photographs of a piece.

    Args:
        options: Of selective search; None: there is none.
    """

    def __init__(self, options: dict[str, Any] | None) -> None:
        self._options = options

    def __call__(self, task: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a photograph's values after the other, as Ray carries them."""
        number, some = int(task["piece"]), Piece.from_dict(json.loads(task["names"]))
        for place, photograph in enumerate(some.photographs(), start=int(task["start"])):
            searched = search(photograph, self._options, threads=1)
            yield {
                "piece": number,
                "place": place,
                "name": searched.name.encode("utf-8", "surrogateescape"),
                "sha256": searched.sha256 or "",
                "error": searched.error or "",
                "height": searched.pixels.shape[0],
                "pixels": searched.pixels.tobytes(),
                "boxes": searched.boxes.tobytes(),
                "scores": searched.scores.tobytes(),
            }


class _DetectActor:
    """A detector in a process of its own.

    Args:
        detector: Comes by pickle, which has its files read here.
        asked: What it should be; see `archive_settings`.
        searches: Whether photographs were searched.
        threads: Of torch.
        on_gpu: Whether Ray gave this process a GPU.
    """

    def __init__(self, detector: Detector, asked: dict[str, Any], searches: bool, threads: int, on_gpu: bool) -> None:
        import torch

        torch.set_num_threads(threads)
        self._detector = detector.to("cuda") if on_gpu else detector
        self._searches = searches
        has = archive_settings(self._detector)
        self._arithmetic = str(has[ARITHMETIC])
        self._wrong = other_than_asked(has, asked)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return what is found in a photograph, as Ray carries it.

        Raises:
            InputError: This node has other weights or another version of this package.
        """
        if self._wrong is not None:  # what an actor raises before it has begun, Ray wraps beyond recognition
            raise InputError(self._wrong)
        height = int(row["height"])
        pixels = np.frombuffer(row["pixels"], np.uint8)
        searched = Searched(
            row["name"].decode("utf-8", "surrogateescape"),
            row["sha256"] or None,
            pixels.reshape(height, -1, 3) if height else pixels.reshape(0, 0, 3),
            np.frombuffer(row["boxes"], np.float32).reshape(-1, 4),
            np.frombuffer(row["scores"], np.float32),
            row["error"] or None,
        )
        found = replace(found_in(self._detector, searched, searches=self._searches), arithmetic=self._arithmetic)
        return {"piece": row["piece"], "place": row["place"], "found": _text_of(found)}


def other_than_asked(has: dict[str, Any], asked: dict[str, Any]) -> str | None:
    """Return in what a node's detector differs from what is asked for, but for what follows from its device."""
    ours, theirs = ({name: one[name] for name in one if name not in _OF_A_NODE} for one in (asked, has))
    if (found := differing_setting(flat_settings(theirs), flat_settings(ours))) is None:
        return None
    name, there, here = found
    what = "another version of this package" if name == CODE else f"{name} = {there!r:.300}, not {here!r:.300}"
    return f"{platform.node()} has {what}; all nodes need the same package and the same weights under the same names"


def _text_of(row: FoundInPhotograph) -> str:
    """Return a row as a text, numbers with all their digits."""
    numbers = {"boxes": row.boxes.astype(float).tolist(), "scores": row.scores.astype(float).tolist()}
    return json.dumps({**vars(row), **numbers})


def _row_of(text: str) -> FoundInPhotograph:
    """Return what `_text_of` was given."""
    values = json.loads(text)
    return FoundInPhotograph(
        values["image"],
        values["sha256"],
        None if values["size"] is None else (values["size"][0], values["size"][1]),
        np.array(values["boxes"], np.float32).reshape(-1, 4),
        np.array(values["scores"], np.float32),
        tuple(values["labels"]),
        values["error"],
        values["arithmetic"],
    )
