"""Caffe's names of GoogLeNet's layers, and the arrays of its published weights in a .npz or .caffemodel file."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones.inception import INCEPTION_TABLE
from inception_rcnn.structures import CheckpointError

_MOST_UNPACKED: Final = 2**29  # bytes; GoogLeNet's weights in float64 take a fifth
# What zipfile and NumPy raise: also for a packing that is not known or needs a password, and for a shape beyond bounds.
_DAMAGES: Final = (
    *(OSError, ValueError, EOFError, MemoryError, OverflowError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)
# The published Caffe names of GoogLeNet's layers, by ours.
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
    """Return our layer name -> Caffe's layer name, for all 58 layers with weights (64 with the auxiliary heads)."""
    names = dict(_STEM)
    for block in INCEPTION_TABLE:
        names |= {f"inception_{block}.{ours}": f"inception_{block}/{theirs}" for ours, theirs in _BRANCHES.items()}
    names |= _HEADS
    return names | _AUXILIARY if aux_heads else names


def state_from_caffe(arrays: Mapping[str, NDArray[Any]], *, origin: str) -> dict[str, Tensor]:
    """Return a state dict in our names from arrays named `<caffe layer>/weight` and `<caffe layer>/bias`.

    Args:
        arrays: Float arrays in Caffe's own layout (out, in, h, w), which is torch's too.
        origin: Where they came from, for the error message.

    Raises:
        CheckpointError: A layer is missing, or an array has no place in GoogLeNet or is not of floats.
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


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file, by name.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        with path.open("rb") as file:  # np.load would leave it open where it is damaged
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array, as in .npy files")
            if (size := sum(one.file_size for one in archive.zip.infolist())) > _MOST_UNPACKED:
                raise ValueError(f"it unpacks to {size} bytes, and {_MOST_UNPACKED} are the most")
            arrays = {name: archive[name] for name in archive.files}
            if other := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
                raise ValueError(f"{other[0]!r:.100} in it is no array")
            return arrays
    except FileNotFoundError as error:
        raise CheckpointError(f"no weights at {path}; check the path") from error
    except _DAMAGES as error:
        raise CheckpointError(f"{path} cannot be read as .npz: {error}") from error
