"""A file is the old one or the new one, whatever fails."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inception_rcnn.structures import DataFormatError, ImageError, InputError, files, sha256_of, write_json, write_whole
from inception_rcnn.structures.files import cache_folder, check_folder, decode_json, read_bytes, read_with_checksum


def test_bytes_and_text_arrive_as_they_are(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"\x00\r\n\xff")
    write_whole(tmp_path / "b", "grün\n")
    assert (tmp_path / "a").read_bytes() == b"\x00\r\n\xff"
    assert (tmp_path / "b").read_bytes() == "grün\n".encode()


def test_an_old_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"a long old text")
    write_whole(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*_: Any) -> None:
        raise error

    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_makes_no_file_where_there_was_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "a", b"new")
    assert list(tmp_path.iterdir()) == []


def test_the_data_are_on_the_disk_before_the_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (steps.append("sync"), sync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("name"), replace(a, b)))
    write_whole(tmp_path / "a", b"new")
    assert steps[:2] == ["sync", "name"]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "a", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege elsewhere")
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(InputError, match=f"cannot write .*{name}: it is a device or a pipe; give the name of a"):
            write_whole(tmp_path / name, b"new")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and len(list(tmp_path.iterdir())) == 2


def test_a_checksum_belongs_to_what_was_read(tmp_path: Path) -> None:
    path, contents = tmp_path / "a", iter((b"second", b"third"))
    path.write_bytes(b"first")

    def read() -> bytes:
        """Read just before, and just after, another one is put into the place of the file."""
        found = path.read_bytes()
        if (other := next(contents, None)) is not None:
            write_whole(path, other)
        return found

    assert read_with_checksum(path, read) == (sha256_of(path), b"third")
    contents = iter((b"4", b"5", b"6"))
    with pytest.raises(ImageError, match="changes while it is read; call again when whatever writes it has ended"):
        read_with_checksum(path, read)


def test_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_missing_folder_and_a_folder_in_the_way_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the folder .*nowhere does not exist; create it first"):
        write_whole(tmp_path / "nowhere" / "a", b"")
    with pytest.raises(InputError, match="it is a folder"):
        write_whole(tmp_path, b"")


def test_a_folder_may_be_yet_to_be_made_and_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "new" / "er"):
        assert check_folder(str(folder)) == folder
    for folder in (tmp_path / "file", tmp_path / "file" / "new"):
        with pytest.raises(InputError, match=r"cannot write into .*: .*file is a file; name another folder"):
            check_folder(folder)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_json_knows_arrays_numpy_numbers_and_paths(tmp_path: Path) -> None:
    thing = {"a": np.float32(0.5), "b": np.arange(3), "c": Path("x") / "y", "d": np.bool_(True), "e": "grün"}
    write_json(tmp_path / "a.json", thing)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"a": 0.5, "b": [0, 1, 2], "c": os.path.join("x", "y"), "d": True, "e": "grün"}
    assert text.endswith("}\n")
    assert '\n  "a": 0.5' in text
    assert "grün" in text


def test_json_of_a_name_that_is_no_unicode_is_escaped(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", ["caf\udce9", "grün"])
    assert json.loads((tmp_path / "a.json").read_text(encoding="ascii")) == ["caf\udce9", "grün"]


def test_json_in_one_line(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, 2]}, indent=None)
    assert (tmp_path / "a.json").read_text() == '{"a": [1, 2]}\n'


@pytest.mark.parametrize("wrong", [float("nan"), np.array([np.inf]), object(), {"a": {1, 2}}])
def test_what_json_does_not_know_is_refused_and_nothing_is_written(tmp_path: Path, wrong: Any) -> None:
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(InputError, match=r"a\.json as JSON"):
        write_json(tmp_path / "a.json", wrong)
    assert (tmp_path / "a.json").read_text() == "old"


def test_sha256_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")  # the example of FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(InputError, match=r"there is no file .*b"):
        sha256_of(tmp_path / "b")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other variables")
def test_the_cache_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder("things") == tmp_path / "cache" / "inception-rcnn" / "things"
    for ignored in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder("things") == tmp_path / "home" / ".cache" / "inception-rcnn" / "things"
    assert list(tmp_path.iterdir()) == [], "nothing is made yet"


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder("things") is None


def test_gzip_is_unpacked_whatever_its_name_and_in_several_members(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n" * 1_000_000) + b"\0" * 5)
    assert read_bytes(path) == b"one\n" + b"two\n" * 1_000_000


def test_a_small_file_that_unpacks_to_much_is_refused_without_the_memory_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MOST_UNPACKED", 2**20)
    path = tmp_path / "bomb.jsonl.gz"
    packed = zlib.compressobj(wbits=31)
    with path.open("wb") as file:
        for _ in range(100):
            file.write(packed.compress(bytes(2**20)))
        file.write(packed.flush())
    size = path.stat().st_size
    tracemalloc.start()
    with pytest.raises(
        DataFormatError, match=rf"bomb.*of {size} bytes that unpacks to more than {100 * size}; .*gunzip"
    ):
        read_bytes(path)
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()


def test_what_unpacks_to_less_than_the_limit_is_read_however_well_it_was_packed(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(2**24)))
    assert read_bytes(tmp_path / "a.gz") == bytes(2**24)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": \n}', r"f, line 2, column 1: is not valid JSON: Expecting value; is the download complete"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"f: is not valid JSON: it holds a whole number of more than 4300 digits"),
        (b"[" * 100_000, "f: is not valid JSON: it is nested too deeply|f, line"),
        (b'"\xff"', "f: is not valid JSON: .*decode"),
    ],
)
def test_what_is_no_json_is_one_line_that_says_why(text: bytes, message: str) -> None:
    with pytest.raises(DataFormatError, match=message) as caught:
        decode_json(text, "f")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataFormatError, match="f, line 7: is not valid JSON"):
        decode_json(text, "f", place="line 7")


MINE, OTHERS = files.machine_mark(), "0123abcd"


def dead_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


@pytest.mark.parametrize(
    ("machine", "process", "token", "hours", "stays"),
    [
        (MINE, "dead", "01234567", 0, False),
        (MINE, "own", "01234567", 0, False),  # whoever had this number before
        (MINE, "own", files._TOKEN, 0, True),  # a thread of this process writes it
        (MINE, "parent", "01234567", 0, True),
        (MINE, "parent", "01234567", 2, False),  # another process has got the number
        (OTHERS, "dead", "01234567", 0, True),  # of another machine nobody knows
        (OTHERS, "own", "01234567", 2, False),
        (OTHERS, "9" * 30, "01234567", 0, True),
    ],
    ids=[
        *("dead", "own-number-before", "own-thread", "alive", "alive-for-long"),
        *("elsewhere", "elsewhere-for-long", "elsewhere-number"),
    ],
)
def test_temporary_files_of_the_dead_are_removed_by_the_next_write(
    tmp_path: Path, machine: str, process: str, token: str, hours: int, stays: bool
) -> None:
    number = {"dead": dead_process, "own": os.getpid, "parent": os.getppid}.get(process, lambda: process)()
    left = tmp_path / f".{machine}-{number}-{token}-0.part"
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 3600.1 * hours,) * 2)
    foreign = tmp_path / ".notes.part"
    foreign.write_bytes(b"somebody's")
    os.utime(foreign, (0, 0))
    write_whole(tmp_path / "a", b"new")
    assert left.exists() == stays and foreign.exists()


def test_what_a_kill_leaves_in_the_midst_of_a_write_is_removed_by_the_next_process(tmp_path: Path) -> None:
    program = f"""
import os, signal
from inception_rcnn.structures import files
files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
files.write_whole({str(tmp_path / "a")!r}, b"old")
"""
    source = Path(__file__).resolve().parent.parent.parent / "src"
    done = subprocess.run([sys.executable, "-c", program], cwd=source)
    assert done.returncode != 0 and [path.suffix for path in tmp_path.iterdir()] == [".part"]
    write_whole(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
