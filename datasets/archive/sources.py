"""Which photographs an archive has, piece by piece, and their bytes.

source --pieces_of--> Piece, Piece, ...      names alone; nothing is opened but lists and the ends of Parquet files
Piece  --photographs--> Photograph, ...      name and bytes, or what is wrong
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from inception_rcnn.datasets.archive.storage import Location, UnreachableError, parquet_library
from inception_rcnn.datasets.reading.texts import decode_text
from inception_rcnn.structures.ahead import in_groups
from inception_rcnn.structures.drawing import is_own_picture
from inception_rcnn.structures.errors import InputError
from inception_rcnn.structures.images import IMAGE_ENDINGS

_LISTS: Final = (".txt", ".lst")
_PARQUET: Final = (".parquet", ".pq")
_IDS: Final = ("image_id", "id", "file_name", "path", "name", "key", "url")
_PIXELS: Final = ("image", "bytes", "data", "content", "jpg")
_MOST_BYTES: Final = 500_000_000  # of a photograph, as for load_image
_AT_ONCE: Final = 8  # rows of a Parquet file in memory
_FAR: Final = 16  # pieces in a row group, beyond which reading what lies before a piece takes longer than detecting


@dataclass(frozen=True)
class Photograph:
    """A photograph as it lies.

    Attributes:
        name: Its path, URI, or what its Parquet file calls it.
        data: The bytes; None where they could not be read.
        error: What is wrong, then.
    """

    name: str
    data: bytes | None = None
    error: str | None = None


@dataclass(frozen=True)
class Piece:
    """Some hundred photographs of an archive: files, or rows of a Parquet file.

    Attributes:
        files: Paths or URIs.
        parquet: A Parquet file that has them as bytes.
        group: The row group in it.
        start: The first of its rows.
        stop: The row behind the last one.
        image: The column of bytes; "name.bytes" is a field of a column.
        id: The column of names; None: they are called after the file and row.
        stamp: What becomes another when a photograph does, as far as that is known: it is not written down.
    """

    files: tuple[str, ...] = ()
    parquet: str | None = None
    group: int = 0
    start: int = 0
    stop: int = 0
    image: str = ""
    id: str | None = None
    stamp: str = field(default="", compare=False)

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.files) + self.stop - self.start

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        if self.parquet is None:
            return {"files": list(self.files)}
        return {name: value for name, value in {**asdict(self), "files": []}.items() if name != "stamp"}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Piece:
        """Return the piece that `to_dict` described."""
        return cls(**{**values, "files": tuple(values["files"])})

    def photographs(self, start: int = 0, stop: int | None = None) -> Iterator[Photograph]:
        """Yield some of them, in order; what cannot be read comes with what is wrong.

        Args:
            start: The first.
            stop: The one behind the last; None: all.

        Raises:
            UnreachableError: A service does not answer, or not to these keys.
        """
        if self.parquet is None:
            yield from map(_read, self.files[start:stop])
            return
        rows, done = range(self.start, self.stop)[start:stop], 0
        arrow, _ = parquet_library()
        place = Location(self.parquet)
        try:
            for photograph in self._stored(place, rows):
                yield photograph
                done += 1
        except UnreachableError:
            raise
        except (ValueError, KeyError, arrow.ArrowException) as error:
            wrong = str(error)
        except Exception as error:
            # Of Arrow's own, such as pages that are damaged, none has a number.
            if place.is_remote and not (isinstance(error, OSError) and error.errno is None):
                raise place.failed(error) from error
            if not isinstance(error, OSError):
                raise
            wrong = str(error)
        yield from (Photograph(self._name(row), error=f"{self._name(row)}: {wrong}") for row in rows[done:])

    def _stored(self, place: Location, rows: range) -> Iterator[Photograph]:
        """Yield rows of the Parquet file; what lies before them in their group is read, a few rows at a time."""
        file = place.parquet_file(buffer_size=2**20)  # else a column of a group is read at once
        before = 0
        for batch in file.iter_batches(_AT_ONCE, row_groups=[self.group], columns=self._columns()):
            first, before = before, before + batch.num_rows
            if before <= rows.start:
                continue
            if first >= rows.stop:
                return
            batch = batch.slice(max(rows.start - first, 0), min(rows.stop, before) - max(rows.start, first))
            images, names = _column(batch, self.image), None if self.id is None else _column(batch, self.id)
            for at, data in enumerate(images):
                own = self._name(max(rows.start, first) + at)
                name = own if names is None else str(names[at])
                yield Photograph(name, data) if data else Photograph(name, error=f"{own} has no bytes")
        if before < rows.stop:
            raise InputError(f"it ends at row {before}")

    def _columns(self) -> list[str]:
        return [self.image] + ([] if self.id is None else [self.id])

    def _name(self, row: int) -> str:
        return f"{self.parquet}#{self.group}-{row}"


def pieces_of(
    source: str, per_piece: int, *, image_column: str | None = None, id_column: str | None = None
) -> Iterator[Piece]:
    """Yield an archive in pieces, in the order of names.

    Args:
        source: A folder with those within it, of which files with an image's ending are taken, or where there is none
            of them, Parquet files; a list (*.txt) with a path or URI a line; a Parquet file with the bytes of images.
            Paths, or URIs such as s3://bucket/folder.
        per_piece: Photographs of a piece, at most.
        image_column: Of Parquet; None: the one that can be it.
        id_column: Of Parquet; None: image_id, id, file_name, path, name, key or url, the first that is there.

    Raises:
        InputError: There is no photograph, or no such source.
        DataFormatError: A list is no text.
        MissingDependencyError: Parquet, or the service behind the URI, needs a package that is not installed.
    """
    place = Location(source)
    if source.lower().endswith(_LISTS):
        yield from _of_files(_listed(place), per_piece)
    elif source.lower().endswith(_PARQUET):
        yield from _of_parquet(place, per_piece, image_column, id_column)
    elif not place.is_folder():
        what = "there is no folder" if not place.exists() else "an archive is a folder, a list (*.txt) or Parquet, not"
        raise InputError(f"{what} {source}")
    else:
        yield from _of_folder(place, per_piece, image_column, id_column)


def _of_folder(place: Location, per_piece: int, image_column: str | None, id_column: str | None) -> Iterator[Piece]:
    """Yield the images of a folder; its Parquet files where there are none."""
    none = True
    for piece in _of_files(_files(place, IMAGE_ENDINGS), per_piece):
        none = False
        yield piece
    if not none:
        return
    for file, _ in _files(place, _PARQUET):
        none = False
        yield from _of_parquet(Location(file), per_piece, image_column, id_column)
    if none:
        raise InputError(f"there is no image and no Parquet file in {place.name}, by how the names of files end")


def _of_files(files: Iterable[tuple[str, str]], per_piece: int) -> Iterator[Piece]:
    """Yield pieces of files, given with their stamps."""
    for group in in_groups(files, per_piece):
        yield Piece(tuple(name for name, _ in group), stamp=_digest(stamp for _, stamp in group))


def _digest(stamps: Iterable[str]) -> str:
    """Return 16 hexadecimal digits that become others when one of the stamps does."""
    return hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:16]


def _files(place: Location, endings: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the files of a folder, and their stamps."""
    for folder, files in place.walk():
        for name, stamp in files:
            if not name.lower().endswith(endings):
                continue
            file = folder.within(name)
            if file.is_remote:
                yield file.name, stamp
            elif not os.path.isfile(file.name) or not is_own_picture(file.name):
                yield file.name, file.stamp()


