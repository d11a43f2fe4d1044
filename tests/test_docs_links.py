"""The pages lead where they say: links, headings, files, commands and their options; and say what the files say."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import inception_rcnn
from inception_rcnn.detector.checkpoints import SHIPPED
from inception_rcnn.detector.ensemble_file import read_ensemble_file
from inception_rcnn.tools.cli import _spread_weights, context_settings, find_commands

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("detector/weights/**/*.md"),
        *ROOT.glob("proposals/weights/*.md"),
    ]
)
COMMANDS = tuple(find_commands(ROOT / "tools"))
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What `#...` may follow a page's name: its headings, lower case, words joined by hyphens, the rest left out."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading of one."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@cache
def parser_of(name: str) -> Any:
    """A command with its arguments and options, as typer makes it."""
    application = typer.Typer(add_completion=False)
    function = import_module(f"inception_rcnn.tools.{name}").main
    application.command(context_settings=context_settings(function))(function)
    return typer.main.get_command(application)


@cache
def options_of(command: str) -> frozenset[str]:
    """All options of a command."""
    names = {"--help", "--debug"}
    for parameter in parser_of(command).params:
        names.update([*parameter.opts, *parameter.secondary_opts])
    return frozenset(names)


def commands_in(text: str) -> list[list[str]]:
    """The words of each call of this package's commands in the blocks of code that are meant for a shell."""
    blocks = "\n".join(re.findall(r"^ *```\n(.*?)^ *```$", text, flags=re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    lines = re.findall(r"^ *(?:\$ |sh scripts/run |[^#\n]*\| )?inception-rcnn (.*)", blocks, flags=re.MULTILINE)
    return [words for line in lines if "..." not in (words := shlex.split(line, comments=True))]


def refused(words: list[str]) -> str:
    """What a command has against its arguments, such as a missing one; empty if it would begin to work."""
    name, *arguments = _spread_weights(words)
    try:
        parser_of(name).make_context(name, arguments)
    except typer.Exit:  # --help
        return ""
    except Exception as error:
        return f"{shlex.join(words)}: {getattr(error, 'message', error)}"
    return ""


def unknown_options(text: str) -> list[str]:
    """What a text gives to this package's commands and they do not take: in blocks of code, and between backticks."""
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    calls = re.findall(r"^[^#\n]*?inception-rcnn (\w+)([^#\n]*)", blocks, flags=re.MULTILINE)
    inline = [one.split(maxsplit=1) for one in re.findall(r"`([^`]+)`", prose(text))]
    calls += [words for words in inline if len(words) == 2 and words[0] in COMMANDS]
    calls += [(one.split()[1], one) for one in re.findall(r"`(inception-rcnn \w[^`]*)`", prose(text))]
    unknown = [f"inception-rcnn {command}" for command, _ in calls if command not in COMMANDS]
    for command, rest in calls:
        if command == "on_ray":  # what follows is another command's
            command, _, rest = rest.strip().partition(" ")
        if command in COMMANDS:
            given = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest))
            unknown += [f"{command} {option}" for option in sorted(given - options_of(command))]
    return unknown


@by_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert broken_links(page) == []


@by_page
def test_programs_and_tests_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"\b(?:benchmarks|tests|scripts|tools|examples)/[\w/-]+\.\w+", page.read_text(encoding="utf-8"))
    assert [name for name in sorted(set(named)) if not (ROOT / name).exists()] == []


@by_page
def test_commands_and_their_options_exist(page: Path) -> None:
    assert unknown_options(page.read_text(encoding="utf-8")) == []


@by_page
def test_commands_are_parsed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = [complaint for words in commands_in(text) if (complaint := refused(words))]
    if page.name == "errors.md":  # which shows one that is
        wrong = [one for one in wrong if "--score-threshold 50" not in one]
    assert wrong == []


def test_most_commands_are_looked_at() -> None:
    calls = [words[0] for page in PAGES for words in commands_in(page.read_text(encoding="utf-8"))]
    assert len(calls) > 90
    assert set(calls) == set(COMMANDS)


def test_what_is_not_parsed_is_found() -> None:
    text = (
        "```\ninception-rcnn detect a.jpg --line-width wide  # --c\nfind . | inception-rcnn export \\\n  --quiet\n```\n"
    )
    assert commands_in(text) == [["detect", "a.jpg", "--line-width", "wide"], ["export", "--quiet"]]
    assert [bool(refused(words)) for words in commands_in(text)] == [True, True]
    assert not refused(["detect", "a.jpg", "--weights", "coco", "coco-mini"])


def test_what_is_broken_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`, three\n[a](#one-two-three) [b](none.md) [c](page.md#four) [d](https://x.org)\n")
    assert broken_links(page) == ["none.md", "page.md#four"]
    text = "```\ninception-rcnn detect a.jpg --jsn b  # --c\ninception-rcnn detekt\n```\n`eval_map --data a --datum`\n"
    assert unknown_options(text) == ["inception-rcnn detekt", "detect --jsn", "eval_map --datum"]


def test_the_table_of_models_has_the_sizes_of_the_files() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    said = re.findall(r"^\| \[`([\w-]+)`\]\(\.\./\w+/weights/[\w/-]+\.md\)[^|]*\| ([\d.]+)", text, flags=re.MULTILINE)
    weights = ROOT / "detector" / "weights"
    files = {name: [weights / file] for name, file in SHIPPED.items() if "/" not in file}
    files["multibox"] = [ROOT / "proposals" / "weights" / "multibox.safetensors"]
    files["ilsvrc-det200"] = [weights / SHIPPED["ilsvrc-det200"]]
    files["six"] = [weights / SHIPPED[str(name)] for name in read_ensemble_file(weights / "six.toml").members]
    files["ilsvrc-six"] = list(weights.glob("ilsvrc/*.safetensors"))
    assert {name for name, _ in said} == files.keys()
    for name, megabytes in said:
        size = sum(path.stat().st_size for path in files[name])
        assert float(megabytes) == pytest.approx(size / 1e6, abs=0.051), name


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == inception_rcnn.__version__
    assert citation["license"] == "Apache-2.0"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_examples_that_it_takes(name: str) -> None:
    text = find_commands(ROOT / "tools")[name]
    examples = re.findall(r"^  (.+)$", text.partition("\nExamples:\n")[2].partition("\n\n")[0], flags=re.MULTILINE)
    calls = [words for line in examples for words in commands_in(f"```\n{line}\n```\n")]
    assert examples and all(f"inception-rcnn {name}" in line for line in examples)
    assert [found for words in calls if (found := refused(words))] == []
