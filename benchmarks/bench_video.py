"""Frames of a video against photographs: how many a second, and what following things costs.

    python benchmarks/bench_video.py --frames 24

A photograph that ships with scikit-image is panned over and written as a video of 480 x 320 pixels; the same views are
written as photographs, JPEG. Both are read once, prepared ahead, drawn on and written as they came; in the video,
things are followed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine_line
from numpy.typing import NDArray
from skimage import data

from inception_rcnn.datasets.video import Tracker, VideoFrames, VideoWriter
from inception_rcnn.detector import Detector, load_detector
from inception_rcnn.structures import draw_detections, resize_image, write_picture
from inception_rcnn.structures.progress import StageClock

WINDOW = (480, 320)


def windows(count: int) -> list[NDArray[np.uint8]]:
    """Views that move over a photograph."""
    scene = resize_image(data.astronaut(), 720, 720)
    width, height = WINDOW
    steps = np.linspace(0, 1, count)
    return [
        np.ascontiguousarray(scene[int(y) : int(y) + height, int(x) : int(x) + width])
        for x, y in zip(steps * (720 - width), steps * (720 - height) * 0.5, strict=True)
    ]


def photographs_a_second(detector: Detector, folder: Path, count: int) -> float:
    """Read, detect, draw, write."""
    paths = [folder / f"{k}.jpg" for k in range(count)]
    started = time.perf_counter()
    for path, prepared in zip(paths, detector.prepare_ahead(paths), strict=True):
        done = prepared.result()
        write_picture(path.with_stem(f"{path.stem}-drawn"), draw_detections(done.image, detector(done)))
    return count / (time.perf_counter() - started)


def frames_a_second(detector: Detector, folder: Path, clock: StageClock) -> float:
    """Read, detect, follow, draw, write."""
    tracker, count, started = Tracker(), 0, time.perf_counter()
    with VideoFrames(folder / "clip.mp4") as frames, VideoWriter(folder / "drawn.mp4", frames.rate) as writer:
        for prepared in detector.prepare_ahead(iter(frames)):
            done = prepared.result()
            found = detector(done)
            with clock.stage("following"):
                found, _ = tracker.follow(found)
            writer.write(draw_detections(done.image, found))
            count += 1
    return count / (time.perf_counter() - started)


def main() -> None:
    """Write, detect, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    detector, clock = load_detector(), StageClock()
    print(machine_line("numpy", "torch", "opencv-python"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with VideoWriter(folder / "clip.mp4", 25) as writer:
            for k, view in enumerate(windows(asked.frames)):
                writer.write(view)
                write_picture(folder / f"{k}.jpg", view)
        detector(folder / "0.jpg")  # kernels and networks are ready
        for number in range(1, asked.rounds + 1):
            still = photographs_a_second(detector, folder, asked.frames)
            film = frames_a_second(detector, folder, clock)
            share = clock.seconds.pop("following") * film / asked.frames
            print(
                f"round {number}: {still:.2f} photographs/s, {film:.2f} frames/s, following {100 * share:.2f} % of it"
            )


if __name__ == "__main__":
    main()
