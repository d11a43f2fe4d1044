"""Proposals as the detector uses them: of whole sets at once, and the regions' input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from inception_rcnn.backbones import InputSpec
from inception_rcnn.proposals.image_sets import propose_for_images
from inception_rcnn.proposals.proposer import ProposalSettings, Proposer
from inception_rcnn.proposals.stored import ImageSet, read_stored
from inception_rcnn.structures import Proposals, progress_bar

__all__ = ["REGION_INPUT", "ProposalSettings", "Proposer", "other_setting", "propose_for_set"]

# What the ImageNet weights expect, with R-CNN's 16 px of context around a region.
REGION_INPUT: Final = InputSpec(context=16)


def propose_for_set(images: ImageSet, proposer: Proposer, path: Path, *, quiet: bool = False) -> Sequence[Proposals]:
    """The proposals of a whole set, stored in `path` as they come and read from there the next time.

    Raises:
        InputError: the file was made with other settings or from other images.
        DataFormatError: the file is damaged.
    """
    with progress_bar(len(images), "proposals", quiet=quiet) as bar, proposer.side_by_side() as propose:
        return propose_for_images(images, propose, path, proposer.describe(), bar=bar)


def other_setting(path: str | Path, proposer: Proposer) -> str | None:
    """A line on the first setting in which stored proposals are not what `proposer` proposes; None if there is none.

    Raises:
        DataFormatError: the file is damaged, or no such file.
    """
    stored, asked = read_stored(path).settings, json.loads(json.dumps(proposer.describe()))
    for name in sorted((set(stored) | set(asked)) - {"version"}, key=lambda name: (name != "method", name)):
        if stored.get(name) != asked.get(name):
            return f"{path} was made with {name} = {stored.get(name)!r}, not {asked.get(name)!r}"
    return None
