"""The score threshold of a new classifier: which images are kept for it, and that it is the best one there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.detector import ClassifierDescription, load_region_classifier
from inception_rcnn.detector.training.initial_weights import PretrainedNetwork
from inception_rcnn.detector.training.run import FineTuned, TrainingTask
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.detector.training.sources import TrainingSource
from inception_rcnn.detector.training.threshold import held_out_rows, measure_threshold, some_images, split_rows
from inception_rcnn.detector.training.warped.sampling import SamplingSettings
from inception_rcnn.detector.training.warped.trainer import FineTuneSettings, fine_tune
from inception_rcnn.structures import CheckpointError, Detections, GroundTruth, GroundTruthTable, Proposals
from inception_rcnn.structures.files import write_whole

NAMES = ("cat", "cup", "person")


class Squares:
    """Photographs of 48 x 48 pixels with one square each, whose colour is its class."""

    display_names = class_names = NAMES
    category_ids = (1, 2, 3)
    problems: tuple[str, ...] = ()

    def __init__(self, folder: Path, count: int, *, objects: bool = True) -> None:
        self.folder, self.count, self.objects = folder, count, objects
        self.image_ids = tuple(range(count))
        for row in range(count):
            write_whole(self.path(row), f"stands for {row}")

    def __len__(self) -> int:
        return self.count

    def path(self, row: int) -> Path:
        return self.folder / f"{row}.png"

    def load_image(self, row: int) -> NDArray[np.uint8]:
        image = np.full((48, 48, 3), 90, np.uint8)
        image[8:40, 8:40] = 30
        image[8:40, 8:40, row % 3] = 250
        image[0, 0] = row  # for the detectors of these tests
        return image

    def ground_truth(self, row: int) -> GroundTruth:
        boxes = np.array([[8, 8, 40, 40]] if self.objects else [], np.float32).reshape(-1, 4)
        return GroundTruth(boxes, [row % 3] * len(boxes), self.class_names, image_id=row, width=48, height=48)

    def ground_truths(self) -> GroundTruthTable:
        return GroundTruthTable.from_ground_truths([self.ground_truth(row) for row in range(self.count)])


class Scripted:
    """A detector that finds what a function of the image's number says: boxes, scores, labels."""

    def __init__(self, finds: Callable[[int], tuple[Any, Any, Any]], names: tuple[str, ...] = NAMES) -> None:
        self.finds, self.class_names = finds, names
        self.ensemble = self

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        return Detections.ordered(*self.finds(int(image[0, 0, 0])), self.class_names)


def measure(images: Any, detector: Any) -> tuple[float, str]:
    found = measure_threshold(detector, images, quiet=True)
    return found.value, found.origin


# --- which images


@pytest.mark.parametrize(("count", "wanted"), [(49, 0), (50, 10), (200, 10), (400, 20), (2000, 100), (118_287, 100)])
def test_one_in_twenty_is_held_out_at_least_10_at_most_100_of_few_none(count: int, wanted: int) -> None:
    rows = held_out_rows(count, 3)
    assert len(rows) == wanted and list(rows) == sorted(set(rows)) and all(0 <= row < count for row in rows)


def test_which_ones_is_the_seeds() -> None:
    assert held_out_rows(400, 3) == held_out_rows(400, 3) != held_out_rows(400, 4)


def test_those_that_the_start_has_learned_from_are_held_out_only_where_too_few_others_are_left() -> None:
    seen = np.ones(400, np.bool_)
    seen[::4] = False
    rows = held_out_rows(400, 3, seen)
    assert len(rows) == 20 and not any(row % 4 for row in rows) and list(rows) == sorted(set(rows))
    seen[20:] = True  # five are left, and twenty wanted
    assert held_out_rows(400, 3, seen) == held_out_rows(400, 3)
    assert held_out_rows(400, 3, np.zeros(400, np.bool_)) == held_out_rows(400, 3)


def test_of_another_split_at_most_a_hundred_are_looked_at(tmp_path: Path) -> None:
    many, few = Squares(tmp_path, 103), Squares(tmp_path, 100)
    assert some_images(few, 0) is few  # type: ignore[arg-type, comparison-overlap]
    assert len(some_images(many, 0)) == 100  # type: ignore[arg-type]


def test_rows_to_train_on_are_those_not_held_out_or_all_where_another_part_is_named(tmp_path: Path) -> None:
    many, few = Squares(tmp_path, 60), Squares(tmp_path, 7)
    rows, images = split_rows(many, None, 3)  # type: ignore[arg-type]
    held_out = held_out_rows(60, 3)
    assert sorted([*rows, *held_out]) == list(range(60)) and list(rows) == sorted(rows)
    assert [images.path(row) for row in range(len(images))] == [many.path(row) for row in held_out]
    rows, images = split_rows(many, few, 3)  # type: ignore[arg-type]
    assert rows == tuple(range(60)) and images is few  # type: ignore[comparison-overlap]


