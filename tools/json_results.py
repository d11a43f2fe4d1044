"""What --json says of images, written as they are done: a run that is stopped has lost nothing, and the next goes on.

    x.jsonl   JSON Lines. The first line has the settings, {"format": "inception-rcnn detections", "version": 1,
              "settings": {...}, "code": checksum}; each further one is the object of an image, in the order in which
              they were done.
    x.json    one list of the same objects, in the order of the images, written whole at the end. Until then they wait
              in x.json.part, as JSON Lines.

A later run with the same settings skips images that are there already, known by their path and checksum. What could not
be read is tried again, and what lacks its picture or cut-outs is done again. A file made with other settings is not
added to. A page of a file and a frame of a video are named scan.tif#2 and clip.mp4#2, counted from 1; a video is done
again from its beginning. What older code left in x.json.part is done again; in x.jsonl it stays, with a warning.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from inception_rcnn.structures import DataFormatError, ImageError, InputError, sha256_of, write_json, write_whole
from inception_rcnn.structures.files import check_target, read_with_checksum
from inception_rcnn.structures.jobs import as_json, check_same_settings, checksums_of, code_fingerprint
from inception_rcnn.tools.cli import echo

_VERSION: Final = 1
_Made = TypeVar("_Made")


class _Known(NamedTuple):
    """What decides whether an image has to be done again."""

    image: str
    checksum: str | None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> _Known:
        """Return it of an image's object; what could not be read or drawn counts as unknown, and is tried again."""
        return cls(entry["image"], None if "error" in entry else entry.get("sha256"))


