"""The data set as options name it: --data [FORMAT:]DIR means what --dataset and --root say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from inception_rcnn.structures import InputError
from inception_rcnn.structures.dataset import DetectionDataset
from inception_rcnn.tools import cli
from inception_rcnn.tools.scored_sets import named_set
from inception_rcnn.tools.training_sets import open_sets


def test_old_and_new_spelling_mean_the_same_and_contradictions_are_wrong_usage() -> None:
    new, old = named_set("voc:a", None, None), named_set(None, Path("a"), "voc")
    assert new == old == named_set("a", None, "voc") == named_set("voc:a", None, "voc") == ("voc", Path("a"))
    assert named_set(None, None, None) == (None, None) and named_set(None, None, "voc") == ("voc", None)
    for data, root, dataset in (("voc:a", Path("a"), None), ("voc:a", None, "coco"), (None, Path("a"), "xml")):
        with pytest.raises(typer.BadParameter):
            named_set(data, root, dataset)


def test_of_several_sets_the_format_is_that_of_those_that_name_none(root: Path) -> None:
    (root / "more").mkdir()
    shutil.copy(root / "a.png", root / "more")
    sets = open_sets([f"{root}", f"folder:{root / 'more'}"], None, "coco", [])
    assert [(one.format, len(one.dataset)) for one in sets] == [("coco", 1), ("folder", 1)]
    for data, given, dataset in (([], None, None), ([str(root)], root, None), ([str(root)], None, "xml")):
        with pytest.raises(typer.BadParameter):
            open_sets(data, given, dataset, [])


@pytest.fixture()
def root(tmp_path: Path) -> Path:
    """A data set in COCO's format: one photograph, one cat, and a file that finds it."""
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "a.png")
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 60}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(truth))
    found = [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "score": 0.9}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    return tmp_path


@pytest.mark.parametrize("command", ["eval_map --detections {0}/found.json", "compare {0}/found.json {0}/found.json"])
def test_data_names_the_set_in_each_command_that_scores(
    command: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for words in (f"--data coco:{root}", f"--data {root}", f"--dataset coco --root {root}"):
        with pytest.raises(SystemExit) as exit_:
            cli.main([*command.format(root).split(), *words.split(), "--split", "val"])
        assert not exit_.value.code
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] == printed[2] and "mAP@0.5 100.00" in printed[0]
    assert "/val (coco): 1 photograph, 1 object of 1 class (cat)" in printed[0]
    cut = "--data coco:" + str(root / "val.json")  # the file itself, and the part that it is
    with pytest.raises(SystemExit) as exit_:
        cli.main([*command.format(root).split(), *cut.split()])
    assert not exit_.value.code and "mAP@0.5 100.00" in capsys.readouterr().out


def test_data_names_the_set_that_is_proposed_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)).save(root / "b.png")
    whole = (root / "b.png").read_bytes()
    (root / "b.png").write_bytes(whole[: len(whole) // 2])  # a photograph that is cut off
    truth = json.loads((root / "val.json").read_text())
    truth["images"].append({"id": 2, "file_name": "b.png"})
    (root / "val.json").write_text(json.dumps(truth))
    options = f"--split val --source selective-search --width 80 --output {root}/b.safetensors"
    words = f"propose --data coco:{root} {options}"
    with pytest.raises(SystemExit) as exit_:
        cli.main(words.split())
    assert exit_.value.code == 1 and "(--skip-broken leaves it out)" in capsys.readouterr().err
    words += " --skip-broken"
    with pytest.raises(SystemExit) as exit_:
        cli.main(words.split())
    printed = capsys.readouterr()
    assert not exit_.value.code and "1 images, " in printed.out and (root / "b.safetensors").exists()
    assert "left out as broken: 1 images or objects" in printed.out and "b.png is damaged or cut off" in printed.err


def test_results_are_scored_against_coco_s_json_without_photographs(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder of its own, where no photograph is; boxes outside of the sizes that the file says are refused."""
    alone = tmp_path / "alone" / "instances_val.json"
    alone.parent.mkdir()
    alone.write_text((root / "val.json").read_text().replace("a.png", "somewhere\\\\a.png"))
    printed = []
    for words in (f"--ground-truth {alone}", f"--data coco:{root} --split val"):
        for command in (f"eval_map --detections {root}/found.json", f"compare {root}/found.json {root}/found.json"):
            with pytest.raises(SystemExit) as exit_:
                cli.main([*command.split(), *words.split()])
            assert not exit_.value.code
            printed.append([line for line in capsys.readouterr().out.splitlines() if "mAP@0.5" in line])
    assert printed[:2] == printed[2:] and "mAP@0.5 100.00" in printed[0][0]
    alone.write_text(alone.read_text().replace("[10, 10, 40, 40]", "[100, 10, 40, 40]"))
    with pytest.raises(SystemExit) as exit_:
        cli.main(["eval_map", "--detections", f"{root}/found.json", "--ground-truth", str(alone)])
    assert exit_.value.code == 1 and "annotation 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "trains"),
    [
        ("train", "inception_rcnn.detector.training.fine_tuning.trained_detector"),
        (
            "train_multibox --pretrained googlenet.npz",
            "inception_rcnn.detector.training.proposal_network.train_multibox",
        ),
    ],
)
def test_a_training_leaves_out_what_cannot_be_read(
    command: str, trains: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Asked(InputError):
        """Raised instead of training."""

    def asked(datasets: list[DetectionDataset], *rest: object, **options: object) -> None:
        raise Asked(" ".join(dataset.path(i).name for dataset in datasets for i in range(len(dataset))))

    monkeypatch.setattr(trains, asked)
    truth = json.loads((root / "val.json").read_text())
    truth["images"] += [{"id": 2, "file_name": "b.png"}, {"id": 3, "file_name": "c.png"}]
    (root / "train.json").write_text(json.dumps(truth))
    (root / "b.png").write_bytes(b"<html>")
    words = f"{command} --data coco:{root} --split train --output {root}/run"
    for options, said in (("--skip-broken", "error: a.png"), ("--skip-broken", "b.png is a web page"), ("", "c.png")):
        with pytest.raises(SystemExit) as exit_:
            cli.main([*words.split(), *options.split()])
        assert exit_.value.code == 1 and said in capsys.readouterr().err
