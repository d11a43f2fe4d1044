"""The programs and the notebook of `examples/` run as they are printed, on photographs that come with scikit-image."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from marked_set import MarkedSet
from skimage import data, io

import inception_rcnn
from inception_rcnn.datasets import write_coco

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".ipynb"))
NOTEBOOK = ROOT / "examples" / "session.ipynb"


def run(name: str, *words: str | Path, folder: str = "examples") -> str:
    """What a program prints."""
    line = [sys.executable, str(ROOT / folder / name), *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}  # this tree, whatever is installed
    made = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert made.returncode == 0, made.stderr
    return made.stdout


def shown_by(path: Path) -> list[dict[str, str]]:
    """What the cells of a notebook show, each in its forms."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [output["data"] for cell in cells for output in cell.get("outputs", ())]


def program(path: Path) -> str:
    """What stands in a program, or in the cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    codes = ("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    return "\n".join(codes)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_what_it_imports_is_public(path: Path) -> None:
    """From the package itself, or what a room says in its `__all__`."""
    for node in ast.walk(ast.parse(program(path))):
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


KINDS = ("Detector", "Detections", "Proposals", "GroundTruth", "CocoResult", "ReportInput", "Comparison")


def test_the_session_shows_its_results(tmp_path: Path) -> None:
    """Run again, it shows what it has in the repository: every kind of result as a table, and a picture."""
    if find_spec("IPython") is None:
        pytest.skip("needs IPython, of inception-rcnn[dev]")
    run("run_notebook.py", NOTEBOOK, tmp_path / "again.ipynb", folder="scripts")
    kept, again = shown_by(NOTEBOOK), shown_by(tmp_path / "again.ipynb")
    assert [sorted(one) for one in again] == [sorted(one) for one in kept]
    for kind in KINDS:
        for page in (again, kept):
            tables = [one for one in page if one["text/plain"].startswith(f"{kind}(")]
            assert tables and all("<td>" in one["text/html"] for one in tables)
    assert any("image/jpeg" in one for one in again)


def test_the_page_of_public_names_has_all_of_them() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    missing = [name for name in inception_rcnn.__all__ if f"### {name}\n" not in page and name != "__version__"]
    assert missing == []


BODIES = ("faster_rcnn_c5", "faster_rcnn_fpn", "retinanet", "fcos", "ssd", "detr_head", "timm_features")


@pytest.mark.parametrize("name", BODIES)
def test_other_libraries_detectors_learn_on_our_body(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its loss on two photographs falls, and it answers: what it learns in so few steps is not asked for.

    In this process: to import torch and torchvision anew takes longer than most of these trainings.
    """
    path = ROOT / "examples" / f"{name}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    if name == "timm_features":
        pytest.importorskip("timm", reason="timm is not installed: pip install 'inception-rcnn[timm]'")
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # of those libraries
            made = runpy.run_path(str(path), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
    printed = capsys.readouterr().out
    losses = [float(figure) for figure in re.findall(r"step \d+: loss ([\d.]+)", printed)]
    assert len(losses) == 6 and losses[-1] < losses[0]
    for answer in (answers := re.findall(r"^found (.+)$", printed, re.MULTILINE)):
        assert re.fullmatch(r"\d+ boxes", answer) or np.isin(json.loads(answer), (0, 1, 2)).all(), answer
    if isinstance(made.get("found"), dict):  # a detector's last photograph
        assert len(answers) == 2 and answers[1] == f"{len(made['found']['boxes'])} boxes"
        assert all(one.isfinite().all() for one in made["found"].values())
    else:
        told = made["logits"]() if name == "timm_features" else torch.cat(made["answers"](), dim=2)
        assert len(answers) == 1 and len(told) == 2 and told.isfinite().all()
