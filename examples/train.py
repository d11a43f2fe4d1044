"""A detector of your own classes: python examples/train.py FOLDER OUTPUT [MINUTES]

FOLDER has COCO's layout: train.json and train/ with the photographs. Training starts from the shipped detector; what it
knows already, it keeps.
"""

import sys

from inception_rcnn import load_detector, open_dataset, train_detector

folder, output, *rest = sys.argv[1:]
photographs = open_dataset("coco", folder, "train")
minutes = float(rest[0]) if rest else 30.0
path = train_detector(photographs, output, own_classes=True, minutes=minutes)
print(load_detector(path)(photographs.path(0)))
