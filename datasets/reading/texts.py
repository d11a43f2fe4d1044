"""Small text files as people's tools write them: in another encoding than UTF-8, or in YAML."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from inception_rcnn.structures import DataFormatError
from inception_rcnn.structures.files import read_bytes

_MOST_YAML: Final = 2**20  # bytes; the names of 20,000 classes take half of it
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


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
    """Return what a YOLO data set's YAML says: texts, lists of texts, and mappings of texts to texts.

    Numbers and words such as `no` are texts as well, since classes are called so. What is nested deeper says nothing of
    a data set, and is left out.

    Raises:
        InputError: There is no such file.
        DataFormatError: It is no YAML, no mapping, or too long; the text names the line.
    """
    import yaml  # here because few data sets have one

    data = read_bytes(path)
    if len(data) > _MOST_YAML:
        raise DataFormatError(
            f"has {len(data)} bytes, and {_MOST_YAML} are the most for the YAML of a data set", path=path
        )
    text = decode_text(data, path, say)
    try:
        # Both make nothing but texts and containers; the one in C takes a tenth of the time.
        content = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.context_mark or error.problem_mark
        line = None if mark is None else f"line {mark.line + 1}"
        why = ": ".join(filter(None, (error.context, error.problem)))
        raise DataFormatError(f"cannot be understood as YAML, {why}", path=path, place=line) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise DataFormatError(f"cannot be understood as YAML: {error!s:.200}", path=path) from error
    if not isinstance(content, dict):
        raise DataFormatError(f"should be 'key: value', got {text.strip()!r:.60}", path=path, place="line 1")
    return {key: value or None for key, value in content.items() if isinstance(key, str) and _is_of_texts(value)}


def number_of(count: int, word: str) -> str:
    """Return a number with a word, in the plural where it should be.

    >>> number_of(1, "photograph"), number_of(2, "class")
    ('1 photograph', '2 classes')
    """
    return f"{count} {word}" if count == 1 else f"{count} {word}{'es' if word.endswith('s') else 's'}"


def _is_of_texts(value: object) -> bool:
    """Return whether a value is a text, a list of texts or a mapping of texts to texts."""
    each = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return all(isinstance(one, str) for one in each)
