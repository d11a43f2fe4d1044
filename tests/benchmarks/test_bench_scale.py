"""What bench_scale judges by: rows of two runs, memory, promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'inception-rcnn[scale]'")
pytest.importorskip("ray", reason="needs inception-rcnn[scale]: pip install 'inception-rcnn[scale]'")
if not Path("/proc/self/stat").exists():
    pytest.skip("memory of processes is read on Linux alone", allow_module_level=True)
from bench_scale import growth, judge_same
from verdicts import Verdicts

from inception_rcnn.datasets.archive.shards import FoundInPhotograph, RunDescription, write_shard
from inception_rcnn.datasets.archive.storage import Location

BOX = np.array([[1, 2, 30, 40]], np.float32)
ROW = FoundInPhotograph("1.jpg", "0" * 64, (100, 80), BOX, np.array([0.5], np.float32), ("dog",))


def run_of(folder: Path, *rows: FoundInPhotograph) -> Path:
    run = RunDescription({}, ("dog", "cat"), "coco", 1, len(rows))
    run.write(Location(str(folder)))
    write_shard(Location(str(folder)), 0, rows, run)
    return folder


@pytest.mark.parametrize(
    ("rows", "said", "broken"),
    [
        ([ROW, ROW], "0 of 2, 0", False),
        ([ROW, replace(ROW, scores=ROW.scores + np.float32(1e-3))], "0 of 2, 0.001", True),
        ([ROW, replace(ROW, labels=("cat",))], "1 of 2, 0", True),
        ([ROW, FoundInPhotograph.failed("1.jpg", "0" * 64, "it is down")], "1 of 2, 0", True),
        ([ROW], "other rows", True),
    ],
)
def test_other_rows_are_a_broken_promise(
    rows: list[FoundInPhotograph], said: str, broken: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = Verdicts()
    wanted, got = run_of(tmp_path / "wanted", ROW, ROW), run_of(tmp_path / "got", *rows)
    assert judge_same(verdicts, "it", wanted, got) == said
    assert bool(verdicts.broken) == broken
    assert capsys.readouterr().out.startswith("BROKEN: it" if broken else "holds: it")


def test_a_broken_promise_is_the_exit_status() -> None:
    verdicts = Verdicts()
    verdicts.judge("one", holds=True)
    verdicts.end()
    verdicts.judge("another", holds=False)
    with pytest.raises(SystemExit) as ended:
        verdicts.end()
    assert ended.value.code == 1


def test_memory_grows_from_the_first_tenth_on() -> None:
    assert growth({0: 100.0, 1: 400.0, 5: 430.0, 9: 440.0}) == pytest.approx(0.1)
    assert growth({0: 100.0}) == 0
