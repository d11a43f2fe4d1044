"""A detector run over the images of a set, by one process or several, resumed where it was killed; and scored on it.

detector, data set --set_run--> SetRun --detect_set--> StoredDetections --evaluate_stored--> ReportInput: mAP, matches
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from inception_rcnn.backbones.checkpoints import read_description
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.datasets import CocoDataset, IlsvrcDetDataset
from inception_rcnn.datasets.class_matching import class_positions, known_classes
from inception_rcnn.datasets.detections.stored import (
    StoredDetections,
    read_stored_detections,
    write_stored_detections,
)
from inception_rcnn.datasets.evaluation_set import EvaluationSet
from inception_rcnn.detector.checkpoints import weights_path
from inception_rcnn.detector.ensemble import Ensemble
from inception_rcnn.detector.pipeline import Detector, PreparedImage
from inception_rcnn.detector.postprocessing import counting_all
from inception_rcnn.evaluation import proposal_recall
from inception_rcnn.evaluation.protocols import PROTOCOL_OF_FORMAT, check_protocol
from inception_rcnn.evaluation.report.inputs import ReportInput, evaluated
from inception_rcnn.proposals.proposer import Proposer
from inception_rcnn.proposals.stored import proposals_from_file
from inception_rcnn.structures import (
    DataFormatError,
    Detections,
    ImageError,
    InputError,
    ProgressBar,
    Proposals,
    progress_bar,
    sha256_of,
)
from inception_rcnn.structures.ahead import run_ahead
from inception_rcnn.structures.array_file import array_path
from inception_rcnn.structures.dataset import DetectionDataset, Subset, check_dataset, dataset_name
from inception_rcnn.structures.errors import as_declared
from inception_rcnn.structures.files import read_with_checksum
from inception_rcnn.structures.jobs import (
    PartedJob,
    Share,
    as_json,
    checksums_of,
    code_fingerprint,
    forget_parts,
    images_per_part,
    leave_parts,
)
from inception_rcnn.structures.progress import StageClock

MOST_IMAGES_PER_PART: Final = 16
PARTS: Final = 256  # or more, if the set is large enough: enough to share out, and to lose little by a kill
_NO_PROPOSALS: Final = Proposals(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
_CODE: Final = "code"  # the setting that says which code found the detections


@dataclass(frozen=True, eq=False, kw_only=True)
class SetRun:
    """What is to be detected where.

    Attributes:
        detector: As it is, its score threshold included.
        images: The set of photographs.
        image_ids: What files of detections call them.
        settings: JSON values that decide what is found; see `describe_run`.
        proposals: Of each image, instead of the detector's own; None: it proposes.
        members: Names of the ensemble's networks, each to be scored alone as well; empty: only all together.
    """

    detector: Detector
    images: DetectionDataset
    image_ids: Sequence[int | str]
    settings: dict[str, Any]
    proposals: Sequence[Proposals] | None = None
    members: tuple[str, ...] = ()

    @cached_property
    def expected(self) -> StoredDetections:
        """What the result will say of itself; nothing is found yet, and no image was read."""
        return StoredDetections(
            settings=as_json(self.settings | {_CODE: code_fingerprint()}),
            class_names=self.detector.ensemble.class_names,
            runs=("all averaged", *self.members) if self.members else ("",),
            image_ids=tuple(self.image_ids),
            checksums=(),
            found=(),
            proposals=(),
        )

    def name(self) -> str:
        """Return a file name that no run with other settings, weights or images has.

        Of the images only their sizes in bytes count here; the checksums are compared part by part, by the process
        that computes the part, so that a run of many processes reads each image once.
        """
        one = self.expected
        sizes = [self.images.path(row).stat().st_size for row in range(len(self.images))]
        key = json.dumps([one.settings, one.class_names, one.runs, one.image_ids, sizes], sort_keys=True)
        return f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"


def describe_run(detector: Detector, weights: Sequence[str | Path], proposals_file: Path | None) -> dict[str, Any]:
    """Return everything that decides what a detector finds, as JSON values.

    Args:
        detector: Loaded from `weights`.
        weights: Checkpoints or shipped names; of each its tensors' checksum is kept.
        proposals_file: Where the proposals come from; None: the detector's own.

    Raises:
        InputError: The proposals are the detector's own, and made by something that does not say how.
    """
    ensemble, propose = detector.ensemble, detector.propose
    if proposals_file is not None:
        proposals: Any = sha256_of(proposals_file)
    elif isinstance(propose, Proposer):
        proposals = propose.describe()
    else:
        raise InputError(f"a detector that proposes by {propose} cannot be described; load it with load_detector")
    return {
        "weights": [read_description(weights_path(name))["data_sha256"] for name in weights],
        "input": [member.description.input_spec.to_dict() for member in ensemble.members],
        "pooling": [
            None if (pooling := member.description.pooling) is None else pooling.to_dict()
            for member in ensemble.members
        ],
        "arithmetic": _arithmetic(ensemble.runtime),
        **_ranges(ensemble),
        "proposals": proposals,
        "multibox": None if detector.multibox is None else detector.multibox.checksum,
        **asdict(detector.settings),
    }


def _arithmetic(runtime: Runtime) -> str:
    """Return what decides how products are rounded."""
    return str(runtime) if runtime.openvino else f"{runtime.dtype} on {runtime.device.type}"


def _ranges(ensemble: Ensemble) -> dict[str, Any]:
    """Return between which numbers int8 rounds; weights have a checksum, and these stand beside them."""
    if ensemble.runtime.openvino != "int8":
        return {}
    return {"activation_ranges": [member.description.activation_ranges for member in ensemble.members]}


def detect_set(
    run: SetRun,
    path: Path | None = None,
    *,
    keep: bool = True,
    share: Share | None = None,
    skip_broken: bool = False,
    quiet: bool = False,
) -> StoredDetections | None:
    """Return what is found in the images, read from `path` as far as it is there, detected and stored otherwise.

    Parts of a few images wait in a folder beside the file, `<name>.parts/`, until all are done. Several processes share
    the parts through that folder; those but the first get None when theirs are done. A photograph that cannot be read
    stops no run that has a file: the others are done before it is an error, and nothing of them is lost.

    Args:
        run: What to do.
        path: The file, *.safetensors; None to store nothing.
        keep: Put the parts together into `path`. If not, they stay as they are until `forget_run`.
        share: Which of how many processes this is; all have the same `run` and `path`.
        skip_broken: Take photographs that cannot be read for photographs without detections, and name them in `unread`.
        quiet: No progress.

    Raises:
        ImageError: Photographs cannot be read.
        InputError: The file or its parts were made with other settings or from other images, its name is none of an
            array file, or several processes have no file.
        DataFormatError: A file is damaged.
    """
    share = share or Share()
    path = None if path is None else array_path(path)
    if path is not None and keep and path.exists():
        if not share.leads:
            leave_parts(_parts_folder(path), share)
            return None
        stored = _finished(run, path)
        _check_read(stored, skip_broken=skip_broken)
        forget_run(path, share)  # a kill may have come just before
        return stored
    with progress_bar(len(run.images), "images", quiet=quiet or not share.leads) as bar:
        if path is None:
            if share.processes > 1:
                raise InputError("several processes need a file for the detections, in a folder that all of them see")
            return _detect(run, range(len(run.images)), bar, skip_broken=skip_broken)
        job = _job(run, path, bar)
        parts = job.run(share)
        if parts is None:
            return None
        found = list(parts)
        whole = StoredDetections.joined(found) if found else run.expected
    _check_read(whole, skip_broken=skip_broken)
    if keep:
        write_stored_detections(path, whole)
        job.forget(share)
    return whole


def _check_read(stored: StoredDetections, *, skip_broken: bool) -> None:
    """Raise if photographs could not be read, unless they are to be left out.

    Raises:
        ImageError: Some could not; the text counts them and names the first.
    """
    if stored.unread and not skip_broken:
        count, first = len(stored.unread), stored.unread[0][1]
        raise ImageError(
            f"{count} of {len(stored)} photographs could not be read, the others are done; the first: {first}. Mend or "
            "replace them and call again, or leave them out with --skip-broken or skip_broken=True"
        )


def forget_run(path: Path, share: Share | None = None) -> None:
    """Remove the parts of a run, so that the next one begins anew; call it when all that was to be made of it is."""
    forget_parts(_parts_folder(path), share)


def unfinished_run(path: Path) -> bool:
    """Return whether a run that was to make this file was stopped before its end."""
    return _parts_folder(path).is_dir() and any(_parts_folder(path).glob("*.safetensors"))


def _finished(run: SetRun, path: Path) -> StoredDetections:
    """Return what a finished file holds, if it was made as is asked for now."""
    stored = read_stored_detections(path)
    stored.check_same(run.expected, path)
    ours = _checksums(run, range(len(run.images)))
    for image_id, theirs, checksum in zip(stored.image_ids, stored.checksums, ours, strict=True):
        if theirs != checksum:
            raise InputError(f"the photograph of image {image_id} has changed since {path} was made; use another file")
    if (row := _readable_now(run, stored, range(len(run.images)))) is not None:
        raise InputError(
            f"the photograph of image {run.image_ids[row]} could not be read when {path} was made, and can be now; use "
            "another file"
        )
    return stored


def _readable_now(run: SetRun, stored: StoredDetections, rows: range) -> int | None:
    """Return the first photograph that could not be read and now can: a disk or a missing decoder may be to blame."""
    unread = {image_id for image_id, _ in stored.unread}
    for row in (row for row, image_id in zip(rows, stored.image_ids, strict=True) if image_id in unread):
        with suppress(ImageError, DataFormatError):
            run.images.load_image(row)
            return row
    return None


def _job(run: SetRun, path: Path, bar: ProgressBar) -> PartedJob[StoredDetections]:
    """Return the run as work in parts; their number does not depend on that of the processes, so that it may change."""

    def read(part: Path) -> StoredDetections:
        stored = read_stored_detections(part)
        expected = run.expected
        ids = stored.image_ids
        theirs = replace(expected, image_ids=ids, settings=expected.settings | {_CODE: stored.settings.get(_CODE)})
        stored.check_same(theirs, part)
        if not set(ids) <= set(expected.image_ids):
            raise InputError(f"{part} is of other images than these {len(run.images)}; use another file")
        return stored

    def is_ours(part: StoredDetections, rows: range) -> bool:
        ids = run.expected.image_ids[rows.start : rows.stop]
        return part.settings == run.expected.settings and part.image_ids == ids

    def is_current(part: StoredDetections, rows: range) -> bool:
        same = is_ours(part, rows) and part.checksums == _checksums(run, rows)
        return same and _readable_now(run, part, rows) is None

    return PartedJob(
        folder=_parts_folder(path),
        items=len(run.images),
        per_part=images_per_part(len(run.images), MOST_IMAGES_PER_PART, PARTS),
        compute=lambda rows: _detect(run, rows, bar, skip_broken=True),
        write=write_stored_detections,
        read=read,
        is_current=is_current,
        is_ours=is_ours,
        advance=bar.advance,
        skip=bar.skip,
    )


def _parts_folder(path: Path) -> Path:
    return path.with_name(path.name + ".parts")


def _checksums(run: SetRun, rows: range) -> tuple[str, ...]:
    return checksums_of([run.images.path(row) for row in rows])


def _detect(run: SetRun, rows: range, bar: ProgressBar, *, skip_broken: bool) -> StoredDetections:
    """Return what is found in some of the images; the next ones are read and searched meanwhile.

    Raises:
        ImageError, DataFormatError: An image cannot be read, and such are not to be skipped.
    """
    clock = StageClock()
    workers, threads = run.detector.workers_ahead()

    def prepare(row: int) -> tuple[str, PreparedImage]:
        given = None if run.proposals is None else run.proposals[row]
        checksum, image = read_with_checksum(run.images.path(row), lambda: run.images.load_image(row))
        return checksum, run.detector.prepare(image, given, threads=threads)

    checksums, found, proposals, unread = [], [], [], list[tuple[int | str, str]]()
    members = range(len(run.members))
    with closing(run_ahead(prepare, rows, workers=workers)) as ready:
        for row in rows:
            with clock.stage("waiting"):
                done = next(ready)
                broken = done.exception()
            if skip_broken and isinstance(broken, ImageError | DataFormatError):
                checksum, answers, made = sha256_of(run.images.path(row)), _nothing(run), _NO_PROPOSALS
                unread.append((run.image_ids[row], str(broken)))
            else:
                checksum, prepared = done.result()
                scores = run.detector.score(prepared, clock=clock)
                with clock.stage("rest"):
                    asked = (scores, *(scores.of_member(member) for member in members))
                    answers = tuple(run.detector.postprocess(one) for one in asked)
                made = scores.proposals
            checksums.append(checksum)
            found.append(answers)
            proposals.append(made)
            bar.advance(1)
    chosen = slice(rows.start, rows.stop)
    return replace(
        run.expected,
        image_ids=run.expected.image_ids[chosen],
        checksums=tuple(checksums),
        found=tuple(found),
        proposals=tuple(proposals),
        seconds=dict(clock.seconds),
        unread=tuple(unread),
    )


def _nothing(run: SetRun) -> tuple[Detections, ...]:
    """Return no detections, once for each of the runs of an image."""
    boxes, names = np.zeros((0, 4), np.float32), run.detector.ensemble.class_names
    nothing = Detections(boxes, np.zeros(0, np.float32), np.zeros(0, np.int64), names)
    return (nothing,) * (1 + len(run.members))


# --- what the detections are worth


def evaluate_detector(
    detector: Detector,
    dataset: DetectionDataset,
    *,
    protocol: str | None = None,
    proposals: str | Path | None = None,
    output: str | Path | None = None,
    limit: int | None = None,
    skip_broken: bool = False,
    quiet: bool = False,
) -> ReportInput:
    """Return how well a detector does on a data set: `.map` is mAP at IoU 0.5, in [0, 1].

    Every detection counts, whatever the detector's score threshold, and classes that the data set does not have are
    left out. `write_report(folder, ...)` of `inception_rcnn.evaluation.report` makes a page of what is returned, and
    `compare(...)` of `inception_rcnn.evaluation` a comparison of two.

    Args:
        detector: With its own settings otherwise.
        dataset: Photographs and objects.
        protocol: "coco", "voc2007", "voc2010" or "ilsvrc"; None: that of the data set's format, voc2010 of others.
        proposals: A file made by `propose`; None: the detector's own.
        output: A file to keep the detections in, *.safetensors, from which a killed run goes on; the detector has to be
            one of `load_detector`, with its own proposals or those of a file. None: nothing is kept.
        limit: Only so many photographs, the first ones; None: all.
        skip_broken: Leave out photographs that cannot be read, with their objects, instead of stopping.
        quiet: Show no progress.

    Raises:
        ImageError: Photographs cannot be read.
        InputError: There is nothing to find, no class is known, a value is out of range, or `output` was made otherwise
            or is asked for where nothing says what the detector is made of.

    >>> from inception_rcnn.datasets import open_dataset
    >>> evaluation = evaluate_detector(load_detector(), open_dataset("coco", "coco", "val"))  # doctest: +SKIP
    >>> evaluation.map  # doctest: +SKIP
    0.31
    """
    as_declared("detector", detector, Detector)
    check_dataset(dataset)
    chosen = PROTOCOL_OF_FORMAT[_format_of(dataset)] if protocol is None else protocol
    check_protocol(chosen)
    scored_set = _whole_or_first(dataset, as_declared("limit", limit, int | None))
    given = None if proposals is None else Path(as_declared("proposals", proposals, str | Path))
    if output is not None and not _is_described(detector, given):
        raise InputError(
            "output keeps what a detector of load_detector finds among its own proposals or stored ones, which can be "
            "told apart from others; leave it out"
        )
    run = set_run(counting(detector), scored_set, proposals=given)
    stored = detect_set(run, None if output is None else Path(output), skip_broken=skip_broken, quiet=quiet)
    assert stored is not None  # None is for processes that only help
    members = len(detector.ensemble.members)
    what = f"{members} network{'s' if members > 1 else ''}"
    return next(iter(evaluate_stored(stored, scored_set, chosen, weights=detector.weights, what=what).values()))


def _whole_or_first(dataset: DetectionDataset, limit: int | None) -> EvaluationSet:
    """Return what is scored: a data set, or the first photographs of it.

    Raises:
        InputError: The limit is below 1, there is nothing to find, or the objects are not those of the photographs.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit should be at least 1 photograph, got {limit}")
    chosen = dataset if limit is None else Subset(dataset, range(min(limit, len(dataset))))
    scored_set = EvaluationSet(chosen.ground_truths(), chosen, dataset_name(chosen))
    if scored_set.truth.ignored.all():
        raise InputError(f"{scored_set.title} has no objects to find, so nothing can be scored")
    if (images := len(scored_set.truth.image_ids)) != len(chosen):
        raise InputError(f"ground_truths of {scored_set.title} should have {len(chosen)} images, got {images}")
    return scored_set


