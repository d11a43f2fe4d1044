"""Files in a folder or in a bucket, by one name: "photographs", "s3://bucket/photographs", whatever fsspec knows."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from inception_rcnn.structures.errors import InputError, MissingDependencyError
from inception_rcnn.structures.files import write_whole

_SCHEME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")  # one letter is a drive of Windows


@dataclass(frozen=True)
class Location:
    """A folder or a file, on this machine or behind a URI; it may not be there yet.

    Args:
        name: A path, or a URI such as s3://bucket/folder. Keys and addresses of services come from where fsspec's
            packages look for them, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
    """

    name: str

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
        """
        system, path = self._system
        try:
            return getattr(system, question)(path, *given, **options)
        except FileNotFoundError as error:
            raise InputError(f"there is no {self.name}") from error
        except OSError as error:
            if not self.is_remote:
                raise
            raise InputError(f"{self.name} cannot be reached: {' '.join(str(error).split())}") from error
        except Exception as error:  # services have errors of their own, such as botocore's
            if not self.is_remote:
                raise
            raise InputError(f"{self.name} cannot be reached: {type(error).__name__}: {error}") from error

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
        """
        return bytes(self._asked("cat_file", start=start, end=end))

    def write(self, data: bytes | mmap.mmap) -> None:
        """Write a file, whole or not at all; folders are made.

        Raises:
            OSError: The disk is full, and so on.
        """
        if self.is_remote:
            self._asked("pipe_file", bytes(data))  # of object stores, a file is there when all of it is
            return
        folder = os.path.dirname(self.name)
        if folder:
            os.makedirs(folder, exist_ok=True)
        write_whole(self.name, data)

    def names(self) -> set[str]:
        """Return the names of the files in this folder, none if there is no such folder."""
        system, _ = self._system
        system.invalidate_cache()  # buckets' listings are kept
        if not self.exists():
            return set()
        return {one.rstrip("/").rpartition("/")[2] for one in self._asked("ls", detail=False)}

    def walk(self) -> Iterator[tuple[Location, list[str]]]:
        """Yield each folder in this one with the names of its files, both in order; hidden ones are left out.

        Raises:
            InputError: A folder cannot be listed. fsspec's own walk leaves it out then, and nobody would know.
            OSError: The same, of a folder on this machine.
        """
        itself = self._system[1].rstrip("/")
        folders: list[str] = []
        files: list[str] = []
        for one in self._asked("ls", detail=True):
            path = one["name"].rstrip("/")
            name = path.rpartition("/")[2]
            if path != itself and not name.startswith("."):  # an empty object may stand for a bucket's folder
                (folders if one["type"] == "directory" else files).append(name)
        yield self, sorted(files)
        for name in sorted(folders):
            yield from self.within(name).walk()

    def parquet_file(self) -> Any:
        """Return pyarrow's view of a Parquet file, open; only what is asked for is read.

        Raises:
            InputError: There is no such file, or it is no Parquet.
        """
        arrow, parquet = parquet_library()
        try:
            return parquet.ParquetFile(self._asked("open", "rb"))
        except arrow.ArrowInvalid as error:
            raise InputError(f"{self.name} is no Parquet file: {error}") from error


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
