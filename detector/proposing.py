"""Which proposals the detector uses: settings that travel in checkpoints, and whole sets at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inception_rcnn.backbones import InputSpec
from inception_rcnn.proposals import selective_search
from inception_rcnn.proposals.image_sets import propose_for_images, search_settings
from inception_rcnn.proposals.stored import ImageSet
from inception_rcnn.structures import InputError, Proposals, progress_bar

# What the ImageNet weights expect, with R-CNN's 16 px of context around a region.
REGION_INPUT: Final = InputSpec(context=16)


@dataclass(frozen=True, kw_only=True)
class ProposalSettings:
    """Which boxes are proposed; kept in checkpoints, because tests should use what training used.

    Attributes:
        mode: strategy of selective search.
        superpixel_scale: 2 is the paper's doubling.
        width: of the picture selective search works on.
        min_side: shortest side of a box there.
        ranking: order of the proposals; matters where some are left out.
        seed: of the ranking "random".
    """

    mode: str = "fast"
    superpixel_scale: float = 2.0
    width: int = 500
    min_side: int = 20
    ranking: str = "agreement"
    seed: int = 0

    def propose(self, image: npt.NDArray[np.uint8], *, threads: int | None = None) -> Proposals:
        """The proposals of one image, best first."""
        return selective_search(image, threads=threads, **asdict(self))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint's description."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ProposalSettings:
        """The settings that `to_dict` described.

        Raises:
            InputError: a setting is unknown or of the wrong type.
        """
        if unknown := sorted(set(values) - set(cls.__dataclass_fields__)):
            raise InputError(f"unknown proposal settings: {', '.join(unknown)}; a newer version may know them")
        for name, default in asdict(cls()).items():
            value = values.get(name, default)
            fits = isinstance(value, int | float) if isinstance(default, float) else isinstance(value, type(default))
            if not fits or isinstance(value, bool):
                raise InputError(f"proposal setting {name} should be like {default!r}, got {value!r}")
        return cls(**values)


def propose_for_set(
    images: ImageSet, settings: ProposalSettings, path: Path, *, quiet: bool = False
) -> Sequence[Proposals]:
    """The proposals of a whole set, stored in `path` as they come and read from there the next time.

    Raises:
        InputError: the file was made with other settings or from other images.
        DataFormatError: the file is damaged.
    """
    with progress_bar(len(images), "proposals", quiet=quiet) as bar:
        how = search_settings(settings.to_dict())
        return propose_for_images(images, lambda image: settings.propose(image, threads=1), path, how, bar=bar)
