"""A command as it is, but in small, and with a journal of what it has done.

    python benchmarks/faults/small_command.py JOURNAL [--code=NAME] propose --data ...

So that a kill in a run of seconds finds all that one in a run of days does, a training saves its state every second
batch, stored proposals come in parts of two photographs, and a batch of warped regions has eight small ones. The
journal is a file to which a line is added after something is stored ("done NAME", "saved ITERATION") and before a step
of a training is taken ("step ITERATION"), each with the folder that it is for: what is done twice shows there.
--code has stored parts say that code of that name made them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import inception_rcnn.detector.dataset_inference as dataset_inference
import inception_rcnn.detector.training.fine_tuning as fine_tuning
import inception_rcnn.detector.training.loop as detector_loop
import inception_rcnn.detector.training.proposal_network as proposal_network
import inception_rcnn.proposals.network.training as multibox_loop
import inception_rcnn.proposals.stored as stored
import inception_rcnn.tools.json_results as json_results
from faults.small_runs import SMALL_SEARCH
from inception_rcnn.backbones.training.loop import AveragedTraining
from inception_rcnn.structures.jobs import PartedJob
from inception_rcnn.tools import cli

_SAVE_EVERY = 2
_PER_PART = 2
_WARPED = {"foreground": 2, "background": 6}
_WARPED_SIDE = 96


class Journal:
    """A file with a line for each thing done; many processes may add to it.

    Args:
        path: Made if need be.
        folder: Which the lines are about.
    """

    def __init__(self, path: Path, folder: str) -> None:
        self._path, self._folder = path, folder

    def add(self, event: str, what: object) -> None:
        """Add a line, in one piece."""
        with self._path.open("ab", buffering=0) as file:
            file.write(f"{event}\t{self._folder}\t{what}\n".encode())


def run_small(words: Sequence[str], journal: Path) -> int:
    """Run a command in this process, which is of no other use afterwards, and return its exit status."""
    words = list(words)
    if words[0].startswith("--code="):
        _have_other_code(words.pop(0))
    folder = words[words.index("--output") + 1] if "--output" in words else ""
    _make_small()
    _write_down(Journal(journal, folder))
    if words[0] == "train_ensemble":
        _members_too(journal)
    try:
        cli.main(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def _make_small() -> None:
    """Save often, and compute little."""
    for module in (detector_loop, multibox_loop):
        usual: Callable[..., None] = module.run_training
        vars(module)["run_training"] = _with(usual, save_every=_SAVE_EVERY)
    stored.IMAGES_PER_PART = _PER_PART  # type: ignore[misc]
    fine_tuning.SamplingSettings = partial(fine_tuning.SamplingSettings, **_WARPED)  # type: ignore
    fine_tuning.ProposalSettings = partial(fine_tuning.ProposalSettings, **SMALL_SEARCH)  # type: ignore
    proposal_network.selective_search = partial(proposal_network.selective_search, **SMALL_SEARCH)  # type: ignore
    fine_tuning.REGION_INPUT = replace(fine_tuning.REGION_INPUT, side=_WARPED_SIDE)  # type: ignore[misc]


def _have_other_code(fingerprint: str) -> None:
    """Say of the code that it is another one, as after an update."""
    for module in (stored, dataset_inference, json_results):
        vars(module)["code_fingerprint"] = lambda: fingerprint


def _with(usual: Callable[..., None], **always: Any) -> Callable[..., None]:
    return lambda *args, **options: usual(*args, **{**options, **always})


def _write_down(journal: Journal) -> None:
    """Have the journal told of parts, images, states and steps."""
    compute, add = PartedJob._compute_unless_claimed, json_results.JsonResults.add
    save, update = AveragedTraining.save, AveragedTraining.update

    @wraps(compute)
    def computed(self: PartedJob[Any], rows: range, share: Any) -> None:
        before = len(self._computed)
        compute(self, rows, share)
        if len(self._computed) > before:
            journal.add("done", f"{self.folder.name} {rows.start}")

    @wraps(add)
    def added(self: json_results.JsonResults, entry: dict[str, Any]) -> None:
        add(self, entry)
        if "error" not in entry:
            journal.add("done", entry["image"])

    @wraps(save)
    def saved(self: AveragedTraining, path: Path, run: Any) -> None:
        save(self, path, run)
        journal.add("saved", self.iteration)

    @wraps(update)
    def updated(self: AveragedTraining, *args: Any, **options: Any) -> float:
        if os.environ.get("RANK", "0") == "0":
            journal.add("step", self.iteration + 1)
        return update(self, *args, **options)

    PartedJob._compute_unless_claimed = computed  # type: ignore[method-assign]
    json_results.JsonResults.add = added  # type: ignore[method-assign]
    AveragedTraining.save, AveragedTraining.update = saved, updated  # type: ignore[method-assign]


def _members_too(journal: Path) -> None:
    """Have the members of an ensemble, which are trained in processes of their own, started in small too."""
    usual = subprocess.Popen

    def popen(command: Sequence[str], *args: Any, **options: Any) -> Any:
        if len(command) > 1 and Path(command[1]).name == "train.py":
            command = [command[0], __file__, str(journal), "train", *command[2:]]
        return usual(command, *args, **options)

    subprocess.Popen = popen  # type: ignore


if __name__ == "__main__":
    sys.exit(run_small(sys.argv[2:], Path(sys.argv[1])))
