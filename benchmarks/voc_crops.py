"""VOC's objects as a classification task: what training gains over a linear softmax on features that stay as they are.

    python benchmarks/voc_crops.py crops --root voc2007 --output CROPS [--limit 40]
    inception-rcnn train_classifier CROPS --pretrained imagenet:FILE --output RUN
    python benchmarks/voc_crops.py compare CROPS --pretrained imagenet:FILE --weights RUN/model.safetensors

crops: of every object of at least 32 px that is not difficult a square around its box, as long as the box's longer
side, moved into the photograph and cut where it is larger than that. CROPS/train/CLASS and CROPS/val/CLASS have JPEG
files.

compare: both see one central patch of 224 px. The linear softmax learns from the pooled 5b features of the network that
the training started from, plain and mirrored, standardised; its weight decay is the best of five on a tenth of the
training photographs, held out. The interval is of the difference, over photographs of val drawn with replacement, whose
crops stay together.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from machine import machine_line
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones import GoogLeNet, network_of
from inception_rcnn.backbones.runtime import Runtime, choose_runtime, keep_freed_memory
from inception_rcnn.backbones.training.patches import central_patch
from inception_rcnn.datasets import LabelledImages, open_dataset, open_labelled_part
from inception_rcnn.structures import GroundTruth, load_image, progress_bar

LEAST_SIDE = 32
SIDE = 224
DECAYS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
HELD_OUT = 0.1
DRAWS = 2000


def square_around(box: NDArray[np.float32], width: int, height: int) -> tuple[int, int, int, int]:
    """The square around a box, moved into the photograph and cut where it is larger, in whole pixels.

    >>> square_around(np.array([10, 20, 30, 100.0]), 200, 150), square_around(np.array([0, 0, 200, 50.0]), 200, 150)
    ((0, 20, 80, 100), (0, 0, 200, 150))
    """
    x1, y1, x2, y2 = box.tolist()
    side = max(x2 - x1, y2 - y1)
    spans = []
    for low, high, most in ((x1, x2, width), (y1, y2, height)):
        start = min(max((low + high - side) / 2, 0), max(most - side, 0))
        spans.append((round(start), round(min(start + side, most))))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def write_crops(asked: argparse.Namespace) -> None:
    """Make the folder."""
    for part, split in (("train", asked.train_split), ("val", asked.val_split)):
        dataset = open_dataset("voc", asked.root, split)
        rows, count = range(min(len(dataset), asked.limit or len(dataset))), 0
        for name in dataset.class_names:  # of few photographs some are without crops, and classes all the same
            (asked.output / part / name).mkdir(parents=True, exist_ok=True)
        with progress_bar(len(rows), part) as bar:
            for row in rows:
                count += write_crops_of(dataset.load_image(row), dataset.ground_truth(row), asked.output / part, row)
                bar.advance(1)
        print(f"{part}: {count} crops of {len(rows)} photographs of {split}, in {asked.output / part}")


def write_crops_of(image: NDArray[np.uint8], truth: GroundTruth, folder: Path, row: int) -> int:
    """Write the crops of a photograph; return how many."""
    sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
    kept = np.flatnonzero(~truth.ignore & (sides.min(axis=1) >= LEAST_SIDE))
    for number in kept.tolist():
        left, top, right, bottom = square_around(truth.boxes[number], image.shape[1], image.shape[0])
        path = folder / truth.class_names[truth.labels[number]] / f"{row:05d}-{number}.jpg"
        Image.fromarray(image[top:bottom, left:right]).save(path, quality=95)
    return len(kept)


def photograph_of(path: Path) -> str:
    """Which photograph a crop is from."""
    return path.stem.partition("-")[0]


@torch.no_grad()
def features(network: GoogLeNet, paths: Sequence[Path], runtime: Runtime, *, mirrored: bool = False) -> Tensor:
    """Pooled 5b features (N, 1024) of central patches."""
    network = network.to(runtime.device).eval()
    found = []
    with progress_bar(len(paths), "features") as bar:
        for start in range(0, len(paths), runtime.batch):
            patches = np.stack([central_patch(load_image(one), SIDE) for one in paths[start : start + runtime.batch]])
            x = network.input_spec.apply(torch.from_numpy(patches).to(runtime.device))
            with runtime.autocast():
                found.append(network.pooled(network.trunk(x.flip(3) if mirrored else x)).float().cpu())
            bar.advance(len(patches))
    return torch.cat(found)


def softmax_regression(x: Tensor, labels: Tensor, classes: int, decay: float) -> tuple[Tensor, Tensor]:
    """Weights (classes, D) and biases of a linear softmax, at the minimum of mean loss and half decay times squares."""
    weight, bias = torch.zeros(classes, x.shape[1], requires_grad=True), torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(x @ weight.T + bias, labels) + decay / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    return weight.detach(), bias.detach()


def linear_answers(
    train: LabelledImages, val_features: Tensor, network: GoogLeNet, runtime: Runtime
) -> tuple[NDArray[np.int64], float, float]:
    """The classes that a linear softmax gives val, its weight decay, and its accuracy on what was held out for that."""
    classes = len(train.classes or ())
    plain, mirrored = (features(network, train.paths, runtime, mirrored=turned) for turned in (False, True))
    mean, deviation = plain.mean(dim=0), plain.std(dim=0) + 1e-6
    plain, mirrored, seen = ((one - mean) / deviation for one in (plain, mirrored, val_features))
    labels = torch.tensor(train.labels)
    names = np.array([photograph_of(path) for path in train.paths])
    chosen = np.random.default_rng(0).permutation(np.unique(names))
    held = torch.from_numpy(np.isin(names, chosen[: max(1, round(HELD_OUT * len(chosen)))]))

    def fitted(rows: Tensor, decay: float) -> tuple[Tensor, Tensor]:
        return softmax_regression(torch.cat([plain[rows], mirrored[rows]]), labels[rows].repeat(2), classes, decay)

    scores = {}
    for decay in DECAYS:
        weight, bias = fitted(~held, decay)
        right = (plain[held] @ weight.T + bias).argmax(dim=1) == labels[held]
        scores[decay] = float(right.float().mean())
    best = max(scores, key=lambda decay: scores[decay])
    weight, bias = fitted(torch.ones_like(held), best)
    return (seen @ weight.T + bias).argmax(dim=1).numpy(), best, scores[best]


def difference(
    right: NDArray[np.bool_], other: NDArray[np.bool_], photographs: Sequence[str]
) -> tuple[float, float, float]:
    """Points of top-1 that the first has over the other, and the 95 % interval over photographs.

    >>> difference(np.array([True, True]), np.array([True, False]), ["a", "a"])
    (50.0, 50.0, 50.0)
    """
    _, place = np.unique(photographs, return_inverse=True)
    count = np.bincount(place)
    gained = np.bincount(place, right.astype(float) - other.astype(float))
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(count), (DRAWS, len(count)))
    drawn = 100 * gained[draws].sum(axis=1) / count[draws].sum(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
    return 100 * float(gained.sum() / count.sum()), low, high


def compare(asked: argparse.Namespace) -> None:
    """Print both, and the difference."""
    runtime = choose_runtime(asked.device)
    train, val = (open_labelled_part(asked.crops, part) for part in ("train", "val"))
    labels = np.array(val.outputs(len(train.classes or ()), train.classes))
    start = network_of(asked.pretrained)
    answers, decay, held = linear_answers(train, features(start, val.paths, runtime), start, runtime)
    trained = network_of(asked.weights)
    if trained.num_classes != len(train.classes or ()) or trained.classifier is None:
        raise SystemExit(
            f"{asked.weights} should have {len(train.classes or ())} outputs, it has {trained.num_classes}"
        )
    with torch.no_grad():
        logits = trained.classifier(features(trained, val.paths, runtime).to(runtime.device)).cpu()
    both = {"linear": answers == labels, "trained": logits.argmax(dim=1).numpy() == labels}
    print(
        f"{len(train)} crops of train, {len(val)} of val, {len(train.classes or ())} classes; start {asked.pretrained}"
    )
    print(f"linear softmax on frozen features: top-1 {100 * both['linear'].mean():.2f}", end="")
    print(f" (weight decay {decay:g}, {100 * held:.2f} on a held-out tenth of train)")
    print(f"trained, {asked.weights}: top-1 {100 * both['trained'].mean():.2f}")
    points, low, high = difference(both["trained"], both["linear"], [photograph_of(path) for path in val.paths])
    print(f"trained over linear: {points:+.2f} points ({low:+.2f} to {high:+.2f}, {DRAWS} draws of photographs)")


def main(argv: Sequence[str] | None = None) -> None:
    """Make the crops, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("crops")
    make.add_argument("--root", type=Path, required=True, help="VOC's folder")
    make.add_argument("--output", type=Path, required=True)
    make.add_argument("--train-split", default="train")
    make.add_argument("--val-split", default="val")
    make.add_argument("--limit", type=int, help="only the first photographs of each part")
    make.set_defaults(run=write_crops)
    against = commands.add_parser("compare")
    against.add_argument("crops", type=Path)
    against.add_argument("--pretrained", required=True, help="what the training started from")
    against.add_argument("--weights", required=True, help="what it ended with")
    against.add_argument("--device", default="auto")
    against.set_defaults(run=compare)
    asked = parser.parse_args(argv)
    print(machine_line("numpy", "torch"))
    keep_freed_memory()
    asked.run(asked)


if __name__ == "__main__":
    main()
