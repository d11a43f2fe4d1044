"""Which boxes are proposed: settings that travel in checkpoints, and both sources behind one call."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.proposals.merging import merge_proposals
from inception_rcnn.proposals.search.selective_search import selective_search
from inception_rcnn.structures import InputError, Proposals
from inception_rcnn.structures.jobs import differing_setting

if TYPE_CHECKING:
    from inception_rcnn.backbones.runtime import Runtime
    from inception_rcnn.proposals.network.predictor import MultiBox, View

SOURCES = ("selective-search", "multibox", "both")
_OF_NETWORK = frozenset({"multibox", "multibox_sha256", "top_k", "objectness", "crops", "side"})
_OF_SEARCH = frozenset(
    {"mode", "superpixel_scale", "width", "min_side", "widened_from", "duplicate_iou", "ranking", "seed", "engine"}
)


@dataclass(frozen=True, kw_only=True)
class ProposalSettings:
    """Which boxes are proposed; kept in checkpoints, because tests should use what training used.

    Attributes:
        source: One of `SOURCES`.
        mode: Of selective search: "single", "fast" or "quality".
        superpixel_scale: Factor of the superpixels' sizes; 2 is the paper's doubling.
        width: Of the image that selective search works on, in pixels.
        min_side: Shortest side of a box there, in pixels.
        widened_from: Sides from this share of it on are widened to it.
        duplicate_iou: Of boxes of selective search that overlap more, one stays.
        ranking: Order of selective search's proposals.
        seed: Of the ranking "random".
        multibox: Weights of MultiBox, a shipped name or a file; in a checkpoint the bare name of a file beside it.
        multibox_sha256: Of their data, which tells networks apart; None: not known, and any network of that name will
            do. Where a network is loaded, it becomes known.
        top_k: How many boxes MultiBox adds.
        objectness: Whether the boxes of both sources are ordered by MultiBox's objectness; without, they take turns.
        crops: Whether MultiBox looks at four windows of the image too.
        side: Of MultiBox's input in pixels, a multiple of 64; None: as it was trained.
        engine: Of selective search.
        max_boxes: At most so many, the first ones; None: all.

    Raises:
        InputError: The source is unknown, or a number of boxes below 1.
    """

    source: str = "both"
    mode: str = "fast"
    superpixel_scale: float = 2.0
    width: int = 500
    min_side: int = 20
    widened_from: float = 0.65
    duplicate_iou: float = 0.9
    ranking: str = "agreement"
    seed: int = 0
    multibox: str = "multibox"
    multibox_sha256: str | None = None
    top_k: int = 200
    objectness: bool = True
    crops: bool = False
    side: int | None = None
    engine: str = "native"
    max_boxes: int | None = None

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise InputError(f"source {self.source!r} is unknown; known: {', '.join(SOURCES)}")
        for name in ("top_k", "max_boxes"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name} should be at least 1, got {getattr(self, name)}")
        checksum = self.multibox_sha256
        if checksum is not None and not (isinstance(checksum, str) and re.fullmatch("[0-9a-f]{64}", checksum)):
            raise InputError(f"multibox_sha256 should be 64 hexadecimal digits, got {checksum!r:.80}")

    @property
    def needs_multibox(self) -> bool:
        """Return whether the network is needed."""
        return self.source != "selective-search"

    def search_options(self) -> dict[str, Any]:
        """Return the arguments of `selective_search`; with the limit only if no other source adds boxes."""
        shape = ("mode", "superpixel_scale", "width", "min_side", "widened_from")
        names = (*shape, "duplicate_iou", "ranking", "seed", "engine")
        limit = self.max_boxes if self.source == "selective-search" else None
        return {**{name: getattr(self, name) for name in names}, "max_boxes": limit}

    def multibox_file(self, *, beside: Path | None = None) -> Path:
        """Return the file of the network, once it is sure that it is the one that is meant.

        Args:
            beside: The folder of the weights that these settings are of, in which a bare name is looked for.

        Raises:
            CheckpointError: It is missing, cannot be read, or is another network.
        """
        from inception_rcnn.proposals.network.checkpoints import find_multibox  # torch, as in `Proposer.load`

        return find_multibox(self.multibox, self.multibox_sha256, beside=beside)

    def difference(self, other: ProposalSettings) -> tuple[str, Any, Any] | None:
        """Return the first setting in which others propose otherwise: its name, the value here and there; None: none.

        What does not count for the source is not compared, and networks by their checksums where both are known.

        >>> ProposalSettings(top_k=50).difference(ProposalSettings(top_k=100))
        ('top_k', 50, 100)
        >>> searching = ProposalSettings(source="selective-search")
        >>> searching.difference(ProposalSettings(source="selective-search", top_k=100)) is None
        True
        """
        if self.source != other.source:
            return "source", self.source, other.source
        unknown = None in (self.multibox_sha256, other.multibox_sha256)
        useless = {"selective-search": _OF_NETWORK, "multibox": _OF_SEARCH, "both": frozenset[str]()}[self.source]
        useless |= {"multibox_sha256" if unknown else "multibox"}
        ours, theirs = (
            {name: value for name, value in asdict(one).items() if name not in useless} for one in (self, other)
        )
        return differing_setting(ours, theirs)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint's description."""
        values = asdict(self)
        if self.multibox_sha256 is None:  # older versions do not know it
            del values["multibox_sha256"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ProposalSettings:
        """Return the settings that `to_dict` described; without a source they are from before MultiBox.

        Raises:
            InputError: A setting is unknown or of the wrong type.
        """
        if unknown := sorted(set(values) - set(cls.__dataclass_fields__)):
            raise InputError(f"unknown proposal settings: {', '.join(unknown)}; a newer version may know them")
        if "source" not in values:
            values = {"source": "selective-search", "widened_from": 1.0, "duplicate_iou": 1.0, **values}
        for name, default in asdict(cls()).items():
            value = values.get(name, default)
            if name != "multibox_sha256" and not _is_like(value, default):
                raise InputError(f"proposal setting {name} should be like {default!r}, got {value!r}")
        return cls(**values)


class Proposer:
    """What proposes boxes as the settings say.

    Args:
        settings: Which boxes.
        multibox: The network, where the settings need it.

    Raises:
        InputError: The settings need a network and there is none.
    """

    def __init__(self, settings: ProposalSettings, multibox: MultiBox | None = None) -> None:
        if settings.needs_multibox and multibox is None:
            raise InputError(f"source {settings.source!r} needs a MultiBox network")
        self.settings = settings
        self.multibox = multibox

    @classmethod
    def load(
        cls,
        settings: ProposalSettings,
        runtime: Runtime,
        *,
        beside: Path | None = None,
        multibox: str | Path | None = None,
    ) -> Proposer:
        """Return a proposer with the network that the settings name, if they need one.

        Its own settings name that network as a checkpoint should: by shipped or bare name, and checksum.

        Args:
            settings: Which boxes.
            runtime: Where the network computes.
            beside: The folder of the weights that the settings are of, in which a file's bare name is looked for.
            multibox: A shipped name or a file, in place of the one that the settings name. If it is another network, a
                warning says so.

        Raises:
            CheckpointError: Its file is missing, damaged, of another kind, at odds with itself, or of another network
                than the settings' checksum says.
            InputError: There is a `multibox`, and the settings need none.
        """
        if not settings.needs_multibox:
            if multibox is not None:
                raise InputError(f"the proposals are from {settings.source} alone, which needs no MultiBox {multibox}")
            return cls(settings)
        # torch, which selective search does without
        from inception_rcnn.proposals.network.checkpoints import load_multibox, portable_name

        file = settings.multibox_file(beside=beside) if multibox is None else multibox
        network = load_multibox(file, runtime, side=settings.side)
        if settings.multibox_sha256 not in (None, network.checksum):
            warnings.warn(
                f"the MultiBox {multibox} (data {network.checksum[:12]}...) is not {settings.multibox} "
                f"({settings.multibox_sha256:.12}...), with whose proposals the weights were trained",
                stacklevel=2,
            )
        known = replace(settings, multibox=portable_name(network), multibox_sha256=network.checksum)
        return cls(known, network)

    def __call__(self, image: NDArray[np.uint8], *, threads: int | None = None) -> Proposals:
        """Return the proposals of one image, best first, with objectness wherever the settings need the network.

        Args:
            image: (H, W, 3) uint8 RGB.
            threads: For selective search; None: all processors. The network has torch's; see `side_by_side`.
        """
        multibox = self.multibox
        if multibox is None or multibox.runtime.device.type == "cpu" or self.settings.source != "both":
            return self.complete(image, self.search(image, threads=threads))
        # The network computes elsewhere: it is started from this thread while another one searches.
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(self.search, image, threads=threads)
            seen = self.look(image)
            return self.complete(image, waiting.result(), seen)

    def search(self, image: NDArray[np.uint8], *, threads: int | None = None) -> Proposals | None:
        """Return what selective search finds, for `complete`; None where the settings leave it out.

        It needs no network, so it can be done by another thread than the one that the networks compute on.

        Args:
            image: (H, W, 3) uint8 RGB.
            threads: As many; None: all processors. The answer does not depend on it.
        """
        if self.settings.source == "multibox":
            return None
        return selective_search(image, threads=threads, **self.settings.search_options())

    def look(self, image: NDArray[np.uint8]) -> tuple[View, Proposals] | None:
        """Return what MultiBox sees in an image, and its proposals, for `complete`; None where the settings want none.

        Args:
            image: (H, W, 3) uint8 RGB; four crops of it are looked at too if the settings say so.
        """
        if self.multibox is None or not self.settings.needs_multibox:
            return None
        from inception_rcnn.proposals.network.predictor import corner_crops

        view, *windows = self.multibox.look([image, *corner_crops(image)] if self.settings.crops else [image])
        return view, self.multibox.proposals(view, self.settings.top_k, windows)

    def complete(
        self, image: NDArray[np.uint8], searched: Proposals | None, seen: tuple[View, Proposals] | None = None
    ) -> Proposals:
        """Return the proposals of an image of which selective search's part is known.

        Args:
            image: (H, W, 3) uint8 RGB.
            searched: What `search` returned for it.
            seen: What `look` returned for it; None: MultiBox looks now, if the settings want it.

        Raises:
            InputError: There is nothing where the settings ask for selective search.
        """
        settings = self.settings
        if searched is None and settings.source != "multibox":
            raise InputError(f"source {settings.source!r} needs what selective search found; call `search` first")
        seen = seen or self.look(image)
        if self.multibox is None or seen is None:
            return searched or Proposals.empty()
        view, own = seen
        if searched is None:
            merged = replace(own, objectness=self.multibox.objectness(view, own.boxes))
        else:
            sources, scores = self.multibox.rank(view, own, searched)
            merged = merge_proposals(*sources, scores=scores if settings.objectness else None)
        return merged if settings.max_boxes is None else merged.top(settings.max_boxes)

    @contextmanager
    def side_by_side(self) -> Iterator[Callable[[NDArray[np.uint8]], Proposals]]:
        """Yield image -> proposals for several images at a time: each call keeps to the thread it is made on.

        The threads should be started within the block.
        """
        with self.multibox.one_thread_each() if self.multibox else nullcontext():
            yield partial(self, threads=1)

    def describe(self) -> dict[str, Any]:
        """Return all that decides what is proposed, as JSON values, the network's weights by their checksum."""
        searched = search_settings(self.settings.search_options())
        if self.multibox is None or not self.settings.needs_multibox:
            return searched
        return {
            **searched,
            "method": self.settings.source,
            "top_k": self.settings.top_k,
            "objectness": self.settings.objectness,
            "crops": self.settings.crops,
            "side": self.multibox.spec.side,
            "max_boxes": self.settings.max_boxes,
            "multibox_sha256": self.multibox.checksum,
        }


def search_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides what selective search proposes, as JSON values: what is given, defaults for the rest.

    Raises:
        InputError: Selective search has no such setting.
    """
    parameters = inspect.signature(selective_search).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
    del defaults["threads"]  # decides nothing
    if unknown := sorted(set(given) - set(defaults)):
        raise InputError(f"selective search has no setting {unknown[0]!r}; known: {', '.join(defaults)}")
    return {"method": "selective-search", **defaults, **given}


def _is_like(value: object, default: object) -> bool:
    """Return whether a value is like a default: of its type, a whole number for a fraction, a number for None."""
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if default is None:
        return value is None or isinstance(value, int)
    return isinstance(value, int | float) if isinstance(default, float) else isinstance(value, type(default))
