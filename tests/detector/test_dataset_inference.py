"""A detector over a set: stored as it goes, resumed, shared out, refused where something else was asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from marked_set import MarkedSet
from numpy.typing import NDArray
from PIL import Image

from inception_rcnn.backbones import GoogLeNet
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.datasets import open_dataset, write_coco
from inception_rcnn.datasets.detections.stored import StoredDetections, read_stored_detections
from inception_rcnn.detector import (
    ClassifierDescription,
    DetectionSettings,
    Detector,
    Ensemble,
    RegionClassifier,
    dataset_inference,
    load_detector,
    save_region_classifier,
)
from inception_rcnn.detector.checkpoints import load_region_classifier, with_activation_ranges, with_score_threshold
from inception_rcnn.detector.dataset_inference import (
    SetRun,
    describe_run,
    detect_set,
    evaluate_detector,
    forget_run,
    unfinished_run,
)
from inception_rcnn.proposals.proposer import ProposalSettings, Proposer
from inception_rcnn.proposals.stored import propose_for_set
from inception_rcnn.structures import ImageError, InputError, Proposals, load_image
from inception_rcnn.structures.jobs import Share, code_fingerprint

COUNT = 5


class Album:
    """Photographs of all shades; one that may not be opened stops the run there."""

    def __init__(self, folder: Path, photograph: NDArray[np.uint8]) -> None:
        self.files = [folder / f"{number}.png" for number in range(COUNT)]
        self.opened: list[int] = []
        self.stop_at: int | None = None
        self.broken: set[int] = set()
        self.replaced: dict[int, NDArray[np.uint8]] = {}  # once each, when it is opened
        for number, file in enumerate(self.files):
            Image.fromarray(np.roll(photograph, 7 * number, axis=1)).save(file)

    def __len__(self) -> int:
        return COUNT

    def path(self, index: int, /) -> Path:
        return self.files[index]

    def load_image(self, index: int, /) -> NDArray[np.uint8]:
        if index == self.stop_at:
            raise KeyboardInterrupt
        if index in self.broken:
            raise ImageError(f"{self.files[index]} cannot be opened: too many open files")
        self.opened.append(index)
        if (other := self.replaced.pop(index, None)) is not None:
            Image.fromarray(other).save(self.files[index])
        return load_image(self.files[index])


@pytest.fixture(scope="module")
def detector(classifiers: tuple[RegionClassifier, ...], boxes: NDArray[np.float32]) -> Detector:
    """Two networks, four proposals."""
    proposals = Proposals(boxes[:4], np.linspace(1, 0, 4, dtype=np.float32))
    return Detector(lambda image: proposals, Ensemble(classifiers), DetectionSettings(duplicate_iou=1.0))


@pytest.fixture
def album(tmp_path: Path, photograph: NDArray[np.uint8]) -> Album:
    return Album(tmp_path, photograph)


@pytest.fixture
def run(detector: Detector, album: Album) -> SetRun:
    ids = tuple(range(10, 10 + COUNT))
    return SetRun(detector=detector, images=album, image_ids=ids, settings={"a": (1, 2)}, members=("x", "y"))


def content(stored: StoredDetections | None) -> Any:
    """What was found, without the time it took."""
    assert stored is not None
    found = [[(run.boxes.tolist(), run.scores.tolist(), run.labels.tolist()) for run in runs] for runs in stored.found]
    proposals = [one.boxes.tolist() for one in stored.proposals]
    return stored.settings, stored.class_names, stored.runs, stored.image_ids, stored.checksums, found, proposals


def test_a_detector_is_scored_on_a_data_set_in_one_call(tmp_path: Path) -> None:
    """As `eval_map` would; detections that are kept are not made again."""
    dataset = MarkedSet(tmp_path / "marked", ("person", "cat", "cup"))
    write_coco(dataset, tmp_path / "coco", "val")
    opened = open_dataset("coco", tmp_path / "coco", "val")
    detector = load_detector("coco", "cpu", runtime="torch", max_proposals=60)
    kept = tmp_path / "kept.safetensors"
    whole = evaluate_detector(detector, opened, output=kept, quiet=True)
    assert whole.result.map > 0.3 and whole.title == "coco on coco/val" and whole.weights == ("coco",)
    assert len(whole.detections) > 3 and float(whole.detections.score.min()) < detector.settings.score_threshold
    before = kept.stat().st_mtime_ns
    again = evaluate_detector(detector, opened, output=kept, protocol="voc2007", quiet=True)
    assert kept.stat().st_mtime_ns == before and again.result.map != whole.result.map
    first = evaluate_detector(detector, opened, limit=1, quiet=True)
    assert len(first.truths.image_ids) == 1


def test_a_detector_built_by_hand_is_scored_and_nothing_of_it_is_kept(detector: Detector, tmp_path: Path) -> None:
    """Nothing says what it is made of, so what one found would be taken for what another one finds."""
    dataset = MarkedSet(tmp_path / "marked")
    assert evaluate_detector(detector, dataset, quiet=True).title == "2 networks on data"
    with pytest.raises(InputError, match="output keeps what a detector of load_detector finds among its own proposals"):
        evaluate_detector(detector, dataset, output=tmp_path / "kept.safetensors", quiet=True)
    assert not list(tmp_path.glob("kept*"))


def test_proposals_of_one_s_own_are_scored(
    classifiers: tuple[RegionClassifier, ...], description: ClassifierDescription, tmp_path: Path
) -> None:
    """Where a file has them, what is found can be kept."""
    weights, dataset = tmp_path / "weights.safetensors", MarkedSet(tmp_path / "marked")
    save_region_classifier(weights, classifiers[0].network, description)
    boxes = Proposals(np.array([[2, 2, 40, 40], [20, 10, 60, 60]], np.float32), np.array([1, 0.5], np.float32))
    detector = load_detector(weights, "cpu", proposals=lambda image: boxes)
    alone = evaluate_detector(detector, dataset, quiet=True)
    stored, kept = tmp_path / "proposals.safetensors", tmp_path / "kept.safetensors"
    with pytest.raises(InputError, match="output keeps what a detector of load_detector finds"):
        evaluate_detector(detector, dataset, output=kept, quiet=True)
    propose_for_set(dataset, lambda image: boxes, {"method": "two boxes"}, stored)
    whole = evaluate_detector(detector, dataset, proposals=str(stored), output=kept, quiet=True)
    assert kept.is_file() and whole.detections == alone.detections


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limit": 0}, "limit should be at least 1 photograph, got 0"),
        ({"limit": -3}, "limit should be at least 1 photograph, got -3"),
        ({"limit": 1.0}, r"limit should be a whole number or None, got 1\.0"),
        ({"protocol": "voc2012"}, "protocol 'voc2012' is unknown; known: ilsvrc, voc2007, voc2010, coco"),
        ({"protocol": ""}, "protocol '' is unknown"),
        ({"proposals": [Proposals.empty()]}, "proposals should be a text or Path, got"),
        ({"detector": "coco"}, "detector should be Detector, got 'coco'"),
        (
            {"dataset": "coco"},
            "dataset should be a data set, such as open_dataset returns; a str lacks image_ids",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_detected(
    detector: Detector, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    never = Detector(lambda image: pytest.fail("a photograph was looked at"), detector.ensemble, detector.settings)
    with pytest.raises(InputError, match=message):
        evaluate_detector(**{"detector": never, "dataset": MarkedSet(tmp_path / "marked"), "quiet": True} | given)


def test_a_data_set_whose_objects_are_of_other_photographs_is_refused(detector: Detector, tmp_path: Path) -> None:
    dataset = MarkedSet(tmp_path / "marked")
    first = dataset.ground_truths().of_images([0])
    dataset.ground_truths = lambda: first  # type: ignore[method-assign]
    with pytest.raises(InputError, match="ground_truths of data should have 3 images, got 1"):
        evaluate_detector(detector, dataset, quiet=True)


def test_a_file_of_another_kind_is_refused_before_anything_is_detected(run: SetRun, tmp_path: Path) -> None:
    for name, message in (("found.json", r"named \*.safetensors"), ("folder.safetensors", "it is a folder")):
        (tmp_path / "folder.safetensors").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=message):
            detect_set(run, tmp_path / name, quiet=True)
        assert run.images.opened == []


def test_it_finds_what_the_detector_finds(run: SetRun, detector: Detector, album: Album) -> None:
    stored = detect_set(run, quiet=True)
    assert stored is not None and stored.runs == ("all averaged", "x", "y")
    assert stored.settings == {"a": [1, 2], "code": code_fingerprint()} and stored.image_ids == (10, 11, 12, 13, 14)
    assert list(stored.seconds) == ["waiting", "proposals", "warp", "network", "rest"]
    for position, (together, *alone) in enumerate(stored.found):
        answers = [detector(album.path(position))]
        answers += [
            Detector(detector.propose, Ensemble([member]), detector.settings)(album.path(position))
            for member in detector.ensemble.members
        ]
        for mine, expected in zip((together, *alone), answers, strict=True):
            assert len(expected) > 0
            np.testing.assert_array_equal(mine.boxes, expected.boxes)
            np.testing.assert_array_equal(mine.scores, expected.scores)
    assert len({len(one) for one in stored.proposals}) == 1 and len(stored.proposals[0]) == 4


def test_one_network_has_one_run_and_given_proposals_are_used(run: SetRun, boxes: NDArray[np.float32]) -> None:
    given = [Proposals(boxes[:n], np.linspace(1, 0, n, dtype=np.float32)) for n in (1, 2, 3, 1, 2)]
    stored = detect_set(replace(run, members=(), proposals=given), quiet=True)
    assert stored is not None and stored.runs == ("",)
    assert [len(one) for one in stored.proposals] == [1, 2, 3, 1, 2]


@pytest.mark.parametrize("keep", [True, False])
def test_a_killed_run_goes_on_where_it_was(keep: bool, run: SetRun, album: Album, tmp_path: Path) -> None:
    whole = content(detect_set(run, quiet=True))
    album.opened.clear()
    path = tmp_path / "out" / "found.safetensors"
    assert not unfinished_run(path)
    album.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        detect_set(run, path, keep=keep, quiet=True)
    assert unfinished_run(path) and not path.exists()
    album.stop_at = None
    resumed = detect_set(run, path, keep=keep, quiet=True)
    assert album.opened == [0, 1, 2, 3, 4]  # each once
    assert content(resumed) == whole
    assert unfinished_run(path) != keep and path.exists() == keep
    again = detect_set(run, path, keep=keep, quiet=True)
    assert content(again) == whole and len(album.opened) == 5
    forget_run(path)
    if keep:
        assert content(read_stored_detections(path)) == whole
    else:
        assert not unfinished_run(path)
        assert content(detect_set(run, path, keep=keep, quiet=True)) == whole and len(album.opened) == 10


def test_a_kill_at_the_very_end_and_a_late_process_leave_nothing(run: SetRun, tmp_path: Path) -> None:
    path = tmp_path / "found.safetensors"
    detect_set(run, path, quiet=True)
    left = path.with_name(path.name + ".parts")
    left.mkdir()
    (left / "00000000.safetensors").touch()
    assert detect_set(run, path, share=Share(0, 2), quiet=True) is not None and not left.exists()
    assert detect_set(run, path, share=Share(1, 2), quiet=True) is None
    assert not list(tmp_path.glob("found.safetensors.*"))


@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_are_refused(finished: bool, run: SetRun, album: Album, tmp_path: Path) -> None:
    path = tmp_path / "found.safetensors"
    album.stop_at = None if finished else 2
    if finished:
        detect_set(run, path, quiet=True)
    else:
        with pytest.raises(KeyboardInterrupt):
            detect_set(run, path, quiet=True)
    with pytest.raises(InputError, match=r"found.*safetensors was made with a = \[1, 2\], now 3 is asked for"):
        detect_set(replace(run, settings={"a": 3}), path, quiet=True)
    with pytest.raises(InputError, match="made with runs"):
        detect_set(replace(run, members=()), path, quiet=True)
    with pytest.raises(InputError, match="other images"):
        detect_set(replace(run, image_ids=(1, 2, 3, 4, 5)), path, quiet=True)


def test_photographs_that_changed_are_done_again_or_refused(run: SetRun, album: Album, tmp_path: Path) -> None:
    path = tmp_path / "found.safetensors"
    album.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        detect_set(run, path, quiet=True)
    album.stop_at = None
    Image.fromarray(np.zeros((80, 96, 3), np.uint8)).save(album.files[1])
    changed = replace(run)  # whose expectation is not computed yet
    album.opened.clear()
    assert content(detect_set(changed, path, quiet=True)) == content(detect_set(changed, quiet=True))
    assert album.opened[:3] == [1, 3, 4]
    Image.fromarray(np.zeros((80, 96, 3), np.uint8) + 9).save(album.files[1])
    with pytest.raises(InputError, match="the photograph of image 11 has changed since"):
        detect_set(replace(run), path, quiet=True)


@pytest.mark.parametrize("keep", [True, False])
def test_a_photograph_that_could_not_be_read_is_looked_at_again(
    keep: bool, run: SetRun, album: Album, tmp_path: Path
) -> None:
    """What failed may have been the disk, and the file be the same."""
    path, whole = tmp_path / "found.safetensors", content(detect_set(run, quiet=True))
    album.broken = {1, 3}
    with pytest.raises(ImageError, match="2 of 5 photographs could not be read"):
        detect_set(run, path, keep=keep, quiet=True)
    album.broken = {3}
    album.opened.clear()
    left_out = detect_set(run, path, keep=keep, skip_broken=True, quiet=True)
    assert left_out is not None and [image_id for image_id, _ in left_out.unread] == [13]
    assert set(album.opened) == {1}, "what was found in the others is kept"
    album.broken = set()
    if keep:
        with pytest.raises(InputError, match=r"image 13 could not be read when .* was made, and can be now; use anot"):
            detect_set(run, path, quiet=True)
        path.unlink()
    assert content(detect_set(run, path, keep=keep, quiet=True)) == whole


def test_a_checksum_is_of_the_photograph_that_was_looked_at(run: SetRun, album: Album) -> None:
    album.replaced = {2: np.full((80, 96, 3), 40, np.uint8)}
    assert content(detect_set(run, quiet=True)) == content(detect_set(run, quiet=True))
    assert album.opened.count(2) == 3, "once more after it was another one"


def test_parts_of_a_process_of_older_code_that_still_lives_are_refused(
    run: SetRun, album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, old = tmp_path / "found.safetensors", tmp_path / "old.safetensors"
    monkeypatch.setattr(dataset_inference, "code_fingerprint", lambda: "before")
    detect_set(replace(run), old, keep=False, quiet=True)
    monkeypatch.undo()
    late, load = tmp_path / "old.safetensors.parts" / "00000001.safetensors", album.load_image

    def load_while_it_writes(index: int, /) -> NDArray[np.uint8]:
        if index == 4 and late.exists():
            late.replace(tmp_path / "found.safetensors.parts" / late.name)
        return load(index)

    monkeypatch.setattr(album, "load_image", load_while_it_writes)
    with pytest.raises(InputError, match=r"00000001\.safetensors was written meanwhile by a process with other code"):
        detect_set(replace(run), path, quiet=True)
    assert detect_set(replace(run), path, quiet=True) is not None


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_several_processes_find_the_same(processes: int, run: SetRun, album: Album, tmp_path: Path) -> None:
    whole = content(detect_set(run, quiet=True))
    album.opened.clear()
    path = tmp_path / "found.safetensors"
    first: list[StoredDetections | None] = []
    leader = threading.Thread(
        target=lambda: first.append(detect_set(replace(run), path, share=Share(0, processes), quiet=True))
    )
    leader.start()  # waits for the others
    for rank in range(1, processes):
        assert detect_set(replace(run), path, share=Share(rank, processes), quiet=True) is None
    leader.join(timeout=60)
    assert content(first[0]) == whole and sorted(album.opened) == [0, 1, 2, 3, 4]
    assert detect_set(run, path, share=Share(1, processes), quiet=True) is None  # comes late: all is done
    assert len(album.opened) == 5


def test_several_processes_need_a_file(run: SetRun) -> None:
    with pytest.raises(InputError, match="several processes need a file"):
        detect_set(run, share=Share(0, 2), quiet=True)


def test_parts_of_older_code_are_found_again(run: SetRun, album: Album, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "found.safetensors"
    album.stop_at = 3
    monkeypatch.setattr("inception_rcnn.detector.dataset_inference.code_fingerprint", lambda: "before")
    with pytest.raises(KeyboardInterrupt):
        detect_set(run, path, quiet=True)
    monkeypatch.undo()
    album.stop_at = None
    album.opened.clear()
    detect_set(replace(run), path, quiet=True)
    assert album.opened == [0, 1, 2, 3, 4]


def test_what_decides_is_described(
    make_network: Callable[[int], GoogLeNet], description: ClassifierDescription, cpu: Runtime, tmp_path: Path
) -> None:
    def describe(path: Path, proposals: Path | None = None, **settings: Any) -> dict[str, Any]:
        ensemble = Ensemble([load_region_classifier(path, cpu)])
        return describe_run(Detector(propose, ensemble, DetectionSettings(**settings), network), [path], proposals)

    network: Any = None
    propose: Any = Proposer(ProposalSettings(source="selective-search"))
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_region_classifier(path, make_network(1), description)
    save_region_classifier(other, make_network(2), description)
    before = describe(path)
    assert describe(other) != before
    assert describe(path, max_proposals=5) != before and describe(path, score_threshold=0.5) != before
    assert describe(path, other) != before != describe(path, path)
    with_score_threshold(path, 0.75, "")  # the networks are the same, and `settings` says which threshold counts
    assert describe(path) == before
    network = SimpleNamespace(checksum="of a network")
    assert describe(path) != before and describe(path, objectness_power=0.0) != describe(path)
    assert describe(path, box_regression=False) != describe(path)
    with_power = save_region_classifier(other, make_network(1), replace(description, objectness_power=0.5))
    assert with_power is None and describe(other) == describe(path)  # the same network; `settings` has the power
    network = None
    propose = Proposer(ProposalSettings(source="selective-search", mode="single"))
    assert describe(path) != before
    propose = Proposals.empty
    assert "proposals" in describe(path, other)
    with pytest.raises(InputError, match="cannot be described; load it with load_detector"):
        describe(path)


def test_what_int8_rounds_to_decides_too(
    make_network: Callable[[int], GoogLeNet], description: ClassifierDescription, cpu: Runtime, tmp_path: Path
) -> None:
    """Weights that are calibrated again have the same checksum, and find something else."""

    def describe(runtime: Runtime) -> dict[str, Any]:
        ensemble = Ensemble([load_region_classifier(path, cpu)])
        ensemble.runtime = runtime
        propose = Proposer(ProposalSettings(source="selective-search"))
        return describe_run(Detector(propose, ensemble, DetectionSettings()), [path], None)

    path, runtimes = tmp_path / "a.safetensors", (cpu, replace(cpu, openvino="int8"))
    save_region_classifier(path, make_network(1), description)
    before = [describe(one) for one in runtimes]
    with_activation_ranges(path, {"trunk": ((0.0, 1.0),)})
    after = [describe(one) for one in runtimes]
    assert after[0] == before[0] and after[1] != before[1]
