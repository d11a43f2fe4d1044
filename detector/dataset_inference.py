"""A detector run over the images of a set: by one process or several, and resumed where it was killed."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import inception_rcnn
from inception_rcnn.backbones.checkpoints import read_description
from inception_rcnn.datasets.detections.stored import (
    StoredDetections,
    read_stored_detections,
    write_stored_detections,
)
from inception_rcnn.detector.checkpoints import weights_path
from inception_rcnn.detector.ensemble import average
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.proposals.proposer import Proposer
from inception_rcnn.proposals.stored import ImageSet
from inception_rcnn.structures import InputError, ProgressBar, Proposals, progress_bar, sha256_of
from inception_rcnn.structures.jobs import Share
from inception_rcnn.structures.progress import StageClock

MOST_IMAGES_PER_PART: Final = 16
PARTS: Final = 256  # or more, if the set is large enough: enough to share out, and to lose little by a kill
_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True, eq=False, kw_only=True)
class SetRun:
    """What is to be detected where.

    Attributes:
        detector: as it is, its score threshold included.
        images: the photographs.
        image_ids: what the data set calls them.
        settings: JSON values that decide what is found; see `describe_run`.
        proposals: of each image, instead of the detector's own; None: it proposes.
        members: names of the ensemble's networks, each to be asked alone as well; empty: only all together.
    """

    detector: Detector
    images: ImageSet
    image_ids: Sequence[int | str]
    settings: dict[str, Any]
    proposals: Sequence[Proposals] | None = None
    members: tuple[str, ...] = ()

    @cached_property
    def expected(self) -> StoredDetections:
        """What the result will say of itself; nothing is found yet."""
        return StoredDetections(
            settings=dict(json.loads(json.dumps(self.settings))),
            class_names=self.detector.ensemble.class_names,
            runs=("all averaged", *self.members) if self.members else ("",),
            image_ids=tuple(self.image_ids),
            checksums=tuple(sha256_of(self.images.path(index)) for index in range(len(self.images))),
            found=(),
            regions=(),
        )

    def name(self) -> str:
        """A file name that no run with other settings, weights or images has."""
        one = self.expected
        key = json.dumps([one.settings, one.class_names, one.runs, one.image_ids, one.checksums], sort_keys=True)
        return f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"


def describe_run(detector: Detector, weights: Sequence[str | Path], proposals_file: Path | None) -> dict[str, Any]:
    """Everything that decides what a detector finds, as JSON values.

    Args:
        detector: loaded from `weights`.
        weights: checkpoints or shipped names; of each its tensors' checksum is kept.
        proposals_file: where the proposals come from; None: the detector's own.
    Raises:
        InputError: the proposals are the detector's own, and made by something that does not say how.
    """
    ensemble, propose = detector.ensemble, detector.propose
    if proposals_file is not None:
        proposals: Any = sha256_of(proposals_file)
    elif isinstance(propose, Proposer):
        proposals = propose.describe()
    else:
        raise InputError(f"a detector that proposes by {propose} cannot be described; load it with load_detector")
    return {
        "version": inception_rcnn.__version__,
        "weights": [read_description(weights_path(name))["data_sha256"] for name in weights],
        "input": ensemble.input_spec.to_dict(),
        "arithmetic": f"{ensemble.runtime.dtype} on {ensemble.runtime.device.type}",
        "proposals": proposals,
        "judge": None if detector.judge is None else detector.judge.checksum,
        **asdict(detector.settings),
    }


def detect_set(
    run: SetRun, path: Path | None = None, *, keep: bool = True, share: Share | None = None, quiet: bool = False
) -> StoredDetections | None:
    """What is found in the images, read from `path` as far as it is there, detected and stored otherwise.

    Parts of a few images wait in a folder beside the file, `<name>.parts/`, until all are done. Several processes share
    the parts through that folder; those but the first get None when theirs are done.

    Args:
        run: what to do.
        path: the file, *.safetensors; None to store nothing.
        keep: put the parts together into `path`. If not, they stay as they are until `forget_run`.
        share: which of how many processes this is; all have the same `run` and `path`.
        quiet: no progress.
    Raises:
        InputError: the file or its parts were made with other settings or from other images, or several processes
            have no file.
        DataFormatError: a file is damaged.
    """
    share = share or Share()
    expected = run.expected
    if path is not None and keep and path.exists():
        return _finished(path, expected) if share.leads else None
    with progress_bar(len(run.images), "images", quiet=quiet or not share.leads) as bar:
        if path is None:
            if share.processes > 1:
                raise InputError("several processes need a file for the detections, in a folder that all of them see")
            return _detect(run, expected, range(len(run.images)), bar)
        folder = _parts_folder(path)
        folder.mkdir(parents=True, exist_ok=True)
        for number, rows in enumerate(_parts(len(run.images))):
            if share.has(number):
                _one_part(run, expected, rows, folder, bar)
        if not share.leads:
            return None
        parts = [_awaited(expected, rows, folder, bar, share, n) for n, rows in enumerate(_parts(len(run.images)))]
    whole = StoredDetections.joined(parts)
    if keep:
        write_stored_detections(path, whole)
        forget_run(path)
    return whole


def forget_run(path: Path) -> None:
    """Removes the parts of a run, so that the next one begins anew; call it when all that was to be made of it is."""
    shutil.rmtree(_parts_folder(path), ignore_errors=True)


def unfinished_run(path: Path) -> bool:
    """Whether a run that was to make this file was stopped before its end."""
    return _parts_folder(path).is_dir() and any(_parts_folder(path).iterdir())


def _finished(path: Path, expected: StoredDetections) -> StoredDetections:
    stored = read_stored_detections(path)
    stored.check_same(expected, path)
    for image_id, theirs, ours in zip(expected.image_ids, stored.checksums, expected.checksums, strict=True):
        if theirs != ours:
            raise InputError(f"the photograph of image {image_id} has changed since {path} was made; use another file")
    return stored


def _parts(count: int) -> list[range]:
    """Which images each part has; the number of processes does not matter, so that it may change."""
    step = max(1, min(MOST_IMAGES_PER_PART, count // PARTS))
    return [range(start, min(start + step, count)) for start in range(0, count, step)]


def _part_of(expected: StoredDetections, rows: range) -> StoredDetections:
    chosen = slice(rows.start, rows.stop)
    return replace(expected, image_ids=expected.image_ids[chosen], checksums=expected.checksums[chosen])


def _parts_folder(path: Path) -> Path:
    return path.with_name(path.name + ".parts")


def _part_path(folder: Path, rows: range) -> Path:
    return folder / f"{rows.start:08d}.safetensors"


def _one_part(run: SetRun, expected: StoredDetections, rows: range, folder: Path, bar: ProgressBar) -> None:
    """Detects and stores a part, unless it is there from the same photographs already."""
    file, wanted = _part_path(folder, rows), _part_of(expected, rows)
    if file.exists():
        stored = read_stored_detections(file)
        stored.check_same(wanted, file)
        if stored.checksums == wanted.checksums:
            bar.advance(len(rows))
            return
    write_stored_detections(file, _detect(run, wanted, rows, bar))


def _awaited(
    expected: StoredDetections, rows: range, folder: Path, bar: ProgressBar, share: Share, number: int
) -> StoredDetections:
    """A part, as soon as the process that has it is done with it."""
    file, wanted = _part_path(folder, rows), _part_of(expected, rows)
    while True:
        if file.exists():
            stored = read_stored_detections(file)
            stored.check_same(wanted, file)
            if stored.checksums == wanted.checksums:
                break
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    if not share.has(number):
        bar.advance(len(rows))
    return stored


def _detect(run: SetRun, wanted: StoredDetections, rows: range, bar: ProgressBar) -> StoredDetections:
    """What is found in some of the images."""
    clock = StageClock()
    found, regions = [], []
    for detections, boxes in _each_image(run, rows, clock):
        found.append(detections)
        regions.append(boxes)
        bar.advance(1)
    return replace(wanted, found=tuple(found), regions=tuple(regions), seconds=dict(clock.seconds))


def _each_image(run: SetRun, rows: range, clock: StageClock) -> Iterator[tuple[Any, npt.NDArray[np.float32]]]:
    """For one image after the other the detections of each run, and the regions that were classified."""
    detector = run.detector
    for row in rows:
        with clock.stage("decode"):
            image = run.images.load_image(row)
        with clock.stage("proposals"):
            chosen = detector.choose(detector.propose(image) if run.proposals is None else run.proposals[row])
        each = detector.classify_each(image, chosen.boxes, clock)
        objectness = detector.objectness(image, chosen.boxes, clock)
        with clock.stage("rest"):
            asked = (average(each), *(each if run.members else ()))
            found = tuple(detector.settle(chosen.boxes, one, objectness) for one in asked)
        yield found, chosen.boxes
