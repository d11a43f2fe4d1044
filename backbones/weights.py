"""`googlenet(...)`: the network with the weights of a file or of a name, or fresh ones."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from inception_rcnn.backbones.checkpoints import (
    GOOGLENET_KIND,
    check_tensor,
    read_checkpoint,
    read_description,
    tensors_checksum,
)
from inception_rcnn.backbones.inception import VARIANTS, GoogLeNet, LocalResponseNorm
from inception_rcnn.backbones.weight_formats.caffe import read_npz, state_from_caffe
from inception_rcnn.backbones.weight_formats.caffemodel import read_caffemodel
from inception_rcnn.backbones.weight_formats.torchvision import (
    PICKLES,
    is_plain,
    is_torchvisions,
    read_plain,
    refuse_pickle,
    state_from_torchvision,
    state_of_module,
)
from inception_rcnn.structures import CheckpointError, InputError

WeightSource = str | Path | Mapping[str, Tensor] | nn.Module
# Names that stand for weights. "imagenet:FILE" names the file as well.
COCO: Final = "coco"
IMAGENET: Final = "imagenet"
# The environment variable that names the file of the ImageNet weights.
IMAGENET_VARIABLE: Final = "INCEPTION_RCNN_IMAGENET"
_WHERE_FROM: Final = (
    f"get bvlc_googlenet.caffemodel as github.com/BVLC/caffe/tree/master/models/bvlc_googlenet says, and set "
    f"{IMAGENET_VARIABLE}=FILE, or say {IMAGENET}:FILE"
)
_IMAGENET_OUTPUTS: Final = 1000
# Of BVLC GoogLeNet's tensors without the auxiliary heads, in float16: the same for every kind of file they come in.
_BVLC_CHECKSUM: Final = "f6673c58405972d85fed9f5cbe341b8abd820ebbc747ea68121cf0e5681624b4"
_REGION_CLASSIFIER: Final = "region-classifier"  # what the detector's files are
_TRUNK: Final = "trunk."


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
        variant: "paper": figure 3 of the paper, the network of the published Caffe weights. "naive": figure 2(a)'s
            modules. "batchnorm": the paper's widths with batch norm, which trains from scratch. "torchvision": that of
            `torchvision.models.googlenet`, with batch norm, 3x3 where the paper has 5x5, to the bit.
        weights: "coco", the trunk of the detector that comes with the package; "imagenet", the file that the variable
            INCEPTION_RCNN_IMAGENET names, or "imagenet:FILE"; Caffe's own .caffemodel, or a .npz of its arrays
            (`<layer>/weight`, `<layer>/bias`); a .safetensors checkpoint of this network, or of a detector, whose trunk
            is taken; a state dict in this network's names; of `torchvision.models.googlenet` the module, its state
            dict, or a .safetensors file of that. None: fresh weights.
        num_classes: Outputs. When it differs from the weights', the last layers are fresh and the rest is loaded.
        aux_heads: Add the two auxiliary classifiers (fresh where the weights have none).
        lrn: Normalise across channels behind conv1 and conv2, as the paper does; False for weights trained without,
            which files and modules say, and state dicts do not. The variants with batch norm never do.

    Raises:
        InputError: Unknown variant or file kind; a .pth file, which is a pickle, with the line that converts it.
        CheckpointError: The weights do not fit the network, or are of another variant or normalisation, which the text
            names.

    Source: Szegedy et al. 2014, table 1 and figure 3.
    """
    network = GoogLeNet(num_classes, aux_heads=aux_heads, variant=variant, lrn=lrn).eval()
    if weights is not None:
        state, origin = read_state(weights)
        _check_variant(variant, state, origin)
        _check_normalisation(weights, lrn=network.lrn)
        _load_shared(network, state, origin)
    return network


