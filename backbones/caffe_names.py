"""The published Caffe names of GoogLeNet's layers, and ours: one table, checked for left-overs on both sides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from inception_rcnn.backbones.inception import INCEPTION_TABLE
from inception_rcnn.structures import CheckpointError

_STEM = {"conv1": "conv1/7x7_s2", "conv2_reduce": "conv2/3x3_reduce", "conv2": "conv2/3x3"}
_BRANCHES = {
    "conv1x1": "1x1",
    "reduce3x3": "3x3_reduce",
    "conv3x3": "3x3",
    "reduce5x5": "5x5_reduce",
    "conv5x5": "5x5",
    "project": "pool_proj",
}
_HEADS = {"classifier": "loss3/classifier"}
_AUXILIARY = {
    f"{ours}.{part}": f"{theirs}/{caffe}"
    for ours, theirs in (("aux_4a", "loss1"), ("aux_4d", "loss2"))
    for part, caffe in (("conv", "conv"), ("hidden", "fc"), ("classifier", "classifier"))
}


def caffe_layers(*, aux_heads: bool = False) -> dict[str, str]:
    """Our layer name -> Caffe's layer name, for all 58 layers with weights (64 with the auxiliary heads)."""
    names = dict(_STEM)
    for block in INCEPTION_TABLE:
        names |= {f"inception_{block}.{ours}": f"inception_{block}/{theirs}" for ours, theirs in _BRANCHES.items()}
    names |= _HEADS
    return names | _AUXILIARY if aux_heads else names


def state_from_caffe(arrays: Mapping[str, np.ndarray], *, origin: str) -> dict[str, Tensor]:
    """A state dict in our names from arrays named `<caffe layer>/weight` and `<caffe layer>/bias`.

    Args:
        arrays: float arrays in Caffe's own layout (out, in, h, w), which is torch's too.
        origin: where they came from, for the error message.
    Raises:
        CheckpointError: a layer is missing, or an array has no place in GoogLeNet or is not of floats.
    """
    aux = any(name.startswith("loss1/") for name in arrays)
    layers = caffe_layers(aux_heads=aux)
    expected = {f"{theirs}/{kind}": f"{ours}.{kind}" for ours, theirs in layers.items() for kind in ("weight", "bias")}
    if missing := sorted(set(expected) - set(arrays)):
        raise CheckpointError(f"{origin} lacks {len(missing)} of GoogLeNet's arrays, first {missing[0]!r}")
    if extra := sorted(set(arrays) - set(expected)):
        raise CheckpointError(f"{origin} has {len(extra)} arrays that GoogLeNet has no place for, first {extra[0]!r}")
    if wrong := sorted(name for name in expected if not np.issubdtype(arrays[name].dtype, np.floating)):
        raise CheckpointError(f"{origin}: {wrong[0]} should be floats, it is an array of {arrays[wrong[0]].dtype}")
    return {ours: torch.from_numpy(np.array(arrays[theirs], dtype=np.float32)) for theirs, ours in expected.items()}
