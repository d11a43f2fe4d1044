"""What `mkdocs build` is given beside docs/: README, the files that pages link to, and the reference of public names.

Hooks of mkdocs.yml. A page of docs/ links to files of the repository as on a code host (`../benchmarks/results/x.txt`).
The site has to work from a disk and without a network, so each such file becomes a page of it, below `files/`; README
is the first page. The reference has a page for every package with an `__all__`, made by mkdocstrings.
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = runpy.run_path(str(ROOT / "scripts" / "names_page.py"))
LINKS = runpy.run_path(str(ROOT / "scripts" / "mypy_links.py"))
UNSEARCHED = "---\nsearch:\n  exclude: true\nhide: [toc]\n---\n"
AFTER_PAGES = "---\nsearch:\n  boost: 0.3\n---\n"  # who searches for a word wants the page that tells of it first
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".json": "json", ".cff": "yaml"}


def on_config(config: MkDocsConfig) -> None:
    """Let mkdocstrings find the rooms below `inception_rcnn`, as mypy does."""
    LINKS["make_links"](ROOT)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add what is not in docs/."""
    from mkdocs.structure.files import File

    pages = {place_in_site("README.md"): (ROOT / "README.md").read_text(encoding="utf-8")}
    pages |= dict(reference_pages(ROOT))
    pages |= {place_in_site(path): as_page(ROOT / path) for path in linked_files(ROOT)}
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn a page's links to files of the repository into links to their pages."""
    place = page.file.src_uri
    if place == "reference/names.md":
        return linked_names(markdown)
    return with_links_of_site(markdown, place_in_repository(place))


def place_in_site(path: str) -> str:
    """Return where a file or folder of the repository is in the site.

    >>> place_in_site("README.md"), place_in_site("docs/data.md"), place_in_site("examples/train.py")
    ('index.md', 'data.md', 'files/examples/train.py.md')
    """
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if (ROOT / path).is_dir():
        return f"files/{path}/index.md"
    return f"files/{path}" if path.endswith(".md") else f"files/{path}.md"


def place_in_repository(place: str) -> str:
    """Return which file of the repository a page of the site is."""
    if place == "index.md":
        return "README.md"
    if not place.startswith("files/"):
        return f"docs/{place}"
    path = place.removeprefix("files/")
    return path if (ROOT / path).exists() else path.removesuffix("/index.md").removesuffix(".md")


def prose(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a page, and of each whether it is prose: blocks of code are not."""
    for part in re.split(r"(^ *```.*?^ *```$)", text, flags=re.MULTILINE | re.DOTALL):
        yield part, not part.lstrip(" ").startswith("```")


def links_of(text: str, path: str) -> Iterator[str]:
    """Yield the files and folders of the repository that the text of its file `path` links to."""
    for part, is_prose in prose(text):
        for target in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", part) if is_prose else ():
            if not re.match(r"[a-z]+:", target):
                yield normpath(join(dirname(path), target))


def linked_files(root: Path) -> list[str]:
    """Return the files and folders outside docs/ that its pages and README link to, and those that these do."""
    waiting = ["README.md", *(path.relative_to(root).as_posix() for path in root.glob("docs/**/*.md"))]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        for target in links_of((root / path).read_text(encoding="utf-8"), path) if path.endswith(".md") else ():
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return sorted(path for path in seen if not path.startswith("docs/") and path != "README.md")


def with_links_of_site(text: str, path: str) -> str:
    """Return the text of a file of the repository with its links as the site needs them."""
    here = dirname(place_in_site(path))

    def moved(link: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", link[1]):
            return link[0]
        return f"]({relpath(place_in_site(normpath(join(dirname(path), link[1]))), here or '.')}{link[2]})"

    return "".join(
        re.sub(r"\]\(([^)\s#]+)([^)\s]*)\)", moved, part) if is_prose else part for part, is_prose in prose(text)
    )


def as_page(path: Path) -> str:
    """Return a file of the repository as a page: pages as they are, folders as lists, others as what they say."""
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        shown = sorted(one.name for one in path.iterdir() if one.is_file() and not one.name.startswith((".", "_")))
        return f"{UNSEARCHED}# {name}\n\nFiles of this folder:\n\n" + "".join(f"- `{one}`\n" for one in shown)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return UNSEARCHED + text
    if path.suffix == ".ipynb":
        return UNSEARCHED + "".join(cells_of(json.loads(text)))
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", text)), 3)
    return f"{UNSEARCHED}# {name}\n\n{fence}{LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def cells_of(notebook: dict[str, Any]) -> Iterator[str]:
    """Yield the cells of a notebook and what they showed, as Markdown."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        yield f"{source}\n\n" if cell["cell_type"] == "markdown" else f"```python\n{source}\n```\n\n"
        for shown in (output.get("data", {}) for output in cell.get("outputs", ())):
            if "image/jpeg" in shown:
                yield f"![Picture](data:image/jpeg;base64,{''.join(shown['image/jpeg']).strip()})\n\n"
            elif "text/html" in shown:
                yield "".join(shown["text/html"]) + "\n\n"
            elif "text/plain" in shown:
                yield f"```text\n{''.join(shown['text/plain'])}\n```\n\n"


def packages(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each package of the rooms that has an `__all__`, and the names in it."""
    for room in NAMES["ROOMS"]:
        for path in sorted((root / room).rglob("__init__.py")):
            if names := NAMES["public_names"](path.read_text(encoding="utf-8")):
                yield ".".join(("inception_rcnn", *path.parent.relative_to(root).parts)), names


def reference_pages(root: Path) -> Iterator[tuple[str, str]]:
    """Yield place and text of the page of each package: its names in order, for mkdocstrings to fill in."""
    for package, names in packages(root):
        blocks = "\n".join(f"::: {package}.{name}\n" for name in names)
        yield f"reference/{package.removeprefix('inception_rcnn.')}.md", f"{AFTER_PAGES}# {package}\n\n{blocks}"


def linked_names(text: str) -> str:
    """Return the table of names with each leading to what the reference says of it."""
    lines, package = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            package = line.removeprefix("## ")
        lines.append(re.sub(r"^\| `(\w+)` \|", rf"| [`\1`][{package}.\1] |", line))
    return "\n".join(lines)
