"""Kernels work where their machine code cannot be kept, and a long wait is announced once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import caching

from inception_rcnn.structures.compiled import CompileClock, compiled

SOURCE = Path(__file__).resolve().parents[2] / "src"


def halved(values: np.ndarray) -> float:
    """Half of the sum."""
    return 0.5 * values.sum()


def test_without_a_place_for_the_cache_it_compiles_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator"):  # what numba says by itself
        numba.njit("float64(float64[::1])", cache=True)(halved)
    assert compiled("float64(float64[::1])")(halved)(np.ones(4)) == 2


def test_where_the_cache_cannot_be_written_it_compiles_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    assert compiled("float64(float64[::1])")(halved)(np.ones(6)) == 3


def test_a_fault_in_the_function_is_not_hidden() -> None:
    def faulty(values: np.ndarray) -> float:
        return values.no_such_thing()  # type: ignore[attr-defined, no-any-return]

    with pytest.raises(numba.TypingError):
        compiled("float64(float64[::1])")(faulty)


def test_a_long_wait_is_announced_once(capsys: pytest.CaptureFixture[str]) -> None:
    clock = CompileClock(notice_after=2)
    clock.add(1.5)
    assert capsys.readouterr().err == ""
    clock.add(1.0)
    clock.add(5.0)
    assert capsys.readouterr().err.count("inception-rcnn: compiling") == 1
    assert clock.seconds == 7.5


def test_a_second_process_finds_the_kernels_compiled(tmp_path: Path) -> None:
    """The first one fills the cache; to the second nothing is left to compile."""
    code = (
        "from inception_rcnn.proposals import graph_segmentation\n"
        "kernels = [k for k in vars(graph_segmentation).values() if hasattr(k, 'stats')]\n"
        "print(len(kernels), sum(sum(k.stats.cache_misses.values()) for k in kernels))"
    )
    environment = {"PYTHONPATH": ":".join([str(SOURCE), *sys.path]), "NUMBA_CACHE_DIR": str(tmp_path)}
    told = [
        subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert told[0][0] == told[1][0] != "0"
    assert int(told[0][1]) > 0 and told[1][1] == "0"
