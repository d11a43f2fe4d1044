"""Which photographs a network learned from, kept in its file, so that scoring it on them is noticed.

A photograph is known by its file's bytes, not by its name: the first eight bytes of their SHA-256, so that 8,559
photographs take 68 kB.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.errors import InputError

CLASSIFIER: Final = "classifier"
MULTIBOX: Final = "MultiBox"
_BYTES: Final = 8  # of two different files among millions, none have the same


@dataclass(frozen=True)
class SeenPart:
    """A part of a data set that a network learned from.

    Args:
        name: Of set and part, such as "voc2007/train".
        checksums: The first 8 bytes of the SHA-256 of each photograph's file, in rising order, one behind the other.
        network: Which one learned: "classifier" or "MultiBox".

    Raises:
        InputError: The checksums are not in rising order, or not of 8 bytes each.
    """

    name: str
    checksums: bytes
    network: str = CLASSIFIER

    def __post_init__(self) -> None:
        if len(self.checksums) % _BYTES:
            raise InputError(f"checksums of {self.name} should have {_BYTES} bytes each, got {len(self.checksums)}")
        numbers = self._numbers()
        if not (numbers[:-1] < numbers[1:]).all():
            raise InputError(f"checksums of {self.name} should be in rising order, each once")

    def __len__(self) -> int:
        """Return the number of different photographs."""
        return len(self.checksums) // _BYTES

    @classmethod
    def of_files(cls, name: str, checksums: Iterable[str], network: str = CLASSIFIER) -> SeenPart:
        """Return the part with photographs of these SHA-256, each as hexadecimal digits."""
        first = {bytes.fromhex(checksum)[:_BYTES] for checksum in checksums}
        return cls(name, b"".join(sorted(first)), network)

    def holds(self, checksums: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of the files with these SHA-256, as hexadecimal digits, are photographs of the part: (N,)."""
        asked = np.array([int(checksum[: 2 * _BYTES], 16) for checksum in checksums], np.uint64)
        return np.isin(asked, self._numbers())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint's description."""
        text = base64.b64encode(self.checksums).decode()
        return {"name": self.name, "network": self.network, "photographs": len(self), "checksums": text}

    @classmethod
    def from_dict(cls, values: Any) -> SeenPart:
        """Return the part that `to_dict` described.

        Raises:
            InputError: A value is missing or of the wrong type, or the checksums are damaged.
        """
        texts = [values.get(key) for key in ("name", "network", "checksums")] if isinstance(values, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise InputError("a part that was seen should be a dict with the texts name, network and checksums")
        name, network, text = texts
        try:
            part = cls(str(name), base64.b64decode(str(text), validate=True), str(network))
        except binascii.Error as error:
            raise InputError(f"checksums of {name} are no base64: {error}") from error
        if values.get("photographs") != len(part):
            raise InputError(
                f"{name} should have {values.get('photographs')} photographs, its checksums are {len(part)}"
            )
        return part

    def _numbers(self) -> NDArray[np.uint64]:
        return np.frombuffer(self.checksums, ">u8").astype(np.uint64)


def seen_to_json(parts: Sequence[SeenPart]) -> list[dict[str, Any]]:
    """Return parts as plain values for a checkpoint's description."""
    return [part.to_dict() for part in parts]


def seen_from_json(values: Any) -> tuple[SeenPart, ...]:
    """Return the parts that a checkpoint's description lists; none in files from before they did.

    Raises:
        InputError: It is no list of parts.
    """
    if values is None:
        return ()
    if not isinstance(values, list):
        raise InputError(f"seen should be a list of parts, got {values!r}")
    return tuple(SeenPart.from_dict(one) for one in values)


def joined_seen(*groups: Iterable[SeenPart]) -> tuple[SeenPart, ...]:
    """Return the parts of all groups, in their order, each once."""
    return tuple(dict.fromkeys(chain(*groups)))


def seen_among(parts: Iterable[SeenPart], checksums: Sequence[str]) -> NDArray[np.bool_]:
    """Return which of the files with these SHA-256, as hexadecimal digits, are photographs of any part: (N,)."""
    found = np.zeros(len(checksums), np.bool_)
    for part in parts:
        found |= part.holds(checksums)
    return found


def seen_lines(parts: Sequence[SeenPart], checksums: Sequence[str]) -> list[str]:
    """Return a line for each network that learned from some of the photographs: how many, and of which parts.

    Args:
        parts: What the networks learned from.
        checksums: SHA-256 of the photographs' files, as hexadecimal digits.

    >>> seen_lines([SeenPart.of_files("pets/train", ["ab" * 32, "cd" * 32])], ["cd" * 32, "ef" * 32])
    ['1 of the 2 photographs were learned from by the classifier (1 of pets/train)']
    """
    lines = []
    for network in dict.fromkeys(part.network for part in parts):
        own = [part for part in parts if part.network == network]
        counts = [(int(part.holds(checksums).sum()), part.name) for part in own]
        if shares := [f"{count} of {name}" for count, name in counts if count]:
            known = f"{int(seen_among(own, checksums).sum())} of the {len(checksums)} photographs"
            lines.append(f"{known} were learned from by the {network} ({', '.join(shares)})")
    return lines