def _listed(place: Location) -> Iterator[tuple[str, str]]:
    """Yield what a list names, and stamps; of URIs there are none, for each would have to be asked for.

    A path that is not there from where the command is called is one from the list's folder.

    Raises:
        InputError: It names nothing, or there is no such list.
        DataFormatError: It is no text.
    """
    lines = (line.strip() for line in decode_text(place.read(), place.name).splitlines())
    named = [line for line in lines if line and not line.startswith("#")]
    if not named:
        raise InputError(f"{place.name} names nothing; a list has a path or URI a line")
    beside = Location(place.name.rpartition("/")[0] or ".")
    for name in named:
        elsewhere = not Location(name).is_remote and not Path(name).is_absolute() and not os.path.exists(name)
        file = beside.within(name) if elsewhere else Location(name)
        yield file.name, "" if file.is_remote else file.stamp()


def _of_parquet(place: Location, per_piece: int, image_column: str | None, id_column: str | None) -> Iterator[Piece]:
    """Yield the rows of a Parquet file."""
    file = place.parquet_file()
    image = _image_column(place, file.schema_arrow, image_column)
    names = file.schema_arrow.names
    if id_column is not None and id_column not in names:
        raise InputError(f"{place.name} has no column {id_column!r}; it has {', '.join(names)}")
    found = id_column or next((name for name in _IDS if name in names), None)
    counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    if max(counts, default=0) > _FAR * per_piece:
        warnings.warn(
            f"{place.name} has {max(counts)} photographs in a row group, which is read up to each part of {per_piece} "
            f"anew; write it with row_group_size={per_piece}",
            stacklevel=2,
        )
    stamp = _digest([place.stamp()])
    for group, rows in enumerate(counts):
        for start in range(0, rows, per_piece):
            yield Piece((), place.name, group, start, min(start + per_piece, rows), image, found, stamp)


