"""Several processes train as one does: the same samples, the same losses, the same network but for rounding."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marked_set import MarkedSet
from numpy.typing import NDArray
from torch import Tensor, nn

from inception_rcnn.backbones import CAFFE_INPUT, GoogLeNet, read_checkpoint
from inception_rcnn.backbones.training.distributed import ALONE, Part, Team
from inception_rcnn.backbones.training.log import read_log
from inception_rcnn.detector import ClassifierDescription, PooledNetwork, PoolingSpec, Runtime
from inception_rcnn.detector.region_classifier import REGION_INPUT
from inception_rcnn.detector.training.initial_weights import PretrainedNetwork
from inception_rcnn.detector.training.pooled.sampling import PooledBatch, PooledSamplingSettings
from inception_rcnn.detector.training.pooled.step import PooledTuning
from inception_rcnn.detector.training.pooled.trainer import PooledTrainingSettings, train_pooled
from inception_rcnn.detector.training.record import RecordSettings
from inception_rcnn.detector.training.run import TrainingTask
from inception_rcnn.detector.training.settings import TrainingSettings, region_weights
from inception_rcnn.detector.training.sources import TrainingSource
from inception_rcnn.detector.training.warped.sampling import SamplingSettings
from inception_rcnn.detector.training.warped.trainer import FineTuneSettings, fine_tune
from inception_rcnn.structures import InputError, Proposals
from inception_rcnn.structures.jobs import Share

NAMES = ("cat", "cup", "person")
CPU = Runtime(torch.device("cpu"), torch.float32, 4)
SPEC = PoolingSpec(short_side=96, long_side=200, cells=2, fine_channels=8)
RECORD = RecordSettings(log_every=1, validate_every=2)
SCHEDULE = TrainingSettings(
    iterations=4, warm_up=1, learning_rate=0.01, train_from="5a", averaging=0.5, hard_examples=7
)
PHOTOGRAPHS = ("chelsea", "coffee", "chelsea", "coffee")
# How far one process and two may end from each other: of losses, and of weights as a share of their largest change.
TOLERANCE = 1e-4
STEP = PooledTuning.step  # for the processes, which stop a run there


def anywhere(image: NDArray[np.uint8]) -> Proposals:
    """Proposes boxes all over a photograph."""
    corner = np.random.default_rng(image.shape[0]).uniform(0, 0.5, (8, 2))
    boxes = np.hstack([corner, corner + 0.4]) * np.tile(image.shape[1::-1], 2)
    return Proposals(boxes.astype(np.float32), np.linspace(1, 0.5, 8, dtype=np.float32))


def pooled(folder: Path, output: Path, team: Team = ALONE) -> PooledNetwork:
    """Train on batches of three photographs, which two processes cannot halve; return the network before."""
    dataset = MarkedSet(folder, NAMES, PHOTOGRAPHS)
    torch.manual_seed(1 + team.share.rank)  # the weights are the first process's
    start = PretrainedNetwork(PooledNetwork(3, SPEC), False, {})
    before = PooledNetwork(3, SPEC)
    before.load_state_dict(start.network.state_dict())
    sampling = PooledSamplingSettings(
        photographs=3, regions=5, stored_side=96, scales=(1.0, 1.25), photometric=0.2, random_interpolation=True
    )
    settings = PooledTrainingSettings(training=SCHEDULE, sampling=sampling, save_every=2, jitter=2)
    description = ClassifierDescription(NAMES, CAFFE_INPUT, pooling=SPEC, box_regression=True)
    source = TrainingSource("marked", dataset, dataset.propose_set)
    options: Any = {"val": dataset, "record": RECORD, "team": team, "quiet": True}
    train_pooled(
        TrainingTask(
            sources=[source],
            propose=anywhere,
            start=start,
            description=description,
            runtime=CPU,
            output=output,
            **options,
        ),
        settings,
    )
    return before


def warped(folder: Path, output: Path, team: Team = ALONE) -> GoogLeNet:
    """Train on batches of five warped regions; return the network before."""
    dataset = MarkedSet(folder, NAMES, PHOTOGRAPHS)
    torch.manual_seed(1 + team.share.rank)
    start = PretrainedNetwork(GoogLeNet(4), False, {})
    before = GoogLeNet(4)
    before.load_state_dict(start.network.state_dict())
    settings = FineTuneSettings(
        training=replace(SCHEDULE, hard_examples=4),
        sampling=SamplingSettings(foreground=2, background=3),
        linear_batches=1,
        jitter=2,
    )
    description = ClassifierDescription(NAMES, replace(REGION_INPUT, side=64))
    source = TrainingSource("marked", dataset, dataset.propose_set)
    record = RecordSettings(log_every=2)
    fine_tune(
        TrainingTask(
            sources=[source],
            propose=anywhere,
            start=start,
            description=description,
            runtime=CPU,
            output=output,
            record=record,
            team=team,
            quiet=True,
        ),
        settings,
    )
    return before


CASE = """
import importlib.util, os, sys
from pathlib import Path
import torch
from inception_rcnn.structures.jobs import Share
torch.set_num_threads(1)
found = importlib.util.spec_from_file_location("case", sys.argv[1])
case = sys.modules["case"] = importlib.util.module_from_spec(found)
found.loader.exec_module(case)
photographs, output = Path(sys.argv[2]), Path(sys.argv[3])
with case.Team.joined(Share.from_environment(os.environ), torch.device("cpu")) as team:
    folder = photographs / str(team.share.rank)
    case.pooled(folder, output / "whole", team)
    def stopped(self, batch):
        if self.averaged.iteration == 3:  # one step after the state was saved
            raise KeyboardInterrupt
        return case.STEP(self, batch)
    case.PooledTuning.step = stopped
    try:
        case.pooled(folder, output / "killed", team)
    except KeyboardInterrupt:
        team.wait()
    case.PooledTuning.step = case.STEP
    case.pooled(folder, output / "killed", team)
    case.warped(folder, output / "warped", team)
    assert team.from_first(lambda: 7) == 7 and team.from_all(team.share.rank) == [0, 1]
    if not team.leads:
        (output / "second").write_text("was here")
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left: whole, killed, warped; read only."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "case.py").write_text(CASE)
    tests = Path(__file__).parents[2]
    paths = [str(tests.parent / "src"), str(tests), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [*command, str(folder / "case.py"), __file__, str(folder / "photographs"), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert (folder / "second").exists()
    return folder


def apart(one: Path, two: Path, before: nn.Module) -> float:
    """How far two states' averaged weights are apart, as a share of the largest change of a weight since the start."""
    ours, theirs = (read_checkpoint(path / "state.safetensors", "training-state").tensors for path in (one, two))
    averaged = [name for name in ours if name.startswith("average.")]
    assert averaged and ours.keys() == theirs.keys()
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in averaged)
    start = before.state_dict()
    changes = [float((ours[name] - start[name.removeprefix("average.")]).abs().max()) for name in averaged]
    return worst / max(changes)


def losses(output: Path) -> list[list[float]]:
    """The losses of every line."""
    table = read_log(output / "log.csv")
    return [[float(one) for one in table[name]] for name in ("loss", "classes", "boxes") if name in table]


@pytest.mark.parametrize(("name", "train"), [("whole", pooled), ("warped", warped)])
def test_two_processes_end_where_one_does(
    outputs: Path, tmp_path: Path, name: str, train: Callable[[Path, Path], nn.Module]
) -> None:
    before = train(tmp_path / "photographs", tmp_path / "one")
    found, expected = losses(outputs / name), losses(tmp_path / "one")
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE)
    assert apart(tmp_path / "one", outputs / name, before) < TOLERANCE
    tables = [read_log(path / "log.csv") for path in (outputs / name, tmp_path / "one")]
    for column in ("iteration", "learning_rate", "mAP"):
        assert tables[0][column] == tables[1][column]
    names = {path.name for path in (outputs / name).iterdir()}
    assert names == {path.name for path in (tmp_path / "one").iterdir()}


