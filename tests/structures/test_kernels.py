"""Kernels are compiled when first called, work where their machine code cannot be kept, and announce a long wait."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import caching

from inception_rcnn.structures.kernels import CompileClock, kernel

SOURCE = Path(__file__).resolve().parents[2] / "src"
FACTOR = 0.5


def halved(values: np.ndarray) -> float:
    """Half of the sum."""
    return FACTOR * values.sum()  # type: ignore[no-any-return]


@kernel
def doubled(value: float) -> float:
    """Called by another kernel of its file."""
    return 2 * value


@kernel
def sum_of_doubled(values: np.ndarray) -> float:
    """Calls another kernel of its file."""
    total = 0.0
    for value in values:
        total += doubled(value)
    return total


def test_a_kernel_calls_kernels_of_its_file() -> None:
    assert sum_of_doubled(np.ones(3)) == 6 and doubled(1.5) == 3
    assert [len(one.dispatcher.signatures) for one in (doubled, sum_of_doubled)] == [1, 1]  # type: ignore[attr-defined]


def test_without_a_place_for_the_cache_it_compiles_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator"):  # what numba says by itself
        numba.njit("float64(float64[::1])", cache=True)(halved)
    assert kernel(halved)(np.ones(4)) == 2


def test_where_the_cache_cannot_be_written_it_compiles_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    assert kernel(halved)(np.ones((2, 3))) == 3


@pytest.mark.parametrize("error", [EOFError("Ran out of input"), pickle.UnpicklingError("pickle data was truncated")])
def test_where_the_cache_is_damaged_it_compiles_in_memory(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise error

    monkeypatch.setattr(caching.IndexDataCacheFile, "load", damaged)
    assert kernel(halved)(np.ones((2, 3, 4))) == 12


def test_a_fault_in_the_function_is_not_hidden() -> None:
    def faulty(values: np.ndarray) -> float:
        return values.no_such_thing()  # type: ignore[attr-defined, no-any-return]

    with pytest.raises(numba.TypingError):
        kernel(faulty)(np.ones(2))


def test_a_long_wait_is_announced_once(capsys: pytest.CaptureFixture[str]) -> None:
    clock = CompileClock(notice_after=2)
    clock.add(1.5)
    assert capsys.readouterr().err == ""
    clock.add(1.0)
    clock.add(5.0)
    assert capsys.readouterr().err.count("inception-rcnn: compiling") == 1
    assert clock.seconds == 7.5


def test_a_second_process_finds_the_kernels_compiled(tmp_path: Path) -> None:
    """Importing compiles nothing; the first process fills the cache, to the second nothing is left to compile."""
    code = (
        "import sys, numpy\n"
        "from inception_rcnn.proposals.search import superpixels\n"
        "assert 'numba' not in sys.modules\n"
        "picture = numpy.arange(300, dtype=numpy.uint8).reshape(10, 10, 3)\n"
        "superpixels.superpixels(superpixels.pixel_graph(picture), 50.0, 50)\n"
        "kernels = [k for k in vars(superpixels).values() if getattr(k, 'dispatcher', None)]\n"
        "print(len(kernels), sum(sum(k.dispatcher.stats.cache_misses.values()) for k in kernels))"
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


def test_kernels_work_uncompiled() -> None:
    code = (
        "import numpy\n"
        "from inception_rcnn.proposals import selective_search\n"
        "print(len(selective_search(numpy.zeros((8, 8, 3), numpy.uint8), width=8)))"
    )
    environment = {"PYTHONPATH": ":".join([str(SOURCE), *sys.path]), "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
