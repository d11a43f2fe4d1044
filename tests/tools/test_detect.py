"""`inception-rcnn detect`, with the shipped model on few regions of small pictures."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from inception_rcnn.datasets.video import VideoFrames, VideoWriter
from inception_rcnn.detector.pipeline import PreparedImage
from inception_rcnn.structures import Detections, InputError, pairwise_iou, sha256_of
from inception_rcnn.tools import cli
from inception_rcnn.tools.detect_outputs import Crops, write_results
from inception_rcnn.tools.detect_run import DetectRun
from inception_rcnn.tools.detect_sources import find_sources


def detect(*arguments: str | Path) -> int:
    """The exit status of the command, asked for few proposals so that it stays quick."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["detect", *(str(word) for word in arguments), "--max-proposals", "12", "--device", "cpu"])
    return int(exit_.value.code or 0)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A small JPEG of a cat."""
    path = tmp_path / "cat.jpg"
    Image.fromarray(data.chelsea()).resize((225, 150)).save(path)
    return path


def test_one_photograph_gives_table_picture_and_json(photograph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photograph.parent / "out.json"
    assert detect(photograph, "--json", out, "--score-threshold", "0.05") == 0
    (entry,) = json.loads(out.read_text())
    assert (entry["width"], entry["height"], entry["image"]) == (225, 150, str(photograph))
    assert entry["detections"], "at a threshold of 0.05 something is found"
    for found in entry["detections"]:
        x1, y1, x2, y2 = found["box"]
        assert 0 <= x1 < x2 <= 225 and 0 <= y1 < y2 <= 150
        assert 0.05 <= found["score"] <= 1
    with Image.open(photograph.parent / "cat-detections.jpg") as picture:
        assert picture.size == (225, 150)
    printed = capsys.readouterr().out
    assert entry["detections"][0]["label"] in printed and "cat-detections.jpg" in printed


def test_a_folder_with_a_bad_file_is_done_to_the_end_and_exits_with_1(photograph: Path, tmp_path: Path) -> None:
    (tmp_path / "a-note.png").write_text("not an image")
    out = tmp_path / "results" / "out.json"
    out.parent.mkdir()
    assert detect(tmp_path, "--json", out, "--quiet") == 1
    bad, good = json.loads(out.read_text())
    assert "a-note.png" in bad["error"] and bad["detections"] == [] and bad["width"] is None
    assert "error" not in good and good["width"] == 225
    assert (tmp_path / "detections" / "cat-detections.jpg").is_file()


def test_pictures_of_equal_names_do_not_overwrite_each_other(photograph: Path, tmp_path: Path) -> None:
    with Image.open(photograph) as picture:
        picture.save(tmp_path / "cat.webp")
    assert detect(photograph, tmp_path / "cat.webp", "--output", tmp_path / "out", "--quiet") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cat-detections-2.jpg", "cat-detections.jpg"]


def test_a_higher_threshold_gives_a_part_of_the_same_detections(photograph: Path, tmp_path: Path) -> None:
    lists = []
    for threshold in ("0", "0.2"):
        out = tmp_path / f"{threshold}.json"
        assert detect(photograph, "--json", out, "--score-threshold", threshold, "--one-name-iou", "0", "--quiet") == 0
        lists.append(json.loads(out.read_text())[0]["detections"])
    assert lists[1] == [found for found in lists[0] if found["score"] >= 0.2]
    assert len(lists[0]) > len(lists[1])


def test_one_thing_is_shown_with_one_name_unless_all_are_asked_for(photograph: Path, tmp_path: Path) -> None:
    lists = []
    for number, asked in enumerate(([], ["--one-name-iou", "0"])):
        out = tmp_path / f"{number}.json"
        assert detect(photograph, "--json", out, "--score-threshold", "0.0005", "--quiet", *asked) == 0
        lists.append(json.loads(out.read_text())[0]["detections"])
    shown, every = lists
    most = []
    for boxes in ([one["box"] for one in each] for each in lists):
        most.append((pairwise_iou(boxes, boxes) - np.eye(len(boxes))).max())
    assert most[0] < 0.8 <= most[1]
    assert shown[0] == every[0] and len(shown) < len(every) and all(one in every for one in shown)


def test_an_ensemble_of_a_model_with_itself_changes_nothing(photograph: Path, tmp_path: Path) -> None:
    from inception_rcnn.detector.checkpoints import weights_path

    shipped = weights_path("coco")
    lists = []
    for number, weights in enumerate(([], ["--weights", shipped, shipped])):
        out = tmp_path / f"{number}.json"
        assert detect(photograph, "--json", out, "--quiet", *weights) == 0
        lists.append(json.loads(out.read_text())[0]["detections"])
    assert lists[0] == lists[1]


def test_the_model_that_warps_is_one_word_away(photograph: Path, tmp_path: Path) -> None:
    lists = []
    for number, words in enumerate((["--regions", "warp"], ["--weights", "coco-mini"])):
        out = tmp_path / f"{number}.json"
        assert detect(photograph, "--json", out, "--quiet", *words) == 0
        lists.append(json.loads(out.read_text())[0]["detections"])
    assert lists[0] == lists[1] != []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--weights", "coco-mini", "--regions", "pool"], "coco-mini has regions=warp, regions=pool was asked for"),
        (["--weights", "nowhere.safetensors"], "no weights at nowhere.safetensors"),
        (["--weights", "coco-mimi"], "ilsvrc-nolrn, six, ilsvrc-six; did you mean coco-mini?"),
        (["--weights", "sixx"], "did you mean six?"),
        (["--weights", "coco-mini", "coco-mimi"], "did you mean coco-mini?"),  # a second name is no image
        (["--weights", "bvlc_googlenet.caffemodel"], "a start for training (train --pretrained"),
        (["--output", __file__], "is a file; name another folder"),
        (["--device", "abacus"], "unknown device 'abacus'"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    photograph: Path, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["detect", str(photograph), *arguments])
    error = capsys.readouterr().err
    assert exit_.value.code == 1 and error.startswith("error: ") and text in error and error.count("\n") == 1


def test_a_picture_that_cannot_be_written_is_reported_and_the_others_are_done(
    photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inception_rcnn.structures.drawing._LONGEST_JPEG", 230)
    Image.fromarray(data.chelsea()).resize((231, 20)).save(tmp_path / "a-long-one.webp")
    out = tmp_path / "results" / "out.json"
    out.parent.mkdir()
    assert detect(tmp_path, "--json", out, "--quiet") == 1
    long, good = json.loads(out.read_text())
    assert "a-long-one-detections.jpg cannot be a JPEG: 231 x 20 pixels" in long["error"]
    assert "error" not in good and (tmp_path / "detections" / "cat-detections.jpg").is_file()


def test_json_that_cannot_be_written_is_refused_before_anything_is_done(
    photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert detect(photograph, "--json", tmp_path / "absent" / "out.json") == 1
    assert "absent does not exist; create it first" in capsys.readouterr().err
    assert not (tmp_path / "cat-detections.jpg").exists()


def test_an_empty_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect(tmp_path) == 1
    assert "no images in" in capsys.readouterr().err


def test_without_an_argument_a_bundled_photograph_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert detect() == 0
    with Image.open(tmp_path / "runs" / "chelsea-detections.png") as picture:
        assert picture.size == (451, 300)
    assert "chelsea.png" in capsys.readouterr().out


def in_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of images in a file of JSON Lines."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def test_json_lines_grow_and_the_same_command_skips_what_is_there(
    photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "images", tmp_path / "out.jsonl"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(photograph.read_bytes())
    (folder / "b.jpg").write_text("not an image")
    assert detect(folder, "--json", out, "--quiet") == 1
    first = in_lines(out)
    assert [Path(one["image"]).name for one in first] == ["a.jpg", "b.jpg"] and "b.jpg" in first[1]["error"]
    assert first[0]["sha256"] == sha256_of(photograph) and (first[0]["width"], first[0]["height"]) == (225, 150)
    (folder / "b.jpg").write_bytes(photograph.read_bytes())
    capsys.readouterr()
    assert detect(folder, "--json", out) == 0
    assert f"1 of 2 images are in {out} already" in capsys.readouterr().out
    second = in_lines(out)
    assert second[0] == first[0] and second[1]["detections"] == first[0]["detections"] and "error" not in second[1]
    before = out.read_bytes()
    (folder / "detections" / "a-detections.jpg").unlink()
    assert detect(folder, "--json", out) == 0
    assert f"1 of 2 images are in {out} already" in capsys.readouterr().out
    assert (folder / "detections" / "a-detections.jpg").is_file() and in_lines(out) == [second[1], second[0]]
    before = out.read_bytes()
    assert detect(folder, "--json", out, "--quiet", "--iou-threshold", "0.45") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "out.jsonl was made with iou_threshold = " in line and "now 0.45 is asked for" in line
    assert detect(folder, "--json", out, "--quiet", "--weights", "coco-mini") == 1
    assert "out.jsonl was made with " in capsys.readouterr().err and out.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_what_was_done_survives_a_kill_and_the_next_run_goes_on(photograph: Path, tmp_path: Path) -> None:
    folder, out, part = tmp_path / "images", tmp_path / "out.json", tmp_path / "out.json.part"
    folder.mkdir()
    for number in range(24):
        (folder / f"{number:02}.jpg").write_bytes(photograph.read_bytes())
    tool = Path(__file__).resolve().parents[2] / "tools" / "detect.py"
    options = (str(folder), "--json", str(out), "--quiet", "--device", "cpu", "--runtime", "torch")
    run = subprocess.Popen([sys.executable, str(tool), *options, "--max-proposals", "12"])
    try:
        deadline = time.monotonic() + 120
        while not (part.exists() and part.read_bytes().count(b"\n") > 2):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        run.kill()
        run.wait()
    done = part.read_bytes().count(b"\n") - 1
    assert 2 <= done < 24 and not out.exists()
    pictures = folder / "detections"
    times = {path.name: path.stat().st_mtime_ns for path in pictures.iterdir()}
    assert detect(*options[:4]) == 0
    assert [Path(one["image"]).name for one in json.loads(out.read_text())] == [f"{one:02}.jpg" for one in range(24)]
    assert not part.exists()
    kept = [name for name, when in times.items() if (pictures / name).stat().st_mtime_ns == when]
    assert len(kept) == done and len(list(pictures.iterdir())) == 24


def test_a_video_is_drawn_and_each_frame_that_was_looked_at_has_its_object(
    photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.array(Image.open(photograph))
    with VideoWriter(tmp_path / "clip.avi", 10) as writer:
        for number in range(4):
            writer.write(np.ascontiguousarray(pixels[:, number : number + 200]))
    out, table = tmp_path / "out.jsonl", tmp_path / "out.csv"
    command = (tmp_path / "clip.avi", "--json", out, "--every", "2", "--track", "--score-threshold", "0.05")
    for _ in range(2):  # the second time, all is done again, and stands there once
        assert detect(*command, "--write", f"csv:{table}") == 0
    first, second = in_lines(out)
    assert (first["image"], first["frame"], first["seconds"]) == (f"{tmp_path / 'clip.avi'}#1", 1, 0.0)
    assert (second["frame"], second["seconds"], second["width"]) == (3, 0.2, 200)
    assert first["detections"][0]["track"] == 1
    assert len(table.read_text().splitlines()) == 1 + len(first["detections"]) + len(second["detections"])
    with VideoFrames(tmp_path / "clip-detections.mp4") as frames:
        assert (frames.rate, len(list(frames))) == (10, 4)
    streams = capsys.readouterr()
    assert "4 frames, 2 looked at, drawn in" in streams.out and "photographs and frames, " in streams.err


def test_pages_lists_and_standard_input(
    photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(photograph) as first:
        first.save(tmp_path / "two.tif", save_all=True, append_images=[first.transpose(Image.Transpose.ROTATE_90)])
    (tmp_path / "list.txt").write_text("# what to look at\ntwo.tif\ncat.jpg\n")
    out, crops = tmp_path / "out.json", tmp_path / "crops"
    options = ("--json", out, "--no-pictures", "--score-threshold", "0.05", "--crops", crops)
    assert detect(tmp_path / "list.txt", "--pages", *options) == 0
    entries = json.loads(out.read_text())
    assert [Path(one["image"]).name for one in entries] == ["two.tif#1", "two.tif#2", "cat.jpg"]
    assert [(one["width"], one["height"]) for one in entries] == [(225, 150), (150, 225), (225, 150)]
    assert not list(tmp_path.glob("*-detections*"))
    best = entries[2]["detections"][0]
    with Image.open(crops / best["label"] / "cat-1.jpg") as crop:
        x1, y1, x2, y2 = best["box"]
        assert crop.size == (int(np.ceil(x2) - np.floor(x1)), int(np.ceil(y2) - np.floor(y1)))
    capsys.readouterr()

    class Piped:
        def __init__(self, data: bytes) -> None:
            self.buffer = io.BytesIO(data)

    for piped in (photograph.read_bytes(), f"{photograph}\n".encode()):
        monkeypatch.setattr("sys.stdin", Piped(piped))
        assert detect("-", "--json", out, "--no-pictures", "--score-threshold", "0.05", "--tile", "0") == 0
        (entry,) = json.loads(out.read_text())
        assert entry["image"] in ("-", str(photograph)) and entry["detections"] == entries[2]["detections"]
    monkeypatch.setattr("sys.stdin", Piped(b""))
    assert detect("-") == 1 and "nothing on standard input" in capsys.readouterr().err


def test_what_cannot_be_written_or_read_is_refused_before_the_weights_are_read(
    photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n")
    for arguments, status, text in (
        ((photograph, "--write", "xls:x.xls"), 2, "FORMAT one of csv, parquet, coco"),
        ((photograph, "--write", f"csv:{tmp_path}/absent/x.csv"), 1, "absent does not exist; create it first"),
        ((tmp_path / "empty.txt",), 1, "empty.txt names nothing"),
    ):
        assert detect(*arguments) == status
        assert text in " ".join(capsys.readouterr().err.split())
    assert detect(tmp_path / "absent.mp4", "--no-pictures") == 1
    assert "there is no video" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_done_and_the_same_command_goes_on(
    photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out, table = tmp_path / "images", tmp_path / "out.json", tmp_path / "out.csv"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(photograph.read_bytes())
    options = (folder, "--json", out, "--write", f"csv:{table}", "--score-threshold", "0.05")
    detect_one, calls = DetectRun._detect, []

    def stopped(run: DetectRun, prepared: Any) -> Any:
        calls.append(prepared)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return detect_one(run, prepared)

    with monkeypatch.context() as patch:
        patch.setattr(DetectRun, "_detect", stopped)
        patch.setattr("signal.signal", lambda *_: None)  # what ends a process at once is not for that of the tests
        assert detect(*options) == 130
    assert "interrupted" in capsys.readouterr().err and not out.exists()
    assert {Path(line.split(",")[0]).name for line in table.read_text().splitlines()[1:]} == {"a.jpg"}
    assert detect(*options) == 0
    assert "1 of 2 images are in" in capsys.readouterr().out
    assert [Path(one["image"]).name for one in json.loads(out.read_text())] == ["a.jpg", "b.jpg"]
    assert {Path(line.split(",")[0]).name for line in table.read_text().splitlines()[1:]} == {"a.jpg", "b.jpg"}


class Sees:
    """Stands in for a detector: sees things of these classes in every picture."""

    class_names = ("cat", "dog")

    def __init__(self, *labels: int) -> None:
        self.labels = labels

    def workers_ahead(self, workers: int | None) -> tuple[int, int | None]:
        return 0, None

    def prepare(self, image: Any, threads: int | None = None) -> PreparedImage:
        return PreparedImage(image=image if isinstance(image, np.ndarray) else np.array(Image.open(image)))

    def __call__(self, prepared: PreparedImage) -> Detections:
        boxes = [[10 * k, 0, 10 * k + 8, 8] for k in range(len(self.labels))]
        scores = [0.9 - 0.1 * k for k in range(len(self.labels))]
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, list(self.labels), self.class_names)


def cut_and_written(sees: Sees, folder: Path, *arguments: Path, every: int = 1) -> DetectRun:
    """Looks at what is named, tracked; cut-outs go to a folder, what was found to a table."""
    run = DetectRun(
        sees,  # type: ignore[arg-type]
        None,
        [("csv", folder / "found.csv")],
        tiles=None,
        draws=True,
        crops=Crops(folder / "cut"),
        workers=0,
        quiet=True,
    )
    sources = find_sources(arguments, folder / "drawn", recursive=True, pages=False)
    run.all_of(sources, track=True, every=every, limit=None)
    return run


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_cut_outs_of_equal_names_are_apart_and_those_of_an_earlier_run_go(photograph: Path, tmp_path: Path) -> None:
    for day in ("1", "2"):
        (tmp_path / "days" / day).mkdir(parents=True)
        (tmp_path / "days" / day / "IMG.jpg").write_bytes(photograph.read_bytes())
    cut_and_written(Sees(0, 1), tmp_path, tmp_path / "days")
    assert names_in(tmp_path / "cut") == ["cat/IMG-1.jpg", "cat/IMG-2-1.jpg", "dog/IMG-2-2.jpg", "dog/IMG-2.jpg"]
    own = tmp_path / "cut" / "cat" / "IMG-7.jpg"
    own.write_bytes(photograph.read_bytes())  # which was not cut out here
    cut_and_written(Sees(1), tmp_path, tmp_path / "days")
    assert names_in(tmp_path / "cut") == ["cat/IMG-7.jpg", "dog/IMG-1.jpg", "dog/IMG-2-1.jpg"]


def test_a_video_is_cut_out_and_one_that_breaks_off_is_reported_while_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.avi", "b.avi"):
        with VideoWriter(tmp_path / name, 10) as writer:
            for _ in range(3):
                writer.write(np.zeros((32, 48, 3), np.uint8))
    write = VideoWriter.write

    def breaks(self: VideoWriter, frame: Any) -> None:
        if self.path.name.startswith("a-") and self._written == 2:
            raise InputError("frames should be of one size")
        write(self, frame)

    monkeypatch.setattr(VideoWriter, "write", breaks)
    run = cut_and_written(Sees(1), tmp_path, tmp_path / "*.avi", every=2)
    assert run.failed == 1 and "frames should be of one size" in capsys.readouterr().err
    assert names_in(tmp_path / "drawn") == ["b-detections.mp4"]
    assert names_in(tmp_path / "cut") == ["dog/a-000001-1.jpg", "dog/b-000001-1.jpg", "dog/b-000003-1.jpg"]
    lines = (tmp_path / "found.csv").read_text().splitlines()
    assert lines[0].endswith(",frame,track") and [line[-4:] for line in lines[1:]] == [",1,1", ",1,1", ",3,1"]


def test_what_was_found_is_written_after_an_error_and_one_file_that_fails_does_not_keep_the_others(
    photograph: Path, tmp_path: Path
) -> None:
    class Fails(Sees):
        def __call__(self, prepared: PreparedImage) -> Detections:
            self.labels = self.labels[1:]
            if not self.labels:
                raise InputError("no more")
            return super().__call__(prepared)

    with pytest.raises(InputError, match="no more"):
        cut_and_written(Fails(0, 1), tmp_path, photograph, photograph)
    assert len((tmp_path / "found.csv").read_text().splitlines()) == 2
    entry = {"image": "a.jpg", "width": 9, "height": 9, "detections": []}
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_results([("yolo", tmp_path / "file"), ("csv", tmp_path / "more.csv")], [entry], ("cat",))
    assert (tmp_path / "more.csv").is_file()
