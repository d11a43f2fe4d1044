"""The examples in docstrings run, and print what they say."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("structures", "datasets", "evaluation", "backbones", "proposals", "detector", "tools")


def modules_with_examples() -> list[str]:
    """Returns the full names of the modules whose text has a doctest prompt."""
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    names = ["inception_rcnn"]
    for path in paths:
        if ">>> " in path.read_text(encoding="utf-8"):
            dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            names.append(f"inception_rcnn.{dotted}".removesuffix(".__init__"))
    return names


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_print_what_they_say(name: str) -> None:
    outcome = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_the_page_on_python_prints_what_it_says() -> None:
    outcome = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert outcome.attempted > 20
    assert outcome.failed == 0
