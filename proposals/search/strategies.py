"""Which hierarchies selective search builds: the published modes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from inception_rcnn.proposals.search.grouping import (
    COLOUR_TEXTURE_SIZE_FILL,
    FILL,
    SIZE,
    TEXTURE_SIZE_FILL,
    Similarity,
)
from inception_rcnn.structures import InputError

MODES = ("single", "fast", "quality")


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Every colour space is cut with every k, and every cut is grouped by every similarity.

    Attributes:
        spaces: Names of `colour_spaces.COLOUR_SPACES`.
        ks: Superpixel scales; each is also the smallest size of a superpixel, in pixels.
        similarities: What the grouping goes by.
    """

    spaces: tuple[str, ...]
    ks: tuple[float, ...]
    similarities: tuple[Similarity, ...]


def strategy_of(mode: str, superpixel_scale: float = 1.0, ks: Sequence[float] | None = None) -> Strategy:
    """Return the published strategy of that name, its superpixels `superpixel_scale` times as large, or with other ks.

    Args:
        mode: One of `MODES`.
        superpixel_scale: Factor of the mode's ks; not of ks that are given.
        ks: In place of the mode's, taken as they are.

    Raises:
        InputError: Unknown mode, or a scale or k that is not positive.

    Source:
        Uijlings et al., IJCV 2013, tables 4 and 5.

    >>> strategy_of("fast", 2.0).ks
    (100.0, 200.0)
    """
    if not (math.isfinite(superpixel_scale) and superpixel_scale > 0):
        raise InputError(f"superpixel_scale should be positive, got {superpixel_scale}")
    if ks is not None and not (len(ks) > 0 and all(math.isfinite(k) and k > 0 for k in ks)):
        raise InputError(f"ks should be one or more positive numbers, got {ks}")
    both = (COLOUR_TEXTURE_SIZE_FILL, TEXTURE_SIZE_FILL)
    if mode == "single":
        strategy = Strategy(spaces=("hsv",), ks=(100,), similarities=(COLOUR_TEXTURE_SIZE_FILL,))
    elif mode == "fast":
        strategy = Strategy(spaces=("hsv", "lab"), ks=(50, 100), similarities=both)
    elif mode == "quality":
        spaces = ("hsv", "lab", "rgi", "hue", "intensity")
        strategy = Strategy(spaces=spaces, ks=(50, 100, 150, 300), similarities=(*both, FILL, SIZE))
    else:
        raise InputError(f"mode {mode!r} is unknown; known: {', '.join(MODES)}")
    return replace(strategy, ks=tuple(ks) if ks is not None else tuple(k * superpixel_scale for k in strategy.ks))
