"""One image's way through the detector. Read this page first.

    path, bytes, array --load_image--> (H, W, 3) uint8 RGB
      --propose-----> Proposals: boxes (N, 4), most promising first, and objectness (N,) where MultiBox looked
      --select------> the first of them, near-duplicates left out
      --score-------> RegionScores: each region warped to 224 x 224, or pooled from one look at the image:
                      probabilities (members, N, C + 1), and box offsets where the weights have them
      --postprocess-> mean over the members x objectness, boxes moved, per-class threshold and NMS, cap --> Detections

Selective search needs no network, so it has a thread of its own: beside the networks' first look at the image where
there are processors for both; in a stream, and over a set, on the next images while the networks are at this one.

Source: Szegedy et al. 2014, "Going deeper with convolutions", section 8; Girshick et al. 2014 (R-CNN) and 2015 (Fast
R-CNN, for regions that are pooled).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, overload

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.backbones.runtime import leaves_processors
from inception_rcnn.detector.ensemble import Ensemble, RegionScores
from inception_rcnn.detector.postprocessing import DetectionSettings, postprocess
from inception_rcnn.detector.region_classifier import Look
from inception_rcnn.proposals.proposer import Proposer
from inception_rcnn.structures import (
    Detections,
    ImageError,
    ImageSource,
    InputError,
    Proposals,
    load_image,
    nms,
)
from inception_rcnn.structures.ahead import run_ahead
from inception_rcnn.structures.columns import html_table
from inception_rcnn.structures.drawing import photographs_in
from inception_rcnn.structures.errors import as_declared
from inception_rcnn.structures.images import is_one_image
from inception_rcnn.structures.jobs import available_processors
from inception_rcnn.structures.progress import StageClock

if TYPE_CHECKING:
    import torch

    from inception_rcnn.proposals.network.predictor import View

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]
OnError = Literal["raise", "skip", "return"]


class ObjectnessNetwork(Protocol):
    """What says how likely boxes fit an object, such as a `MultiBox`."""

    checksum: str

    def objectness(self, image: Image, boxes: Boxes, /) -> NDArray[np.float32]:
        """Return (N,) in [0, 1] for boxes (N, 4) of an image (H, W, 3)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedImage:
    """An image with what can be known of it before a network sees it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        proposals: All of its proposals, where they were given; None: the detector's own are asked for.
        searched: What selective search found, where the detector's own proposer uses it.
        path: The file that it was read from, None if there was none.
    """

    image: Image
    proposals: Proposals | None = None
    searched: Proposals | None = None
    path: Path | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Looked:
    """What networks saw of an image before its regions were known.

    Attributes:
        by_multibox: What `Proposer.look` returned; None: it did not look yet, or will not.
        by_members: What `Ensemble.look` returned; None: the members did not look yet.
    """

    by_multibox: tuple[View, Proposals] | None = None
    by_members: tuple[Look | None, ...] | None = None


