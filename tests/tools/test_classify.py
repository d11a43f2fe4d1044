"""`classify` and `eval_classification`: tables, sheets, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from inception_rcnn.backbones import Classifier, googlenet, write_checkpoint
from inception_rcnn.tools import cli


def run(command: str, *arguments: str | Path) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, *map(str, arguments), "--precision", "fp32", "--device", "cpu"])
    return int(exit_.value.code or 0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two classes, with names, that tells the cat from the coffee."""
    torch.manual_seed(0)
    network = googlenet(num_classes=2)
    path = tmp_path_factory.mktemp("weights") / "two.safetensors"
    assert network.classifier is not None
    cat, coffee = (_features(network, image) for image in (data.chelsea(), data.coffee()))
    network.classifier.weight.data = torch.stack([cat - coffee, coffee - cat]) * (20 / (cat - coffee).square().sum())
    network.classifier.bias.data = -(network.classifier.weight.data @ (cat + coffee) / 2)
    write_checkpoint(path, "googlenet", {"class_names": ["tabby cat", "cup of coffee"]}, network.state_dict())
    return path


def _features(network: torch.nn.Module, image: np.ndarray) -> torch.Tensor:
    from inception_rcnn.backbones import crop_plan, cut_crops

    pixels = cut_crops(image, crop_plan(1), torch.device("cpu")).pixels
    with torch.no_grad():
        found: torch.Tensor = network.pooled(network.trunk(network.input_spec.shift(pixels).permute(0, 3, 1, 2)))[0]
    return found


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each class, called as the weights call it, and a file that is none in one."""
    root = tmp_path_factory.mktemp("photographs")
    for name, image in (("tabby cat", data.chelsea()), ("cup of coffee", data.coffee())):
        (root / name).mkdir()
        Image.fromarray(image).save(root / name / "one.png")
        Image.fromarray(image[:, ::-1]).save(root / name / "two.jpg")
    (root / "tabby cat" / "broken.jpg").write_bytes(b"no image")
    return root


def test_a_table_and_a_sheet(
    weights: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = photographs / "cup of coffee" / "one.png"
    assert run("classify", image, "--weights", weights, "--crops", "1", "--output", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{image}: drawn in {tmp_path / 'one-classes.png'}"
    found = Classifier.load([weights])(data.coffee())
    assert lines[1:] == [f"  {found[1]:.3f}  cup of coffee", f"  {found[0]:.3f}  tabby cat"] and found[1] > 0.9
    sheet = np.asarray(Image.open(tmp_path / "one-classes.png"))
    assert sheet.shape == (320, 880, 3) and (sheet[:320, 480:] != 255).any()


def test_images_that_cannot_be_read_are_reported(
    weights: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photographs / "tabby cat"
    assert run("classify", folder, "--weights", weights, "--crops", "1", "--top", "1", "--output", tmp_path) == 1
    printed = capsys.readouterr()
    assert "broken.jpg is none of JPEG" in printed.err and printed.out.count("tabby cat\n") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one-classes.png", "two-classes.jpg"]


def test_accuracy_of_folders(weights: Path, photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = run("eval_classification", photographs, "--weights", weights, "--quiet")
    printed = capsys.readouterr()
    assert status == 0 and "broken.jpg" in printed.err
    lines = printed.out.splitlines()
    assert lines[0].startswith("left out as broken: 1")
    assert lines[1] == "4 of 5 photographs, 2 classes; photographs resized: keep; fp32 by torch on cpu"
    rows = [line.split() for line in lines[4:6]]
    assert rows[0] == ["1", "1", "1", "100.00", "100.00", "0.00", "100.00", "100.00", "0.00", "10.07"]
    assert rows[1][:3] == ["1", "10", "10"] and rows[1][-1] == "9.15" and lines[6].endswith("for all rows")


def test_accuracy_of_a_table_and_some_photographs_of_it(
    weights: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("tabby cat/one.png", "cup of coffee/one.png", "cup of coffee/two.jpg", "tabby cat/two.jpg")
    lines = [f"{name}\t{number % 2}" for number, name in enumerate(names)]
    shutil.copytree(photographs, tmp_path / "some")
    (tmp_path / "some" / "labels.tsv").write_text("\n".join(["file\tclass_index", *lines]))
    arguments = (
        "--weights",
        weights,
        "--weights",
        weights,
        "--crops",
        "1",
        "--limit",
        "2",
        "--resize",
        "stretch",
        "--quiet",
    )
    assert run("eval_classification", tmp_path / "some", *arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "2 of 4 photographs, 2 classes; photographs resized: stretch; fp32 by torch on cpu"
    assert printed[3].split()[:5] == ["1", "1", "1", "50.00", "100.00"], "the first is right, the third is not"
    assert printed[4].split()[:5] == ["2", "1", "2", "50.00", "100.00"] and len(printed[4].split()) == 9


def test_what_is_refused(
    weights: Path, photographs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INCEPTION_RCNN_IMAGENET", raising=False)
    image = photographs / "tabby cat" / "one.png"
    for arguments, status, message in (
        (("classify", image), 1, "set INCEPTION_RCNN_IMAGENET=FILE"),
        (("classify", image, "--weights", "coco"), 1, "a trunk, such as 'coco', has none"),
        (("classify", image, "--weights", weights, "--crops", "12"), 2, "'12' is unknown; known: 1, 10, 144"),
        (("eval_classification", photographs, "--weights", weights, "--resize", "x"), 2, "known: keep, stretch"),
        (("eval_classification", image.parent / "absent", "--weights", weights), 1, "no photographs at"),
    ):
        assert run(*arguments) == status
        assert message in " ".join(capsys.readouterr().err.split())
