"""torchvision's names of GoogLeNet's layers; its weights in memory, or as a plain .safetensors file.

Its own files, .pth, are pickles: programs that run when they are read. They are refused with the line that converts
them. torchvision itself is not imported here.
"""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from inception_rcnn.backbones.inception import INCEPTION_TABLE
from inception_rcnn.structures import CheckpointError, InputError
from inception_rcnn.structures.array_file import METADATA_KEY

PICKLES: Final = (".pth", ".pt")
# torchvision's layers by ours; those with batch norm have `conv` and `bn` inside, here and there. Its conv2 is the
# reduction, its aux1 the head on 4a.
_STEM = {"conv1": "conv1", "conv2_reduce": "conv2", "conv2": "conv3"}
_BRANCHES = {
    "conv1x1": "branch1",
    "reduce3x3": "branch2.0",
    "conv3x3": "branch2.1",
    "reduce5x5": "branch3.0",
    "conv5x5": "branch3.1",
    "project": "branch4.1",
}
_HEADS = {"classifier": "fc"}
_AUXILIARY = {
    f"{ours}.{part}": f"{theirs}.{name}"
    for ours, theirs in (("aux_4a", "aux1"), ("aux_4d", "aux2"))
    for part, name in (("conv", "conv"), ("hidden", "fc1"), ("classifier", "fc2"))
}


def torchvision_layers() -> dict[str, str]:
    """Return our layer name -> torchvision's, for all 64 layers with weights, auxiliary heads included."""
    names = dict(_STEM)
    for block in INCEPTION_TABLE:
        names |= {f"inception_{block}.{ours}": f"inception{block}.{theirs}" for ours, theirs in _BRANCHES.items()}
    return names | _HEADS | _AUXILIARY


def is_torchvisions(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict has torchvision's names of GoogLeNet's layers."""
    return any(name.startswith("inception3a.branch") for name in state)


def state_from_torchvision(state: Mapping[str, Tensor], *, origin: str) -> dict[str, Tensor]:
    """Return a state dict in our names from one in torchvision's.

    Args:
        state: Of `torchvision.models.googlenet`, with auxiliary heads or without. Its tensors are not copied.
        origin: Where it came from, for the error message.

    Raises:
        CheckpointError: A tensor has no place in GoogLeNet.
    """
    ours = {theirs: name for name, theirs in torchvision_layers().items()}
    found, extra = {}, []
    for name, tensor in state.items():
        layer = next((theirs for theirs in _prefixes(name) if theirs in ours), None)
        if layer is None:
            extra.append(name)
        else:
            found[ours[layer] + name[len(layer) :]] = tensor
    if extra:
        raise CheckpointError(
            f"{origin} has {len(extra)} tensors that torchvision's googlenet has no place for, first {extra[0]!r}"
        )
    return found


def state_of_module(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state dict, in its own names; its tensors are not copied."""
    if getattr(module, "transform_input", None) is False:
        warnings.warn(
            f"the given {type(module).__name__} has transform_input=False: it was trained on images as its training "
            "prepared them, and not, as torchvision's published weights and `input_spec` here, on R, G, B in -1..1",
            stacklevel=4,
        )
    return dict(module.state_dict())


def is_plain(path: Path) -> bool:
    """Return whether a file is of safetensors, but without the description that files of this package have."""
    try:
        with safe_open(path, "pt") as file:
            return METADATA_KEY not in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False  # whoever reads it says what is wrong with it


def read_plain(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a plain .safetensors file, by name.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as .safetensors: {error}") from error


def refuse_pickle(path: Path) -> None:
    """Refuse a file of torch's, whatever is in it.

    Raises:
        InputError: Always; the text has the line that converts it.
    """
    names = (json.dumps(str(one), ensure_ascii=False) for one in (path, path.with_suffix(".safetensors")))
    given, made = names
    code = f"import torch, safetensors.torch as s; s.save_file(torch.load({given}, weights_only=True), {made})"
    raise InputError(
        f"{path} is a pickle, which may run programs when it is read; make a .safetensors file of its state dict: "
        f"python -c {shlex.quote(code)}"
    )


def _prefixes(name: str) -> list[str]:
    """Return what a tensor's layer may be called, the longest first.

    >>> _prefixes("aux1.conv.bn.weight")
    ['aux1.conv.bn', 'aux1.conv', 'aux1']
    """
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1)]
