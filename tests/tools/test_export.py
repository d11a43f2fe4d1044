"""`inception-rcnn export` and `calibrate`, on a small pooled detector: files, parity, int8."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from inception_rcnn.backbones import googlenet, read_checkpoint, read_description, write_checkpoint
from inception_rcnn.detector import ClassifierDescription, load_detector, save_region_classifier
from inception_rcnn.detector.checkpoints import with_activation_ranges
from inception_rcnn.detector.region_classifier import REGION_INPUT
from inception_rcnn.detector.region_pooling import PooledNetwork, PoolingSpec
from inception_rcnn.detector.runtimes.export import exportable_parts
from inception_rcnn.proposals import ProposalSettings
from inception_rcnn.structures import CheckpointError, InputError
from inception_rcnn.tools import cli

NAMES = ("cat", "cup", "person")
SPEC = PoolingSpec(short_side=96, long_side=160, cells=3, fine_channels=16)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pooled detector with fresh weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "pooled.safetensors"
    description = ClassifierDescription(
        NAMES, REGION_INPUT, {"source": "selective-search"}, pooling=SPEC, box_regression=True
    )
    save_region_classifier(path, PooledNetwork(len(NAMES), SPEC), description, dtype=torch.float32)
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two small photographs in a folder."""
    root = tmp_path_factory.mktemp("photographs")
    for name in ("coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()).resize((180, 120)).save(root / f"{name}.png")
    yield root


def call(*words: str | Path) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    return int(end.value.code or 0)


def test_a_pooled_detector_is_trunk_and_head(
    openvino: ModuleType, pooled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("export", "--weights", pooled, "--output", tmp_path / "out") == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        *(f"{part}.{end}" for part in ("trunk", "head") for end in ("onnx", "xml", "bin")),
        "export.json",
    }
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["trunk"]["inputs"] == {"images": ["images", 3, "height", "width"]}
    assert about["trunk"]["pooling"] == SPEC.to_dict() and about["trunk"]["input"]["channel_order"] == "bgr"
    assert about["head"]["inputs"]["fine"] == ["regions", 16, 3, 3]
    assert about["head"]["class_names"] == [*NAMES, "background"]
    for part in about.values():
        for differences in part["largest_difference"].values():
            assert differences and max(differences.values()) < 0.01
    assert capsys.readouterr().out.count("largest difference from torch in float32") == 4


def test_one_format_is_written_alone(openvino: ModuleType, pooled: Path, tmp_path: Path) -> None:
    assert call("export", "--weights", pooled, "--output", tmp_path / "out", "--format", "onnx") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"trunk.onnx", "head.onnx", "export.json"}


def test_multibox_alone(openvino: ModuleType, tmp_path: Path) -> None:
    words = ("--weights", "multibox", "--output", tmp_path, "--format", "onnx")
    assert call("export", *words) == 0
    about = json.loads((tmp_path / "export.json").read_text())
    assert set(about) == {"multibox"} and set(about["multibox"]["outputs"]) == {"residuals", "logits", "regions"}


