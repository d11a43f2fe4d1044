"""Work in parts: nothing twice, nothing lost, whoever dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

from inception_rcnn.structures import InputError, jobs
from inception_rcnn.structures.jobs import (
    PartedJob,
    Share,
    available_processors,
    check_same_settings,
    checksums_of,
    code_fingerprint,
)


def squares(
    folder: Path, count: int = 10, *, computed: list[int] | None = None, outdated: frozenset[int] = frozenset()
) -> PartedJob[list[int]]:
    """The squares of 0 .. count - 1, three in a part; `computed` collects the first number of each computed part."""

    def compute(rows: range) -> list[int]:
        if computed is not None:
            computed.append(rows.start)
        return [row * row for row in rows]

    return PartedJob(
        folder=folder,
        items=count,
        per_part=3,
        compute=compute,
        write=lambda path, part: (
            path.with_suffix(".tmp").write_text(json.dumps(part)) and path.with_suffix(".tmp").rename(path)
        ),
        read=lambda path: list(json.loads(path.read_text())),
        is_current=lambda part, rows: rows.start not in outdated,
    )


def collected(job: PartedJob[list[int]], share: Share | None = None) -> list[int]:
    parts = job.run(share)
    assert parts is not None
    return [number for part in parts for number in part]


def test_all_parts_in_order_and_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    computed: list[int] = []
    job = squares(tmp_path / "parts", computed=computed)
    assert collected(job) == [n * n for n in range(10)] and computed == [0, 3, 6, 9]
    assert collected(job) == [n * n for n in range(10)] and computed == [0, 3, 6, 9]
    (tmp_path / "parts" / "00000003.safetensors").unlink()
    assert collected(job) == [n * n for n in range(10)] and computed == [0, 3, 6, 9, 3]
    job.forget()
    assert list(tmp_path.iterdir()) == []


def test_parts_whose_images_changed_are_computed_again(tmp_path: Path) -> None:
    computed: list[int] = []
    collected(squares(tmp_path / "parts"))
    assert collected(squares(tmp_path / "parts", computed=computed, outdated=frozenset({6}))) == [
        n * n for n in range(10)
    ]
    assert computed == [6]


def test_a_part_that_a_process_of_older_code_writes_meanwhile_is_not_joined(tmp_path: Path) -> None:
    job = squares(tmp_path / "parts")
    ours = PartedJob(**{**vars(job), "is_ours": lambda part, rows: part == job.compute(rows)})
    parts = ours.run()
    assert parts is not None
    job.write(tmp_path / "parts" / "00000003.safetensors", [0])
    with pytest.raises(InputError, match=r"00000003\.safetensors was written meanwhile by a process with other code"):
        list(parts)


def test_nothing_to_do_is_done(tmp_path: Path) -> None:
    assert collected(squares(tmp_path / "parts", count=0)) == []


def test_processes_share_the_parts_and_each_is_computed_once(tmp_path: Path) -> None:
    computed: list[int] = []
    lock = threading.Lock()

    def slow(job: PartedJob[list[int]]) -> Callable[[range], list[int]]:
        def compute(rows: range) -> list[int]:
            with lock:
                computed.append(rows.start)
            time.sleep(0.02)
            return [row * row for row in rows]

        return compute

    found: list[list[int]] = []
    base = squares(tmp_path / "parts", count=60)
    job = PartedJob(**{**vars(base), "compute": slow(base)})
    helpers = [threading.Thread(target=lambda rank=rank: job.run(Share(rank, 3))) for rank in (1, 2)]
    leader = threading.Thread(target=lambda: found.append(collected(job, Share(0, 3))))
    for thread in (*helpers, leader):
        thread.start()
    for thread in (*helpers, leader):
        thread.join()
    assert found == [[n * n for n in range(60)]] and sorted(computed) == list(range(0, 60, 3))


def abandon(folder: Path, start: int, *, process: int, age: float = 0) -> None:
    """A claim left by a process."""
    folder.mkdir(exist_ok=True)
    claim = folder / f"{start:08d}.claim"
    claim.write_text(json.dumps({"rank": 1, "process": process, "machine": jobs.machine_name()}))
    os.utime(claim, (time.time() - age, time.time() - age))


def dead_process() -> int:
    """A number that no process has."""
    import subprocess
    import sys

    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_the_part_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    abandon(tmp_path / "parts", 3, process=dead_process())
    assert collected(squares(tmp_path / "parts")) == [n * n for n in range(10)]
    assert not list((tmp_path / "parts").glob("*.claim"))


def test_the_part_of_a_process_elsewhere_is_taken_over_when_it_is_long_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The claim is by a living process (this one), but has not been touched for nearly a minute."""
    abandon(tmp_path / "parts", 6, process=os.getpid(), age=jobs.SECONDS_UNTIL_TAKEN_OVER - 1)
    monkeypatch.setattr(jobs, "SECONDS_BEFORE_NOTICE", 0.2)
    start = time.monotonic()
    assert collected(squares(tmp_path / "parts"), Share(0, 2)) == [n * n for n in range(10)]
    assert time.monotonic() - start > 0.5
    assert f"waiting for 1 parts in {tmp_path / 'parts'}, the first claimed by rank 1" in capsys.readouterr().err


