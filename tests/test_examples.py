"""The programs of `examples/` run as they are printed, on photographs that come with scikit-image."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from marked_set import MarkedSet
from skimage import data, io

import inception_rcnn
from inception_rcnn.datasets import write_coco

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name: str, *words: str | Path) -> str:
    """What a program prints."""
    line = [sys.executable, str(ROOT / "examples" / name), *map(str, words)]
    made = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert made.returncode == 0, made.stderr
    return made.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_what_it_imports_is_public(path: Path) -> None:
    """From the package itself, or what a room says in its `__all__`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("inception_rcnn"):
            module = __import__(str(node.module), fromlist=["__all__"])
            assert {alias.name for alias in node.names} <= set(module.__all__)
            assert str(node.module).count(".") <= 1


def test_detect(tmp_path: Path) -> None:
    io.imsave(tmp_path / "cat.png", data.chelsea(), check_contrast=False)
    assert "cat.png: cat 1.00 at " in run("detect.py", tmp_path / "cat.png").replace("0.99", "1.00")
    assert (tmp_path / "cat.detections.png").is_file()


def test_propose() -> None:
    lines = run("propose.py").splitlines()
    assert [line.split(":")[0] for line in lines] == ["selective search", "MultiBox", "both"]


def test_train_then_evaluate(tmp_path: Path) -> None:
    """For a hundredth of a minute, which is an iteration: what it learns is for other tests."""
    folder = tmp_path / "pets"
    for split in ("train", "val"):
        write_coco(MarkedSet(tmp_path / split, ("cat", "cup")), folder, split)
    assert "Detections(" in run("train.py", folder, tmp_path / "out", 0.01)
    printed = run("evaluate.py", folder, tmp_path / "out" / "model.safetensors")
    assert "mean average precision at IoU 0.5" in printed and "cat" in printed


def test_the_page_of_public_names_has_all_of_them() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    missing = [name for name in inception_rcnn.__all__ if f"### {name}\n" not in page and name != "__version__"]
    assert missing == []
