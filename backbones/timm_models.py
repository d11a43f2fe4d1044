"""GoogLeNet for timm: after `import inception_rcnn.backbones.timm_models`, `create_model` knows it by its name.

    timm.create_model("inception_rcnn_googlenet", features_only=True, weights="coco")

Images as timm prepares them, minus ImageNet's mean and divided by its deviation. Needs `inception-rcnn[timm]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor, nn

from inception_rcnn.backbones.body import GoogLeNetBody, InputConversion
from inception_rcnn.backbones.weights import IMAGENET, WeightSource, googlenet
from inception_rcnn.structures import MissingDependencyError

try:
    from timm.models import FeatureInfo, register_model
except ImportError as error:
    raise MissingDependencyError("timm is not installed: pip install 'inception-rcnn[timm]'") from error

__all__ = ["inception_rcnn_googlenet"]

# One at each of 2, 4, 8, 16 and 32 pixels, as timm's other networks have.
_MAPS: Final = ("conv1", "conv2", "3b", "4e", "5b")
_CONFIG: Final[dict[str, Any]] = {
    "architecture": "inception_rcnn_googlenet",
    "url": "",
    "num_classes": 1000,
    "input_size": (3, 224, 224),
    "pool_size": (7, 7),
    "crop_pct": 0.875,
    "interpolation": "bilinear",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "classifier": "network.classifier",
}


class TimmClassifier(nn.Module):
    """GoogLeNet with the methods that timm's classifiers have: images (N, 3, H, W) -> logits (N, num_classes).

    Args:
        variant: See `googlenet`.
        weights: See `googlenet`.
        num_classes: Outputs; 0: (N, 1024) features.
    """

    def __init__(self, variant: str, weights: WeightSource | None, num_classes: int) -> None:
        super().__init__()
        self.network = googlenet(variant, weights=weights, num_classes=num_classes)
        self.input = InputConversion("imagenet", self.network.input_spec)
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = self.network.out_channels
        first = next(name for name, layer in self.named_modules() if isinstance(layer, nn.Conv2d))
        self.default_cfg = self.pretrained_cfg = {**_CONFIG, "num_classes": num_classes, "first_conv": first}

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the map behind 5b, (N, 1024, h, w)."""
        return self.network.trunk(self.input(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of that map, or its mean (N, 1024)."""
        return self.network.pooled(x) if pre_logits else self.network.classify(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return nn.Identity() if self.network.classifier is None else self.network.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh last layer in the place of the last; 0 outputs: none. The mean over the map stays."""
        self.num_classes = self.network.num_classes = num_classes
        self.network.classifier = nn.Linear(self.num_features, num_classes) if num_classes else None


class TimmFeatures(nn.Module):
    """GoogLeNet's maps as timm's `features_only` gives them: images (N, 3, H, W) -> a list of maps.

    Args:
        body: Which computes them.
        maps: `feature_info` of those at 2, 4, 8, 16 and 32 pixels.
        out_indices: Which of them the body computes.
    """

    def __init__(self, body: GoogLeNetBody, maps: list[dict[str, Any]], out_indices: Sequence[int]) -> None:
        super().__init__()
        self.body = body
        self.feature_info = FeatureInfo(maps, tuple(out_indices))
        self.default_cfg = self.pretrained_cfg = {**_CONFIG, "num_classes": 0}

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps (N, channels, h, w), finest first."""
        return list(self.body(x).values())


@register_model  # type: ignore[untyped-decorator, unused-ignore]
def inception_rcnn_googlenet(
    pretrained: bool = False,
    *,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: Any = None,
    cache_dir: Any = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    num_classes: int = 1000,
    weights: WeightSource | None = None,
    variant: str = "paper",
    frozen_until: str | None = None,
) -> TimmClassifier | TimmFeatures:
    """Return GoogLeNet as timm knows networks.

    Args:
        pretrained: Stands for `weights="imagenet"`.
        pretrained_cfg: timm's; it is not read, since nothing is downloaded.
        pretrained_cfg_overlay: The same.
        cache_dir: The same.
        features_only: Return maps, not logits.
        out_indices: Of the maps at 2, 4, 8, 16 and 32 pixels; all by default. Negative ones count from the last.
        num_classes: Outputs.
        weights: See `googlenet`.
        variant: See `googlenet`.
        frozen_until: See `googlenet_body`; of `features_only`.
    """
    weights = IMAGENET if weights is None and pretrained else weights
    if not features_only:
        return TimmClassifier(variant, weights, num_classes)
    indices = sorted(range(len(_MAPS))[index] for index in (range(len(_MAPS)) if out_indices is None else out_indices))
    network = googlenet(variant, weights=weights, num_classes=0)
    stages = [_MAPS[index] for index in indices]
    body = GoogLeNetBody(network, out_stages=stages, frozen_until=frozen_until, input="imagenet")
    return TimmFeatures(body, GoogLeNetBody(network, out_stages=_MAPS).feature_info, indices)
