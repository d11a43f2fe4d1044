"""Boxes that may hold an object, without a detector: python examples/propose.py [photo.jpg]

From selective search, which needs no network, and from MultiBox, which is one; and both together.
"""

import sys

from skimage import data

from inception_rcnn import load_image, multibox, selective_search
from inception_rcnn.proposals import merge_proposals

image = load_image(sys.argv[1]) if len(sys.argv) > 1 else data.astronaut()
searched, seen = selective_search(image), multibox(image, top_k=200)
both = merge_proposals(searched, seen)
for name, boxes in (("selective search", searched), ("MultiBox", seen), ("both", both)):
    print(f"{name}: {len(boxes)} boxes, the first at {boxes[0].box}")
