"""Objects in photographs: python examples/detect.py photo.jpg ...

Without photographs, scikit-image's cat. Each picture is drawn beside its photograph, as photo.detections.png.
"""

import sys
from pathlib import Path

from skimage import data

from inception_rcnn import load_detector

detector = load_detector(score_threshold=0.4)
print(detector)
if len(sys.argv) == 1:
    print(detector(data.chelsea()))
for name in sys.argv[1:]:
    found = detector(name)
    for one in found:
        print(f"{name}: {one.class_name} {one.score:.2f} at {', '.join(f'{side:.0f}' for side in one.box)}")
    found.save(Path(name).with_suffix(".detections.png"))
