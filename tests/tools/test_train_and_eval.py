"""`train` and `eval_map` end to end on a data set of four small photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

from inception_rcnn.backbones import googlenet, write_checkpoint
from inception_rcnn.detector.checkpoints import describe_region_classifier
from inception_rcnn.tools import cli


def run(*arguments: str | Path | int) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(word) for word in arguments])
    return int(exit_.value.code or 0)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the commands write by default goes to a folder of the test."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photographs in COCO's layout: two cats, a cup, an astronaut."""
    root = tmp_path_factory.mktemp("coco")
    (root / "val").mkdir()
    images, annotations = [], []
    pictures = [
        (data.chelsea(), 17, [60, 10, 150, 135]),
        (data.chelsea()[:, ::-1], 17, [15, 10, 150, 135]),
        (data.coffee(), 47, [60, 30, 100, 90]),
        (data.astronaut()[:342], 1, [20, 0, 150, 150]),
    ]
    for number, (pixels, category, box) in enumerate(pictures, start=1):
        Image.fromarray(pixels).resize((225, 150)).save(root / "val" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 225, "height": 150})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": category,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
        )
    categories = [{"id": 1, "name": "person"}, {"id": 17, "name": "cat"}, {"id": 47, "name": "cup"}]
    (root / "val.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return root


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fresh weights in a checkpoint of kind googlenet: this test is of the way, not of the result."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pretrained") / "fresh.safetensors"
    write_checkpoint(path, "googlenet", {"num_classes": 3}, googlenet(num_classes=3).state_dict())
    return path


@pytest.fixture(scope="module")
def model(root: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for two iterations by the command."""
    output = tmp_path_factory.mktemp("run")
    wanted = ("--root", root, "--split", "val", "--pretrained", pretrained, "--output", output, "--iterations", 2)
    assert run("train", *wanted, "--linear-batches", 1, "--train-from", "5b", "--device", "cpu", "--quiet") == 0
    return output / "model.safetensors"


def test_training_leaves_a_model_a_linear_start_a_state_and_the_proposals(model: Path) -> None:
    names = {path.name for path in model.parent.iterdir()}
    assert names == {"model.safetensors", "linear.safetensors", "state.safetensors", "proposals-val.safetensors"}
    description = describe_region_classifier(model)
    assert description.class_names == ("person", "cat", "cup")
    assert description.training["images"] == 4 and description.training["iterations"] == 2


def test_the_same_command_again_changes_nothing_and_another_setting_is_refused(
    model: Path, root: Path, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model.read_bytes()
    wanted = ("--root", root, "--split", "val", "--pretrained", pretrained, "--output", model.parent, "--iterations", 2)
    rest = ("--linear-batches", 1, "--train-from", "5b", "--device", "cpu", "--quiet")
    assert run("train", *wanted, *rest) == 0
    assert model.read_bytes() == before
    assert run("train", *wanted, *rest, "--learning-rate", 0.5) == 1
    assert "learning_rate = 0.002" in capsys.readouterr().err


def test_a_model_can_be_trained_further_and_keeps_what_it_knows(
    model: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("--root", root, "--split", "val", "--pretrained", model, "--output", tmp_path, "--iterations", 1)
    proposals = ("--proposals", model.parent / "proposals-val.safetensors")
    rest = ("--train-from", "5b", "--device", "cpu", "--quiet")
    assert run("train", *wanted, *proposals, *rest, "--source", "selective-search") == 0
    assert "was made with method = 'both', not 'selective-search'" in capsys.readouterr().err
    assert run("train", *wanted, *proposals, *rest) == 0
    assert "note" not in capsys.readouterr().err
    assert not (tmp_path / "linear.safetensors").exists()  # no linear start: the last layer was kept
    further = describe_region_classifier(tmp_path / "model.safetensors").training
    assert further["linear_batches"] == 0 and further["new_layer_factor"] == 2
    assert further["pretrained_training"] == describe_region_classifier(model).training


def test_eval_map_scores_a_set_and_stores_a_threshold(
    model: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "map.json"
    wanted = ("--root", root, "--split", "val", "--weights", model, "--max-proposals", 10, "--device", "cpu", "--quiet")
    assert run("eval_map", *wanted, "--json", out, "--store-threshold") == 0
    result = json.loads(out.read_text())
    assert list(result) == ["map", "median_ap", "ap", "protocol", "images", "detections", "coco"]
    assert set(result["ap"]) == {"person", "cat", "cup"} and result["images"] == 4
    assert 0 <= result["map"] <= 1 and result["map"] == pytest.approx(sum(result["ap"].values()) / 3)
    printed = capsys.readouterr().out
    assert "mAP@0.5" in printed and "recall at IoU 0.5" in printed and "seconds an image" in printed
    threshold = describe_region_classifier(model).score_threshold
    assert f"stored score threshold {threshold:.3f}" in printed


def test_each_scores_the_members_of_an_ensemble_alone(
    model: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linear = model.with_name("linear.safetensors")
    wanted = ("--root", root, "--split", "val", "--max-proposals", 6, "--device", "cpu", "--quiet", "--limit", 2)
    assert run("eval_map", *wanted, "--weights", model, linear, "--each") == 0
    printed = capsys.readouterr().out
    assert printed.count("mAP@0.5") == 3 and "--- all averaged" in printed and f"--- {linear}" in printed


def test_stored_proposals_give_the_same_figures_as_a_live_call(
    model: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "val.safetensors"
    assert run("propose", "--dataset", "coco", "--root", root, "--split", "val", "--output", stored, "--quiet") == 0
    wanted = ("--root", root, "--weights", model, "--max-proposals", 6, "--device", "cpu", "--quiet", "--limit", 2)
    results = []
    for number, extra in enumerate(((), ("--proposals", stored))):
        out = tmp_path / f"{number}.json"
        assert run("eval_map", *wanted, "--json", out, *extra) == 0
        results.append(json.loads(out.read_text()))
    assert results[0] == results[1] and results[0]["images"] == 2


def test_a_format_that_is_not_read_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval_map", "--dataset", "yolo", "--root", root) == 2
    assert "'yolo' is not a known format" in capsys.readouterr().err
