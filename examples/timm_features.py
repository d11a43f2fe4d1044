"""GoogLeNet's maps by timm's `features_only`: python examples/timm_features.py

A linear layer on their means learns in six steps which of two photographs shows a cat. Needs inception-rcnn[timm].
"""

import timm
import torch
from skimage import data
from torch.nn import functional
from torchvision.transforms.functional import normalize, to_tensor

import inception_rcnn.backbones.timm_models  # noqa: F401  `create_model` knows it from here on

torch.manual_seed(0)
body = timm.create_model("inception_rcnn_googlenet", features_only=True, weights="coco", out_indices=(2, 3, 4))
print(body.feature_info.channels(), body.feature_info.reduction())
mean, deviation = body.default_cfg["mean"], body.default_cfg["std"]
images = [to_tensor(one[:288, :288].copy()) for one in (data.astronaut(), data.chelsea())]
photographs = normalize(torch.stack(images), mean, deviation)
layer = torch.nn.Linear(sum(body.feature_info.channels()), 2)
optimizer = torch.optim.SGD([*layer.parameters(), *body.parameters()], lr=1e-6)


def logits() -> torch.Tensor:
    """(2, 2): no cat, a cat."""
    return layer(torch.cat([one.mean(dim=(2, 3)) for one in body(photographs)], dim=1))


for step in range(6):
    loss = functional.cross_entropy(logits(), torch.tensor([0, 1]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {loss.item():.3f}")
print(f"found {logits().argmax(dim=1).tolist()}")