def network_of(weights: WeightSource) -> GoogLeNet:
    """Return the network that weights are of, in evaluation mode: variant, normalisation, and all their outputs.

    Args:
        weights: See `googlenet`. Those of a trunk, such as "coco", give a network without outputs.

    Raises:
        InputError: A file of a kind that is not read.
        CheckpointError: The file is missing, damaged or not GoogLeNet's.
    """
    state, origin = read_state(weights)
    layer = state.get("classifier.weight")
    num_classes, lrn = 0 if layer is None else len(layer), trained_with_lrn(weights) is not False
    variant = variant_of(state) or VARIANTS[0]
    network = GoogLeNet(num_classes, variant=variant, lrn=lrn).eval()
    _load_shared(network, state, origin)
    return network


def variant_of(state: Mapping[str, Tensor]) -> str | None:
    """Return the variant whose names and widths a state dict has; None: of none.

    >>> variant_of(GoogLeNet(0, variant="batchnorm").state_dict())
    'batchnorm'
    """
    if "conv1.conv.weight" in state:
        middle = state.get("inception_3a.conv5x5.conv.weight")
        return "torchvision" if middle is not None and middle.shape[-1] == 3 else "batchnorm"
    if not any(name.startswith("inception_3a.") for name in state):
        return None
    return "paper" if any(".reduce3x3." in name for name in state) else "naive"


def read_state(weights: WeightSource) -> tuple[dict[str, Tensor], str]:
    """Return the state dict in our names behind any accepted source, and a name for it in messages.

    Raises:
        InputError: A file of a kind that is not read.
        CheckpointError: The file is missing, damaged or not GoogLeNet's.
    """
    if isinstance(weights, nn.Module):
        origin = f"the given {type(weights).__name__}"
        return _in_our_names(state_of_module(weights), origin), origin
    if isinstance(weights, Mapping):
        return _in_our_names(weights, "the given state dict"), "the given state dict"
    path = weights_file(weights)
    if str(weights).partition(":")[0] == IMAGENET:
        return _read_imagenet(path)
    if path.suffix == ".npz":
        return state_from_caffe(read_npz(path), origin=str(path)), str(path)
    if path.suffix == ".caffemodel":
        return state_from_caffe(read_caffemodel(path), origin=str(path)), str(path)
    if path.suffix == ".safetensors":
        return _read_plain(path) if is_plain(path) else _read_checkpoint(path), str(path)
    if path.suffix in PICKLES:
        refuse_pickle(path)
    raise InputError(
        f"{path}: weights should be {COCO}, {IMAGENET}, a .caffemodel, .npz or .safetensors file, a state dict or a "
        "module"
    )


def weights_file(weights: str | Path) -> Path:
    """Return the file behind a path, or behind a name that stands for weights.

    Raises:
        CheckpointError: "imagenet", and no file is named, or one that is not there.
    """
    name, _, file = str(weights).partition(":")
    if name != IMAGENET:
        return shipped_detector() if str(weights) == COCO else Path(weights)
    by_argument, file = bool(file), file or os.environ.get(IMAGENET_VARIABLE, "")
    if not file:
        raise CheckpointError(f"the ImageNet weights are not part of this package: {_WHERE_FROM}")
    if not Path(file).is_file():
        named_by = "the argument" if by_argument else IMAGENET_VARIABLE
        raise CheckpointError(f"no ImageNet weights at {file}, which {named_by} names: {_WHERE_FROM}")
    return Path(file)


