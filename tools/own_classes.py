"""What `train` does by itself for a data set of one's own: says what it understood, fits settings, shows the result."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inception_rcnn.tools.cli import echo
from inception_rcnn.tools.training_sets import TrainingSet

if TYPE_CHECKING:
    from inception_rcnn.datasets.base import ReadingOptions
    from inception_rcnn.detector.training.record import RecordSettings
    from inception_rcnn.structures.dataset import DetectionDataset

_FEW_OBJECTS = 20  # of a class, below which a line says what to expect


@dataclass(frozen=True)
class Plan:
    """How a data set will be trained on.

    Args:
        learned: Photographs to learn from.
        val: To validate on; None: none.
        options: Of `train_detector`; what the command's options say goes before what was fitted.
        record: What is written on the way.
        lines: The same in words.
    """

    learned: DetectionDataset
    val: DetectionDataset | None
    options: Mapping[str, Any]
    record: RecordSettings
    lines: tuple[str, ...]


def is_to_be_fitted(given: Mapping[str, Any]) -> bool:
    """Return whether the settings of a training on one data set are to be fitted to it.

    Args:
        given: Options of `train`. One that says how long to train, when to validate, or that regions are warped leaves
            all to the options.
    """
    if given.get("paper") or {"iterations", "minutes", "validate_every", "teacher"} & given.keys():
        return False
    return _start(given.get("pretrained"), given.get("regions"))[1] in (None, "pool") and given.get("regions") != "warp"


def _start(pretrained: str | None, regions: str | None = None) -> tuple[tuple[str, ...], str | None]:
    """Return the classes of the weights that are started from, and what they do with regions; None of GoogLeNet's."""
    from inception_rcnn.detector.loading import chosen_weights
    from inception_rcnn.detector.training.initial_weights import classifier_behind

    described = classifier_behind(pretrained or chosen_weights(None, regions)[0])
    return ((), None) if described is None else (described.class_names, described.regions)


def part_to_validate_on(set_: TrainingSet) -> str | None:
    """Return the part of a data set that is meant for it by its name; None if there is none, or it is learned from."""
    from inception_rcnn.datasets import parts_of

    parts = [part for part in parts_of(set_.format, set_.root) if part != set_.part]
    return next((name for name in ("val", "valid", "validation", "dev") if name in parts), None)


def plan_for(
    dataset: DetectionDataset,
    val: DetectionDataset | None,
    given: Mapping[str, Any],
    recorded: Mapping[str, Any],
    seed: int,
) -> Plan:
    """Return how to train on a data set.

    Args:
        dataset: The photographs.
        val: To validate on, if a part is named for it; None: some are drawn.
        given: Options of `train_detector` that the command was given.
        recorded: Fields of `RecordSettings` that it was given.
        seed: Of the draw.
    """
    from dataclasses import asdict

    from inception_rcnn.detector.training.fitting import fitted_settings, split_for_validation
    from inception_rcnn.detector.training.record import RecordSettings

    learned = dataset
    if val is None:
        learned, val = split_for_validation(dataset, seed)
    fitted = fitted_settings(len(learned), 0 if val is None else min(len(val), RecordSettings().validate_on))
    record = RecordSettings(**{**asdict(fitted.record), **recorded})
    options: dict[str, Any] = {**fitted.options, **given}
    if given.get("head_only"):
        del options["train_from"]
    return Plan(learned, val, options, record, fitted.reason)


def say_plan(set_: TrainingSet, plan: Plan, pretrained: str | None, output: Path) -> None:
    """Print what was understood of a data set, and what will be done."""
    import numpy as np

    from inception_rcnn.datasets.class_matching import class_positions
    from inception_rcnn.datasets.reading.account import account_lines

    for line in account_lines([(set_.part or "all", set_.dataset)]):
        echo(line)
    table = set_.dataset.ground_truths()
    counts = np.bincount(table.label[~table.ignored], minlength=len(set_.dataset.class_names))
    few = [
        f"{name} ({count})"
        for name, count in zip(set_.dataset.display_names, counts.tolist(), strict=True)
        if count < _FEW_OBJECTS
    ]
    echo("")
    if few:
        echo(
            f"note: few objects of {', '.join(few[:8])}{' ...' if len(few) > 8 else ''}: what is learned "
            f"of so few holds for photographs much like these; from {_FEW_OBJECTS} on it begins to hold for others",
            err=True,
        )
    names = set_.dataset.class_names
    same = class_positions(_start(pretrained)[0], names, set_.dataset.display_names)
    known = [names[label] for label in sorted(set(same[same >= 0].tolist()))]
    echo(
        f"- starts from {pretrained or 'the shipped model'}, which knows "
        + (f"{', '.join(known[:8])}{' ...' if len(known) > 8 else ''}" if known else "none of these classes")
    )
    for line in plan.lines:
        echo(f"- {line}")
    echo(f"- all goes into {output}")


