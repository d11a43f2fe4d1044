"""`train` and `eval_map` end to end on a data set of four small photographs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from skimage import data

from inception_rcnn.backbones import googlenet, write_checkpoint
from inception_rcnn.backbones.runtime import choose_runtime
from inception_rcnn.datasets import open_dataset, write_voc
from inception_rcnn.detector import ClassifierDescription, load_region_classifier
from inception_rcnn.detector.training.run import FineTuned, TrainingTask
from inception_rcnn.detector.training.threshold import MeasuredThreshold
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
    """Four photographs in COCO's layout: two cats, a cup, an astronaut; two of them are a part of their own too."""
    root = tmp_path_factory.mktemp("coco")
    make_part(root, "val", 4)
    make_part(root, "cats", 2)
    return root


def make_part(root: Path, split: str, count: int) -> None:
    """Writes the first photographs as a part of the data set."""
    (root / split).mkdir()
    images, annotations = [], []
    pictures = [
        (data.chelsea(), 17, [60, 10, 150, 135]),
        (data.chelsea()[:, ::-1], 17, [15, 10, 150, 135]),
        (data.coffee(), 47, [60, 30, 100, 90]),
        (data.astronaut()[:342], 1, [20, 0, 150, 150]),
    ]
    for number, (pixels, category, box) in enumerate(pictures[:count], start=1):
        Image.fromarray(pixels).resize((225, 150)).save(root / split / f"{number}.png")
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
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (root / f"{split}.json").write_text(json.dumps(truth))


def described(model: Path) -> ClassifierDescription:
    """What a model says of itself."""
    return load_region_classifier(model, choose_runtime("cpu")).description


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
    assert (
        run(
            "train",
            *wanted,
            "--regions",
            "warp",
            "--linear-batches",
            1,
            "--train-from",
            "5b",
            "--device",
            "cpu",
            "--quiet",
        )
        == 0
    )
    return output / "model.safetensors"


def test_training_leaves_a_model_a_linear_start_a_state_and_the_proposals(model: Path) -> None:
    names = {path.name for path in model.parent.iterdir()}
    stored = {"proposals-val.safetensors", "log.csv", "curves.svg"}
    assert names == {"model.safetensors", "linear.safetensors", "state.safetensors", *stored}
    description = described(model)
    assert description.class_names == ("person", "cat", "cup")
    assert description.training["images"] == 4 and description.training["iterations"] == 2
    assert description.score_threshold == 0.1 and "not measured" in description.training["score_threshold"]


def test_the_same_command_again_changes_nothing_and_another_setting_is_refused(
    model: Path, root: Path, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model.read_bytes()
    wanted = ("--root", root, "--pretrained", pretrained, "--output", model.parent, "--iterations", 2)
    rest = ("--regions", "warp", "--linear-batches", 1, "--train-from", "5b", "--device", "cpu", "--quiet")
    assert run("train", *wanted, *rest, "--split", "val") == 0
    assert model.read_bytes() == before
    printed = " ".join(capsys.readouterr().out.split())
    assert "score threshold 0.100 (not measured: of fewer than 50 images none are held out" in printed
    for extra, message in (
        (("--split", "val", "--learning-rate", 0.5), "learning_rate = 0.002"),
        (("--split", "val", "--pretrained", model), "the pre-trained weights (--pretrained) have changed"),
        (("--split", "cats"), "the photographs or their annotations have changed"),
    ):
        assert run("train", *wanted, *rest, *extra) == 1
        assert message in " ".join(capsys.readouterr().err.split())
    assert model.read_bytes() == before and not (model.parent / "proposals-cats.safetensors").exists()


def test_a_model_can_be_trained_further_and_keeps_what_it_knows(
    model: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("--root", root, "--split", "val", "--pretrained", model, "--output", tmp_path, "--iterations", 1)
    proposals = ("--proposals", model.parent / "proposals-val.safetensors")
    rest = ("--train-from", "5b", "--device", "cpu", "--quiet")
    other = (*wanted, "--output", tmp_path / "other", "--source", "selective-search")
    assert run("train", *other, *proposals, *rest) == 0
    assert "was made with method = 'both', not 'selective-search'" in capsys.readouterr().err
    assert run("train", *wanted, *proposals, *rest) == 0
    assert "note" not in capsys.readouterr().err
    assert not (tmp_path / "linear.safetensors").exists()  # no linear start: the last layer was kept
    further = described(tmp_path / "model.safetensors").training
    assert further["linear_batches"] == 0 and further["new_layer_factor"] == 2
    assert further["pretrained_training"] == described(model).training


def test_the_score_threshold_is_measured_on_another_part_and_printed(
    model: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("--root", root, "--split", "val", "--val-split", "cats", "--output", tmp_path, "--iterations", 1)
    rest = ("--proposals", model.parent / "proposals-val.safetensors", "--train-from", "5b", "--device", "cpu")
    # On the features of the shipped model.
    assert run("train", *wanted, *rest, "--quiet", "--regions", "warp", "--linear-batches", 1) == 0
    threshold = described(tmp_path / "model.safetensors").score_threshold
    printed = " ".join(capsys.readouterr().out.split())
    assert f"score threshold {threshold:.3f} (best mean F1 1.000 on 2 images held out)" in printed
    assert threshold not in (0.1, 0.5)


def test_every_format_can_be_trained_on(
    root: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[TrainingTask[Any]] = []

    def remember(task: TrainingTask[Any], *_: Any) -> FineTuned:
        given.append(task)
        return FineTuned(tmp_path, MeasuredThreshold(0.2, "so"))

    monkeypatch.setattr("inception_rcnn.detector.training.fine_tuning.fine_tune", remember)
    write_voc(open_dataset("coco", root, "val"), tmp_path / "voc", "train")
    where = (
        "--root",
        tmp_path / "voc",
        "--pretrained",
        pretrained,
        "--output",
        tmp_path,
        "--source",
        "selective-search",
    )
    assert run("train", "--dataset", "voc", *where, "--regions", "warp", "--device", "cpu") == 0
    (task,) = given
    dataset = task.sources[0].dataset
    assert set(dataset.class_names) >= {"person", "cat", "cup"} and len(dataset) == 4 and task.val is None
    assert task.sources[0].name == "voc/train" and task.description.class_names == dataset.class_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dataset", "pascal"), "'pascal' is unknown; known: coco, voc"),
        (("--split", "val", "--val-split", "val"), "'val' is trained on; name another part"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert run("train", "--root", root, "--output", tmp_path / "out", *options) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split()) and not (tmp_path / "out").exists()


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
    threshold = described(model).score_threshold
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
    assert run("eval_map", "--dataset", "pascal", "--root", root) == 2
    assert "'pascal' is unknown; known: coco, voc" in capsys.readouterr().err
