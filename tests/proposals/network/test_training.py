"""Training MultiBox: what learns and when, going on after a kill to the bit, and that it learns at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones import InputSpec, read_checkpoint
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.proposals import MultiBox, load_multibox
from inception_rcnn.proposals.network.checkpoints import MultiBoxDescription, multibox_seen
from inception_rcnn.proposals.network.loss import Labels, LossSettings
from inception_rcnn.proposals.network.model import MultiBoxNet
from inception_rcnn.proposals.network.priors import PriorSettings
from inception_rcnn.proposals.network.samples import BoxSource, Sample, SampleDrawer
from inception_rcnn.proposals.network.training import (
    MultiBoxTraining,
    MultiBoxTrainingSettings,
    draw_regions,
    run_multibox_training,
)
from inception_rcnn.structures import (
    CheckpointError,
    GroundTruth,
    GroundTruthTable,
    InceptionError,
    InputError,
    Proposals,
)
from inception_rcnn.structures.boxes import overlap_ratio
from inception_rcnn.structures.dataset import DetectionDataset, photograph_checksums
from inception_rcnn.structures.provenance import MULTIBOX, SeenPart

pytestmark = pytest.mark.usefixtures("one_thread")
NONE = np.zeros((0, 4))
SETTINGS = MultiBoxTrainingSettings(
    iterations=4, batch=2, head_iterations=0, warm_up=0, train_from="5b", averaging=0.5, regions=16
)


@dataclass
class Squares:
    """Four photographs, each with one bright object on dark ground.

    Their files are this file and neighbours of it: only a checksum is made of them.
    """

    shift: int = 0  # of the first object
    files: tuple[str, ...] = ("test_training.py", "test_samples.py", "test_loss.py", "test_model.py")

    def __len__(self) -> int:
        return 4

    def path(self, index: int) -> Path:
        return Path(__file__).with_name(self.files[index])

    def ground_truths(self) -> GroundTruthTable:
        return GroundTruthTable.from_ground_truths([self.ground_truth(index) for index in range(4)])

    def load_image(self, index: int) -> NDArray[np.uint8]:
        image = np.full((64, 64, 3), 40, np.uint8)
        x1, y1, x2, y2 = self.ground_truth(index).boxes[0].astype(int)
        image[y1:y2, x1:x2] = (220, 180, 60 * index)
        return image

    def ground_truth(self, index: int) -> GroundTruth:
        x, y = ((4 + self.shift, 6), (30, 8), (8, 34), (28, 30))[index]
        return GroundTruth([[x, y, x + 26, y + 22]], [0], ("square",), width=64, height=64)


def sources(dataset: Squares | None = None, **changes: Any) -> list[BoxSource]:
    truths = [Squares().ground_truth(index).boxes[0] for index in range(4)]
    boxes = [[box, box + 3, box - 4, [0, 0, 20, 20], [40, 40, 60, 60]] for box in truths]
    found = [Proposals.ordered(one, [5, 4, 3, 2, 1]) for one in boxes]
    source = BoxSource(cast(DetectionDataset, dataset or Squares()), lambda: found, True, range(4), "squares")
    return [replace(source, **changes)]


@pytest.fixture(scope="module")
def batch() -> list[Sample]:
    """All four photographs, as they are drawn; read only."""
    return SampleDrawer(sources(), 64, 4, 0).draw(0)


@pytest.fixture
def start(make_network: Callable[[int], MultiBoxNet], spec: InputSpec, cpu: Runtime) -> Callable[..., MultiBoxTraining]:
    """Begins to train the network of a seed, with some settings changed."""

    def begin(seed: int = 1, **changes: Any) -> MultiBoxTraining:
        return MultiBoxTraining(make_network(seed), spec, replace(SETTINGS, **changes), cpu)

    return begin


def state_of(training: MultiBoxTraining) -> dict[str, Tensor]:
    return {name: one.clone() for name, one in training.network.state_dict().items()}


def moved(training: MultiBoxTraining, before: dict[str, Tensor]) -> set[str]:
    return {name for name, one in training.network.state_dict().items() if not torch.equal(one, before[name])}


# --- the step


def test_frozen_stages_stay_and_all_others_learn(start: Callable[..., MultiBoxTraining], batch: list[Sample]) -> None:
    training = start(train_from="5a")
    before = state_of(training)
    parts = training.step(batch)
    learning = {
        name
        for name in before
        if not name.startswith("trunk.") or name.startswith(("trunk.inception_5a.", "trunk.inception_5b."))
    }
    assert moved(training, before) == learning == set(training.averaged.learning)
    assert set(parts) == {"location", "confidence", "objectness"} and min(parts.values()) > 0


@pytest.mark.parametrize(("stage", "frozen"), [("conv1", ()), ("conv2", ("conv1.",)), ("3a", ("conv1.", "conv2"))])
def test_the_depth_of_freezing(start: Callable[..., MultiBoxTraining], stage: str, frozen: tuple[str, ...]) -> None:
    names = {name.removeprefix("trunk.") for name in start(train_from=stage).averaged.learning}
    every = {name.removeprefix("trunk.") for name in start(train_from="conv1").averaged.learning}
    assert every - names == {name for name in every if frozen and name.startswith(frozen)}


def test_the_new_layers_learn_first_and_alone(start: Callable[..., MultiBoxTraining], batch: list[Sample]) -> None:
    training = start(head_iterations=2)
    before = state_of(training)
    for _ in range(2):
        training.step(batch)
    trunk = {name for name in before if name.startswith("trunk.")}
    assert moved(training, before) == set(before) - trunk
    assert all(torch.equal(training.averaged.result()[name], before[name]) for name in trunk)
    training.step(batch)
    assert moved(training, before) & trunk == {name for name in trunk if "5b" in name}


def test_the_trunk_learns_at_its_own_rate_and_biases_do_not_decay(
    start: Callable[..., MultiBoxTraining], batch: list[Sample]
) -> None:
    """AdamW's first step is at most the learning rate, whatever the gradient; and the decay, of weights only."""
    training = start(learning_rate=1e-3, trunk_factor=0.25, weight_decay=100.0)
    before = state_of(training)
    training.step(batch)
    for name, one in training.averaged.learning.items():
        rate = 2.5e-4 if name.startswith("trunk.") else 1e-3
        decay = 0.0 if name.endswith("bias") else 100.0
        own = (one.detach() - before[name] * (1 - rate * decay)).abs()
        assert 0.5 * rate < float(own.max()) < 1.01 * rate, name


