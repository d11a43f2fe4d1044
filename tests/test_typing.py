"""A user's program is checked by mypy as strictly as it can, without a line of the package in its way."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import inception_rcnn

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "tests" / "public_names.py"
# What the package imports is read no further than its own signatures need.
SETTINGS = """
[mypy]
strict = true
mypy_path = {links}
[mypy-inception_rcnn.*]
follow_imports = silent
[mypy-torch.*,torchvision.*,skimage.*,scipy.*]
follow_imports = skip
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of settings for mypy, and beside it the package as a wheel has it, of links."""
    folder = tmp_path_factory.mktemp("typing")
    rooms = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"]
    (folder / "inception_rcnn").mkdir()
    targets = [ROOT / place for name, place in rooms.items() if name.count(".") == 1]
    targets += [ROOT / "src" / "inception_rcnn" / name for name in ("__init__.py", "py.typed")]
    for target in targets:
        try:
            (folder / "inception_rcnn" / target.name).symlink_to(target, target_is_directory=target.is_dir())
        except OSError:
            pytest.skip("links need a privilege here")
    (folder / "mypy.ini").write_text(SETTINGS.format(links=folder), encoding="utf-8")
    return folder / "mypy.ini"


def check(settings: Path, *programs: Path) -> tuple[int, str]:
    """The exit status of mypy, and what it says."""
    pytest.importorskip("mypy")
    line = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        settings,
        "--cache-dir",
        settings.parent / "cache",
        *programs,
    ]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, cwd=settings.parent, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_program_uses_every_public_name() -> None:
    used = {node.id for node in ast.walk(ast.parse(PROGRAM.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)}
    assert set(inception_rcnn.__all__) <= used


def test_a_user_s_program_passes_strict_mypy_and_so_do_examples(settings: Path) -> None:
    """Those that need this package alone; torchvision and timm, which the others need, have no types."""
    programs = [PROGRAM, *(ROOT / "examples" / f"{name}.py" for name in ("detect", "evaluate", "propose", "train"))]
    assert check(settings, *programs) == (0, f"Success: no issues found in {len(programs)} source files\n")


def test_a_wrong_program_does_not(settings: Path, tmp_path: Path) -> None:
    """Or else the types would say nothing."""
    (tmp_path / "wrong.py").write_text(
        "from inception_rcnn import load_detector\n"
        "name: int = load_detector('coco')('cat.jpg')[0].class_name\n"
        "load_detector(score_threshold='high')\n"
    )
    status, said = check(settings, tmp_path / "wrong.py")
    assert status == 1 and 'expression has type "str", variable has type "int"' in said
    assert 'Argument "score_threshold" to "load_detector" has incompatible type "str"' in said