# --- the measurement


def test_the_threshold_keeps_the_true_and_leaves_out_the_false(tmp_path: Path) -> None:
    """True ones score 0.03 and more, all others less: a fixed threshold of 0.5 would show nothing."""

    def finds(row: int) -> tuple[Any, Any, Any]:
        return [[8, 8, 40, 40], [0, 0, 9, 9]], [0.03 + row / 1000, 0.02], [row % 3, row % 3]

    assert measure(Squares(tmp_path, 12), Scripted(finds)) == (0.03, "best mean F1 1.000 on 12 images held out")


def test_without_images_objects_or_finds_it_is_a_tenth_and_says_why(tmp_path: Path) -> None:
    right = Scripted(lambda row: ([[8, 8, 40, 40]], [0.7], [row % 3]))
    wrong = Scripted(lambda row: ([[0, 0, 9, 9]], [0.7], [row % 3]))
    for images, detector, why in (
        (Squares(tmp_path, 0), right, "of fewer than 50 images none are held out; name a part for it with --val-split"),
        (Squares(tmp_path, 2, objects=False), right, "there is no object on the 2 images held out"),
        (Squares(tmp_path, 3), wrong, "nothing was found on the 3 images held out"),
    ):
        value, origin = measure(images, detector)
        assert value == 0.1 and origin == f"not measured: {why}"


def test_classes_are_matched_by_name_and_unknown_ones_do_not_count(tmp_path: Path) -> None:
    """The other split has its classes in another order; the detector knows two of three."""
    known = ("person", "cat")
    detector = Scripted(
        lambda row: ([[8, 8, 40, 40]], [[0.6, 0.01, 0.5][row % 3]], [{0: 1, 1: 0, 2: 0}[row % 3]]), known
    )
    value, origin = measure(Squares(tmp_path, 9), detector)
    assert value == 0.5 and origin == "best mean F1 1.000 on 9 images held out"
    detector.class_names = ("n00007846", "n02121808")  # what ILSVRC calls a person and a cat
    assert measure(Squares(tmp_path, 9), detector) == (value, origin)


# --- in a training


@pytest.fixture
def train(
    make_network: Callable[[int], GoogLeNet],
    description: ClassifierDescription,
    spec: InputSpec,
    cpu: Runtime,
    tmp_path: Path,
) -> Callable[..., FineTuned]:
    """Trains on squares for a few steps, into a folder of the test."""

    def propose(image: NDArray[np.uint8]) -> Proposals:
        return Proposals.ordered([[8, 8, 40, 40], [0, 0, 20, 20], [26, 26, 48, 48]], [3, 2, 1])

    def run(count: int, *, iterations: int = 15, **options: Any) -> FineTuned:
        (tmp_path / "images").mkdir(exist_ok=True)
        settings = FineTuneSettings(
            training=TrainingSettings(iterations=iterations, learning_rate=0.0003, warm_up=1, train_from="5b"),
            sampling=SamplingSettings(foreground=6, background=6),
            linear_batches=3,
            jitter=1,
        )
        images = Squares(tmp_path / "images", count)
        given = [propose(images.load_image(row)) for row in range(count)]
        start = PretrainedNetwork(make_network(1), False, {})
        output = tmp_path / "out"
        return fine_tune(
            TrainingTask(
                sources=[TrainingSource("squares", images, lambda: given)],
                propose=propose,
                start=start,
                description=description,
                runtime=cpu,
                output=output,
                quiet=True,
                **options,
            ),
            settings,
        )

    return run


def test_a_training_measures_its_threshold_on_images_it_did_not_see(
    train: Callable[..., FineTuned], cpu: Runtime
) -> None:
    found = train(60)
    model = load_region_classifier(found.path, cpu).description
    assert model.training["images"] == 50 and model.training["held_out"] == 10
    assert "on 10 images held out" in found.threshold.origin and "best mean F1" in found.threshold.origin
    assert model.score_threshold == found.threshold.value > 0.001
    assert model.training["score_threshold"] == found.threshold.origin


def test_with_images_for_it_nothing_is_held_out_and_the_two_ways_are_different_runs(
    train: Callable[..., FineTuned], tmp_path: Path, cpu: Runtime
) -> None:
    (tmp_path / "val").mkdir()
    found = train(55, iterations=2, val=Squares(tmp_path / "val", 12))
    model = load_region_classifier(found.path, cpu).description
    assert model.training["images"] == 55 and model.training["held_out"] == 0
    assert "12 images held out" in found.threshold.origin
    with pytest.raises(CheckpointError, match="was made with held_out = 0, this run has 10"):
        train(55, iterations=2)
