"""Files written whole or not at all, read plain or packed by gzip, and known by their checksum."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import mmap
import os
import re
import secrets
import socket
import sys
import time
import tomllib
import zlib
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from inception_rcnn.structures.errors import DataFormatError, ImageError, InputError

_Made = TypeVar("_Made")

# What gzip may unpack to: any amount up to the first, and so many times the packed size beyond. Files of detections and
# of objects become 3 to 20 times larger; gzip's utmost is 1032 times.
_MOST_UNPACKED: Final = 2**28
_MOST_TIMES_LARGER: Final = 100
_PIECE: Final = 2**20
_TRIES: Final = 3  # at a file that changes while it is read
# The time to read a key of many parts grows by the square of their number: 50,000 would take minutes.
_MOST_DOTS: Final = 200
# Temporary files: machine, process, a token of the process, a number. See `_remove_leftovers`.
_TEMPORARY: Final = re.compile(r"\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-(?P<token>[0-9a-f]{8})-\d+\.part(\.\w+)?")
_SECONDS_UNTIL_LEFT_OVER: Final = 3600.0  # without a sign of life, where the process cannot be asked
_TOKEN: Final = secrets.token_hex(4)
_NUMBERS: Final = count()
_HEIF: Final = "a HEIC; convert it to JPEG or PNG"
_HEIF_BRANDS: Final = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_VIDEO: Final = "a video; write its frames as pictures first (ffmpeg -i VIDEO %06d.jpg)"
_VIDEO_STARTS: Final = (b"\x1a\x45\xdf\xa3", b"FLV\x01", b"OggS", b"\x00\x00\x01\xba")
_PYTORCH: Final = "a file of PyTorch's (.pt, .pth), which may hold programs, or an archive: these are not read"
_FOREIGN: Final = {  # how a file begins, spaces left out and in lower case, and what it is
    (b"version https://git-lfs",): "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`",
    (b"<!doctype html", b"<html"): "a web page, not the file itself; download that",
    (b"<?xml", b"<annotation", b"<svg"): "XML",
    (b"%pdf-",): "a PDF; write its pages as pictures first",
    (b"8bps",): "a Photoshop file; export it as PNG or JPEG",
    (b"\xff\n", b"\x00\x00\x00\x0cjxl "): "a JPEG XL; convert it to JPEG or PNG",
    (b"pk\x03\x04", b"\x80\x02", b"\x80\x04"): _PYTORCH,
}


def write_whole(path: str | os.PathLike[str], data: bytes | mmap.mmap | str) -> None:
    """Put `data` into the file `path`, so that a reader sees the old file or the new one, never a part.

    The data go to a temporary file in the same folder, are forced to the disk, and take the name `path` in one step.
    If anything fails, the old file stays as it was and the temporary file is removed. A link is followed. What a killed
    process left of such files in the folder is removed.

    Args:
        path: The file; its folder must exist.
        data: Bytes, perhaps of a mapped file, or text to be written as UTF-8 with its line ends as they are.

    Raises:
        InputError: The folder does not exist, or `path` is a folder, a device or a pipe.
        OSError: The disk is full, the folder is read-only, and so on.
    """
    target = check_target(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    temporary = temporary_beside(target)
    try:
        _write_and_sync(temporary, content)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def temporary_beside(target: Path, suffix: str = "") -> Path:
    """Return a name in the folder of `target` that nobody else uses, for a file that will be renamed to it.

    A process that is killed leaves such a file; the first call of another process for the same folder removes it.

    Args:
        target: The file that is to be written.
        suffix: What the name ends in, for what goes by that.
    """
    _remove_leftovers(target.parent)
    return target.parent / f".{machine_mark()}-{os.getpid()}-{_TOKEN}-{next(_NUMBERS)}.part{suffix}"


@cache
def machine_name() -> str:
    """Return where process numbers mean the same: the host, and in containers their own count of processes."""
    namespace = "/proc/self/ns/pid"
    return f"{socket.gethostname()}/{os.stat(namespace).st_ino if os.path.exists(namespace) else 0}"


@cache
def machine_mark() -> str:
    """Return the name of the machine as 8 hexadecimal digits."""
    return hashlib.sha256(machine_name().encode()).hexdigest()[:8]


def is_alive(process: int) -> bool:
    """Return whether there is such a process on this machine."""
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return where a file is to be written, links followed; for what writes it after long work, to ask before.

    Raises:
        InputError: The folder does not exist, or `path` is a folder, a device or a pipe.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give the name of a file")
    if os.path.exists(path) and not os.path.isfile(path):  # a file would take the name, and the device be gone
        raise InputError(f"cannot write {path}: it is a device or a pipe; give the name of a file")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {path}: the folder {target.parent} does not exist; create it first")
    return target


def check_folder(path: str | os.PathLike[str]) -> Path:
    """Return a folder that may be yet to be made; for what fills it after long work, to ask before.

    Raises:
        InputError: There is a file in its place, or in that of a folder that it should be in.
    """
    folder = Path(path)
    for one in (folder, *folder.parents):
        if one.exists() and not one.is_dir():
            raise InputError(f"cannot write into {folder}: {one} is a file; name another folder")
    return folder


def write_packed(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` into the file `path`, packed by gzip if its name ends in ``.gz``; whole, or not at all.

    Raises:
        InputError: See `write_whole`.
        OSError: See `write_whole`.
    """
    write_whole(path, gzip.compress(data, mtime=0) if os.fspath(path).endswith(".gz") else data)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file, unpacked if it is packed by gzip, whatever its name.

    Raises:
        InputError: There is no such file.
        DataFormatError: It is packed and damaged, or unpacks to far more than a packed file of its size holds: a few
            hundred kilobytes of gzip can stand for as many megabytes of memory.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    data = file.read_bytes()
    if not data.startswith(b"\x1f\x8b"):
        return data
    most = max(_MOST_UNPACKED, _MOST_TIMES_LARGER * len(data))
    try:
        unpacked = _unpacked(data, most)
    except (OSError, EOFError, zlib.error) as error:
        raise DataFormatError(f"is a damaged gzip file: {error}; is the download complete?", path=file) from error
    if unpacked is None:
        raise DataFormatError(
            f"is a gzip file of {len(data)} bytes that unpacks to more than {most}; if that is what it should hold, "
            "unpack it with gunzip and name the unpacked file",
            path=file,
        )
    return unpacked


