"""An archive on a Ray cluster, by Ray Data: searching on any processor, detectors where there is a GPU or many cores.

    numbers of photographs --task: read, decode, search--> Searched --actor: networks--> rows --driver--> Parquet

Ray starts again what was on a worker or a node that died. The driver has names of pieces and finished rows alone, and
goes through the archive in waves, so that what Ray keeps of a run does not grow with the archive. Nothing is fetched by
the workers but the photographs: this package has to be installed on every node, in the same version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from inception_rcnn.datasets.archive.manifest import Manifest
from inception_rcnn.datasets.archive.shards import FoundInPhotograph
from inception_rcnn.detector.archive.cluster import connected, nodes_of, usual_processes
from inception_rcnn.detector.archive.run import ArchiveRun, Row, Searched, found_in, search, search_options
from inception_rcnn.detector.pipeline import Detector

PER_TASK: Final = 16  # photographs that a task reads and searches: some seconds of work
_PIECES_PER_WAVE: Final = 256


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
        InputError: There is no cluster at the address.
    """
    with connected(cluster.address) as ray:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = False
        share = _share(ray, cluster)
        for start in range(0, len(run.missing), _PIECES_PER_WAVE):
            yield from _wave(ray, run, run.missing[start : start + _PIECES_PER_WAVE], share)


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


def _wave(ray: Any, run: ArchiveRun, pieces: tuple[int, ...], share: _Share) -> Iterator[Row]:
    """Yield the rows of some pieces."""
    tasks = [
        {"piece": number, "start": start}
        for number in pieces
        for start in range(0, len(run.manifest.piece(number)), PER_TASK)
    ]
    options = search_options(run.detector)
    searched = ray.data.from_items(tasks, override_num_blocks=len(tasks)).flat_map(
        # Options that differ keep Ray from joining both steps into the detectors' processes.
        _SearchTask(run.manifest, options),
        num_cpus=1,
        max_calls=1000,
    )
    found = searched.map(
        _DetectActor,
        fn_constructor_args=(run.detector, options is not None, share.threads, bool(share.gpus)),
        compute=ray.data.ActorPoolStrategy(size=share.detectors),
        num_cpus=share.processors,
        num_gpus=share.gpus or None,
    )
    for row in found.iter_rows():
        yield int(row["piece"]), int(row["place"]), _row_of(row["found"])


class _SearchTask:
    """Reads and searches some photographs of a piece.

    Args:
        manifest: Where the pieces are written down.
        options: Of selective search; None: there is none.
    """

    def __init__(self, manifest: Manifest, options: dict[str, Any] | None) -> None:
        self._manifest, self._options = manifest, options

    def __call__(self, task: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a photograph's values after the other, as Ray carries them."""
        number, start = int(task["piece"]), int(task["start"])
        some = self._manifest.piece(number).photographs(start, start + PER_TASK)
        for place, photograph in enumerate(some, start=start):
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
        searches: Whether photographs were searched.
        threads: Of torch.
        on_gpu: Whether Ray gave this process a GPU.
    """

    def __init__(self, detector: Detector, searches: bool, threads: int, on_gpu: bool) -> None:
        import torch

        torch.set_num_threads(threads)
        self._detector = detector.to("cuda") if on_gpu else detector
        self._searches = searches

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return what is found in a photograph, as Ray carries it."""
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
        found = found_in(self._detector, searched, searches=self._searches)
        return {"piece": row["piece"], "place": row["place"], "found": _text_of(found)}


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
    )