def test_calibrated_weights_are_exported_and_used_in_int8(
    openvino: ModuleType, pooled: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.safetensors"
    shutil.copy(pooled, copy)
    assert call("export", "--weights", copy, "--output", tmp_path / "out", "--precision", "int8") == 1
    assert "inception-rcnn calibrate" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    words = ("--dataset", "folder", "--root", photographs, "--photographs", "2", "--quiet")
    assert call("calibrate", "--weights", copy, *words) == 0
    assert "33 layers of the trunk, 8 layers of the head" in capsys.readouterr().out
    ranges = read_description(copy)["activation_ranges"]
    assert {name: len(pairs) for name, pairs in ranges.items()} == {"trunk": 33, "head": 8}
    assert call("export", "--weights", copy, "--output", tmp_path / "out", "--precision", "int8") == 0
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert max(about["trunk"]["largest_difference"]["trunk.onnx"].values()) > 1e-3, "it is rounded"
    detector = load_detector(copy, "cpu", runtime="openvino", precision="int8")
    exact = load_detector(copy, "cpu", runtime="torch", precision="fp32")
    image, boxes = np.ascontiguousarray(data.coffee()[:120, :180]), np.array([[10, 10, 90, 80]], np.float32)
    found, wanted = (one.ensemble.score(image, boxes).probabilities for one in (detector, exact))
    np.testing.assert_allclose(found, wanted, atol=0.1)


def test_a_part_without_ranges_is_not_exported_as_if_it_were_int8(pooled: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    shutil.copy(pooled, copy)
    with_activation_ranges(copy, {"trunk": ((0.0, 1.0),) * 33})
    with pytest.raises(InputError, match="int8 needs calibrated weights, and the head's are not"):
        exportable_parts(copy, np.ascontiguousarray(data.coffee()[:40, :60]), int8=True)


@pytest.mark.filterwarnings("default")
def test_export_and_calibrate_take_the_multibox_that_is_named(
    pooled: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, how = tmp_path / "copy.safetensors", ProposalSettings(multibox="x.safetensors", multibox_sha256="0" * 64)
    checkpoint = read_checkpoint(pooled, "region-classifier")
    said = {name: one for name, one in checkpoint.description.items() if name not in ("kind", "data_sha256")}
    said["proposal_settings"] = how.to_dict()
    write_checkpoint(copy, "region-classifier", said, checkpoint.tensors)
    image = np.ascontiguousarray(data.coffee()[:40, :60])
    with pytest.raises(CheckpointError, match=rf"no weights at {tmp_path}/x.safetensors"):
        exportable_parts(copy, image)
    assert [one.part.name for one in exportable_parts(copy, image, multibox="multibox")][-1] == "multibox"
    words = ("--weights", copy, "--dataset", "folder", "--root", photographs, "--photographs", "1", "--quiet")
    assert call("calibrate", *words) == 1
    assert "no weights at" in capsys.readouterr().err
    words = ("--weights", copy, "--data", photographs, "--photographs", "1", "--quiet")  # the format is told
    assert call("calibrate", *words, "--multibox", "multibox") == 0
    assert capsys.readouterr().err.startswith("warning: the MultiBox multibox (data ")


def test_calibrate_refuses_what_is_shipped_or_warps(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("calibrate", "--weights", "coco-mini") == 2
    assert "name a data set, --data [FORMAT:]PATH" in " ".join(capsys.readouterr().err.split())
    assert call("calibrate", "--weights", "coco-mini", "--dataset", "folder", "--root", photographs) == 1
    assert "came with the package and is not rewritten" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--format", "tflite"), ("--precision", "fp16")])
def test_unknown_words_are_wrong_usage(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("export", "--output", tmp_path / "out", option, value) == 2
    assert f"{value!r} is unknown; known: " in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize("command", ["detect", "eval_map"])
def test_unknown_runtimes_are_one_clear_error(
    command: str, photographs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = {
        "detect": (photographs / "coffee.png",),
        "eval_map": ("--dataset", "folder", "--root", photographs),
    }[command]
    assert call(command, *words, "--runtime", "tensorrt") == 1
    assert "unknown runtime 'tensorrt'; known are auto, torch, openvino" in capsys.readouterr().err
    with pytest.raises(InputError, match="unknown precision 'half'; known are auto, fp32, bf16, int8"):
        load_detector(None, "cpu", precision="half")


@pytest.mark.parametrize("classes", [0, 3])
def test_a_googlenet_of_any_number_of_classes_is_exported_as_it_is(tmp_path: Path, classes: int) -> None:
    """Not with fresh outputs for ImageNet's classes, which the file does not have."""
    torch.manual_seed(0)
    network = googlenet(num_classes=classes)
    write_checkpoint(tmp_path / "trunk.safetensors", "googlenet", {}, network.state_dict())
    (made,) = exportable_parts(tmp_path / "trunk.safetensors", data.chelsea())
    with torch.inference_mode():
        assert torch.equal(made.part.module(*made.inputs), network(made.inputs[0]))
    assert made.part.outputs[0].name == ("logits" if classes else "features")
