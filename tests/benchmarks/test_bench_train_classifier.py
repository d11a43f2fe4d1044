"""The benchmark of classifier training: its table, and a whole loop that is as slow as its batches are drawn."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import bench_train_classifier as bench
import pytest
import torch

from inception_rcnn.backbones import googlenet
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training.classification import ClassifierTraining, ClassifierTrainingSettings
from inception_rcnn.backbones.training.log import TrainingLog, read_log

CPU = Runtime(torch.device("cpu"), torch.float32, 4)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """torch on one thread: so small a network is slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--variant batchnorm --side 32 --batch 2 --rounds 1 --iterations 1 --device cpu --precision fp32"
    bench.main([*words.split(), "--json", str(tmp_path / "record.json")])
    assert "| batchnorm |" in capsys.readouterr().out
    (table,) = json.loads((tmp_path / "record.json").read_text())["tables"]
    ((variant, *rates),) = table["rows"]
    assert variant == "batchnorm" and len(rates) == 3
    medians = [float(rates[0].split()[0]), float(rates[1].split()[0]), rates[2]["median"]]
    assert all(one > 0 and math.isfinite(one) for one in medians)


def test_the_whole_loop_waits_for_its_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = ClassifierTraining(
        googlenet("batchnorm", num_classes=2), ClassifierTrainingSettings(log_every=1), CPU, batches_per_pass=1
    )
    iterations = iter(range(1, 100))

    def step(_: object) -> dict[str, float]:
        training.averaged.iteration = next(iterations)
        return {"loss": 0.0}

    class Slow:
        """Batches that take a time to draw."""

        def draw(self, _: int) -> None:
            time.sleep(0.02)

    monkeypatch.setattr(training, "step", step)
    monkeypatch.setattr(training.averaged, "mean_losses", lambda: {"loss": 0.0})
    monkeypatch.setattr(bench, "drawing", lambda _: 1)
    log = TrainingLog(tmp_path / "log.csv", 0, per_iteration=2)
    count = bench.timed_iterations(1, CPU)
    assert count == 8 and bench.whole(training, Slow(), count, tmp_path, log) > 0.019
    assert len(read_log(tmp_path / "log.csv")["iteration"]) == count + 4
