"""Files in a folder or in a bucket, by one name: "photographs", "s3://bucket/photographs", whatever fsspec knows."""

from __future__ import annotations

import mmap
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from inception_rcnn.structures.errors import InputError, MissingDependencyError
from inception_rcnn.structures.files import write_whole

_SCHEME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")  # one letter is a drive of Windows
_OBJECT_STORES: Final = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss", "memory")
_WAITS: Final = (1.0, 4.0, 16.0)  # seconds before a service is asked once more
_CHANGES: Final = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
_TOO_EARLY: Final = (408, 429)  # of the statuses that blame who asks, those that pass


class UnreachableError(InputError):
    """A service does not answer, or lets nobody in: that says nothing about the file that was asked for."""


@dataclass(frozen=True)
class Location:
    """A folder or a file, on this machine or behind a URI; it may not be there yet.

    Args:
        name: A path, or a URI such as s3://bucket/folder; file:///folder is the path /folder. Keys and addresses of
            services come from where fsspec's packages look for them, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
    """

    name: str

    def __post_init__(self) -> None:
        """Take a path out of its URI."""
        object.__setattr__(self, "name", self.name.removeprefix("file://"))

    @property
    def is_remote(self) -> bool:
        """Return whether it is a URI."""
        return _SCHEME.match(self.name) is not None

    def within(self, *parts: str) -> Location:
        """Return what lies in this folder under a name."""
        base = self.name.rstrip("/")
        return Location("/".join([base, *parts]))

    @cached_property
    def _system(self) -> tuple[Any, str]:
        """Return fsspec's file system and the name that it knows this by.

        Raises:
            MissingDependencyError: fsspec, or its package for this kind of URI, is not installed.
            InputError: No such kind of URI is known.
        """
        try:
            from fsspec.core import url_to_fs

            system, path = url_to_fs(self.name)
        except ImportError as error:
            raise MissingDependencyError(f"{self.name}: {error}; pip install 'inception-rcnn[scale]'") from error
        except ValueError as error:
            raise InputError(f"{self.name} cannot be opened: {error}") from error
        return system, path

    def _asked(self, question: str, *given: Any, **options: Any) -> Any:
        """Return what the file system answers.

        Raises:
            InputError: There is no such file, or the service refuses it.
            UnreachableError: The service does not answer, or not to these keys.
        """
        system, path = self._system
        try:
            return getattr(system, question)(path, *given, **options)
        except FileNotFoundError as error:
            raise InputError(f"there is no {self.name}") from error
        except Exception as error:  # services have errors of their own, such as botocore's
            if not self.is_remote:
                raise
            raise self.failed(error) from error

    def failed(self, error: Exception) -> InputError:
        """Return what to raise where a service failed."""
        status = getattr(error, "status", None)  # aiohttp's
        if isinstance(status, int) and 400 <= status < 500 and status not in _TOO_EARLY:
            return InputError(f"{self.name} is refused: {' '.join(str(error).split())}")
        kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
        return UnreachableError(f"{self.name} cannot be reached: {kind}{' '.join(str(error).split())}")

    def _asked_again(self, question: str, *given: Any, **options: Any) -> Any:
        """Return what the file system answers; a service that does not is asked some times more.

        Raises:
            InputError, UnreachableError: See `_asked`.
        """
        for seconds in _WAITS:
            try:
                return self._asked(question, *given, **options)
            except UnreachableError as error:
                if isinstance(error.__cause__, PermissionError):  # keys do not become right
                    raise
                time.sleep(seconds)
        return self._asked(question, *given, **options)

    def exists(self) -> bool:
        """Return whether there is such a file or folder."""
        return bool(self._asked("exists"))

    def is_folder(self) -> bool:
        """Return whether it is a folder; in a bucket, whether anything lies under the name."""
        return bool(self._asked("isdir"))

    def read(self, start: int | None = None, end: int | None = None) -> bytes:
        """Return the bytes of a file, or those between two places.

        Raises:
            InputError: There is no such file.
            UnreachableError: The service does not answer.
        """
        return bytes(self._asked_again("cat_file", start=start, end=end))

    def size(self) -> int | None:
        """Return the bytes of a file; None where the service does not say.

        Raises:
            InputError: There is no such file.
            UnreachableError: The service does not answer.
        """
        size = self._asked_again("info").get("size") if self.is_remote else os.stat(self.name).st_size
        return None if size is None else int(size)

    def stamp(self) -> str:
        """Return what becomes another when the file does: size, and checksum or time of change; "" without a file.

        Raises:
            UnreachableError: The service does not answer.
        """
        try:
            if self.is_remote:
                return stamp_of(self._asked("info"))
            found = os.stat(self.name)  # of what a link leads to
            return stamp_of({"size": found.st_size, "mtime": found.st_mtime_ns})
        except UnreachableError:
            raise
        except (ValueError, OSError):  # a name with a zero byte is none of a file either
            return ""

    def write(self, data: bytes | mmap.mmap) -> None:
        """Write a file, whole or not at all; folders are made.

        Raises:
            OSError: The disk is full, and so on.
        """
        if self.name.startswith(tuple(f"{store}://" for store in _OBJECT_STORES)):
            self._asked_again("pipe_file", bytes(data))  # there, a file is to be seen when all of it is
            return
        if self.is_remote:
            self._write_beside(bytes(data))
            return
        folder = os.path.dirname(self.name)
        if folder:
            os.makedirs(folder, exist_ok=True)
        write_whole(self.name, data)

    def _write_beside(self, data: bytes) -> None:
        """Write a file under another name, and give it its own when it is whole."""
        folder, _, name = self.name.rpartition("/")
        beside = Location(folder).within(f".{name}.{secrets.token_hex(4)}.part")
        Location(folder)._asked("makedirs", exist_ok=True)
        beside._asked_again("pipe_file", data)
        if self.exists():  # not every service renames over a file
            self._asked("rm_file")
        beside._asked("mv", self._system[1])

    def names(self) -> set[str]:
        """Return the names of the files in this folder, none if there is no such folder."""
        system, _ = self._system
        system.invalidate_cache()  # buckets' listings are kept
        if not self.exists():
            return set()
        return {one.rstrip("/").rpartition("/")[2] for one in self._asked("ls", detail=False)}

    def walk(self) -> Iterator[tuple[Location, list[tuple[str, str]]]]:
        """Yield each folder in this one with its files, names and stamps, both in order; hidden ones are left out.

        Raises:
            InputError: A folder cannot be listed. fsspec's own walk leaves it out then, and nobody would know.
            OSError: The same, of a folder on this machine.
        """
        system, path = self._system
        itself = path.rstrip("/")
        system.invalidate_cache()
        folders: list[str] = []
        files: list[tuple[str, str]] = []
        for one in self._asked("ls", detail=True):
            path = one["name"].rstrip("/")
            name = path.rpartition("/")[2]
            if path == itself or name.startswith("."):  # an empty object may stand for a bucket's folder
                continue
            if one["type"] == "directory":
                folders.append(name)
            else:
                files.append((name, stamp_of(one)))
        yield self, sorted(files)
        for name in sorted(folders):
            yield from self.within(name).walk()

    def parquet_file(self, buffer_size: int = 0) -> Any:
        """Return pyarrow's view of a Parquet file, open; only what is asked for is read.

        Args:
            buffer_size: Bytes of a column that are read at a time; 0: all of a row group's.

        Raises:
            InputError: There is no such file, or it is no Parquet.
        """
        arrow, parquet = parquet_library()
        file = self._asked("open", "rb")
        try:
            return parquet.ParquetFile(file, buffer_size=buffer_size, pre_buffer=not buffer_size)
        except (arrow.ArrowInvalid, OSError) as error:
            if isinstance(error, OSError) and (self.is_remote or error.errno is not None):
                raise  # else it is Arrow's own, of what is damaged
            raise InputError(f"{self.name} is no Parquet file: {error}") from error


def stamp_of(info: Mapping[str, Any]) -> str:
    """Return what becomes another when a file does, from what its file system says of it.

    >>> stamp_of({"size": 12, "ETag": '"0f"', "LastModified": "today"})
    '12 "0f"'
    """
    changed = next((info[name] for name in _CHANGES if info.get(name) is not None), "")
    return f"{info.get('size')} {changed}"


def parquet_library() -> tuple[Any, Any]:
    """Return what writes Parquet.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            f"Parquet needs pyarrow ({error}): pip install 'inception-rcnn[tables]'"
        ) from error
    return pyarrow, pyarrow.parquet
