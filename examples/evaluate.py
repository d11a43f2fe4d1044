"""How good a detector is on photographs with known objects: python examples/evaluate.py FOLDER [WEIGHTS]

FOLDER has COCO's layout: val.json and val/ with the photographs.
"""

import sys

from inception_rcnn import evaluate_detector, load_detector, open_dataset

folder, *weights = sys.argv[1:]
evaluation = evaluate_detector(load_detector(weights or None), open_dataset("coco", folder, "val"))
for name, ap in evaluation.result.ap.items():
    if ap is not None:  # classes without objects have none
        print(f"{100 * ap:6.1f}  {name}")
print(f"{100 * evaluation.map:6.1f}  mean average precision at IoU 0.5")
