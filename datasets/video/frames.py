"""Frames of a video file or a camera, one after the other, and frames written as a video. OpenCV does both.

Sound is left out: OpenCV neither reads nor writes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import InputError
from inception_rcnn.structures.files import check_target, temporary_beside
from inception_rcnn.structures.images import check_rgb

VIDEO_ENDINGS: Final = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
_USUAL_RATE: Final = 25.0  # where a file or a camera does not say it
_CODECS: Final = {".mp4": "mp4v", ".avi": "MJPG"}


def is_video(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a video, by how its name ends.

    >>> is_video("clip.MP4"), is_video("cat.jpg")
    (True, False)
    """
    return os.path.splitext(os.fspath(path))[1].lower() in VIDEO_ENDINGS


class VideoFrames:
    """The frames of a video file or a camera, read one at a time; use it in a `with` statement.

    What cannot be decoded ends the iteration, as the file's end does: OpenCV does not tell one from the other.
    `missing` says how many frames the file promised beyond those that came.

    Args:
        source: A file, or the number of a camera, the first being 0.

    Attributes:
        name: Of the file, or "camera:0".
        rate: Frames a second, as the source says; 25 where it does not.
        count: How many the file says it has; None: not known, as for a camera.
        read: How many were read so far.

    Raises:
        InputError: There is no such file or camera, or it cannot be read as a video.
    """

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        import cv2  # half a second, and most who import this room read no video

        self.name = f"camera:{source}" if isinstance(source, int) else os.fspath(source)
        if not isinstance(source, int) and not Path(source).is_file():
            raise InputError(f"there is no video {self.name}; check the path (now in {os.getcwd()})")
        self._capture: Any = cv2.VideoCapture(source if isinstance(source, int) else self.name)
        if not self._capture.isOpened():
            self._capture.release()
            what = "camera" if isinstance(source, int) else "video that OpenCV reads"
            remedy = "is it plugged in, and free?" if isinstance(source, int) else "ffmpeg -i FILE new.mp4 converts it"
            raise InputError(f"{self.name} is no {what}; {remedy}")
        said = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = said if 0 < said < 1000 else _USUAL_RATE
        frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = frames if not isinstance(source, int) and frames > 0 else None
        self.read = 0

    @property
    def missing(self) -> int:
        """How many frames the file says it has and did not give; asked for at the end."""
        return max((self.count or 0) - self.read, 0)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Return an iterator over the frames that are left: (H, W, 3) uint8 RGB, upright."""
        while True:
            came, frame = self._capture.read()
            if not came or frame is None:
                return
            self.read += 1
            yield np.ascontiguousarray(frame[:, :, ::-1])

    def close(self) -> None:
        """Close the file, or free the camera."""
        self._capture.release()

    def __enter__(self) -> Self:
        """Return the frames."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, or free the camera."""
        self.close()


class VideoWriter:
    """A video that is written frame by frame, under its name only once it is closed.

    Args:
        path: *.mp4 (MPEG-4 part 2) or *.avi (Motion JPEG); its folder must exist.
        rate: Frames a second.

    Raises:
        InputError: The name ends otherwise, the folder does not exist, or the rate is not above 0.
    """

    def __init__(self, path: str | os.PathLike[str], rate: float) -> None:
        self.path = check_target(path)
        if self.path.suffix.lower() not in _CODECS:
            raise InputError(f"a video should end in {' or '.join(_CODECS)}, got {self.path.name}")
        if not rate > 0:
            raise InputError(f"rate should be above 0 frames a second, got {rate}")
        self._rate = float(rate)
        self._temporary = temporary_beside(self.path, self.path.suffix)
        self._writer: Any = None
        self._size: tuple[int, int] | None = None
        self._written = 0

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame, (H, W, 3) uint8 RGB; all are as large as the first.

        Raises:
            InputError: It is of another size, or this OpenCV cannot write such a video.
        """
        check_rgb(frame, "frame")
        size = (frame.shape[1], frame.shape[0])
        if self._writer is None:
            self._open(size)
        if size != self._size:
            raise InputError(f"frames should be of {self._size} pixels like the first, got {size}")
        self._writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
        self._written += 1

    def _open(self, size: tuple[int, int]) -> None:
        import cv2

        codec = cv2.VideoWriter.fourcc(*_CODECS[self.path.suffix.lower()])
        self._writer, self._size = cv2.VideoWriter(os.fspath(self._temporary), codec, self._rate, size), size
        if not self._writer.isOpened():
            self.discard()
            raise InputError(f"this OpenCV cannot write {self.path.name}; pip install opencv-python, or name an .avi")

    def close(self) -> None:
        """Finish the file, and give it its name; without a frame there is none.

        Raises:
            OSError: It does not hold all frames, as on a full disk; none is left.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            self._check_whole()
            os.replace(self._temporary, self.path)
        except BaseException:
            self.discard()
            raise

    def _check_whole(self) -> None:
        """Raise if the file does not hold all frames: OpenCV does not say so when it cannot write."""
        import cv2

        capture = cv2.VideoCapture(os.fspath(self._temporary))
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if frames < self._written:
            raise OSError(f"{self.path} holds {max(frames, 0)} of {self._written} frames; is the disk full?")

    def discard(self) -> None:
        """Leave no file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        with suppress(FileNotFoundError):
            self._temporary.unlink()

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file; after an error leave none, but keep what was written when the user stopped it."""
        if error is None or isinstance(error, KeyboardInterrupt):
            self.close()
        else:
            self.discard()
