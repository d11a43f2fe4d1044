"""What benchmarks/bench_page.py says of what it measured, and where there is no browser."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("httpx", reason="no httpx here (pip install -e '.[dev]')")
bench_page = pytest.importorskip("bench_page")


def test_without_a_browser_it_says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_page.py"])
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert bench_page.main() == 0
    said = capsys.readouterr()
    assert said.out == "" and "needs playwright (pip install -e '.[browser]') and Chromium" in said.err


def test_a_row_has_the_median_and_the_worst() -> None:
    assert bench_page.row("answer to a slider", "phone", [9.0, 1.0, 2.0]) == (
        "| answer to a slider | phone | 3 | 2 ms | 9 ms |"
    )
