"""Plans of ensembles: read into train's options, members trained in order, and a wrong plan refused at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

from inception_rcnn.backbones import googlenet, write_checkpoint
from inception_rcnn.detector.ensemble_file import read_ensemble_file
from inception_rcnn.structures import InputError
from inception_rcnn.tools import cli
from inception_rcnn.tools.train_ensemble import Member, read_plan


def run(*arguments: object) -> int:
    """The exit status of the command."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["train_ensemble", *map(str, arguments)])
    return int(exit_.value.code or 0)


def plan(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text)
    return path


def test_a_member_has_the_options_of_all_and_its_own(tmp_path: Path) -> None:
    path = plan(
        tmp_path,
        """
        data = ["coco:a", "voc:b"]
        minutes = 2.5
        box-regression = true
        [members.first]
        seed = 1
        [members.second]
        minutes = 4
        box_regression = false
        proposals = ["x.safetensors", "y.safetensors"]
        pretrained = "OUTPUT/first/model.safetensors"
        """,
    )
    common = ("--data", "coco:a", "--data", "voc:b")
    assert read_plan(path, Path("runs/six")) == [
        Member("first", (*common, "--minutes", "2.5", "--box-regression", "--seed", "1")),
        Member(
            "second",
            (
                *(*common, "--minutes", "4", "--no-box-regression"),
                *("--proposals", "x.safetensors", "--proposals", "y.safetensors"),
                *("--pretrained", "runs/six/first/model.safetensors"),
            ),
        ),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = ", "is not valid TOML"),
        ("seed = " + "9" * 5000, "is not valid TOML"),
        ("seed = " + "[" * 50_000, "is not valid TOML: it is nested too deeply"),
        ("a." * 50_000 + "b = 1", "line 1: has 50000 dots, and 200 are the most"),  # three minutes without the limit
        ("seed = 1", "names no members"),
        ("members = 3", "names no members"),
        ("[members.first]\nspeed = 3", "member first: train has no option 'speed'"),
        ("output = 'x'\n[members.first]", "for all members: train has no option 'output'"),
        ("[members.first]\ndata = []", "data should be text, a number, true, false or a list"),
        ("[members.first]\nseed = {a = 1}", "seed should be text, a number, true, false or a list"),
        ('[members."../first"]', "should be letters"),
        ('[members.".."]', "should be letters"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_plan(plan(tmp_path, text), tmp_path)
    assert str(tmp_path / "plan.toml") in str(error.value)


def test_a_dry_run_prints_the_commands_and_an_unknown_member_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plan(tmp_path, "[members.a]\nseed = 1\n[members.b]\nseed = 2")
    assert run(path, "--output", tmp_path / "out", "--dry-run", "--only", "b") == 0
    said = capsys.readouterr().out
    assert "member 1 of 1: inception-rcnn train --seed 2" in said and "--seed 1" not in said
    assert not (tmp_path / "out").exists()
    assert run(path, "--output", tmp_path / "out", "--only", "c") == 2
    assert "has no member 'c'; it has a, b" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_members_are_trained_one_after_the_other_and_a_second_call_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second member starts from the first one's result."""
    root = tmp_path / "set"
    (root / "train").mkdir(parents=True)
    images, objects = [], []
    for number in range(1, 5):
        Image.fromarray(data.chelsea()).resize((96, 64)).save(root / "train" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 96, "height": 64})
        box = {"id": number, "image_id": number, "category_id": 1, "bbox": [10, 8, 60, 44], "area": 2640.0}
        objects.append({**box, "iscrowd": 0})
    truth = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "cat"}]}
    (root / "train.json").write_text(json.dumps(truth))
    torch.manual_seed(0)
    start = tmp_path / "start.safetensors"
    write_checkpoint(start, "googlenet", {"num_classes": 3}, googlenet(num_classes=3).state_dict())
    path = plan(
        tmp_path,
        f"""
        data = ["coco:{root}"]
        regions = "pool"
        iterations = 1
        photographs = 1
        regions-each = 8
        scales = "1"
        short-side = 64
        source = "selective-search"
        [members.first]
        pretrained = "{start}"
        [members.second]
        pretrained = "OUTPUT/first/model.safetensors"
        """,
    )
    output = tmp_path / "members"
    command = (path, "--output", output, "--device", "cpu", "--quiet")
    assert run(*command) == 0
    files = [output / name / "model.safetensors" for name in ("first", "second")]
    before = [one.read_bytes() for one in files]
    assert before[0] != before[1]
    assert f"detect --weights {output / 'ensemble.toml'}" in capsys.readouterr().out
    assert [Path(one) for one in read_ensemble_file(output / "ensemble.toml").members] == files
    assert run(*command) == 0
    assert [one.read_bytes() for one in files] == before


def test_a_member_that_fails_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = plan(tmp_path, f'[members.a]\nroot = "{tmp_path / "absent"}"')
    assert run(path, "--output", tmp_path / "out") == 1
    assert "member a ended with status 1; mend what it says" in capsys.readouterr().err.replace("\n", " ")


def test_data_sets_of_the_command_take_the_place_of_the_plan_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plan(tmp_path, 'root = "a"\nsplit = "train"\nseed = 3\n[members.one]\n[members.two]\ndata = ["voc:b"]\n')
    words = ("--data", "coco:c", "--data", "voc:d", "--split", "part", "--dry-run", "--output", tmp_path / "out")
    assert run(path, *words) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("member")]
    assert len(lines) == 2
    for line in lines:
        assert "train --seed 3 --data coco:c --data voc:d --split part --output" in line and "--root" not in line
