"""The same photograph, settings and device give the same detections, however the work is cut up.

    python benchmarks/faults/determinism.py [--count 10] [--only NAME ...] [--quick]

A shipped model whose regions are pooled and one whose regions are warped, on 20 regions of each photograph, in float32
and in bfloat16 by torch, and in whatever `auto` takes here. What varies: threads (torch's own number, and
OMP_NUM_THREADS of another process), workers that read and search ahead, how many regions go together, a photograph
alone or in a folder, in which order; and ranks of `eval_map` under torchrun. Everything is compared with photographs
asked for one by one, in a process with one thread; of `eval_map`, two ranks with one.

Two kinds of variation are told apart:

exact      the same operations in the same order: equality to the bit is demanded. Workers, processes, ranks, order,
           alone or in a folder.
rounding   sums are cut up otherwise, and floating point forbids equality: threads, and how many regions go together (a
           product of matrices is blocked by its height). Demanded is a bound: see `BOUNDS`.

An object that only one of both has is one of another class, or one that overlaps none of the same class by half. Where
rounding is allowed it may be there if its score is within the bound of the lowest that is shown, and at no other time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from machine import instructions, machine_line
from numpy.typing import NDArray

from faults.small_runs import make_materials
from faults.table import FaultTable, say
from inception_rcnn.datasets.detections.stored import read_stored_detections
from inception_rcnn.detector import Detector, load_detector
from inception_rcnn.detector.ensemble import RegionScores
from inception_rcnn.structures import Detections, load_image
from inception_rcnn.structures.boxes import overlap_ratio

_ROOT = Path(__file__).resolve().parent.parent.parent
_REGIONS = 20
_LOWEST = 0.02  # score that is shown: few small photographs have an object that is surer than what `detect` shows
_TOGETHER = 5  # regions, where they do not all go together
_SAME = 0.5  # intersection over union of boxes that are of one object
_QUICK = 2  # photographs
MODELS: Final = {"pooled": "coco", "warped": "coco-mini"}
ARITHMETIC: Final[dict[str, dict[str, str]]] = {
    "fp32": {"runtime": "torch", "precision": "fp32"},
    "bf16": {"runtime": "torch", "precision": "bf16"},
    "default": {},
}


@dataclass(frozen=True)
class Bound:
    """How much rounding may change.

    Args:
        score: Of a score.
        box: Of a corner, in pixels.
    """

    score: float
    box: float


# By precision: float32 has 24 bits, bfloat16 8.
BOUNDS: Final = {"fp32": Bound(3e-4, 0.01), "bf16": Bound(0.05, 2.0)}
NOTHING: Final = Bound(0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Objects:
    """What was found on a photograph.

    Args:
        names: Of classes.
        scores: Of each, (N,).
        boxes: Of each, (N, 4).
        lowest: Score that is shown.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    lowest: float = 0.0

    @classmethod
    def of(cls, found: Detections, lowest: float) -> Objects:
        """Return detections as these."""
        return cls(tuple(found.names()), found.scores, found.boxes, lowest)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, of which the same numbers come back."""
        return {
            "names": self.names,
            "scores": self.scores.tolist(),
            "boxes": self.boxes.tolist(),
            "lowest": self.lowest,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Objects:
        """Return what `as_json` made."""
        boxes = np.array(value["boxes"], np.float32).reshape(-1, 4)
        return cls(tuple(value["names"]), np.array(value["scores"], np.float32), boxes, value["lowest"])


@dataclass(frozen=True)
class Difference:
    """Between what was found on a photograph in two ways.

    Args:
        others: Scores of objects that only one of both has.
        score: Largest difference of the scores of the same object.
        box: Of a corner, in pixels.
        lowest: Score that is shown.
    """

    others: tuple[float, ...]
    score: float
    box: float
    lowest: float

    def beyond(self, bound: Bound) -> str:
        """Return in what it is beyond a bound; an empty text if it is within."""
        if self.score > bound.score:
            return f"a score differs by {self.score:.2g}"
        if self.box > bound.box:
            return f"a box differs by {self.box:.2g} px"
        wrong = [one for one in self.others if one > self.lowest + bound.score or bound == NOTHING]
        return f"an object with a score of {max(wrong):.3f} is in one alone" if wrong else ""


def difference(one: Objects, other: Objects) -> Difference:
    """Return how two results differ: the best pairs of the same class first."""
    same = np.array(one.names, object)[:, None] == np.array(other.names, object)[None]
    first, second = one.boxes.astype(np.float64)[:, None], other.boxes.astype(np.float64)[None]
    overlap = np.where(same, overlap_ratio(first, second), -1.0)
    rows, columns, scores, boxes = set(range(len(one.names))), set(range(len(other.names))), [0.0], [0.0]
    for place in np.argsort(-overlap, axis=None, kind="stable"):
        row, column = divmod(int(place), max(len(other.names), 1))
        if overlap[row, column] >= _SAME and row in rows and column in columns:
            rows.remove(row)
            columns.remove(column)
            scores.append(abs(float(one.scores[row]) - float(other.scores[column])))
            boxes.append(float(np.abs(one.boxes[row] - other.boxes[column]).max()))
    left = (*(float(one.scores[row]) for row in rows), *(float(other.scores[column]) for column in columns))
    return Difference(left, max(scores), max(boxes), one.lowest)


@dataclass(frozen=True)
class Way:
    """A way to go through photographs.

    Args:
        name: What varies.
        go: Detector, files -> what is found on each, in order.
        exact: Whether the same is done in the same order.
    """

    name: str
    go: Callable[[Detector, Sequence[Path]], list[Detections]]
    exact: bool = True


def one_by_one(detector: Detector, files: Sequence[Path]) -> list[Detections]:
    """Ask for one photograph after the other."""
    return [detector(file) for file in files]


def _with_threads(count: int) -> Callable[[Detector, Sequence[Path]], list[Detections]]:
    def go(detector: Detector, files: Sequence[Path]) -> list[Detections]:
        with torch_threads(count):
            return one_by_one(detector, files)

    return go


def _with_workers(count: int) -> Callable[[Detector, Sequence[Path]], list[Detections]]:
    return lambda detector, files: list(detector.stream(files, workers=count))


def _backwards(detector: Detector, files: Sequence[Path]) -> list[Detections]:
    return list(detector.stream(files[::-1]))[::-1]


def _as_a_folder(detector: Detector, files: Sequence[Path]) -> list[Detections]:
    """Go through the folder that holds just these files."""
    found = {one.path: one for one in detector.stream(files[0].parent)}
    return [found[file] for file in files]


def _few_regions_together(detector: Detector, files: Sequence[Path]) -> list[Detections]:
    """Classify a few regions at a time, where usually all go together."""
    return [_in_pieces(detector, load_image(file)) for file in files]


def _in_pieces(detector: Detector, pixels: NDArray[np.uint8]) -> Detections:
    chosen = detector.score(pixels).proposals
    rows = [np.arange(start, min(start + _TOGETHER, len(chosen))) for start in range(0, len(chosen), _TOGETHER)]
    ones = [detector.ensemble.score(pixels, chosen.boxes[some]) for some in rows]
    offsets = [one.offsets for one in ones if one.offsets is not None]
    scores = RegionScores(
        chosen,
        np.concatenate([one.probabilities for one in ones], axis=1),
        np.concatenate(offsets, axis=1) if offsets else None,
        ones[0].regresses,
        (pixels.shape[1], pixels.shape[0]),
    )
    return detector.postprocess(scores)


WAYS: Final = (
    Way("the same again", one_by_one),
    Way("2 threads of torch", _with_threads(2), exact=False),
    Way("no worker", _with_workers(0)),
    Way("1 worker", _with_workers(1)),
    Way("2 workers", _with_workers(2)),
    Way("a folder", _as_a_folder),
    Way("the other order", _backwards),
    Way(f"{_TOGETHER} regions together", _few_regions_together, exact=False),
)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Have torch use so many threads for the time of a `with` statement."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Compared:
    """A way, compared on all photographs.

    Args:
        way: What varies.
        bound: Of what is demanded.
        objects: That are found one by one.
        differences: On each photograph.
    """

    way: str
    bound: Bound
    objects: int
    differences: list[Difference]

    def line(self, before: str) -> str:
        """Return it as a line of Markdown."""
        others = sum(len(one.others) for one in self.differences)
        score, box = (max(getattr(one, name) for one in self.differences) for name in ("score", "box"))
        demanded = "equal" if self.bound == NOTHING else f"{self.bound.score:g}, {self.bound.box:g} px"
        count = f"{len(self.differences)} | {self.objects} | {others}"
        return f"| {before} | {self.way} | {count} | {score:.1e} | {box:.1e} | {demanded} |"


def compared(way: str, bound: Bound, usual: Sequence[Objects], found: Sequence[Objects]) -> Compared:
    """Return what came of a way."""
    differences = [difference(one, other) for one, other in zip(usual, found, strict=True)]
    return Compared(way, bound, sum(len(one.names) for one in usual), differences)


def load(model: str, arithmetic: str) -> Detector:
    """Return a detector on few regions, on the CPU."""
    settings = {"max_proposals": _REGIONS, "score_threshold": _LOWEST}
    return load_detector(MODELS[model], "cpu", **settings, **ARITHMETIC[arithmetic])  # type: ignore[arg-type]


def bound_of(detector: Detector) -> Bound:
    """Return how much rounding may change in a detector's precision."""
    return BOUNDS[detector.ensemble.runtime.precision]


