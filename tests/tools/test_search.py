"""`inception-rcnn search`, on results that a run might have left of photographs that scikit-image ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from inception_rcnn.datasets.archive.shards import FoundInPhotograph, RunDescription, write_shard
from inception_rcnn.datasets.archive.storage import Location
from inception_rcnn.structures import load_image
from inception_rcnn.tools import cli

pytest.importorskip("duckdb", reason="needs inception-rcnn[scale]")


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """Results of two photographs, and of one that has gone since."""
    folder, run = tmp_path / "found", RunDescription({}, ("cat", "person"), "coco", 1, 3)
    rows = []
    for name, label, score in (("chelsea", "cat", 0.9), ("gone", "cat", 0.8), ("astronaut", "person", 0.7)):
        if name != "gone":
            Image.fromarray(getattr(data, name)()).save(tmp_path / f"{name}.png")
        box, scores = np.array([[0, 0, 9, 9]], np.float32), np.array([score], np.float32)
        rows.append(FoundInPhotograph(str(tmp_path / f"{name}.png"), "0" * 64, (9, 9), box, scores, (label,)))
    run.write(Location(str(folder)))
    write_shard(Location(str(folder)), 0, rows, run)
    return folder


def search(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["search", *map(str, words)])
    return int(exit_.value.code or 0)


def test_it_lists_best_first_and_draws_what_is_there(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = found.parent / "sheet.png"
    assert search(found, "--have", "cat", "--lack", "person", "--sheet", sheet, "--columns", "2") == 0
    said = capsys.readouterr()
    names = [line.partition("  ")[2].rpartition("/")[2] for line in said.out.splitlines()]
    assert names == ["chelsea.png", "gone.png"] and said.out.startswith("0.900  ")
    assert "left out: " in said.err and "gone.png" in said.err and f"1 photographs in {sheet}" in said.err
    picture = load_image(sheet)
    assert picture.shape == (332, 332, 3)  # no column stays empty
    assert len(np.unique(picture[6:200, 6:326].reshape(-1, 3), axis=0)) > 1000  # chelsea


def test_an_unknown_class_is_one_line(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(found, "--have", "dog") == 1
    assert capsys.readouterr().err.startswith(f"error: {found} was searched for 2 classes, 'dog' is none")
