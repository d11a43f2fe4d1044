"""Pooled training from data sets to a detector: it learns, goes on after a kill, and refuses what cannot end well."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marked_set import MarkedSet
from numpy.typing import NDArray

from inception_rcnn.backbones import CAFFE_INPUT, read_checkpoint
from inception_rcnn.backbones.training import duration
from inception_rcnn.backbones.training.log import read_log
from inception_rcnn.detector import ClassifierDescription, PooledNetwork, PoolingSpec, Runtime, load_detector
from inception_rcnn.detector.checkpoints import read_classifier_description
from inception_rcnn.detector.training.initial_weights import PretrainedNetwork, pretrained_pooled
from inception_rcnn.detector.training.pooled import trainer as pooled_trainer
from inception_rcnn.detector.training.pooled.sampling import PooledSamplingSettings
from inception_rcnn.detector.training.pooled.step import PooledTuning
from inception_rcnn.detector.training.pooled.trainer import PooledTrainer, PooledTrainingSettings, train_pooled
from inception_rcnn.detector.training.record import RecordSettings
from inception_rcnn.detector.training.run import FineTuned, TrainingTask
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.detector.training.sources import TrainingPhotographs, TrainingSource
from inception_rcnn.structures import CheckpointError, InceptionError, InputError, Proposals
from inception_rcnn.structures.dataset import Subset, photograph_checksums
from inception_rcnn.structures.provenance import MULTIBOX, SeenPart
from reference.marked_objects import marked

NAMES = ("cat", "cup", "person")
SPEC = PoolingSpec(short_side=96, long_side=200, cells=3, fine_channels=8)
SETTINGS = PooledTrainingSettings(
    training=TrainingSettings(iterations=6, warm_up=2, train_from="5b", averaging=0.5),
    sampling=PooledSamplingSettings(
        photographs=1, regions=8, stored_side=96, scales=(1.0, 1.25), cells=(3, 2), photometric=0.2
    ),
    jitter=2,
    save_every=2,
)
RECORD = RecordSettings(log_every=3)
VALIDATED = RecordSettings(log_every=3, validate_every=2)
CPU = Runtime(torch.device("cpu"), torch.float32, 4)


def nothing(image: NDArray[np.uint8]) -> Proposals:
    """Proposes nothing."""
    return Proposals.empty()


def anywhere(image: NDArray[np.uint8]) -> Proposals:
    """Proposes boxes all over a photograph."""
    rng, size = np.random.default_rng(image.shape[0]), np.array(image.shape[1::-1])
    corner = rng.uniform(0, 0.5, (12, 2))
    boxes = np.hstack([corner, corner + rng.uniform(0.2, 0.5, (12, 2))]) * np.tile(size, 2)
    return Proposals(boxes.astype(np.float32), np.linspace(1, 0.5, 12, dtype=np.float32))


def train(
    dataset: MarkedSet,
    output: Path,
    *,
    seed: int = 1,
    sources: list[TrainingSource] | None = None,
    spec: PoolingSpec = SPEC,
    val: MarkedSet | None = None,
    record: RecordSettings = RECORD,
    **changes: Any,
) -> FineTuned:
    """Train the fresh network of a seed."""
    torch.manual_seed(seed)
    start = PretrainedNetwork(PooledNetwork(3, spec), False, {"pretrained": "some"})
    description = ClassifierDescription(NAMES, CAFFE_INPUT, pooling=spec, box_regression=True)
    given = [TrainingSource("marked", dataset, dataset.propose_set)] if sources is None else sources
    settings = replace(SETTINGS, **changes)
    propose = nothing if record.validate_every is None else anywhere
    return train_pooled(
        TrainingTask(
            sources=given,
            propose=propose,
            start=start,
            description=description,
            runtime=CPU,
            output=output,
            val=val,
            record=record,
            quiet=True,
        ),
        settings,
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MarkedSet:
    """Three photographs with an object each; read only."""
    return MarkedSet(tmp_path_factory.mktemp("photographs"), NAMES)


@pytest.fixture(scope="module")
def output(dataset: MarkedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run; read only."""
    folder = tmp_path_factory.mktemp("runs") / "deep" / "down"
    made = train(dataset, folder)
    assert made.path == folder / "model.safetensors" and made.threshold.value == 0.1
    assert "of fewer than 50 images none are held out" in made.threshold.origin
    return folder


