"""The last layer of GoogLeNet trained on ImageNet as that of a detector: grouped, without any training, or as a start.

Grouped, a class's probability is the sum of those of the outputs that are kinds of it, and what belongs to no class is
background: of 1000 outputs 118 are dogs. That is a detector of ILSVRC DET's 200 classes which never saw a box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from inception_rcnn.backbones import GoogLeNet, googlenet
from inception_rcnn.backbones.weights import read_state
from inception_rcnn.datasets.imagenet_classes import imagenet_outputs, imagenet_synsets
from inception_rcnn.detector.region_pooling import PooledNetwork, PoolingSpec
from inception_rcnn.structures import InputError

_WARMTH = 0.4  # see `warm_classifier`
_LEAST = 1e-30  # of a class's share, so that its logarithm is a number


class GroupedLinear(nn.Linear):
    """A linear layer of many outputs, whose softmax is summed in groups: (N, D) -> logits (N, groups).

    What a softmax makes of these logits are the sums of the probabilities that the linear layer's own outputs have.

    Args:
        in_features: D.
        groups: For each of the linear layer's outputs the group it belongs to, from 0 on; each group has one or more.

    Raises:
        InputError: There are no groups, or one is empty.
    """

    def __init__(self, in_features: int, groups: Sequence[int]) -> None:
        count = check_groups(groups)
        super().__init__(in_features, len(groups))
        members = torch.zeros(len(groups), count)
        members[torch.arange(len(groups)), torch.tensor(groups)] = 1
        self.groups = tuple(groups)
        self.members: Tensor
        self.register_buffer("members", members, persistent=False)  # they follow from the groups

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, groups) in float32; in bfloat16 outputs of 20 and 20.1 would be one number."""
        weight, bias = self.weight.float(), self.bias.float()
        outputs = functional.linear(x.float(), weight, bias)
        shares = (outputs - outputs.amax(dim=1, keepdim=True)).exp()
        return (shares @ self.members.float() + _LEAST).log()


def check_groups(groups: Sequence[int]) -> int:
    """Return how many groups there are.

    Raises:
        InputError: None, or one of them is empty.
    """
    numbers = set(groups)
    if not numbers or numbers != set(range(len(numbers))):
        raise InputError(f"groups should be numbered from 0 on, each with an output or more, got {sorted(numbers)[:5]}")
    return len(numbers)


def grouped_outputs(outputs: Sequence[Sequence[int]], count: int) -> tuple[int, ...]:
    """Return the group of each of `count` outputs: the number of the class that has it, or the last for background.

    Args:
        outputs: For each of C classes its outputs, each in 0..count-1 and of one class at most.
        count: Of all outputs.

    Raises:
        InputError: A class has none, two classes share one, or none is left for background.

    >>> grouped_outputs([(1, 2), (4,)], 5)
    (2, 0, 0, 2, 1)
    """
    groups = [len(outputs)] * count
    for number, own in enumerate(outputs):
        for output in own:
            if groups[output] != len(outputs):
                raise InputError(f"output {output} is of the classes {groups[output]} and {number}; leave one out")
            groups[output] = number
    if check_groups(groups) != len(outputs) + 1:
        raise InputError(f"of {len(outputs)} classes and background each should have an output or more")
    return tuple(groups)


def grouped_network(
    weights: str | Path, groups: Sequence[int], pooling: PoolingSpec | None = None
) -> GoogLeNet | PooledNetwork:
    """Return GoogLeNet trained on ImageNet as a region classifier, its outputs grouped.

    Args:
        weights: GoogLeNet's, in one of the files that `googlenet` reads.
        groups: See `grouped_outputs`.
        pooling: How regions are pooled, without fine map and image mean, which ImageNet's layer does not read; None:
            they are warped.

    Raises:
        InputError: The weights have other outputs than there are groups for, or the pooling has more than that.
        CheckpointError: The file is missing, damaged or of another network.
    """
    layer, count = imagenet_layer(weights), check_groups(groups)
    if len(groups) != layer.out_features:
        raise InputError(f"groups should be those of {layer.out_features} outputs, got {len(groups)}")
    network: GoogLeNet | PooledNetwork = googlenet(weights=weights, num_classes=count)
    if pooling is not None:
        if pooling.fine_channels or pooling.image_mean:
            raise InputError(
                "ImageNet's last layer reads 5b alone; give a pooling without fine_channels and image_mean"
            )
        pooled = PooledNetwork(count - 1, pooling, box_regression=False).eval()
        pooled.trunk.load_state_dict(googlenet(weights=weights, num_classes=0).state_dict())
        network = pooled
    head = GroupedLinear(layer.in_features, groups)
    head.load_state_dict(layer.state_dict())
    network.classifier = head
    return network


def imagenet_layer(weights: str | Path) -> nn.Linear:
    """Return the last layer of GoogLeNet trained on ImageNet, 1024 features -> 1000 outputs.

    Args:
        weights: In one of the files that `googlenet` reads.

    Raises:
        InputError: They have no such layer, or another kind of file.
        CheckpointError: The file is missing, damaged or of another network.
    """
    state, origin = read_state(weights)
    layer, weight = googlenet(weights=state).classifier, state.get("classifier.weight")
    if layer is None or weight is None or weight.shape != layer.weight.shape:
        found = "none" if weight is None else f"{len(weight)}"
        raise InputError(f"{origin} should have ImageNet's {len(imagenet_synsets())} outputs, it has {found}")
    return layer


@torch.no_grad()
def warm_classifier(classifier: nn.Linear, imagenet: nn.Linear, class_names: Sequence[str]) -> int:
    """Give a last layer what ImageNet's outputs know of its classes, and return of how many they know something.

    A class's row is the mean of the rows of ImageNet's outputs that are kinds of it, times 0.4: a region is seen less
    clearly than a photograph, and on 2,545 regions of 40 photographs of COCO that factor had the lowest loss. Other
    rows, and columns behind the 1,024 that ImageNet's layer reads, are 0. So is background's, whose bias makes a region
    that tells nothing background by three to one, as batches are drawn.

    Args:
        classifier: D >= 1024 features -> C + 1 outputs, background last. It is changed.
        imagenet: From `imagenet_layer`.
        class_names: C names.

    Raises:
        InputError: ImageNet knows nothing of any class.
    """
    outputs = imagenet_outputs(class_names)
    if not any(outputs):
        raise InputError(
            f"ImageNet has no kind of any of the {len(outputs)} classes, {class_names[0]} ...; no warm head"
        )
    classifier.weight.zero_()
    classifier.bias.zero_()
    for row, known in enumerate(map(list, outputs)):
        if known:
            classifier.weight[row, : imagenet.in_features] = _WARMTH * imagenet.weight[known].mean(dim=0)
            classifier.bias[row] = _WARMTH * imagenet.bias[known].mean()
    classifier.bias[-1] = math.log(3 * len(outputs))
    return sum(map(bool, outputs))
