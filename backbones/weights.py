"""`googlenet(...)`: the network with the weights of a file, or fresh ones."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from torch import Tensor

from inception_rcnn.backbones.caffe_names import state_from_caffe
from inception_rcnn.backbones.checkpoints import check_tensor, read_checkpoint
from inception_rcnn.backbones.inception import GoogLeNet
from inception_rcnn.structures import CheckpointError, InputError

VARIANTS: Final = ("paper", "naive")
WeightSource = str | Path | Mapping[str, Tensor]


def googlenet(
    variant: str = "paper",
    *,
    weights: WeightSource | None = None,
    num_classes: int = 1000,
    aux_heads: bool = False,
) -> GoogLeNet:
    """GoogLeNet in evaluation mode, with the given weights or freshly initialised.

    Args:
        variant: "paper" (figure 3 of the paper, the published weights' network) or "naive" (figure 2(a)'s modules).
        weights: a .npz of Caffe arrays (`<layer>/weight`, `<layer>/bias`), a .safetensors checkpoint of kind
            "googlenet", or a state dict in this network's names. None: fresh weights.
        num_classes: outputs. When it differs from the weights', the last layers are fresh and the rest is loaded.
        aux_heads: adds the two auxiliary classifiers (fresh where the weights have none).
    Raises:
        InputError: unknown variant or file kind.
        CheckpointError: the weights do not fit the network.
    Source: Szegedy et al. 2014, table 1 and figure 3.
    """
    if variant not in VARIANTS:
        raise InputError(f"unknown variant {variant!r}; known are {', '.join(VARIANTS)}")
    network = GoogLeNet(num_classes, aux_heads=aux_heads, naive=variant == "naive").eval()
    if weights is not None:
        state, origin = read_state(weights)
        _load_shared(network, state, origin)
    return network


def read_state(weights: WeightSource) -> tuple[dict[str, Tensor], str]:
    """The state dict in our names behind any accepted source, and a name for it in messages.

    Raises:
        InputError: a file of a kind that is not read.
        CheckpointError: the file is missing, damaged or not GoogLeNet's.
    """
    if isinstance(weights, Mapping):
        return dict(weights), "the given state dict"
    path = Path(weights)
    if path.suffix == ".npz":
        return state_from_caffe(_read_npz(path), origin=str(path)), str(path)
    if path.suffix == ".safetensors":
        return read_checkpoint(path, "googlenet").tensors, str(path)
    raise InputError(f"{path}: weights should be a .npz or .safetensors file, or a state dict")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:  # np.load would leave it open where it is damaged
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array, as in .npy files")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read as .npz: {error}") from error


def _load_shared(network: GoogLeNet, state: Mapping[str, Tensor], origin: str) -> None:
    """Loads `state`, leaving fresh only classifiers of another class count and auxiliary heads it does not have."""
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