class JsonResults:
    """The file of --json while a command fills it.

    Args:
        path: *.jsonl is JSON Lines, anything else one document.
        what: The results, such as "detections".
        settings: JSON values that decide them.
        images: All that the command was asked for, by name.
        videos: Those too; their frames' objects are added as they come.
        lacks: Says of an image's object whether something that goes with it, such as a picture, is missing, so that
            the image is done again; None: nothing goes with it.

    Attributes:
        lines: Where the objects of images are written as they come.
        done: The images, as texts, that an earlier run did with these settings and that are the same still.

    Raises:
        InputError: The file was made with other settings, or is something else.
        DataFormatError: A line that is not the last one is damaged.
    """

    def __init__(
        self,
        path: Path,
        what: str,
        settings: Mapping[str, Any],
        images: Sequence[Path | str],
        videos: Sequence[str] = (),
        lacks: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> None:
        self.path = path
        self._images = [str(image) for image in images]
        self._videos = tuple(f"{name}#" for name in videos)
        self._lacks = lacks
        self.lines = lines_file(path)
        self._header: dict[str, Any] = {
            "format": f"inception-rcnn {what}",
            "version": _VERSION,
            "settings": as_json(settings),
            "code": code_fingerprint(),
        }
        self._checksums: dict[str, str] = {}  # of files that are being read
        self.done = frozenset(self._take_up())
        self._added = set(self.done)
        self._file = self.lines.open("ab")

    def left(self, jobs: Sequence[tuple[Path, Path]], *, quiet: bool = False) -> list[tuple[Path, Path]]:
        """Return what is still to do of images with their pictures, and print how many are done, if any is."""
        left = [job for job in jobs if str(job[0]) not in self.done]
        self.say_skipped(len(jobs) - len(left), len(jobs), quiet=quiet)
        return left

    def say_skipped(self, done: int, count: int, *, quiet: bool = False) -> None:
        """Print how many of so many images are done, if any is."""
        if done and not quiet:
            echo(f"{done} of {count} images are in {self.lines} already")

    def read(self, name: str, read: Callable[[], _Made]) -> _Made:
        """Return what `read` makes of an image, in any thread, and remember the checksum of the file that it was.

        What is found in it belongs to that checksum; the file may be another one when its object is added.

        Raises:
            ImageError: The file changes while it is read; and what `read` raises.
        """
        try:
            self._checksums[name], made = read_with_checksum(file_of(name), read)
        except ImageError:
            raise
        except (InputError, OSError):  # it is in no file, or in one that cannot be read, of which `read` says more
            return read()
        return made

    def add(self, entry: dict[str, Any]) -> None:
        """Write the object of an image, whose path is its "image", with the checksum of its file; None if it has none.

        Raises:
            OSError: The disk is full, and so on. A line that was torn by that is dropped by the next run.
        """
        if entry["image"] in self._added:  # named twice
            return
        # A video's would be asked for at every frame, and it is done again in any case.
        if entry["image"] not in self._checksums and not self._is_frame(entry["image"]):
            with suppress(InputError, OSError):
                self._checksums[entry["image"]] = sha256_of(file_of(entry["image"]))
        checksum = self._checksums.pop(entry["image"], None)
        self._file.write(_line({**entry, "sha256": checksum}))
        self._file.flush()
        self._added.add(entry["image"])

    def finish(self) -> None:
        """Write the document, where one was asked for, once all images are done; its lines are not needed any more."""
        self.close()
        if self.lines == self.path:
            return
        write_json(self.path, self.entries())
        self.lines.unlink()

    def entries(self) -> list[dict[str, Any]]:
        """Return the objects of all images that are done, in the order of the images, then those of frames."""
        if not self._file.closed:
            self._file.flush()
        entries = {entry["image"]: entry for _, entry in self._read()}
        images = [entries[image] for image in dict.fromkeys(self._images) if image in entries]
        return images + [entry for name, entry in entries.items() if self._is_frame(name)]

    def close(self) -> None:
        """Close the file; what is in it stays."""
        self._file.close()

    def _is_frame(self, name: str) -> bool:
        """Return whether an image is a frame of a video that was asked for."""
        return bool(self._videos) and name.startswith(self._videos)

    def _take_up(self) -> list[str]:
        """Return the images that are done, leaving in the file the lines of these and of others than were asked for."""
        read = self._read() if self.lines.exists() else ()
        found = [(line, _Known.of(entry)) for line, entry in read if self._lacks is None or not self._lacks(entry)]
        again = set(self._images)
        found = self._of_this_code([(line, one) for line, one in found if not self._is_frame(one.image)])
        there = dict.fromkeys(one.image for _, one in found if one.image in again and file_of(one.image).is_file())
        now = dict(zip(there, checksums_of([file_of(name) for name in there]), strict=True))
        kept: dict[str, bytes] = {}
        for line, one in found:
            if one.image not in again or (one.checksum is not None and one.checksum == now.get(one.image)):
                kept.setdefault(one.image, line)
        whole = b"".join([_line(self._header), *kept.values()])
        if not self.lines.exists() or self.lines.stat().st_size != len(whole):
            write_whole(self.lines, whole)
        return [image for image in kept if image in again]

    def _of_this_code(self, found: list[tuple[bytes, _Known]]) -> list[tuple[bytes, _Known]]:
        """Return what may stay of lines that are there.

        Other code may find something else. What it left of a document is done again; lines are the user's, and stay.
        """
        if not found:
            return found
        with self.lines.open("rb") as file:
            theirs = json.loads(file.readline()).get("code")
        if theirs == self._header["code"]:
            return found
        if self.lines != self.path:
            return []
        self._header["code"] = theirs
        echo(
            f"warning: {self.lines} was begun by another version of inception-rcnn; what is there stays, and may "
            "differ from what this one finds; name another file to do it again",
            err=True,
        )
        return found

    def _read(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Yield the lines of images and what they say; a last line that was torn is left out.

        Raises:
            InputError: The file was made with other settings, or is something else.
            DataFormatError: Another line is damaged.
        """
        lines = self.lines.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            try:
                value = json.loads(line) if line.endswith(b"\n") else None
            except (ValueError, RecursionError):
                value = None
            if number == 1:  # which was written whole
                self._check_header(value)
            elif value is None and number == len(lines):
                return
            elif not isinstance(value, dict) or not isinstance(value.get("image"), str):
                message = "is not the JSON object of an image; mend or remove the line, or name another file"
                raise DataFormatError(message, path=self.lines, place=f"line {number}")
            else:
                yield line, value

    def _check_header(self, value: Any) -> None:
        """Raise if the first line is not that of these results."""
        wanted = self._header["format"]
        if not isinstance(value, dict) or value.get("format") != wanted or not isinstance(value.get("settings"), dict):
            raise InputError(
                f"{self.lines} is there already and its first line does not say that it has {wanted}; it is left as "
                "it is, name another file"
            )
        if value.get("version") != _VERSION:
            raise InputError(
                f"{self.lines} is of version {value.get('version')!r}, this is inception-rcnn for {_VERSION}; name "
                "another file"
            )
        check_same_settings(self.lines, dict(_flat(value["settings"])), dict(_flat(self._header["settings"])))


def file_of(name: str) -> Path:
    """Return the file of an image by its name: of a page or a frame, the file that it is in.

    >>> file_of("scans/two.tif#2").name
    'two.tif'
    """
    if (found := re.fullmatch(r"(.+)#\d+", name, re.DOTALL)) is None or os.path.exists(name):
        return Path(name)
    return Path(found[1])


def check_json_target(path: Path | None) -> None:
    """Refuse a file of --json that cannot be written, before the work that it is for.

    Raises:
        InputError: Its folder does not exist, or it is a folder, a device or a pipe.
    """
    if path is not None:
        check_target(path)
        check_target(lines_file(path))


def lines_file(path: Path) -> Path:
    """Return where the objects of images are written as they come.

    >>> lines_file(Path("x.jsonl")).name, lines_file(Path("x.json")).name
    ('x.jsonl', 'x.json.part')
    """
    return path if path.suffix.lower() == ".jsonl" else path.with_name(f"{path.name}.part")


def _line(value: Any) -> bytes:
    # Escaped, since names of files need not be valid Unicode.
    return json.dumps(value, allow_nan=False).encode() + b"\n"


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings within settings as "outer.inner", so that a difference is named shortly."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