def objects_of(detector: Detector, found: Sequence[Detections]) -> list[Objects]:
    """Return detections as they are compared."""
    return [Objects.of(one, detector.settings.score_threshold) for one in found]


def all_ways(detector: Detector, files: Sequence[Path]) -> tuple[list[Objects], list[Compared]]:
    """Return what is found one by one with one thread, and how every way in this process differs from it."""
    with torch_threads(1):
        usual = objects_of(detector, one_by_one(detector, files))
        made = [(way, objects_of(detector, way.go(detector, files))) for way in WAYS]
    rounded = bound_of(detector)
    return usual, [compared(way.name, NOTHING if way.exact else rounded, usual, found) for way, found in made]


def in_a_process(model: str, arithmetic: str, threads: int, files: Sequence[Path], work: Path) -> list[Objects]:
    """Return what a process of its own finds one by one, with so many threads.

    Raises:
        RuntimeError: It fails.
    """
    result = work / "process.json"
    words = [__file__, "--child", model, arithmetic, str(result), *map(str, files)]
    _call([sys.executable, *words], threads)
    return [Objects.from_json(one) for one in json.loads(result.read_text())]


def in_ranks(model: str, arithmetic: str, ranks: int, coco: Path, work: Path) -> list[Objects]:
    """Return what `eval_map` of so many ranks finds.

    Raises:
        RuntimeError: It fails.
    """
    stored = work / f"{model}-{arithmetic}-{ranks}.safetensors"
    words = ["--data", f"coco:{coco}", "--split", "val", "--origin", "0", "--weights", MODELS[model]]
    words += ["--max-proposals", str(_REGIONS), "--output", str(stored), "--device", "cpu", "--quiet"]
    words += [word for name, value in ARITHMETIC[arithmetic].items() for word in (f"--{name}", value)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    _call([sys.executable, *torchrun, str(_ROOT / "tools" / "eval_map.py"), *words], 1)
    return [Objects.of(found[0], 0.0) for found in read_stored_detections(stored).found]


def _call(command: list[str], threads: int) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} ... ends with status {done.returncode}: {done.stderr[-1000:]}")


