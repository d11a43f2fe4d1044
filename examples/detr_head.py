"""A head as DETR's on GoogLeNet's last map: python examples/detr_head.py

Queries ask for one box each, matched one to one with the objects. Six steps on two photographs.
"""

import torch
from scipy.optimize import linear_sum_assignment
from skimage import data
from torch import nn

from inception_rcnn.backbones import CAFFE_INPUT, googlenet

torch.manual_seed(0)
network = googlenet(weights="coco", num_classes=0).requires_grad_(False)
head = nn.ModuleDict({"read": nn.Conv2d(1024, 64, 1), "queries": nn.Embedding(8, 64), "classes": nn.Linear(64, 3)})
head["boxes"] = nn.Linear(64, 4)
head["decoder"] = nn.TransformerDecoder(nn.TransformerDecoderLayer(64, 4, 128, 0.0, batch_first=True), 2)
images = [torch.from_numpy(one[:300:2, :448:2].copy()) for one in (data.astronaut(), data.chelsea())]
objects = [(1, torch.tensor([0.5, 0.5, 0.9, 1.0])), (2, torch.tensor([0.58, 0.5, 0.84, 0.98]))]  # centre, size


def answers():  # logits (2, 8, 3), the first that of "nothing", and boxes (2, 8, 4)
    cells = head["read"](network.feature_maps(CAFFE_INPUT.apply(torch.stack(images)), ["5b"])["5b"] / 10)
    asked = head["decoder"](head["queries"].weight.expand(2, -1, -1), cells.flatten(2).transpose(1, 2))
    return head["classes"](asked), head["boxes"](asked).sigmoid()


optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
for step in range(6):
    loss = torch.zeros(())
    for logits, boxes, (label, box) in zip(*answers(), objects, strict=True):
        cost = (boxes - box).abs().sum(dim=1) - logits.softmax(dim=1)[:, label]
        (row,), _ = linear_sum_assignment(cost.detach()[:, None])
        wanted = torch.zeros(8, dtype=torch.long).index_fill(0, torch.tensor(row), label)
        loss = loss + nn.functional.cross_entropy(logits, wanted) + (boxes[row] - box).abs().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {loss.item():.3f}")
print(f"found {answers()[0].argmax(dim=2).tolist()}")