def test_the_loss_falls_on_photographs_seen_again_and_again(spec: InputSpec, cpu: Runtime, batch: list[Sample]) -> None:
    torch.manual_seed(1)
    network = MultiBoxNet(64, channels=16)
    network.fit_laterals(spec.apply(torch.from_numpy(np.stack([one.pixels for one in batch]))))
    settings = replace(SETTINGS, iterations=30, learning_rate=3e-3, averaging=0.0, clip=50.0)
    training = MultiBoxTraining(network, spec, settings, cpu)
    first, *_, last = [training.step(batch) for _ in range(30)]
    assert all(last[part] < 0.6 * first[part] for part in ("location", "confidence", "objectness")), (first, last)


def test_regions_are_drawn_anew_at_every_step_and_the_same_after_a_resume(
    start: Callable[..., MultiBoxTraining], batch: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def watched(*arguments: Any) -> Any:
        drawn.append(arguments[3].bit_generator.state["state"]["state"])
        return draw_regions(*arguments)

    monkeypatch.setattr("inception_rcnn.proposals.network.training.draw_regions", watched)
    for training in (start(), start()):
        for _ in range(2):
            training.step(batch[:1])
    assert drawn[:2] == drawn[2:] and drawn[0] != drawn[1]


def test_products_in_bfloat16_leave_the_weights_in_float32(
    make_network: Callable[[int], MultiBoxNet], spec: InputSpec, batch: list[Sample]
) -> None:
    runtime = Runtime(torch.device("cpu"), torch.bfloat16, 4)
    training = MultiBoxTraining(make_network(1), spec, SETTINGS, runtime)
    assert all(np.isfinite(value) for value in training.step(batch).values())
    assert {one.dtype for one in training.averaged.result().values()} == {torch.float32}
    assert training.proposer().network.head.weight.dtype == torch.bfloat16
    assert training.network.head.weight.dtype == torch.float32  # the proposer is a copy


def test_the_proposer_is_the_average_and_leaves_the_training_alone(
    start: Callable[..., MultiBoxTraining], batch: list[Sample]
) -> None:
    training = start()
    training.step(batch)
    box = training.proposer()
    average = {name: one.clone() for name, one in training.averaged.result().items()}
    assert all(torch.equal(one, average[name]) for name, one in box.network.state_dict().items())
    assert training.network.training and not box.network.training
    training.step(batch)
    assert torch.equal(box.network.head.weight, average["head.weight"])


@pytest.mark.parametrize("matching", ["prior", "prediction"])
def test_a_network_that_has_diverged_stops_the_run_and_is_left_as_it_was(
    start: Callable[..., MultiBoxTraining], batch: list[Sample], matching: str
) -> None:
    training = start(loss=LossSettings(matching=matching))
    with torch.no_grad():
        training.network.head.bias.fill_(torch.nan)  # type: ignore[union-attr]
    before = state_of(training)
    with pytest.raises(InceptionError, match="the loss is nan at iteration 0; lower the learning rate"):
        training.step(batch)
    assert {name for name in moved(training, before) if name != "head.bias"} == set()
    assert training.averaged.iteration == 0


def test_photographs_without_anything_to_score_are_no_trouble(start: Callable[..., MultiBoxTraining]) -> None:
    """Labelled in part and without objects, no box can be said to be wrong."""
    sample = Sample(np.full((64, 64, 3), 90, np.uint8), Labels(NONE, NONE, False), NONE)
    assert start().step([sample])["objectness"] == 0


def test_fewer_priors_than_regions_are_no_trouble(spec: InputSpec, cpu: Runtime, batch: list[Sample]) -> None:
    priors = PriorSettings(sides=((0.1,), (0.2,), (0.4,), (0.8,)), ratios=(1.0,))
    training = MultiBoxTraining(MultiBoxNet(64, priors, 16), spec, SETTINGS, cpu)
    assert len(training.network.priors) == 85 and training.step(batch)["objectness"] > 0


# --- regions for the objectness


def some_regions(seed: int, count: int = 300) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 0.7, (count, 2)), rng.uniform(0.05, 0.3, (count, 2))
    near = np.array([0.3, 0.3, 0.6, 0.6]) + rng.uniform(-0.1, 0.1, (60, 4))
    return np.concatenate([near, np.concatenate([corner, corner + size], axis=1)])


