"""What the reference has to know of this project's docstrings, for griffe, which reads them for mkdocs.yml."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class DocstringStyle(Extension):
    """Brings each docstring into the form that griffe's Google style reads."""

    def on_object(self, *, obj: Object, **options: Any) -> None:
        """Change the docstring of one module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = with_each_argument(with_fenced_examples(obj.docstring.value))


def with_fenced_examples(text: str) -> str:
    """Return a docstring with its examples in blocks of code; in Markdown `>>>` would be a quotation in a quotation."""
    return re.sub(r"^>>> .*(?:\n.+)*", r"```pycon\n\g<0>\n```", text, flags=re.MULTILINE).replace(
        "  # doctest: +SKIP", ""
    )


def with_each_argument(text: str) -> str:
    """Return a docstring in which arguments that share a line, `first, second: ...`, have one each."""
    shared = re.compile(r"^( +)(\w+(?:, \w+)+)(:.*\n?(?:\1 +.*\n?)*)", flags=re.MULTILINE)
    return shared.sub(
        lambda line: "".join(f"{line[1]}{name}{line[3].rstrip()}\n" for name in line[2].split(", ")), text
    )
