"""`train_classifier`: killed and gone on, by two processes, and what the other commands make of the result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from inception_rcnn.backbones import read_checkpoint
from inception_rcnn.backbones.training.classification import ClassifierTrainingSettings
from inception_rcnn.backbones.training.log import read_log
from inception_rcnn.datasets import open_labelled_part
from inception_rcnn.tools import cli, train_classifier

ROOT = Path(__file__).resolve().parent.parent.parent
OPTIONS = ("--iterations", "4", "--batch", "4", "--log-every", "1", "--save-every", "2", "--warm-up", "1", "--quiet")
ON_CPU = ("--device", "cpu", "--precision", "fp32")
SMALL = ("--side", "64", *OPTIONS, *ON_CPU)
BATCH_NORM = ("--variant", "batchnorm", *SMALL)
PAPER = ("--auxiliary", "0", "--pretrained", "scratch", *SMALL)
# Where a process ends of itself, as kill -9 ends it: behind the third step, one after the state was saved.
KILLED = """
import os, signal, sys
from inception_rcnn.backbones.training.classification import ClassifierTraining
from inception_rcnn.tools import cli
step = ClassifierTraining.step
def killed(self, *arguments):
    if self.averaged.iteration == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments)
ClassifierTraining.step = killed
cli.main(sys.argv[1:])
"""


def run(*arguments: str | Path) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as exit_:
        cli.main([*map(str, arguments)])
    return int(exit_.value.code or 0)


def environment(**more: str) -> dict[str, str]:
    """Of a process of this checkout, on one thread."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, three photographs of each to learn from and one to measure on."""
    root = tmp_path_factory.mktemp("photographs")
    for name, image in (("cat", data.chelsea()), ("cup", data.coffee())):
        for part, count in (("train", 3), ("val", 1)):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(np.roll(image, 20 * number, axis=1)[::2, ::2]).save(
                    root / part / name / f"{number}.png"
                )
    return root


@pytest.fixture(scope="module")
def unbroken(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing stopped."""
    output = tmp_path_factory.mktemp("unbroken")
    assert run("train_classifier", photographs, "--output", output, *BATCH_NORM) == 0
    return output


def test_a_run_that_was_killed_ends_as_one_that_was_not(photographs: Path, unbroken: Path, tmp_path: Path) -> None:
    words = ["train_classifier", str(photographs), "--output", str(tmp_path), *BATCH_NORM]
    line = [sys.executable, "-c", KILLED, *words]
    assert subprocess.run(line, env=environment(), check=False).returncode == -signal.SIGKILL
    assert read_log(tmp_path / "log.csv")["iteration"] == ("1", "2", "3")
    assert not (tmp_path / "model.safetensors").exists()
    assert run(*words) == 0
    whole, gone_on = read_log(unbroken / "log.csv"), read_log(tmp_path / "log.csv")
    exact = ("iteration", "learning_rate", "loss", "classes", "auxiliary", "top1")
    assert {name: whole[name] for name in exact} == {name: gone_on[name] for name in exact}
    models = [read_checkpoint(folder / "model.safetensors", "googlenet") for folder in (unbroken, tmp_path)]
    assert models[0].description == models[1].description
    assert all(bool((one == models[1].tensors[name]).all()) for name, one in models[0].tensors.items())


def test_two_processes_learn_what_one_does(photographs: Path, tmp_path: Path) -> None:
    words = [str(photographs), *PAPER]
    assert run("train_classifier", *words, "--output", tmp_path / "one") == 0
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    line += [str(ROOT / "tools" / "train_classifier.py"), *words, "--output", str(tmp_path / "two")]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1
    logs = [read_log(tmp_path / name / "log.csv") for name in ("one", "two")]
    assert np.allclose(*[np.array(log["loss"], np.float64) for log in logs], rtol=1e-4)
    assert logs[0]["top1"] == logs[1]["top1"]


def test_a_seed_gives_the_same_fresh_trunk_with_auxiliary_heads_and_without(photographs: Path) -> None:
    images = open_labelled_part(photographs, "train")
    with_heads, without = (
        train_classifier._network("batchnorm", "scratch", images, ClassifierTrainingSettings(auxiliary=weight))[0]
        for weight in (0.3, 0.0)
    )
    left_out = {name for name in with_heads.state_dict() if name.startswith("aux_")}
    assert left_out and set(with_heads.state_dict()) - left_out == set(without.state_dict())
    assert all(bool((one == with_heads.state_dict()[name]).all()) for name, one in without.state_dict().items())


def test_the_other_commands_read_the_result(
    photographs: Path, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = unbroken / "model.safetensors"
    assert (unbroken / "curves.svg").read_text().startswith("<svg")
    image = photographs / "val" / "cat" / "0.png"
    assert run("classify", image, "--weights", model, "--crops", "1", "--output", tmp_path, *ON_CPU) == 0
    assert {line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]} == {"cat", "cup"}
    assert run("eval_classification", photographs, "--split", "val", "--weights", model, "--crops", "1", *ON_CPU) == 0
    assert "2 of 2 photographs, 2 classes" in capsys.readouterr().out


def test_a_share_is_held_out_where_there_are_no_parts(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photographs / "train" / "cat" / "broken.jpg").write_bytes(b"no image")
    words = ("train_classifier", photographs / "train", "--output", tmp_path, *BATCH_NORM, "--iterations", "1")
    try:
        assert run(*words) == 1
        assert "broken.jpg is no photograph, of 1; give --skip-broken" in capsys.readouterr().err
        assert run(*words, "--skip-broken") == 0
    finally:
        (photographs / "train" / "cat" / "broken.jpg").unlink()
    printed = capsys.readouterr()
    assert "broken.jpg is no photograph, and left out" in printed.err
    assert "on 2 photographs of val, one central patch, after 1 batches" in printed.out


def test_a_photograph_that_is_cut_off_ends_no_training(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = photographs / "train" / "cup" / "2.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    words = ("train_classifier", photographs, "--output", tmp_path, *BATCH_NORM, "--iterations", "2")
    try:
        assert run(*words) == 1
        assert "2.png is damaged or cut off" in (said := capsys.readouterr().err) and "give --skip-broken" in said
        assert run(*words, "--skip-broken") == 0
    finally:
        broken.write_bytes(whole)
    assert capsys.readouterr().err.count("2.png is damaged or cut off") == 1


def test_what_makes_no_sense_is_refused(photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("train_classifier", photographs, "--output", tmp_path)
    assert run(*words, "--iterations", "3", "--minutes", "1") == 2
    assert run(*words, "--variant", "naive") == 2
    capsys.readouterr()
    assert run(*words, "--variant", "batchnorm", "--pretrained", "coco", *SMALL) == 1
    assert "is of the variant 'paper'" in capsys.readouterr().err
