"""What a training starts from: pre-trained weights, and for the new layer ImageNet's own or a linear softmax.

Source: the linear softmax is the simplest of R-CNN's stages (technical report v5, section 2.3, features of the
pre-trained network with a linear classifier on top), with a softmax in place of the SVMs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones import GoogLeNet, InputSpec, googlenet, read_description
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training.loop import seeded
from inception_rcnn.backbones.weights import description_of, trained_with_lrn
from inception_rcnn.datasets.class_matching import class_positions
from inception_rcnn.detector.checkpoints import (
    KIND,
    SHIPPED,
    read_classifier_description,
    read_region_network,
    weights_path,
)
from inception_rcnn.detector.heads.imagenet_head import imagenet_layer, warm_classifier
from inception_rcnn.detector.region_classifier import ClassifierDescription
from inception_rcnn.detector.region_pooling import PooledNetwork, PoolingSpec
from inception_rcnn.detector.training.warped.sampling import RegionSampler, cut_batch
from inception_rcnn.structures import InputError
from inception_rcnn.structures.dataset import ImageCache
from inception_rcnn.structures.progress import progress_bar
from inception_rcnn.structures.provenance import CLASSIFIER, SeenPart

# Batches for the linear start are numbered apart from those of the training, so that no batch comes twice.
_LINEAR_OFFSET = 1_000_000_000


Network = TypeVar("Network", GoogLeNet, PooledNetwork)


@dataclass(frozen=True, eq=False)
class PretrainedNetwork(Generic[Network]):
    """Where a training starts, of warped regions or of pooled ones.

    Args:
        network: With an output for each class and one for background, float32.
        knows_classes: The last layers already tell these classes apart; False: they are fresh.
        origin: Entries for the summary of the training: the weights' name and how they were trained, as far as known.
        seen: The photographs that the weights learned from, as far as known, those of ImageNet excepted.
    """

    network: Network
    knows_classes: bool
    origin: dict[str, Any]
    seen: tuple[SeenPart, ...] = ()


def pretrained_network(
    weights: str | Path, class_names: tuple[str, ...], *, seed: int = 0
) -> PretrainedNetwork[GoogLeNet]:
    """Return GoogLeNet with the given weights and an output for each of `class_names` and one for background.

    A warping region classifier of the same classes in the same order keeps its last layer; of any other weights all but
    the last layer is taken, of a pooled classifier its trunk.

    Args:
        weights: A region classifier, as a file or by the name of a shipped one; or GoogLeNet's weights in one of the
            files that `googlenet` reads.
        class_names: Those of the data set to train on, in its order.
        seed: Of a fresh last layer. torch's own generator is left as it was.

    Raises:
        InputError: A file of a kind that is not read.
        CheckpointError: The file is missing, damaged or of another network.
    """
    outputs, name = len(class_names) + 1, Path(weights).name
    described = classifier_behind(weights)
    with seeded(seed, torch.device("cpu")):
        if described is None:
            lrn = trained_with_lrn(weights) is not False
            fresh = googlenet(weights=weights, num_classes=outputs, lrn=lrn)
            return PretrainedNetwork(fresh, False, {"pretrained": name})
        old, _ = read_region_network(weights)
        known = described.class_names == class_names and isinstance(old, GoogLeNet) and not described.output_groups
        tensors = (old.trunk if isinstance(old, PooledNetwork) else old).state_dict()
        kept = {key: value for key, value in tensors.items() if known or not key.startswith("classifier.")}
        network = googlenet(weights=kept, num_classes=outputs, lrn=described.lrn)
        return PretrainedNetwork(network, known, _origin(name, described), learned_from(described))


def pretrained_pooled(
    weights: str | Path,
    class_names: tuple[str, ...],
    spec: PoolingSpec,
    *,
    box_regression: bool = True,
    warm_head: bool = False,
    seed: int = 0,
) -> PretrainedNetwork[PooledNetwork]:
    """Return a pooled network with the given weights and an output for each of `class_names` and one for background.

    A pooled classifier of the same classes in the same order keeps all layers. One of other classes keeps of the last
    layer for classes the rows of those that mean the same (`class_positions`) and of background, the others are fresh;
    box offsets are the same for all classes, and are kept. Of a warping classifier, and of
    GoogLeNet's own weights, the trunk is taken. Layers that the specification gives another shape are fresh.

    Args:
        weights: A region classifier, as a file or by the name of a shipped one; or GoogLeNet's weights in one of the
            files that `googlenet` reads.
        class_names: Of the detector to be.
        spec: How it pools regions.
        box_regression: Whether it has box offsets.
        warm_head: Start the last layer for classes from ImageNet's outputs, see `warm_classifier`; the weights should
            be GoogLeNet's own.
        seed: Of fresh layers. torch's own generator is left as it was.

    Raises:
        InputError: A file of a kind that is not read; or a warm head from weights without ImageNet's 1000 outputs, or
            of classes of which ImageNet has none.
        CheckpointError: The file is missing, damaged or of another network.
    """
    described, name = classifier_behind(weights), Path(weights).name
    with seeded(seed, torch.device("cpu")):
        lrn = trained_with_lrn(weights) is not False if described is None else described.lrn
        network = PooledNetwork(len(class_names), spec, box_regression=box_regression, lrn=lrn)
        if described is None:
            network.trunk.load_state_dict(googlenet(weights=weights, num_classes=0, lrn=lrn).state_dict())
            origin: dict[str, Any] = {"pretrained": name}
            if warm_head:
                origin["warm_classes"] = warm_classifier(network.classifier, imagenet_layer(weights), class_names)
            return PretrainedNetwork(network, False, origin)
        if warm_head:
            raise InputError(f"{weights} is a region classifier; a warm head needs GoogLeNet's own weights")
        old, _ = read_region_network(weights)
    prefix = "" if isinstance(old, PooledNetwork) else "trunk."
    own, given = network.state_dict(), {prefix + key: value for key, value in old.state_dict().items()}
    origin = _origin(name, described)
    knows = described.class_names == class_names and not described.output_groups and not prefix
    if not knows:
        rows = {key: given.pop(key, None) for key in ("classifier.weight", "classifier.bias")}
        if isinstance(old, PooledNetwork) and not described.output_groups:
            origin["kept_classes"] = _keep_rows(own, rows, class_positions(class_names, described.class_names))
    fresh = {_layer(key) for key, value in given.items() if key not in own or own[key].shape != value.shape}
    kept = {key: value for key, value in given.items() if _layer(key) not in fresh}
    network.load_state_dict({**own, **kept})
    return PretrainedNetwork(network, knows and "classifier" not in fresh, origin, learned_from(described))


def classifier_behind(weights: str | Path) -> ClassifierDescription | None:
    """Return what a region classifier's file says of it; None for other weights, which may be GoogLeNet's.

    Raises:
        CheckpointError: A checkpoint is missing, damaged, or at odds with itself.
    """
    values = read_description(weights_path(weights)) if str(weights) in SHIPPED else description_of(weights)
    return None if values is None or values["kind"] != KIND else read_classifier_description(weights)


def _keep_rows(own: dict[str, Tensor], rows: dict[str, Tensor | None], positions: NDArray[np.int32]) -> int:
    """Put rows of an old last layer into a new one's state, and return of how many classes.

    Args:
        own: State of the new network.
        rows: Weight and bias of the old layer, background last.
        positions: (C,) which of the old classes each new one is, -1: none.
    """
    known = np.flatnonzero(positions >= 0)
    places, sources = [*known.tolist(), len(positions)], [*positions[known].tolist(), -1]
    for key, old in rows.items():
        if old is None or old.shape[1:] != own[key].shape[1:]:  # it reads other features
            return 0
        own[key][places] = old[sources]
    return len(known)


def _layer(key: str) -> str:
    return key.rpartition(".")[0]


def _origin(name: str, described: ClassifierDescription) -> dict[str, Any]:
    return {"pretrained": name, "pretrained_training": described.training}


def learned_from(described: ClassifierDescription) -> tuple[SeenPart, ...]:
    """Return what the classifier itself saw; its successor may have another MultiBox."""
    return tuple(part for part in described.seen if part.network == CLASSIFIER)


def start_linear(
    network: GoogLeNet,
    sampler: RegionSampler,
    images: ImageCache,
    spec: InputSpec,
    runtime: Runtime,
    batches: int,
    *,
    quiet: bool = False,
) -> None:
    """Give the network's last layer the linear softmax fitted to the frozen features of `batches` batches.

    Args:
        network: Whose last layer is set.
        sampler: Draws the batches.
        images: The photographs, by number.
        spec: How regions become the network's input.
        runtime: Where it computes.
        batches: How many.
        quiet: Show no progress.
    """
    features, labels = frozen_features(network, sampler, images, spec, runtime, batches, quiet=quiet)
    fitted = fit_linear_softmax(features, labels, network.num_classes)
    classifier = network.classifier
    if classifier is not None:
        with torch.no_grad():
            classifier.weight.copy_(fitted.weight)
            classifier.bias.copy_(fitted.bias)


def frozen_features(
    network: GoogLeNet,
    sampler: RegionSampler,
    images: ImageCache,
    spec: InputSpec,
    runtime: Runtime,
    batches: int,
    *,
    quiet: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the pooled features (N, 1024) float32 and labels (N,) int64 of `batches` batches, on the CPU.

    Args: see `start_linear`.
    """
    network = network.eval().to(runtime.device).to(memory_format=torch.channels_last)
    features, labels = [], []
    with torch.no_grad(), runtime.autocast(), progress_bar(batches, "frozen features", quiet=quiet) as bar:
        for number in range(batches):
            batch = sampler.draw(_LINEAR_OFFSET + number)
            crops = torch.from_numpy(cut_batch(images, batch, spec)).to(runtime.device)
            features.append(network.pooled(network.trunk(spec.apply(crops, runtime.dtype))).float().cpu())
            labels.append(torch.from_numpy(batch.labels))
            bar.advance(1)
    return torch.cat(features), torch.cat(labels)


