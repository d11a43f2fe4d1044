"""`train` with pooled regions, from several data sets to `detect`; which options go together."""

from __future__ import annotations

import importlib.util
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from marked_set import MarkedSet

from inception_rcnn.backbones import InputSpec, googlenet, read_checkpoint, read_description, write_checkpoint
from inception_rcnn.datasets import open_dataset, write_coco, write_voc
from inception_rcnn.detector import ClassifierDescription
from inception_rcnn.detector.checkpoints import (
    read_classifier_description,
    read_region_network,
    save_region_classifier,
    with_calibrated_scores,
)
from inception_rcnn.detector.training.record import RecordSettings
from inception_rcnn.detector.training.run import FineTuned, TrainingTask
from inception_rcnn.detector.training.threshold import MeasuredThreshold
from inception_rcnn.evaluation.score_calibration import ScoreCalibration
from inception_rcnn.proposals.network.checkpoints import MultiBoxDescription, save_multibox
from inception_rcnn.proposals.network.priors import PriorSettings
from inception_rcnn.structures.provenance import SeenPart
from inception_rcnn.tools import cli
from inception_rcnn.tools.own_classes import Plan, say_result
from inception_rcnn.tools.training_sets import TrainingSet

SEEN = InputSpec(side=64)
NAMES = ("person", "cat", "cup", "dining table")


def run(*arguments: str | Path | int) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(word) for word in arguments])
    return int(exit_.value.code or 0)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photographs in COCO's layout, parts train and val, and in VOC's, under its names; read only."""
    folder = tmp_path_factory.mktemp("data")
    write_coco(MarkedSet(folder / "a", NAMES), folder / "coco", "train")
    write_coco(MarkedSet(folder / "b", NAMES, ("chelsea",)), folder / "coco", "val")
    calls = (("saucer", "diningtable"),)
    write_voc(MarkedSet(folder / "c", ("person", "diningtable"), calls=calls), folder / "voc", "trainval")
    return folder / "coco", folder / "voc"


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fresh weights in a checkpoint of kind googlenet: this test is of the way, not of the result."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pretrained") / "fresh.safetensors"
    write_checkpoint(path, "googlenet", {"num_classes": 3}, googlenet(num_classes=3).state_dict())
    return path


SMALL = ("--short-side", 72, "--fine-channels", 8, "--scales", 1, "--cells", "3,2", "--photographs", 1)
QUICK = ("--regions-each", 4, "--train-from", "5b", "--source", "selective-search", "--device", "cpu", "--quiet")


@pytest.fixture(scope="module")
def command(roots: tuple[Path, Path], pretrained: Path) -> tuple[Any, ...]:
    """Trains on two data sets for two iterations."""
    sets = ("--data", roots[0], "--data", f"voc:{roots[1]}", "--split", "train", "--split", "trainval")
    return ("train", *sets, "--val-split", "val", "--pretrained", pretrained, "--iterations", 2, *SMALL, *QUICK)


@pytest.fixture(scope="module")
def model(command: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves; read only."""
    output = tmp_path_factory.mktemp("run")
    assert run(*command, "--output", output) == 0
    return output / "model.safetensors"


