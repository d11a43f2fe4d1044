"""GoogLeNet's maps inside the trunk: images -> activations at 8, 16 and 32 pixels, for detectors that pool regions.

The maps behind 3b and 4e are taken before the pooling that follows them: finer, and what other detectors call C3, C4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor

from inception_rcnn.backbones.inception import INCEPTION_TABLE, POOLED_AFTER, STAGES, GoogLeNet
from inception_rcnn.structures import InputError

# Pixels of the image from one cell of a map to the next, for the stages a map is worth taking behind.
STRIDES: Final = {"3b": 8, "4e": 16, "5b": 32}
# Centre of cell 0 in pixels of the image, x and y: cell i is centred at stride * i + this. The poolings without padding
# move the cells to the right and down; a map whose cell 0 began at pixel 0 would have (stride - 1) / 2.
# Source: computed from the kernels' sizes; a test reads it off an impulse.
FIRST_CENTRES: Final = {"3b": 6.0, "4e": 14.0, "5b": 30.0}


def feature_maps(network: GoogLeNet, images: Tensor, names: Sequence[str] = ("3b", "4e", "5b")) -> dict[str, Tensor]:
    """Return the maps (N, channels, h, w) behind the named stages, before any pooling; nothing behind the last runs.

    Args:
        network: Whose trunk runs once.
        images: (N, 3, H, W), preprocessed as its weights expect.
        names: Of stages, in any order.

    Raises:
        InputError: A name is no stage of the trunk.
    """
    if unknown := sorted(set(names) - set(STAGES)):
        raise InputError(f"unknown stage {unknown[0]!r}; the trunk's stages are {', '.join(STAGES)}")
    wanted, maps, x = set(names), {}, images
    for name in STAGES[: 1 + max((STAGES.index(one) for one in wanted), default=-1)]:
        x = network.get_submodule(f"inception_{name}")(x) if name in INCEPTION_TABLE else network.stage(name, x)
        if name in wanted:
            maps[name] = x
        if name in POOLED_AFTER and len(maps) < len(wanted):
            x = network.downsample(x)
    return maps
