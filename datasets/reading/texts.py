"""Small text files as people's tools write them: in another encoding than UTF-8, or in the little of YAML they need."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from inception_rcnn.structures import DataFormatError
from inception_rcnn.structures.files import read_bytes

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ITEM = re.compile(r"""\s*(?:'((?:[^']|'')*)'|"((?:[^"\\]|\\.)*)"|([^,'"\s][^,]*))\s*""")


def decode_text(data: bytes, path: str | os.PathLike[str], say: Callable[[str], None] | None = None) -> str:
    r"""Return the text of a file that does not name its encoding: by its byte order mark, else UTF-8, else GB18030.

    Args:
        data: The bytes.
        path: The file, for errors.
        say: Is told the file where it is in GB18030, which its author may have meant otherwise.

    Raises:
        DataFormatError: It is in none of them.

    >>> decode_text("\ufeffcat".encode("utf-16-le"), "classes.txt"), decode_text("红".encode("gb18030"), "classes.txt")
    ('cat', '红')
    """
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        reason = error
    if not mark:
        try:
            text = data.decode("gb18030")
        except UnicodeDecodeError:
            pass
        else:
            if say is not None:
                say(os.fspath(path))
            return text
    raise DataFormatError(f"should be a text in UTF-8: {reason}; save it as UTF-8", path=path) from reason


def read_data_yaml(path: Path, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Return what a YOLO data set's YAML says: texts, lists of texts, and mappings of whole numbers to texts.

    That is all of YAML which such files use: keys at the left, values behind them in a line or indented below them.

    Raises:
        InputError: There is no such file.
        DataFormatError: It is more than that; the text names the line.
    """
    values: dict[str, Any] = {}
    key: str | None = None
    for number, line in _whole_lines(decode_text(read_bytes(path), path, say)):
        text = line.strip()
        if line[0] not in " \t-":
            key, colon, rest = text.partition(":")
            key = key.strip().strip("'\"")
            if not colon:
                raise DataFormatError(f"should be 'key: value', got {text!r:.60}", path=path, place=f"line {number}")
            values[key] = _value(rest.strip(), path, number)
        elif key is not None:
            values[key] = _with_line(values[key], text, path, number)
    return values


def number_of(count: int, word: str) -> str:
    """Return a number with a word, in the plural where it should be.

    >>> number_of(1, "photograph"), number_of(2, "class")
    ('1 photograph', '2 classes')
    """
    return f"{count} {word}" if count == 1 else f"{count} {word}{'es' if word.endswith('s') else 's'}"


def _whole_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something, with their numbers; a list in brackets over several lines is one."""
    begun, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#") or line.strip() in ("---", "..."):
            continue
        begun, first = (f"{begun} {line.strip()}", first) if begun else (line, number)
        if any(begun.count(opened) > begun.count(closed) for opened, closed in ("[]", "{}")):
            continue
        yield first, begun
        begun = ""
    if begun:
        yield first, begun


def _with_line(value: Any, text: str, path: Path, number: int) -> Any:
    """Return the value of a key after one more of the lines below it."""
    if text.startswith("-") and (value is None or isinstance(value, list)):
        return [*(value or []), _scalar(text[1:])]
    name, colon, rest = text.partition(":")
    if colon and (value is None or isinstance(value, dict)):
        return {**(value or {}), _scalar(name): _scalar(rest)}
    raise DataFormatError(f"cannot be understood: {text!r:.60}", path=path, place=f"line {number}")


def _value(text: str, path: Path, number: int) -> Any:
    """Return the value behind a key; None where it stands in the lines below."""
    if not text or text.startswith("#"):
        return None
    if text[0] not in "[{":
        return _scalar(text)
    closing = {"[": "]", "{": "}"}[text[0]]
    if closing not in text:
        raise DataFormatError(f"the {text[0]} is never closed", path=path, place=f"line {number}")
    items = _items(text[1 : text.rindex(closing)])
    if closing == "]":
        return items
    return {_scalar(name): _scalar(rest) for name, _, rest in (item.partition(":") for item in items)}


def _items(body: str) -> list[str]:
    """Return the parts of a list in a line; commas between quotation marks divide nothing."""
    found = (match for match in _ITEM.finditer(body) if match[0].strip())
    return [_unquoted(match) for match in found]


def _scalar(text: str) -> str:
    """Return a text without its quotation marks, or the comment behind it."""
    text = text.strip()
    match = _ITEM.match(text) if text[:1] in ("'", '"') else None
    return text.partition(" #")[0].rstrip() if match is None else _unquoted(match)


def _unquoted(match: re.Match[str]) -> str:
    single, double, plain = match.groups()
    if single is not None:
        return str(single).replace("''", "'")
    return re.sub(r"\\(.)", r"\1", double) if double is not None else str(plain).strip()
