"""The pieces of an archive, written down once: every process reads those that it works on, and none holds all.

`pieces.jsonl` has a piece a line; `pieces.index` where each line begins, and where the last one ends, as unsigned
64-bit numbers, least byte first. Both lie in the folder of the results.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from inception_rcnn.datasets.archive.sources import Piece
from inception_rcnn.datasets.archive.storage import Location
from inception_rcnn.structures.errors import InputError

PIECES: Final = "pieces.jsonl"
INDEX: Final = "pieces.index"
_PLACE: Final = struct.Struct("<Q")
_MOST: Final = 2**31  # bytes of a manifest: some 30 million names; an archive of more is given in parts


@dataclass(frozen=True)
class Manifest:
    """Where the pieces are written down.

    Attributes:
        folder: Of the results.
        pieces: How many there are.
        photographs: In all of them.
        checksum: SHA-256 of what is written.
    """

    folder: Location
    pieces: int
    photographs: int
    checksum: str

    def piece(self, number: int) -> Piece:
        """Return one of the pieces; two short reads, whatever their number.

        Raises:
            InputError: There is no such piece, or the files are not what was written.
        """
        size = _PLACE.size
        try:
            places = self.folder.within(INDEX).read(number * size, (number + 2) * size)
            start, end = (value for (value,) in _PLACE.iter_unpack(places))
            return Piece.from_dict(json.loads(self.folder.within(PIECES).read(start, end)))
        except (ValueError, TypeError, KeyError, struct.error) as error:
            raise InputError(
                f"{self.folder.within(PIECES).name} is damaged at piece {number}; name another folder"
            ) from error


@dataclass(frozen=True)
class Draft:
    """The pieces written down on this machine, and not yet in the folder of the results.

    Attributes:
        pieces: How many there are.
        photographs: In all of them.
        checksum: SHA-256 of what is written.
        stamps: Of each piece, 16 hexadecimal digits or none; what `Piece.stamp` says, not written down here.
        lines: The file of pieces.
        index: The file of their places.
    """

    pieces: int
    photographs: int
    checksum: str
    stamps: Sequence[str]
    lines: IO[bytes]
    index: IO[bytes]

    def in_folder(self, folder: Location) -> Manifest:
        """Return the manifest that lies in a folder, or is to lie there."""
        return Manifest(folder, self.pieces, self.photographs, self.checksum)

    def write(self, folder: Location) -> None:
        """Put both files into a folder; it may not be there yet."""
        for file, name in ((self.index, INDEX), (self.lines, PIECES)):
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                folder.within(name).write(whole)


@contextmanager
def drafted(pieces: Iterable[Piece]) -> Iterator[Draft]:
    """Write pieces down as they come, each in its turn.

    Args:
        pieces: At least one.

    Raises:
        InputError: There is no piece, or more than 2 GiB of names.
    """
    digest, stamps, photographs = hashlib.sha256(), list[str](), 0
    with tempfile.TemporaryFile() as lines, tempfile.TemporaryFile() as index:
        index.write(_PLACE.pack(0))
        for piece in pieces:
            line = json.dumps(piece.to_dict()).encode() + b"\n"
            lines.write(line)
            digest.update(line)
            index.write(_PLACE.pack(lines.tell()))
            stamps.append(piece.stamp)
            photographs += len(piece)
            if lines.tell() > _MOST:
                raise InputError("the archive's names are more than 2 GiB; give it in several parts, each a folder")
        if not stamps:
            raise InputError("there is no photograph in the archive")
        yield Draft(len(stamps), photographs, digest.hexdigest(), stamps, lines, index)
