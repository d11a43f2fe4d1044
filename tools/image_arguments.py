"""The images that a command is to look at, as its arguments name them: files, folders, patterns with wildcards."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from inception_rcnn.tools.cli import echo

_NAMED = 3  # of what is passed over
_ADDRESS = re.compile(r"(https?|ftp|s3|gs):/", re.IGNORECASE)


def find_pictures(
    arguments: Sequence[Path], word: str, output: Path | None, *, recursive: bool
) -> list[tuple[Path, Path]]:
    """Return each image with the file its annotated picture goes to; what folders have beside images is said.

    Args:
        arguments: Files, folders, or patterns with * and ? that the shell left as they are; in a pattern, ** stands for
            folders within folders.
        word: What pictures show, see `picture_files`.
        output: Folder for all pictures; None: beside the images.
        recursive: Whether folders within folders are taken too.

    Raises:
        InputError: There is no image, no file fits a pattern, one is an address, or `output` is a file.
    """
    from inception_rcnn.structures import InputError, picture_files
    from inception_rcnn.structures.files import check_folder

    if output is not None:
        check_folder(output)
    expanded = [path for argument in arguments for path in expand(argument)]
    folders = [path for path in expanded if path.is_dir()]
    inner = {folder: _sub_folders(folder, word) for folder in folders}
    if recursive:
        expanded = [one for path in expanded for one in (path, *inner.get(path, ()))]
    said = _passed_over([path for path in expanded if path.is_dir()])
    said += [] if recursive else _not_entered(inner)
    try:
        jobs = picture_files(expanded, word, output)
    except InputError as error:
        raise InputError("; ".join([str(error), *said])) from error
    for line in said:
        echo(f"note: {line}", err=True)
    return jobs


def say_pages(image: Path) -> None:
    """Say of a file with several pages or frames that the first alone is looked at."""
    from inception_rcnn.structures.images import page_count

    if image.suffix.lower() in (".tif", ".tiff", ".gif", ".webp", ".png", ".avif") and (pages := page_count(image)) > 1:
        echo(f"note: {image} has {pages} pages or frames; the first is looked at", err=True)


def expand(argument: Path, *, drawn_as: str | None = None) -> list[Path]:
    """Return the images that fit a pattern, without pictures that a command has drawn; anything else as it is.

    Args:
        argument: A pattern, or anything else.
        drawn_as: Videos are taken too, but those whose names end in this word, which are drawn; None: they are not.

    Raises:
        InputError: Nothing fits, or it is an address.
    """
    from inception_rcnn.datasets.video.frames import is_video
    from inception_rcnn.structures import InputError
    from inception_rcnn.structures.drawing import is_own_picture
    from inception_rcnn.structures.images import IMAGE_ENDINGS

    text = os.fspath(argument)
    if _ADDRESS.match(text):  # a path has lost one of its slashes
        address = text if "://" in text else text.replace(":/", "://", 1)
        raise InputError(f"{address} is an address, and nothing is fetched; save the picture, and name the file")
    if argument.exists() or not glob.has_magic(text):
        return [argument]
    found = [Path(one) for one in sorted(glob.glob(text, recursive=True))]
    images = [one for one in found if one.suffix.lower() in IMAGE_ENDINGS and one.is_file() and not is_own_picture(one)]
    if drawn_as is not None:
        drawn = re.compile(rf".*-{re.escape(drawn_as)}(-\d+)?\.mp4", re.DOTALL)
        films = [one for one in found if is_video(one) and one.is_file() and drawn.fullmatch(one.name) is None]
        images = sorted([*images, *films])
    if not images:
        what = "image" if drawn_as is None else "image or video"
        raise InputError(f"no {what} fits {text} (now in {os.getcwd()}); {len(found)} other files and folders do")
    return images


def _sub_folders(folder: Path, word: str) -> list[Path]:
    """Return the folders within a folder that have images, in order; hidden ones and those of pictures left out."""
    from inception_rcnn.structures.drawing import photographs_in

    found = []
    for path, inside, _ in os.walk(folder):
        inside[:] = sorted(name for name in inside if not name.startswith(".") and name != word)
        if Path(path) != folder and photographs_in(path):
            found.append(Path(path))
    return found


def _not_entered(inner: dict[Path, list[Path]]) -> list[str]:
    """Return a line for each folder with further folders that have images."""
    return [
        f"passed over within {folder}: {len(found)} folder{'s' if len(found) > 1 else ''} with images "
        f"({_some([one.name for one in found])}); --recursive takes them"
        for folder, found in inner.items()
        if found
    ]


def _passed_over(folders: Sequence[Path]) -> list[str]:
    """Return a line each for photographs that are not read, for videos, and for pictures drawn before.

    Likewise for what is called as an image and is no file.
    """
    from inception_rcnn.datasets.video.frames import is_video
    from inception_rcnn.structures.drawing import is_own_picture
    from inception_rcnn.structures.images import IMAGE_ENDINGS, image_files

    lines = []
    for folder in folders:
        own = [one.name for one in image_files(folder) if is_own_picture(one)]
        if own:
            lines.append(
                f"passed over in {folder}: {len(own)} picture{'s' if len(own) > 1 else ''} drawn before ({_some(own)})"
            )
        films = sorted(one.name for one in folder.iterdir() if is_video(one) and not one.name.startswith("."))
        if films:
            lines.append(
                f"passed over in {folder}: {len(films)} video{'s' if len(films) > 1 else ''} ({_some(films)}); "
                "detect takes one that is named"
            )
        called_so = [one for one in folder.iterdir() if one.suffix.lower() in IMAGE_ENDINGS and one.name[0] != "."]
        if nothing := sorted(one.name for one in called_so if not one.is_file()):
            lines.append(
                f"passed over in {folder}: {len(nothing)} that are called as images and are no files "
                f"({_some(nothing)}): folders, pipes, or links to what is gone"
            )
        if not called_so and folder.suffix.lower() in IMAGE_ENDINGS:
            lines.append(f"{folder} is called as an image, and is a folder without any")
        others = sorted(one.name for one in folder.iterdir() if _is_foreign_picture(one))
        if others:
            lines.append(
                f"passed over in {folder}: {len(others)} files that are not read ({_some(others)}); convert them"
            )
    return lines


def _is_foreign_picture(path: Path) -> bool:
    """Return whether a file is not read, by its ending, and seems meant to be."""
    foreign = (".heic", ".heif", ".jxl", ".psd", ".pdf", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw")
    return path.suffix.lower() in foreign and path.is_file() and not path.name.startswith(".")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
