"""Runs that are stopped half-way and called again after something has changed: what is stale is not taken for new."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults.processes import Started, start
from faults.results import difference, results_of
from faults.small_runs import RUNS, Materials, SmallRun

_MOST_SECONDS = 900.0
_LOOK_EVERY = 0.02
Words = list[str]


@dataclass(frozen=True, kw_only=True)
class StaleCase:
    """What is changed while a run is stopped.

    Args:
        run: Name of the run.
        what: Is changed, for the table.
        stop: The run is stopped once its journal has so many lines that begin with the word, such as (2, "saved").
        change: Of the materials; None: none.
        words: What is called after that; None: the same.
        refused: Whether the run should be refused in one line; if not, it should end as one begun after the change.
    """

    run: str
    what: str
    stop: tuple[int, str]
    change: Callable[[Materials], None] | None = None
    words: Callable[[Words], Words] | None = None
    refused: bool = False

    @property
    def title(self) -> str:
        """Run and change, for the table."""
        return f"{self.run}, {self.what}"


def stale_failure(case: StaleCase, materials: Materials, work: Path) -> str:
    """Play a case; return what is wrong with its end, an empty text if nothing is."""
    shutil.rmtree(work, ignore_errors=True)
    changed, output, run = materials.copy(work / "materials"), work / "results", RUNS[case.run]
    words = run.words(changed, output)
    _prepare(run, changed, output)
    stopped = start(run, words, work / "journal.txt", work / "logs")
    if failure := _stop(stopped, work / "journal.txt", case.stop):
        return failure
    if case.change is not None:
        case.change(changed)
    words = words if case.words is None else case.words(words)
    before = results_of(output)
    again = start(run, words, work / "journal.txt", work / "logs")
    if not again.wait(_MOST_SECONDS):
        again.kill("all")
        return "does not end when called again"
    if case.refused:
        return _refusal(again) or difference(before, results_of(output))
    if again.status:
        return f"called again: status {again.status}, {again.said()[-600:]}"
    got = results_of(output)
    shutil.rmtree(output)
    _prepare(run, changed, output)
    fresh = start(run, words, work / "other.txt", work / "logs")
    if not fresh.wait(_MOST_SECONDS) or fresh.status:
        fresh.kill("all")
        return f"a fresh run after the change fails: {fresh.said()[-600:]}"
    return difference(results_of(output), got)


def _prepare(run: SmallRun, materials: Materials, output: Path) -> None:
    output.mkdir()
    if run.prepare is not None:
        run.prepare(materials, output)


def _stop(started: Started, journal: Path, stop: tuple[int, str]) -> str:
    """Kill a run once its journal says that it has come so far; return what is wrong if it never does."""
    count, word = stop
    while not started.wait(_LOOK_EVERY):
        lines = journal.read_text().splitlines() if journal.exists() else []
        if sum(line.startswith(f"{word}\t") for line in lines) >= count:
            started.kill("all")
            started.wait(_MOST_SECONDS)
            return ""
    return f"could not be stopped after {count} lines of {word!r}: status {started.status}, {started.said()[-600:]}"


def _refusal(again: Started) -> str:
    """Return what is wrong with a refusal: it is a line that begins with "error:", and status 1."""
    said = [line for line in again.said().splitlines() if not line.startswith(("warning:", "note:"))]
    if again.status == 1 and len(said) == 1 and said[0].startswith("error: "):
        return ""
    return f"should have been refused in one line with status 1; status {again.status}, {again.said()[-600:]}"


def _other_code(words: Words) -> Words:
    return ["--code=other", *words]


def _with(*more: str) -> Callable[[Words], Words]:
    return lambda words: [*words, *more]


def _photograph(part: str) -> Callable[[Materials], None]:
    return lambda materials: materials.replace_photograph(part, 0)


def _object(part: str) -> Callable[[Materials], None]:
    return lambda materials: materials.move_object(part, 0)


_PARTS, _STATE = (3, "done"), (2, "saved")
STALE: tuple[StaleCase, ...] = (
    StaleCase(run="propose", what="a photograph is another", stop=_PARTS, change=_photograph("val")),
    StaleCase(run="propose", what="an object's box is another", stop=_PARTS, change=_object("val")),
    StaleCase(run="propose", what="a setting", stop=_PARTS, words=_with("--min-side", "9"), refused=True),
    StaleCase(run="propose", what="the code", stop=_PARTS, words=_other_code),
    StaleCase(run="eval_map", what="a photograph is another", stop=_PARTS, change=_photograph("val")),
    StaleCase(run="eval_map", what="an object's box is another", stop=_PARTS, change=_object("val")),
    StaleCase(run="eval_map", what="the weights", stop=_PARTS, change=Materials.change_weights, refused=True),
    StaleCase(run="eval_map", what="a setting", stop=_PARTS, words=_with("--iou-threshold", "0.6"), refused=True),
    StaleCase(run="eval_map", what="the code", stop=_PARTS, words=_other_code),
    StaleCase(run="detect", what="a photograph is another", stop=_PARTS, change=_photograph("val")),
    StaleCase(run="detect", what="the weights", stop=_PARTS, change=Materials.change_weights, refused=True),
    StaleCase(run="detect", what="a setting", stop=_PARTS, words=_with("--score-threshold", "0.6"), refused=True),
    StaleCase(run="detect", what="the code", stop=_PARTS, words=_other_code),
    StaleCase(
        run="train pooled",
        what="a photograph is another, while proposals are made",
        stop=_PARTS,
        change=_photograph("train"),
    ),
    StaleCase(
        run="train pooled",
        what="a photograph is another",
        stop=_STATE,
        change=_photograph("train"),
        refused=True,
    ),
    StaleCase(
        run="train pooled",
        what="an object's box is another",
        stop=_STATE,
        change=_object("train"),
        refused=True,
    ),
    StaleCase(
        run="train pooled",
        what="the weights",
        stop=_STATE,
        change=Materials.change_weights,
        refused=True,
    ),
    StaleCase(run="train pooled", what="a setting", stop=_STATE, words=_with("--seed", "5"), refused=True),
    StaleCase(
        run="train_multibox",
        what="a photograph is another",
        stop=_STATE,
        change=_photograph("train"),
        refused=True,
    ),
)