def test_a_run_leaves_a_model_and_its_state_and_the_model_tells_how_it_was_made(output: Path) -> None:
    assert {path.name for path in output.iterdir()} == {
        "model.safetensors",
        "state.safetensors",
        "log.csv",
        "curves.svg",
    }
    description = read_checkpoint(output / "model.safetensors", "region-classifier").description
    assert description["pooling"]["cells"] == 3 and description["box_regression"] is True
    summary = description["training"]
    assert summary["data"] == ["marked"] and summary["images"] == 3 and summary["photographs_seen"] == 6
    assert summary["passes"] == 2 and summary["iterations"] == 6 and summary["train_from"] == "5b"
    assert summary["sampling"]["cells"] == [3, 2] and summary["jitter"] == 2 and summary["pretrained"] == "some"
    assert "not measured" in summary["score_threshold"]


def test_the_model_lists_the_photographs_it_saw_and_those_that_its_start_did(
    output: Path, dataset: MarkedSet, tmp_path: Path
) -> None:
    checksums = photograph_checksums(dataset)
    assert read_classifier_description(output / "model.safetensors").seen == (SeenPart.of_files("marked", checksums),)
    before = SeenPart.of_files("before", ["ab" * 32])
    other = MarkedSet(tmp_path / "other", NAMES, ("chelsea", "coffee"), long_side=80)
    source = TrainingSource("some", other, other.propose_set)
    torch.manual_seed(1)
    start = PretrainedNetwork(PooledNetwork(3, SPEC), False, {}, (before,))
    theirs = SeenPart.of_files("theirs", ["cd" * 32], MULTIBOX)
    description = ClassifierDescription(NAMES, CAFFE_INPUT, pooling=SPEC, box_regression=True, seen=(theirs,))
    settings = replace(SETTINGS, training=replace(SETTINGS.training, iterations=1))
    held = [TrainingSource("marked", dataset, dataset.propose_set), replace(source, rows=(1,))]
    made = train_pooled(
        TrainingTask(
            sources=held,
            propose=nothing,
            start=start,
            description=description,
            runtime=CPU,
            output=tmp_path / "run",
            quiet=True,
        ),
        settings,
    )
    assert read_classifier_description(made.path).seen == (
        SeenPart.of_files("marked", checksums),
        SeenPart.of_files("some", photograph_checksums(other)[1:]),
        before,
        theirs,
    )


def test_the_same_call_again_changes_nothing(output: Path, dataset: MarkedSet) -> None:
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    train(dataset, output)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


# --- learning


def test_thirty_iterations_on_photographs_lower_the_loss_and_the_detector_can_be_loaded(tmp_path: Path) -> None:
    dataset = MarkedSet(tmp_path / "photographs", NAMES, long_side=192)
    spec = PoolingSpec(short_side=144, long_side=300, cells=4)
    start = pretrained_pooled("coco", NAMES, spec)
    assert not start.knows_classes and start.origin["kept_classes"] == len(NAMES)
    torch.nn.init.normal_(start.network.classifier.weight, std=0.01)  # there is nothing to learn else: it knows them
    torch.nn.init.zeros_(start.network.classifier.bias)
    description = ClassifierDescription(
        NAMES, CAFFE_INPUT, {"source": "selective-search"}, pooling=spec, box_regression=True
    )
    settings = PooledTrainingSettings(
        training=TrainingSettings(iterations=30, warm_up=3, learning_rate=0.004, train_from="5a", averaging=0.8),
        sampling=PooledSamplingSettings(photographs=1, regions=24, stored_side=192, scales=(1.0,)),
    )
    losses: list[float] = []

    class Watched(PooledTrainer):
        def step(self, tuning: PooledTuning, drawn: pooled_trainer.Drawn) -> dict[str, float]:
            found = super().step(tuning, drawn)
            losses.append(found["loss"])
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooled_trainer, "PooledTrainer", Watched)
        source = TrainingSource("marked", dataset, dataset.propose_set)
        made = train_pooled(
            TrainingTask(
                sources=[source],
                propose=nothing,
                start=start,
                description=description,
                runtime=CPU,
                output=tmp_path / "out",
                quiet=True,
            ),
            settings,
        )
    assert len(losses) == 30 and np.mean(losses[-6:]) < 0.6 * np.mean(losses[:6])
    detector = load_detector(made.path, "cpu", runtime="torch").with_settings(score_threshold=0.01)
    photograph, boxes = marked("chelsea")
    scores = detector.score(photograph, Proposals(boxes[:1], np.ones(1, np.float32)))
    assert scores.mean()[0].argmax() == NAMES.index("cat") and scores.offsets is not None


