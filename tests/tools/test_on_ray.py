"""`inception-rcnn on_ray`, as far as what its processes leave; tests/detector/archive/test_ray.py starts a cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from inception_rcnn.structures.jobs import ENDS_WITH
from inception_rcnn.tools import cli, on_ray
from inception_rcnn.tools.on_ray import Ended

WORDS = ("on_ray", "propose", "--output", "x.safetensors")


def run(monkeypatch: pytest.MonkeyPatch, *ended: Ended) -> int:
    monkeypatch.setattr(on_ray, "run_ranks", lambda *given: list(ended))
    with pytest.raises(SystemExit) as exit_:
        cli.main(WORDS)
    return int(exit_.value.code or 0)


def test_the_first_process_speaks_and_what_befell_others_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others = (Ended(1, "", "note\nerror: no space left on device\n"), Ended(0, "unheard"), Ended(-9))
    assert run(monkeypatch, Ended(0, "4 images\n"), *others) == 0
    said = capsys.readouterr()
    assert said.out == "4 images\n"
    assert said.err.splitlines() == [
        "warning: process 1 ended with 1, the others did its part: error: no space left on device",
        "warning: process 3 ended with -9, the others did its part: it said nothing",
    ]


def test_a_first_process_that_failed_or_was_killed_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, Ended(2, "", "error: no data\n")) == 2
    assert capsys.readouterr().err == "error: no data\n"
    assert run(monkeypatch, Ended(-9)) == 1
    assert capsys.readouterr().err.startswith("error: propose was killed by signal 9, as the system does when memory")


def test_a_process_is_told_whom_it_works_for(tmp_path: Path) -> None:
    line = [sys.executable, "-c", f"import os; print(os.environ[{ENDS_WITH!r}], os.getppid(), os.environ['RANK'])"]
    status, said, _ = on_ray._rank(line, {"RANK": "3"}, str(tmp_path))
    assert status == 0 and said.split() == [str(os.getpid()), str(os.getpid()), "3"]
