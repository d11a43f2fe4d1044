"""Makes `.links/inception_rcnn/`, the package as a type checker can read it, out of links.

The rooms are folders at the repository's root, and only the build and the running package put them below
`inception_rcnn`. mypy reads files where they lie, so it gets a folder of links that lie right. Run it again after a
room was added; running it twice changes nothing.
"""

from __future__ import annotations

import tomllib
from pathlib import Path


def make_links(root: Path) -> list[Path]:
    """Return the links below `.links/inception_rcnn/`, made again: one a room, and the package's own files.

    Args:
        root: The repository's root; its pyproject.toml names the rooms.
    """
    setuptools = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folder = root / ".links" / "inception_rcnn"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    own_files = [path for path in (root / "src" / "inception_rcnn").iterdir() if path.suffix in {".py", ".typed"}]
    rooms = [root / place for name, place in setuptools["package-dir"].items() if name.count(".") == 1]
    links = []
    for target in sorted(own_files) + rooms:
        link = folder / target.name
        link.symlink_to(target.resolve(), target_is_directory=target.is_dir())
        links.append(link)
    return links


if __name__ == "__main__":
    print(f"{len(make_links(Path(__file__).resolve().parent.parent))} links in .links/inception_rcnn")
