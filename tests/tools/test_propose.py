"""`inception-rcnn propose`: pictures, a stored file, and what is covered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from inception_rcnn.evaluation import proposal_recall
from inception_rcnn.proposals import selective_search
from inception_rcnn.proposals.stored import read_stored_proposals
from inception_rcnn.structures import GroundTruth, load_image
from inception_rcnn.tools import cli

KEYS = {
    *("images", "boxes_per_image", "truths", "recall", "recall_at"),
    *("average_recall", "average_best_overlap", "seconds_per_image"),
}


def propose(*arguments: str | Path | int) -> int:
    """The exit status of the command, on small working pictures and without a network, so that it stays quick."""
    words = ["propose", *(str(word) for word in arguments), "--width", "120", "--threads", "1"]
    if "--source" not in words:
        words += ["--source", "selective-search"]
    with pytest.raises(SystemExit) as exit_:
        cli.main(words)
    return int(exit_.value.code or 0)


def voc_xml(*objects: tuple[str, tuple[int, int, int, int], int]) -> str:
    inner = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2), difficult in objects
    )
    return f"<annotation><size><width>225</width><height>150</height></size>{inner}</annotation>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cat (225 x 150) with two objects to find and a difficult one, and a cup with a small object."""
    root = tmp_path / "set"
    (root / "val").mkdir(parents=True)
    for name, pixels in (("cat", data.chelsea()), ("cup", data.coffee())):
        Image.fromarray(pixels).resize((225, 150)).save(root / "val" / f"{name}.png")
    cat = [("cat", (1, 1, 225, 150), 0), ("eye", (60, 40, 110, 80), 0), ("nose", (1, 1, 4, 4), 1)]
    (root / "val" / "cat.xml").write_text(voc_xml(*cat))
    (root / "val" / "cup.xml").write_text(voc_xml(("spoon", (100, 100, 110, 109), 0)))
    return root


