"""A page from its template: one HTML file that asks for nothing else, and that runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from inception_rcnn.evaluation.report import charts as report_charts
from inception_rcnn.evaluation.report.text import percent, score, signed
from inception_rcnn.structures import InputError, write_whole

_FOLDER: Final = Path(__file__).resolve().parent / "templates"


def write_page(folder: Path, template: str, values: dict[str, Any], data: dict[str, Any]) -> Path:
    """Write ``index.html`` into the folder, which is made if need be, and return its path.

    Args:
        folder: Where to.
        template: Name of the template in ``templates/``.
        values: What the template shows; texts are escaped.
        data: What the page's script reads.

    Raises:
        InputError: `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cannot write a report into {folder}: it is a file; give the name of a folder")
    style, script = ((_FOLDER / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    page = _environment().get_template(template)
    text = page.render(
        **values,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        data=embedded_json(data),
        frame=report_charts,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "index.html", text)
    return folder / "index.html"


def embedded_json(value: object) -> Markup:
    """Return JSON that can stand between script tags: no text in it can end them.

    >>> str(embedded_json({"name": "</script>"}))
    '{"name":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "signed": signed, "score": score, "count": "{:,}".format}
    return environment
