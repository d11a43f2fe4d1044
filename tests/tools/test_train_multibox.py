"""`train_multibox` end to end on small photographs, from fresh weights in place of ImageNet's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from inception_rcnn.backbones import googlenet, read_checkpoint, write_checkpoint
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.proposals.network.checkpoints import multibox_seen
from inception_rcnn.tools import cli


def run(*arguments: str | Path | float) -> int:
    """The exit status of the command."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["train_multibox", *(str(word) for word in arguments)])
    torch.set_num_threads(before)
    return int(exit_.value.code or 0)


def make_set(root: Path, objects: dict[int, list[list[float]]]) -> str:
    """A data set in COCO's layout, for the command: photographs by number, each with the boxes of its objects."""
    (root / "train").mkdir(parents=True)
    name = root.name  # each set has a class of its own
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    pictures = [Image.fromarray(one).resize((60, 40)) for one in (data.chelsea(), data.coffee())]
    for number, boxes in objects.items():
        pictures[number % 2].save(root / "train" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 60, "height": 40})
        for x, y, width, height in boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 7,
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 7, "name": name}]}
    (root / "train.json").write_text(json.dumps(truth))
    return f"coco:{root}"


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """One set labelled completely, one in part; every photograph has an object or two."""
    root = tmp_path_factory.mktemp("sets")
    whole = make_set(root / "whole", {n: [[10, 5, 40, 30], [2, 2, 12, 10]] for n in (1, 2, 3)})
    return whole, make_set(root / "some", {n: [[20, 8, 15, 30]] for n in (4, 5)})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fresh weights in a checkpoint of kind googlenet."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pretrained") / "fresh.safetensors"
    write_checkpoint(path, "googlenet", {"num_classes": 3}, googlenet(num_classes=3).state_dict())
    return path


def quick(pretrained: Path, output: Path) -> tuple[str | Path | int, ...]:
    """The options that make a training small."""
    where = ("--pretrained", pretrained, "--output", output, "--device", "cpu", "--quiet")
    return (*where, "--side", 64, "--channels", 8, "--iterations", 2, "--batch", 2, "--train-from", "5b")


