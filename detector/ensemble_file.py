"""An ensemble as one file: which checkpoints are averaged, and the settings that suit them together.

    members = ["coco", "large.safetensors"]   # shipped names, or files beside this one
    score_threshold = 0.2
    objectness_power = 1.0
    iou_threshold = 0.3
    max_proposals = 300
    score_calibration = { slope = 1.4, offset = 0.2 }

What it does not say is that of the first member. The mean of several networks is less sure than each of them alone, so
the threshold and the calibration of one are not those of all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inception_rcnn.detector.checkpoints import (
    ENSEMBLES,
    SHIPPED,
    is_ensemble_file,
    read_classifier_description,
    shipped_folder,
)
from inception_rcnn.detector.postprocessing import DetectionSettings
from inception_rcnn.detector.region_classifier import shortened_threshold
from inception_rcnn.evaluation.score_calibration import ScoreCalibration
from inception_rcnn.structures import CheckpointError, DataFormatError, InputError
from inception_rcnn.structures.files import read_toml, write_whole

# As they stand in the file, and in DetectionSettings.
_SETTINGS = {
    "score_threshold": "score_threshold",
    "objectness_power": "objectness_power",
    "iou_threshold": "iou_threshold",
    "max_proposals": "max_proposals",
    "score_calibration": "calibration",
}


@dataclass(frozen=True, kw_only=True)
class EnsembleFile:
    """What an ensemble's file says.

    Args:
        members: Shipped names, or paths of checkpoints; at least one.
        settings: Those fields of `DetectionSettings` that are not the first member's.
    """

    members: tuple[str | Path, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


def ensemble_path(weights: str | Path) -> Path:
    """Return the file of an ensemble, which is a shipped name or a path."""
    if str(weights) in ENSEMBLES:
        return shipped_folder() / ENSEMBLES[str(weights)]
    return Path(weights)


def read_ensemble_file(weights: str | Path) -> EnsembleFile:
    """Return what the file of an ensemble says.

    Args:
        weights: A shipped name ("six") or a path, *.toml.

    Raises:
        CheckpointError: There is no such file, or it says something else than the example at the top.
    """
    path = ensemble_path(weights)
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}")
    try:
        content = read_toml(path)
    except DataFormatError as error:
        raise CheckpointError(f"{path} is no file of an ensemble: it {error.message}") from error
    members = content.pop("members", None)
    if not isinstance(members, list) or not members or not all(isinstance(one, str) and one for one in members):
        raise CheckpointError(f"{path}: members should be a list of shipped names or files, got {members!r:.200}")
    if several := [one for one in members if is_ensemble_file(one)]:
        raise CheckpointError(f"{path}: {several[0]} is itself an ensemble; name its members")
    if unknown := sorted(content.keys() - _SETTINGS.keys()):
        raise CheckpointError(f"{path}: {unknown[0]} is unknown; known are members, {', '.join(_SETTINGS)}")
    try:
        settings = {_SETTINGS[name]: _setting(name, value) for name, value in content.items()}
        DetectionSettings(**settings)  # says what is out of range
    except (InputError, OverflowError) as error:  # a whole number of hundreds of digits is no float
        raise CheckpointError(f"{path}: {error}") from error
    return EnsembleFile(members=tuple(_member(one, path) for one in members), settings=settings)


def write_ensemble_file(path: str | Path, members: Sequence[str | Path], settings: Mapping[str, Any]) -> None:
    """Write the file of an ensemble.

    Args:
        path: *.toml. Checkpoints in its folder, or below it, are named from there, so that they can move together.
        members: Shipped names, or paths of checkpoints.
        settings: Those fields of `DetectionSettings` that are not the first member's; see `EnsembleFile`.
    """
    beside = Path(path).resolve().parent
    names = [one if str(one) in SHIPPED else _from_there(Path(one).resolve(), beside) for one in members]
    lines = ["members = [", *(f"    {json.dumps(str(one))}," for one in names), "]"]
    for name, known_as in _SETTINGS.items():
        value = settings.get(known_as)
        if known_as == "max_proposals" and known_as in settings:
            value = value or 0  # all of them
        if isinstance(value, ScoreCalibration):
            value = f"{{ slope = {value.slope!r}, offset = {value.offset!r} }}"
        if value is not None:
            lines.append(f"{name} = {value}")
    write_whole(path, "\n".join(lines) + "\n")


def with_ensemble_threshold(weights: str | Path, threshold: float) -> None:
    """Write a score threshold into the file of an ensemble; nothing else changes.

    Raises:
        CheckpointError: See `read_ensemble_file`, or the file travels with the package.
    """
    _rewrite(weights, score_threshold=shortened_threshold(threshold))


def with_calibrated_ensemble(weights: str | Path, calibration: ScoreCalibration, threshold: float) -> None:
    """Write what makes its scores mean how often they are right into the file of an ensemble; nothing else changes.

    Args:
        weights: The file.
        calibration: Of the scores that the ensemble gave so far.
        threshold: A calibrated score.

    Raises:
        CheckpointError: See `read_ensemble_file`, or the file travels with the package.
        InputError: After the calibration that it has already, the numbers are out of range.
    """
    described = read_ensemble_file(weights)
    of_first = read_classifier_description(described.members[0]).score_calibration
    before = described.settings.get("calibration", of_first)
    both = calibration if before is None else calibration.after(before)
    _rewrite(weights, calibration=both, score_threshold=shortened_threshold(threshold))


def _rewrite(weights: str | Path, **changes: Any) -> None:
    if str(weights) in ENSEMBLES:
        raise CheckpointError(f"{weights} came with the package and is not rewritten; write a file of your own")
    before = read_ensemble_file(weights)
    write_ensemble_file(weights, before.members, {**before.settings, **changes})


def _member(name: str, path: Path) -> str | Path:
    """Return a member as it can be loaded: files are looked for beside the ensemble's."""
    return name if name in SHIPPED else path.parent / name


def _from_there(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def _setting(name: str, value: Any) -> Any:
    """Return a setting as `DetectionSettings` has it."""
    if name == "max_proposals" and value == 0 and value is not False:
        return None
    if name != "score_calibration":
        return float(value) if type(value) is int and name != "max_proposals" else value
    if not isinstance(value, dict) or value.keys() != {"slope", "offset"}:
        raise InputError(f"score_calibration should have slope and offset, got {value!r:.200}")
    if not all(type(one) in (int, float) for one in value.values()):
        raise InputError(f"score_calibration should be of numbers, got {value!r:.200}")
    return ScoreCalibration(float(value["slope"]), float(value["offset"]))
