"""Writes `docs/reference/names.md`: what each room says is public, with the first sentence said of it there.

python scripts/names_page.py
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("structures", "datasets", "evaluation", "backbones", "proposals", "detector")
HEAD = """# Public names of the rooms

What is in the `__all__` of a room, each with the first sentence of what `help` says of it. The names that most people
need are in the package itself, and have [a page with examples](../python.md). `python scripts/names_page.py` writes
this page.
"""


def page(root: Path = ROOT) -> str:
    """Return the text of the page.

    Raises:
        KeyError: A public name is defined nowhere, or nothing is said of it.
    """
    texts = {path: path.read_text(encoding="utf-8") for room in ROOMS for path in sorted((root / room).rglob("*.py"))}
    said: dict[str, dict[str, str]] = {room: {} for room in ROOMS}
    for path, text in texts.items():
        said[path.relative_to(root).parts[0]].update(definitions(text))
    everywhere = {name: text for room in ROOMS for name, text in said[room].items()}
    parts = [HEAD]
    for path, text in texts.items():
        room, names = path.relative_to(root).parts[:-1], public_names(text)
        if names and path.name == "__init__.py":
            known = everywhere | said[room[0]]  # a room's own comes before others' of the same name
            lines = (f"| `{name}` | {first_sentence(known[name])} |" for name in names)
            parts.append("\n".join((f"\n## inception_rcnn.{'.'.join(room)}\n", "| name | |", "|---|---|", *lines, "")))
    return "".join(parts)


def public_names(text: str) -> list[str]:
    """Return what a package's `__all__` says."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def definitions(text: str) -> Iterator[tuple[str, str]]:
    """Yield a module's functions, classes and constants with what is said of them.

    Of a constant it is the text below it, or else the comment above it.
    """
    body, lines = ast.parse(text).body, text.splitlines()
    for node, below in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (said := ast.get_docstring(node)):
            yield node.name, said
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            name = ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])
            above = lines[node.lineno - 2] if node.lineno > 1 else ""
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                yield name, str(below.value.value)
            elif above.startswith("# "):
                yield name, above.removeprefix("# ")


def first_sentence(text: str) -> str:
    """Return the first sentence of what is said, in a line, as a table takes it.

    >>> print(first_sentence("Return a | b,\\nor c. More."))
    Return a \\| b, or c.
    """
    line = " ".join(text.split("\n\n")[0].split()).partition(". ")[0]
    return line.rstrip(".").replace("|", "\\|") + "."


if __name__ == "__main__":
    (ROOT / "docs" / "reference" / "names.md").write_text(page(), encoding="utf-8")