def _child(model: str, arithmetic: str, result: str, *files: str) -> int:
    """Find, and write it down for the process that asked."""
    detector = load(model, arithmetic)
    found = objects_of(detector, one_by_one(detector, [Path(one) for one in files]))
    Path(result).write_text(json.dumps([one.as_json() for one in found]))
    return 0


def _all_of(model: str, arithmetic: str, count: int, work: Path) -> tuple[str, list[Compared]]:
    """Return a detector's arithmetic in words, and how all ways differ."""
    coco = work / "materials" / "coco"
    files = sorted((coco / "val").iterdir())[:count]
    detector = load(model, arithmetic)
    usual, found = all_ways(detector, files)
    rounded = bound_of(detector)
    for threads, bound in ((1, NOTHING), (2, rounded)):
        made = in_a_process(model, arithmetic, threads, files, work)
        found.append(compared(f"a process with OMP_NUM_THREADS={threads}", bound, usual, made))
    one, two = (in_ranks(model, arithmetic, ranks, coco, work) for ranks in (1, 2))
    found.append(compared("eval_map: 2 ranks, not 1", NOTHING, one, two))
    return f"{model} ({MODELS[model]}), {detector.ensemble.runtime}", found


def main() -> int:
    """Parse, detect in every way, print."""
    if sys.argv[1:2] == ["--child"]:
        return _child(*sys.argv[2:])
    known = [f"{model}-{arithmetic}" for model in MODELS for arithmetic in ARITHMETIC]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10, help="of the photographs")
    parser.add_argument("--only", nargs="+", choices=known, metavar="NAME", default=known, help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK} photographs, {known[0]} alone")
    given = parser.parse_args()
    if given.quick:
        given.count, given.only = _QUICK, known[:1]
    table, lines = FaultTable(), []
    with tempfile.TemporaryDirectory(prefix="determinism-") as root:
        make_materials(Path(root, "materials"), train=1, val=given.count)
        for name in given.only:
            say(name)
            words, found = _all_of(*name.split("-"), given.count, Path(root))  # type: ignore[call-arg]
            for one in found:
                lines.append(one.line(words))
                for each in one.differences:
                    table.row(f"{words}: {one.way}").add(each.beyond(one.bound))
    print(f"{machine_line('inception-rcnn', 'torch')}, {instructions()}\n")
    heads = ("detector", "what varies", "photographs", "objects", "other objects", "scores", "boxes, px", "demanded")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    print("\n".join(lines) + "\n")
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