OBJECTS = np.array([[0.3, 0.3, 0.6, 0.6]])


@pytest.mark.parametrize("seed", range(4))
def test_a_quarter_of_the_regions_cover_an_object_and_half_of_the_others_touch_one(seed: int) -> None:
    pool = some_regions(seed)
    boxes, targets = draw_regions(pool, Labels(OBJECTS, NONE, True), 64, np.random.default_rng(seed))
    overlaps = overlap_ratio(OBJECTS[:, None], boxes[None]).max(axis=0)
    assert len(boxes) == 64 == len(np.unique(boxes, axis=0))
    assert (overlaps >= 0.5).sum() == 16 and ((overlaps >= 0.1) & (overlaps < 0.5)).sum() == 24
    expected = [min(max((iou - 0.3) / 0.4, 0), 1) for iou in overlaps]
    np.testing.assert_allclose(targets, expected, atol=1e-9)
    assert {tuple(box) for box in boxes} <= {tuple(box) for box in pool}


def test_what_there_is_too_little_of_is_made_up_for_by_the_rest() -> None:
    far = np.array([[0.01 * i, 0.8, 0.01 * i + 0.1, 0.9] for i in range(50)])
    labels, rng = Labels(OBJECTS, NONE, True), np.random.default_rng(0)
    boxes, targets = draw_regions(np.concatenate([far, OBJECTS]), labels, 20, rng)
    assert len(boxes) == 20 and sorted(targets)[-2:] == [0, 1]
    assert len(draw_regions(far[:3], labels, 20, rng)[0]) == 3
    assert len(draw_regions(NONE, labels, 20, rng)[0]) == 0


def test_regions_in_neutral_places_are_left_out_unless_they_cover_an_object() -> None:
    neutral = np.array([[0.0, 0.0, 1.0, 0.65]])
    boxes, _ = draw_regions(some_regions(0), Labels(OBJECTS, neutral, True), 200, np.random.default_rng(0))
    overlaps = overlap_ratio(OBJECTS[:, None], boxes[None]).max(axis=0)
    inside = np.clip(np.minimum(boxes[:, 3], 0.65) - boxes[:, 1], 0, None) / (boxes[:, 3] - boxes[:, 1])
    assert ((inside < 0.5) | (overlaps >= 0.5)).all()
    assert (inside < 0.5).sum() > 5 and ((inside >= 0.5) & (overlaps >= 0.5)).sum() > 5