def test_a_second_head_learns_on_a_trunk_that_stays(model: Path, roots: tuple[Path, Path], tmp_path: Path) -> None:
    """VOC's two classes on the network of four; the file that holds the head alone is told by another test."""
    where = ("--data", f"voc:{roots[1]}", "--split", "trainval", "--pretrained", model, "--own-classes", "--head-only")
    options = ("--iterations", 2, "--regions-each", 4, "--source", "selective-search", "--device", "cpu", "--quiet")
    assert run("train", *where, *options, "--output", tmp_path / "second") == 0
    before, after = (
        read_checkpoint(one, "region-classifier") for one in (model, tmp_path / "second/model.safetensors")
    )
    changed = {name for name in before.tensors if not torch.equal(before.tensors[name], after.tensors[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert after.tensors["classifier.weight"].shape[0] == 3
    assert run("train", *where, *options, "--train-from", "5a", "--output", tmp_path / "no") == 2


def test_it_leaves_a_model_a_state_and_the_proposals_of_each_set(model: Path) -> None:
    names = {path.name for path in model.parent.iterdir()}
    stored = {"proposals-coco-train.safetensors", "proposals-voc-trainval.safetensors"}
    assert names == {"model.safetensors", "state.safetensors", "log.csv", "curves.svg", *stored}
    description = read_classifier_description(model)
    assert description.class_names == NAMES and description.regions == "pool" and description.box_regression
    assert description.pooling is not None and description.pooling.short_side == 72
    assert (description.objectness_power, description.iou_threshold) == (0.5, 0.4)
    summary = description.training
    assert summary["data"] == ["coco/train", "voc/trainval"] and summary["images"] == 6 and summary["iterations"] == 2
    assert summary["sampling"]["cells"] == [3, 2] and summary["sampling"]["stored_side"] == 128
    assert summary["pretrained"] == "fresh.safetensors" and summary["held_out"] == 0


def test_the_same_command_again_changes_nothing_and_another_setting_is_refused(
    model: Path, command: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = model.read_bytes()
    assert run(*command, "--output", model.parent) == 0
    assert model.read_bytes() == before and "score threshold 0.100 (not measured" in capsys.readouterr().out
    for extra, message in (
        (("--jitter", 1), "was made with jitter = 4, this run has 1"),
        (("--fine-channels", 16), "the pre-trained weights (--pretrained) have changed"),
    ):
        assert run(*command, "--output", model.parent, *extra) == 1
        assert message in " ".join(capsys.readouterr().err.split())
    assert model.read_bytes() == before


def test_detect_takes_the_model(model: Path, roots: tuple[Path, Path], tmp_path: Path) -> None:
    photograph = next((roots[0] / "val").iterdir())
    out = tmp_path / "found.json"
    wanted = ("--weights", model, "--score-threshold", 0, "--max-proposals", 5, "--device", "cpu", "--runtime", "torch")
    assert run("detect", photograph, *wanted, "--json", out, "--output", tmp_path, "--quiet") == 0
    assert '"label"' in out.read_text()


def test_a_student_learns_from_teachers_of_its_classes(
    model: Path, command: tuple[Any, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, described = read_region_network(model)
    elsewhere = SeenPart.of_files("elsewhere/train", ["ab" * 32])
    save_region_classifier(tmp_path / "other.safetensors", network, replace(described, seen=(elsewhere,)))
    taught = (*command, "--teacher", model, "--teacher", tmp_path / "other.safetensors", "--teacher-share", 1)
    assert run(*taught, "--output", tmp_path / "taught") == 0
    assert elsewhere in read_region_network(tmp_path / "taught" / "model.safetensors")[1].seen
    ours, theirs = (
        read_checkpoint(path, "region-classifier") for path in (tmp_path / "taught" / "model.safetensors", model)
    )
    assert ours.description["training"]["distillation"] == {"share": 1.0, "temperature": 2.0}
    assert len(ours.description["training"]["teachers"]) == 2
    assert not torch.equal(ours.tensors["classifier.weight"], theirs.tensors["classifier.weight"])
    assert run(*command, "--teacher-share", 0.3, "--output", tmp_path / "x") == 2
    assert "name one as teacher" in " ".join(capsys.readouterr().err.replace("│", " ").split())
    for name, message in (("coco", "has other classes"), ("coco-mini", "warps its regions")):
        assert run(*command, "--teacher", name, "--output", tmp_path / "x") == 1
        assert f"teacher {name} {message}" in " ".join(capsys.readouterr().err.split())


def test_a_model_is_trained_further_in_its_own_classes_or_in_the_set_s(
    model: Path, roots: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of so few photographs none are held out: the threshold stays as it was where the classes do."""
    given, model = model, tmp_path / "start.safetensors"
    model.write_bytes(given.read_bytes())
    with_calibrated_scores(model, ScoreCalibration(1.2, -0.3), 0.42, "")
    stored = ("--proposals", given.parent / "proposals-voc-trainval.safetensors")
    wanted = ("--data", f"voc:{roots[1]}", "--split", "trainval", "--pretrained", model, "--iterations", 1, *stored)
    rest = ("--photographs", 1, "--scales", 1, *QUICK)
    assert run("train", *wanted, *rest, "--output", tmp_path / "own") == 0
    assert f"the 4 classes of {model}; own_classes (--own-classes) for those of voc/trainval" in capsys.readouterr().err
    own = read_classifier_description(tmp_path / "own" / "model.safetensors")
    assert own.class_names == NAMES and own.pooling == read_classifier_description(model).pooling
    assert own.training["pretrained_training"] == read_classifier_description(model).training
    assert own.training["new_layer_factor"] == 2
    assert (own.score_threshold, own.score_calibration) == (0.42, ScoreCalibration(1.2, -0.3))
    assert run("train", *wanted, *rest, "--own-classes", "--no-box-regression", "--output", tmp_path / "new") == 0
    new = read_classifier_description(tmp_path / "new" / "model.safetensors")
    assert set(new.class_names) == {"person", "diningtable"} and not new.box_regression
    assert new.training["new_layer_factor"] == 5
    assert (new.score_threshold, new.score_calibration) == (0.1, None)


def test_warped_regions_too_are_trained_on_several_sets_and_for_a_time(
    roots: tuple[Path, Path], pretrained: Path, model: Path, tmp_path: Path
) -> None:
    sets = ("--data", roots[0], "--data", f"voc:{roots[1]}", "--split", "train", "--split", "trainval")
    stored = [model.parent / f"proposals-{name}.safetensors" for name in ("coco-train", "voc-trainval")]
    proposals = ("--proposals", stored[0], "--proposals", stored[1], "--source", "selective-search")
    how = (
        "--regions",
        "warp",
        "--linear-batches",
        1,
        "--minutes",
        0.01,
        "--train-from",
        "5b",
        "--pretrained",
        pretrained,
    )
    assert run("train", *sets, *proposals, *how, "--device", "cpu", "--quiet", "--output", tmp_path) == 0
    description = read_classifier_description(tmp_path / "model.safetensors")
    assert description.class_names == NAMES and description.regions == "warp"
    summary = description.training
    assert summary["data"] == ["coco/train", "voc/trainval"] and summary["images"] == 6 and summary["iterations"] >= 1
    assert summary["minutes"] == 0.01 and summary["schedule"] == "cosine" and summary["hard_examples"] is None


def test_nothing_of_later_papers_is_in_paper(
    roots: tuple[Path, Path], pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def remember(*arguments: Any, **_: Any) -> FineTuned:
        given.extend(arguments)
        return FineTuned(tmp_path, MeasuredThreshold(0.2, "so"))

    monkeypatch.setattr("inception_rcnn.detector.training.fine_tuning.fine_tune", remember)
    where = ("--root", roots[0], "--pretrained", pretrained, "--source", "selective-search", "--device", "cpu")
    assert run("train", *where, "--output", tmp_path, "--paper") == 0
    settings = given[1]
    assert settings.sampling.uniform and settings.jitter == 0 and settings.minutes is None
    training = settings.training
    assert (training.schedule, training.frozen, training.hard_examples) == ("cosine", (), None)


def test_a_killed_run_given_a_time_goes_on(command: tuple[Any, ...], model: Path, tmp_path: Path) -> None:
    some = [one for one in command if one not in ("--iterations", 2)]
    stored = [model.parent / f"proposals-{name}.safetensors" for name in ("coco-train", "voc-trainval")]
    given = (*some, "--proposals", stored[0], "--proposals", stored[1], "--minutes", 0.01, "--output", tmp_path)
    assert run(*given) == 0
    state = read_checkpoint(tmp_path / "state.safetensors", "training-state").description
    assert state["iteration"] == state["run"]["settings"]["iterations"] >= 1
    before = (tmp_path / "model.safetensors").read_bytes()
    assert run(*given) == 0
    assert (tmp_path / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--regions", "crop"), "'crop' is unknown; known: pool, warp"),
        (("--regions", "pool", "--paper"), "--regions: should not be pool where paper means warped regions; leave"),
        (("--regions", "warp", "--cells", "7"), "--cells: is for regions that are pooled, and here they are warped"),
        (
            ("--regions", "warp", "--random-interpolation"),
            "--random-interpolation: is for regions that are pooled, and",
        ),
        (("--regions", "warp", "--warm-head"), "--warm-head: is for regions that are pooled, and here they"),
        (
            ("--paper", "--hard-examples", "9"),
            "--hard-examples: does not go with paper, R-CNN's way, where all regions count; leave one",
        ),
        (("--schedule", "step"), "'step' is unknown; known: cosine, paper-step"),
        (("--linear-batches", "3"), "--linear-batches: is for regions that are warped, and here they are pooled"),
        (("--scales", "1;2"), "--scales: should be numbers with commas between them, got '1;2'"),
        (("--cells", "7,6.5"), "--cells: should be numbers with commas between them, got '7,6.5'"),
        (
            ("--minutes", "3", "--iterations", "3"),
            "--minutes: does not go with iterations, the number of batches; leave one",
        ),
        (("--split", "train", "--split", "val"), "--split: 2 given for 1 data set; give one, or one for each"),
        (("--proposals", "a", "--proposals", "b"), "--proposals: 2 given for 1 data set; give one"),
        (("--data", "yolo:here"), "name one data set with --root, or one or more with --data"),
        (("--val-split", "train"), "'train' is trained on; name another part"),
        (("--validate-on", "3", "--minutes", "3"), "--validate-on: goes with --validate-every, which says when"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(
    roots: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], message: str
) -> None:
    assert run("train", "--root", roots[0], "--output", tmp_path / "out", *given) == 2
    assert message in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "name one data set with --root, or one or more with --data"),
        (("--data", "{coco}", "--dataset", "pascal"), "'pascal' is unknown; known: coco, voc"),
        (("--data", "{coco}", "--data", "coco:{coco}"), "part train, is named twice"),
    ],
)  # fmt: skip
def test_data_sets_that_cannot_be_trained_on_are_refused(
    roots: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], message: str
) -> None:
    words = [word.format(coco=roots[0], voc=roots[1]) for word in given]
    assert run("train", *words, "--output", tmp_path / "out") == 2
    assert message in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "out").exists()


def test_every_setting_arrives(
    roots: tuple[Path, Path], pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def remember(task: TrainingTask[Any], settings: Any, **_: Any) -> FineTuned:
        given.update(sources=task.sources, start=task.start, description=task.description, settings=settings)
        given.update(record=task.record)
        return FineTuned(tmp_path, MeasuredThreshold(0.2, "so"))

    monkeypatch.setattr("inception_rcnn.detector.training.fine_tuning.train_pooled", remember)
    numbers = ("--iterations", 9, "--learning-rate", 0.01, "--warm-up", 3, "--train-from", "4c", "--averaging", 0.9)
    batches = ("--photographs", 4, "--regions-each", 32, "--scales", "1,1.5", "--cells", "7,5", "--photometric", 0.2)
    more = ("--repeat-below", 0.01, "--best", 300, "--jitter", 7, "--smoothing", 0.05, "--seed", 3)
    network = ("--short-side", 600, "--fine-channels", 64, "--no-box-regression", "--objectness-power", 0.25)
    numbers = (*numbers, "--schedule", "paper-step", "--frozen", "4e", "--frozen", "lateral", "--hard-examples", 20)
    batches = (*batches, "--random-interpolation")
    more = (*more, "--log-every", 7, "--validate-every", 3, "--validate-on", 40)
    where = ("--root", roots[0], "--pretrained", pretrained, "--source", "selective-search", "--device", "cpu")
    assert run("train", *where, *numbers, *batches, *more, *network, "--output", tmp_path, "--licence", "MIT") == 0
    settings, description = given["settings"], given["description"]
    training = settings.training
    assert (training.iterations, training.learning_rate, training.warm_up, training.seed) == (9, 0.01, 3, 3)
    assert (training.train_from, training.averaging, training.new_layer_factor) == ("4c", 0.9, 5.0)
    assert (training.schedule, training.frozen, training.hard_examples) == ("paper-step", ("4e", "lateral"), 20)
    sampling = settings.sampling
    assert sampling.random_interpolation
    assert (sampling.photographs, sampling.regions, sampling.scales, sampling.cells) == (4, 32, (1.0, 1.5), (7, 5))
    assert (sampling.photometric, sampling.repeat_below, sampling.seed, sampling.stored_side) == (0.2, 0.01, 3, 640)
    assert (settings.best, settings.jitter, settings.smoothing, settings.minutes) == (300, 7, 0.05, None)
    assert isinstance(description, ClassifierDescription) and description.licence == "MIT"
    assert description.pooling == given["start"].network.spec and not description.box_regression
    assert (description.pooling.short_side, description.pooling.fine_channels) == (600, 64)
    assert (description.objectness_power, description.iou_threshold, description.input_spec.context) == (0.25, 0.3, 0)
    assert [one.name for one in given["sources"]] == ["coco/train"]
    assert given["record"] == RecordSettings(log_every=7, validate_every=3, validate_on=40)


def test_tensorboard_that_is_not_installed_is_named_before_anything_is_done(
    roots: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run("train", "--root", roots[0], "--output", tmp_path / "out", "--tensorboard") == 1
    assert "pip install 'inception-rcnn[train]'" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_warm_head_is_asked_for_and_needs_imagenet_s_outputs(
    roots: tuple[Path, Path], pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--root", roots[0], "--output", tmp_path / "out", "--source", "selective-search", "--device", "cpu")
    assert run("train", *where, "--pretrained", pretrained, "--warm-head") == 1
    assert "should have ImageNet's 1000 outputs, it has 3" in " ".join(capsys.readouterr().err.split())
    assert run("train", *where, "--warm-head") == 1
    assert "coco is a region classifier; a warm head needs" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_the_shipped_model_is_trained_on_as_it_is_by_default(
    roots: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def remember(*arguments: Any, **_: Any) -> FineTuned:
        given.extend(arguments)
        return FineTuned(tmp_path, MeasuredThreshold(0.2, "so"))

    monkeypatch.setattr("inception_rcnn.detector.training.fine_tuning.train_pooled", remember)
    assert run("train", "--root", roots[0], "--output", tmp_path, "--iterations", 9, "--device", "cpu") == 0
    shipped, description = read_classifier_description("coco"), given[0].description
    assert given[0].start.knows_classes and description.class_names == shipped.class_names
    for name in ("pooling", "box_regression", "objectness_power", "iou_threshold", "max_proposals", "input_spec"):
        assert getattr(description, name) == getattr(shipped, name), name


@pytest.mark.filterwarnings("default")
def test_a_multibox_of_one_s_own_goes_with_the_model_wherever_it_is_taken(
    command: tuple[Any, ...], roots: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network, described = tmp_path / "made" / "boxes.safetensors", MultiBoxDescription(SEEN, PriorSettings(), 8, {}, "?")
    network.parent.mkdir()
    save_multibox(network, described.build().state_dict(), described)
    own = (*command[: -len(QUICK)], *QUICK[:4], "--source", "multibox", "--multibox", network, "--device", "cpu")
    assert run(*own, "--quiet", "--output", tmp_path / "run") == 0
    told = read_classifier_description(tmp_path / "run" / "model.safetensors").proposal_settings
    checksum = read_description(network)["data_sha256"]
    assert (told["multibox"], told["multibox_sha256"]) == ("boxes.safetensors", checksum)
    network.parent.rename(tmp_path / "gone")
    moved = (tmp_path / "run").rename(tmp_path / "elsewhere")
    photograph = next((roots[0] / "val").iterdir())
    wanted = ("--weights", moved / "model.safetensors", "--device", "cpu", "--output", tmp_path, "--quiet")
    assert run("detect", photograph, *wanted) == 0
    (moved / "boxes.safetensors").unlink()
    capsys.readouterr()
    assert run("detect", photograph, *wanted) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"no weights at {moved}/boxes.safetensors" in line and "--multibox FILE" in line
    assert run("detect", photograph, *wanted, "--multibox", tmp_path / "gone" / "boxes.safetensors") == 0
    assert capsys.readouterr().err == ""
    assert run("detect", photograph, *wanted, "--multibox", "multibox") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the MultiBox multibox (data ") and "is not boxes.safetensors" in line
    (tmp_path / "gone" / "boxes.safetensors").rename(tmp_path / "model.safetensors")
    assert run(*own[:-3], tmp_path / "model.safetensors", *own[-2:], "--quiet", "--output", tmp_path / "no") == 1
    assert "where model.safetensors is the name of a result; rename it" in capsys.readouterr().err


def test_a_data_set_alone_is_understood_trained_on_until_validation_stops_and_shown(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fresh weights find nothing, so that validation stops at once; what is tested is the way."""
    root, output = tmp_path / "mine and yours", tmp_path / "out"
    write_coco(MarkedSet(tmp_path / "a", NAMES), root, "train")
    monkeypatch.setattr("inception_rcnn.detector.training.fitting._FEWEST", 3)
    monkeypatch.setattr("inception_rcnn.detector.training.fitting._LEAST_BATCHES", 6)
    monkeypatch.setattr("inception_rcnn.detector.training.fitting._LOOKS", 6)
    where = ("train", "--data", f"coco:{root}", "--origin", 0, "--output", output)
    assert run(*where, "--dry-run") == 0
    said = capsys.readouterr()
    assert "nothing was trained" in said.out and {one.name for one in output.iterdir()} == {"sheet.jpg"}
    assert "photographs kept from the training" in said.out and "note: few objects of person" in said.err
    quick = (*SMALL, *QUICK, "--pretrained", pretrained, "--warm-up", 1, "--validate-on", 1)
    assert run(*where, *quick) == 0
    summary = read_classifier_description(output / "model.safetensors").training
    assert summary["patience"] == 3 and summary["warm_up"] == 1 and summary["sampling"]["photographs"] == 1
    assert summary["iterations"] <= 12
    kept, best = (
        read_checkpoint(output / name, "region-classifier") for name in ("model.safetensors", "best.safetensors")
    )
    assert all(torch.equal(kept.tensors[name], best.tensors[name]) for name in best.tensors)
    said = capsys.readouterr().out
    assert "photographs that were not learned from, but chosen by; page: " in said
    (asked,) = [line for line in said.splitlines() if line.startswith("ask why it is wrong: ")]
    words = shlex.split(asked.partition(": ")[2])
    assert words[:2] == ["inception-rcnn", "explain"] and words[2] in ("0-chelsea", "1-coffee", "2-astronaut")
    assert words[3:] == [
        "--data",
        f"coco:{root}",
        "--split",
        "train",
        "--origin",
        "0",
        "--weights",
        f"{output}/model.safetensors",
    ]
    assert "<title>" in (output / "report" / "index.html").read_text()


def test_what_is_learned_from_is_not_validated_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """VOC's val lies within its trainval."""
    root, lists = tmp_path / "voc", tmp_path / "voc" / "ImageSets" / "Main"
    write_voc(MarkedSet(tmp_path / "a", ("person", "cat")), root, "trainval")
    (lists / "val.txt").write_text((lists / "trainval.txt").read_text().splitlines()[0])
    monkeypatch.setattr("inception_rcnn.detector.training.fitting._FEWEST", 3)
    where = ("train", "--data", f"voc:{root}", "--split", "trainval", "--dry-run", "--output", tmp_path / "out")
    assert run(*where) == 0
    said = capsys.readouterr()
    assert "note: 1 of 1 photographs of val are trained on, such as 0-chelsea" in said.err
    assert "on 1 photographs kept from the training" in said.out
    assert run(*where, "--val-split", "val") == 2
    assert "1 of 1 photographs of val are trained on" in " ".join(capsys.readouterr().err.split())


def test_a_part_called_test_is_trained_on_only_if_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_coco(MarkedSet(tmp_path / "a", NAMES), tmp_path / "set", "test")
    where = ("train", "--data", tmp_path / "set", "--dry-run", "--output", tmp_path / "out")
    assert run(*where) == 2
    assert "has one part, test, which is meant to test on; --split test takes" in " ".join(
        capsys.readouterr().err.split()
    )
    assert run(*where, "--split", "test") == 0


def test_the_commands_that_are_printed_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "test"):
        write_coco(MarkedSet(tmp_path / part, NAMES), tmp_path / "my set", part)
    root, model = tmp_path / "my set", tmp_path / "a run" / "model.safetensors"
    dataset = open_dataset("coco", root, "train")
    plan = Plan(dataset, None, {}, RecordSettings(), ())
    told: dict[str, Any] = {"val_part": None, "pretrained": None, "device": "cpu", "quiet": True}
    say_result(
        TrainingSet("coco", root, "train", dataset), plan, model, reading={"strict": True, "exif": "stored"}, **told
    )
    on = f"--data 'coco:{root}' --split test --exif stored --strict"
    found, before = f"'{model.parent}/found.safetensors'", f"'{model.parent}/found-before.safetensors'"
    assert capsys.readouterr().out.splitlines() == [
        f"measure it on test: inception-rcnn eval_map {on} --weights '{model}' --output {found}",
        f"then compare it with its start: inception-rcnn eval_map {on} --output {before} && "
        f"inception-rcnn compare {before} {found} {on}",
        f"ask why it is wrong: inception-rcnn explain {on} --weights '{model}'",
    ]
    say_result(TrainingSet("coco", root, "test", dataset), plan, model, reading={}, **told)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("ask why it is wrong, here on a photograph that was learned from: inception-rcnn explain")
