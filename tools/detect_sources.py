"""What `detect` is to look at, as its arguments name it: photographs, pages, lists, standard input, videos, cameras."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from inception_rcnn.tools.cli import echo
from inception_rcnn.tools.image_arguments import expand, find_pictures

if TYPE_CHECKING:
    from inception_rcnn.structures.images import ImageSource

STANDARD_INPUT = "-"
_CAMERA = re.compile(r"camera:(\d+)")
_LISTS = (".txt", ".lst")
_WORD = "detections"


@dataclass(frozen=True)
class Still:
    """A photograph, or a page of a file.

    Args:
        name: Which it is known by in results.
        picture: Where it goes, drawn.
        stem: What its cut-outs are called; no other source has it.
        page: Of the file, from 1; None: the file is looked at as it is.
        data: Its bytes, where it is in no file.
    """

    name: str
    picture: Path
    stem: str
    page: int | None = None
    data: bytes | None = None

    @property
    def file(self) -> Path | None:
        """The file it is in; None: it is in none."""
        if self.data is not None:
            return None
        return Path(self.name if self.page is None else self.name.rpartition("#")[0])

    def read(self) -> ImageSource:
        """Return it for `load_image`; a page is read here.

        Raises:
            ImageError: There is no such page.
        """
        from inception_rcnn.structures.images import load_page

        if self.data is not None:
            return self.data
        file = Path(self.name) if self.file is None else self.file
        return file if self.page is None else load_page(file, self.page)


@dataclass(frozen=True)
class Film:
    """A video or a camera.

    Args:
        name: Which it is known by in results.
        source: The file, or the camera's number.
        picture: Where it goes, drawn.
        stem: What its cut-outs are called, with a frame's number behind it; no other source has it.
    """

    name: str
    source: Path | int
    picture: Path
    stem: str


@dataclass(frozen=True)
class Sources:
    """All that was asked for.

    Args:
        stills: In order.
        films: In order.
    """

    stills: list[Still]
    films: list[Film]


def find_sources(arguments: Sequence[Path], output: Path | None, *, recursive: bool, pages: bool) -> Sources:
    """Return what is to be looked at; what is passed over is said.

    Args:
        arguments: Photographs, folders, patterns; "-"; lists (*.txt) with one of these a line; videos; "camera:0".
        output: Folder for what is drawn; None: beside what it was read from.
        recursive: Whether folders within folders are taken too.
        pages: Whether all pages of a file are, not only the first.

    Raises:
        InputError: There is nothing to look at; or see `find_pictures`.
    """
    data, named = _standard_input(arguments)
    words = [one for argument in named for word in _listed(argument) for one in expand(word, drawn_as=_WORD)]
    films, paths = _films(words, output)
    stills = []
    if data is not None:
        stills.append(Still(STANDARD_INPUT, (output or Path("runs")) / f"stdin-{_WORD}.jpg", "stdin", data=data))
    if paths:
        found = find_pictures(paths, _WORD, output, recursive=recursive)
        stills += [still for path, picture in found for still in _pages(path, picture, pages=pages)]
    return _named_apart(stills, films)


def _films(words: Sequence[Path], output: Path | None) -> tuple[list[Film], list[Path]]:
    """Return the videos and cameras among what was named, no two of them drawn into one file, and all else."""
    from inception_rcnn.datasets.detections.image_names import told_apart
    from inception_rcnn.datasets.video.frames import is_video

    films, rest = list[Film](), list[Path]()
    for word in words:
        camera = _CAMERA.fullmatch(str(word))
        if camera is None and not is_video(word):
            rest.append(word)
            continue
        folder, stem = output or word.parent, word.stem
        if camera is not None:
            folder, stem = output or Path("runs"), f"camera-{camera[1]}"
        source = word if camera is None else int(camera[1])
        films.append(Film(str(word), source, folder / f"{stem}-{_WORD}.mp4", stem))
    drawn = [str(film.picture.with_suffix("")) for film in films]
    names = told_apart(drawn, {str(word.with_suffix("")) for word in words})
    pictures = [Path(f"{name}.mp4") for name in names]
    return [replace(film, picture=picture) for film, picture in zip(films, pictures, strict=True)], rest


def _named_apart(stills: Sequence[Still], films: Sequence[Film]) -> Sources:
    """Return all, no two cut out under one name."""
    from inception_rcnn.datasets.detections.image_names import told_apart

    names = told_apart([*(still.stem for still in stills), *(film.stem for film in films)])
    return Sources(
        [replace(still, stem=name) for still, name in zip(stills, names, strict=False)],
        [replace(film, stem=name) for film, name in zip(films, names[len(stills) :], strict=True)],
    )


def _pages(path: Path, picture: Path, *, pages: bool) -> Iterator[Still]:
    """Yield a file's pages, if all are wanted and there are several; else the file as it is."""
    from inception_rcnn.structures.images import page_count

    count = page_count(path) if pages else 1
    if count == 1:
        yield Still(str(path), picture, path.stem)
        return
    for page in range(1, count + 1):
        drawn = picture.with_stem(f"{picture.stem}-page{page}")
        yield Still(f"{path}#{page}", drawn, f"{path.stem}-page{page}", page=page)


def _standard_input(arguments: Sequence[Path]) -> tuple[bytes | None, list[Path]]:
    """Return the photograph on standard input, if "-" asks for one, and the other arguments.

    Text there is a list, one a line, such as `find` and `ls` print.

    Raises:
        InputError: There is nothing.
    """
    from inception_rcnn.structures import InputError

    if not any(str(one) == STANDARD_INPUT for one in arguments):
        return None, list(arguments)
    others = [one for one in arguments if str(one) != STANDARD_INPUT]
    data = sys.stdin.buffer.read()
    if not data:
        raise InputError("there is nothing on standard input; pipe a photograph into it, or names of files, one a line")
    names = _names_in(data)
    return (data, others) if names is None else (None, [*others, *map(Path, names)])


def _names_in(data: bytes) -> list[str] | None:
    """Return the names of files that bytes have, one a line; None of a photograph."""
    if b"\0" in data or re.match(rb"P[1-6]\s", data):  # the latter may have no zero byte
        return None
    try:
        return [line for line in data.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        return None


def _listed(argument: Path) -> list[Path]:
    """Return what a list names, one a line; anything else as it is.

    Lines are paths from where the command is called, or else from the list's folder; those that begin with # are notes.

    Raises:
        InputError: The list is empty, or no text.
    """
    from inception_rcnn.structures import InputError

    if argument.suffix.lower() not in _LISTS or not argument.is_file():
        return [argument]
    try:
        lines = argument.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{argument} should be a list of photographs, one a line, in UTF-8; it is no text") from error
    named = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not named:
        raise InputError(f"{argument} names nothing; a list has a photograph, a folder or a pattern a line")
    found = []
    for name in named:
        beside = argument.parent / name
        found.append(beside if not Path(name).exists() and beside.exists() else Path(name))
    return found


def say_left_out(count: int) -> None:
    """Say how many frames a video promised and did not give."""
    if count:
        echo(f"note: {count} frames that the video should have did not come; it may be cut off", err=True)
