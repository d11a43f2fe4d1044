"""A stream of photographs gives what calls give, to the bit, however many threads prepare them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from inception_rcnn.backbones import InputSpec
from inception_rcnn.backbones.runtime import leaves_processors
from inception_rcnn.detector import (
    DetectionSettings,
    Detector,
    Ensemble,
    PooledClassifier,
    RegionClassifier,
    Runtime,
    StageClock,
)
from inception_rcnn.proposals import MultiBox, ProposalSettings, Proposer
from inception_rcnn.proposals.network.model import MultiBoxNet
from inception_rcnn.structures import Detections, ImageError, InputError, Proposals, write_picture

Pixels = NDArray[np.uint8]
WORKERS = [0, 1, 2, 5]


@pytest.fixture(scope="module")
def multibox(cpu: Runtime) -> MultiBox:
    """Looks at 64 px, with fresh weights."""
    torch.manual_seed(0)
    network = MultiBoxNet(64, channels=16)
    network.fit_laterals(torch.randn(2, 3, 64, 64) * 60)
    return MultiBox(network, InputSpec(side=64), cpu, checksum="0123")


@pytest.fixture(scope="module", params=["both", "multibox", "selective-search"])
def detector(request: Any, classifiers: tuple[RegionClassifier, ...], multibox: MultiBox) -> Detector:
    """One network, 10 regions, proposed by each source."""
    proposing = ProposalSettings(source=request.param, mode="single", width=100, min_side=8, top_k=15)
    settings = DetectionSettings(max_proposals=10)
    return Detector(Proposer(proposing, multibox), Ensemble(classifiers[:1]), settings, multibox)


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    """Seven small photographs of several sizes."""
    whole = (data.astronaut(), data.chelsea(), data.coffee())
    return [np.ascontiguousarray(whole[n % 3][20 * n : 20 * n + 150 : 2, 30 : 190 + 16 * n : 2]) for n in range(7)]


def content(found: Detections) -> Any:
    return found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_a_stream_equals_calls_for_any_number_of_workers(detector: Detector, images: list[Pixels]) -> None:
    expected = [content(detector(image)) for image in images]
    assert all(len(boxes) > 3 for boxes, _, _ in expected)
    for workers in WORKERS:
        assert [content(found) for found in detector.stream(images, workers=workers)] == expected
    assert [content(found) for found in detector.stream(images)] == expected
    assert list(detector.stream([])) == []


def test_the_same_is_found_for_any_number_of_threads(detector: Detector, images: list[Pixels]) -> None:
    """torch sums in another order on other numbers of threads; that changes scores by rounding, and nothing else."""
    before = torch.get_num_threads()
    found = {}
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            found[threads] = list(detector.stream(images[:3], workers=threads % 3))
    finally:
        torch.set_num_threads(before)
    for threads in (2, 3, 5):
        for one, other in zip(found[1], found[threads], strict=True):
            assert one.labels.tolist() == other.labels.tolist()
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-6)


def test_what_was_prepared_is_detected_on_as_what_was_not(detector: Detector, images: list[Pixels]) -> None:
    image = images[0]
    expected = content(detector(image))
    prepared = detector.prepare(image, threads=1)
    assert content(detector(prepared)) == expected
    assert content(detector.postprocess(detector.score(prepared))) == expected
    assert content(detector.postprocess(detector.score(image))) == expected
    given = Proposals(np.array([[1, 2, 30, 40]], np.float32), np.ones(1, np.float32))
    for source in (image, prepared):
        assert detector.score(source, given).proposals.boxes.tolist() == [[1, 2, 30, 40]]
    assert detector.score(detector.prepare(image, given)).proposals.boxes.tolist() == [[1, 2, 30, 40]]


def test_networks_compute_on_the_thread_that_asks(
    detector: Detector, images: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of torch's threads decides how sums are rounded, and torch has one team of them a thread."""
    seen: set[threading.Thread] = set()
    run = torch.nn.Conv2d.forward

    def watched(self: Any, x: Any) -> Any:
        seen.add(threading.current_thread())
        return run(self, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    assert len(list(detector.stream(images[:3], workers=2))) == 3
    assert seen == {threading.current_thread()}


def test_a_callers_own_way_to_propose_is_called_on_the_callers_thread(detector: Detector, images: list[Pixels]) -> None:
    callers: list[threading.Thread] = []

    def propose(image: Pixels) -> Proposals:
        callers.append(threading.current_thread())
        return Proposals(np.array([[1, 2, 30, 40]], np.float32), np.ones(1, np.float32))

    own = Detector(propose, detector.ensemble, DetectionSettings())
    found = [content(one) for one in own.stream(images[:4], workers=3)]
    assert callers == [threading.current_thread()] * 4
    assert found == [content(own(image)) for image in images[:4]]


@pytest.mark.parametrize("way", ["warp", "pool", "both"])
def test_selective_search_beside_the_networks_changes_nothing(
    way: str,
    detector: Detector,
    pooled: PooledClassifier,
    images: list[Pixels],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = {"warp": detector.ensemble.members, "pool": (pooled,), "both": (*detector.ensemble.members, pooled)}[way]
    one = Detector(detector.propose, Ensemble(members), detector.settings, detector.multibox)
    looks: list[threading.Thread] = []
    searches: list[threading.Thread] = []
    for whose, name, calls in (
        (MultiBox, "look", looks),
        (PooledClassifier, "look", looks),
        (Proposer, "search", searches),
    ):
        monkeypatch.setattr(whose, name, noting(getattr(whose, name), calls))
    found, counts = [], []
    for beside in (False, True):
        monkeypatch.setattr("inception_rcnn.detector.pipeline.leaves_processors", lambda runtime, beside=beside: beside)
        looks.clear()
        searches.clear()
        clock = StageClock()
        found.append([content(one(images[0], clock=clock)), content(one.postprocess(one.score(images[1])))])
        counts.append((len(looks), len(searches)))
        assert list(clock.seconds)[:2] == ["decode", "proposals"] and list(clock.seconds)[-1] == "rest"
        assert set(looks) <= {threading.current_thread()}
        assert (threading.current_thread() in searches) != beside
    assert found[0] == found[1] and counts[0] == counts[1]
    assert counts[0] == (2 if way == "warp" else 4, 2)  # one look of each network at each image


def noting(method: Any, calls: list[threading.Thread]) -> Any:
    """The method, which notes the thread of each call."""

    def noted(*arguments: Any, **named: Any) -> Any:
        calls.append(threading.current_thread())
        return method(*arguments, **named)

    return noted


def test_searching_beside_takes_a_gpu_or_processors_to_spare(cpu: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Runtime(torch.device("cuda"), torch.float32, 4)
    answers = []
    for processors in (1, 2, 4, 16):
        monkeypatch.setattr("inception_rcnn.backbones.runtime.available_processors", lambda count=processors: count)
        answers.append((leaves_processors(cpu), leaves_processors(gpu)))
    assert answers == [(False, True), (False, True), (True, True), (True, True)]


def test_an_error_while_both_are_at_work_leaves_no_thread(
    detector: Detector, images: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inception_rcnn.detector.pipeline.leaves_processors", lambda runtime: True)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no more")

    for whose, name in ((Proposer, "search"), (Ensemble, "look")):
        with monkeypatch.context() as patch, pytest.raises(MemoryError, match="no more"):
            patch.setattr(whose, name, fail)
            detector(images[0])


@pytest.mark.parametrize("workers", WORKERS)
def test_an_image_that_cannot_be_read_is_raised_at_its_place(
    detector: Detector, images: list[Pixels], tmp_path: Path, workers: int
) -> None:
    stream = detector.stream([images[0], images[1], tmp_path / "absent.png", images[2]], workers=workers)
    assert [content(next(stream)) for _ in range(2)] == [content(detector(image)) for image in images[:2]]
    with pytest.raises(ImageError, match=r"absent\.png does not exist"):
        next(stream)
    assert list(stream) == []


@pytest.mark.parametrize("workers", WORKERS)
def test_prepared_ahead_the_others_go_on(
    detector: Detector, images: list[Pixels], tmp_path: Path, workers: int
) -> None:
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for number in (0, 2, 3):
        Image.fromarray(images[number]).save(files[number])
    (tmp_path / "1.png").write_text("not an image")
    answers: list[Any] = []
    for done in detector.prepare_ahead(files, workers=workers):
        try:
            answers.append(content(detector(done.result())))
        except ImageError as error:
            answers.append(type(error))
    assert answers == [ImageError if number == 1 else content(detector(images[number])) for number in range(4)]


@pytest.fixture
def folder(images: list[Pixels], tmp_path: Path) -> Path:
    """Photographs 0, 1 and 3 as c.png, D.PNG and e.png, a damaged one between them, what is none, what was drawn."""
    for name, number in (("c.png", 0), ("D.PNG", 1), ("e.png", 3)):
        Image.fromarray(images[number]).save(tmp_path / name)
    (tmp_path / "d.jpg").write_text("not an image")
    for name in (".hidden.png", "notes.txt"):
        (tmp_path / name).write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    for name in ("c-detections.png", "d-detections.jpg"):
        write_picture(tmp_path / name, images[0])
    return tmp_path


@pytest.mark.parametrize("workers", WORKERS)
def test_a_damaged_image_of_a_folder_is_left_out_or_has_its_place(
    detector: Detector, images: list[Pixels], folder: Path, workers: int
) -> None:
    expected = {"D.PNG": content(detector(images[1])), "c.png": content(detector(images[0]))}
    expected["e.png"] = content(detector(images[3]))
    with pytest.warns(UserWarning) as said:
        found = list(detector.stream(folder, workers=workers, on_error="skip"))
    assert [one.path for one in found] == [folder / name for name in expected]
    assert [content(one) for one in found] == list(expected.values())
    assert [f"left out: {folder / 'd.jpg'} is none of JPEG" in str(one.message) for one in said] == [True]
    places = list(detector.stream(str(folder), workers=workers, on_error="return"))
    assert [type(one) for one in places] == [Detections, Detections, ImageError, Detections]
    assert [content(one) for one in places if isinstance(one, Detections)] == list(expected.values())
    ends = detector.stream(folder, workers=workers)
    assert [next(ends).path, next(ends).path] == [folder / "D.PNG", folder / "c.png"]
    with pytest.raises(ImageError, match=r"d\.jpg is none of JPEG"):
        next(ends)


def test_what_is_no_image_s_fault_is_never_passed_over(detector: Detector, images: list[Pixels]) -> None:
    def propose(image: Pixels) -> Proposals:
        raise MemoryError("no more")

    broken = Detector(propose, detector.ensemble, DetectionSettings())
    for on_error in ("skip", "return"):
        with pytest.raises(MemoryError, match="no more"):
            list(broken.stream(images[:1], on_error=on_error))  # type: ignore[call-overload]


def test_one_image_is_a_stream_of_one(detector: Detector, images: list[Pixels], folder: Path) -> None:
    expected = content(detector(images[0]))
    path = folder / "c.png"
    for one in (path, str(path), path.read_bytes(), images[0], Image.open(path), detector.prepare(path)):
        assert [content(found) for found in detector.stream(one)] == [expected]
    assert [content(found) for found in detector.stream(torch.from_numpy(images[0]).permute(2, 0, 1))] == [expected]
    assert [content(found) for found in detector.stream(np.stack([images[0]] * 2))] == [expected] * 2


def test_a_stream_of_nothing_is_refused_when_it_is_asked_for(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(InputError, match=f"there are no images in the folder {tmp_path}"):
        detector.stream(tmp_path)
    with pytest.raises(InputError, match="on_error should be raise, skip, return, got 'ignore'"):
        detector.stream([], on_error="ignore")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="stream takes images one after the other, or a folder, got 5"):
        detector.stream(5)  # type: ignore[call-overload]


def test_several_images_that_are_no_list_go_into_a_stream(detector: Detector, images: list[Pixels]) -> None:
    for several in (iter(images), np.stack([images[0]] * 2), {1: images[0]}):
        with pytest.raises(InputError, match=r"takes one image or a list of them, got \w+; stream takes any others"):
            detector(several)  # type: ignore[call-overload]


def test_detections_know_their_file(detector: Detector, images: list[Pixels], folder: Path, tmp_path: Path) -> None:
    path = folder / "c.png"
    for found in (detector(path), detector(str(path)), detector(detector.prepare(path)), *detector([path])):
        assert found.path == path and found == detector(images[0])
        assert found[:1].path == found.above(0.1).path == path
        np.testing.assert_array_equal(found.draw(), found.draw(images[0]))
        assert [one.shape for one in found.crops()] == [one.shape for one in found.crops(images[0])]
    found.save(tmp_path / "drawn" / "c.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "drawn" / "c.png")), found.draw(images[0]))
    unknown = detector(images[0])
    assert unknown.path is None
    for ask in (unknown.draw, unknown.crops, lambda: unknown.save(tmp_path / "x.png")):
        with pytest.raises(InputError, match=r"of no file, so the image is needed: give it, such as draw\(image\)"):
            ask()


def test_threads_may_share_a_detector(detector: Detector, pooled: PooledClassifier, images: list[Pixels]) -> None:
    """Each gets what it would get alone, to the bit, whether it asks for one image or for a stream."""
    both = Detector(
        detector.propose, Ensemble([*detector.ensemble.members, pooled]), detector.settings, detector.multibox
    )
    for one in (detector, both):
        expected = [content(one(image)) for image in images]
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(one, image) for image in images * 2]
            streams = [pool.submit(lambda one=one: list(one.stream(images, workers=2))) for _ in range(2)]
            assert [content(call.result()) for call in calls] == expected * 2
            for stream in streams:
                assert [content(found) for found in stream.result()] == expected


def test_errors_of_the_source_and_interrupts_pass_through(detector: Detector, images: list[Pixels]) -> None:
    def source(error: type[BaseException]) -> Iterator[Pixels]:
        yield from images[:2]
        raise error("stop")

    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error, match="stop"):
            list(detector.stream(source(error), workers=2))
    found = detector.stream(source(OSError), workers=2)
    assert content(next(found)) == content(detector(images[0]))  # before the error
    found.close()  # type: ignore[attr-defined]


def test_a_closed_stream_stops_its_threads_and_an_endless_one_is_read_a_little(
    detector: Detector, images: list[Pixels]
) -> None:
    taken: list[int] = []

    def endless() -> Iterator[Pixels]:
        while True:
            taken.append(1)
            yield images[0]

    stream = detector.stream(endless(), workers=3)
    assert taken == []
    next(stream)
    next(stream)
    assert len(taken) <= 2 + 4
    stream.close()  # type: ignore[attr-defined]
    count = len(taken)
    time.sleep(0.05)
    assert len(taken) == count


def test_the_workers_share_the_processors(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inception_rcnn.detector.pipeline.available_processors", lambda: 8)
    assert detector.workers_ahead(0) == (0, None)
    assert [detector.workers_ahead(n) for n in (1, 2, 3, 8, 20)] == [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1)]
    monkeypatch.setattr(detector.ensemble, "runtime", Runtime(torch.device("cuda"), torch.float32, 4))
    assert detector.workers_ahead() == (8, 1)
