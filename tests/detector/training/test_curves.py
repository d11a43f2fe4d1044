"""The curves of a training's log: every figure is where it belongs, and the file is a picture by itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from inception_rcnn.backbones.training.log import TrainingLog
from inception_rcnn.detector.training.curves import _ticks, write_curves
from inception_rcnn.structures import DataFormatError

SVG = "{http://www.w3.org/2000/svg}"


def drawn(tmp_path: Path, lines: int, *, validated: bool = True) -> ElementTree.Element:
    """The picture of a table."""
    log = TrainingLog(tmp_path / "log.csv", scores=("mAP",))
    for line in range(1, lines + 1):
        scores = {"mAP": line / 100} if validated and line % 2 == 0 else {}
        log.write(100 * line, 0.1, {"loss": 8 / line, "<boxes>": 4 / line}, scores)
    write_curves(tmp_path / "log.csv", tmp_path / "curves.svg")
    return ElementTree.parse(tmp_path / "curves.svg").getroot()


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


def test_each_loss_and_the_score_have_a_line_over_iterations(tmp_path: Path) -> None:
    picture = drawn(tmp_path, 4)
    losses, scores = picture.findall(f"{SVG}g")
    total, boxes = (points(line) for line in losses.iter(f"{SVG}polyline"))
    # From 0 to 400 iterations over 358 units from 48 on, and from 0 to 8 over 262 units upwards to 12.
    for place, (x, y) in enumerate(total, start=1):
        assert x == pytest.approx(48 + 358 * place / 4, abs=0.06) and y == pytest.approx(274 - 262 / place, abs=0.06)
    assert [274 - y for _, y in boxes] == pytest.approx([(274 - y) / 2 for _, y in total], abs=0.1)
    (score,) = (points(line) for line in scores.iter(f"{SVG}polyline"))
    assert [x for x, _ in score] == [total[1][0], total[3][0]] and score[0][1] > score[1][1]
    texts = {text.text for text in picture.iter(f"{SVG}text")}
    assert {"loss", "<boxes>", "iterations", "mAP@0.5 on held-out photographs", "0", "400"} <= texts
    assert "mAP 0.02 after 200 iterations" in {title.text for title in scores.iter(f"{SVG}title")}


def test_without_validation_there_is_one_chart_and_one_line_is_a_dot(tmp_path: Path) -> None:
    picture = drawn(tmp_path, 1, validated=False)
    (losses,) = picture.findall(f"{SVG}g")
    assert len(list(losses.iter(f"{SVG}circle"))) == 2


def test_the_same_table_gives_the_same_picture(tmp_path: Path) -> None:
    drawn(tmp_path, 5)
    before = (tmp_path / "curves.svg").read_bytes()
    write_curves(tmp_path / "log.csv", tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_bytes() == before
    (tmp_path / "log.csv").write_text("what\n")
    with pytest.raises(DataFormatError, match="should be a table"):
        write_curves(tmp_path / "log.csv", tmp_path / "curves.svg")


@pytest.mark.parametrize("highest", [1e-6, 0.37, 1.0, 2.31, 9.99, 12500.0, 3e7])
def test_marks_are_few_round_and_reach_over_the_highest_value(highest: float) -> None:
    marks = _ticks(highest)
    steps = {round((two - one) / marks[1], 6) for one, two in pairwise(marks)}
    assert marks[0] == 0 and 3 <= len(marks) <= 8 and marks[-2] < highest <= marks[-1] * (1 + 1e-9) and steps == {1.0}