@pytest.fixture(scope="module")
def trained(sets: tuple[str, str], pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained for two iterations by the command."""
    output = tmp_path_factory.mktemp("run")
    assert run(*quick(pretrained, output), "--data", sets[0], "--part", sets[1], "--licence", "CC0-1.0") == 0
    return output / "multibox.safetensors"


def test_training_leaves_a_network_its_coverage_a_state_and_the_proposals(trained: Path, sets: tuple[str, str]) -> None:
    assert {path.name for path in trained.parent.iterdir()} == {
        *("multibox.safetensors", "state.safetensors", "coverage.json"),
        *("proposals-whole-train.safetensors", "proposals-some-train.safetensors"),
    }
    said = read_checkpoint(trained, "multibox").description
    assert said["licence"] == "CC0-1.0" and said["architecture"]["channels"] == 8 and said["input_spec"]["side"] == 64
    training = said["training"]
    assert training["data"] == ["whole/train", "some/train (in part)"] and training["pretrained"] == "fresh.safetensors"
    assert training["images"] == 3  # the first of each set is held out
    (point,) = training["coverage"]
    assert set(point) == {"iteration", "recall@10", "recall@50", "recall@200"} and point["iteration"] == 2
    assert 0 <= point["recall@10"] <= point["recall@50"] <= point["recall@200"] <= 1
    assert json.loads((trained.parent / "coverage.json").read_text()) == [point]


def test_the_network_lists_what_it_saw_of_each_set_without_what_was_held_out(trained: Path) -> None:
    assert [(part.name, part.network, len(part)) for part in multibox_seen(trained)] == [
        ("whole/train", "MultiBox", 2),
        ("some/train", "MultiBox", 1),
    ]


def test_ratios_are_those_of_the_objects_trained_on(trained: Path) -> None:
    """As shares of 60 x 40 photographs, the three kinds of objects are 0.89, 0.8 and 0.33 times as wide as high."""
    said = read_checkpoint(trained, "multibox").description
    expected = [15 / 60 / (30 / 40), 12 / 60 / (10 / 40), 40 / 60 / (30 / 40)]
    assert said["priors"]["ratios"] == pytest.approx(expected, abs=1e-3)


def test_the_frozen_trunk_is_the_pretrained_one(trained: Path, pretrained: Path) -> None:
    ours, theirs = read_checkpoint(trained, "multibox").tensors, read_checkpoint(pretrained, "googlenet").tensors
    assert torch.equal(ours["trunk.conv1.weight"], theirs["conv1.weight"].half())
    assert torch.equal(ours["trunk.inception_5a.conv5x5.weight"], theirs["inception_5a.conv5x5.weight"].half())


def test_a_trained_network_goes_on_learning_and_keeps_its_priors_and_what_it_saw(
    trained: Path, sets: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the set with tall objects alone, whose ratios a fresh network would take for its priors."""
    options = ("--pretrained", trained, "--device", "cpu", "--quiet", "--iterations", 1, "--train-from", "5b")
    output = tmp_path / "on"
    assert run(*options, "--output", output, "--data", sets[1], "--learning-rate", 1e-6) == 0
    before, after = (read_checkpoint(path, "multibox") for path in (trained, output / "multibox.safetensors"))
    assert after.description["priors"] == before.description["priors"]
    assert after.description["input_spec"] == before.description["input_spec"]
    for name, tensor in before.tensors.items():  # the head too is the one that was trained
        torch.testing.assert_close(after.tensors[name], tensor, atol=2e-3, rtol=2e-3)
    names = [(part.name, len(part)) for part in multibox_seen(output / "multibox.safetensors")]
    assert names == [("whole/train", 2), ("some/train", 1)]
    assert run(*options, "--output", tmp_path / "no", "--data", sets[1], "--channels", 16) == 1
    assert "has 8 channels, which stay as they are; got 16" in capsys.readouterr().err.replace("\n", " ")


def test_the_same_command_again_changes_nothing_and_another_setting_is_refused(
    trained: Path, sets: tuple[str, str], pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trained.read_bytes()
    same = (*quick(pretrained, trained.parent), "--data", sets[0], "--part", sets[1], "--licence", "CC0-1.0")
    assert run(*same) == 0
    assert trained.read_bytes() == before
    assert "inception-rcnn propose --source multibox --weights" in capsys.readouterr().out.replace("\n", " ")
    assert run(*same, "--learning-rate", 0.5) == 1
    assert "was made with learning_rate = 0.001, this run has 0.5" in capsys.readouterr().err.replace("\n", " ")
    assert trained.read_bytes() == before


def test_held_out_photographs_are_loaded_a_batch_at_a_time(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COCO's 2,958 of them decoded are 2.7 GB."""
    from inception_rcnn.datasets import open_dataset
    from inception_rcnn.detector.training import proposal_network
    from inception_rcnn.proposals.network.checkpoints import load_multibox
    from inception_rcnn.proposals.network.samples import BoxSource

    monkeypatch.setattr(proposal_network, "_HELD_OUT", 2)
    name = make_set(tmp_path / "set", {n: [[10, 5, 40, 30]] for n in range(1, 10)})
    dataset = open_dataset("coco", name.removeprefix("coco:"), "train")
    network = load_multibox(trained, Runtime(torch.device("cpu"), torch.float32, 2))
    asked: list[int] = []
    propose_batch = network.propose_batch
    monkeypatch.setattr(network, "propose_batch", lambda images: asked.append(len(images)) or propose_batch(images))
    found = proposal_network._Coverage([BoxSource(dataset, list, True, range(1, 9, 2))])(network)
    assert asked == [2, 2, 1] and set(found) == {"recall@10", "recall@50", "recall@200"}


def test_another_start_or_other_objects_are_refused(
    trained: Path, sets: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trained.read_bytes()
    other = tmp_path / "other.safetensors"
    write_checkpoint(other, "googlenet", {"num_classes": 3}, googlenet(num_classes=3).state_dict())
    rest = ("--data", sets[0], "--part", sets[1], "--licence", "CC0-1.0")
    assert run(*quick(other, trained.parent), *rest) == 1
    assert "the pre-trained weights (--pretrained) have changed" in capsys.readouterr().err.replace("\n", " ")
    assert trained.read_bytes() == before


def test_a_set_named_with_part_is_labelled_in_part(
    sets: tuple[str, str], pretrained: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def remember(
        sources: list[Any], description: object, network: object, settings: Any, *_: object, **__: object
    ) -> Path:
        given.extend([sources, settings])
        return tmp_path

    monkeypatch.setattr("inception_rcnn.detector.training.proposal_network.run_multibox_training", remember)
    wanted = ("--data", sets[0], "--part", sets[1], "--matching", "prediction", "--matches", 2, "--seed", 3)
    assert run(*quick(pretrained, trained.parent), *wanted) == 0
    sources, settings = given
    assert [(one.complete, list(one.rows), len(one.propose_set())) for one in sources] == [
        (True, [1, 2], 3),
        (False, [1], 2),
    ]
    assert (settings.loss.matching, settings.loss.matches, settings.seed, settings.train_from) == (
        "prediction",
        2,
        3,
        "5b",
    )


def test_the_network_proposes(trained: Path) -> None:
    from inception_rcnn.proposals import multibox

    image = np.asarray(Image.fromarray(data.chelsea()).resize((60, 40)))
    assert len(multibox(image, top_k=20, weights=trained, device="cpu")) == 20


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ([], 2, "name at least one data set, for example coco:coco"),
        (["--data", "coco"], 1, "coco does not exist; give the folder of a data set"),
        (["--data", "pascal:DIR"], 1, "absent does not exist; give the folder of a data set"),
        (["--data", "SET", "--data", "SET"], 2, "part train, is named twice"),
        (["--data", "SET", "--split", "a", "--split", "b"], 2, "2 given for 1 data set; give one, or one for each"),
        (["--data", "coco:DIR"], 1, "absent is no folder; give the one that holds"),
        (["--data", "SET", "--side", "100"], 1, "the input's side should be a multiple of 64 px, got 100"),
        (["--data", "SET", "--matching", "boxes"], 1, "matching 'boxes' is unknown; known: prior, prediction"),
        (["--data", "SET", "--train-from", "6a"], 1, "unknown stage '6a'"),
        (["--data", "SET", "--seed", "-1"], 1, "seed should be 0 or more, got -1"),
        (["--data", "SET", "--learning-rate", "2"], 1, "learning_rate should lie in (0, 1)"),
        (["--data", "SET", "--device", "abacus"], 1, "unknown device 'abacus'"),
        (["--data", "SET", "--pretrained", "absent.safetensors"], 1, "no weights at absent.safetensors"),
        (["--data", "SET", "--split", "test"], 1, "test.json"),
        (["--data", "SET", "--minutes", "3"], 2, "--iterations says how many batches; name one of the two"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_anything_is_computed(
    sets: tuple[str, str],
    pretrained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    status: int,
    message: str,
) -> None:
    absent = str(tmp_path / "absent")
    words = [word.replace("SET", sets[0]).replace(":DIR", f":{absent}") for word in options]
    assert run(*quick(pretrained, tmp_path / "out"), *words) == status
    err = capsys.readouterr().err
    assert " ".join(message.split()) in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err and (status == 2 or len(err.strip().splitlines()) == 1)
    assert not list(tmp_path.glob("out/*"))


def test_a_short_time_is_one_iteration(sets: tuple[str, str], pretrained: Path, tmp_path: Path) -> None:
    words = [word for word in quick(pretrained, tmp_path / "out") if word != "--iterations"]
    words.remove(2)  # of the iterations; the batch's follows
    assert run(*words, "--data", sets[0], "--minutes", 1e-6) == 0
    said = read_checkpoint(tmp_path / "out" / "multibox.safetensors", "multibox").description["training"]
    assert said["settings"]["iterations"] == 1


def test_a_time_is_kept_as_a_number_of_iterations(
    sets: tuple[str, str], pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the trial, a run goes on with the number that it found."""
    words = [word for word in quick(pretrained, tmp_path / "out") if word != "--iterations"]
    words.remove(2)  # of the iterations; the batch's follows
    found = iter([2, 99])
    monkeypatch.setattr("inception_rcnn.proposals.network.training.iterations_within", lambda *_: next(found))
    command = (*words, "--data", sets[0], "--minutes", 0.5)
    with monkeypatch.context() as killed:
        killed.setattr("inception_rcnn.proposals.network.training.run_training", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cli.main(["train_multibox", *(str(word) for word in command)])
    assert run(*command) == 0
    settings = read_checkpoint(tmp_path / "out" / "multibox.safetensors", "multibox").description["training"][
        "settings"
    ]
    assert settings["iterations"] == 2 and next(found) == 99


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({1: [[10, 5, 40, 30]]}, "ratios are found among boxes with an area, and there is none"),  # 1 is held out
        ({1: [[10, 5, 40, 30]], 2: []}, "ratios are found among boxes with an area, and there is none"),
        ({1: [], 2: [[10, 5, 40, 30]]}, "no object on the 1 images held out, one in 40"),
    ],
)
def test_sets_without_objects_to_learn_from_or_to_measure_with_are_refused(
    pretrained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    objects: dict[int, list[list[float]]],
    message: str,
) -> None:
    name = make_set(tmp_path / "set", objects)
    assert run(*quick(pretrained, tmp_path / "out"), "--data", name) == 1
    assert message in capsys.readouterr().err