def test_coverage_of_a_set_is_written_with_exactly_these_keys(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "coverage.json"
    assert propose("--dataset", "folder", "--root", root, "--split", "val", "--json", out, "--quiet") == 0
    result = json.loads(out.read_text())
    assert set(result) == KEYS
    assert (result["images"], result["truths"]) == (2, 3)
    assert set(result["recall"]) == {"0.5", "0.6", "0.7", "0.8", "0.9"}
    assert set(result["recall_at"]) == {"50", "100", "200", "300", "500", "1000"}
    assert 0 < result["average_best_overlap"] <= 1 and result["seconds_per_image"] > 0


def test_coverage_is_that_of_selective_search_with_the_settings_given(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "coverage.json"
    options = ("--superpixel-scale", 1, "--min-side", 10, "--max-boxes", 60, "--mode", "single", "--seed", 3)
    assert propose("--dataset", "folder", "--root", root, "--split", "val", "--json", out, "--quiet", *options) == 0
    result = json.loads(out.read_text())
    found = [
        selective_search(
            load_image(root / "val" / f"{name}.png"),
            superpixel_scale=1,
            min_side=10,
            max_boxes=60,
            mode="single",
            seed=3,
            width=120,
        )
        for name in ("cat", "cup")
    ]
    names = ("cat", "eye", "spoon")
    truths = [
        GroundTruth(np.array([[0, 0, 225, 150], [59, 39, 110, 80]], np.float32), np.array([0, 1]), names),
        GroundTruth(np.array([[99, 99, 110, 109]], np.float32), np.array([2]), names),
    ]
    expected = proposal_recall(truths, found)
    assert result["boxes_per_image"] == expected.boxes_per_image == np.mean([len(one) for one in found])
    assert result["recall"] == {f"{key:g}": value for key, value in expected.recall.items()}
    assert result["recall_at"] == {str(key): value for key, value in expected.recall_at.items()}
    assert result["average_recall"] == expected.average_recall
    assert result["average_best_overlap"] == expected.average_best_overlap


def test_the_table_has_a_column_for_each_size(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert propose("--dataset", "folder", "--root", root, "--split", "val") == 0
    lines = {line[:24].strip(): line[24:].split() for line in capsys.readouterr().out.splitlines()}
    assert lines["objects"] == ["3", "1", "1", "1"]  # the spoon, the eye, the cat
    assert lines["% at IoU 0.5"][3] == "100.0"  # the whole picture is always proposed
    assert len(lines["% at IoU 0.5, first 1000"]) == 4
    assert {"average recall, %", "average best overlap, %"} <= set(lines)


def test_a_bound_of_the_sizes_belongs_to_the_larger_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(data.chelsea()).resize((225, 150)).save(tmp_path / "cat.png")
    sides = [(31, 33), (32, 32), (96, 96), (97, 96)]
    (tmp_path / "cat.xml").write_text(voc_xml(*(("cat", (1, 1, width, height), 0) for width, height in sides)))
    assert propose("--dataset", "folder", "--root", tmp_path) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("objects"))
    assert row.split() == ["objects", "4", "1", "1", "2"]  # one rule for all tables, that of the report


def test_proposals_are_stored_with_what_made_them_and_not_made_twice(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored, out = tmp_path / "val.safetensors", tmp_path / "coverage.json"
    wanted = ("--dataset", "folder", "--root", root, "--split", "val", "--output", stored, "--json", out)
    assert propose(*wanted) == 0
    first, content = json.loads(out.read_text()), stored.read_bytes()
    assert propose(*wanted) == 0
    again = json.loads(out.read_text())
    assert stored.read_bytes() == content
    assert (again.pop("seconds_per_image"), first.pop("seconds_per_image") > 0, again) == (None, True, first)
    assert "all were in the file already" in capsys.readouterr().out
    file = read_stored_proposals(stored)
    assert len(file.image_ids) == len(set(file.checksums)) == 2
    assert (file.settings["method"], file.settings["width"], file.settings["mode"]) == ("selective-search", 120, "fast")
    assert propose(*wanted, "--mode", "single") == 1
    assert "was made with mode = 'fast', now 'single'" in capsys.readouterr().err


def test_without_truths_coverage_is_null(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (root / "val").glob("*.xml"):
        path.unlink()
    out = tmp_path / "coverage.json"
    assert propose("--dataset", "folder", "--root", root, "--split", "val", "--json", out) == 0
    result = json.loads(out.read_text())
    assert set(result) == KEYS
    nothing = [result[key] for key in ("recall", "recall_at", "average_recall", "average_best_overlap")]
    assert (nothing, result["truths"], result["images"]) == ([None] * 4, 0, 2)
    assert result["boxes_per_image"] >= 1
    assert "no objects are known" in capsys.readouterr().out


def test_limit_takes_the_first_images(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "coverage.json"
    assert propose("--dataset", "folder", "--root", root / "val", "--limit", 1, "--json", out, "--quiet") == 0
    result = json.loads(out.read_text())
    assert (result["images"], result["truths"]) == (1, 2)


def to_coco(root: Path, target: Path) -> None:
    from inception_rcnn.datasets import FolderDataset, write_coco

    write_coco(FolderDataset(root, "val"), target, "val")


def to_voc(root: Path, target: Path) -> None:
    from inception_rcnn.datasets import FolderDataset, write_voc

    write_voc(FolderDataset(root, "val"), target, "val")


@pytest.mark.parametrize(("form", "write"), [("coco", to_coco), ("voc", to_voc)])
def test_the_same_set_in_another_format_is_covered_alike(
    form: str, write: Callable[[Path, Path], None], root: Path, tmp_path: Path
) -> None:
    write(root, tmp_path / form)
    results = []
    for name, folder in (("folder", root), (form, tmp_path / form)):
        out = tmp_path / f"{name}.json"
        assert propose("--dataset", name, "--root", folder, "--split", "val", "--json", out, "--quiet") == 0
        results.append(json.loads(out.read_text()))
        del results[-1]["seconds_per_image"]
    assert results[0] == results[1]


def test_broken_truths_are_an_error_or_reported(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "val" / "cup.xml").write_text(voc_xml(("spoon", (100, 100, 90, 109), 0)))
    wanted = ("--dataset", "folder", "--root", root, "--split", "val", "--limit", 1, "--quiet")
    assert propose(*wanted) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "cup.xml, object 1 (spoon): its box has no area" in error
    assert propose(*wanted, "--skip-broken") == 0
    assert "left out: " in (error := capsys.readouterr().err) and "cup.xml, object 1 (spoon)" in error


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("--dataset", "xml", "--root", "."), 2, "'xml' is unknown; known: coco, voc, ilsvrc, yolo, folder"),
        (("--data", "nowhere"), 1, "nowhere does not exist"),
        (("--dataset", "folder", "--root", "nowhere"), 1, "nowhere is no folder"),
        (("--dataset", "folder"), 2, "name a data set"),
        (("--dataset", "folder", "--root", ".", "a.jpg"), 2, "no images go beside it"),
        (("--split", "val"), 2, "a part needs its data set"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: tuple[str, ...], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert propose(*arguments) == status
    assert text in " ".join(capsys.readouterr().err.split())


def test_an_empty_set_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert propose("--dataset", "folder", "--root", tmp_path) == 1
    assert "no images in" in capsys.readouterr().err


def test_a_photograph_is_drawn_beside_itself(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "boxes.json"
    photograph = root / "val" / "cat.png"
    assert propose(photograph, "--max-boxes", 5, "--json", out) == 0
    assert f"{photograph}: 5 boxes, drawn in {root / 'val' / 'cat-proposals.png'}" in capsys.readouterr().out
    (entry,) = json.loads(out.read_text())
    assert (entry["image"], entry["width"], entry["height"]) == (str(photograph), 225, 150)
    expected = selective_search(load_image(photograph), width=120, max_boxes=5)
    assert entry["boxes"] == expected.boxes.tolist()
    drawn, plain = load_image(root / "val" / "cat-proposals.png"), load_image(photograph)
    assert drawn.shape == plain.shape
    x1, y1 = np.round(expected.boxes[0, :2]).astype(int)
    assert (drawn[y1, x1] != plain[y1, x1]).any()
    assert (drawn == plain).mean() > 0.5


def test_at_most_a_hundred_boxes_are_drawn_unless_told_otherwise(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    photograph = root / "val" / "cup.png"
    counts = []
    for more in ((), ("--max-boxes", 130)):
        assert propose(photograph, "--superpixel-scale", 1, "--min-side", 2, "--json", out, "--quiet", *more) == 0
        counts.append(len(json.loads(out.read_text())[0]["boxes"]))
    assert counts == [100, 130]


def test_a_folder_with_a_bad_file_is_done_to_the_end_and_exits_with_1(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    Image.new("RGB", (30, 20)).save(root / "val" / "cat.jpg")
    (root / "val" / "bad.png").write_text("<annotation/>")
    assert propose(root / "val", "--json", out, "--quiet") == 1
    entries = json.loads(out.read_text())
    assert [Path(entry["image"]).name for entry in entries if "error" in entry] == ["bad.png"]
    drawn = sorted(path.name for path in (root / "val" / "proposals").iterdir())
    assert drawn == ["cat-proposals.jpg", "cat-proposals.png", "cup-proposals.png"]


def test_boxes_are_written_as_they_come_and_not_searched_again(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, options = tmp_path / "boxes.jsonl", ("--source", "selective-search")
    assert propose(root / "val" / "cup.png", "--json", out, "--quiet", *options) == 0
    before = out.read_bytes()
    assert propose(root / "val" / "cup.png", root / "val" / "cat.png", "--json", out, *options) == 0
    assert out.read_bytes().startswith(before) and out.read_bytes().count(b"\n") == 3
    printed = capsys.readouterr().out
    assert f"1 of 2 images are in {out} already" in printed and "cup-proposals" not in printed
    assert propose(root / "val" / "cup.png", "--json", out, "--quiet", *options, "--ranking", "random") == 1
    assert "boxes.jsonl was made with ranking = 'agreement', now 'random' is asked for" in capsys.readouterr().err
    for wrong in ((), ("--dataset", "folder", "--root", root)):
        assert propose(*wrong, "--json", tmp_path / "absent" / "x.json") == 1
        assert "absent does not exist; create it first" in capsys.readouterr().err


def test_pictures_of_equal_names_do_not_overwrite_each_other(root: Path, tmp_path: Path) -> None:
    first, second = root / "val" / "cup.png", tmp_path / "cup.png"
    second.write_bytes(first.read_bytes())
    assert propose(first, second, "--output", tmp_path / "out", "--quiet") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["cup-proposals-2.png", "cup-proposals.png"]


def test_without_an_argument_a_bundled_photograph_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert propose("--quiet") == 0
    with Image.open(tmp_path / "runs" / "astronaut-proposals.png") as picture:
        assert picture.size == (512, 512)


def test_an_empty_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert propose(tmp_path) == 1
    assert "no images in" in capsys.readouterr().err
