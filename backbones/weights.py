"""`googlenet(...)`: the network with the weights of a file, or fresh ones; and Caffe's names of its layers."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones.checkpoints import GOOGLENET_KIND, check_tensor, read_checkpoint
from inception_rcnn.backbones.inception import INCEPTION_TABLE, GoogLeNet
from inception_rcnn.structures import CheckpointError, InputError

VARIANTS: Final = ("paper", "naive")
WeightSource = str | Path | Mapping[str, Tensor]
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


def googlenet(
    variant: str = "paper",
    *,
    weights: WeightSource | None = None,
    num_classes: int = 1000,
    aux_heads: bool = False,
    lrn: bool = True,
) -> GoogLeNet:
    """Return GoogLeNet in evaluation mode, with the given weights or freshly initialised.

    Args:
        variant: "paper" (figure 3 of the paper, the published weights' network) or "naive" (figure 2(a)'s modules).
        weights: A .npz of Caffe arrays (`<layer>/weight`, `<layer>/bias`), a .safetensors checkpoint of kind
            "googlenet", or a state dict in this network's names. None: fresh weights.
        num_classes: Outputs. When it differs from the weights', the last layers are fresh and the rest is loaded.
        aux_heads: Add the two auxiliary classifiers (fresh where the weights have none).
        lrn: Normalise across channels behind conv1 and conv2, as the paper does; False for weights trained without.

    Raises:
        InputError: Unknown variant or file kind.
        CheckpointError: The weights do not fit the network.

    Source: Szegedy et al. 2014, table 1 and figure 3.
    """
    if variant not in VARIANTS:
        raise InputError(f"unknown variant {variant!r}; known are {', '.join(VARIANTS)}")
    network = GoogLeNet(num_classes, aux_heads=aux_heads, naive=variant == "naive", lrn=lrn).eval()
    if weights is not None:
        state, origin = read_state(weights)
        _load_shared(network, state, origin)
    return network


def read_state(weights: WeightSource) -> tuple[dict[str, Tensor], str]:
    """Return the state dict in our names behind any accepted source, and a name for it in messages.

    Raises:
        InputError: A file of a kind that is not read.
        CheckpointError: The file is missing, damaged or not GoogLeNet's.
    """
    if isinstance(weights, Mapping):
        return dict(weights), "the given state dict"
    path = Path(weights)
    if path.suffix == ".npz":
        return state_from_caffe(_read_npz(path), origin=str(path)), str(path)
    if path.suffix == ".safetensors":
        return read_checkpoint(path, GOOGLENET_KIND).tensors, str(path)
    raise InputError(f"{path}: weights should be a .npz or .safetensors file, or a state dict")


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


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file:  # np.load would leave it open where it is damaged
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array, as in .npy files")
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise CheckpointError(f"no weights at {path}; check the path") from error
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read as .npz: {error}") from error


def _load_shared(network: GoogLeNet, state: Mapping[str, Tensor], origin: str) -> None:
    """Load `state`, leaving fresh only classifiers of another class count and auxiliary heads it does not have."""
    wanted = network.state_dict()
    usable = {name: tensor for name, tensor in state.items() if name in wanted}
    for name in [name for name in usable if name.split(".")[-2] == "classifier"]:
        if usable[name].shape != wanted[name].shape:
            del usable[name]
    for name, tensor in usable.items():
        check_tensor(name, tensor, wanted[name], origin)
    may_lack = ("classifier.", "aux_")
    if missing := [name for name in wanted if name not in usable and not name.startswith(may_lack)]:
        raise CheckpointError(f"{origin} does not fit: {len(missing)} tensors are missing, first {missing[0]!r}")
    if extra := [name for name in state if name not in wanted and not name.startswith(may_lack)]:
        raise CheckpointError(f"{origin} does not fit: {len(extra)} tensors have no place, first {extra[0]!r}")
    network.load_state_dict(usable, strict=False)