def decode_json(text: bytes | str, path: str | os.PathLike[str], *, place: str | None = None) -> Any:
    """Return what a JSON text says.

    Args:
        text: The JSON.
        path: The file that it is from, for errors.
        place: Where in the file it stands; None: it is the whole file, and an error names line and column.

    Raises:
        DataFormatError: It is no JSON, is nested too deeply, or holds a number that is too long to be read.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        message, place = error.msg, place or f"line {error.lineno}, column {error.colno}"
    except UnicodeDecodeError as error:
        message = str(error)
    except RecursionError:
        message = "it is nested too deeply"
    except ValueError:  # Python's own limit: reading such a number takes time by the square of its length
        message = f"it holds a whole number of more than {sys.get_int_max_str_digits()} digits"
    raise DataFormatError(f"is not valid JSON: {message}; is the download complete?", path=path, place=place)


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a TOML file says.

    Raises:
        InputError: There is no such file.
        DataFormatError: It is no TOML in UTF-8, is nested too deeply, or holds a number that is too long to be read.
    """
    data = read_bytes(path)
    for number, line in enumerate(data.splitlines(), start=1):
        if line.count(b".") > _MOST_DOTS:
            message = f"has {line.count(b'.')} dots, and {_MOST_DOTS} are the most; break the line"
            raise DataFormatError(message, path=path, place=f"line {number}")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:  # no UTF-8, no TOML, or a number of thousands of digits
        reason = str(error)
    raise DataFormatError(f"is not valid TOML: {reason}", path=path)


def foreign_kind(start: bytes) -> str | None:
    """Return what a file is, by its first bytes, that has not what its name promises, and what to do about it.

    Args:
        start: The first 64 bytes or more.

    Returns:
        None for what is not recognised.

    >>> foreign_kind(b"version https://git-lfs.github.com/spec/v1")
    'a Git LFS pointer, not the file itself; fetch it with `git lfs pull`'
    """
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for beginnings, kind in _FOREIGN.items():
        if text.startswith(beginnings):
            return kind
    if start[4:8] == b"ftyp":
        return _HEIF if start[8:12] in _HEIF_BRANDS else _VIDEO
    return _VIDEO if start.startswith(_VIDEO_STARTS) or (start[:4], start[8:12]) == (b"RIFF", b"AVI ") else None


