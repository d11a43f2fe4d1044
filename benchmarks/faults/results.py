"""What a run leaves, in a form in which two runs can be compared: all files, without the times in some of them."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

from inception_rcnn.structures.array_file import read_array_description, read_array_file

_OF_TIMES = ("seconds", "_per_second")  # columns of log.csv that end so


def results_of(folder: Path) -> dict[str, str]:
    """Return a checksum of every file in a folder by its path there, hidden files and those of its folders too."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return {str(path.relative_to(folder)): _checksum(path) for path in files}


def difference(wanted: dict[str, str], got: dict[str, str]) -> str:
    """Return one line on the first differences between two results; an empty text if there is none."""
    lacking, extra = sorted(set(wanted) - set(got)), sorted(set(got) - set(wanted))
    other = sorted(name for name in set(wanted) & set(got) if wanted[name] != got[name])
    found = (("lacks", lacking), ("has left", extra), ("differs in", other))
    return "; ".join(f"{word} {', '.join(names[:3])}" for word, names in found if names)


def done_twice(journal: Path) -> str:
    """Return one line on what was done again though it was stored already; an empty text if nothing was."""
    stored: Counter[tuple[str, str]] = Counter()
    states: dict[str, int] = {}
    for line in journal.read_text().splitlines() if journal.exists() else []:
        event, folder, what = line.split("\t")
        if event == "saved":
            states[folder] = max(states.get(folder, 0), int(what))
        elif event == "step" and int(what) <= states.get(folder, 0):
            return f"took step {what} again, after the state of {states[folder]} was saved"
        elif event == "done":
            stored[folder, what] += 1
    again = [what for (_, what), times in stored.items() if times > 1]
    return f"did {', '.join(again[:3])} again, after it was stored" if again else ""


def _checksum(path: Path) -> str:
    """Return the checksum of a file's content, without times."""
    content = path.read_bytes()
    if path.name == "log.csv":
        rows = list(csv.reader(content.decode().splitlines()))
        kept = [place for place, name in enumerate(rows[0]) if not name.endswith(_OF_TIMES)]
        content = repr([[row[place] for place in kept] for row in rows]).encode()
    elif path.suffix == ".safetensors" and "seconds" in read_array_description(path):
        file = read_array_file(path, read_array_description(path)["kind"])
        arrays = {name: (str(one.dtype), one.shape, one.tobytes().hex()) for name, one in file.arrays.items()}
        known = {name: value for name, value in file.description.items() if name != "seconds"}
        content = repr((known, sorted(arrays.items()))).encode()
    elif path.suffix == ".json" and b"seconds_per_image" in content:
        content = json.dumps({**json.loads(content), "seconds_per_image": None}).encode()
    elif path.name == "index.html":
        content = re.sub(rb'<section id="time".*?</section>', b"", content, flags=re.DOTALL)
    return hashlib.sha256(content).hexdigest()
