"""A page as a reader of its HTML sees it, for tests."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "link", "br", "input"}  # SVG closes its elements itself


class Page(HTMLParser):
    """The elements, texts and scripts of a page.

    Attributes:
        elements: Tag and attributes, in order.
        scripts: Attributes and text of each script.
        rows: The texts of the cells of each row of a table's body.
        unclosed: Tags that were opened and not closed, or closed and not opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.texts: list[str] = []
        self.unclosed: list[str] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        self.unclosed += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.unclosed.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that is to be read, spaces joined."""
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self) -> Any:
        """What the page's script reads."""
        return json.loads(self.scripts[0][1])

    @property
    def ids(self) -> list[str]:
        """The ids of all elements."""
        return [name for _, attributes in self.elements if (name := attributes.get("id"))]

    def complaints(self) -> list[str]:
        """What a page that works offline and runs nothing but its own script must not have."""
        found = [f"not balanced: {tag}" for tag in self.unclosed]
        found += [f"twice: {name}" for name in set(self.ids) if self.ids.count(name) > 1]
        for tag, attributes in self.elements:
            for name, value in attributes.items():
                if name.startswith("on"):
                    found.append(f"{tag} has a handler {name}")
                if name in ("src", "href", "srcset", "action", "data") and not (value or "").startswith(("data:", "#")):
                    found.append(f"{tag} asks for {value}")
            label = attributes.get("aria-labelledby") or attributes.get("for")
            if label is not None and label not in self.ids:
                found.append(f"{tag} is labelled by {label}, which is not there")
        found += [
            f"address {address}" for address in re.findall(r"(?:https?:)?//[a-z][\w.-]+\.\w+", self._without_svg())
        ]
        if [attributes.get("type") for attributes, _ in self.scripts] != ["application/json", None]:
            found.append(f"scripts: {[attributes for attributes, _ in self.scripts]}")
        digest = base64.b64encode(hashlib.sha256(self.scripts[-1][1].encode()).digest()).decode()
        policy = next((a["content"] or "" for t, a in self.elements if t == "meta" and a.get("http-equiv")), "")
        if "default-src 'none'" not in policy or f"script-src 'sha256-{digest}'" not in policy:
            found.append(f"policy: {policy}")
        return found

    def _without_svg(self) -> str:
        """The source without the name of SVG, which looks like an address and is never asked for."""
        return self.source.replace("http://www.w3.org/2000/svg", "")