def _is_described(detector: Detector, proposals: Path | None) -> bool:
    """Return whether it is known of a detector what decides its detections."""
    return bool(detector.weights) and (proposals is not None or isinstance(detector.propose, Proposer))


def counting(detector: Detector, **changes: Any) -> Detector:
    """Return the detector as AP wants it: every detection counts, and only those of a class are limited.

    Args:
        detector: Any.
        changes: Further settings.
    """
    threshold = counting_all(detector.settings).score_threshold
    return detector.with_settings(score_threshold=threshold, max_detections=None, **changes)


def set_run(
    detector: Detector,
    scored_set: EvaluationSet,
    *,
    proposals: Path | None = None,
    each: bool = False,
    check_images: bool = True,
) -> SetRun:
    """Return what is to be detected on a set's photographs.

    Args:
        detector: As it is, its score threshold included.
        scored_set: With photographs.
        proposals: A file made by `propose`; None: the detector's own.
        each: Score each network of an ensemble alone, as well.
        check_images: Whether to compare the photographs with the checksums in that file; of several processes, one is
            enough to do it.

    Raises:
        InputError: The detector knows none of the classes, or the proposals are of other photographs.
    """
    known_classes(detector.class_names, scored_set.truth)
    images = scored_set.photographs()
    return SetRun(
        detector=detector,
        images=images,
        image_ids=scored_set.truth.image_ids,
        settings=describe_run(detector, detector.weights, proposals) if _is_described(detector, proposals) else {},
        proposals=None if proposals is None else proposals_from_file(proposals, images, check_images=check_images),
        members=detector.weights if each and len(detector.weights) > 1 else (),
    )