@dataclass(frozen=True)
class LinearSoftmax:
    """A linear layer and how well it fits.

    Args:
        weight: (K, D) float32.
        bias: (K,) float32.
        loss: Mean cross-entropy on the features it was fitted to.
    """

    weight: Tensor
    bias: Tensor
    loss: float


def fit_linear_softmax(
    features: Tensor, labels: Tensor, num_outputs: int, *, weight_decay: float = 1e-4, steps: int = 200
) -> LinearSoftmax:
    """Return the regularised multinomial logistic regression of labels on features, by L-BFGS.

    Args:
        features: (N, D) float.
        labels: (N,) int64 in 0..num_outputs-1.
        num_outputs: K.
        weight_decay: Factor of the squared norm of the weights (of standardised features), added to the mean loss.
        steps: At most so many iterations of L-BFGS.

    Raises:
        InputError: No features, features that are not finite, or labels that do not fit.
    """
    if features.ndim != 2 or len(features) == 0 or labels.shape != (len(features),):
        raise InputError(
            f"features should be (N, D) and labels (N,) with N > 0, got {tuple(features.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= num_outputs:
        raise InputError(f"labels should lie in 0..{num_outputs - 1}, got {int(labels.min())}..{int(labels.max())}")
    if not bool(torch.isfinite(features).all()):
        raise InputError("features should be finite")
    mean, spread = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-6)
    standard = (features - mean) / spread  # one step length then suits all directions
    weight = torch.zeros(num_outputs, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(num_outputs, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, history_size=10, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(standard @ weight.T + bias, labels) + weight_decay * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        final = functional.cross_entropy(standard @ weight.T + bias, labels).item()
        unscaled = weight / spread
        return LinearSoftmax(unscaled.detach(), (bias - unscaled @ mean).detach(), final)
