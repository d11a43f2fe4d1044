"""What the detector's speed is compared with: an R-CNN as one writes it in an afternoon, and torchvision's detectors.

All of them compute in float32, PyTorch eager, as people get them without further work. Their weights are random: how
long a product takes does not depend on its numbers, and no weight file has to be fetched.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d, nms
from torchvision.transforms.functional import normalize, to_tensor

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]

FEW = 0.9  # score from which on a box of theirs counts
FASTER_RCNN, SSDLITE = "Faster R-CNN ResNet-50 FPN", "SSDlite MobileNetV3"
TORCHVISION: dict[str, Callable[..., nn.Module]] = {
    FASTER_RCNN: torchvision.models.detection.fasterrcnn_resnet50_fpn,
    "Faster R-CNN MobileNetV3 FPN": torchvision.models.detection.fasterrcnn_mobilenet_v3_large_fpn,
    SSDLITE: torchvision.models.detection.ssdlite320_mobilenet_v3_large,
}


class PlainRcnn:
    """R-CNN without any thought of speed: Pillow cuts each region, torchvision's GoogLeNet classifies, NMS by class.

    Args:
        classes: How many, without background.
        batch: Regions at a time.
    """

    def __init__(self, classes: int = 80, batch: int = 64) -> None:
        self.network = torchvision.models.googlenet(
            weights=None, num_classes=classes + 1, aux_logits=False, init_weights=False
        ).eval()
        self.batch = batch

    def __call__(self, image: Image, boxes: Boxes) -> list[tuple[int, float, list[float]]]:
        """Return (class, score, box) of what is found in the regions of an image."""
        return self.suppressed(boxes, self.probabilities(self.crops(image, boxes)))

    def crops(self, image: Image, boxes: Boxes) -> Tensor:
        """Return the regions as the network's input (N, 3, 224, 224)."""
        picture = PillowImage.fromarray(image)
        cut = []
        for box in boxes.tolist():
            crop = picture.crop(tuple(round(value) for value in box))
            pixels = to_tensor(crop.resize((224, 224), PillowImage.Resampling.BILINEAR))
            cut.append(normalize(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        return torch.stack(cut)

    @torch.inference_mode()
    def probabilities(self, crops: Tensor) -> Tensor:
        """Return the probabilities (N, C + 1)."""
        return torch.cat([self.network(part).softmax(dim=1) for part in crops.split(self.batch)])

    def suppressed(self, boxes: Boxes, probabilities: Tensor) -> list[tuple[int, float, list[float]]]:
        """Return (class, score, box) of what stays."""
        corners, found = torch.from_numpy(boxes), []
        for label in range(probabilities.shape[1] - 1):
            scores = probabilities[:, label]
            candidates = torch.nonzero(scores > 0.01)[:, 0]
            for kept in candidates[nms(corners[candidates], scores[candidates], 0.3)].tolist():
                found.append((label, float(scores[kept]), boxes[kept].tolist()))
        return found


def torchvision_detector(name: str) -> Callable[[Image], dict[str, Tensor]]:
    """Return one of `TORCHVISION`, ready to be called: image (H, W, 3) uint8 RGB -> boxes, labels, scores.

    BatchNorm is replaced by its frozen form, as the loaders of trained weights do for the two with an FPN. Random
    weights give no sensible scores; the threshold is so high that hardly a box passes it and nothing is left to
    suppress, which is in their favour.
    """
    torch.manual_seed(0)
    network = TORCHVISION[name](weights=None, weights_backbone=None)
    if name == SSDLITE:
        network.score_thresh = FEW
    else:
        freeze_batch_norm(network)
        network.roi_heads.score_thresh = FEW
    network.eval()

    @torch.inference_mode()
    def detect(image: Image) -> dict[str, Tensor]:
        pixels = torch.from_numpy(np.require(image, requirements="W")).permute(2, 0, 1).float().div_(255)
        found: dict[str, Tensor] = network([pixels])[0]
        return found

    return detect


def freeze_batch_norm(network: nn.Module) -> None:
    """Put FrozenBatchNorm2d in the place of every BatchNorm2d, with its numbers."""
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, eps=child.eps)
            frozen.load_state_dict({k: v for k, v in child.state_dict().items() if k in frozen.state_dict()})
            setattr(network, name, frozen)
        else:
            freeze_batch_norm(child)