def write_json(path: str | os.PathLike[str], obj: object, *, indent: int | None = 2) -> None:
    """Put `obj` as JSON (UTF-8) into the file `path`, whole or not at all.

    Args:
        path: The file; its folder must exist.
        obj: Anything JSON knows, plus NumPy numbers and arrays, and paths.
        indent: Spaces for each level; None for one line.

    Raises:
        InputError: `obj` holds something JSON does not know, or NaN or infinity; or see `write_whole`.
        OSError: See `write_whole`.
    """
    try:
        text = json.dumps(obj, indent=indent, ensure_ascii=False, allow_nan=False, default=_plain)
        if not text.isascii() and not _is_unicode(text):  # names of files need not be
            text = json.dumps(obj, indent=indent, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise InputError(f"cannot write {path} as JSON: {error}") from error
    write_whole(path, text + "\n")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the file's bytes, as 64 hexadecimal digits.

    Raises:
        InputError: There is no such file.
        OSError: It cannot be read.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_with_checksum(path: str | os.PathLike[str], read: Callable[[], _Made]) -> tuple[str, _Made]:
    """Return the SHA-256 of a file, and what `read` makes of the very bytes that have it.

    Args:
        path: The file; if it changes meanwhile, both are done again.
        read: Reads the file, by whatever way.

    Raises:
        InputError: There is no such file.
        ImageError: It changed each time.
        OSError: It cannot be read.
    """
    for _ in range(_TRIES):
        before = _state(path)
        checksum, made = sha256_of(path), read()
        if _state(path) == before:
            return checksum, made
    raise ImageError(f"{path} changes while it is read; call again when whatever writes it has ended")


def cache_folder(name: str) -> Path | None:
    """Return this package's folder in the user's cache, for what can be made again; it may not exist yet.

    $XDG_CACHE_HOME or ~/.cache; on Windows %LOCALAPPDATA%, on macOS ~/Library/Caches.

    Args:
        name: Of what is kept there.

    Returns:
        None where the user has no home.
    """
    given = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the specification has relative ones ignored
        return Path(given) / "inception-rcnn" / name
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home.joinpath(*(("Library", "Caches") if sys.platform == "darwin" else (".cache",)), "inception-rcnn", name)


def _unpacked(data: bytes, most: int) -> bytes | None:
    """Return what gzip packed; None if that is more than `most` bytes, of which no more are made than one piece."""
    pieces, size = [], 0
    with gzip.open(io.BytesIO(data)) as packed:
        while piece := packed.read(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                return None
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files in a folder that no process will rename any more; they are looked for once."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if (found := _TEMPORARY.fullmatch(entry.name)) and _is_left_over(entry, found):
                    os.unlink(entry)


def _is_left_over(entry: os.DirEntry[str], name: re.Match[str]) -> bool:
    """Return whether who wrote a temporary file is dead: known on this machine; elsewhere it has not grown for long.

    The same disk may be written to from other machines, whose processes cannot be asked.
    """
    process = int(name["process"])
    if name["machine"] == machine_mark() and (process == os.getpid() or not is_alive(process)):
        return name["token"] != _TOKEN or process != os.getpid()
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _SECONDS_UNTIL_LEFT_OVER


def _write_and_sync(path: Path, content: bytes | mmap.mmap) -> None:
    """Create the file with the permissions every new file gets (tempfile would make it private) and force it out."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _state(path: str | os.PathLike[str]) -> tuple[int, ...] | None:
    """Return what is another after a file was written or replaced; None without a file."""
    with contextlib.suppress(OSError):
        known = os.stat(path)
        return known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns
    return None


def _sync_folder(folder: Path) -> None:
    """Force the new name to the disk, where the system can open folders (Windows cannot)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: object) -> object:
    """Return the plain Python value of what json cannot write by itself."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
