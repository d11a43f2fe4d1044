"""`from_imagenet`: detectors whose classes are ImageNet's outputs, grouped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inception_rcnn.backbones import googlenet, write_checkpoint
from inception_rcnn.datasets import VOC_CLASSES
from inception_rcnn.datasets.ilsvrc import det_classes
from inception_rcnn.detector.checkpoints import read_classifier_description, read_region_network
from inception_rcnn.detector.heads.imagenet_head import GroupedLinear
from inception_rcnn.tools import cli


def run(*arguments: str | Path) -> int:
    """The exit status of the command."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["from_imagenet", *map(str, arguments)])
    return int(exit_.value.code or 0)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fresh weights with 1000 outputs."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pretrained") / "fresh.safetensors"
    write_checkpoint(path, "googlenet", {"num_classes": 1000}, googlenet().state_dict())
    return path


def test_the_two_hundred_by_their_english_names(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "det.safetensors"
    assert run("--pretrained", pretrained, "--output", output, "--licence", "CC0-1.0") == 0
    network, description = read_region_network(output)
    assert "200 classes; try it with: inception-rcnn detect" in " ".join(capsys.readouterr().out.split())
    assert description.class_names == tuple(name for _, name in det_classes())
    assert description.regions == "warp" and description.input_spec.context == 16 and description.licence == "CC0-1.0"
    assert description.training["pretrained"] == "fresh.safetensors" and description.seen == ()
    assert isinstance(network.classifier, GroupedLinear) and network.classifier.out_features == 1000
    assert description.output_groups.count(description.class_names.index("dog")) == 118
    assert description.output_groups[906] == description.class_names.index("tie")  # and the bow tie has its own
    assert description.output_groups[457] == description.class_names.index("bow tie")


def test_pooled_and_with_other_classes(pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "voc.safetensors"
    how = ("--classes", "voc", "--regions", "pool", "--source", "selective-search")
    assert run("--pretrained", pretrained, "--output", output, *how) == 0
    description = read_classifier_description(output)
    assert description.class_names == VOC_CLASSES and description.regions == "pool" and not description.box_regression
    assert description.proposal_settings["source"] == "selective-search"
    assert run("--pretrained", pretrained, "--output", tmp_path / "coco.safetensors", "--classes", "coco") == 0
    assert "without 17 classes that ImageNet has no kind of: fire hydrant, stop sign" in capsys.readouterr().out
    assert len(read_classifier_description(tmp_path / "coco.safetensors").class_names) == 63


def test_what_is_refused(pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "x.safetensors"
    assert run("--pretrained", pretrained, "--output", output, "--classes", "pets") == 2
    assert "'pets' is unknown; known: ilsvrc, coco, voc" in " ".join(capsys.readouterr().err.split())
    few = tmp_path / "few.safetensors"
    write_checkpoint(few, "googlenet", {"num_classes": 3}, googlenet(num_classes=3).state_dict())
    assert run("--pretrained", few, "--output", output) == 1
    assert "should have ImageNet's 1000 outputs, it has 3" in capsys.readouterr().err
    assert not output.exists()
