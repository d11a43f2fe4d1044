"""Numbers in text files: the very float64 that float() gives, and the line that is wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception_rcnn.datasets.number_kernels import POWERS, read_number
from inception_rcnn.datasets.number_lines import read_number_lines
from inception_rcnn.structures import DataFormatError, InputError

WORDS = ("first", "second")


def kernel(word: str) -> float:
    text = np.frombuffer(word.encode(), np.uint8)
    return float(read_number(text, 0, len(text), POWERS))


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["r", ".3f", ".6f", ".17g", "e", ".12f", "E"]))
def test_a_number_is_what_float_makes_of_it(value: float, style: str) -> None:
    word = repr(value) if style == "r" else format(value, style)
    read = kernel(word)
    assert np.isnan(read) or (read == float(word) and np.signbit(read) == np.signbit(float(word)))


def test_numbers_as_programs_print_them_are_all_read_at_once() -> None:
    random = np.random.default_rng(0)
    values = random.random(20_000) * 10.0 ** random.integers(-9, 6, 20_000)
    for value in values.tolist():
        for word in (repr(value), f"-{value:.6f}", f"{value:.17g}", f"{value:e}", repr(float(np.float32(value)))):
            assert kernel(word) == float(word), word


@pytest.mark.parametrize("word", ["0", "-0", "+5.", ".5", "1e5", "1E-5", "007", "123456789012345678"])
def test_all_spellings(word: str) -> None:
    assert kernel(word) == float(word)


@pytest.mark.parametrize(
    "word",
    [
        "9007199254740993",
        "9223372036854776000",
        "e5",
        "1e",
        "1e+",
        "1.2.3",
        "--1",
        "nan",
        "inf",
        "1_0",
        "0x1",
        "12a",
        ".",
        "-",
        "1e5.0",
    ],
)
def test_ties_long_numbers_and_what_is_no_number_are_left_to_python(word: str) -> None:
    assert np.isnan(kernel(word))


def read(folder: Path, content: str | bytes, **options: bool) -> list[list[float]]:
    path = folder / "lines.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_number_lines(path, WORDS, **options).values.tolist()


@pytest.mark.parametrize(
    "content", ["1 2\n3 4\n", "1 2\n3 4", "\n 1\t2 \r\n\r\n3   4\r\n\n", "1 2\n3 4\n   ", gzip.compress(b"1 2\n3 4\n")]
)
def test_spaces_blank_lines_line_ends_and_gzip(content: str | bytes, tmp_path: Path) -> None:
    assert read(tmp_path, content) == [[1, 2], [3, 4]]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    assert read(tmp_path, "") == read(tmp_path, "\n\n") == []


def test_numbers_too_long_for_the_kernel_are_read_all_the_same(tmp_path: Path) -> None:
    long = "0.1234567890123456789012345"
    assert read(tmp_path, f"1 2\n{long} 1e-300\n5 6\n") == [[1, 2], [float(long), 1e-300], [5, 6]]


def test_names(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("2008_000001 1\n\nmörder 0.12345678901234567890123\n000007 3\n", encoding="utf-8")
    lines = read_number_lines(path, WORDS, named=True)
    assert lines.names() == ["2008_000001", "mörder", "000007"]
    assert lines.values[:, 1].tolist() == [1, 0.12345678901234567890123, 3]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("1 2\n\n3\n", "line 3: should have 2 words .first second., got '3'"),
        ("1 2\n3 4 5\n", "line 2: should have 2 words"),
        ("1 2\n3 four\n", "line 2: second should be a number, got '3 four'"),
        ("1 2\n3 1_0\n", "line 2: second should be a number"),
        ("\n1 2\n3 nan\n", "line 3: holds a number that is not finite"),
        ("1 2\n3 1e400\n", "line 2: holds a number that is not finite"),
        (b"1 2\n\xff\xfe 3\n", "line 2: first should be a number"),
        ("1 2\n" + "9" * 200 + "x 3\n", "line 2: first should be a number, got '9{60}[.]{3}'"),
    ],
)
def test_the_line_is_named(content: str | bytes, text: str, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=text):
        read(tmp_path, content)


def test_large_files_are_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    values = np.arange(150_000)
    blank = [f"{value} {value / 8}\n" + "\n" * (value % 5 == 0) for value in values.tolist()]
    path.write_text("".join(blank))
    assert path.stat().st_size > 1_000_000
    for threads in (1, 3):
        expected = np.stack([values, values / 8], axis=1)
        assert np.array_equal(read_number_lines(path, WORDS, threads=threads).values, expected)
    blank[120_000] = "120000 x\n"
    path.write_text("".join(blank))
    with pytest.raises(DataFormatError, match="line 144001: second"):
        read_number_lines(path, WORDS, threads=3)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_number_lines(tmp_path / "none.txt", WORDS)
    with pytest.raises(DataFormatError, match="damaged gzip file"):
        read(tmp_path, gzip.compress(b"1 2\n" * 1000)[:30])
