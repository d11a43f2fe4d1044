"""Which photographs an archive has: folders, lists, Parquet, a bucket; pieces, and the bytes in them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from skimage import data

from inception_rcnn.datasets.archive import sources, storage
from inception_rcnn.datasets.archive.manifest import INDEX, PIECES, drafted
from inception_rcnn.datasets.archive.sources import Piece, pieces_of
from inception_rcnn.datasets.archive.storage import Location, UnreachableError
from inception_rcnn.structures import DataFormatError, InputError


def jpeg(side: int = 40) -> bytes:
    """A small photograph's bytes."""
    file = io.BytesIO()
    Image.fromarray(data.chelsea()[:side, :side]).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five photographs in three folders, beside what is none."""
    for name in ("b/2.jpg", "b/10.JPG", "a.png", "b/c/x y.jpg", "b/c/é.webp"):
        path = tmp_path / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg())
    (tmp_path / "photographs" / "notes.txt").write_text("nothing")
    (tmp_path / "photographs" / ".hidden.jpg").write_bytes(jpeg())
    (tmp_path / "photographs" / "b" / ".cache").mkdir()
    (tmp_path / "photographs" / "b" / ".cache" / "z.jpg").write_bytes(jpeg())
    return tmp_path / "photographs"


def names(pieces: list[Piece]) -> list[str]:
    return [photograph.name for piece in pieces for photograph in piece.photographs()]


def test_a_folder_is_taken_with_all_in_it_in_order_in_pieces(folder: Path) -> None:
    pieces = list(pieces_of(str(folder), 2))
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    wanted = ["a.png", "b/10.JPG", "b/2.jpg", "b/c/x y.jpg", "b/c/é.webp"]
    assert names(pieces) == [f"{folder}/{name}" for name in wanted]
    assert {photograph.data for piece in pieces for photograph in piece.photographs()} == {jpeg()}


def test_some_photographs_of_a_piece_are_read_alone(folder: Path) -> None:
    (piece,) = pieces_of(str(folder), 100)
    assert [one.name for one in piece.photographs(1, 3)] == names([piece])[1:3]


def test_a_file_that_went_since_is_a_line_and_the_rest_comes(folder: Path) -> None:
    (piece,) = pieces_of(str(folder), 100)
    (folder / "b" / "2.jpg").unlink()
    found = list(piece.photographs())
    assert [one.error is None for one in found] == [True, True, False, True, True]
    assert found[2].error == f"there is no {folder}/b/2.jpg" and found[2].data is None


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(folder: Path) -> None:
    (folder / "a.png").unlink()
    os.mkfifo(folder / "a.png")
    (piece,) = pieces_of(str(folder), 100)
    assert next(piece.photographs()).error == f"{folder}/a.png is no file"


@pytest.mark.parametrize("name", ["a\0b.png", "a" * 5000])
def test_a_name_that_no_file_can_have_is_a_line(folder: Path, name: str) -> None:
    (folder / "some.txt").write_text(f"a.png\n{name}\n")
    found = [one for piece in pieces_of(str(folder / "some.txt"), 9) for one in piece.photographs()]
    assert found[0].error is None and found[1].error is not None


def test_a_bucket_is_a_folder_by_its_uri() -> None:
    for name in ("x/1.jpg", "x/y/2.jpg", "x/readme.md"):
        Location(f"memory://archive/{name}").write(jpeg())
    pieces = list(pieces_of("memory://archive/x", 10))
    assert names(pieces) == ["memory://archive/x/1.jpg", "memory://archive/x/y/2.jpg"]
    assert next(pieces[0].photographs()).data == jpeg()


def test_a_list_names_paths_from_here_from_beside_it_and_uris(folder: Path) -> None:
    Location("memory://listed/1.jpg").write(jpeg())
    listed = folder.parent / "photographs" / "some.txt"
    listed.write_text(f"# some\n{folder}/a.png\n\nb/2.jpg\nmemory://listed/1.jpg\n")
    found = names(list(pieces_of(str(listed), 2)))
    assert found == [f"{folder}/a.png", f"{folder}/b/2.jpg", "memory://listed/1.jpg"]


def write_rows(path: Path, columns: dict[str, object], rows_a_group: int = 3) -> None:
    parquet.write_table(arrow.table(columns), path, row_group_size=rows_a_group)


def test_parquet_has_photographs_as_bytes(tmp_path: Path) -> None:
    rows = [jpeg(20 + row) for row in range(5)]
    write_rows(tmp_path / "a.parquet", {"key": [f"k{row}" for row in range(5)], "image": rows, "label": [1] * 5})
    pieces = list(pieces_of(str(tmp_path / "a.parquet"), 2))
    assert [len(piece) for piece in pieces] == [2, 1, 2]  # no piece goes over the end of a row group
    found = [photograph for piece in pieces for photograph in piece.photographs()]
    assert [one.name for one in found] == [f"k{row}" for row in range(5)]
    assert [one.data for one in found] == rows
    assert [one.name for one in pieces[2].photographs(1)] == ["k4"]


def test_parquet_with_bytes_in_a_field_and_no_names(tmp_path: Path) -> None:
    rows = [{"bytes": jpeg(), "path": "x"}, {"bytes": None, "path": "y"}, None]
    write_rows(tmp_path / "a.parquet", {"image": rows})
    found = [one for piece in pieces_of(str(tmp_path), 10) for one in piece.photographs()]
    assert [one.name for one in found] == [f"{tmp_path}/a.parquet#0-{row}" for row in range(3)]
    assert [one.data for one in found] == [jpeg(), None, None]
    assert found[1].error == f"{tmp_path}/a.parquet#0-1 has no bytes"


def test_pieces_survive_being_written_down(folder: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.parquet", {"image": [jpeg()] * 4})
    for source in (folder, tmp_path / "a.parquet"):
        pieces = list(pieces_of(str(source), 2))
        results = Location(str(tmp_path / "results" / source.name))
        with drafted(pieces) as draft:
            draft.write(results)
            manifest = draft.in_folder(results)
        assert manifest.photographs == sum(map(len, pieces))
        assert [manifest.piece(number) for number in range(manifest.pieces)] == pieces


def test_a_manifest_cut_off_is_named(folder: Path, tmp_path: Path) -> None:
    results = Location(str(tmp_path / "results"))
    with drafted(pieces_of(str(folder), 2)) as draft:
        draft.write(results)
        manifest = draft.in_folder(results)
    for name in (PIECES, INDEX):
        file = tmp_path / "results" / name
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) - 12])
        with pytest.raises(InputError, match=f"{PIECES} is damaged at piece 2"):
            manifest.piece(2)
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing", "there is no folder .*missing"),
        ("empty", "there is no image and no Parquet file in .*empty"),
        ("notes.md", "an archive is a folder, a list .* or Parquet, not .*notes.md"),
        ("nothing.txt", "nothing.txt names nothing"),
        ("no.parquet", "no.parquet is no Parquet file"),
        ("numbers.parquet", "numbers.parquet has no column with the bytes of images; it has a, b"),
        ("two.parquet", "two.parquet has several columns of bytes .left, right.; name one: --image-column"),
        ("gs1://bucket/x", "gs1://bucket/x cannot be opened: Protocol not known: gs1"),
    ],
)
def test_what_is_no_archive_is_one_line(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "nothing.txt").write_text("# only a note\n")
    (tmp_path / "no.parquet").write_text("x")
    write_rows(tmp_path / "numbers.parquet", {"a": [1], "b": [2]})
    write_rows(tmp_path / "two.parquet", {"left": [b"1"], "right": [b"2"]})
    with pytest.raises(InputError, match=message) as caught:
        list(pieces_of(source if "://" in source else str(tmp_path / source), 10))
    assert "\n" not in str(caught.value)


def test_columns_are_taken_as_named(tmp_path: Path) -> None:
    columns = {"left": [b"1"], "right": [b"2"], "who": ["me"]}
    write_rows(tmp_path / "two.parquet", columns)
    (piece,) = pieces_of(str(tmp_path / "two.parquet"), 10, image_column="right", id_column="who")
    assert [(one.name, one.data) for one in piece.photographs()] == [("me", b"2")]
    with pytest.raises(InputError, match="has no column 'whom'"):
        list(pieces_of(str(tmp_path / "two.parquet"), 10, image_column="right", id_column="whom"))
    with pytest.raises(InputError, match="has no column 'who' with the bytes of images"):
        list(pieces_of(str(tmp_path / "two.parquet"), 10, image_column="who"))


def test_a_list_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xff\x00\x81")
    with pytest.raises(DataFormatError, match=r"list\.txt"):
        list(pieces_of(str(tmp_path / "list.txt"), 10))


def test_a_folder_that_cannot_be_listed_is_no_folder_without_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "closed/b.jpg"):
        Location(f"memory://half/{name}").write(jpeg())
    memory = type(Location("memory://half")._system[0])
    usual = memory.ls

    def refuses(self: object, path: str, *given: object, **options: object) -> object:
        if path.endswith("closed"):
            raise PermissionError("access denied")
        return usual(self, path, *given, **options)

    monkeypatch.setattr(memory, "ls", refuses)
    with pytest.raises(InputError, match=r"memory://half/closed cannot be reached: access denied"):
        list(pieces_of("memory://half", 10))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> type:
    """The file system in memory, and no waiting for services."""
    monkeypatch.setattr(storage, "_WAITS", (0.0, 0.0))
    return type(Location("memory://any")._system[0])


@pytest.mark.parametrize(
    ("error", "times"), [(OSError(16, "slow down"), 3), (PermissionError("expired"), 1), (RuntimeError("no route"), 3)]
)
def test_a_service_that_does_not_answer_is_asked_again_and_then_ends_the_run(
    memory: type, monkeypatch: pytest.MonkeyPatch, error: Exception, times: int
) -> None:
    Location("memory://down/1.jpg").write(jpeg())
    (piece,) = pieces_of("memory://down", 10)
    asked: list[str] = []

    def refuses(self: object, path: str, *given: object, **options: object) -> bytes:
        asked.append(path)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(memory, "cat_file", refuses)
        with pytest.raises(UnreachableError, match=r"^memory://down/1\.jpg cannot be reached: .*\w"):
            list(piece.photographs())
    assert len(asked) == times
    assert next(piece.photographs()).data == jpeg()


def test_what_a_server_says_of_one_address_is_of_that_one(memory: type, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Exception):
        status = 410

    Location("memory://gone/1.jpg").write(jpeg())
    (piece,) = pieces_of("memory://gone", 10)

    def refuses(self: object, path: str, *given: object, **options: object) -> bytes:
        raise Gone("gone for good")

    monkeypatch.setattr(memory, "cat_file", refuses)
    assert next(piece.photographs()).error == "memory://gone/1.jpg is refused: gone for good"


def test_a_file_that_is_too_large_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MOST_BYTES", 100)
    (piece,) = pieces_of(str(folder), 100)
    (folder / "a.png").write_bytes(bytes(101))
    found = next(piece.photographs())
    assert found.data is None and found.error == f"{folder}/a.png has 101 bytes, more than 100; store it smaller"


def test_a_photograph_that_changes_changes_the_stamp_of_its_piece_alone(folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{folder}/a.png\n{folder}/b/2.jpg\n")
    write_rows(tmp_path / "a.parquet", {"image": [jpeg()]})
    Location("memory://stamps/1.jpg").write(jpeg())
    given = {str(folder): 2, str(listed): 1, str(tmp_path / "a.parquet"): 1, "memory://stamps": 1}
    before = {source: [piece.stamp for piece in pieces_of(source, size)] for source, size in given.items()}
    assert before == {source: [piece.stamp for piece in pieces_of(source, size)] for source, size in given.items()}
    (folder / "a.png").write_bytes(jpeg(50))
    write_rows(tmp_path / "a.parquet", {"image": [jpeg(50)]})
    Location("memory://stamps/1.jpg").write(jpeg(50))
    for source, size in given.items():
        others = [piece.stamp != stamp for piece, stamp in zip(pieces_of(source, size), before[source], strict=True)]
        assert others == [True] + [False] * (len(others) - 1), source


def test_a_large_row_group_is_read_some_rows_at_a_time(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [random.bytes(50_000) for _ in range(400)]
    pages = {"write_batch_size": 8, "use_dictionary": False}  # a page is read at once
    parquet.write_table(arrow.table({"image": rows}), tmp_path / "a.parquet", **pages)
    with pytest.warns(UserWarning, match=r"a\.parquet has 400 photographs in a row group, .* row_group_size=10$"):
        pieces = list(pieces_of(str(tmp_path / "a.parquet"), 10))
    before = arrow.total_allocated_bytes()
    for place, photograph in enumerate(pieces[7].photographs(3), start=73):
        assert photograph.data == rows[place]
        assert arrow.total_allocated_bytes() - before < 5_000_000  # of 20
    assert place == 79


def test_parquet_that_is_damaged_in_the_middle_is_a_row_for_each_photograph(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.parquet", {"image": [jpeg()] * 3})
    (piece,) = pieces_of(str(tmp_path / "a.parquet"), 10)
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[:4] + bytes(200) + whole[204:])
    found = list(piece.photographs())
    assert [one.data for one in found] == [None] * 3
    assert all(one.error and one.error.startswith(f"{tmp_path}/a.parquet#0-") for one in found)


def test_what_is_written_where_files_grow_takes_its_name_when_whole(
    memory: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_OBJECT_STORES", ())
    usual = memory.pipe_file  # type: ignore[attr-defined]

    def breaks(self: object, path: str, value: bytes, **options: object) -> None:
        usual(self, path, value[: len(value) // 2], **options)
        raise OSError(5, "the line is down")

    place = Location("memory://grows/found/part.parquet")
    place.write(b"whole")
    assert place.read() == b"whole" and Location("memory://grows/found").names() == {"part.parquet"}
    monkeypatch.setattr(memory, "pipe_file", breaks)
    with pytest.raises(UnreachableError, match="the line is down"):
        place.write(b"another")
    assert place.read() == b"whole"


def test_a_path_written_as_a_uri_is_the_path(folder: Path) -> None:
    assert Location(f"file://{folder}/a.png").name == f"{folder}/a.png"
    assert names(list(pieces_of(f"file://{folder}", 100))) == names(list(pieces_of(str(folder), 100)))
