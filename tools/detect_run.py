"""The work of `detect`: photographs and videos through a detector, each drawn, printed and written as it is done."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import closing, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inception_rcnn.tools.cli import echo
from inception_rcnn.tools.detect_outputs import Crops, Targets, write_results
from inception_rcnn.tools.detect_sources import Film, Sources, Still, say_left_out
from inception_rcnn.tools.image_arguments import say_pages

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from inception_rcnn.datasets.video import Tracker, VideoWriter
    from inception_rcnn.detector import Detector
    from inception_rcnn.detector.pipeline import PreparedImage
    from inception_rcnn.detector.tiling import TileSettings
    from inception_rcnn.structures import Detections
    from inception_rcnn.structures.progress import ProgressBar
    from inception_rcnn.tools.json_results import JsonResults

_MANY = 3  # photographs, from which on there is a bar


class DetectRun:
    """Detects on what was asked for, and counts.

    Args:
        detector: Its settings are those asked for.
        results: The file of --json; None: none.
        targets: What else to write at the end.
        tiles: How photographs are cut; None: they are not.
        draws: Whether pictures are drawn.
        crops: For what is in the boxes; None: nowhere.
        workers: Threads that work ahead; None: as suits.
        quiet: No table, no progress, no summary.

    Attributes:
        failed: How many photographs and videos could not be read or drawn.
    """

    def __init__(
        self,
        detector: Detector,
        results: JsonResults | None,
        targets: Targets,
        *,
        tiles: TileSettings | None,
        draws: bool,
        crops: Crops | None,
        workers: int | None,
        quiet: bool,
    ) -> None:
        self._detector, self._results, self._targets = detector, results, targets
        self._tiles, self._draws, self._crops = tiles, draws, crops
        self._workers, self._quiet = workers, quiet
        self._entries: list[dict[str, Any]] = []
        self.failed = self._images = self._objects = 0
        self._frames_too = False

    def all_of(self, sources: Sources, *, track: bool, every: int, limit: int | None) -> None:
        """Do it all, and write what is written at the end; stopped by Ctrl-C or an error, what was done is written.

        Args:
            sources: Photographs, then videos.
            track: Whether things are followed through a video.
            every: Of a video, every such frame is looked at.
            limit: Of a video, at most so many frames; None: all.
        """
        from inception_rcnn.structures import InceptionError

        started = time.perf_counter()
        try:
            self._photographs(sources.stills)
            for film in sources.films:
                self._film(film, track=track, every=every, limit=limit)
            if self._results is not None:
                self._write()
                self._results.finish()
        except KeyboardInterrupt:
            self._write()
            raise
        except (InceptionError, OSError):  # as of a full disk, which may have room for less, or another one for this
            with suppress(InceptionError, OSError):
                self._write()
            raise
        finally:
            if not self._quiet:
                self._say_summary(time.perf_counter() - started)
        if self._results is None:
            self._write()

    def _write(self) -> None:
        """Write what --write asks for, of earlier runs too, if --json knows them."""
        if self._targets:
            entries = self._entries if self._results is None else self._results.entries()
            write_results(self._targets, entries, self._detector.class_names)

    def _add(self, entry: dict[str, Any]) -> None:
        """Keep the object of an image."""
        self.failed += "error" in entry
        self._images += 1
        self._objects += len(entry["detections"])
        if self._results is not None:
            self._results.add(entry)
        elif self._targets:
            self._entries.append(entry)

    def _say_summary(self, seconds: float) -> None:
        """Say on the error stream how much was done."""
        if self._images == 0:
            return
        what = "photograph" if self._images == 1 else "photographs and frames" if self._frames_too else "photographs"
        failed = f", {self.failed} failed" if self.failed else ""
        echo(
            f"{self._images} {what}, {self._objects} object{'' if self._objects == 1 else 's'}, "
            f"{seconds / self._images:.2f} s a photograph{failed}",
            err=True,
        )

    def _photographs(self, stills: Sequence[Still]) -> None:
        from inception_rcnn.structures import progress_bar
        from inception_rcnn.structures.ahead import run_ahead

        workers, threads = self._detector.workers_ahead(self._workers)
        with (
            progress_bar(len(stills), "photographs", quiet=self._quiet or len(stills) < _MANY) as bar,
            closing(run_ahead(lambda still: self._prepare(still, threads), stills, workers=workers)) as ready,
        ):
            for still, done in zip(stills, ready, strict=True):
                self._add(self._one(still, done))
                bar.advance(1)

    def _prepare(self, still: Still, threads: int | None) -> PreparedImage:
        """Return a photograph that was read and searched; what is seen in tiles is searched tile by tile."""
        from inception_rcnn.detector.pipeline import PreparedImage
        from inception_rcnn.structures import load_image

        def read() -> NDArray[np.uint8]:
            return load_image(still.read())

        image = read() if self._results is None else self._results.read(still.name, read)
        if self._tiles is not None:
            return PreparedImage(image=image)
        return self._detector.prepare(image, threads=threads)

    def _one(self, still: Still, done: Future[PreparedImage]) -> dict[str, Any]:
        """Detect on one image, print, draw, and return its JSON entry."""
        from inception_rcnn.structures import ImageError, draw_detections, write_picture

        entry: dict[str, Any] = {"image": still.name, "width": None, "height": None, "detections": []}
        try:
            prepared = done.result()
        except (ImageError, OSError) as error:
            return _failed(entry, error)
        if still.file is not None and still.page is None:
            say_pages(still.file)
        found, pixels = self._detect(prepared), prepared.image
        height, width = pixels.shape[:2]
        try:
            if self._draws:
                write_picture(still.picture, draw_detections(pixels, found))
            if self._crops is not None:
                self._crops.write(still.stem, found, pixels)
        except ImageError as error:
            return _failed(entry, error)
        if not self._quiet:
            _print_table(still.name, still.picture if self._draws else None, found)
        page = {} if still.page is None else {"page": still.page}
        return {**entry, **page, "width": width, "height": height, "detections": found.to_records()}

    def _detect(self, prepared: PreparedImage) -> Detections:
        from inception_rcnn.detector.tiling import detect_in_tiles

        if self._tiles is None:
            return self._detector(prepared)
        return detect_in_tiles(self._detector, prepared.image, self._tiles)

    def _film(self, film: Film, *, track: bool, every: int, limit: int | None) -> None:
        """Detect on a video; one that cannot be read or drawn is reported."""
        from inception_rcnn.structures import InputError

        self._frames_too = True
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its lines have no file's name; ours follow
        try:
            self._shown(film, track=track, every=every, limit=limit)
        except InputError as error:
            entry: dict[str, Any] = {"image": film.name, "width": None, "height": None, "detections": []}
            self._add(_failed(entry, error))

    def _shown(self, film: Film, *, track: bool, every: int, limit: int | None) -> None:
        """Detect on a video.

        Raises:
            InputError: It cannot be read, or not drawn to its end.
        """
        from inception_rcnn.datasets.video import Tracker, VideoFrames, VideoWriter
        from inception_rcnn.structures import progress_bar

        frames = VideoFrames(film.source)
        if self._draws:
            film.picture.parent.mkdir(parents=True, exist_ok=True)
        total = frames.count if limit is None or frames.count is None else min(limit, frames.count)
        with (
            frames,
            VideoWriter(film.picture, frames.rate) if self._draws else nullcontext() as writer,
            progress_bar(total or limit, film.name, quiet=self._quiet) as bar,
        ):
            drawn = _Film(film, frames.rate, writer, Tracker() if track else None, self._crops, bar)
            self._frames(frames, drawn, every=every, limit=limit)
        if limit is None:
            say_left_out(frames.missing)
        if not self._quiet:
            where = f", drawn in {film.picture}" if self._draws and drawn.count else ""
            echo(f"{film.name}: {drawn.count} frames, {drawn.looked} looked at{where}")

    def _frames(self, frames: Iterable[NDArray[np.uint8]], drawn: _Film, *, every: int, limit: int | None) -> None:
        """Go through frames in groups, of which the first is looked at; the next group is searched meanwhile."""
        from inception_rcnn.detector.pipeline import PreparedImage
        from inception_rcnn.structures.ahead import in_groups, run_ahead

        workers, threads = self._detector.workers_ahead(self._workers)

        def prepare(group: tuple[NDArray[np.uint8], ...]) -> tuple[PreparedImage, tuple[NDArray[np.uint8], ...]]:
            if self._tiles is not None:
                return PreparedImage(image=group[0]), group
            return self._detector.prepare(group[0], threads=threads), group

        with closing(run_ahead(prepare, in_groups(islice(frames, limit), every), workers=workers)) as ready:
            for done in ready:
                prepared, group = done.result()
                self._add(drawn.show(group, self._detect(prepared)))


class _Film:
    """A video while it is drawn.

    Args:
        film: The source.
        rate: Frames a second.
        writer: Of the drawn video; None: it is not drawn.
        tracker: None: nothing is followed.
        crops: For what is in the boxes; None: nowhere.
        bar: Counts the frames.

    Attributes:
        count: Frames so far.
        looked: How many of them were looked at.
    """

    def __init__(
        self,
        film: Film,
        rate: float,
        writer: VideoWriter | None,
        tracker: Tracker | None,
        crops: Crops | None,
        bar: ProgressBar,
    ) -> None:
        self._film, self._rate, self._writer, self._tracker = film, rate, writer, tracker
        self._crops, self._bar = crops, bar
        self.count = self.looked = 0

    def show(self, group: tuple[NDArray[np.uint8], ...], found: Detections) -> dict[str, Any]:
        """Draw frames with what was found in the first of them, cut that out, and return its JSON entry."""
        from inception_rcnn.structures import draw_detections
        from inception_rcnn.structures.drawing import CaptionedBoxes

        number = self.count + 1
        records: list[Any] = []
        shown: Detections | CaptionedBoxes = found
        if self._tracker is not None:
            found, tracks = self._tracker.follow(found)
            texts = [f"{name} #{track}" for name, track in zip(found.names(), tracks.tolist(), strict=True)]
            shown = CaptionedBoxes(found.boxes, found.scores, found.labels, texts)
            records = [{**one, "track": k} for one, k in zip(found.to_records(), tracks.tolist(), strict=True)]
        if self._writer is not None:
            for frame in group:
                self._writer.write(draw_detections(frame, shown))
        if self._crops is not None:
            self._crops.write(f"{self._film.stem}-{number:06}", found, group[0])
        self.count += len(group)
        self.looked += 1
        self._bar.advance(len(group))
        height, width = group[0].shape[:2]
        return {
            "image": f"{self._film.name}#{number}",
            "frame": number,
            "seconds": round((number - 1) / self._rate, 3),
            "width": width,
            "height": height,
            "detections": records or found.to_records(),
        }


def _failed(entry: dict[str, Any], error: Exception) -> dict[str, Any]:
    """Report what is wrong with an image, and return its JSON entry."""
    echo(f"error: {error}", err=True)
    return {**entry, "error": str(error)}


def _print_table(name: str, picture: Path | None, found: Detections) -> None:
    drawn = "" if picture is None else f", drawn in {picture}"
    echo(f"{name}: {len(found)} object{'' if len(found) == 1 else 's'}{drawn}")
    for record in found.to_records():
        corners = " ".join(f"{value:7.1f}" for value in record["box"])
        echo(f"  {record['label']:<16} {record['score']:.3f}  {corners}")