def description_of(weights: WeightSource) -> dict[str, Any] | None:
    """Return what a checkpoint of this package says of itself; None: the weights are of another kind.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    path = weights_file(weights) if isinstance(weights, str | Path) else None
    if path is None or path.suffix != ".safetensors":
        return None
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; check the path")
    return None if is_plain(path) else read_description(path)


def shipped_detector() -> Path:
    """Return the file of the detector that comes with the package.

    It belongs to a room that this one does not import; it lies beside it, installed and in a checkout.
    """
    return Path(__file__).resolve().parent.parent / "detector" / "weights" / f"{COCO}.safetensors"


def _check_variant(variant: str, state: Mapping[str, Tensor], origin: str) -> None:
    """Raise if weights are another variant's.

    Raises:
        CheckpointError: They are; the text says which.
    """
    found = variant_of(state)
    if found not in (None, variant):
        raise CheckpointError(f"{origin} is of the variant {found!r}, not {variant!r}; ask for variant={found!r}")


def _check_normalisation(weights: WeightSource, *, lrn: bool) -> None:
    """Raise if weights say that they were trained the other way.

    Raises:
        CheckpointError: They say so, or the file is missing or damaged.
    """
    trained = trained_with_lrn(weights)
    if trained not in (None, lrn):
        name = weights if isinstance(weights, str | Path) else f"the given {type(weights).__name__}"
        how = "with" if trained else "without"
        raise CheckpointError(f"{name} was trained {how} response normalisation; give lrn={trained}")


def trained_with_lrn(weights: WeightSource) -> bool | None:
    """Return whether weights belong to a network that normalises across channels; None: nothing says it.

    A detector's or a classifier's file says it, and of a module its layers do.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    if isinstance(weights, nn.Module):
        norm = getattr(weights, "norm1", None)
        return None if norm is None else isinstance(norm, LocalResponseNorm)
    description = description_of(weights) or {}
    architecture, lrn = description.get("architecture"), description.get("lrn")
    if isinstance(architecture, dict):
        return architecture.get("variant") != "no-lrn"
    return lrn if isinstance(lrn, bool) else None


def _in_our_names(state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    return state_from_torchvision(state, origin=origin) if is_torchvisions(state) else dict(state)


def _read_plain(path: Path) -> dict[str, Tensor]:
    """Return GoogLeNet's tensors of a .safetensors file that says nothing of itself."""
    state = _in_our_names(read_plain(path), str(path))
    if variant_of(state) is None:
        raise CheckpointError(
            f"{path} is a safetensors file, but none of inception-rcnn, and not of torchvision's googlenet"
        )
    return state


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return GoogLeNet's tensors of a file of ours; of a detector's the trunk, since its outputs are for regions."""
    description = read_description(path)
    if description.get("kind") != _REGION_CLASSIFIER:
        return read_checkpoint(path, GOOGLENET_KIND).tensors
    if "base" in description:
        raise CheckpointError(f"{path} is a second head, whose trunk is that of {description['base']}; name that file")
    tensors = read_checkpoint(path, _REGION_CLASSIFIER).tensors
    pooled = any(name.startswith(_TRUNK) for name in tensors)
    trunk = {name.removeprefix(_TRUNK): one for name, one in tensors.items() if not pooled or name.startswith(_TRUNK)}
    return {name: one for name, one in trunk.items() if not name.startswith("classifier.")}


def _read_imagenet(path: Path) -> tuple[dict[str, Tensor], str]:
    state, origin = read_state(path)
    layer = state.get("classifier.weight")
    if layer is None or len(layer) != _IMAGENET_OUTPUTS:
        found = "none" if layer is None else len(layer)
        raise CheckpointError(f"{origin} should have ImageNet's {_IMAGENET_OUTPUTS} outputs, it has {found}")
    known = {name: one.half() for name, one in state.items() if not name.startswith("aux_")}
    if tensors_checksum(known) != _BVLC_CHECKSUM:
        warnings.warn(
            f"{origin}: these are not the numbers of BVLC GoogLeNet; they are used as they are. For "
            f"BVLC's, {_WHERE_FROM}",
            stacklevel=4,
        )
    return state, origin


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
    needed = [name for name in wanted if not name.startswith(may_lack) and not name.endswith(".num_batches_tracked")]
    if missing := [name for name in needed if name not in usable]:
        raise CheckpointError(f"{origin} does not fit: {len(missing)} tensors are missing, first {missing[0]!r}")
    if extra := [name for name in state if name not in wanted and not name.startswith(may_lack)]:
        raise CheckpointError(f"{origin} does not fit: {len(extra)} tensors have no place, first {extra[0]!r}")
    network.load_state_dict(usable, strict=False)
