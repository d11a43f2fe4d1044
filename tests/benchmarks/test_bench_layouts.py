"""The table of layouts: each is written and read as the benchmark says, and what differs is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench_layouts import boxes_apart, layouts_of, objects_of
from PIL import Image


@pytest.mark.filterwarnings("ignore:.*is the root of the others")
def test_five_layouts_have_the_same_objects_and_others_do_not(tmp_path: Path) -> None:
    for part, stem, x in (("train", "a", 5), ("train", "b", 7.25), ("test", "c", 9)):
        (tmp_path / "pets" / part).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(tmp_path / "pets" / part / f"{stem}.jpg")
        sides = f"<xmin>{x}</xmin><ymin>3</ymin><xmax>14</xmax><ymax>8</ymax>"
        text = f"<annotation><filename>{stem}.jpg</filename><object><name>cat</name><bndbox>{sides}</bndbox></object>"
        (tmp_path / "pets" / part / f"{stem}.xml").write_text(f"{text}</annotation>")
    folders = layouts_of(tmp_path / "pets", tmp_path / "work")
    first, *others = (objects_of(folder) for folder in folders.values())
    assert len(others) == 4 and set(first) == {"a.jpg", "b.jpg"}
    assert all(boxes_apart(one, first) < 1e-4 for one in others)
    moved = {name: (classes, boxes + np.float32(0.5)) for name, (classes, boxes) in first.items()}
    assert boxes_apart(moved, first) == 0.5
    assert boxes_apart({"a.jpg": first["a.jpg"]}, first) == float("inf")