def test_the_threshold_is_measured_on_the_part_named_for_it(dataset: MarkedSet, tmp_path: Path) -> None:
    val = MarkedSet(tmp_path / "val", NAMES, ("chelsea",))
    made = train(dataset, tmp_path / "out", val=val, training=replace(SETTINGS.training, iterations=1))
    assert made.threshold.origin == "not measured: nothing was found on the 1 images held out"  # nothing is proposed


def test_validation_without_photographs_or_objects_is_refused_before_proposals_are_made(
    dataset: MarkedSet, tmp_path: Path
) -> None:
    unasked = [TrainingSource("other", dataset, lambda: pytest.fail("proposals were made"))]
    with pytest.raises(InputError, match="there are no photographs to validate on: of so few none are held out"):
        train(dataset, tmp_path / "out", sources=unasked, record=VALIDATED)
    val = MarkedSet(tmp_path / "val", ("saucer",), ("coffee",))
    with pytest.raises(InputError, match="no object of the detector's classes on the 1 photographs to validate on"):
        train(dataset, tmp_path / "out", sources=unasked, record=VALIDATED, val=val)
    assert not (tmp_path / "out").exists()


def test_some_photographs_of_a_large_first_set_are_held_out(
    dataset: MarkedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = MarkedSet(tmp_path / "many", NAMES, ("chelsea", "coffee") * 25, long_side=48)
    trained_on: list[tuple[int, int]] = []

    def watched(self: PooledTrainer, photographs: TrainingPhotographs, *others: Any, **options: Any) -> None:
        trained_on.extend((one.source, one.row) for one in photographs.photographs)
        raise InterruptedError

    monkeypatch.setattr(PooledTrainer, "__init__", watched)
    sources = [TrainingSource(str(one), one, one.propose_set) for one in (many, dataset)]
    with pytest.raises(InterruptedError):
        train(many, tmp_path / "out", sources=sources)
    rows = [row for source, row in trained_on if source == 0]
    assert len(rows) == 40 and [row for source, row in trained_on if source == 1] == [0, 1, 2]
    trained_on.clear()
    with pytest.raises(InterruptedError):
        train(many, tmp_path / "out", sources=sources, val=dataset)
    assert len(trained_on) == 53


# --- going on


def without_times(log: Path) -> dict[str, tuple[str, ...]]:
    """The columns of a table that every run has alike."""
    table = read_log(log)
    return {name: column for name, column in table.items() if not name.startswith(("seconds", "photographs"))}


KILLED = """
import importlib.util, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
found = importlib.util.spec_from_file_location("case", sys.argv[1])
case = sys.modules["case"] = importlib.util.module_from_spec(found)
found.loader.exec_module(case)
step = case.PooledTuning.step
def stepped(self, batch):
    if self.averaged.iteration == 5:  # one step after the state was saved
        os.kill(os.getpid(), signal.SIGKILL)
    result = step(self, batch)
    print(result["loss"].hex(), flush=True)
    return result
case.PooledTuning.step = stepped
dataset = case.MarkedSet(Path(sys.argv[2]), case.NAMES)
case.train(dataset, Path(sys.argv[3]), val=dataset, record=case.VALIDATED)
"""


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The losses of all steps taken during the test."""
    found: list[float] = []
    step = PooledTuning.step

    def watched(self: PooledTuning, batch: Any) -> dict[str, float]:
        result = step(self, batch)
        found.append(result["loss"])
        return result

    monkeypatch.setattr(PooledTuning, "step", watched)
    return found


def test_a_run_killed_without_warning_goes_on_to_the_same_end(
    dataset: MarkedSet, tmp_path: Path, losses: list[float]
) -> None:
    made = train(dataset, tmp_path / "whole", val=dataset, record=VALIDATED)
    unbroken = losses[:]
    losses.clear()
    tests = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent / "src"), str(tests)])}
    command = [sys.executable, "-c", KILLED, __file__, str(dataset.folder), str(tmp_path / "killed")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == -9, done.stderr
    assert [float.fromhex(line) for line in done.stdout.split()] == unbroken[:5]
    assert read_checkpoint(tmp_path / "killed" / "state.safetensors", "training-state").description["iteration"] == 4
    again = train(dataset, tmp_path / "killed", val=dataset, record=VALIDATED)
    assert losses == unbroken[4:]
    for name in ("model.safetensors", "state.safetensors", "best.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    table, expected = (without_times(tmp_path / name / "log.csv") for name in ("killed", "whole"))
    assert table == expected and table["iteration"] == ("2", "3", "4", "6")  # the state was between two lines
    parts = (unbroken[:2], unbroken[2:3], unbroken[3:4], unbroken[4:])
    assert [float(one) for one in table["loss"]] == pytest.approx([np.mean(part) for part in parts])
    scores = dict(zip(table["iteration"], table["mAP"], strict=True))
    assert scores["3"] == "" and made.best is not None and made.best == again.best
    assert made.best["mAP"] == pytest.approx(max(float(scores[one]) for one in "246"), rel=1e-5)
    described = read_checkpoint(tmp_path / "whole" / "best.safetensors", "region-classifier").description
    assert described["training"]["iterations_done"] == made.best["iteration"]
    assert described["training"]["mAP"] == made.best["mAP"] and described["training"]["validated_on"] == 3
    sums = [float(one) + float(two) for one, two in zip(table["classes"], table["boxes"], strict=True)]
    assert sums == pytest.approx([float(one) for one in table["loss"]], rel=1e-5)


def test_a_time_becomes_a_number_of_iterations_that_a_resumed_run_keeps(
    dataset: MarkedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: list[float]
) -> None:
    tried: list[float] = []

    def seven(self: PooledTrainer, seconds: float) -> int:
        tried.append(seconds)
        return 7

    monkeypatch.setattr(PooledTrainer, "iterations_within", seven)
    save_every = {"minutes": 0.25, "save_every": 100}
    with monkeypatch.context() as patch:  # before the first state of the loop is saved
        patch.setattr(PooledTrainer, "draw", lambda self, number: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(dataset, tmp_path / "out", **save_every)
    assert tried == [15.0]
    train(dataset, tmp_path / "out", **save_every)
    assert tried == [15.0]  # not once more
    assert len(losses) == 7
    train(dataset, tmp_path / "by number", training=replace(SETTINGS.training, iterations=7))
    assert losses[7:] == losses[:7]
    described = read_checkpoint(tmp_path / "out" / "model.safetensors", "region-classifier").description["training"]
    assert described["iterations"] == 7 and described["minutes"] == 0.25 and described["photographs_seen"] == 7
    with pytest.raises(CheckpointError, match=r"was made with minutes = 0\.25, this run has 0\.5; repeat the old"):
        train(dataset, tmp_path / "out", minutes=0.5)


def test_a_trial_finds_how_many_iterations_take_a_time_and_leaves_the_network(
    dataset: MarkedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock, iterations = Clock(), []
    monkeypatch.setattr(duration, "time", clock)
    step = PooledTrainer.step

    def stepped(self: PooledTrainer, tuning: PooledTuning, drawn: pooled_trainer.Drawn) -> dict[str, float]:
        iterations.append(tuning.averaged.iteration)
        clock.now += 9.0 if len(iterations) <= 2 else 0.25 if drawn[0].cells == 3 else 0.75  # the first ones are slow
        return step(self, tuning, drawn)

    monkeypatch.setattr(PooledTrainer, "step", stepped)
    photographs = TrainingPhotographs([TrainingSource("marked", dataset, dataset.propose_set)], NAMES, stored_side=96)
    network = PooledNetwork(3, SPEC)
    before = {name: one.clone() for name, one in network.state_dict().items()}
    description = ClassifierDescription(NAMES, CAFFE_INPUT, pooling=SPEC, box_regression=True)
    trainer = PooledTrainer(photographs, network, description, SETTINGS, CPU, quiet=True)
    assert trainer.iterations_within(150.0) == 300  # half a second each
    assert len(iterations) == 2 + 6  # tried for a fiftieth of the time
    assert all(torch.equal(one, before[name]) for name, one in network.state_dict().items())
    assert trainer.iterations_within(0.1) == 1


# --- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": replace(SETTINGS.training, momentum=0.5)}, r"was made with momentum = 0\.9, this run has 0\.5"),
        ({"training": replace(SETTINGS.training, iterations=9)}, "was made with iterations = 6, this run has 9"),
        ({"minutes": 3.0}, r"was made with minutes = None, this run has 3\.0"),
        ({"jitter": 3}, "was made with jitter = 2, this run has 3"),
        ({"best": 20}, "was made with best = 600, this run has 20"),
        ({"smoothing": 0.1}, r"was made with smoothing = 0\.0, this run has 0\.1"),
        ({"sampling": replace(SETTINGS.sampling, cells=(3,))}, "was made with sampling = "),
        ({"seed": 2}, r"the pre-trained weights \(--pretrained\) have changed since it was made"),
        ({"spec": replace(SPEC, cells=4)}, "was made with pooling = "),
    ],
)
def test_a_state_is_not_gone_on_with_by_another_run(
    output: Path, dataset: MarkedSet, changes: dict[str, Any], message: str
) -> None:
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(CheckpointError, match=message):
        train(dataset, output, **changes)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_other_photographs_are_refused_before_proposals_are_made(output: Path, tmp_path: Path) -> None:
    other = MarkedSet(tmp_path, NAMES, ("chelsea", "coffee"))
    unasked = TrainingSource("other", other, lambda: pytest.fail("proposals were made"))
    with pytest.raises(CheckpointError, match="the photographs or their annotations have changed since it was made"):
        train(other, output, sources=[unasked])


def test_where_validation_ends_a_training_other_photographs_for_it_are_refused(
    dataset: MarkedSet, tmp_path: Path
) -> None:
    patient = replace(VALIDATED, patience=3)
    train(dataset, tmp_path, val=Subset(dataset, [0, 1]), record=patient)
    with pytest.raises(CheckpointError, match=r"the photographs to validate on \(--val-split\) have changed since"):
        train(dataset, tmp_path, val=Subset(dataset, [0, 2]), record=patient)
    with pytest.raises(CheckpointError, match="was made with validate_every = 2, this run has 3"):
        train(dataset, tmp_path, val=Subset(dataset, [0, 1]), record=replace(patient, validate_every=3))


def test_other_proposals_are_refused(output: Path, dataset: MarkedSet) -> None:
    fewer = TrainingSource("marked", dataset, lambda: dataset.propose_set(30))
    with pytest.raises(CheckpointError, match=r"the proposals \(--proposals, --source\) have changed since"):
        train(dataset, output, sources=[fewer])


def test_nothing_to_learn_from_is_refused_and_leaves_no_folder(dataset: MarkedSet, tmp_path: Path) -> None:
    alone = TrainingSource("marked", dataset, lambda: [Proposals.empty()] * 3)
    with pytest.raises(InputError, match="these 3 photographs have 9 and 0: check annotations and proposals"):
        train(dataset, tmp_path / "out", sources=[alone])
    with pytest.raises(InputError, match="there is no data set to train on"):
        train(dataset, tmp_path / "out", sources=[])
    assert not (tmp_path / "out").exists()


def test_a_network_that_is_not_what_is_described_is_refused(dataset: MarkedSet, tmp_path: Path) -> None:
    description = ClassifierDescription(NAMES[:2], CAFFE_INPUT, pooling=SPEC, box_regression=True)
    start = PretrainedNetwork(PooledNetwork(3, SPEC), False, {})
    source = TrainingSource("marked", dataset, dataset.propose_set)
    with pytest.raises(InputError, match="a classifier of 2 classes has one output more, for background; this network"):
        train_pooled(
            TrainingTask(
                sources=[source],
                propose=nothing,
                start=start,
                description=description,
                runtime=CPU,
                output=tmp_path / "out",
                quiet=True,
            ),
            SETTINGS,
        )


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_batch(
    dataset: MarkedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = MarkedSet(tmp_path / "other", NAMES, ("coffee", "chelsea"))
    sources = [TrainingSource(name, one, one.propose_set) for name, one in (("marked", dataset), ("more", other))]
    sampling = replace(SETTINGS.sampling, photographs=2)
    batch, drawn = PooledTrainer.on_device, []

    def spoilt(self: PooledTrainer, given: pooled_trainer.Drawn) -> Any:
        found = batch(self, given)
        drawn.append([self.photographs.names([one]) for one in given[0].images.tolist()])
        return replace(found, images=found.images * torch.nan) if len(drawn) == 4 else found

    monkeypatch.setattr(PooledTrainer, "on_device", spoilt)
    with pytest.raises(InceptionError, match="the loss is nan at iteration 3; lower the learning rate") as caught:
        train(dataset, tmp_path / "out", sources=sources, sampling=sampling)
    shown = {"marked 0-chelsea", "marked 1-coffee", "marked 2-astronaut", "more 0-coffee", "more 1-chelsea"}
    assert {one for batch in drawn for one in batch} <= shown and len(drawn) == 4
    for one in drawn[3]:
        source, image_id = one.split()
        assert source in str(caught.value) and image_id in str(caught.value)
    state = read_checkpoint(tmp_path / "out" / "state.safetensors", "training-state")
    assert state.description["iteration"] == 2
    assert all(bool(tensor.isfinite().all()) for tensor in state.tensors.values())
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert read_log(tmp_path / "out" / "log.csv")["iteration"] == ("3",)


def test_photographs_are_named_by_data_set(dataset: MarkedSet) -> None:
    sources = [TrainingSource(name, dataset, dataset.propose_set) for name in ("one", "two")]
    photographs = TrainingPhotographs(sources, NAMES, stored_side=96)
    assert photographs.names([4, 0, 4, 5]) == "two 1-coffee, 2-astronaut; one 0-chelsea"


@pytest.mark.parametrize(
    ("name", "value"),
    [("minutes", 0.0), ("minutes", float("inf")), ("best", 0), ("jitter", -1), ("smoothing", 1.0), ("save_every", 0)],
)
def test_settings_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        PooledTrainingSettings(**{name: value})


def test_no_more_regions_can_count_than_a_batch_has_and_stages_have_to_exist(
    dataset: MarkedSet, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="hard_examples should be at most the 8 regions of a batch, got 9"):
        replace(SETTINGS, training=replace(SETTINGS.training, hard_examples=9))
    unasked = [TrainingSource("other", dataset, lambda: pytest.fail("proposals were made"))]
    with pytest.raises(InputError, match="there is no stage '6a' to freeze"):
        train(dataset, tmp_path, sources=unasked, training=replace(SETTINGS.training, frozen=("6a",)))
