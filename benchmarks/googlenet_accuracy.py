"""Is the network GoogLeNet, and not something near it?

    python benchmarks/googlenet_accuracy.py --weights googlenet_imagenet.npz --reference caffe_reference \
        --samples imagenet_samples

Prints the largest difference to reference probabilities (two images, computed with the original Caffe definition) and
top-1 / top-5 on labelled photographs, resized to 256x256 without keeping the aspect (as the network was trained),
centre 224: a proof of the network, not a score to compare, because the photographs are most likely training ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from machine import machine_line
from PIL import Image

from inception_rcnn.backbones import CAFFE_INPUT, GoogLeNet, InputSpec, googlenet
from inception_rcnn.structures import load_image


def reference_difference(network: GoogLeNet, folder: Path) -> float:
    """The largest difference between our probabilities and the reference's, in [0, 1]."""
    images = np.stack([load_image(folder / f"googlenet_{number}.png") for number in range(2)])
    # The reference fed B, G, R in 0..255 without subtracting the mean.
    inputs = InputSpec(mean=(0.0, 0.0, 0.0)).apply(torch.from_numpy(images))
    with torch.inference_mode():
        ours = network(inputs).softmax(dim=1).numpy()
    return float(np.abs(ours - np.load(folder / "googlenet_prob.npy").reshape(2, -1)).max())


def centre_crop(path: Path) -> np.ndarray:
    """A photograph at 256x256, its centre 224x224, uint8."""
    image = Image.fromarray(load_image(path)).resize((256, 256), Image.Resampling.BILINEAR)
    return np.asarray(image)[16:240, 16:240]


def accuracy(network: GoogLeNet, folder: Path, dtype: torch.dtype) -> tuple[float, float, int]:
    """Shares of photographs whose class is the first, or among the first five, and their number."""
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    network = network.to(dtype)
    first = five = 0
    for start in range(0, len(rows), 50):
        part = rows[start : start + 50]
        pixels = torch.from_numpy(np.stack([centre_crop(folder / row[0]) for row in part]))
        with torch.inference_mode():
            best = network(CAFFE_INPUT.apply(pixels, dtype)).topk(5).indices.numpy()
        truth = np.array([int(row[1]) for row in part])
        first += int((best[:, 0] == truth).sum())
        five += int((best == truth[:, None]).any(axis=1).sum())
    return first / len(rows), five / len(rows), len(rows)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("weights", "reference", "samples"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    print(machine_line("torch"))
    network = googlenet(weights=arguments.weights)
    difference = reference_difference(network, arguments.reference)
    print(f"largest difference to the reference probabilities: {difference:.1e}")
    for dtype in (torch.float32, torch.bfloat16):
        first, five, count = accuracy(network, arguments.samples, dtype)
        print(f"{dtype}: top-1 {100 * first:.1f} %, top-5 {100 * five:.1f} % of {count} photographs")


if __name__ == "__main__":
    main()
