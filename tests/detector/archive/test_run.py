"""An archive through the shipped model on few regions: as by itself, resumed, and on a Ray cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from inception_rcnn.datasets.archive import shards
from inception_rcnn.datasets.archive.shards import FoundInPhotograph, read_entries
from inception_rcnn.datasets.archive.sources import pieces_of
from inception_rcnn.datasets.archive.storage import Location
from inception_rcnn.detector import Detector, load_detector
from inception_rcnn.detector.archive import begin_run, detect_locally, keep_whole_pieces
from inception_rcnn.structures import InputError
from inception_rcnn.tools import cli

PICTURES = {
    "a/astronaut.jpg": "astronaut",
    "a/chelsea.png": "chelsea",
    "b/coffee.jpg": "coffee",
    "b/rocket.jpg": "rocket",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small photographs and one that is none."""
    folder = tmp_path_factory.mktemp("archive")
    for name, picture in PICTURES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(getattr(data, picture)()).resize((180, 140)).save(folder / name)
    (folder / "b" / "broken.jpg").write_bytes(b"no photograph")
    return folder


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(device="cpu").with_settings(max_proposals=20, score_threshold=0.05, one_name_iou=0.8)


def run_to_end(archive: Path, folder: str, detector: Detector, per_piece: int = 2) -> list[dict[str, Any]]:
    run = begin_run(str(archive), pieces_of(str(archive), per_piece), folder, detector)
    keep_whole_pieces(run, detect_locally(run))
    return [entry for _, entry in read_entries(Location(folder))]


def test_it_finds_what_the_detector_finds(archive: Path, detector: Detector, tmp_path: Path) -> None:
    entries = run_to_end(archive, str(tmp_path / "found"), detector)
    assert [Path(entry["image"]).name for entry in entries] == [
        *("astronaut.jpg", "chelsea.png", "broken.jpg", "coffee.jpg", "rocket.jpg")
    ]
    for entry in entries:
        if "error" in entry:
            assert "broken.jpg: the image of 13 bytes is none of" in entry["error"]
            continue
        alone = detector(entry["image"])
        assert entry["detections"] == alone.to_records()
        assert (entry["width"], entry["height"]) == (180, 140)
    assert sum(len(entry["detections"]) for entry in entries) > 2


def test_a_bucket_gets_the_same(archive: Path, detector: Detector, tmp_path: Path) -> None:
    here = run_to_end(archive, str(tmp_path / "found"), detector)
    for path in sorted(archive.rglob("*.*")):
        Location(f"memory://bucket/{path.relative_to(archive)}").write(path.read_bytes())
    run = begin_run("memory://bucket", pieces_of("memory://bucket", 2), "memory://results/found", detector)
    keep_whole_pieces(run, detect_locally(run))
    there = [entry for _, entry in read_entries(Location("memory://results/found"))]
    assert [one["detections"] for one in there] == [one["detections"] for one in here]
    assert [one["sha256"] for one in there] == [one["sha256"] for one in here]


def test_only_missing_pieces_are_done_again(
    archive: Path, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path / "found")
    whole = run_to_end(archive, folder, detector)
    (tmp_path / "found" / "part-00000001.parquet").unlink()
    asked: list[str] = []
    monkeypatch.setattr(
        "inception_rcnn.detector.archive.run.write_shard",
        lambda place, number, rows, run, stamp: (
            asked.extend(row.image for row in rows),
            shards.write_shard(place, number, rows, run, stamp),
        ),
    )
    assert run_to_end(archive, folder, detector) == whole
    assert [Path(name).name for name in asked] == ["broken.jpg", "coffee.jpg"]


def test_a_photograph_that_was_replaced_is_looked_at_again_with_its_piece(
    archive: Path, detector: Detector, tmp_path: Path
) -> None:
    copy, folder = tmp_path / "archive", str(tmp_path / "found")
    shutil.copytree(archive, copy)
    before = run_to_end(copy, folder, detector)
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "found").glob("part-*")}
    shutil.copy(copy / "b" / "rocket.jpg", copy / "b" / "broken.jpg")
    run = begin_run(str(copy), pieces_of(str(copy), 2), folder, detector)
    assert run.missing == (1,) and run.failed == 0
    after = run_to_end(copy, folder, detector)
    again = [name for name, when in made.items() if (tmp_path / "found" / name).stat().st_mtime_ns != when]
    assert again == ["part-00000001.parquet"]
    assert "error" in before[2] and after[2]["detections"] == after[4]["detections"]
    (tmp_path / "found" / "run.json").unlink()
    with pytest.raises(InputError, match=r"has part-00000000\.parquet but no run\.json"):
        begin_run(str(copy), pieces_of(str(copy), 2), folder, detector)


