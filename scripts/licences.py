"""The licences of what this package depends on, from the metadata of what is installed.

    python scripts/licences.py [--all]

A line for each package in pyproject.toml, the extras included; with --all for what these depend on too. Exits with 1
where a licence is unknown, or asks for more than naming the authors (GPL and its like), and is not explained below.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
_KNOWN: Final = re.compile(
    r"\b(MIT|BSD|FreeBSD|Apache|PSF|Python Software Foundation|ISC|HPND|Unlicense|Zlib|0BSD|CC0|BSL|public domain)\b",
    re.IGNORECASE,
)
_ASKS_MORE: Final = re.compile(r"GPL|GNU|EUPL|SSPL|MPL|Mozilla|CC-BY-NC|proprietary", re.IGNORECASE)
EXPLAINED: Final[dict[str, str]] = {
    "certifi": "a list of certificates, unchanged; the tests and the site use what asks for it",
    "cuda-": "NVIDIA's terms for CUDA: comes with PyTorch's usual wheels, and may be used and passed on with them",
    "hypothesis": "runs tests; no part of the package",
    "nvidia-": "NVIDIA's terms for CUDA: as above; PyTorch's wheels for CPUs come without",
    "pathspec": "a part of mypy and mkdocs; no part of the package",
    "tqdm": "unchanged; timm's and onnx's",
}
"""Of what is unknown or asks for more, by its name or, with a dash at its end, how names begin, why it is here."""


def wanted() -> list[str]:
    """Return the names in pyproject.toml, dependencies and extras, in their order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    return list(dict.fromkeys(_name(line) for line in lines))


def licence_of(found: Distribution) -> str:
    """Return what the metadata say: the expression, else the classifiers, else the first line of the text."""
    about = found.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    classifiers = [str(one) for one in about.get_all("Classifier") or () if str(one).startswith("License ::")]
    named = ", ".join(one.rpartition(" :: ")[2] for one in classifiers if one != "License :: OSI Approved")
    text = str(about.get("License") or "").strip()
    return named or (text.splitlines()[0][:60] if text else "") or "unknown"


def is_fine(name: str, licence: str) -> bool:
    """Return whether a licence is known and asks for no more than naming the authors, or is explained."""
    return bool(explanation_of(name)) or (_KNOWN.search(licence) is not None and _ASKS_MORE.search(licence) is None)


def explanation_of(name: str) -> str:
    """Return why a package is here whose licence asks for more; empty for others."""
    for known, why in EXPLAINED.items():
        if name == known or (known.endswith("-") and name.startswith(known)):
            return why
    return ""


def needed(names: list[str]) -> Iterator[str]:
    """Yield packages, and all that they depend on where it is installed."""
    seen = dict.fromkeys(names)
    queue = list(names)
    while queue:
        name = queue.pop(0)
        yield name
        try:
            lines = distribution(name).requires or ()
        except PackageNotFoundError:
            continue
        for line in lines:
            if "extra ==" not in line and (other := _name(line)) not in seen and _is_there(other):
                seen[other] = None
                queue.append(other)


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else requirement


def _is_there(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def main() -> int:
    """Print the table; return 1 where a licence is not in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="what these depend on, too")
    names = list(needed(wanted())) if parser.parse_args().all else wanted()
    wrong, missing = [], []
    for name in names:
        if not _is_there(name):
            missing.append(name)
            continue
        found = distribution(name)
        licence = licence_of(found)
        note = explanation_of(name)
        print(f"{name:28} {found.version:14} {licence}{f' ({note})' if note else ''}")
        wrong += [] if is_fine(name, licence) else [f"{name} ({licence})"]
    if missing:
        print(f"not installed, so not looked at: {', '.join(missing)}")
    if wrong:
        print(f"not in order, and not explained in EXPLAINED: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