def test_two_processes_that_were_stopped_go_on_to_the_same_end(outputs: Path) -> None:
    for name in ("state.safetensors", "model.safetensors", "best.safetensors", "curves.svg"):
        assert (outputs / "killed" / name).read_bytes() == (outputs / "whole" / name).read_bytes(), name
    assert losses(outputs / "killed") == losses(outputs / "whole")


# --- the parts, without processes


def team_of(rank: int, processes: int) -> Team:
    return Team(Share(rank, processes, rank))


@pytest.mark.parametrize(("total", "processes"), [(7, 3), (2, 2), (16, 5), (5, 1)])
def test_the_parts_of_a_batch_are_all_of_it_and_differ_by_one_at_most(total: int, processes: int) -> None:
    parts = [team_of(rank, processes).part(total, "regions") for rank in range(processes)]
    rows = [row for part in parts for row in range(total)[part.rows]]
    assert rows == list(range(total)) and all(part.total == total for part in parts)
    assert max(part.count for part in parts) - min(part.count for part in parts) <= 1
    assert parts[-1].times(4) == Part(4 * parts[-1].first, 4 * parts[-1].count, 4 * total)


def test_fewer_photographs_than_processes_are_refused() -> None:
    with pytest.raises(InputError, match="a batch of 2 photographs cannot be shared by 3 processes; ask for 3 or more"):
        team_of(0, 3).part(2, "photographs")


