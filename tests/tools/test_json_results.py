"""The file of --json: what is in it after each image, after a kill, and what it is not added to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from inception_rcnn.structures import DataFormatError, InputError, sha256_of
from inception_rcnn.structures.jobs import code_fingerprint
from inception_rcnn.tools import json_results
from inception_rcnn.tools.json_results import JsonResults, check_json_target

SETTINGS = {"weights": ["ab"], "score_threshold": 0.3, "proposals": {"top_k": 200, "sides": (1, 2)}}


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three files."""
    paths = [tmp_path / f"{name}.jpg" for name in "abc"]
    for path in paths:
        path.write_text(f"pixels of {path.name}")
    return paths


@pytest.fixture
def opened(images: list[Path]) -> Iterator[Callable[..., JsonResults]]:
    """Opens a file of results of the three images, closed at the end."""
    with ExitStack() as stack:

        def open_(path: Path, images: Sequence[Path] = images, **changes: Any) -> JsonResults:
            return stack.enter_context(closing(JsonResults(path, "detections", SETTINGS | changes, images)))

        yield open_


def entry(image: Path, **more: Any) -> dict[str, Any]:
    return {"image": str(image), "detections": [], **more}


def in_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_image_is_in_the_file_as_soon_as_it_is_done(
    tmp_path: Path, images: list[Path], opened: Callable[..., JsonResults]
) -> None:
    path = tmp_path / "x.jsonl"
    results = opened(path)
    head = {"format": "inception-rcnn detections", "version": 1, "settings": json.loads(json.dumps(SETTINGS))}
    head["code"] = code_fingerprint()
    assert in_lines(path) == [head] and not results.done
    for count, image in enumerate(images, start=1):
        results.add(entry(image))
        results.add(entry(image))  # named twice
        assert len(in_lines(path)) == 1 + count
    results.finish()
    assert in_lines(path)[1:] == [entry(image, sha256=sha256_of(image)) for image in images]
    assert opened(path).done == {str(image) for image in images}


def test_the_checksum_is_of_the_file_that_was_read(
    tmp_path: Path, images: list[Path], opened: Callable[..., JsonResults]
) -> None:
    results, others = opened(tmp_path / "x.jsonl"), ["other pixels"]

    def read() -> str:
        text = images[0].read_text()
        if others:
            images[0].write_text(others.pop())
        return text

    assert results.read(str(images[0]), read) == "other pixels"
    checksum = sha256_of(images[0])
    images[0].write_text("changed before its line is written")
    results.add(entry(images[0]))
    assert in_lines(tmp_path / "x.jsonl")[1]["sha256"] == checksum
    assert results.read("-", lambda: "standard input") == "standard input"


def test_a_document_is_whole_at_the_end_and_its_lines_wait_until_then(
    tmp_path: Path, images: list[Path], opened: Callable[..., JsonResults]
) -> None:
    path, part = tmp_path / "x.json", tmp_path / "x.json.part"
    path.write_text("an older one")
    first = opened(path)
    first.add(entry(images[2]))
    first.add(entry(images[0]))
    first.close()
    assert path.read_text() == "an older one" and len(in_lines(part)) == 3
    second = opened(path)
    assert second.done == {str(images[0]), str(images[2])}
    second.add(entry(images[1], error="cannot be read"))
    second.finish()
    assert [one["image"] for one in json.loads(path.read_text())] == [str(image) for image in images]
    assert not part.exists()
    assert not opened(path).done, "a finished document is made anew, as ever"


@pytest.mark.parametrize("torn", [b'{"image": "', b'{"image": 3', b"\0\0\0\0", b'{"image": "x"}', b'{"image": \n'])
def test_a_torn_last_line_is_dropped_and_its_image_done_again(
    torn: bytes, tmp_path: Path, images: list[Path], opened: Callable[..., JsonResults]
) -> None:
    path = tmp_path / "x.jsonl"
    results = opened(path)
    results.add(entry(images[0]))
    results.close()
    before = path.read_bytes()
    path.write_bytes(before + torn)
    results = opened(path)
    assert results.done == {str(images[0])} and path.read_bytes() == before
    results.add(entry(images[1]))
    assert [one["image"] for one in in_lines(path)[1:]] == [str(images[0]), str(images[1])]


