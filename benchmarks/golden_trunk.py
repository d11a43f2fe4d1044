"""Numbers of GoogLeNet's first stages with the weights trained on ImageNet: writes what a test compares with.

    python benchmarks/golden_trunk.py googlenet_imagenet.npz

The shipped region classifier keeps conv1 to 3b as ImageNet left them, so a clone without those weights can still test
that its network computes what the published one does. That the published weights give Caffe's own probabilities is
tested where they are at hand (tests/backbones/test_reference_network.py).
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
        maps = network.trunk(InputSpec().apply(torch.from_numpy(pixels[None])), stop="3b")[0]
    channels = {str(channel): round(maps[channel].mean().item(), 5) for channel in range(0, len(maps), 12)}
    values = [round(value, 4) for value in maps[:, 7, 7][::8].tolist()]
    GOLDEN.parent.mkdir(exist_ok=True)
    write_json(GOLDEN, {"shape": list(maps.shape), "channel_means": channels, "values_at_7_7": values})


if __name__ == "__main__":
    main()
