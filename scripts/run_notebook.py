"""Runs a notebook from its first cell to its last in IPython, without a server, and writes what it shows into it.

python scripts/run_notebook.py examples/session.ipynb

With a second name, the notebook is left as it is and the one with the outputs goes there.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


class Kept(DisplayHook):
    """Keeps what the last line of a cell shows, in every form it has, instead of printing it."""

    def __call__(self, result: object = None) -> None:
        if result is not None:
            self.shell.shown.append(self.shell.display_formatter.format(result)[0])


def run(notebook: dict[str, Any]) -> None:
    """Run the cells in a fresh session, and put what they show in the place of what they showed.

    Raises:
        Exception: Whatever a cell raises.
    """
    shell = InteractiveShell(displayhook_class=Kept, config=Config({"HistoryManager": {"enabled": False}}))
    codes = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(codes, start=1):
        shell.shown = []
        with redirect_stdout(io.StringIO()) as printed:
            done = shell.run_cell("".join(cell["source"]))
        done.raise_error()
        cell["execution_count"] = number
        cell["outputs"] = [output(data, number) for data in shell.shown]
        if text := printed.getvalue():
            cell["outputs"].insert(0, {"output_type": "stream", "name": "stdout", "text": text})


def output(forms: dict[str, Any], number: int) -> dict[str, Any]:
    """Return how a notebook's file holds what was shown; of a photograph, the smaller of two forms."""
    if "image/jpeg" in forms:
        forms = {kind: value for kind, value in forms.items() if kind != "image/png"}
    packed = {kind: base64.b64encode(one).decode() if isinstance(one, bytes) else one for kind, one in forms.items()}
    return {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": packed}


def main(source: str, target: str | None = None) -> None:
    """Run one notebook, with none of the user's settings for IPython."""
    notebook = json.loads(Path(source).read_text(encoding="utf-8"))
    with TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = folder
        run(notebook)
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    Path(target or source).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
