"""The examples in docstrings run, and print what they say."""

from __future__ import annotations

import ast
import doctest
import re
import runpy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from marked_set import MarkedSet

from inception_rcnn.datasets import write_coco, write_voc

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


PAGE = ROOT / "docs" / "python.md"


def small_sets(folder: Path) -> None:
    """Data sets under the names that the page has, of one or two photographs, and a video of two frames."""
    for split, names in (("train", ("chelsea", "chelsea")), ("val", ("chelsea",))):
        one = MarkedSet(folder / "photographs" / split, ("cat",), names, long_side=200)
        write_coco(one, folder / "coco", split)
        write_coco(one, folder / "pets", split)
        write_voc(one, folder / "VOC2007", split)
    video = cv2.VideoWriter(str(folder / "video.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (160, 120))
    for _ in range(2):
        video.write(np.zeros((120, 160, 3), np.uint8))
    video.release()


def statement(example: doctest.Example) -> ast.stmt:
    """What stands behind a prompt."""
    (node,) = ast.parse(example.source).body
    return node


def without_skips(example: doctest.Example) -> doctest.Example:
    """The same, run on the small sets for a moment; what it shows depends on them, and is not looked at."""
    missing = "to_dataframe" in example.source and find_spec("pandas") is None
    if missing or not example.options.pop(doctest.SKIP, False):
        return example
    # A time is measured by some batches first; `train_multibox` has no other way.
    shortly = "minutes=0.01" if "train_multibox(" in example.source else "iterations=1"
    source = example.source.replace("minutes=30", shortly).replace("print(one)", "_ = one")
    example.source = f"_ = {source}" if isinstance(statement(example), ast.Expr) else source
    return example


def test_the_page_on_python_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it: what the page itself leaves out, because a clone has no data sets, runs on small ones."""
    small_sets(tmp_path)
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(PAGE.read_text(encoding="utf-8"), {}, PAGE.name, str(PAGE), 0)
    test.examples = [without_skips(example) for example in test.examples]
    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
    assert outcome.attempted > 60
    assert outcome.failed == 0, capsys.readouterr().out


def counted(node: ast.AST) -> int:
    """How many lines of code something is as the page counts: imports, and what only shows something, are none."""
    if isinstance(node, ast.For):
        return 1 + sum(map(counted, node.body))
    saves = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ".save" in ast.unparse(node.value.func)
    return int(isinstance(node, ast.Assign) or saves)


def test_the_lines_of_the_ten_things_are_as_many_as_it_says() -> None:
    sections = re.split(r"\n### (?=\d+\. )", PAGE.read_text(encoding="utf-8"))[1:]
    assert [section.split(".")[0] for section in sections] == [str(number) for number in range(1, 11)]
    found = {}
    for number, section in enumerate(sections, start=1):
        code = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)[0]
        said = re.findall(r"\| here \| (\d+)( each)? \|", section)
        assert len(said) == 1, section
        lines = [counted(statement(one)) for one in doctest.DocTestParser().get_examples(code)]
        found[number] = (int(said[0][0]), 1 if said[0][1] else sum(lines))
    found.pop(2)  # one line of either of two ways
    assert {number: said for number, (said, _) in found.items()} == {
        number: there for number, (_, there) in found.items()
    }


def test_the_page_of_names_is_what_the_rooms_say() -> None:
    """So that nothing is public without a word of it there: `python scripts/names_page.py` writes it."""
    script = runpy.run_path(str(ROOT / "scripts" / "names_page.py"))
    assert (ROOT / "docs" / "reference" / "names.md").read_text(encoding="utf-8") == script["page"]()
    names = {name for room in script["ROOMS"] for name in import_module(f"inception_rcnn.{room}").__all__}
    assert names <= set(re.findall(r"^\| `(\w+)` \| [A-Z].*\. \|$", script["page"](), flags=re.MULTILINE))


def test_a_name_of_which_nothing_is_said_is_noticed(tmp_path: Path) -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "names_page.py"))["page"]
    (tmp_path / "structures").mkdir()
    package = tmp_path / "structures" / "__init__.py"
    package.write_text('SIZES = (1, 2)\n"""Of things. And more."""\n__all__ = ["SIZES"]\n')
    assert "| `SIZES` | Of things. |" in page(tmp_path)
    package.write_text('SIZES = (1, 2)\n__all__ = ["SIZES"]\n')
    with pytest.raises(KeyError, match="SIZES"):
        page(tmp_path)
