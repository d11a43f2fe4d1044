"""Videos read and written: what comes out is what went in, and what is no video is said."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inception_rcnn.datasets.video import VideoFrames, VideoWriter, is_video
from inception_rcnn.structures import InputError


def frame(number: int) -> NDArray[np.uint8]:
    """A frame whose colour says its number, red rising and blue falling."""
    return np.full((48, 64, 3), (20 * number, 100, 240 - 20 * number), np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    with VideoWriter(path, 12.5) as writer:
        for number in range(8):
            writer.write(frame(number))
    return path


def test_frames_come_back_in_order_with_their_rate_and_their_colours_the_right_way_round(clip: Path) -> None:
    with VideoFrames(clip) as frames:
        assert (frames.rate, frames.count, frames.name) == (12.5, 8, str(clip))
        found = list(frames)
    assert frames.read == 8 and frames.missing == 0
    for number, one in enumerate(found):
        assert one.shape == (48, 64, 3) and one.dtype == np.uint8 and one.flags.c_contiguous
        assert np.abs(one.astype(int) - frame(number)).max() <= 12, "JPEG's loss, no more"


def test_an_mp4_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with VideoWriter(path, 25) as writer:
        writer.write(frame(1))
        assert not path.exists()
    assert path.is_file() and [one.name for one in tmp_path.iterdir()] == ["x.mp4"]


def test_what_was_written_stays_when_the_user_stops_it_and_goes_after_an_error(tmp_path: Path) -> None:
    for error, left in ((KeyboardInterrupt, ["x.mp4"]), (ZeroDivisionError, [])):
        folder = tmp_path / error.__name__
        folder.mkdir()
        with pytest.raises(error), VideoWriter(folder / "x.mp4", 25) as writer:
            writer.write(frame(1))
            raise error
        assert [one.name for one in folder.iterdir()] == left


def test_a_video_without_a_frame_is_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "x.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_frames_that_a_cut_off_file_promised_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with VideoWriter(tmp_path / "whole.avi", 10) as writer:
        for _ in range(8):
            writer.write(rng.integers(0, 256, (96, 128, 3), np.uint8))
    data = (tmp_path / "whole.avi").read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(data[: len(data) * 2 // 3])
    with VideoFrames(cut) as frames:
        assert 0 < len(list(frames)) < 8
        assert frames.count is None or frames.missing == frames.count - frames.read


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video" * 99)
    for source, text in (
        (tmp_path / "absent.mp4", "there is no video"),
        (tmp_path / "text.mp4", "is no video that OpenCV reads; ffmpeg"),
        (99, "camera:99 is no camera; is it plugged in"),
    ):
        with pytest.raises(InputError, match=text):
            VideoFrames(source)
    with pytest.raises(InputError, match=r"should end in \.mp4 or \.avi, got x\.gif"):
        VideoWriter(tmp_path / "x.gif", 25)
    with pytest.raises(InputError, match="rate should be above 0"):
        VideoWriter(tmp_path / "x.mp4", 0)
    with pytest.raises(InputError, match="like the first"), VideoWriter(tmp_path / "x.mp4", 25) as writer:
        writer.write(frame(1))
        writer.write(frame(1)[:40])


def test_videos_are_known_by_their_endings() -> None:
    assert is_video("a/b.MOV") and is_video(Path("x.webm")) and not is_video("x.gif") and not is_video("mp4")


@pytest.mark.skipif(sys.platform == "win32", reason="there files have no such limit")
@pytest.mark.parametrize("name", ["x.mp4", "x.avi"])
def test_a_video_that_the_disk_has_no_room_for_is_an_error_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    import resource

    frames, before = np.random.default_rng(0).integers(0, 256, (8, 64, 96, 3), np.uint8), resource.RLIMIT_FSIZE
    limits = resource.getrlimit(before)
    writer = VideoWriter(tmp_path / name, 25)
    resource.setrlimit(before, (4096, limits[1]))
    try:
        for frame in frames:
            writer.write(frame)
        with pytest.raises(OSError, match=r"of 8 frames; is the disk full\?"):
            writer.close()
    finally:
        resource.setrlimit(before, limits)
    assert not list(tmp_path.iterdir())
