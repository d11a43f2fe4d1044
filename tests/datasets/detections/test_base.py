"""Lines of numbers: the very float64 that Python reads, and the line that is wrong."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inception_rcnn.datasets.detections.base import read_number_lines
from inception_rcnn.structures import DataFormatError, InputError

WORDS = ("first", "second")


def read(folder: Path, content: str | bytes) -> list[list[float]]:
    path = folder / "lines.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_number_lines(path, WORDS).values.tolist()


def bits(values: list[float]) -> bytes:
    return struct.pack(f"{len(values)}d", *values)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    style=st.sampled_from(["r", ".3f", ".6f", ".17g", "e", ".12f", "E", ".25f"]),
)
def test_a_number_is_what_python_makes_of_it(values: list[float], style: str, tmp_path: Path) -> None:
    words = [repr(value) if style == "r" else format(value, style) for value in values]
    found = read(tmp_path, "".join(f"{word} 1\n" for word in words))
    assert bits([row[0] for row in found]) == bits([float(word) for word in words])


@pytest.mark.parametrize(
    "word",
    [
        *("0", "-0", "+5.", ".5", "1e5", "1E-5", "007", "123456789012345678", "9007199254740993", "1e-400"),
        *("9223372036854776000", "0.1234567890123456789012345", "123456789012345678901234567890"),
    ],
)
def test_all_spellings(word: str, tmp_path: Path) -> None:
    assert bits(read(tmp_path, f"1 2\n{word} 3\n")[1]) == bits([float(word), 3])


@pytest.mark.parametrize(
    "content",
    ["1 2\n3 4\n", "1 2\n3 4", "\n 1\t2 \r\n\r\n3   4\r\n\n", "1 2\n3 4\n   ", gzip.compress(b"1 2\n3 4\n", mtime=0)],
)
def test_spaces_blank_lines_line_ends_and_gzip(content: str | bytes, tmp_path: Path) -> None:
    assert read(tmp_path, content) == [[1, 2], [3, 4]]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    for content in ("", "\n\n", " \r\n"):
        for named in (False, True):
            (tmp_path / "lines.txt").write_text(content)
            read = read_number_lines(tmp_path / "lines.txt", WORDS, named=named)
            assert (read.values.shape, read.names) == ((0, 2 - named), ())


def test_one_line(tmp_path: Path) -> None:
    assert read(tmp_path, "1 2") == [[1, 2]]


def test_names(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text('2008_000001 1\n\nmörder\t0.12345678901234567890123\n"#7 3\n', encoding="utf-8")
    lines = read_number_lines(path, WORDS, named=True)
    assert lines.names == ("2008_000001", "mörder", '"#7')
    assert lines.values.tolist() == [[1], [0.12345678901234567890123], [3]]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("1 2\n\n3\n", "line 3: should have 2 words .first second., got '3'"),
        ("1 2\n3 4 5\n", "line 2: should have 2 words"),
        ("1 2 3\n4 5 6\n", "line 1: should have 2 words"),
        ("1\n2\n", "line 1: should have 2 words"),
        ("1 2\n3 four\n", "line 2: second should be a number, got '3 four'"),
        ("\n1 2\n3 nan\n", "line 3: holds a number that is not finite"),
        ("1 2\n3 1e400\n", "line 2: holds a number that is not finite"),
        (b"1 2\n\xff\xfe 3\n", "line 2: first should be a number"),
        ("1 2\n" + "9" * 200 + "x 3\n", "line 2: first should be a number, got '9{60}[.]{3}'"),
        ("1 2\r3 4\r", "line 1: should have 2 words"),
    ],
)
def test_the_line_is_named(content: str | bytes, text: str, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=text):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "word",
    [
        "e5",
        "1e",
        "1e+",
        "1.2.3",
        "--1",
        "1_0",
        "0x1",
        "0x1p3",
        "12a",
        ".",
        "-",
        "1e5.0",
        "1d5",
        "1j",
        "True",
        '"1"',
        "#1",
    ],
)
def test_what_is_no_number_is_refused(word: str, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="line 2: second should be a number"):
        read(tmp_path, f"1 2\n3 {word}\n")


def test_a_comment_is_no_line_of_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="line 2: should have 2 words"):
        read(tmp_path, "1 2\n# 3 4\n")
    with pytest.raises(DataFormatError, match="line 1: should have 2 words"):
        read(tmp_path, "1 2 # three\n")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a 1\nb\n", "line 2: should have 2 words"),
        ("a 1\nb 1 2\n", "line 2: should have 2 words"),
        ("a\n", "line 1: should have 2 words"),
        ("a b 1\n", "line 1: should have 2 words"),
        ("a 1\nb x\n", "line 2: second should be a number"),
        ("a 1\n\nb nan\n", "line 3: holds a number that is not finite"),
    ],
)
def test_the_line_is_named_where_lines_begin_with_a_name(content: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text(content)
    with pytest.raises(DataFormatError, match=text):
        read_number_lines(tmp_path / "lines.txt", WORDS, named=True)


def test_a_wrong_line_far_down_is_named(tmp_path: Path) -> None:
    values = np.arange(150_000)
    lines = [f"{value} {value / 8}\n" + "\n" * (value % 5 == 0) for value in values.tolist()]
    (tmp_path / "lines.txt").write_text("".join(lines))
    expected = np.stack([values, values / 8], axis=1)
    assert np.array_equal(read_number_lines(tmp_path / "lines.txt", WORDS).values, expected)
    lines[120_000] = "120000 x\n"
    (tmp_path / "lines.txt").write_text("".join(lines))
    with pytest.raises(DataFormatError, match="line 144001: second"):
        read_number_lines(tmp_path / "lines.txt", WORDS)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_number_lines(tmp_path / "none.txt", WORDS)
    with pytest.raises(DataFormatError, match="damaged gzip file"):
        read(tmp_path, gzip.compress(b"1 2\n" * 1000)[:30])
