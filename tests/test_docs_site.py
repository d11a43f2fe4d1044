"""The site is built without a warning, leads nowhere that is not there, and asks for nothing from elsewhere."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=\"?([^\s\">]+)|<link\b[^>]*?\bhref=\"?([^\s\">]+)")


@pytest.fixture(scope="module")
def hooks() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "site" / "hooks.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly."""
    for module in ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers.python"):
        pytest.importorskip(module, reason="no mkdocs here (pip install -e '.[docs]')")
    folder = tmp_path_factory.mktemp("docs") / "site"
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # a notice of the theme's about its successor
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


@cache
def places_in(page: Path) -> frozenset[str]:
    """What `#...` may follow a page's name."""
    return frozenset(re.findall(r"\b(?:id|name)=\"?([^\s\">]+)", page.read_text(encoding="utf-8")))


def broken(page: Path) -> list[str]:
    """The links of a page of the site that lead to no file, or to nothing in one."""
    found = []
    for link in re.findall(r"<a\b[^>]*?\bhref=\"?([^\s\">]+)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / unquote(name) if name else page
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file() or (anchor and unquote(anchor) not in places_in(target.resolve())):
            found.append(link)
    return found


def test_every_link_leads_somewhere(site: Path) -> None:
    pages = [page for page in sorted(site.rglob("*.html")) if page.name != "404.html"]  # whose links are of a server
    assert len(pages) > 50
    assert {page.relative_to(site).as_posix(): links for page in pages if (links := broken(page))} == {}


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = {one or other for one, other in LOADED.findall(page.read_text(encoding="utf-8"))}
        assert len(loaded) > 2
        assert [name for name in loaded if re.match(r"(?:https?:)?//", name)] == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\"?(?:https?:)?//|@import", style.read_text(encoding="utf-8")), style


def test_every_page_is_in_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    navigation = set(re.findall(r"<a href=\"([^\"#]+)\" class=\"md-nav__link\"", home))
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert pages - navigation == set()


def test_the_reference_has_every_public_name(site: Path, hooks: dict[str, Any]) -> None:
    packages = dict(hooks["packages"](ROOT))
    assert len(packages) >= 9
    for package, names in packages.items():
        page = (site / "reference" / f"{package.removeprefix('inception_rcnn.')}.html").read_text(encoding="utf-8")
        assert [name for name in names if f'id="{package}.{name}"' not in page] == [], package


def test_it_searches_when_it_is_opened_from_the_disk(site: Path, chromium: Any) -> None:
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((site / "start" / "stages.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator(".md-search__input").press_sequentially("superpixels doubled")
    page.wait_for_selector(".md-search-result__item")
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert errors == []
    page.close()


def test_links_are_led_to_the_pages_of_files(hooks: dict[str, Any]) -> None:
    moved = hooks["with_links_of_site"]
    text = "[a](../../examples/train.py) [b](../data.md#x) [c](https://x.org) ![d](../images/x.jpg)\n"
    text += "```\n[e](../../examples/train.py)\n```\n"
    changed = text.replace("[a](../../examples/train.py)", "[a](../files/examples/train.py.md)")
    assert moved(text, "docs/start/a.md") == changed
    assert moved("[a](docs/data.md#x) [b](LICENSE)", "README.md") == "[a](data.md#x) [b](files/LICENSE.md)"
    card = moved("[a](../../docs/data.md) [b](six.md) [c](../../benchmarks/results)", "detector/weights/coco.md")
    assert card == "[a](../../../data.md) [b](six.md) [c](../../benchmarks/results/index.md)"


def test_pages_are_known_by_their_files(hooks: dict[str, Any]) -> None:
    paths = [*hooks["linked_files"](ROOT), "README.md", "docs/data.md", "docs/start/stages.md"]
    assert len(paths) > 20
    assert [hooks["place_in_repository"](hooks["place_in_site"](path)) for path in paths] == paths


def test_a_file_with_fences_stays_in_its_own(hooks: dict[str, Any], tmp_path: Path) -> None:
    page = hooks["as_page"](ROOT / "scripts" / "site" / "hooks.py")
    (fence,) = re.findall(r"^(`+)python$", page, flags=re.MULTILINE)
    assert len(fence) > 3
    assert page.endswith(f"\n{fence}\n")


def test_docstrings_are_brought_into_form() -> None:
    pytest.importorskip("griffe", reason="no mkdocstrings here (pip install -e '.[docs]')")
    style = runpy.run_path(str(ROOT / "scripts" / "site" / "docstring_style.py"))
    assert (
        style["with_fenced_examples"]("A.\n\n>>> f()  # doctest: +SKIP\n1\n\nB.")
        == "A.\n\n```pycon\n>>> f()\n1\n```\n\nB."
    )
    shared = "Args:\n    a, b: As many,\n        and more.\n    c: One."
    assert style["with_each_argument"](shared) == (
        "Args:\n    a: As many,\n        and more.\n    b: As many,\n        and more.\n    c: One."
    )