def test_a_claim_that_another_process_took_over_meanwhile_stays_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = tmp_path / "00000000.claim"
    claim.write_text("of the dead")

    def overtaken(found: Path) -> bool:
        found.write_text("of another")
        return True

    monkeypatch.setattr(jobs, "_is_abandoned", overtaken)
    assert not jobs._take(claim, 0)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(claim.name, "of another")]


def test_a_claim_from_the_future_is_taken_over(tmp_path: Path) -> None:
    """By a machine whose clock was wrong."""
    abandon(tmp_path / "parts", 3, process=os.getpid(), age=-10 * jobs.SECONDS_UNTIL_TAKEN_OVER)
    assert collected(squares(tmp_path / "parts")) == [n * n for n in range(10)]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no disk that is always full")
def test_a_claim_for_which_there_is_no_room_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = tmp_path / "00000000.claim"

    def onto_a_full_disk(path: Path, mode: str) -> TextIO:
        path.touch()
        return open("/dev/full", "w")

    monkeypatch.setattr(Path, "open", onto_a_full_disk)
    with pytest.raises(OSError, match="No space left"):
        jobs._take(claim, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_is_being_written_counts_by_its_age(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    claim = tmp_path / "parts" / "00000000.claim"
    claim.write_text("{")
    assert not jobs._is_abandoned(claim)
    os.utime(claim, (0, 0))
    assert jobs._is_abandoned(claim)
    claim.write_text(json.dumps({"rank": 1, "process": 10**30, "machine": jobs.machine_name()}))
    assert not jobs._is_abandoned(claim)


def test_a_long_part_is_touched_while_it_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SECONDS_BETWEEN_TOUCHES", 0.01)
    claim = tmp_path / "a.claim"
    with jobs._claimed(claim, 0) as mine:
        assert mine
        os.utime(claim, (0, 0))
        end = time.monotonic() + 5
        while claim.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert claim.stat().st_mtime > 0
        with jobs._claimed(claim, 1) as second:
            assert not second
    assert not claim.exists()


def test_a_failing_part_leaves_no_claim(tmp_path: Path) -> None:
    def fail(rows: range) -> list[int]:
        raise InputError("no such luck")

    job = PartedJob(**{**vars(squares(tmp_path / "parts")), "compute": fail})
    with pytest.raises(InputError, match="no such luck"):
        job.run()
    assert list((tmp_path / "parts").iterdir()) == []


def test_a_process_that_comes_late_does_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    job = squares(tmp_path / "parts")
    collected(job, Share(0, 2))
    job.forget(Share(0, 2))
    computed: list[int] = []
    assert squares(tmp_path / "parts", computed=computed).run(Share(1, 2)) is None
    assert computed == [] and not (tmp_path / "parts").exists()
    assert collected(job, Share(0, 2)) == [n * n for n in range(10)]  # the next run is a run of its own


def test_several_processes_leave_nothing_behind(tmp_path: Path) -> None:
    job, late = squares(tmp_path / "parts"), squares(tmp_path / "parts", computed=(computed := []))
    assert job.run(Share(1, 4)) is None  # ends before the others
    collected(job, Share(0, 4))
    job.forget(Share(0, 4))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["parts.finished-2", "parts.finished-3"]
    assert late.run(Share(2, 4)) is None and late.run(Share(3, 4)) is None
    assert computed == [] and list(tmp_path.iterdir()) == []


def test_a_mark_of_an_earlier_run_is_not_trusted(tmp_path: Path) -> None:
    job = squares(tmp_path / "parts", computed=(computed := []))
    mark = jobs._finished_mark(tmp_path / "parts", 1)
    mark.touch()
    os.utime(mark, (jobs._LAUNCHED - 1, jobs._LAUNCHED - 1))
    assert job.run(Share(1, 2)) is None and sorted(computed) == [0, 3, 6, 9]
    collected(job, Share(0, 2))
    job.forget(Share(0, 2))
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_amid_forgetting_left_is_forgotten_too(tmp_path: Path) -> None:
    (tmp_path / "parts.old").mkdir()
    (tmp_path / "parts.old" / "00000000.safetensors").touch()
    (tmp_path / "parts.finished-7").touch()
    jobs.forget_parts(tmp_path / "parts")
    assert list(tmp_path.iterdir()) == []


def test_a_helper_whose_part_was_taken_over_does_not_bring_the_folder_back(tmp_path: Path) -> None:
    job = squares(tmp_path / "parts")

    def overtaken(rows: range) -> list[int]:
        (tmp_path / "parts" / f"{rows.start:08d}.claim").unlink()
        collected(job, Share(0, 2))
        job.forget(Share(0, 2))
        return [row * row for row in rows]

    assert PartedJob(**{**vars(job), "compute": overtaken}).run(Share(1, 2)) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="this system does not tell when a process started")
def test_a_run_begins_when_its_process_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    own = jobs._launch_time()
    assert own < jobs._LAUNCHED + 1 and own < time.time()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert jobs._launch_time() <= own  # its parent is older


def test_processes_as_torchrun_tells() -> None:
    assert Share.from_environment({}) == Share(0, 1, 0)
    share = Share.from_environment({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    assert share == Share(3, 4, 1) and not share.leads and Share(0, 4).leads
    for wrong, message in (({"RANK": "2", "WORLD_SIZE": "2"}, r"RANK should be in 0\.\.1"), ({"RANK": "x"}, "whole")):
        with pytest.raises(InputError, match=message):
            Share.from_environment(wrong)


@pytest.mark.parametrize(
    ("asked", "gpus", "device"),
    [("auto", 4, "cuda:1"), ("cuda", 4, "cuda:1"), ("cuda:3", 4, "cuda:3"), ("cpu", 4, "cpu"), ("auto", 0, "auto")],
)
def test_the_gpus_of_a_machine_are_dealt_out(asked: str, gpus: int, device: str) -> None:
    assert Share(5, 8, 5).device(asked, gpus) == device
    assert Share().device(asked, gpus) == asked


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_processors_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_cgroup_quota", lambda root: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 6, 7})
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert available_processors() == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert available_processors() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert available_processors() == 2
    monkeypatch.setattr(jobs, "_cgroup_quota", lambda root: 2.5)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert available_processors() == 3


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_control_group(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert jobs._cgroup_quota(tmp_path) == quota


def test_the_first_setting_that_differs_is_named() -> None:
    check_same_settings("x", {"a": 1}, {"a": 1})
    with pytest.raises(InputError, match=r"x was made with side = None, now 300 is asked for; use the old setting"):
        check_same_settings("x", {"a": 1}, {"a": 1, "side": 300})


def test_the_code_has_one_fingerprint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert code_fingerprint() == code_fingerprint() and len(code_fingerprint()) == 16
    (tmp_path / "structures").mkdir()
    (tmp_path / "structures" / "jobs.py").write_text("1")
    monkeypatch.setattr(jobs, "__file__", str(tmp_path / "structures" / "jobs.py"))
    first = code_fingerprint()
    (tmp_path / "structures" / "jobs.py").write_text("2")
    assert code_fingerprint() != first


def test_checksums_of_files_in_order(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    found = checksums_of([tmp_path / "b", tmp_path / "a", tmp_path / "b"])
    assert found[0] == found[2] != found[1]
    assert found[1] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


@pytest.mark.skipif(os.name == "nt", reason="an orphan keeps its parent's number there")
@pytest.mark.parametrize("by_torchrun", [False, True])
def test_a_process_ends_when_the_one_it_works_for_is_killed(tmp_path: Path, by_torchrun: bool) -> None:
    """A process starts another one, which says that it has begun, and is killed: the other one ends by itself."""
    source, begun = Path(__file__).resolve().parent.parent.parent / "src", tmp_path / "begun"
    worker = f"""
import os, time
from pathlib import Path
from inception_rcnn.structures import jobs
jobs._SECONDS_BETWEEN_LOOKS_AT_PARENT = 0.05
jobs.end_with_parent(os.environ)
assert jobs.ENDS_WITH not in os.environ
Path({str(begun)!r}).write_text(str(os.getpid()))
time.sleep(60)
"""
    marked = '{"TORCHELASTIC_RUN_ID": "none"}' if by_torchrun else "{jobs.ENDS_WITH: str(os.getpid())}"
    boss = f"""
import os, subprocess, sys
from inception_rcnn.structures import jobs
subprocess.run([sys.executable, "-c", {worker!r}], env={{**os.environ, **{marked}}})
"""
    with subprocess.Popen([sys.executable, "-c", boss], cwd=source, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not begun.exists() or not begun.read_text():
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        assert "was killed, so this one ends too" in process.stderr.read()  # until the worker has closed it too
