"""The page of errors: each command on it is run, and says what is there."""

from __future__ import annotations

import doctest
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from marked_set import MarkedSet

from inception_rcnn.datasets import write_coco, write_folder
from inception_rcnn.tools.cli import main

PAGE = Path(__file__).resolve().parent.parent / "docs" / "start" / "errors.md"
BLOCKS = re.findall(r"^```\n(\$ (?:.*\n)*?)```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def one_photograph(folder: Path, class_name: str) -> MarkedSet:
    return MarkedSet(folder, (class_name,), ("chelsea",), calls=(("cat", class_name),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands are given: things that are wrong, each in its way."""
    here = tmp_path_factory.mktemp("errors")
    for name in ("empty", "photographs"):
        (here / name).mkdir()
    (here / "notes.jpg").write_text("no picture")
    (here / "old.pth").write_bytes(b"PK\x03\x04" + bytes(100))
    write_coco(one_photograph(here / "one", "cat"), here / "pets", "val")
    write_coco(one_photograph(here / "one", "unicorn"), here / "beasts", "val")
    write_folder(one_photograph(here / "one", "cat"), here / "broken", "val")
    (annotation,) = (here / "broken").rglob("*.xml")
    annotation.write_text(annotation.read_text(encoding="utf-8").replace("</annotation>", ""), encoding="utf-8")
    (photograph,) = (here / "one").glob("*.png")
    (here / "cat.png").write_bytes(photograph.read_bytes())
    (here / "cut.jpg").write_bytes(photograph.read_bytes()[:2000])
    return here


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[-2] for block in BLOCKS])
def test_the_commands_say_what_the_page_says(
    block: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("INCEPTION_RCNN_IMAGENET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    if "pyarrow" in block:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    for line, said in re.findall(r"^\$ inception-rcnn (.*)\n((?:[^$].*\n)*)", block, flags=re.MULTILINE):
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(line))
        assert ended.value.code == (0 if not said else 2 if "Invalid value" in said else 1)
        shown = capsys.readouterr()
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        wanted = f"...{said.strip()}...\n" if said else "...\n"
        assert doctest.OutputChecker().check_output(wanted, shown.out + shown.err, flags), shown


def test_the_page_has_the_most_frequent_ones() -> None:
    assert len(BLOCKS) >= 15