def test_other_code_is_refused(
    archive: Path, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_run(str(archive), pieces_of(str(archive), 2), str(tmp_path), detector)
    monkeypatch.setattr("inception_rcnn.detector.archive.run.code_fingerprint", lambda: "0" * 16)
    with pytest.raises(InputError, match="was begun by another version of this package"):
        begin_run(str(archive), pieces_of(str(archive), 2), str(tmp_path), detector)


def test_other_photographs_or_settings_are_refused(archive: Path, detector: Detector, tmp_path: Path) -> None:
    folder = str(tmp_path / "found")
    begin_run(str(archive), pieces_of(str(archive), 2), folder, detector)
    with pytest.raises(InputError, match=r"made with score_threshold = 0.05, now 0.5"):
        begin_run(str(archive), pieces_of(str(archive), 2), folder, detector.with_settings(score_threshold=0.5))
    fewer = [one for one in pieces_of(str(archive), 2)][:1]
    with pytest.raises(InputError, match=r"are not those that .* was begun with .5 then, 2 now"):
        begin_run(str(archive), fewer, folder, detector)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file is a file; the results of an archive go into a folder"):
        begin_run(str(archive), fewer, str(tmp_path / "file"), detector)


def test_pieces_are_written_when_whole_whatever_the_order(archive: Path, detector: Detector, tmp_path: Path) -> None:
    run = begin_run(str(archive), pieces_of(str(archive), 2), str(tmp_path / "found"), detector)
    sizes = [len(run.manifest.piece(number)) for number in range(run.manifest.pieces)]
    rows = [
        (number, place, FoundInPhotograph.failed(f"{number}-{place}", None, "x"))
        for number, size in enumerate(sizes)
        for place in range(size)
    ]
    order = np.random.default_rng(0).permutation(len(rows))
    seen: list[str] = []
    keep_whole_pieces(run, (rows[one] for one in order[:-1]), lambda row: seen.append(row.image))
    number, _, _ = rows[order[-1]]
    assert len(seen) == len(rows) - 1
    assert not (tmp_path / "found" / f"part-{number:08d}.parquet").exists()
    assert len(list((tmp_path / "found").glob("part-*"))) == len(sizes) - 1


def detect(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["detect", *map(str, words), "--max-proposals", "20", "--device", "cpu"])
    return int(exit_.value.code or 0)


def test_the_command_reports_goes_on_and_refuses(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tmp_path / "found"
    assert detect(archive, "--engine", "local", "--output", found, "--per-shard", "3") == 1  # one is broken
    said = capsys.readouterr()
    assert "error: " in said.err and "broken.jpg" in said.err and f"1 failed; Parquet in {found}" in said.err
    as_uris = [f"file://{archive}/", "--engine", "local", "--output", f"file://{found}"]
    assert detect(*as_uris, "--per-shard", "3") == 1  # nothing left to do
    said = capsys.readouterr()
    assert f"2 of 2 parts are in {found} already; 1 of their photographs could not be read" in said.out
    assert f"0 photographs, 0 objects, 1 failed; Parquet in {found}" in said.err
    for words, text in (
        (["--engine", "spark", "--output", found], "known: local, ray"),
        (["--engine", "local"], "needs --output"),
        (["--engine", "local", "--output", found, "--json", "x.json"], "--json does not go with --engine"),
        ([archive, "--engine", "local", "--output", found], "takes one folder"),
    ):
        assert detect(archive, *words) == 2
        assert text in " ".join(capsys.readouterr().err.split())


def test_killed_it_loses_pieces_that_were_not_whole_alone(archive: Path, detector: Detector, tmp_path: Path) -> None:
    whole = run_to_end(archive, str(tmp_path / "whole"), detector, per_piece=1)
    tool = Path(cli.__file__).parent / "detect.py"
    words = [archive, "--engine", "local", "--output", tmp_path / "found", "--per-shard", "1", "--device", "cpu"]
    words += ["--max-proposals", "20", "--score-threshold", "0.05", "--quiet"]
    line = [sys.executable, str(tool), *map(str, words)]
    running = subprocess.Popen(line, stderr=subprocess.DEVNULL, start_new_session=True)
    first = tmp_path / "found" / "part-00000000.parquet"
    while not first.exists() and running.poll() is None:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    made = first.stat().st_mtime_ns
    again = subprocess.run(line, check=False, capture_output=True, text=True)
    assert again.returncode == 1, again.stderr  # one is broken
    found = [entry for _, entry in read_entries(Location(str(tmp_path / "found")))]
    assert first.stat().st_mtime_ns == made
    assert [(one["image"], len(one["detections"])) for one in found] == [
        (one["image"], len(one["detections"])) for one in whole
    ]
    assert not list((tmp_path / "found").glob(".*"))
