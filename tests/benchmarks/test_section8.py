"""The table of the paper's section 8: from photographs to lines, and what is left out of some of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from marked_set import MarkedSet
from section8 import (
    COCO,
    OF_DET,
    VOC,
    Bench,
    Scored,
    main,
    named_files,
    of_classes,
    row_pictures,
    row_voc,
    without_guitars,
)

from inception_rcnn.datasets import write_coco
from inception_rcnn.evaluation import Evaluation
from inception_rcnn.evaluation.bootstrap import Resampled
from inception_rcnn.evaluation.protocols import evaluate_by
from inception_rcnn.structures import DetectionTable, GroundTruthTable, InputError
from inception_rcnn.tools import cli


def in_this_process(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """Run a command of the package as its process would be run, without the seconds that a process takes to start."""
    with pytest.raises(SystemExit) as ended:
        cli.main([Path(words[1]).stem, *words[2:]])
    return subprocess.CompletedProcess(words, int(ended.value.code or 0))


def test_lines_of_a_model_there_is_twice_and_of_one_there_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_coco(MarkedSet(tmp_path / "marked", ("person", "cat", "cup")), tmp_path / "data" / "coco_mini", "val")
    options = ("--data", tmp_path / "data", "--work", tmp_path / "work", "--weights", "six=coco,coco", "--limit", 2)
    words = [str(word) for word in (*options, "--device", "cpu", "--rows", "coco", "six", "distilled", "paper")]
    monkeypatch.setattr("section8.subprocess.run", in_this_process)
    main(words)
    printed = [line.strip("| ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    lines = dict(line.split(" | ") for line in printed if " | " in line)
    value = lines["six, coco_mini val"].split(" (")[0]
    assert float(value) > 20 and f"each alone {value}, {value}" in lines["six, coco_mini val"]
    assert lines["six over the mean of its 2 members"].startswith("+0.00 (")
    assert lines["coco_mini val, `coco`"].startswith(f"mAP@0.5 {value} (")
    assert lines["distilled, coco_mini val"] == lines["six warped, as the paper has it"] == "not trained"
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()}
    main(words)
    assert kept == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()}  # nothing ran again


def test_proposals_that_were_made_before_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def failing(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, 1)

    monkeypatch.setattr("section8.subprocess.run", failing)
    made = tmp_path / "coco_mini-val.safetensors"
    made.touch()
    bench = Bench(tmp_path, tmp_path, {}, "cpu", None, stored=tmp_path)
    for part, options in ((COCO, ()), (COCO, ("--proposals", "other")), (VOC, ())):
        with pytest.raises(SystemExit, match="status 1"):
            bench.score("coco", part, options=options)
    named = [[words[at + 1] for at, word in enumerate(words) if word == "--proposals"] for words in asked]
    assert named == [[str(made)], ["other"], []]


@pytest.mark.parametrize("missing", ["", "voc2007", "voc2007-and-2012"])
def test_more_photographs_of_voc_stand_against_fewer(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = GroundTruthTable(("a",), (1, 2), [0, 1], [0, 0], [[0, 0, 9, 9]] * 2)

    def score(bench: Bench, model: str, part: object) -> Scored | None:
        count = 1 if model == "voc2007" else 2
        found = DetectionTable(range(count), [0] * count, [0.9] * count, [[0, 0, 9, 9]] * count)
        result = evaluate_by("voc2007", truth, found)
        evaluation = Evaluation(title="", result=result, truths=truth, detections=found)
        return None if model == missing else Scored([evaluation], 1.0)

    monkeypatch.setattr(Bench, "score", score)
    lines = dict(row_voc(Bench(tmp_path, tmp_path, {}, "cpu", None)))
    assert len(lines) == (3 if missing else 4)
    assert missing or lines["... over `voc2007`"].startswith("+45.45 (")  # six of the eleven recalls to all


def test_the_four_pictures_have_what_is_meant_once_or_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Named:
        def __init__(self, class_name: str) -> None:
            self.class_name = class_name

    found = iter([["person"], ["cat", "cat"], ["bowl"], ["motorcycle", "bicycle"]])

    class Scripted:
        def with_settings(self, **_: object) -> Scripted:
            return self

        def __call__(self, image: object) -> list[Named]:
            return [Named(name) for name in next(found)]

    monkeypatch.setattr("section8.load_detector", lambda *_: Scripted())
    ((_, text),) = row_pictures(Bench(tmp_path, tmp_path, {}, "cpu", None))
    assert text == (
        "2 of 4 found once (astronaut, motorcycle); "
        "other boxes: cat on chelsea, cat on chelsea, bowl on coffee, bicycle on motorcycle"
    )


def test_without_guitars_is_the_evaluation_of_the_other_photographs() -> None:
    names = (f"{OF_DET}1", "n03272010_7", f"{OF_DET}2")
    box = [[0, 0, 9, 9]]
    truth = GroundTruthTable(("a", "b"), (1, 2, 3), [0, 1, 2], [0, 0, 1], box * 3, image_names=names)
    found = DetectionTable([1, 0, 1, 2], [0, 0, 1, 1], [0.9, 0.8, 0.7, 0.6], [[20, 20, 30, 30], *box * 3])
    evaluation = Evaluation(title="", result=evaluate_by("ilsvrc", truth, found), truths=truth, detections=found)
    assert evaluation.result.map == pytest.approx(0.375)  # a false box first, and one object of two; a false box first
    assert without_guitars(evaluation).estimate.tolist() == [1.0, 1.0]


def test_some_classes_have_the_mean_of_these_alone() -> None:
    drawn = Resampled(np.array([[0.2, 0.4, np.nan]]), np.array([0.3, 0.5, np.nan]))
    chosen = of_classes(drawn, np.array([False, True, True]))
    assert chosen.map.tolist() == [0.4] and np.nanmean(chosen.estimate) == 0.5


def test_weights_are_named() -> None:
    assert named_files(["a=x,y", "b=z"]) == {"a": ["x", "y"], "b": ["z"]}
    with pytest.raises(InputError, match="--weights should be NAME=FILE"):
        named_files(["x.safetensors"])
