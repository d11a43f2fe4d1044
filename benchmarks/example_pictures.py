"""Four photographs that come with scikit-image, with what the shipped model finds on them.

    python benchmarks/example_pictures.py --output docs/images/detections.jpg

Prints every detection, and draws the four pictures side by side, each 480 px high.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from machine import machine_line
from numpy.typing import NDArray
from skimage import data

from inception_rcnn import load_detector
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.structures import draw_detections, resize_image, write_picture

HEIGHT = 480


def output_and_detector(description: str | None) -> tuple[Path, Detector]:
    """Return where the picture goes and what detects, as `inception-rcnn detect` does; the machine is printed."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights", nargs="*")
    arguments = parser.parse_args()
    print(machine_line("torch", "scikit-image"))
    return arguments.output, load_detector(arguments.weights or None).with_settings(one_name_iou=0.8)


def pictures() -> dict[str, NDArray[np.uint8]]:
    """Return the photographs by name, (H, W, 3) uint8 RGB of the common height."""
    found = {
        "astronaut": data.astronaut(),
        "chelsea": data.chelsea(),
        "coffee": data.coffee(),
        "motorcycle": data.stereo_motorcycle()[0],
    }
    return {
        name: resize_image(pixels, round(pixels.shape[1] * HEIGHT / pixels.shape[0]), HEIGHT)
        for name, pixels in found.items()
    }


def main() -> None:
    """Detect, print, draw."""
    output, detector = output_and_detector(__doc__)
    drawn = []
    for name, image in pictures().items():
        found = detector(image)
        print(name, [(record["label"], round(record["score"], 2)) for record in found.to_records()])
        drawn.append(draw_detections(image, found))
    write_picture(output, np.concatenate(drawn, axis=1))


if __name__ == "__main__":
    main()