def draw_plan(set_: TrainingSet, output: Path) -> None:
    """Draw a sheet of photographs with their boxes into the output folder, and say where it is."""
    from inception_rcnn.datasets.reading.account import draw_sheet
    from inception_rcnn.structures import write_picture

    picture, damaged = draw_sheet(set_.dataset)
    for line in damaged:
        echo(f"not drawn: {line}", err=True)
    write_picture(output / "sheet.jpg", picture)
    echo(f"sheet: {output / 'sheet.jpg'}; nothing was trained (--dry-run)")


def say_result(
    set_: TrainingSet,
    plan: Plan,
    model: Path,
    *,
    val_part: str | None,
    pretrained: str | None,
    reading: ReadingOptions,
    device: str,
    quiet: bool,
) -> None:
    """Write the page of results, from the photographs that were validated on, and print what to do next.

    Args:
        set_: What was trained on.
        plan: How.
        model: The result.
        val_part: The part that was validated on; None: photographs of `set_`, or none.
        pretrained: What was started from; None: the shipped model.
        reading: How the data set was read; the commands that are printed read it so too.
        device: For the page.
        quiet: No progress.
    """
    from inception_rcnn.datasets import parts_of
    from inception_rcnn.detector import evaluate_detector, load_detector
    from inception_rcnn.evaluation.report import write_report

    if plan.val is not None:
        evaluation = evaluate_detector(load_detector(model, device), plan.val, protocol="voc2010", quiet=quiet)
        page = write_report(model.parent / "report", evaluation)
        echo(
            f"mAP@0.5 {evaluation.map:.3f} on {len(plan.val)} photographs that were not learned from, but chosen by; "
            f"page: {page}"
        )
    tests = [part for part in parts_of(set_.format, set_.root) if part.lower().startswith("test") and part != set_.part]
    found, before = model.with_name("found.safetensors"), model.with_name("found-before.safetensors")
    for part in tests[:1]:
        on = _on(set_, part, reading)
        echo(f"measure it on {part}: {_line('eval_map', *on, '--weights', model, '--output', found)}")
        if _knows_all(pretrained, set_):
            weights = ["--weights", pretrained] if pretrained else []
            first = _line("eval_map", *on, *weights, "--output", before)
            echo(f"then compare it with its start: {first} && {_line('compare', before, found, *on)}")
    wrong, named, learned = tests[0] if tests else val_part or set_.part, list[str](), ""
    if wrong == set_.part:
        named = [] if plan.val is None else [str(plan.val.image_ids[0])]
        learned = ", here on a photograph that was learned from" if plan.val is None else ""
    echo(f"ask why it is wrong{learned}: {_line('explain', *named, *_on(set_, wrong, reading), '--weights', model)}")


def _line(command: str, *words: str | Path) -> str:
    """Return a command as it is pasted."""
    return shlex.join(["inception-rcnn", command, *map(str, words)])


def _on(set_: TrainingSet, part: str | None, reading: ReadingOptions) -> list[str]:
    """Return the options that name a part of a data set, and say how it is read."""
    words = ["--data", f"{set_.format}:{set_.root}"]
    words += [] if part is None else ["--split", part]
    words += [word for name in ("origin", "exif") if name in reading for word in (f"--{name}", str(reading[name]))]
    return [*words, "--strict"] if reading.get("strict") else words


def _knows_all(start: str | None, set_: TrainingSet) -> bool:
    """Return whether what was started from detects all classes of a data set, so that its result can be compared."""
    from inception_rcnn.datasets.class_matching import class_positions

    known = class_positions(_start(start)[0], set_.dataset.class_names, set_.dataset.display_names)
    return set(range(len(set_.dataset.class_names))) <= set(known.tolist())