def test_where_objects_are_labelled_in_part_only_what_touches_one_is_said_to_be_wrong() -> None:
    boxes, _ = draw_regions(some_regions(0), Labels(OBJECTS, NONE, False), 200, np.random.default_rng(0))
    assert len(boxes) > 20 and (overlap_ratio(OBJECTS[:, None], boxes[None]).max(axis=0) >= 0.1).all()
    boxes, _ = draw_regions(some_regions(0), Labels(NONE, NONE, False), 200, np.random.default_rng(0))
    assert len(boxes) == 0
    boxes, targets = draw_regions(some_regions(0), Labels(NONE, NONE, True), 200, np.random.default_rng(0))
    assert len(boxes) == 200 and not targets.any()


# --- the loop


@pytest.fixture(scope="module")
def description(spec: InputSpec) -> MultiBoxDescription:
    return MultiBoxDescription(spec, PriorSettings(), 16, {"data": ["squares"], "pretrained": "none"}, "CC0-1.0")


class Killed(Exception):
    """Stands for the end of the process."""


class Watch:
    """A coverage that depends on the weights; ends the run when asked at a certain call."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.calls = 0
        self._kill_at = kill_at

    def __call__(self, network: MultiBox) -> dict[str, float]:
        self.calls += 1
        if self.calls == self._kill_at:
            raise Killed
        return {"sum": float(network.network.head.weight.detach().sum())}


@pytest.fixture(scope="module")
def train(
    make_network: Callable[[int], MultiBoxNet], description: MultiBoxDescription, cpu: Runtime
) -> Callable[..., Path]:
    """Trains into a folder, saving every second iteration and looking at the coverage every iteration."""

    def run(
        output: Path,
        watch: Watch,
        *,
        seed: int = 1,
        pretrained: int = 1,
        given: list[BoxSource] | None = None,
        **changes: Any,
    ) -> Path:
        """Of another `seed` are the fresh layers alone, of `pretrained` the trunk."""
        network = make_network(seed)
        network.trunk.load_state_dict(make_network(pretrained).trunk.state_dict())
        settings = replace(SETTINGS, **changes)
        how: dict[str, Any] = {"coverage": watch, "save_every": 2, "cover_every": 1, "quiet": True}
        return run_multibox_training(given or sources(), description, network, settings, cpu, output, **how)

    return run


@pytest.fixture(scope="module")
def whole(train: Callable[..., Path], one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of an uninterrupted run of four iterations; read only."""
    return train(tmp_path_factory.mktemp("whole"), Watch())