def _image_column(place: Location, schema: Any, wanted: str | None) -> str:
    """Return the column of bytes, "name.bytes" where it is a field of one.

    Raises:
        InputError: There is none, or it cannot be told which.
    """
    arrow, _ = parquet_library()

    def is_bytes(kind: Any) -> bool:
        return bool(arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind))

    fields: dict[str, str] = {}
    for one in schema:
        if is_bytes(one.type):
            fields[one.name] = one.name
        elif arrow.types.is_struct(one.type) and any(
            inner.name == "bytes" and is_bytes(inner.type) for inner in one.type
        ):
            fields[one.name] = f"{one.name}.bytes"
    usual: list[str] = [name for name in _PIXELS if name in fields] or list(fields)
    chosen = usual if wanted is None else [wanted]
    if len(chosen) > 1 and wanted is None and not any(name in fields for name in _PIXELS):
        raise InputError(f"{place.name} has several columns of bytes ({', '.join(fields)}); name one: --image-column")
    if not chosen or chosen[0] not in fields:
        of = f" {wanted!r}" if wanted is not None else ""
        raise InputError(f"{place.name} has no column{of} with the bytes of images; it has {', '.join(schema.names)}")
    return fields[chosen[0]]


def _column(table: Any, name: str) -> list[Any]:
    """Return the values of a column or of a field of one."""
    outer, _, inner = name.partition(".")
    if name in table.schema.names or not inner:
        return list(table.column(name).to_pylist())
    return [None if one is None else one.get(inner) for one in table.column(outer).to_pylist()]


def _read(name: str) -> Photograph:
    """Return a file's bytes, or what is wrong with it.

    Raises:
        UnreachableError: A service does not answer, or not to these keys.
    """
    place = Location(name)
    if not place.is_remote and os.path.exists(name) and not os.path.isfile(name):  # a pipe would be waited for
        return Photograph(name, error=f"{name} is no file")
    try:
        if (size := place.size()) is not None and size > _MOST_BYTES:
            return Photograph(name, error=f"{name} has {size} bytes, more than {_MOST_BYTES}; store it smaller")
        return Photograph(name, place.read())
    except UnreachableError:
        raise
    except FileNotFoundError:
        return Photograph(name, error=f"there is no {name}")
    except (InputError, OSError) as error:
        return Photograph(name, error=str(error))
    except ValueError:  # no file has a zero byte in its name
        return Photograph(name, error=f"there is no {name!r}")
