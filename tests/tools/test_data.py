"""inception-rcnn data: what it says of a data set, what it draws, what it writes; and the sets that are trained on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inception_rcnn.datasets import open_dataset, write_dataset
from inception_rcnn.structures.dataset import Subset
from inception_rcnn.tools import cli
from inception_rcnn.tools.training_sets import open_sets

XML = (
    "<annotation><filename>{0}.png</filename><size><width>60</width><height>40</height></size>"
    "<object><name>{1}</name><difficult>{2}</difficult><bndbox><xmin>{3}</xmin><ymin>6</ymin><xmax>31</xmax>"
    "<ymax>30</ymax></bndbox></object></annotation>"
)


@pytest.fixture()
def pets(tmp_path: Path) -> Path:
    """Six photographs with XML beside them; in the last the object is a difficult one."""
    folder = tmp_path / "pets"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for k in range(6):
        Image.fromarray(noise.integers(0, 99, (40, 60, 3), np.uint8)).save(folder / f"p{k}.png")
        (folder / f"p{k}.xml").write_text(XML.format(f"p{k}", "cat" if k % 2 else "dog", int(k == 5), k + 2))
    return folder


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", *map(str, words)])
    return int(caught.value.code or 0)


def test_a_data_set_is_told_counted_and_drawn(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("pets") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pets (folder): 6 photographs, 6 objects of 2 classes (cat, dog)"
    table = {line[:20].strip(): line.split()[-1] for line in lines[2:-1] if line}
    assert table == {
        **{"objects": "all", "cat": "3", "dog": "3", "all": "6", "small, below 32 x 32": "6"},
        **{"large, from 96 x 96": "0", "to ignore": "1", "photographs": "6", "without objects": "0"},
    }
    assert lines[-1] == f"sheet: {Path('runs', 'data', 'pets-all.jpg')}"
    sheet = np.asarray(Image.open(tmp_path / "runs" / "data" / "pets-all.jpg"))
    assert sheet.shape == (658, 1310, 3) and (sheet.max(axis=2) - sheet.min(axis=2) > 100).any()  # frames in colour


@pytest.mark.parametrize("format", ["coco", "voc", "folder", "yolo", "ilsvrc"])
def test_another_format_is_written_and_read_again(
    pets: Path, tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    no_mark = format in ("yolo", "ilsvrc")
    if no_mark:
        assert run(pets, "--no-sheet", "--convert", format, tmp_path / "new") == 1
        assert "objects to ignore, for which" in capsys.readouterr().err and not (tmp_path / "new").exists()
    dropping = ["--drop-ignored"] if no_mark else []
    assert run(pets, "--no-sheet", "--convert", format, tmp_path / "new", "--validation", "0.3", *dropping) == 0
    out = capsys.readouterr().out
    assert f"wrote train: 4 photographs, {'4' if not no_mark else ''}" in out
    assert "wrote val: 2 photographs, drawn by seed 0" in out and f"data {format}:{tmp_path / 'new'}" in out
    parts = [open_dataset(tmp_path / "new", split=part) for part in ("train", "val")]
    names = [one.path(i).name for one in parts for i in range(len(one))]
    assert sorted(names) == [f"p{k}.png" for k in range(6)]
    given = open_dataset(pets)
    for one in parts:
        for i in range(len(one)):
            k = int(one.path(i).name[1])
            truth = given.ground_truth(k)
            np.testing.assert_allclose(
                one.ground_truth(i).boxes, truth.boxes[~truth.ignore if no_mark else slice(None)]
            )


def test_what_cannot_be_done_is_refused_before_anything_is_written(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, status, message in (
        ((pets, "--validation", "0.1"), 2, "goes with --convert"),
        ((pets, "--convert", "pascal", tmp_path / "new"), 2, "'pascal' is unknown; known: coco, voc, ilsvrc, yolo"),
        ((tmp_path / "nothing",), 1, "nothing does not exist; give the folder of a data set"),
        ((pets, "--sheet", tmp_path / "no" / "sheet.jpg"), 1, "does not exist"),
        ((pets, "--exif", "both"), 2, "'both' is unknown; known: stored, upright"),
    ):
        assert run(*words) == status
        assert message in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "new").exists()


def test_the_same_data_in_every_layout_is_the_same_to_a_training(pets: Path, tmp_path: Path) -> None:
    (pets / "p5.png").unlink()
    (pets / "p5.xml").unlink()
    given = open_dataset(pets)
    expected = given.ground_truths()
    for format in ("coco", "voc", "ilsvrc", "yolo", "folder"):
        write_dataset(format, Subset(given, range(len(given))), tmp_path / format, "train")
    roboflow = tmp_path / "roboflow"
    shutil.copytree(tmp_path / "coco" / "train", roboflow / "train")
    shutil.copy(tmp_path / "coco" / "train.json", roboflow / "train" / "_annotations.coco.json")
    cvat = tmp_path / "cvat"
    shutil.copytree(tmp_path / "coco" / "train", cvat / "images" / "train")
    (cvat / "annotations").mkdir()
    shutil.copy(tmp_path / "coco" / "train.json", cvat / "annotations" / "instances_train.json")
    roots = [tmp_path / name for name in ("coco", "voc", "ilsvrc", "yolo", "folder", "roboflow", "cvat")]
    for one in open_sets([str(pets), *map(str, roots)], None, None, []):
        table = one.dataset.ground_truths()
        assert np.abs(table.box - expected.box).max() < 0.01 and np.array_equal(table.label, expected.label)
        assert [one.dataset.path(i).name for i in range(5)] == [f"p{k}.png" for k in range(5)]
        assert one.part == (None if one.root == pets else "train")


def test_a_list_of_the_first_objects_of_each_class_is_a_new_part(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voc = tmp_path / "voc"
    write_dataset("voc", open_dataset("folder", pets), voc, "all")
    listed = voc / "ImageSets" / "Main" / "few.txt"
    assert run(f"voc:{voc}", "--split", "all", "--no-sheet", "--list", listed, "--most-objects", 2) == 0
    assert "4 of 6 photographs, with 4 objects" in capsys.readouterr().out
    assert listed.read_text().split() == ["p0", "p1", "p2", "p3"]
    assert list(open_dataset("voc", voc, "few").image_ids) == ["p0", "p1", "p2", "p3"]
    assert run(f"voc:{voc}", "--split", "all", "--no-sheet", "--list", listed) == 1
    assert "already there" in capsys.readouterr().err
    whole = tmp_path / "whole.txt"
    assert run(f"voc:{voc}", "--split", "few", "--no-sheet", "--list", whole) == 0
    assert whole.read_text() == listed.read_text()
    both = tmp_path / "both.txt"
    words = ("--split", "few", "--split", "all", "--no-sheet", "--list", both, "--most-objects", 3)
    assert run(f"voc:{voc}", *words) == 0
    assert both.read_text().split() == ["p0", "p1", "p2", "p3", "p4"]  # p5's object is a difficult one


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--most-objects", 2), "--list"),
        (("--list", "no/such/folder/ids.txt", "--split", "all"), "no/such/folder"),
    ],
)
def test_a_list_needs_a_place(
    pets: Path, words: tuple[object, ...], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pets, "--no-sheet", *words) != 0
    assert fault in capsys.readouterr().err


def test_the_same_call_goes_on_after_a_conversion_that_failed_and_another_list_is_not_overwritten(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, voc = tmp_path / "ids.txt", tmp_path / "voc"
    words = (pets, "--no-sheet", "--list", listed, "--convert", "voc", voc)
    voc.mkdir()
    (voc / "Annotations").write_text("in the way")
    assert run(*words) == 1 and capsys.readouterr().err.startswith("error: ")
    names = [f"p{k}" for k in range(6)]
    assert listed.read_text().split() == names
    (voc / "Annotations").unlink()
    assert run(*words) == 0
    assert listed.read_text().split() == names and len(list((voc / "Annotations").iterdir())) == 6
    listed.write_text("p1\n")
    assert run(pets, "--no-sheet", "--list", listed) == 1
    assert "already there with another content" in capsys.readouterr().err and listed.read_text() == "p1\n"