def test_the_photographs_of_a_process_have_their_regions() -> None:
    boxes = np.column_stack([np.repeat(np.arange(3), 2), np.arange(24).reshape(6, 4)]).astype(np.float32)
    batch = PooledBatch(
        np.array([9, 4, 7]), 1.0, np.array([True, False, True]), np.zeros((3, 3, 4), np.float32), boxes,
        np.arange(6), np.zeros((6, 4), np.float32), 5, np.array([0, 1, 2]))  # fmt: skip
    part = batch.of_process(team_of(1, 2).part(3, "photographs"))
    assert part.images.tolist() == [4, 7] and part.mirror.tolist() == [False, True]
    assert part.boxes[:, 0].tolist() == [0, 0, 1, 1] and part.labels.tolist() == [2, 3, 4, 5]
    np.testing.assert_array_equal(part.boxes[:, 1:], boxes[2:, 1:])
    assert part.interpolation is not None and part.interpolation.tolist() == [1, 2] and part.cells == 5
    assert part.part == Part(2, 4, 6) and part.colour is not None and len(part.colour) == 2


class Pretended(Team):
    """A process whose others are pretended: it knows the whole batch's losses."""

    def __init__(self, share: Share, values: Tensor) -> None:
        super().__init__(share)
        self.values = values

    def whole(self, values: Tensor, part: Part) -> Tensor:
        assert torch.equal(values, self.values[part.rows])
        return self.values


@pytest.mark.parametrize("hard", [None, 3, 1])
def test_weights_of_the_parts_are_those_of_the_whole(hard: int | None) -> None:
    values = torch.tensor([0.5, 3.0, 1.0, 7.0, 2.0])
    expected = region_weights(values, hard)
    assert float(expected.sum()) == pytest.approx(1)
    found = []
    for rank in range(2):
        team = Pretended(Share(rank, 2, rank), values)
        part = team.part(5, "regions")
        found.append(region_weights(values[part.rows], hard, team, part))
    assert torch.equal(torch.cat(found), expected)


def test_dropout_of_the_parts_is_that_of_the_whole() -> None:
    layer, x = nn.Dropout(0.4).train(), torch.randn(5, 300)
    torch.manual_seed(3)
    expected, found = layer(x), []
    for rank in range(2):
        team = team_of(rank, 2)
        part = team.part(5, "regions")
        torch.manual_seed(3)
        with team.dropout(layer, part):
            found.append(layer(x[part.rows]))
    assert torch.equal(torch.cat(found), expected)
    assert "forward" not in vars(layer)
    with team_of(0, 2).dropout(layer.eval(), Part(0, 2, 5)):
        assert torch.equal(layer(x[:2]), x[:2])


def test_one_process_alone_is_a_team() -> None:
    assert ALONE.alone and ALONE.leads and ALONE.part(4, "regions") == Part(0, 4, 4)
    with ALONE.first_alone():
        ALONE.wait()
    tensor = torch.ones(2)
    ALONE.add_up([tensor])
    assert tensor.tolist() == [1, 1] and ALONE.from_all(3) == [3] and ALONE.whole(tensor, Part(0, 2, 2)) is tensor
