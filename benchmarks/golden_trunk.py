"""Numbers of GoogLeNet's first stages with the weights trained on ImageNet: writes what a test compares with.

    python benchmarks/golden_trunk.py googlenet_imagenet.npz

The shipped `coco` keeps conv1 and conv2 as ImageNet left them, `coco-mini` those to 3b (rounded to int8), so a clone
without the published weights can still test that its network computes what the published one does. That these give
Caffe's own probabilities is tested where they are at hand (tests/backbones/test_reference_network.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

import skimage
import torch

from inception_rcnn.backbones import InputSpec, googlenet
from inception_rcnn.structures import load_image, write_json

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "backbones" / "data" / "imagenet_trunk.json"


def main() -> None:
    """Write the file."""
    network = googlenet(weights=Path(sys.argv[1]))
    pixels = load_image(Path(skimage.__file__).parent / "data" / "astronaut.png")[:224, 144:368].copy()
    with torch.inference_mode():
        inputs = InputSpec().apply(torch.from_numpy(pixels[None]))
        written = {stage: numbers_of(network.trunk(inputs, stop=stage)[0]) for stage in ("conv2", "3b")}
    GOLDEN.parent.mkdir(exist_ok=True)
    write_json(GOLDEN, written)


def numbers_of(maps: torch.Tensor) -> dict[str, object]:
    """Return some numbers of a stage's maps (channels, height, width)."""
    channels = {str(channel): round(maps[channel].mean().item(), 5) for channel in range(0, len(maps), 12)}
    values = [round(value, 4) for value in maps[:, 7, 7][::8].tolist()]
    return {"shape": list(maps.shape), "channel_means": channels, "values_at_7_7": values}


if __name__ == "__main__":
    main()