class Detector:
    """Images in, detections out. The parts arrive through the constructor; each can be called alone.

    Several threads may call one detector at a time, and each gets what it would get alone. Another process gets it by
    pickle, and reads its files again.

    Args:
        propose: Image (H, W, 3) uint8 RGB -> proposals.
        ensemble: Classifies regions.
        settings: Thresholds and limits.
        multibox: Says how likely a box fits an object where the proposals do not say it themselves (stored without,
            for example); None: then the class probabilities stand alone.
        weights: What the members were loaded from, files or shipped names; empty where they were not.
        load_again: Loads the same for a device, for `to` and for pickle, by which another process gets it; None: it
            stays where it is.
    """

    def __init__(
        self,
        propose: Callable[[Image], Proposals],
        ensemble: Ensemble,
        settings: DetectionSettings,
        multibox: ObjectnessNetwork | None = None,
        weights: Sequence[str] = (),
        load_again: Callable[[str], Detector] | None = None,
    ) -> None:
        self.propose = propose
        self.ensemble = ensemble
        self.settings = settings
        self.multibox = multibox
        self.weights = tuple(weights)
        self._load_again = load_again

    def to(self, device: str) -> Detector:
        """Return the same detector on another device; its files are read again.

        Args:
            device: As for `load_detector`.

        Raises:
            InputError: It was not made by `load_detector`, or there is no such device.
        """
        if self._load_again is None:
            raise InputError("only a detector of load_detector can be loaded again, elsewhere or by another process")
        return _loaded_elsewhere(self._load_again, device, self.settings)

    def __copy__(self) -> Detector:
        """Return a detector of the same parts."""
        return self.with_settings()

    def __reduce__(self) -> tuple[Callable[..., Detector], tuple[Any, ...]]:
        """Pickle how to load it, not the weights: whoever unpickles it reads its files."""
        if self._load_again is None:
            raise InputError("only a detector of load_detector can be loaded again, elsewhere or by another process")
        return _loaded_elsewhere, (self._load_again, str(self.ensemble.runtime.device), self.settings)

    @property
    def device(self) -> torch.device:
        """Where the networks compute; `to` returns the same detector elsewhere."""
        return self.ensemble.runtime.device

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the C classes that labels are positions in."""
        return self.ensemble.class_names

    def __repr__(self) -> str:
        """Return in a line what it is: weights, classes, regions, proposals, threshold, where it computes."""
        return f"Detector({'; '.join(self._parts())})"

    def _repr_html_(self) -> str:
        """Return the same as a table, as notebooks show it."""
        heads = ("weights", "classes", "regions", "proposals", "scores", "computed")
        return html_table("Detector", (), zip(heads, self._parts(), strict=True))

    def _parts(self) -> tuple[str, ...]:
        """Return in words what it is made of."""
        members = self.ensemble.members
        ways = " and ".join(
            dict.fromkeys({"pool": "pooled", "warp": "warped"}[one.description.regions] for one in members)
        )
        source = self.propose.settings.source if isinstance(self.propose, Proposer) else "of its own"
        proposals = {"both": "selective search and MultiBox", "selective-search": "selective search"}.get(
            source, source
        )
        most, threshold = self.settings.max_proposals, self.settings.score_threshold
        return (
            ", ".join(self.weights) or f"{len(members)} network{'s' if len(members) > 1 else ''}",
            f"{len(self.class_names)} classes",
            f"{'all' if most is None else f'at most {most}'} regions {ways}",
            f"proposals {proposals}",
            f"score threshold {threshold:.3g}",
            str(self.ensemble.runtime),
        )

    @overload
    def __call__(self, image: ImageSource | PreparedImage, *, clock: StageClock | None = None) -> Detections: ...

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...], *, clock: StageClock | None = None) -> list[Detections]: ...

    def __call__(
        self, image: ImageSource | PreparedImage | list[Any] | tuple[Any, ...], *, clock: StageClock | None = None
    ) -> Detections | list[Detections]:
        """Return what is on one image, or on each of a list of images.

        Args:
            image: Whatever `load_image` reads: a path, bytes, an open file, a PIL image, an array, a tensor; what
                `prepare` made of one; or a list or tuple of such. `stream` takes them one by one, where there may be
                many or where some may be damaged.
            clock: Adds up the seconds of each stage, if given.

        Raises:
            ImageError: An image cannot be read; the message says why.
            InputError: They are several images, and no list.
        """
        clock = clock or StageClock()
        if isinstance(image, list | tuple):
            with closing(self.prepare_ahead(image)) as ready:
                return [self(done.result(), clock=clock) for done in ready]
        return self._detect(image, clock)

    def _detect(self, image: ImageSource | PreparedImage, clock: StageClock) -> Detections:
        """Return what is on one image."""
        if not isinstance(image, PreparedImage) and not is_one_image(image) and hasattr(image, "__iter__"):
            raise InputError(
                f"a detector takes one image or a list of them, got {type(image).__name__}; stream takes any others, "
                "one after the other"
            )
        path = image.path if isinstance(image, PreparedImage) else _path_of(image)
        if not isinstance(image, PreparedImage):
            with clock.stage("decode"):
                image = load_image(image)
        scores = self.score(image, clock=clock)
        with clock.stage("rest"):
            return replace(self.postprocess(scores), path=path)

    @overload
    def stream(
        self,
        images: ImageSource | PreparedImage | Iterable[ImageSource | PreparedImage],
        *,
        workers: int | None = None,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> Iterator[Detections]: ...

    @overload
    def stream(
        self,
        images: ImageSource | PreparedImage | Iterable[ImageSource | PreparedImage],
        *,
        workers: int | None = None,
        on_error: Literal["return"],
    ) -> Iterator[Detections | ImageError]: ...

    def stream(
        self,
        images: ImageSource | PreparedImage | Iterable[ImageSource | PreparedImage],
        *,
        workers: int | None = None,
        on_error: OnError = "raise",
    ) -> Iterator[Detections] | Iterator[Detections | ImageError]:
        """Return an iterator over the detections of one image after the other, in order: the same as call by call.

        While the networks are at one image, threads read the next ones and search boxes on them. `path` of the
        detections says which file they were found in.

        Args:
            images: As for a call, perhaps without end; or a folder, of which the images are taken in the order of their
                names, without the pictures that were drawn there. The caller's thread asks for them, a few ahead of
                their turn; an array has to stay as it is until then.
            workers: Threads, each with an image at a time; about two images more are in memory. 0: none, every image
                is asked for when it is its turn. None: as many as suit this machine.
            on_error: What becomes of an image that cannot be read. "raise": the stream ends there. "skip": a warning
                says what is wrong, and there are no detections of it, so that there are fewer than images. "return":
                the `ImageError` comes in the place of its detections.

        Raises:
            ImageError: An image cannot be read, at its place, unless `on_error` says otherwise.
            InputError: A folder has no images, or an option is none.
        """
        if on_error not in get_args(OnError):
            raise InputError(f"on_error should be {', '.join(get_args(OnError))}, got {on_error!r:.200}")
        return self._stream(self.prepare_ahead(_in_turn(images), workers=workers), on_error)

    def _stream(
        self, prepared: Generator[Future[PreparedImage], None, None], on_error: OnError
    ) -> Iterator[Detections | ImageError]:
        """Yield the detections of images that were prepared, and do with others what is asked for."""
        with closing(prepared) as ready:
            for done in ready:
                error = done.exception()
                if not isinstance(error, ImageError) or on_error == "raise":
                    yield self(done.result())
                elif on_error == "return":
                    yield error
                else:
                    warnings.warn(f"left out: {error}", stacklevel=2)

    def prepare_ahead(
        self, images: Iterable[ImageSource | PreparedImage], *, workers: int | None = None
    ) -> Generator[Future[PreparedImage], None, None]:
        """Yield for each image, in order, a finished future of what `prepare` makes of it, or of why that failed.

        What is to be detected on goes into a call of the detector: `detector(done.result())`.

        Args:
            images: As for `stream`.
            workers: As for `stream`.
        """
        workers, threads = self.workers_ahead(workers)
        return run_ahead(lambda image: self.prepare(image, threads=threads), images, workers=workers)

    def workers_ahead(self, workers: int | None = None) -> tuple[int, int | None]:
        """Return how many threads prepare images ahead of the networks, and how many selective search has in each.

        Args:
            workers: As many; None: as suit this machine.
        """
        as_declared("workers", workers, int | None)
        processors = available_processors()
        if workers is None:
            workers = 1 if self.ensemble.runtime.device.type == "cpu" else processors
        return workers, max(processors // workers, 1) if workers else None

    def prepare(
        self,
        image: ImageSource | PreparedImage,
        proposals: Proposals | None = None,
        *,
        threads: int | None = None,
        clock: StageClock | None = None,
    ) -> PreparedImage:
        """Return an image with what can be known of it before a network sees it; any thread may do this.

        Args:
            image: Whatever `load_image` reads, or what came out here before.
            proposals: Of this image, in place of the detector's own.
            threads: Of selective search; None: all processors.
            clock: Adds up the seconds of each stage, if given.

        Raises:
            ImageError: The image cannot be read; the message says why.
        """
        if isinstance(image, PreparedImage):
            return image if proposals is None else replace(image, proposals=proposals)
        clock, path = clock or StageClock(), _path_of(image)
        with clock.stage("decode"):
            pixels = load_image(image)
        if proposals is not None or not isinstance(self.propose, Proposer):
            return PreparedImage(image=pixels, proposals=proposals, path=path)
        with clock.stage("proposals"):
            return PreparedImage(image=pixels, searched=self.propose.search(pixels, threads=threads), path=path)

    def score(
        self, image: Image | PreparedImage, proposals: Proposals | None = None, *, clock: StageClock | None = None
    ) -> RegionScores:
        """Return what every member says of an image's regions, with the regions.

        Args:
            image: (H, W, 3) uint8 RGB, or what `prepare` returned.
            proposals: Of this image, in place of the detector's own.
            clock: Adds up the seconds of each stage, if given.
        """
        clock = clock or StageClock()
        if isinstance(image, PreparedImage):
            prepared, looked = self.prepare(image, proposals), Looked()
        elif proposals is None and isinstance(self.propose, Proposer) and leaves_processors(self.ensemble.runtime):
            prepared, looked = self._search_beside(self.propose, image, clock)
        else:
            prepared, looked = self.prepare(image, proposals, clock=clock), Looked()
        pixels = prepared.image
        with clock.stage("proposals"):
            selected = self.select(self._proposals(prepared, looked))
        if selected.objectness is None and self.multibox is not None and self.settings.objectness_power > 0:
            with clock.stage("objectness"):
                selected = replace(selected, objectness=self.multibox.objectness(pixels, selected.boxes))
        found = self.ensemble.score(pixels, selected.boxes, looks=looked.by_members, clock=clock)
        if self.settings.mirror:
            found = found.averaged(self.ensemble.score_mirrored(pixels, selected.boxes, clock=clock))
        height, width = pixels.shape[:2]
        return RegionScores(selected, found.probabilities, found.offsets, found.regresses, (width, height))

    def _search_beside(self, propose: Proposer, image: Image, clock: StageClock) -> tuple[PreparedImage, Looked]:
        """Search boxes on an image while the networks look at it; the networks compute on the caller's thread."""
        with ThreadPoolExecutor(1) as pool:
            searching = pool.submit(propose.search, image)
            with clock.stage("proposals"):
                seen = propose.look(image)
            with clock.stage("network"):
                looks = self.ensemble.look(image)
            with clock.stage("proposals"):
                searched = searching.result()
        return PreparedImage(image=image, searched=searched), Looked(by_multibox=seen, by_members=looks)

    def _proposals(self, image: PreparedImage, looked: Looked) -> Proposals:
        """Return an image's proposals: those given, or the detector's own.

        Raises:
            InputError: They are something else.
        """
        if image.proposals is None and isinstance(self.propose, Proposer):
            return self.propose.complete(image.image, image.searched, looked.by_multibox)
        found = self.propose(image.image) if image.proposals is None else image.proposals
        if not isinstance(found, Proposals):
            raise InputError(
                f"what proposes should return Proposals, such as Proposals.ordered(boxes, scores), got {found!r:.200}"
            )
        return found

    def select(self, proposals: Proposals) -> Proposals:
        """Return the proposals worth classifying: the first ones, near-duplicates of better-ranked ones left out."""
        most = self.settings.max_proposals
        if self.settings.duplicate_iou < 1:
            return proposals[nms(proposals.boxes, proposals.scores, self.settings.duplicate_iou, limit=most)]
        return proposals if most is None else proposals.top(most)

    def postprocess(self, scores: RegionScores) -> Detections:
        """Return detections from scored regions; see `postprocessing.py`."""
        return postprocess(scores, self.settings, self.ensemble.class_names)

    def with_settings(self, **changes: float | int | None) -> Detector:
        """Return the same detector with some settings changed, e.g. `with_settings(score_threshold=0.3)`."""
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        return Detector(self.propose, self.ensemble, settings, self.multibox, self.weights, self._load_again)


def _path_of(image: ImageSource) -> Path | None:
    """Return the file that an image is read from, if it is given by its name."""
    return Path(image) if isinstance(image, str | os.PathLike) else None


def _in_turn(
    images: ImageSource | PreparedImage | Iterable[ImageSource | PreparedImage],
) -> Iterable[ImageSource | PreparedImage]:
    """Return what a stream goes through: images as they come, those of a folder, or the only one.

    Raises:
        InputError: A folder has none, or it is nothing to go through.
    """
    if isinstance(images, str | os.PathLike) and os.path.isdir(images):
        found = photographs_in(images)
        if not found:
            raise InputError(f"there are no images in the folder {os.fspath(images)}, by how the names of files end")
        return found
    if isinstance(images, PreparedImage) or is_one_image(images):
        return [images]
    if not hasattr(images, "__iter__") and not hasattr(images, "__getitem__"):
        raise InputError(f"stream takes images one after the other, or a folder, got {images!r:.200}")
    return images  # type: ignore[return-value]


def _loaded_elsewhere(load: Callable[[str], Detector], device: str, settings: DetectionSettings) -> Detector:
    """Return what was pickled."""
    return load(device).with_settings(**vars(settings))
