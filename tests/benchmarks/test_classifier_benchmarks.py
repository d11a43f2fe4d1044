"""Classifiers' benchmarks: tables of training, variants, auxiliary heads; a loop as slow as its batches are drawn."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import auxiliary_heads
import bench_train_classifier as bench
import bench_variants
import pytest
import torch
from PIL import Image
from skimage import data

from inception_rcnn.backbones import googlenet
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training.classification import ClassifierTraining, ClassifierTrainingSettings
from inception_rcnn.backbones.training.log import TrainingLog, read_log
from inception_rcnn.tools import cli

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
    monkeypatch.setattr(bench, "patch_threads", lambda _: 1)
    log = TrainingLog(tmp_path / "log.csv", 0, per_iteration=2)
    count = bench.timed_iterations(1, CPU)
    assert count == 8 and bench.whole(training, Slow(), count, tmp_path, log) > 0.019
    assert len(read_log(tmp_path / "log.csv")["iteration"]) == count + 4


def test_variants_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_variants, "SIDE", 64)
    words = ["--batch", "1", "--rounds", "2", "--precision", "fp32", "--device", "cpu"]
    record = tmp_path / "record.json"
    bench_variants.main([*words, "--without", "naive", "paper", "torchvision", "--json", str(record)])
    (table,) = json.loads(record.read_text())["tables"]
    names, *columns = zip(*table["rows"], strict=True)
    assert names == (bench_variants.THEIRS, '"batchnorm"', '"paper", lrn=False', '"paper", merged')
    figures = [one["median"] if isinstance(one, dict) else one for column in columns for one in column]
    assert all(one > 0 and math.isfinite(one) for one in figures) and table["rows"][0][3]["median"] == 1


def test_with_auxiliary_heads_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def in_this_process(line: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        with pytest.raises(SystemExit) as exit_:
            cli.main(["train_classifier", *line[2:]])
        return subprocess.CompletedProcess(line, int(exit_.value.code or 0))

    for name, image in (("cat", data.chelsea()), ("cup", data.coffee())):
        for number in range(2):
            (tmp_path / "crops" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[::4, ::4]).save(tmp_path / "crops" / name / f"{number}.png")
    monkeypatch.setattr(auxiliary_heads.subprocess, "run", in_this_process)
    words = ["--side", "32", "--batch", "2", "--iterations", "1", "--validate-every", "1", "--seeds", "0"]
    auxiliary_heads.main([str(tmp_path / "crops"), "--output", str(tmp_path / "runs"), "--device", "cpu", *words])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| with")]
    assert [row[:2] for row in rows] == [["with heads", "0"], ["without", "0"]]
    assert all(math.isfinite(float(figure)) for row in rows for figure in row[2:])
    assert (tmp_path / "runs" / "auxiliary-heads.svg").read_text().startswith("<svg")