def test_what_a_full_disk_cut_off_is_done_again(
    tmp_path: Path, images: list[Path], opened: Callable[..., JsonResults], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jsonl"
    results = opened(path)
    results.add(entry(images[0]))
    file = results._file

    class Full:
        def write(self, data: bytes) -> None:
            file.write(data[: len(data) // 2])
            file.flush()
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(results, "_file", Full())
        with pytest.raises(OSError, match="No space left"):
            results.add(entry(images[1]))
    again = opened(path)
    assert again.done == {str(images[0])} and len(in_lines(path)) == 2


def test_what_changed_or_could_not_be_read_is_done_again_and_what_was_not_asked_for_stays(
    tmp_path: Path, images: list[Path], opened: Callable[..., JsonResults]
) -> None:
    path = tmp_path / "x.jsonl"
    results = opened(path)
    for image in images:
        results.add(entry(image, **({"error": "damaged"} if image == images[1] else {})))
    results.add(entry(tmp_path / "absent.jpg", error="does not exist"))
    results.close()
    images[2].write_text("other pixels")
    other = tmp_path / "d.jpg"
    other.write_text("d")
    again = opened(path, [images[1], images[2], other])
    assert again.done == frozenset()
    assert [one["image"] for one in in_lines(path)[1:]] == [str(images[0]), str(tmp_path / "absent.jpg")]
    again.add(entry(images[1]))
    again.close()
    assert opened(path).done == {str(images[0]), str(images[1])}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score_threshold": 0.5}, "was made with score_threshold = 0.3, now 0.5 is asked for; use the old setting or"),
        ({"proposals": {"top_k": 100, "sides": (1, 2)}}, r"was made with proposals\.top_k = 200, now 100 is asked for"),
        ({"calibration": {"slope": 2.0}}, r"calibration\.slope = None, now 2\.0"),
    ],
)
@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_a_file_made_with_other_settings_is_not_added_to(
    name: str, changes: dict[str, Any], message: str, tmp_path: Path, images: list[Path],
    opened: Callable[..., JsonResults],
) -> None:  # fmt: skip
    results = opened(tmp_path / name)
    results.add(entry(images[0]))
    results.close()
    before = results.lines.read_bytes()
    with pytest.raises(InputError, match=message) as caught:
        opened(tmp_path / name, **changes)
    assert "\n" not in str(caught.value) and results.lines.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        *(b"my notes", b"my notes\n", b'{"image": "a.jpg"}\n', b"[1, 2]\n", b"\n"),
        b'{"format": "inception-rcnn proposals", "version": 1, "settings": {}}\n',
    ],
)
def test_a_file_of_something_else_is_left_as_it_is(
    content: bytes, tmp_path: Path, opened: Callable[..., JsonResults]
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.jsonl is there already and its first line .*; it is left as it is, name"):
        opened(path)
    assert path.read_bytes() == content


def test_a_newer_file_and_a_damaged_one_are_refused(
    tmp_path: Path, images: list[Path], opened: Callable[..., JsonResults]
) -> None:
    path = tmp_path / "x.jsonl"
    results = opened(path)
    results.add(entry(images[0]))
    results.close()
    whole = path.read_text()
    path.write_text(whole.replace('"version": 1', '"version": 2'))
    with pytest.raises(InputError, match="is of version 2, this is inception-rcnn for 1"):
        opened(path)
    head, line = whole.splitlines()
    for damaged in ("{", '{"picture": "a.jpg"}', "7"):
        path.write_text(f"{head}\n{damaged}\n{line}\n")
        with pytest.raises(DataFormatError, match=r"x\.jsonl, line 2: is not the JSON object of an image"):
            opened(path)


def test_names_that_are_no_unicode_are_written(tmp_path: Path, opened: Callable[..., JsonResults]) -> None:
    image = tmp_path / "caf\udce9.jpg"
    image.write_text("pixels")
    for name in ("x.jsonl", "x.json"):
        results = opened(tmp_path / name, [image])
        results.add(entry(image))
        results.finish()
    assert json.loads((tmp_path / "x.json").read_text())[0]["image"] == str(image)
    assert opened(tmp_path / "x.jsonl", [image]).done == {str(image)}


def test_a_target_that_cannot_be_is_refused_before_the_work(tmp_path: Path) -> None:
    check_json_target(None)
    check_json_target(tmp_path / "x.json")
    (tmp_path / "y.json.part").mkdir()
    for wrong in (tmp_path / "absent" / "x.json", tmp_path, tmp_path / "y.json"):
        with pytest.raises(InputError, match="cannot write"):
            check_json_target(wrong)


@pytest.mark.parametrize(("name", "stays"), [("x.json", 0), ("x.jsonl", 2)])
def test_what_older_code_left_of_a_document_is_done_again_and_lines_stay_with_a_warning(
    tmp_path: Path,
    images: list[Path],
    opened: Callable[..., JsonResults],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    stays: int,
) -> None:
    stopped = opened(tmp_path / name)
    for image in images[:2]:
        stopped.add(entry(image))
    stopped.close()
    monkeypatch.setattr(json_results, "code_fingerprint", lambda: "newer")
    for _ in range(2):  # the warning comes again: the lines are what they were
        again = opened(tmp_path / name)
        assert len(again.done) == stays
        assert capsys.readouterr().err.count("was begun by another version") == (1 if stays else 0)
        again.close()
    assert in_lines(again.lines)[0]["code"] == (code_fingerprint() if stays else "newer")
