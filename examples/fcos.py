"""torchvision's FCOS, which has no anchors, on GoogLeNet with a feature pyramid: python examples/fcos.py

Six steps on two photographs, then what it finds on them.
"""

import torch
from skimage import data
from torchvision.models.detection import FCOS
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.transforms.functional import to_tensor

from inception_rcnn.backbones import googlenet_body

torch.manual_seed(0)
body = googlenet_body(out_stages=["3b", "4e", "5b"], weights="coco", frozen_until="3b", input="imagenet")
pyramid = BackboneWithFPN(body, body.return_layers, body.out_channels, 64, extra_blocks=LastLevelP6P7(64, 64))
detector = FCOS(pyramid, num_classes=3, min_size=128, max_size=192)
photographs = [to_tensor(data.astronaut()), to_tensor(data.chelsea())]
targets = [
    {"boxes": torch.tensor([[20.0, 5.0, 450.0, 510.0]]), "labels": torch.tensor([1])},  # a person
    {"boxes": torch.tensor([[70.0, 5.0, 450.0, 298.0]]), "labels": torch.tensor([2])},  # a cat
]
optimizer = torch.optim.SGD([one for one in detector.parameters() if one.requires_grad], lr=0.005, momentum=0.9)
for step in range(6):
    loss = sum(detector(photographs, targets).values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {loss.item():.3f}")
with torch.no_grad():
    for found in detector.eval()(photographs):
        print(f"found {len(found['boxes'])} boxes")