def contents(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def test_a_run_that_was_killed_ends_where_the_uninterrupted_one_does(
    train: Callable[..., Path], whole: Path, tmp_path: Path
) -> None:
    """Killed after iteration 3, where the last state is of iteration 2 and the last coverage of iteration 2."""
    with pytest.raises(Killed):
        train(tmp_path, Watch(3))
    state = read_checkpoint(tmp_path / "state.safetensors", "training-state")
    assert state.description["iteration"] == 2
    watch = Watch()
    # Another start and another state of torch's generator: all must come from the file.
    assert train(tmp_path, watch, seed=2) == tmp_path / "multibox.safetensors"
    assert watch.calls == 2 and contents(tmp_path) == contents(whole.parent)
    curve = json.loads((tmp_path / "coverage.json").read_text())
    assert [point["iteration"] for point in curve] == [1, 2, 3, 4] and len({point["sum"] for point in curve}) == 4


def test_a_finished_run_is_not_run_again(train: Callable[..., Path], whole: Path) -> None:
    before, watch = contents(whole.parent), Watch()
    train(whole.parent, watch, seed=2)
    assert watch.calls == 0 and contents(whole.parent) == before


def test_coverage_from_after_the_last_state_is_measured_again(train: Callable[..., Path], tmp_path: Path) -> None:
    """Killed after iteration 3 as above, but once its coverage had been written."""
    with pytest.raises(Killed):
        train(tmp_path, Watch(4))
    path = tmp_path / "coverage.json"
    assert [point["iteration"] for point in json.loads(path.read_text())] == [1, 2, 3]
    train(tmp_path, Watch())
    assert [point["iteration"] for point in json.loads(path.read_text())] == [1, 2, 3, 4]


def test_the_result_can_be_loaded_and_says_how_it_was_made(whole: Path, cpu: Runtime) -> None:
    assert whole.name == "multibox.safetensors"
    assert set(contents(whole.parent)) == {"multibox.safetensors", "state.safetensors", "coverage.json"}
    said = read_checkpoint(whole, "multibox").description["training"]
    assert said["data"] == ["squares"] and said["images"] == 4 and said["settings"]["iterations"] == 4
    assert said["settings"]["loss"]["matching"] == "prior"
    assert [one["iteration"] for one in said["coverage"]] == [1, 2, 3, 4]
    checksums = photograph_checksums(cast(DetectionDataset, Squares()))
    assert multibox_seen(whole) == (SeenPart.of_files("squares", checksums[:4], MULTIBOX),)
    assert len(load_multibox(whole, cpu).propose(Squares().load_image(0), top_k=10)) == 10


def test_the_new_layers_are_fitted_before_the_first_step_and_in_the_average(
    description: MultiBoxDescription, cpu: Runtime, tmp_path: Path
) -> None:
    """At a rate of nearly nothing the result is the start: its first layers have a spread of 1 on the first batch."""
    settings = replace(SETTINGS, iterations=1, learning_rate=1e-12, weight_decay=0.0)
    torch.manual_seed(5)
    path = run_multibox_training(
        sources(), description, description.build(), settings, cpu, tmp_path, coverage=Watch(), quiet=True
    )
    network = load_multibox(path, cpu).network
    first = np.stack([one.pixels for one in SampleDrawer(sources(), 64, 2, 0).draw(0)])
    with torch.no_grad():
        maps = network.maps(description.input_spec.apply(torch.from_numpy(first)))
        spreads = [float(one(x).std()) for x, one in zip(maps, network.lateral, strict=True)]
    assert spreads == pytest.approx([1, 1, 1], rel=0.01)


def test_other_settings_in_the_same_folder_are_refused(train: Callable[..., Path], whole: Path) -> None:
    before = contents(whole.parent)
    for changes, message in (
        ({"learning_rate": 0.01}, "was made with learning_rate = 0.001, this run has 0.01"),
        ({"loss": LossSettings(matches=1)}, "was made with loss = "),
    ):
        with pytest.raises(CheckpointError, match=message):
            train(whole.parent, Watch(), **changes)
    assert contents(whole.parent) == before


def not_called() -> list[Proposals]:
    raise AssertionError("proposals take long, and are not to be made for a run that is refused")


def test_other_data_in_the_same_folder_are_refused_before_proposals_are_made(
    train: Callable[..., Path], whole: Path
) -> None:
    before, files = contents(whole.parent), Squares().files
    changed = "the photographs or their annotations have changed since it was made"
    for given, message in (
        (sources(Squares(shift=1), propose_set=not_called), changed),
        (sources(Squares(files=(files[1], *files[1:])), propose_set=not_called), changed),
        (sources(Squares(files=(files[1], files[0], *files[2:])), propose_set=not_called), changed),
        (sources(rows=[0, 1, 2], propose_set=not_called), changed),
        (sources(complete=False, propose_set=not_called), changed),
        (sources(propose_set=lambda: [Proposals.empty()] * 4), "the proposals have changed since it was made"),
    ):
        with pytest.raises(CheckpointError, match=message):
            train(whole.parent, Watch(), given=given)
    with pytest.raises(CheckpointError, match=r"the pre-trained weights \(--pretrained\) have changed since"):
        train(whole.parent, Watch(), pretrained=2)
    assert contents(whole.parent) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_from": "6a"}, "unknown stage '6a'"),
        ({"iterations": 0}, "iterations should be at least 1, got 0"),
        ({"batch": 0}, "batch should be at least 1, got 0"),
        ({"regions": 0}, "regions should be at least 1, got 0"),
        ({"seed": -1}, "seed should be 0 or more, got -1"),
        ({"warm_up": -1}, "warm_up should be 0 or more"),
        ({"head_iterations": -1}, "head_iterations should be 0 or more"),
        ({"weight_decay": -0.1}, "weight_decay should be 0 or more"),
        ({"trunk_factor": float("nan")}, "trunk_factor should be 0 or more"),
        ({"learning_rate": 0.0}, r"learning_rate should lie in \(0, 1\)"),
        ({"learning_rate": 1.0}, r"learning_rate should lie in \(0, 1\)"),
        ({"averaging": 1.0}, r"averaging in \[0, 1\)"),
        ({"clip": 0.0}, "clip above 0"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MultiBoxTrainingSettings(**changes)
