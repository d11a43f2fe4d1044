"""`compare` end to end: a data set with photographs, files in every format, and bad input in one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_cases import IMAGES, photograph, tables
from report_pages import Page

from inception_rcnn.datasets import write_coco_detections, write_ilsvrc_detections
from inception_rcnn.evaluation import Evaluation, evaluate_coco, evaluate_ilsvrc
from inception_rcnn.evaluation.bootstrap import resample_images
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable
from inception_rcnn.tools import cli

NAMES = ("cat", "dog", "cow", "rare", "nowhere")


def run(*arguments: str | Path | int) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(word) for word in arguments])
    return int(exit_.value.code or 0)


@pytest.fixture(scope="module")
def both() -> tuple[GroundTruthTable, DetectionTable, DetectionTable]:
    """Objects, detections, and a worse half of them."""
    truths, found = tables()
    return truths, found[::2], found


@pytest.fixture(scope="module")
def root(
    both: tuple[GroundTruthTable, DetectionTable, DetectionTable], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The data set in COCO's layout, and two results files in it."""
    truths, *found = both
    root = tmp_path_factory.mktemp("coco")
    (root / "val").mkdir()
    for position in range(IMAGES):
        Image.fromarray(photograph(position)).save(root / "val" / f"{position + 1}.png")
    sides = truths.box[:, 2:] - truths.box[:, :2]
    annotations = [
        {
            "id": row + 1,
            "image_id": int(truths.image[row]) + 1,
            "category_id": int(truths.label[row]) + 1,
            "bbox": [*truths.box[row, :2], *sides[row]],
            "area": float(sides[row].prod()),
            "iscrowd": 0,
        }
        for row in range(len(truths))
    ]
    images = [{"id": k, "file_name": f"{k}.png", "width": 120, "height": 90} for k in range(1, IMAGES + 1)]
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES, start=1)]
    (root / "val.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    for name, table in zip(("half.json", "all.json"), found, strict=True):
        write_coco_detections(root / name, table, range(1, IMAGES + 1), range(1, 6))
    return root


@pytest.fixture(scope="module")
def texts(
    both: tuple[GroundTruthTable, DetectionTable, DetectionTable], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A ground-truth file, and two files in ILSVRC's format, the second packed."""
    truths, half, found = both
    folder = tmp_path_factory.mktemp("texts")
    write_ilsvrc_detections(folder / "half.txt", half, range(1, IMAGES + 1))
    write_ilsvrc_detections(folder / "all.txt", found, range(1, IMAGES + 1))
    (folder / "all.txt.gz").write_bytes(gzip.compress((folder / "all.txt").read_bytes()))
    wnids = ("n02672831", "n02691156", "n02219486", "n02419796", "n07739125")
    lines = []
    for position in range(IMAGES):
        rows = np.flatnonzero(truths.image == position)
        objects = [
            [int(truths.label[k]) + 1, wnids[truths.label[k]], *truths.box[k, :2], *(truths.box[k, 2:] - 1)]
            for k in rows
        ]
        lines.append(json.dumps({"id": f"picture{position}", "index": position + 1, "objects": objects}))
    (folder / "truth.jsonl").write_text("\n".join(lines))
    return folder


def test_a_data_set_with_photographs(
    root: Path,
    both: tuple[GroundTruthTable, DetectionTable, DetectionTable],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = tmp_path / "comparison.json"
    options = ("--dataset", "coco", "--root", root, "--json", made, "--report", tmp_path / "page")
    assert run("compare", root / "half.json", root / "all.json", *options) == 0
    truths, *found = both
    results = [evaluate_coco(truths, table) for table in found]
    draws = [
        resample_images(Evaluation(title="", result=result, truths=truths, detections=table))
        for result, table in zip(results, found, strict=True)
    ]
    interval = draws[1].minus(draws[0]).map_interval()
    shown = json.loads(made.read_text())
    assert shown["maps"] == pytest.approx([result.map for result in results], abs=1e-9)
    assert shown["difference"] == pytest.approx(results[1].map - results[0].map, abs=1e-9)
    assert shown["interval"] == pytest.approx([interval.low, interval.high], abs=1e-9)
    assert shown["protocol"] == "coco"
    assert list(shown["classes"]) == ["cat", "dog", "cow", "rare"]
    assert shown["classes"]["cat"]["ap"] == pytest.approx([result.ap["n1"] for result in results])
    assert sum(shown["classes_won"]) <= 4
    printed = capsys.readouterr().out
    assert f"second minus first: {100 * shown['difference']:+.2f} points" in printed
    assert f"{100 * results[0].map:.2f}" in printed
    assert "half.json" in printed
    for one in shown["photographs"][:3]:
        assert (
            f"{one['image']}: {one['false'][0]} false {one['missed'][0]} missed -> {one['false'][1]} false" in printed
        )
    page = Page(tmp_path / "page" / "index.html")
    assert page.complaints() == []
    assert "half.json" in page.text
    assert [tag for tag, _ in page.elements].count("image") == 2 * min(len(shown["photographs"]), 16)
    assert [model["name"] for model in page.data["models"]] == ["half.json", "all.json"]


def test_a_file_of_objects_is_enough(
    texts: Path,
    both: tuple[GroundTruthTable, DetectionTable, DetectionTable],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--dataset", "ilsvrc", "--ground-truth", texts / "truth.jsonl")
    made = tmp_path / "comparison.json"
    assert run("compare", texts / "half.txt", texts / "all.txt.gz", *options, "--json", made, "--report", tmp_path) == 0
    truths, half, found = both
    maps = [evaluate_ilsvrc(truths, table).map for table in (half, found)]
    assert json.loads(made.read_text())["maps"] == pytest.approx(maps, abs=1e-9)
    printed = capsys.readouterr().out
    assert "by the rules of ilsvrc" in printed
    assert "accordion" in printed  # people's name of n02672831
    assert "No photographs are at hand" in Page(tmp_path / "index.html").text
    assert run("compare", texts / "half.txt", texts / "all.txt", *options, "--protocol", "voc2007") == 0
    assert "by the rules of voc2007" in capsys.readouterr().out


def test_a_detector_against_itself_is_a_draw(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--dataset", "ilsvrc", "--ground-truth", texts / "truth.jsonl")
    assert run("compare", texts / "all.txt", texts / "all.txt", *options) == 0
    printed = capsys.readouterr().out
    assert "second minus first: +0.00 points (95 % interval +0.00 to +0.00)" in printed
    assert "0 won by the second, 0 by the first, 4 equal" in printed
    assert "unequally many mistakes: 0" in printed


def test_the_blacklist_is_not_evaluated(texts: Path, tmp_path: Path) -> None:
    options = ("--dataset", "ilsvrc", "--ground-truth", texts / "truth.jsonl")
    (tmp_path / "blacklist.txt").write_text("".join(f"{k} n02672831\n" for k in range(1, IMAGES + 1)))
    made = tmp_path / "comparison.json"
    arguments = (*options, "--blacklist", tmp_path / "blacklist.txt", "--json", made)
    assert run("compare", texts / "half.txt", texts / "all.txt", *arguments) == 0
    assert "n02672831" not in json.loads(made.read_text())["classes"]


def test_bad_input_is_one_line(texts: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = ("--dataset", "ilsvrc", "--ground-truth", texts / "truth.jsonl")
    good = texts / "all.txt"
    (tmp_path / "other.txt").write_text("99 1 0.5 0 0 9 9\n")
    (tmp_path / "words.txt").write_text("1 1 0.5 0 0 9\n")
    cases = [
        ((good, tmp_path / "none.txt", *truth), "none.txt"),
        ((good, tmp_path / "other.txt", *truth), "other.txt, line 1: the image 99"),
        ((good, tmp_path / "words.txt", *truth), "words.txt, line 1"),
        ((good, good, "--dataset", "ilsvrc"), "--root DIR"),
        ((good, good, "--dataset", "ilsvrc", "--ground-truth", tmp_path / "none.jsonl"), "none.jsonl"),
        ((good, good, *truth, "--report", good), "it is a file"),
        ((root / "all.json", root / "all.json", "--root", tmp_path / "nowhere"), "nowhere"),
    ]
    for arguments, text in cases:
        assert run("compare", *arguments) == 1, text
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1
    for option in ("--dataset", "--protocol"):
        assert run("compare", good, good, *truth, option, "soup") == 2
        assert "'soup' is unknown; known: " in capsys.readouterr().err


def test_detections_of_other_images_are_left_out_on_request(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "more.txt").write_text((texts / "all.txt").read_text() + "99 1 0.5 0 0 9 9\n")
    truth = ("--dataset", "ilsvrc", "--ground-truth", texts / "truth.jsonl")
    assert run("compare", texts / "all.txt", tmp_path / "more.txt", *truth, "--skip-broken") == 0
    printed = capsys.readouterr()
    assert "left out of more.txt: 1 detections" in printed.err
    assert "+0.00 points" in printed.out


def test_json_that_cannot_be_written_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", "a.json", "b.json", "--root", tmp_path, "--json", tmp_path / "absent" / "x.json") == 1
    assert "absent does not exist; create it first" in capsys.readouterr().err
