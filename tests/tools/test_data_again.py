"""`data --list --convert` called again after the conversion failed goes on; another list is not overwritten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inception_rcnn.tools import cli

XML = (
    "<annotation><filename>{0}.png</filename><size><width>60</width><height>40</height></size><object><name>cat</name>"
    "<bndbox><xmin>3</xmin><ymin>6</ymin><xmax>31</xmax><ymax>30</ymax></bndbox></object></annotation>"
)


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", *map(str, words)])
    return int(caught.value.code or 0)


def test_the_same_call_goes_on_after_a_conversion_that_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pets, listed, voc = tmp_path / "pets", tmp_path / "ids.txt", tmp_path / "voc"
    pets.mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(pets / f"{name}.png")
        (pets / f"{name}.xml").write_text(XML.format(name))
    words = (pets, "--no-sheet", "--list", listed, "--convert", "voc", voc)
    voc.mkdir()
    (voc / "Annotations").write_text("in the way")
    assert run(*words) == 1 and capsys.readouterr().err.startswith("error: ")
    assert listed.read_text() == "a\nb\n"
    (voc / "Annotations").unlink()
    assert run(*words) == 0
    assert listed.read_text() == "a\nb\n" and len(list((voc / "Annotations").iterdir())) == 2
    listed.write_text("b\n")
    assert run(pets, "--no-sheet", "--list", listed) == 1
    assert "already there with another content" in capsys.readouterr().err and listed.read_text() == "b\n"
