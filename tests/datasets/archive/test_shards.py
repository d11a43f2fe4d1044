"""What was found in an archive: written, read by others, scored, searched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas
import pytest

from inception_rcnn.datasets.archive.search import search_archive
from inception_rcnn.datasets.archive.shards import (
    FoundInPhotograph,
    RunDescription,
    check_no_parts,
    missing_pieces,
    outdated_pieces,
    read_entries,
    read_run,
    shard_name,
    write_shard,
)
from inception_rcnn.datasets.archive.storage import Location
from inception_rcnn.datasets.detections import read_detections
from inception_rcnn.structures import DataFormatError, GroundTruth, GroundTruthTable, InputError

NAMES = ("cat", "dog", "person")
RUN = RunDescription({"seed": 0, "proposals": {"width": 500}}, NAMES, "coco", 2, 4)


def row(image: str, *found: tuple[str, float]) -> FoundInPhotograph:
    boxes = np.array([[1, 2, 30 + place, 40] for place in range(len(found))], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in found], np.float32)
    return FoundInPhotograph(image, "0" * 64, (100, 80), boxes, scores, tuple(label for label, _ in found))


ROWS = (
    [row("p/1.jpg", ("dog", 0.9), ("person", 0.4)), row("p/2.jpg", ("dog", 0.8), ("dog", 0.3))],
    [row("p/3.jpg"), FoundInPhotograph.failed("p/4.jpg", None, "p/4.jpg is no image")],
)


@pytest.fixture
def results(tmp_path: Path) -> Location:
    """A finished run."""
    folder = Location(str(tmp_path / "found"))
    RUN.write(folder)
    for piece, rows in enumerate(ROWS):
        write_shard(folder, piece, rows, RUN)
    return folder


def test_what_is_written_is_read_again(results: Location) -> None:
    assert read_run(results) == RUN
    entries = [entry for _, entry in read_entries(results)]
    assert [entry["image"] for entry in entries] == ["p/1.jpg", "p/2.jpg", "p/3.jpg", "p/4.jpg"]
    assert entries[0]["detections"] == [
        {"label": "dog", "score": float(np.float32(0.9)), "box": [1, 2, 30, 40]},
        {"label": "person", "score": float(np.float32(0.4)), "box": [1, 2, 31, 40]},
    ]
    assert (entries[0]["width"], entries[0]["height"]) == (100, 80)
    assert entries[3]["error"] == "p/4.jpg is no image" and entries[2]["detections"] == []


def test_pandas_and_duckdb_read_it(results: Location) -> None:
    table = pandas.read_parquet(Path(results.name) / shard_name(0))
    assert table.labels[0].tolist() == ["dog", "person"] and table.boxes[1][1].tolist() == [1, 2, 31, 40]
    assert json.loads(table.settings[0]) == RUN.settings and set(table.model) == {"coco"}
    query = f"SELECT image, boxes[1][3] FROM '{results.name}/part-*.parquet' WHERE list_contains(labels, 'dog')"
    assert duckdb.sql(query).fetchall() == [("p/1.jpg", 30), ("p/2.jpg", 30)]


def test_a_run_that_is_not_finished_names_the_first_missing_part(results: Location) -> None:
    (Path(results.name) / shard_name(1)).unlink()
    assert missing_pieces(results, 2) == [1]
    with pytest.raises(InputError, match=r"lacks 1 of 2 parts, such as part-00000001\.parquet"):
        list(read_entries(results))


@pytest.mark.parametrize("data", [b"", b"PAR1 no", b"{}", b'{"format": "inception-rcnn archive", "version": 9}'])
def test_damaged_files_are_named(results: Location, data: bytes) -> None:
    (Path(results.name) / shard_name(1)).write_bytes(data)
    with pytest.raises((InputError, DataFormatError), match=r"part-00000001\.parquet"):
        list(read_entries(results))
    (Path(results.name) / "run.json").write_bytes(data)
    with pytest.raises(DataFormatError, match=r"run\.json"):
        read_run(results)


def test_other_settings_classes_or_photographs_are_refused(results: Location) -> None:
    def asked(**changes: object) -> RunDescription:
        return RunDescription(**{**vars(RUN), **changes})  # type: ignore[arg-type]

    RUN.check_same(results, asked())
    with pytest.raises(InputError, match=r"made with proposals\.width = 500, now 400 is asked for"):
        RUN.check_same(results, asked(settings={"seed": 0, "proposals": {"width": 400}}))
    with pytest.raises(InputError, match="made with classes"):
        RUN.check_same(results, asked(class_names=("cat",)))
    with pytest.raises(InputError, match=r"run\.json was begun by another version of this package; use that one, or"):
        RUN.check_same(results, asked(settings={**RUN.settings, "code": "1"}))
    with pytest.raises(InputError, match=r"begun with .4 then, 5 now"):
        RUN.check_same(results, asked(settings={**RUN.settings, "pieces_sha256": "1"}, photographs=5))


@pytest.mark.parametrize("value", ["Infinity", "1e400", "1" * 99, "-1", "10000001"])
def test_more_pieces_than_there_can_be_are_not_waited_for(results: Location, value: str) -> None:
    path = Path(results.name) / "run.json"
    path.write_text(path.read_text().replace('"pieces": 2', f'"pieces": {value}'))
    with pytest.raises(DataFormatError, match=r"run\.json"):
        list(read_entries(results))


def test_pages_that_are_damaged_are_named(results: Location) -> None:
    path = Path(results.name) / shard_name(1)
    whole = path.read_bytes()
    for start in (4, len(whole) - 60):
        path.write_bytes(whole[:start] + b"\xff" * 40 + whole[start + 40 :])
        with pytest.raises((InputError, DataFormatError), match=r"part-00000001\.parquet"):
            list(read_entries(results))


def test_parts_that_are_damaged_or_older_than_a_photograph_are_to_be_done(results: Location) -> None:
    assert outdated_pieces(results, ["", ""]) == ([], 1)
    assert outdated_pieces(results, ["", "", ""]) == ([2], 1)
    write_shard(results, 0, ROWS[0], RUN, "0f")
    assert outdated_pieces(results, ["0f", "0e"]) == ([1], 0)
    file = Path(results.name) / shard_name(0)
    whole = file.read_bytes()
    for data in (b"", whole[: len(whole) // 2], whole[:4] + bytes(len(whole) - 1000) + whole[-996:]):
        file.write_bytes(data)
        assert outdated_pieces(results, ["0f", ""]) == ([0], 1)


def test_parts_of_which_nothing_says_how_they_were_made_are_refused(results: Location) -> None:
    (Path(results.name) / "run.json").unlink()
    with pytest.raises(InputError, match=r"has part-00000000\.parquet but no run\.json, .* remove its 2 parts"):
        check_no_parts(results)


def test_a_row_says_what_computed_it(results: Location) -> None:
    rows = [row("p/1.jpg"), replace(row("p/2.jpg"), arithmetic="bfloat16 on cuda")]
    write_shard(results, 0, rows, RUN)
    found = pandas.read_parquet(Path(results.name) / shard_name(0)).settings
    assert json.loads(found[0]) == RUN.settings
    assert json.loads(found[1]) == {**RUN.settings, "arithmetic": "bfloat16 on cuda"}


def test_it_is_scored_as_detections(results: Location) -> None:
    box = np.array([[1, 2, 30, 40]], np.float32)
    truths = [
        GroundTruth(box, np.array([0]), ("dog",), image_id=number, width=100, height=80) for number in (1, 2, 3, 4)
    ]
    table = GroundTruthTable.from_ground_truths(truths)
    read = read_detections(results.name, table, "coco")
    assert read.detections.image.tolist() == [0, 1, 1] and read.detections.label.tolist() == [0, 0, 0]
    assert np.allclose(read.detections.score, [0.9, 0.8, 0.3])
    assert any("1 photographs could not be read when it was made" in note and "p/4.jpg" in note for note in read.notes)


def by_hand(have: list[str], lack: list[str], least: float) -> list[tuple[str, float]]:
    """The slow, obvious search."""
    found = []
    for one in (row for rows in ROWS for row in rows if row.error is None):
        best = {
            name: [float(s) for n, s in zip(one.labels, one.scores, strict=True) if n == name and s >= least]
            for name in NAMES
        }
        if all(best[name] for name in have) and not any(best[name] for name in lack):
            found.append((one.image, min([max(best[name]) for name in have], default=1.0)))
    return sorted(found, key=lambda one: (-one[1], one[0]))


@pytest.mark.parametrize("have", [[], ["dog"], ["dog", "person"], ["cat"]])
@pytest.mark.parametrize("lack", [[], ["person"], ["dog", "cat"]])
@pytest.mark.parametrize("least", [0.0, 0.35, 0.85])
def test_search_finds_what_the_obvious_one_finds(
    results: Location, have: list[str], lack: list[str], least: float
) -> None:
    found = search_archive(results.name, have, lack, least=least)
    assert [(one.image, one.score) for one in found] == by_hand(have, lack, least)


def test_search_refuses_an_unknown_class_and_runs_nothing_typed(results: Location) -> None:
    with pytest.raises(InputError, match="'dig' is none; such as cat, dog, person"):
        search_archive(results.name, ["dig"])
    with pytest.raises(InputError, match=r"there is no .*nowhere"):
        search_archive(results.name + "/nowhere", ["dog"])
    assert len(search_archive(results.name, ["dog"], limit=1)) == 1


def test_search_says_that_parts_are_missing_and_takes_no_others(results: Location) -> None:
    write_shard(results, 2, [row("p/5.jpg", ("dog", 1.0))], RUN)  # of another run
    assert [one.image for one in search_archive(results.name, ["dog"])] == ["p/1.jpg", "p/2.jpg"]
    (Path(results.name) / shard_name(0)).unlink()
    with pytest.warns(UserWarning, match="lacks 1 of 2 parts, whose photographs are not searched"):
        assert search_archive(results.name, ["dog"]) == []
    (Path(results.name) / shard_name(1)).write_bytes(b"PAR1 no")
    with pytest.warns(UserWarning), pytest.raises(InputError, match="cannot be searched"):
        search_archive(results.name, ["dog"])
    (Path(results.name) / shard_name(1)).unlink()
    with pytest.raises(InputError, match="has no results yet"):
        search_archive(results.name, ["dog"])