def evaluate_stored(
    stored: StoredDetections,
    scored_set: EvaluationSet,
    protocol: str,
    blacklist: Collection[tuple[int | str, str]] = (),
    weights: Sequence[str] = (),
    what: str = "the shipped model",
) -> dict[str, ReportInput]:
    """Return the evaluation of every run by its name: of all networks averaged, then perhaps of each alone.

    Classes of the detector that the data set does not have are left out; classes of the data set that the detector does
    not know have no detections. Photographs that could not be read are left out with their objects.

    Args:
        stored: Of the images of the set, in the same order.
        scored_set: The objects, and perhaps the photographs.
        protocol: One of `evaluation.protocols.PROTOCOLS`.
        blacklist: Pairs of image id and class name that are not evaluated.
        weights: The checkpoints, as far as they are known.
        what: The detector is called where they are not.
    """
    stored, scored_set = _as_far_as_read(stored, scored_set)
    truth = scored_set.truth
    labels = class_positions(stored.class_names, truth.class_names, truth.display_names)
    dataset = scored_set.dataset
    beside = {
        "photographs": None if dataset is None else dataset.load_image,
        "coverage": proposal_recall(truth, stored.proposals),
        "seconds": stored.seconds,
        "weights": tuple(weights),
        "settings": {key: str(value) for key, value in stored.settings.items() if not isinstance(value, dict | list)},
    }
    return {
        name: evaluated(
            stored.table(labels, run),
            truth,
            protocol,
            title=f"{', '.join(weights) or what} on {scored_set.title}",
            blacklist=blacklist,
            **beside,
        )
        for run, name in enumerate(stored.runs)
    }


def _as_far_as_read(stored: StoredDetections, scored_set: EvaluationSet) -> tuple[StoredDetections, EvaluationSet]:
    """Return both without the photographs that could not be read.

    Raises:
        InputError: No photograph or no object is left.
    """
    if not stored.unread:
        return stored, scored_set
    unread = {image_id for image_id, _ in stored.unread}
    rows = [row for row, image_id in enumerate(stored.image_ids) if image_id not in unread]
    truth = scored_set.truth.of_images(rows)
    if truth.ignored.all():
        raise InputError(
            f"none of the photographs of {scored_set.title} with objects could be read: {stored.unread[0][1]}"
        )
    dataset = None if scored_set.dataset is None else Subset(scored_set.dataset, rows)
    return stored.of_images(rows), replace(scored_set, truth=truth, dataset=dataset)


def _format_of(dataset: DetectionDataset) -> str:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    if isinstance(dataset, CocoDataset):
        return "coco"
    return "ilsvrc" if isinstance(dataset, IlsvrcDetDataset) else "voc"
