"""Valid files made wrong: cut off, flipped, spliced, with words from a list, with numbers that no file should hold.

Each input is named by a seed and a number, and is the same on every machine.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

CUTS: Final = 20  # every 5 % of a file
_MOST_BYTES: Final = 2**20  # of an input
_MOST_STEPS: Final = 4
_NUMBER: Final = re.compile(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_NUMBERS: Final = (
    *(b"0", b"-1", b"1", b"255", b"256", b"65535", b"65536", b"2147483647", b"2147483648", b"4294967296"),
    *(
        b"9223372036854775808",
        b"-9223372036854775809",
        b"18446744073709551616",
        b"1e308",
        b"1e309",
        b"-1e400",
        b"5e-324",
    ),
    *(
        b"NaN",
        b"nan",
        b"Infinity",
        b"-inf",
        b"0x10",
        b"1_000",
        b"1e",
        b"9" * 400,
        b"9" * 5000,
        b"0." + b"0" * 400 + b"1",
    ),
)
_INTEGERS: Final = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63,
    2**64 - 1,
)
PATHS: Final = (
    *("../../etc/passwd", "/etc/passwd", "..\\..\\x.jpg", "C:\\x.jpg", "\\\\server\\x.jpg", "a\0b.jpg", "", ".", ".."),
    *(
        "~/x.jpg",
        "file:///etc/passwd",
        "x" * 5000,
        "a/" * 500 + "x.jpg",
        "\ud800.jpg",
        "\u202egpj.exe",
        "a\nb",
        "\x1b[2J",
    ),
    *("<img src=x onerror=alert(1)>", "%2e%2e%2fx.jpg", "a.jpg/", "CON", "a\u0301.jpg"),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan"), 10**30, -(10**400)),
    *(
        2**31,
        2**63,
        2**64,
        "",
        "1",
        "1.0",
        "NaN",
        "1e400",
        " 7 ",
        "\u0661",
        [],
        {},
        [[]],
        [None] * 4,
        [1, 2, 3],
        {"id": 1},
    ),
    *([float("nan")] * 4, [1e38] * 4, [10**400] * 4, [-1, -1, -1, -1], ["0", "0", "5", "5"], [0, 0, 0, 0], *PATHS),
)


@dataclass(frozen=True)
class Mutator:
    """Makes inputs of valid files.

    Args:
        valid: The files.
        tokens: Words of the format, put in where they may hurt.
        as_json: Whether the files are JSON, or lines of it, and are changed as such too.
        rebuilt: How a file is taken apart, changed by a given function, and put together with checksums that are right;
            None: it has none. Four of five inputs are made so.
    """

    valid: Sequence[bytes]
    tokens: Sequence[bytes] = ()
    as_json: bool = False
    rebuilt: Callable[[bytes, random.Random, Callable[[bytes], bytes]], bytes] | None = None

    def make(self, seed: int, number: int) -> bytes:
        """Return input `number`: first the valid files themselves, then each cut off at every 5 %, then all else."""
        if number < len(self.valid):
            return self.valid[number]
        cut = number - len(self.valid)
        if cut < CUTS * len(self.valid):
            data = self.valid[cut // CUTS]
            return data[: len(data) * (cut % CUTS) // CUTS]
        chance = random.Random(f"{seed} {number}")
        data = chance.choice(self.valid)
        if self.rebuilt is not None and chance.random() < 0.8:
            return self.rebuilt(data, chance, lambda part: self.changed(part, chance))
        return self.changed(data, chance)[:_MOST_BYTES]

    def changed(self, data: bytes, chance: random.Random) -> bytes:
        """Return other bytes."""
        if (self.as_json or self.rebuilt is not None) and chance.random() < 0.6 and (made := _other_json(data, chance)):
            return made
        for _ in range(chance.randint(1, _MOST_STEPS)):
            data = self._step(data, chance)
        return data

    def _step(self, data: bytes, chance: random.Random) -> bytes:
        """Return the data after one of eight changes."""
        way, at = chance.randrange(8), chance.randint(0, max(len(data) - 1, 0))
        if way == 0 and data:
            return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
        if way == 1:
            size = chance.choice((1, 2, 4, 8))
            order = chance.choice(("little", "big"))
            number = (chance.choice(_INTEGERS) % 256**size).to_bytes(size, order)  # type: ignore[arg-type]
            return data[:at] + number + data[at + size :]
        if way == 2:
            return data[:at] + data[at + chance.choice((1, 4, 16, 64)) :]
        if way == 3:
            piece = data[at : at + chance.choice((1, 8, 64, 512))]
            return data[:at] + piece * chance.choice((2, 3, 100)) + data[at:]
        if way == 4:
            other = chance.choice(self.valid)
            return data[:at] + other[chance.randint(0, len(other)) :]
        if way == 5 and self.tokens:
            return data[:at] + chance.choice(self.tokens) + data[at + chance.choice((0, 0, 1, 8)) :]
        if way == 6 and (found := list(_NUMBER.finditer(data[:65536]))):
            place = chance.choice(found)
            return data[: place.start()] + chance.choice(_NUMBERS) + data[place.end() :]
        return data[:at] + chance.randbytes(chance.choice((1, 2, 8))) + data[at:]


def _other_json(data: bytes, chance: random.Random) -> bytes:
    """Return JSON, or lines of it, with some values replaced; nothing where the data are none."""
    lines = data.split(b"\n") if b"\n{" in data else [data]
    at = chance.randrange(len(lines))
    try:
        value = json.loads(lines[at])
    except (ValueError, RecursionError):
        return b""
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        value = _other_value(value, chance)
    lines[at] = json.dumps(value, ensure_ascii=chance.random() < 0.9).encode("utf-8", "surrogatepass")
    return b"\n".join(lines)


def _other_value(value: Any, chance: random.Random) -> Any:
    """Return a value that differs in one place, any depth down."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        return copy.deepcopy(chance.choice(_VALUES))
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = chance.choice(keys)
    way = chance.random()
    if way < 0.1:
        del value[key]
    elif way < 0.15 and isinstance(value, dict):
        value[chance.choice(("id", "x", "\ud800", *map(str, keys)))] = value[key]
    elif way < 0.2 and isinstance(value, list):
        value.append(value[key])
    else:
        value[key] = _other_value(value[key], chance)
    return value
